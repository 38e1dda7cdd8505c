//! A hybrid logical clock, which orders what is waiting in the outbox.
//!
//! A stamp is the server's time in milliseconds, times 2^16, and then whatever makes it greater than every stamp this node
//! has given or read. Whatever was caused by something this node has seen therefore comes after it; and what is merely
//! later comes later, as far as the nodes agree about the server's time.
//! (Kulkarni et al., *Logical Physical Clocks*, 2014.)

use std::sync::atomic::{AtomicI64, Ordering};

use chat_core::clock::Timestamp;

/// Bits below the milliseconds.
const COUNTER_BITS: u32 = 16;

/// Gives stamps, each greater than all before.
#[derive(Debug, Default)]
pub(crate) struct Stamps(AtomicI64);

impl Stamps {
    /// The first of `count` stamps in a row, greater than what was given or seen before, and than `after`.
    pub(crate) fn next(&self, now: Timestamp, after: i64, count: i64) -> i64 {
        let time = i64::try_from(now.as_millis() << COUNTER_BITS).unwrap_or(i64::MAX >> 1);
        let first = |last: i64| time.max(last.max(after).saturating_add(1));
        let last = |last: i64| Some(first(last).saturating_add(count.saturating_sub(1)));
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, last) {
            Ok(before) | Err(before) => first(before),
        }
    }

    /// Takes notice of a stamp that was read.
    pub(crate) fn see(&self, stamp: i64) {
        self.0.fetch_max(stamp, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_though_time_stands_still_or_goes_back() {
        let stamps = Stamps::default();
        let at = |millis| Timestamp::from_millis(millis);
        let first = stamps.next(at(1_000), 0, 3);
        assert_eq!(first, 1_000 << 16);
        assert_eq!(stamps.next(at(1_000), 0, 1), first + 3);
        assert_eq!(stamps.next(at(10), 0, 1), first + 4);
        assert_eq!(stamps.next(at(10), first + 100, 1), first + 101, "after what it follows from");
        stamps.see(first + 200);
        assert_eq!(stamps.next(at(10), 0, 1), first + 201);
        assert_eq!(stamps.next(at(2_000), 0, 1), 2_000 << 16);
    }
}
