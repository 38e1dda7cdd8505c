//! [`Retry`]: tries again what may be tried again, a little later, and not for ever.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::is_outage;
use super::dice::Dice;
use super::timeout::late;
use crate::clock::{Clock, ClockExt, SystemClock};
use crate::error::{Effect, Error, Result};
use crate::store::{Attempt, Call, Policy};

/// How often, how long and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryOptions {
    /// How many attempts a call has in all: 3 by default. None counts as one.
    pub attempts: u32,
    /// How long a call may take with all its attempts: 10 s by default. What it was told to wait comes on top.
    pub deadline: Duration,
    /// The longest pause after the first attempt; it doubles with every other one: 50 ms by default, as in seed 003.
    pub pause: Duration,
    /// The longest pause there is: 2 s by default, as in seed 003.
    pub longest_pause: Duration,
    /// How many retries each call earns for all calls together: 0.1 by default, so that in an outage at most a tenth is
    /// added to what the backend has to bear.
    pub share: f64,
    /// How many retries can be saved up: 100 by default, and a new one begins with all of them.
    pub saved: u32,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 3,
            deadline: Duration::from_secs(10),
            pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            share: 0.1,
            saved: 100,
        }
    }
}

/// Makes a call again when that may help and cannot harm.
///
/// - It may help when the backend is away, or when the error [is transient](Error::is_transient) and says when to come
///   back. A queue that is full does not become emptier by being asked again at once.
/// - It cannot harm when nothing changed, or when the operation
///   [repeats harmlessly](crate::store::Operation::repeats_harmlessly). So what is handed out once is not asked for again when it
///   may have been handed out, and what another may have changed meanwhile is not changed back.
/// - Not before the time that the error says, and otherwise after a pause by chance between nothing and a bound that
///   doubles ("full jitter", Brooker, 2015), so that those who failed together do not come back together.
/// - Not when the deadline would be over by then: an open [`Breaker`](super::Breaker) says when to come back, so what it
///   refuses fails at once.
/// - Not when the budget is spent, which all calls share: so retries never multiply an outage.
///
/// The error is that of the last attempt. It says that the operation may have taken hold when any attempt may have, and
/// how many attempts there were.
///
/// | metric | kind | labels | |
/// |---|---|---|---|
/// | `chat_retries_total` | counter | `backend`, `operation` | attempts after the first one |
/// | `chat_retries_denied_total` | counter | `backend` | retries there was no budget for |
#[derive(Debug)]
pub struct Retry {
    backend: &'static str,
    options: RetryOptions,
    clock: Arc<dyn Clock>,
    dice: Dice,
    budget: Budget,
}

impl Retry {
    /// Tries calls of a backend of this name again. Pauses and deadlines are by this clock.
    pub fn new(backend: &'static str, options: RetryOptions, clock: Arc<dyn Clock>) -> Self {
        Self { backend, options, clock, dice: Dice::default(), budget: Budget::new(&options) }
    }

    /// With its pauses from this seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.dice = Dice::new(seed);
        self
    }

    /// How many retries there is budget for.
    pub fn budget(&self) -> u32 {
        self.budget.left()
    }

    /// How long to pause before the next attempt, after so many that failed; `None` to give up.
    fn pause(&self, call: Call, error: &Error, attempts: u32, left: Duration) -> Option<Duration> {
        let is_harmless = error.effect() == Effect::None || call.operation.repeats_harmlessly();
        let may_help = is_outage(error) || error.is_transient() && error.retry_after().is_some();
        if attempts >= self.options.attempts || !may_help || !is_harmless {
            return None;
        }
        let doubled = 1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX);
        let bound = self.options.pause.saturating_mul(doubled).min(self.options.longest_pause);
        let pause = self.dice.part_of(bound).max(error.retry_after().unwrap_or_default());
        if pause >= left {
            return None;
        }
        if !self.budget.spend() {
            metrics::counter!("chat_retries_denied_total", "backend" => self.backend).increment(1);
            return None;
        }
        Some(pause)
    }
}

impl Default for Retry {
    /// For a backend named `store`.
    fn default() -> Self {
        Self::new("store", RetryOptions::default(), Arc::new(SystemClock))
    }
}

impl Policy for Retry {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        self.budget.earn();
        let deadline = self.options.deadline.saturating_add(call.waits);
        let began = self.clock.now();
        let (mut attempts, mut left, mut may_have_held) = (1, deadline, false);
        loop {
            // Gone before the pause; pinned, so that it is in this future once.
            let outcome = {
                let attempt = pin!(attempt.start());
                self.clock.within(left, attempt).await
            };
            let error = match outcome.unwrap_or_else(|| Err(late(call, left))) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            may_have_held |= error.effect() == Effect::Unknown;
            left = deadline.saturating_sub(self.clock.now().since(began));
            let Some(pause) = self.pause(call, &error, attempts, left) else {
                return Err(told(error, attempts, may_have_held));
            };
            metrics::counter!(
                "chat_retries_total", "backend" => self.backend, "operation" => call.operation.name
            )
            .increment(1);
            tracing::debug!(operation = call.operation.name, attempts, code = %error.code(), ?pause, "again");
            self.clock.sleep(pause).await;
            left = deadline.saturating_sub(self.clock.now().since(began));
            if left.is_zero() {
                return Err(told(error, attempts, may_have_held));
            }
            attempts += 1;
        }
    }
}

/// The last error, with what is known of all attempts.
fn told(error: Error, attempts: u32, may_have_held: bool) -> Error {
    let error = if may_have_held { error.effect_unknown() } else { error };
    if attempts > 1 { error.with("attempts", attempts) } else { error }
}

/// What may be spent on retries, in thousandths of one.
#[derive(Debug)]
struct Budget {
    saved: AtomicU64,
    most: u64,
    share: u64,
}

impl Budget {
    const ONE: u64 = 1_000;

    fn new(options: &RetryOptions) -> Self {
        let most = u64::from(options.saved) * Self::ONE;
        // Out of bounds, and what is not a number, become the nearest bound.
        let share = (options.share.clamp(0.0, 1_000.0) * Self::ONE as f64) as u64;
        Self { saved: AtomicU64::new(most), most, share }
    }

    fn earn(&self) {
        let earned = |saved: u64| (saved < self.most).then(|| self.most.min(saved + self.share));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    fn spend(&self) -> bool {
        let spent = |saved: u64| saved.checked_sub(Self::ONE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }

    fn left(&self) -> u32 {
        u32::try_from(self.saved.load(Ordering::Relaxed) / Self::ONE).unwrap_or(u32::MAX)
    }
}
