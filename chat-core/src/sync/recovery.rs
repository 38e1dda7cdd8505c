//! [`Recovery`]: from the loss of a store of volatile and derived state back to the day before (seed 004).
//!
//! ```text
//! Healthy ──it does not answer──► Degraded ──it answers──► Resyncing ──all is equal to the truth──► Healthy
//!    │                               ▲                         │ ▲
//!    └──it is another one──────────────────────────────────────┼─┘ (something differs: again)
//!                                    └──it does not answer─────┘
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use serde::Serialize;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;

/// How long to rest after the `n`th failure in a row: so many times as long, with jitter. Seed 003's reconnect strategy.
const FIRST_REST: Duration = Duration::from_millis(50);
/// The longest rest after a failure.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// How far a chat is from being whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryState {
    /// The store answers, and what is in it is equal to the truth, as far as anybody knows.
    Healthy,
    /// The store does not answer.
    Degraded,
    /// The store answers, and may have lost anything.
    Resyncing,
}

impl RecoveryState {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Resyncing => "resyncing",
        }
    }
}

impl fmt::Display for RecoveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a resynchronisation looked at, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resynced {
    /// How many things were compared with the truth.
    pub compared: u64,
    /// How many of them were not equal to it, and were repaired.
    pub repaired: u64,
    /// How many are still not equal to it.
    pub unequal: u64,
}

impl std::ops::AddAssign for Resynced {
    fn add_assign(&mut self, other: Self) {
        self.compared += other.compared;
        self.repaired += other.repaired;
        self.unequal += other.unequal;
    }
}

/// What a host knows of the store, and how it brings back what that has lost.
#[async_trait]
pub trait Resync: fmt::Debug + Send + Sync + 'static {
    /// Which life of the store answers: any number, another one after each interruption in which it may have lost anything.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    async fn life(&self) -> Result<u64>;

    /// Brings back what may be lost, and compares it with the truth. Harmless to repeat.
    ///
    /// # Errors
    /// Those of the stores.
    async fn resync(&self) -> Result<Resynced>;
}

/// Looks after a store, for ever: it is asked again and again while it is away, and brought up to the truth when it is back.
///
/// It never ends being degraded by itself, and it is healthy again only when a comparison with the truth has found nothing
/// that differs. It measures `chat_recovery_state` (0 healthy, 1 degraded, 2 resyncing), `chat_recovery_repaired_total` and
/// `chat_recoveries_total`.
#[derive(Debug)]
pub struct Recovery {
    resync: Arc<dyn Resync>,
    clock: Arc<dyn Clock>,
    every: Duration,
    life: Option<u64>,
    failures: u32,
    told: watch::Sender<Told>,
}

/// How far it is, since when, and what the last resynchronisation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// How far it is.
    pub state: RecoveryState,
    /// Since when.
    pub since: Timestamp,
    /// What the last resynchronisation found, if there was one.
    pub last: Option<Resynced>,
}

impl Recovery {
    /// Looks after a store `every` so often. It counts as healthy until something else is known.
    pub fn new(resync: Arc<dyn Resync>, clock: Arc<dyn Clock>, every: Duration) -> Self {
        let told = Told { state: RecoveryState::Healthy, since: clock.now(), last: None };
        Self { resync, clock, every, life: None, failures: 0, told: watch::Sender::new(told) }
    }

    /// How it goes, from now on.
    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Looks once, and does what is to be done; says how long to rest until the next look.
    pub async fn step(&mut self) -> Duration {
        let life = match self.resync.life().await {
            Ok(life) => life,
            Err(error) => {
                tracing::debug!(code = %error.code(), "the store does not answer");
                self.enter(RecoveryState::Degraded, None);
                return self.rest();
            }
        };
        let is_known = self.life.is_none_or(|before| before == life);
        if is_known && self.state() == RecoveryState::Healthy {
            self.life = Some(life);
            self.failures = 0;
            return self.every;
        }
        self.enter(RecoveryState::Resyncing, None);
        match self.resync.resync().await {
            Ok(found) => {
                metrics::counter!("chat_recovery_repaired_total").increment(found.repaired);
                if found.unequal == 0 {
                    // What was lost while it was looked at is found by the next look.
                    self.life = Some(life);
                    self.failures = 0;
                    metrics::counter!("chat_recoveries_total").increment(1);
                    self.enter(RecoveryState::Healthy, Some(found));
                    return self.every;
                }
                tracing::warn!(?found, "not everything is equal to the truth yet");
                self.enter(RecoveryState::Resyncing, Some(found));
            }
            Err(error) => tracing::warn!(code = %error.code(), "what was lost could not be brought back yet"),
        }
        self.rest()
    }

    /// Looks until the future is dropped.
    pub async fn run(mut self) {
        loop {
            let rest = self.step().await;
            tokio::time::sleep(rest).await;
        }
    }

    fn state(&self) -> RecoveryState {
        self.told.borrow().state
    }

    fn enter(&self, state: RecoveryState, found: Option<Resynced>) {
        let changed = self.told.send_if_modified(|told| {
            let changed = told.state != state;
            if changed {
                *told = Told { state, since: self.clock.now(), last: told.last };
            }
            told.last = found.or(told.last);
            changed || found.is_some()
        });
        if changed {
            metrics::gauge!("chat_recovery_state").set(f64::from(state as u8));
            tracing::info!(%state, ?found, "the store of what is volatile and derived");
        }
    }

    fn rest(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let longest = FIRST_REST.saturating_mul(self.failures).min(LONGEST_REST);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::error::Code;
    use parking_lot::Mutex;
    use std::collections::VecDeque;

    /// Answers as it was told to, in order.
    #[derive(Debug, Default)]
    struct Script {
        lives: Mutex<VecDeque<Result<u64>>>,
        found: Mutex<VecDeque<Result<Resynced>>>,
        resyncs: Mutex<u32>,
    }

    #[async_trait]
    impl Resync for Script {
        async fn life(&self) -> Result<u64> {
            self.lives.lock().pop_front().unwrap()
        }

        async fn resync(&self) -> Result<Resynced> {
            *self.resyncs.lock() += 1;
            self.found.lock().pop_front().unwrap()
        }
    }

    const EVERY: Duration = Duration::from_millis(250);

    fn away() -> Result<u64> {
        Err(Code::Unavailable.into())
    }

    fn unequal(unequal: u64) -> Result<Resynced> {
        Ok(Resynced { compared: 3, repaired: 1, unequal })
    }

    /// The states after each step, and how long it rested.
    async fn steps(
        lives: Vec<Result<u64>>,
        found: Vec<Result<Resynced>>,
    ) -> (Vec<(RecoveryState, Duration)>, u32) {
        let script = Arc::new(Script {
            lives: Mutex::new(lives.into()),
            found: Mutex::new(found.into()),
            ..Script::default()
        });
        let mut recovery = Recovery::new(Arc::clone(&script) as _, Arc::new(ManualClock::default()), EVERY);
        let mut states = Vec::new();
        while !script.lives.lock().is_empty() {
            let rest = recovery.step().await;
            states.push((recovery.state(), rest));
        }
        let resyncs = *script.resyncs.lock();
        (states, resyncs)
    }

    use RecoveryState::{Degraded, Healthy, Resyncing};

    #[tokio::test]
    async fn what_never_went_is_never_looked_through() {
        let (states, resyncs) = steps(vec![Ok(7), Ok(7), Ok(7)], vec![]).await;
        assert_eq!((states, resyncs), (vec![(Healthy, EVERY); 3], 0));
    }

    #[tokio::test]
    async fn it_is_healthy_again_only_when_nothing_differs() {
        let lives = vec![Ok(1), away(), away(), Ok(2), Ok(2), Ok(2), Ok(2)];
        let found = vec![Err(Code::Timeout.into()), unequal(2), unequal(0)];
        let (states, resyncs) = steps(lives, found).await;
        let states: Vec<_> = states.into_iter().map(|(state, _)| state).collect();
        assert_eq!(states, [Healthy, Degraded, Degraded, Resyncing, Resyncing, Healthy, Healthy]);
        assert_eq!(resyncs, 3);
    }

    #[tokio::test]
    async fn another_life_is_a_loss_nobody_noticed() {
        let (states, resyncs) = steps(vec![Ok(1), Ok(2), Ok(2)], vec![unequal(0)]).await;
        assert_eq!((states, resyncs), (vec![(Healthy, EVERY); 3], 1));
    }

    #[tokio::test]
    async fn a_store_that_goes_again_in_the_middle_is_degraded_again() {
        let lives = vec![Ok(1), away(), Ok(2), away(), Ok(3)];
        let (states, resyncs) = steps(lives, vec![unequal(1), unequal(0)]).await;
        let states: Vec<_> = states.into_iter().map(|(state, _)| state).collect();
        assert_eq!((states, resyncs), (vec![Healthy, Degraded, Resyncing, Degraded, Healthy], 2));
    }

    #[tokio::test]
    async fn rests_grow_up_to_two_seconds_and_it_never_gives_up() {
        let (states, _) = steps((0..200).map(|_| away()).collect(), vec![]).await;
        for (nth, (state, rest)) in (1..).zip(states) {
            let longest = FIRST_REST.saturating_mul(nth).min(LONGEST_REST);
            assert!(state == Degraded && rest <= longest && rest >= longest / 2, "{nth}: {rest:?}");
        }
    }

    #[tokio::test]
    async fn what_is_told_has_its_time_and_what_was_found() {
        let clock = ManualClock::default();
        let lives = Mutex::new(vec![Ok(1), away(), Ok(2)].into());
        let found = Mutex::new(vec![unequal(0)].into());
        let script = Arc::new(Script { lives, found, ..Script::default() });
        let mut recovery = Recovery::new(script, Arc::new(clock.clone()), EVERY);
        let told = recovery.told();
        let began = clock.now();
        for _ in 0..2 {
            clock.advance(EVERY);
            recovery.step().await;
        }
        assert_eq!(*told.borrow(), Told { state: Degraded, since: began.after(EVERY * 2), last: None });
        clock.advance(EVERY);
        recovery.step().await;
        let last = unequal(0).ok();
        assert_eq!(*told.borrow(), Told { state: Healthy, since: began.after(EVERY * 3), last });
    }
}
