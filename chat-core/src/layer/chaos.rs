//! [`Chaos`]: what goes wrong in production, on purpose.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::timeout::late;
use crate::clock::{Clock, ClockExt};
use crate::error::{Code, Error, Result};
use crate::store::{Attempt, Call, Operation, Policy};

/// What goes wrong, and in which share of the calls (0 to 1); by default nothing does.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChaosOptions {
    /// The call is not made: [`Code::Unavailable`], and nothing changed.
    pub refuse: f64,
    /// The call is made, and when it went well its reply is lost: [`Code::Timeout`], and nobody knows what changed.
    pub lose: f64,
    /// The call is not made, and no reply ever comes. Without a [`Timeout`](super::Timeout) around it, that is for ever.
    pub hang: f64,
    /// The call waits before it is made, whatever becomes of it.
    pub delay: f64,
    /// The longest such wait.
    pub longest_delay: Duration,
    /// Only these calls; all by default.
    pub only: Option<fn(Operation) -> bool>,
    /// Where chance begins: the same calls in the same order meet the same fate. By chance when not given.
    pub seed: Option<u64>,
}

/// For tests and game days: refuses, delays and hangs calls and loses replies, by chance from a seed that is logged.
#[derive(Debug)]
pub struct Chaos {
    options: ChaosOptions,
    clock: Arc<dyn Clock>,
    dice: Dice,
}

impl Chaos {
    /// This much of it; waits are by this clock.
    pub fn new(options: ChaosOptions, clock: Arc<dyn Clock>) -> Self {
        let dice = options.seed.map_or_else(Dice::default, Dice::new);
        tracing::warn!(seed = dice.seed(), ?options, "chaos reigns");
        Self { options, clock, dice }
    }

    /// The seed that repeats it.
    pub fn seed(&self) -> u64 {
        self.dice.seed()
    }
}

impl Policy for Chaos {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let ChaosOptions { refuse, lose, hang, delay, longest_delay, only, .. } = self.options;
        if only.is_some_and(|concerns| !concerns(call.operation)) {
            return attempt.start().await;
        }
        // Always as many draws, so that the fate of one call does not depend on the options of another.
        let (is_late, wait, fate) =
            (self.dice.share() < delay, self.dice.part_of(longest_delay), self.dice.share());
        if is_late {
            self.clock.sleep(wait).await;
        }
        if fate < refuse {
            let error = Error::new(Code::Unavailable).during(call.operation.name);
            return Err(error.with("chaos", self.seed()));
        }
        if fate < refuse + lose {
            let lost = attempt.start().await.map(drop);
            return lost.and(Err(late(call, Duration::ZERO).with("chaos", self.seed())));
        }
        if fate < refuse + lose + hang {
            return pending().await;
        }
        attempt.start().await
    }
}
