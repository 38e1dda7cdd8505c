//! Time: a millisecond [`Timestamp`], and the [`Clock`] every deadline is measured with.
//!
//! Nothing else in the family reads a system clock, so every TTL, lease and backoff runs in tests on a
//! [`ManualClock`] without sleeping.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::Notify;

use crate::error::{Code, Error, Result};

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Written as an ISO 8601 UTC string with milliseconds in JSON.
///
/// ```
/// use chat_core::clock::Timestamp;
/// let at = Timestamp::from_millis(1_736_862_000_123);
/// assert_eq!(at.to_string(), "2025-01-14T13:40:00.123Z");
/// assert_eq!("2025-01-14T13:40:00.123Z".parse::<Timestamp>().unwrap(), at);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// The last instant that can be written everywhere on earth: 9999-12-30T22:00:00Z.
const LAST_MILLI: u64 = 253_402_207_200_000;

impl Timestamp {
    /// The beginning: 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// So many milliseconds after the epoch; clamped to the year 9999.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LAST_MILLI { LAST_MILLI } else { millis })
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later; clamped to the year 9999.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This much earlier, not before the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => f.write_str("9999-12-30T22:00:00.000Z"),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|e: jiff::Error| Error::invalid(Code::RequestInvalid, "not a timestamp").caused_by(e))?;
        u64::try_from(at.as_millisecond())
            .map(Self::from_millis)
            .map_err(|e| Error::invalid(Code::RequestInvalid, "before 1970").caused_by(e))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now; it may stand still or jump, and everything must survive that.
    fn now(&self) -> Timestamp;

    /// The clock that has to be moved for this one to move; `None` when time passes by itself.
    fn by_hand(&self) -> Option<&ManualClock> {
        None
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn by_hand(&self) -> Option<&ManualClock> {
        (**self).by_hand()
    }
}

/// Waiting by a [`Clock`]; implemented for all of them. Where time passes by itself, that needs a tokio runtime, and a
/// clock that is set changes nothing about how long it takes.
pub trait ClockExt: Clock {
    /// Waits so long.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        async move {
            match self.by_hand() {
                Some(clock) => clock.reach(time).await,
                None => tokio::time::sleep(time).await,
            }
        }
    }

    /// What the work comes to, unless it takes longer; `None` then, and the work is dropped.
    fn within<F: Future + Send>(
        &self,
        time: Duration,
        work: F,
    ) -> impl Future<Output = Option<F::Output>> + Send
    where
        F::Output: Send,
    {
        async move {
            let Some(clock) = self.by_hand() else { return tokio::time::timeout(time, work).await.ok() };
            match select(pin!(work), pin!(clock.reach(time))).await {
                Either::Left((outcome, _)) => Some(outcome),
                Either::Right(_) => None,
            }
        }
    }
}

impl<C: Clock + ?Sized> ClockExt for C {}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only when told to; clones share their time. What sleeps by it wakes when it is moved far enough.
///
/// ```
/// use std::time::Duration;
/// use chat_core::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    millis: AtomicU64,
    moved: Notify,
}

impl ManualClock {
    /// A clock standing at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Hands { millis: AtomicU64::new(start.as_millis()), moved: Notify::new() }))
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }

    /// Jumps to any time, also backwards.
    pub fn set(&self, to: Timestamp) {
        self.0.millis.store(to.as_millis(), Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Waits until it was moved by this much, in whole milliseconds, or more.
    async fn reach(&self, time: Duration) {
        let whole = time.saturating_add(Duration::from_nanos(999_999));
        let end = self.now().after(whole);
        loop {
            let mut moved = pin!(self.0.moved.notified());
            // What moves it from here on is noticed.
            moved.as_mut().enable();
            if self.now() >= end {
                return;
            }
            moved.await;
        }
    }
}

impl Default for ManualClock {
    /// Stands at 2025-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_millis(1_735_689_600_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.millis.load(Ordering::SeqCst))
    }

    fn by_hand(&self) -> Option<&ManualClock> {
        Some(self)
    }
}

/// Counts from when it was made, and never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Begins to count.
    #[allow(clippy::disallowed_methods, reason = "measures how long, not when")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// How long that was ago.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A server's time as this node knows it: what the server last said, and this node's stopwatch since. A node whose wall
/// clock is wrong changes nothing; before the server said anything there is only this machine's clock. An injected clock
/// overrides both.
#[derive(Debug)]
pub struct ServerClock {
    injected: Option<Arc<dyn Clock>>,
    watch: Stopwatch,
    /// What the server's clock showed when the stopwatch began, in milliseconds.
    origin: AtomicU64,
    /// When that was last learnt, in milliseconds of the stopwatch.
    learnt_at: AtomicU64,
}

impl ServerClock {
    /// How old what is known of the server's time may be before it should be asked again.
    pub const MAX_AGE: Duration = Duration::from_secs(60);

    /// A clock of a server that said nothing yet.
    pub fn new(injected: Option<Arc<dyn Clock>>, watch: Stopwatch) -> Self {
        let origin = SystemClock.now().as_millis().saturating_sub(millis(watch.elapsed()));
        Self { injected, watch, origin: AtomicU64::new(origin), learnt_at: AtomicU64::new(0) }
    }

    /// The injected time, if there is one. Then what the server forgets by its own clock is only rubbish.
    pub fn injected(&self) -> Option<Timestamp> {
        self.injected.as_ref().map(|clock| clock.now())
    }

    /// Whether it is time to ask the server again.
    pub fn is_stale(&self) -> bool {
        let learnt_at = Duration::from_millis(self.learnt_at.load(Ordering::Relaxed));
        self.injected.is_none() && self.watch.elapsed().saturating_sub(learnt_at) > Self::MAX_AGE
    }

    /// Takes over what the server said when it was asked at `asked` on the stopwatch, and was heard just now.
    pub fn learn(&self, said: Timestamp, asked: Duration) {
        let heard = self.watch.elapsed();
        let middle = millis(asked + heard.saturating_sub(asked) / 2);
        self.origin.store(said.as_millis().saturating_sub(middle), Ordering::Relaxed);
        self.learnt_at.store(millis(heard), Ordering::Relaxed);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        self.injected().unwrap_or_else(|| {
            let origin = self.origin.load(Ordering::Relaxed);
            Timestamp::from_millis(origin.saturating_add(millis(self.watch.elapsed())))
        })
    }

    fn by_hand(&self) -> Option<&ManualClock> {
        self.injected.as_ref()?.by_hand()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn who_sleeps_by_a_manual_clock_wakes_when_it_is_moved_far_enough() {
        let clock = ManualClock::default();
        let injected = ServerClock::new(Some(Arc::new(clock.clone())), Stopwatch::start());
        let mut sleeper = pin!(injected.sleep(SECOND));
        assert!(poll!(sleeper.as_mut()).is_pending());
        clock.advance(SECOND - Duration::from_millis(1));
        assert!(poll!(sleeper.as_mut()).is_pending());
        clock.set(Timestamp::EPOCH);
        assert!(poll!(sleeper.as_mut()).is_pending(), "backwards is not forwards");
        clock.set(ManualClock::default().now().after(SECOND));
        assert!(poll!(sleeper.as_mut()).is_ready());
        clock.sleep(Duration::ZERO).await;
        let mut short = pin!(clock.sleep(Duration::from_nanos(1)));
        assert!(poll!(short.as_mut()).is_pending(), "it never wakes early");
        clock.advance(Duration::from_millis(1));
        assert!(poll!(short.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_sleeper_of_another_task_is_woken() {
        let clock = ManualClock::default();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(SECOND).await }
        });
        tokio::task::yield_now().await;
        clock.advance(SECOND);
        sleeper.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn work_has_so_much_time_by_any_clock() {
        let manual = ManualClock::default();
        let mut late = pin!(manual.within(SECOND, std::future::pending::<()>()));
        assert!(poll!(late.as_mut()).is_pending());
        manual.advance(SECOND);
        assert_eq!(late.await, None);
        assert_eq!(manual.within(Duration::ZERO, async { 1 }).await, Some(1), "what is done is done");
        let began = Stopwatch::start();
        assert_eq!(SystemClock.within(SECOND, std::future::pending::<()>()).await, None);
        assert_eq!(SystemClock.within(SECOND, async { 1 }).await, Some(1));
        SystemClock.sleep(SECOND).await;
        assert_eq!(began.elapsed(), 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_is_believed_and_this_machine_before() {
        let clock = ServerClock::new(None, Stopwatch::start());
        assert!(clock.now().as_millis().abs_diff(SystemClock.now().as_millis()) < 60_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        // It was asked 200 ms ago and answered half way.
        clock.learn(Timestamp::from_millis(1_000_500), Duration::from_millis(800));
        assert_eq!(clock.now(), Timestamp::from_millis(1_000_600));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(1_059_600));
        assert!(!clock.is_stale());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(clock.is_stale());
    }
}
