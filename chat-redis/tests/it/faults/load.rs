//! Writes that can be recounted: whatever happened to the connection, the server has what was acknowledged, what was
//! refused is not there, and what was left open happened once or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::domain::ClientKey;
use chat_core::error::{Code, Effect, Error, Result};
use chat_core::store::RateLimiter;
use chat_core::store::limits::{Attempt, Decision, Limit, MAX_ADMITTED, MAX_WINDOW, Rule, Subject};
use chat_redis::connection::Timing;
use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::wait::eventually;
use tokio::task::JoinHandle;

/// What a call may take beyond its deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Far below what one subject may be charged.
const PER_SUBJECT: u64 = 5_000;

/// For faults that the caller must not notice: nothing runs out on a busy machine. Now and then a request is lost inside
/// the driver when its connection breaks at that very moment, and only the response timeout notices.
pub(crate) fn patient() -> Timing {
    let long = Duration::from_secs(30);
    Timing {
        connect: long,
        response: long / 6,
        operation: long,
        longest_pause: Duration::from_millis(50),
        ..Timing::default()
    }
}

/// For outages.
pub(crate) fn brisk() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        response: Duration::from_millis(250),
        operation: Duration::from_millis(750),
        longest_pause: Duration::from_millis(50),
        ..Timing::default()
    }
}

/// The ports on a service, and how long a call may take.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) redis: Redis,
    pub(crate) service: RedisService,
    timing: Timing,
}

impl Client {
    /// On a service that connects with its first call.
    pub(crate) fn lazy(url: &str, timing: Timing) -> Self {
        let mut config = RedisConfig::from_url(url).unwrap();
        config.timing = timing;
        let service = RedisService::lazy(&config).unwrap();
        Self { redis: Redis::new(service.clone(), &config.keys), service, timing }
    }

    /// A call, which never takes longer than its deadline.
    pub(crate) async fn bounded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let deadline = self.timing.operation;
        let answer = tokio::time::timeout(deadline + SLACK, call).await;
        answer.unwrap_or_else(|_| panic!("a call took longer than its deadline of {deadline:?}"))
    }

    /// Charges an attempt: how many of its subject have been charged so far.
    pub(crate) async fn charge(&self, subject: &str, op: &str) -> Result<u64> {
        Ok(self.charge_all(&[subject], op).await?[0])
    }

    /// Charges an attempt of each subject, in one batch.
    pub(crate) async fn charge_all(&self, subjects: &[&str], op: &str) -> Result<Vec<u64>> {
        let attempts: Vec<Attempt> = subjects.iter().map(|subject| attempt(subject, op)).collect();
        let decisions = self.bounded(self.redis.limits.check_many(&attempts)).await?;
        Ok(decisions.iter().map(charged).collect())
    }

    /// Charges until it works: how many of its subject have been charged then.
    pub(crate) async fn charge_at_last(&self, subject: &str, op: &str) -> u64 {
        let works = || async { self.charge(subject, op).await.map_err(|error| honest(&error)).ok() };
        eventually("a call to work again", works).await
    }

    /// Charges until it is refused. What is sent just before its deadline may be left open.
    pub(crate) async fn refused_at_last(&self, subject: &str) {
        let refusal = || async {
            let error = self.charge(subject, "refused").await.unwrap_err();
            honest(&error);
            (error.effect() == Effect::None).then_some(())
        };
        eventually("a refusal", refusal).await;
    }

    /// Waits until the loss of the connection is seen.
    pub(crate) async fn loss(&self) {
        let lost = || async { (!self.service.is_available()).then_some(()) };
        eventually("the loss to be seen", lost).await;
    }
}

/// Something that may be done once, and is counted.
pub(crate) fn attempt(subject: &str, op: &str) -> Attempt {
    let limit = Limit::new(MAX_ADMITTED, MAX_WINDOW);
    let subject = Subject::new("load", subject).unwrap();
    Attempt::new(subject, ClientKey::new(op).unwrap()).under(Rule::new("load", limit))
}

fn charged(decision: &Decision) -> u64 {
    match decision {
        Decision::Allow { remaining } => u64::from(MAX_ADMITTED - remaining),
        Decision::Deny { .. } => panic!("{decision:?}"),
    }
}

/// What an outage may look like: nothing happened, or nobody knows.
pub(crate) fn honest(error: &Error) {
    let both = (error.code(), error.effect());
    assert!(
        matches!(both, (Code::Unavailable, Effect::None) | (Code::Timeout, Effect::Unknown)),
        "{both:?}: {error:?}"
    );
}

/// An outage in which nothing happened.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T>) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None), "{error:?}");
}

/// An outage in which it may have happened.
#[track_caller]
pub(crate) fn unknown<T: std::fmt::Debug>(answer: Result<T>) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown), "{error:?}");
}

/// Tasks that charge attempts of their own until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    successes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Tally>>,
}

/// What became of the attempts of a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many were acknowledged, by subject.
    pub(crate) done: BTreeMap<String, u64>,
    /// Those that may have happened: subject and op.
    pub(crate) open: Vec<(String, String)>,
    /// How many did not happen.
    pub(crate) refused: u64,
}

impl Load {
    /// Begins.
    pub(crate) fn begin(client: &Client, tasks: usize) -> Self {
        let (stop, successes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..tasks)
            .map(|task| {
                let (client, stop, successes) = (client.clone(), Arc::clone(&stop), Arc::clone(&successes));
                tokio::spawn(async move { work(&client, task, &stop, &successes).await })
            })
            .collect();
        Self { stop, successes, tasks }
    }

    /// Waits for so many successes from now on.
    pub(crate) async fn successes(&self, count: u64) {
        let enough = self.successes.load(Ordering::Relaxed) + count;
        let there = || async { (self.successes.load(Ordering::Relaxed) >= enough).then_some(()) };
        eventually("the load to be carried", there).await;
    }

    /// Ends it.
    pub(crate) async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            let tally = task.await.unwrap();
            all.done.extend(tally.done);
            all.open.extend(tally.open);
            all.refused += tally.refused;
        }
        all
    }
}

async fn work(client: &Client, task: usize, stop: &AtomicBool, successes: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (subject, op) = (format!("{task}.{}", n / PER_SUBJECT), n.to_string());
        match client.charge(&subject, &op).await {
            Ok(_) => {
                *tally.done.entry(subject).or_default() += 1;
                successes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                honest(&error);
                match error.effect() {
                    Effect::None => tally.refused += 1,
                    Effect::Unknown => tally.open.push((subject, op)),
                }
                // An outage is answered at once: leave others some of the machine.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    tally
}

impl Tally {
    /// Nobody noticed anything.
    pub(crate) fn is_flawless(&self) -> bool {
        self.refused == 0 && self.open.is_empty()
    }

    /// Repeats what was left open, so that all of it has happened, and compares every count with the server's.
    pub(crate) async fn settle(mut self, client: &Client) {
        for (subject, op) in std::mem::take(&mut self.open) {
            client.charge_at_last(&subject, &op).await;
            *self.done.entry(subject).or_default() += 1;
        }
        assert!(!self.done.is_empty());
        for (subject, done) in &self.done {
            let charged = client.charge_at_last(subject, "the recount").await;
            assert_eq!(charged, done + 1, "{subject} was charged otherwise than acknowledged");
        }
    }
}
