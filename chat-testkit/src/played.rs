//! Time that passes by itself on a [`ManualClock`], as fast as the machine can.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock};

/// How far the clock is moved at a time.
const TICK: Duration = Duration::from_millis(1);

/// Runs something to its end and moves the clock a millisecond whenever it waits; answers also how long it took by that
/// clock. On a runtime of one thread other tasks get as far as they can in between.
///
/// # Panics
/// When it takes longer than a day.
pub async fn played<F: Future>(clock: &ManualClock, work: F) -> (F::Output, Duration) {
    let (began, mut work) = (clock.now(), pin!(work));
    loop {
        for _ in 0..3 {
            if let Poll::Ready(output) = futures::poll!(work.as_mut()) {
                return (output, clock.now().since(began));
            }
            tokio::task::yield_now().await;
        }
        clock.advance(TICK);
        assert!(clock.now().since(began) < Duration::from_secs(86_400), "it takes longer than a day");
    }
}
