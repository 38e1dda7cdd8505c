//! [`Metered`]: how long callers wait, and how it ends.

use crate::clock::Stopwatch;
use crate::error::Result;
use crate::observe;
use crate::store::{Attempt, Call, Policy};

/// Measures calls into the histogram `chat_call_seconds`, see [`observe`]. A call whose caller stopped waiting ended with
/// `cancelled`. The labels are the backend's name, the operation's and the outcome's: never an id.
///
/// It costs no allocation, but for the first call of a kind on a thread.
#[derive(Debug, Clone, Copy)]
pub struct Metered {
    backend: &'static str,
}

impl Metered {
    /// Measures the calls of a backend of this name.
    pub const fn new(backend: &'static str) -> Self {
        Self { backend }
    }
}

impl Policy for Metered {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let mut measured = Measured {
            backend: self.backend,
            operation: call.operation.name,
            outcome: "cancelled",
            watch: Stopwatch::start(),
        };
        let outcome = attempt.start().await;
        measured.outcome = outcome_of(&outcome);
        outcome
    }
}

/// How a call ended, for labels: `ok`, or an error's code.
pub(super) fn outcome_of<T>(outcome: &Result<T>) -> &'static str {
    outcome.as_ref().err().map_or("ok", |error| error.code().as_str())
}

/// A call on its way, told of when it ends.
struct Measured {
    backend: &'static str,
    operation: &'static str,
    outcome: &'static str,
    watch: Stopwatch,
}

impl Drop for Measured {
    fn drop(&mut self) {
        observe::called(self.backend, self.operation, self.outcome, self.watch.elapsed());
    }
}
