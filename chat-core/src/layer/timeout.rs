//! [`Timeout`]: nobody waits for ever.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, ClockExt, SystemClock};
use crate::error::{Code, Error, Result};
use crate::store::{Attempt, Call, Policy};

/// How long one attempt may take. What a call was told to wait comes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutOptions {
    /// For what only reads: 3 s by default.
    pub read: Duration,
    /// For what changes something: 5 s by default.
    pub write: Duration,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self { read: Duration::from_secs(3), write: Duration::from_secs(5) }
    }
}

/// Gives every attempt a deadline. After it [`Code::Timeout`], and of what changes something nobody knows whether it took
/// hold: the effect is `Unknown`. The attempt is dropped.
///
/// A backend that has deadlines of its own knows more about a call than this does; give this one a little more time.
#[derive(Debug)]
pub struct Timeout {
    options: TimeoutOptions,
    clock: Arc<dyn Clock>,
}

impl Timeout {
    /// These deadlines, by this clock.
    pub fn new(options: TimeoutOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock }
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self::new(TimeoutOptions::default(), Arc::new(SystemClock))
    }
}

impl Policy for Timeout {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let TimeoutOptions { read, write } = self.options;
        let time = if call.operation.is_read() { read } else { write }.saturating_add(call.waits);
        // Pinned here, so that it is in this future once, and not once more wherever it is moved to.
        let outcome = self.clock.within(time, pin!(attempt.start())).await;
        outcome.unwrap_or_else(|| Err(late(call, time)))
    }
}

/// Nothing was heard of a call for so long.
pub(super) fn late(call: Call, time: Duration) -> Error {
    let error = Error::new(Code::Timeout).during(call.operation.name).with("after", format_args!("{time:?}"));
    if call.operation.is_read() { error } else { error.effect_unknown() }
}
