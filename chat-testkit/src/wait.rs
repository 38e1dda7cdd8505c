//! Waiting for what must happen: a condition with a deadline, never a time.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How long anything that must happen may take, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `condition` holds, and holds its thread meanwhile.
///
/// # Panics
/// After [`DEADLINE`], with the name of what did not happen.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(DEADLINE, what, condition);
}

/// [`until`], for what may take longer than [`DEADLINE`].
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "waiting for another process takes real time")]
pub(crate) fn until_within(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks again and again until there is an answer, and gives it.
///
/// # Panics
/// After [`DEADLINE`], with the name of what did not happen.
#[track_caller]
pub fn eventually<T, F>(what: impl Into<String>, mut ask: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let what = what.into();
    within(what, async move {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Awaits what must end; fails with a name instead of hanging.
///
/// # Panics
/// After [`DEADLINE`].
#[track_caller]
pub fn within<F: Future>(what: impl Into<String>, future: F) -> impl Future<Output = F::Output> {
    let (what, asked) = (what.into(), Location::caller());
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("{asked}: waited {DEADLINE:?} for {what}"),
        }
    }
}
