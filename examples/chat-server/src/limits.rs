//! How much one socket may ask for. What users may do is limited by the chat's own
//! [`RateLimiter`](chat_core::store::RateLimiter); a socket lives on one node, and its limit lies far above what is worth
//! remembering one by one.

use std::collections::VecDeque;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::error::{Code, Error, Result};
use chat_core::store::limits::Limit;

/// How finely time is kept; an admission is remembered for at most this much longer than the window.
const GRAIN: Duration = Duration::from_millis(100);

/// A sliding window, counted by grains of time: it never admits more than its limit in any window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    grains: VecDeque<(Timestamp, u32)>,
    admitted: u32,
}

impl Window {
    /// Admits one more, if it fits.
    ///
    /// # Errors
    /// [`Code::RateLimited`], and after how long there is room again.
    pub(crate) fn admit(&mut self, limit: Limit, now: Timestamp) -> Result<()> {
        self.forget(limit, now);
        if self.admitted >= limit.max {
            let oldest = self.grains.front().map_or(now, |(grain, _)| *grain);
            return Err(Error::new(Code::RateLimited).retry_in(end(oldest, limit).since(now).max(GRAIN)));
        }
        // A clock that was set back does not make time begin anew.
        let grain = begin(now).max(self.grains.back().map_or(Timestamp::EPOCH, |(grain, _)| *grain));
        match self.grains.back_mut() {
            Some((last, count)) if *last == grain => *count += 1,
            _ => self.grains.push_back((grain, 1)),
        }
        self.admitted += 1;
        Ok(())
    }

    fn forget(&mut self, limit: Limit, now: Timestamp) {
        while let Some((grain, count)) = self.grains.front()
            && end(*grain, limit) <= now
        {
            self.admitted -= count;
            self.grains.pop_front();
        }
    }
}

/// The beginning of the grain a moment lies in.
fn begin(at: Timestamp) -> Timestamp {
    let grain = u64::try_from(GRAIN.as_millis()).unwrap_or(1);
    Timestamp::from_millis(at.as_millis() / grain * grain)
}

/// When the last moment of a grain is out of the window.
fn end(grain: Timestamp, limit: Limit) -> Timestamp {
    grain.after(GRAIN).after(limit.window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::clock::{Clock, ManualClock};

    const LIMIT: Limit = Limit::per_minute(3);

    #[test]
    fn no_minute_ever_holds_more_than_the_limit() {
        let (clock, mut window, mut admitted) = (ManualClock::default(), Window::default(), Vec::new());
        for step in 0..2_000_u64 {
            clock.advance(Duration::from_millis(step * 7_919 % 977));
            if window.admit(Limit::per_minute(20), clock.now()).is_ok() {
                admitted.push(clock.now());
            }
        }
        assert!(admitted.len() > 100);
        for pair in admitted.windows(21) {
            assert!(pair[20].since(pair[0]) >= Duration::from_secs(60));
        }
    }

    #[test]
    fn the_wait_it_names_is_enough() {
        let (clock, mut window) = (ManualClock::default(), Window::default());
        for _ in 0..3 {
            assert!(window.admit(LIMIT, clock.now()).is_ok());
            clock.advance(Duration::from_secs(1));
        }
        let refused = window.admit(LIMIT, clock.now()).unwrap_err();
        assert_eq!(refused.code(), Code::RateLimited);
        clock.advance(refused.retry_after().unwrap());
        assert!(window.admit(LIMIT, clock.now()).is_ok());
        assert!(window.admit(LIMIT, clock.now()).is_err(), "one place was free, not more");
    }

    #[test]
    fn a_clock_set_back_opens_nothing() {
        let (clock, mut window) = (ManualClock::default(), Window::default());
        for _ in 0..3 {
            assert!(window.admit(LIMIT, clock.now()).is_ok());
        }
        clock.set(Timestamp::EPOCH);
        assert!(window.admit(LIMIT, clock.now()).is_err());
    }
}
