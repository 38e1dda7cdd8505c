//! [`Breaker`]: does not ask what has failed again and again, for a while.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::error::{Code, Error, ErrorKind, Result};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// How many outages in a row open it: 5 by default, as in seed 001. None counts as one.
    pub failures: u32,
    /// How long it stays open before it lets one call through to see: 30 s by default.
    pub rest: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 5, rest: Duration::from_secs(30) }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One call went through to see; the others are refused until it is back.
    HalfOpen,
}

/// What a breaker did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerStats {
    /// Calls let through.
    pub calls: u64,
    /// Those among them that met an outage.
    pub failures: u64,
    /// Calls refused.
    pub refused: u64,
    /// How often it opened.
    pub opened: u64,
}

/// Seed 001's `CircuitBreaker`. Kind of state: **volatile**, of this process.
///
/// Only outages count, and only in a row: an error of kind `Unavailable` or `Timeout`. What was wrong with a request says
/// nothing about the backend, and counts as an answer. After the rest exactly one call goes through; whatever becomes of
/// it, also when it is dropped, the next one is decided anew. An answer to a call from before the breaker last changed
/// counts for nothing.
///
/// ```
/// use std::sync::Arc;
/// use chat_core::clock::ManualClock;
/// use chat_core::error::Code;
/// use chat_core::layer::{Breaker, BreakerOptions, BreakerState};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let options = BreakerOptions { failures: 2, ..BreakerOptions::default() };
/// let breaker = Breaker::new("users", options, Arc::new(ManualClock::default()));
/// for _ in 0..2 {
///     let outcome = breaker.call(|| async { Err::<(), _>(Code::Timeout.into()) }).await;
///     assert_eq!(outcome.unwrap_err().code(), Code::Timeout);
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert_eq!(breaker.call(|| async { Ok(()) }).await.unwrap_err().code(), Code::Unavailable);
/// # }
/// ```
pub struct Breaker {
    name: &'static str,
    options: BreakerOptions,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stands: Stands,
    /// Grows with every change, so that a call knows whether it is from before.
    era: u64,
    stats: BreakerStats,
}

#[derive(Debug, Clone, Copy)]
enum Stands {
    Closed { failures: u32 },
    Open { since: Timestamp },
    HalfOpen,
}

impl Inner {
    fn change(&mut self, to: Stands) {
        self.stands = to;
        self.era += 1;
    }
}

impl Breaker {
    /// A closed breaker, by this name in metrics.
    pub fn new(name: &'static str, options: BreakerOptions, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner { stands: Stands::Closed { failures: 0 }, era: 0, stats: BreakerStats::default() };
        Self { name, options, clock, inner: Mutex::new(inner) }
    }

    /// Calls, unless it is open.
    ///
    /// # Errors
    /// Those of the call; [`Code::Unavailable`] without calling, with the time until it is tried again.
    pub async fn call<T, F: Future<Output = Result<T>>>(&self, call: impl FnOnce() -> F) -> Result<T> {
        let permit = self.enter()?;
        let outcome = call().await;
        let is_outage = outcome
            .as_ref()
            .is_err_and(|error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout));
        permit.settle(is_outage);
        outcome
    }

    /// How it stands.
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().stands {
            Stands::Closed { .. } => BreakerState::Closed,
            Stands::Open { .. } => BreakerState::Open,
            Stands::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> BreakerStats {
        self.inner.lock().stats
    }

    fn enter(&self) -> Result<Permit<'_>> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let left = match inner.stands {
            Stands::Closed { .. } => None,
            // A clock that went back says nothing about the backend.
            Stands::Open { since } if now < since || now.since(since) >= self.options.rest => {
                inner.change(Stands::HalfOpen);
                None
            }
            Stands::Open { since } => Some(self.options.rest.saturating_sub(now.since(since))),
            Stands::HalfOpen => Some(Duration::ZERO),
        };
        let Some(left) = left else {
            inner.stats.calls += 1;
            return Ok(Permit { breaker: self, era: inner.era, is_settled: false });
        };
        inner.stats.refused += 1;
        drop(inner);
        metrics::counter!("chat_breaker_refused_total", "breaker" => self.name).increment(1);
        let error = Error::new(Code::Unavailable).with("reason", "the breaker is open");
        Err(error.with("breaker", self.name).retry_in(left))
    }

    fn settle(&self, era: u64, is_outage: bool) {
        let mut inner = self.inner.lock();
        inner.stats.failures += u64::from(is_outage);
        if inner.era != era {
            return;
        }
        let before = inner.stands;
        match before {
            Stands::Closed { failures } if is_outage && failures + 1 < self.options.failures => {
                inner.stands = Stands::Closed { failures: failures + 1 };
            }
            Stands::Closed { .. } | Stands::HalfOpen if is_outage => {
                inner.stats.opened += 1;
                inner.change(Stands::Open { since: self.clock.now() });
            }
            Stands::Closed { .. } => inner.stands = Stands::Closed { failures: 0 },
            Stands::HalfOpen => inner.change(Stands::Closed { failures: 0 }),
            Stands::Open { .. } => {}
        }
        let is_open = matches!(inner.stands, Stands::Open { .. });
        let was_closed = matches!(before, Stands::Closed { .. });
        drop(inner);
        if is_open || !was_closed {
            metrics::gauge!("chat_breaker_open", "breaker" => self.name).set(f64::from(u8::from(is_open)));
            tracing::warn!(breaker = self.name, is_open, "a breaker opened or closed");
        }
    }

    /// The call that was to see was dropped: the next one sees.
    fn forget(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era == era && matches!(inner.stands, Stands::HalfOpen) {
            let since = self.clock.now().before(self.options.rest);
            inner.change(Stands::Open { since });
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A call that was let through.
struct Permit<'a> {
    breaker: &'a Breaker,
    era: u64,
    is_settled: bool,
}

impl Permit<'_> {
    fn settle(mut self, is_outage: bool) {
        self.is_settled = true;
        self.breaker.settle(self.era, is_outage);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.breaker.forget(self.era);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use futures::FutureExt;

    const REST: Duration = Duration::from_secs(30);

    fn breaker(failures: u32) -> (Breaker, ManualClock) {
        let clock = ManualClock::default();
        let options = BreakerOptions { failures, rest: REST };
        (Breaker::new("test", options, Arc::new(clock.clone())), clock)
    }

    async fn says(breaker: &Breaker, code: Code) -> Code {
        breaker.call(|| async move { Err::<(), _>(code.into()) }).await.unwrap_err().code()
    }

    async fn fine(breaker: &Breaker) -> bool {
        breaker.call(|| async { Ok(()) }).await.is_ok()
    }

    #[tokio::test]
    async fn outages_in_a_row_open_it_and_nothing_else() {
        let (breaker, _) = breaker(3);
        for _ in 0..400 {
            assert_eq!(says(&breaker, Code::Timeout).await, Code::Timeout);
            says(&breaker, Code::Unavailable).await;
            assert!(fine(&breaker).await, "an answer in between begins the row anew");
            says(&breaker, Code::Timeout).await;
            says(&breaker, Code::UserInvalid).await;
            says(&breaker, Code::Forbidden).await;
        }
        assert_eq!((breaker.state(), breaker.stats().refused), (BreakerState::Closed, 0));
        for _ in 0..3 {
            says(&breaker, Code::Timeout).await;
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        let called = std::cell::Cell::new(false);
        let call = || async {
            called.set(true);
            Ok(())
        };
        let refused = breaker.call(call).await.unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), (Code::Unavailable, Some(REST)));
        assert!(!called.get());
    }

    #[tokio::test]
    async fn after_its_rest_one_call_decides() {
        let (breaker, clock) = breaker(1);
        says(&breaker, Code::Unavailable).await;
        clock.advance(REST - Duration::from_millis(1));
        assert!(!fine(&breaker).await);
        clock.advance(Duration::from_millis(1));
        let (answer, answered) = tokio::sync::oneshot::channel::<Result<()>>();
        let mut probe = Box::pin(breaker.call(|| async { answered.await.unwrap() }));
        assert!(probe.as_mut().now_or_never().is_none());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        for _ in 0..20 {
            assert!(!fine(&breaker).await, "the others wait for the one");
        }
        answer.send(Err(Code::Timeout.into())).unwrap();
        probe.await.unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(REST);
        assert!(fine(&breaker).await);
        assert_eq!((breaker.state(), breaker.stats().opened), (BreakerState::Closed, 2));
    }

    #[tokio::test]
    async fn a_dropped_call_decides_nothing() {
        let (breaker, clock) = breaker(1);
        says(&breaker, Code::Unavailable).await;
        clock.advance(REST);
        assert!(breaker.call(std::future::pending::<Result<()>>).now_or_never().is_none());
        assert!(fine(&breaker).await, "the next one sees");
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn answers_from_before_count_for_nothing() {
        let (breaker, clock) = breaker(1);
        let (answer, answered) = tokio::sync::oneshot::channel::<Result<()>>();
        let mut late = Box::pin(breaker.call(|| async { answered.await.unwrap() }));
        assert!(late.as_mut().now_or_never().is_none());
        says(&breaker, Code::Unavailable).await;
        answer.send(Ok(())).unwrap();
        late.await.unwrap();
        assert_eq!(breaker.state(), BreakerState::Open, "it was sent before the outage");
        clock.set(Timestamp::EPOCH);
        assert!(fine(&breaker).await, "a clock that went back keeps nothing shut");
    }
}
