//! The server's time, known to the node: deadlines in a shared store are measured with the store's own clock.
//!
//! A node learns it from `TIME` replies, one per connection and one per [`MAX_AGE`], and its own monotonic clock in
//! between, so a node whose wall clock is wrong changes nothing, and native commands need no script to be safe from
//! skew. Scripts ask `TIME` themselves. An injected clock overrides both. Before the first connection there is only this
//! machine's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, SystemClock, Timestamp};
use redis::{RedisResult, Value};

/// How old what is known of the server's clock may be before it is asked again.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(60);

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

/// The time as the server has it.
#[derive(Debug)]
pub(crate) struct ServerClock {
    injected: Option<Arc<dyn Clock>>,
    watch: Stopwatch,
    /// What the server's clock showed when the stopwatch began, in milliseconds.
    origin: AtomicU64,
    /// When that was last learnt, in milliseconds of the stopwatch.
    learnt_at: AtomicU64,
}

impl ServerClock {
    pub(crate) fn new(injected: Option<Arc<dyn Clock>>, watch: Stopwatch) -> Self {
        let origin = SystemClock.now().as_millis().saturating_sub(millis(watch.elapsed()));
        Self { injected, watch, origin: AtomicU64::new(origin), learnt_at: AtomicU64::new(0) }
    }

    /// The server's time, as good as it is known: within a round trip of the truth once there was a connection.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.injected {
            Some(clock) => clock.now(),
            None => Timestamp::from_millis(
                self.origin.load(Ordering::Relaxed).saturating_add(millis(self.watch.elapsed())),
            ),
        }
    }

    /// The first argument of every script: the injected time, or nothing, which lets the script ask `TIME`.
    pub(crate) fn argument(&self) -> String {
        self.injected.as_ref().map(|clock| clock.now().as_millis().to_string()).unwrap_or_default()
    }

    /// Whether the time is injected. Then what Redis forgets by itself is only rubbish, to be kept for long enough.
    pub(crate) fn is_injected(&self) -> bool {
        self.injected.is_some()
    }

    pub(crate) fn is_stale(&self) -> bool {
        let learnt_at = Duration::from_millis(self.learnt_at.load(Ordering::Relaxed));
        self.injected.is_none() && self.watch.elapsed().saturating_sub(learnt_at) > MAX_AGE
    }

    /// Takes over the answer to `TIME`, asked at `asked` on the stopwatch.
    pub(crate) fn learn(&self, answer: &Value, asked: Duration) -> RedisResult<()> {
        let (seconds, micros): (u64, u64) = redis::from_redis_value_ref(answer)?;
        let heard = self.watch.elapsed();
        let server = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        let middle = millis(asked + heard.saturating_sub(asked) / 2);
        self.origin.store(server.saturating_sub(middle), Ordering::Relaxed);
        self.learnt_at.store(millis(heard), Ordering::Relaxed);
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: &str, micros: &str) -> Value {
        Value::Array(vec![Value::BulkString(seconds.into()), Value::BulkString(micros.into())])
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_is_believed_and_this_machine_before() {
        let clock = ServerClock::new(None, Stopwatch::start());
        assert!(clock.now().as_millis().abs_diff(SystemClock.now().as_millis()) < 60_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        // It was asked 200 ms ago and answered half way.
        clock.learn(&time("1000", "500999"), Duration::from_millis(800)).unwrap();
        assert_eq!(clock.now(), Timestamp::from_millis(1_000_600));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(1_059_600));
        assert!(!clock.is_stale());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(clock.is_stale());
        assert!(clock.learn(&Value::Nil, Duration::ZERO).is_err());
    }
}
