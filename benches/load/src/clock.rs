//! The one place that looks at the time.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "a measurement, not a rule of the chat")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
