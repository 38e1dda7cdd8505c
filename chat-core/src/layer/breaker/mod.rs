//! [`Breaker`]: does not ask what has failed again and again, for a while.

mod machine;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::machine::{Machine, Outcome, Ticket};
use super::dice::Dice;
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::observe::Health;
use crate::store::{Attempt, Call, Policy};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// How many outages in a row open it: 5 by default, as in seeds 001 and 003. None counts as one.
    pub failures: u32,
    /// How long without any answer opens it, from the second outage in a row: 2 s by default, as in seed 003. One slow call
    /// alone is no outage.
    pub silence: Duration,
    /// How long it stays open before it lets calls through to see: 30 s by default, as in seed 001.
    pub rest: Duration,
    /// By up to which share a rest is shorter, by chance, so that nodes do not look all at once (0 to 1): 0.1 by default.
    pub jitter: f64,
    /// How many calls it lets through to see, and how many of them have to be answered: 1 by default. None counts as one.
    pub probes: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 5,
            silence: Duration::from_secs(2),
            rest: Duration::from_secs(30),
            jitter: 0.1,
            probes: 1,
        }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// Some calls went through to see; the others are refused until they are back.
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

/// Seed 001's `CircuitBreaker`. Kind of state: **volatile**, of this process. One breaker stands for one backend, and may
/// guard all of its ports.
///
/// Only outages count, and only in a row: [`Code::Unavailable`] and [`Code::Timeout`]. Any other error is an answer; what
/// was wrong with a request says nothing about the backend. After its rest it lets a few calls through: one outage opens
/// it again, and when all are answered it closes. A call that is dropped decides nothing, and gives its place to the next
/// one. An answer to a call from before the breaker last changed counts for nothing.
///
/// Refused calls fail with [`Code::Unavailable`] at once; nothing changed, and the error says when to try again.
///
/// | metric | kind | labels | |
/// |---|---|---|---|
/// | `chat_breaker_open` | gauge | `breaker` | 1 from when it opens until it closes, else 0 |
/// | `chat_breaker_refused_total` | counter | `breaker` | calls refused |
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
/// breaker.reset();
/// assert!(breaker.call(|| async { Ok(()) }).await.is_ok());
/// # }
/// ```
pub struct Breaker {
    name: &'static str,
    jitter: f64,
    clock: Arc<dyn Clock>,
    dice: Dice,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// A closed breaker, by this name in metrics.
    pub fn new(name: &'static str, options: BreakerOptions, clock: Arc<dyn Clock>) -> Self {
        // What is not a number is none.
        let jitter = if options.jitter > 0.0 { options.jitter.min(1.0) } else { 0.0 };
        let machine = Mutex::new(Machine::new(options));
        Self { name, jitter, clock, dice: Dice::default(), machine }
    }

    /// With its jitter from this seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.dice = Dice::new(seed);
        self
    }

    /// Calls, unless it is open.
    ///
    /// # Errors
    /// Those of the call; [`Code::Unavailable`] without calling, with the time until it is tried again.
    pub async fn call<T, F: Future<Output = Result<T>>>(&self, call: impl FnOnce() -> F) -> Result<T> {
        let mut permit = self.enter()?;
        let answer = call().await;
        permit.outcome = match &answer {
            Err(error) if is_outage(error) => Outcome::Outage,
            _ => Outcome::Answer,
        };
        answer
    }

    /// How it stands.
    pub fn state(&self) -> BreakerState {
        self.machine.lock().state()
    }

    /// How what it guards is: disconnected while it is open, degraded while it is half-open.
    pub fn health(&self) -> Health<BreakerState> {
        match self.state() {
            BreakerState::Closed => Health::Ok,
            BreakerState::HalfOpen => Health::Degraded(vec![BreakerState::HalfOpen]),
            BreakerState::Open => Health::Disconnected,
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> BreakerStats {
        self.machine.lock().stats()
    }

    /// Closes it, whatever was (seed 001's `reset`).
    pub fn reset(&self) {
        self.decide(Machine::reset);
    }

    fn enter(&self) -> Result<Permit<'_>> {
        let now = self.clock.now();
        match self.decide(|machine| machine.admit(now)) {
            Ok(ticket) => Ok(Permit { breaker: self, ticket, outcome: Outcome::Dropped }),
            Err(again_in) => {
                metrics::counter!("chat_breaker_refused_total", "breaker" => self.name).increment(1);
                let error = Error::new(Code::Unavailable).with("reason", "the breaker is open");
                Err(error.with("breaker", self.name).retry_in(again_in))
            }
        }
    }

    /// Lets the machine decide, and tells of it when it changed.
    fn decide<T>(&self, decide: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine.lock();
        let before = machine.state();
        let decision = decide(&mut machine);
        let after = machine.state();
        drop(machine);
        if before != after {
            let is_open = after != BreakerState::Closed;
            metrics::gauge!("chat_breaker_open", "breaker" => self.name).set(f64::from(u8::from(is_open)));
            tracing::warn!(breaker = self.name, ?before, ?after, "a breaker changed");
        }
        decision
    }
}

impl Default for Breaker {
    /// One named `store`.
    fn default() -> Self {
        Self::new("store", BreakerOptions::default(), Arc::new(SystemClock))
    }
}

impl Policy for Breaker {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let outcome = self.call(|| attempt.start()).await;
        outcome.map_err(|error| match error.operation() {
            Some(_) => error,
            None => error.during(call.operation.name),
        })
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

/// Whether the backend did not answer. What was wrong with a request is an answer.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error.code(), Code::Unavailable | Code::Timeout)
}

/// A call that was let through; settled when it is dropped.
struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Ticket,
    outcome: Outcome,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let Breaker { clock, dice, jitter, .. } = self.breaker;
        let (now, rest) = (clock.now(), 1.0 - jitter * dice.share());
        self.breaker.decide(|machine| machine.settle(self.ticket, self.outcome, now, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use futures::FutureExt;

    const REST: Duration = Duration::from_secs(30);

    fn breaker(failures: u32) -> (Breaker, ManualClock) {
        with(BreakerOptions { failures, jitter: 0.0, ..BreakerOptions::default() })
    }

    fn with(options: BreakerOptions) -> (Breaker, ManualClock) {
        let clock = ManualClock::default();
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
            for code in
                [Code::UserInvalid, Code::Forbidden, Code::RateLimited, Code::QueueFull, Code::Conflict]
            {
                says(&breaker, code).await;
            }
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
    async fn silence_opens_it_but_one_slow_call_does_not() {
        let (breaker, clock) = breaker(5);
        let slow = |code: Code| {
            let clock = clock.clone();
            async move {
                clock.advance(Duration::from_secs(2));
                Err::<(), _>(code.into())
            }
        };
        breaker.call(|| slow(Code::Timeout)).await.unwrap_err();
        assert!(fine(&breaker).await);
        breaker.call(|| slow(Code::Timeout)).await.unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Closed);
        says(&breaker, Code::Unavailable).await;
        assert_eq!(breaker.state(), BreakerState::Open, "two seconds, and nobody answered");
    }

    #[tokio::test]
    async fn after_its_rest_one_call_decides() {
        let (breaker, clock) = breaker(1);
        says(&breaker, Code::Unavailable).await;
        assert_eq!(breaker.health(), Health::Disconnected);
        clock.advance(REST - Duration::from_millis(1));
        assert!(!fine(&breaker).await);
        clock.advance(Duration::from_millis(1));
        let (answer, answered) = tokio::sync::oneshot::channel::<Result<()>>();
        let mut probe = Box::pin(breaker.call(|| async { answered.await.unwrap() }));
        assert!(probe.as_mut().now_or_never().is_none());
        assert_eq!(breaker.health(), Health::Degraded(vec![BreakerState::HalfOpen]));
        for _ in 0..20 {
            assert!(!fine(&breaker).await, "the others wait for the one");
        }
        answer.send(Err(Code::Timeout.into())).unwrap();
        probe.await.unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(REST);
        assert!(fine(&breaker).await);
        assert_eq!((breaker.health(), breaker.stats().opened), (Health::Ok, 2));
    }

    #[tokio::test]
    async fn of_a_hundred_callers_as_many_probe_as_may() {
        let (breaker, clock) = with(BreakerOptions { failures: 1, probes: 3, ..BreakerOptions::default() });
        let breaker = Arc::new(breaker);
        says(&breaker, Code::Unavailable).await;
        clock.advance(REST);
        let (asked, go) =
            (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (breaker, asked, go) = (Arc::clone(&breaker), Arc::clone(&asked), Arc::clone(&go));
                let answer = || async move {
                    asked.add_permits(1);
                    drop(go.acquire().await);
                    Ok(())
                };
                tokio::spawn(async move { breaker.call(answer).await.is_ok() })
            })
            .collect();
        drop(asked.acquire_many(3).await.unwrap());
        while breaker.stats().refused < 97 {
            tokio::task::yield_now().await;
        }
        assert_eq!((asked.available_permits(), breaker.state()), (3, BreakerState::HalfOpen));
        go.add_permits(1);
        let mut through = 0;
        for caller in callers {
            through += usize::from(caller.await.unwrap());
        }
        assert_eq!((through, breaker.state()), (3, BreakerState::Closed));
    }

    #[tokio::test]
    async fn a_dropped_call_decides_nothing() {
        let (breaker, clock) = breaker(1);
        assert!(breaker.call(std::future::pending::<Result<()>>).now_or_never().is_none());
        assert_eq!((breaker.state(), breaker.stats().failures), (BreakerState::Closed, 0));
        says(&breaker, Code::Unavailable).await;
        clock.advance(REST);
        assert!(breaker.call(std::future::pending::<Result<()>>).now_or_never().is_none());
        assert!(fine(&breaker).await, "the next one sees");
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_probe_that_never_ends_is_not_waited_for() {
        let (breaker, clock) = breaker(1);
        says(&breaker, Code::Unavailable).await;
        clock.advance(REST);
        let mut stuck = Box::pin(breaker.call(std::future::pending::<Result<()>>));
        assert!(stuck.as_mut().now_or_never().is_none());
        assert!(!fine(&breaker).await);
        clock.advance(REST);
        assert!(fine(&breaker).await);
        drop(stuck);
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

    #[tokio::test]
    async fn rests_differ_within_their_jitter_and_repeat_from_a_seed() {
        let rests = |seed| async move {
            let (breaker, clock) = with(BreakerOptions { failures: 1, ..BreakerOptions::default() });
            let breaker = breaker.seeded(seed);
            let mut rests = Vec::new();
            for _ in 0..50 {
                says(&breaker, Code::Unavailable).await;
                let refused = breaker.call(|| async { Ok(()) }).await.unwrap_err();
                rests.push(refused.retry_after().unwrap());
                clock.advance(REST);
            }
            rests
        };
        let all = rests(7).await;
        assert!(all.iter().all(|rest| (REST.mul_f64(0.9)..=REST).contains(rest)), "{all:?}");
        assert!(all.iter().max() > all.iter().min());
        assert_eq!(all, rests(7).await);
    }
}
