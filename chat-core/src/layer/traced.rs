//! [`Traced`]: a span around every call.

use tracing::field::Empty;
use tracing::{Instrument, debug_span};

use super::metered::outcome_of;
use crate::error::Result;
use crate::store::{Attempt, Call, Policy};

/// Puts a span `call` around every call, at the level of debug: `backend`, `operation` and, when it ended, `outcome`.
/// Never an argument.
#[derive(Debug, Clone, Copy)]
pub struct Traced {
    backend: &'static str,
}

impl Traced {
    /// Traces the calls of a backend of this name.
    pub const fn new(backend: &'static str) -> Self {
        Self { backend }
    }
}

impl Policy for Traced {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let span =
            debug_span!("call", backend = self.backend, operation = call.operation.name, outcome = Empty);
        let outcome = attempt.start().instrument(span.clone()).await;
        span.record("outcome", outcome_of(&outcome));
        outcome
    }
}
