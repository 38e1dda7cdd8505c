//! Calls that go as it is written.

use std::future::pending;
use std::time::Duration;

use chat_core::clock::{Clock, ClockExt, ManualClock, Timestamp};
use chat_core::error::{Code, Error, Result};
use chat_core::layer::{Attempt, Call, Operation, Policy, Repeat};
use parking_lot::Mutex;

pub(crate) const READ: Operation = Operation { name: "test.read", repeat: Repeat::Read };
pub(crate) const WRITE: Operation = Operation { name: "test.write", repeat: Repeat::Write };
pub(crate) const ALREADY: Operation = Operation { name: "test.already", repeat: Repeat::Already };
pub(crate) const ONCE: Operation = Operation { name: "test.once", repeat: Repeat::Once };

/// How an attempt goes.
pub(crate) enum Play {
    /// Well.
    Fine,
    /// Well, after so long.
    After(Duration),
    /// Never.
    Hang,
    /// Like this.
    Fail(Error),
}

/// Away, and nothing changed.
pub(crate) fn away() -> Play {
    Play::Fail(Code::Unavailable.into())
}

/// Nobody knows what changed.
pub(crate) fn lost() -> Play {
    Play::Fail(Error::new(Code::Timeout).effect_unknown())
}

/// Attempts that go, each by its number from 0 on, as `plays` says; and when each began.
pub(crate) struct Script<F> {
    clock: ManualClock,
    plays: F,
    began: Mutex<Vec<Timestamp>>,
}

impl<F: Fn(usize) -> Play + Sync> Script<F> {
    pub(crate) fn new(clock: &ManualClock, plays: F) -> Self {
        Self { clock: clock.clone(), plays, began: Mutex::default() }
    }

    /// How many attempts there were.
    pub(crate) fn attempts(&self) -> usize {
        self.began.lock().len()
    }

    /// How long it was between attempts that take no time.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        self.began.lock().windows(2).map(|two| two[1].since(two[0])).collect()
    }

    /// Calls it through a policy.
    pub(crate) async fn run(&self, policy: &impl Policy, call: impl Into<Call>) -> Result<usize> {
        policy.run(call.into(), self).await
    }
}

impl<F: Fn(usize) -> Play + Sync> Attempt for Script<F> {
    type Answer = usize;

    async fn start(&self) -> Result<usize> {
        let nth = {
            let mut began = self.began.lock();
            began.push(self.clock.now());
            began.len() - 1
        };
        match (self.plays)(nth) {
            Play::Fine => Ok(nth),
            Play::After(time) => {
                self.clock.sleep(time).await;
                Ok(nth)
            }
            Play::Hang => pending().await,
            Play::Fail(error) => Err(error),
        }
    }
}
