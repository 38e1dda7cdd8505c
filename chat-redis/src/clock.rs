//! The server's time, known to the node: deadlines in a shared store are measured with the store's own clock.
//!
//! A node learns it from `TIME` replies, one per connection and one per [`ServerClock::MAX_AGE`], and its own monotonic
//! clock in between, so native commands need no script to be safe from skew. Scripts ask `TIME` themselves.

use chat_core::clock::{ServerClock, Timestamp};
use redis::{RedisResult, Value};

/// The first argument of every script: the injected time, or nothing, which lets the script ask `TIME`.
pub(crate) fn argument(clock: &ServerClock) -> String {
    clock.injected().map(|now| now.as_millis().to_string()).unwrap_or_default()
}

/// The answer to `TIME`.
pub(crate) fn time(answer: &Value) -> RedisResult<Timestamp> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value_ref(answer)?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_seconds_and_microseconds() {
        let parts = ["1000", "500999"].map(|part| Value::BulkString(part.into()));
        assert_eq!(time(&Value::Array(parts.to_vec())).unwrap(), Timestamp::from_millis(1_000_500));
        assert!(time(&Value::Nil).is_err());
    }
}
