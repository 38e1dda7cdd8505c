//! A worker on the log in memory: what becomes of events, by the errors of their handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::page::Page;
use chat_core::error::{Code, Error};
use chat_core::event::{Envelope, Event, Topic, Undecodable};
use chat_core::memory::{MemoryCache, MemoryEvents};
use chat_core::store::cache::CacheScope;
use chat_core::store::events::{Delivery, Lag, Receipt};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher};
use chat_testkit::sample;
use chat_testkit::wait::eventually;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;

const TOPICS: [Topic; 1] = [Topic::Notifications];

fn log() -> Arc<MemoryEvents> {
    Arc::new(MemoryEvents::new(Arc::new(ManualClock::default())))
}

async fn publish(log: &MemoryEvents, names: &[(&str, u32)]) {
    let events: Vec<_> = names.iter().map(|(key, nth)| sample::notice(key, nth)).collect();
    log.publish_many(&events).await.unwrap();
}

fn name(envelope: &Envelope) -> String {
    match &envelope.event {
        Event::ChatNotificationCreated(notice) => format!("{}{}", notice.user_id, notice.notification_id),
        other => panic!("{other:?}"),
    }
}

fn quick() -> WorkerOptions {
    WorkerOptions {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        wait: Duration::from_millis(20),
        linger: Duration::from_millis(2),
        ..WorkerOptions::default()
    }
}

/// Keeps the names and attempts of what was tried; fails as `outcome` says.
fn trying(
    tried: &Arc<Mutex<Vec<(String, u32)>>>,
    outcome: impl Fn(&str, u32) -> Result<()> + Send + Sync + 'static,
) -> impl Handler {
    let (tried, outcome) = (Arc::clone(tried), Arc::new(outcome));
    handler(move |envelope: Arc<Envelope>, attempt| {
        let (tried, outcome) = (Arc::clone(&tried), Arc::clone(&outcome));
        async move {
            tried.lock().push((name(&envelope), attempt));
            outcome(&name(&envelope), attempt)
        }
    })
}

fn pairs(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(name, attempt)| ((*name).to_owned(), *attempt)).collect()
}

async fn letters(log: &MemoryEvents) -> Vec<(String, u32, String)> {
    let found = log.list(&Page::first(100)).await.unwrap().items;
    found.into_iter().map(|letter| (name(&letter.event.unwrap()), letter.attempts, letter.cause)).collect()
}

#[tokio::test]
async fn what_keeps_failing_is_set_aside_after_so_many_attempts_and_overtaken_by_nothing() {
    let (log, tried) = (log(), Arc::default());
    let consumer = log.consumer("g", "one", &TOPICS, false);
    publish(&log, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let bad = trying(&tried, |name, _| if name == "a1" { Err(Code::Internal.into()) } else { Ok(()) });
    let worker = Worker::new(consumer.clone(), bad).with(WorkerOptions { attempts: 3, ..quick() }).start();
    eventually("a2 to be handled", || async { tried.lock().contains(&("a2".to_owned(), 1)).then_some(()) })
        .await;
    let stats = worker.stop().await;
    assert_eq!((stats.handled, stats.failed, stats.buried, stats.held), (2, 3, 1, 0));
    let of_a: Vec<_> = tried.lock().iter().filter(|(name, _)| name.starts_with('a')).cloned().collect();
    assert_eq!(of_a, pairs(&[("a1", 1), ("a1", 2), ("a1", 3), ("a2", 1)]));
    let letters = letters(&log).await;
    assert!(letters.len() == 1 && letters[0].0 == "a1" && letters[0].2.contains(Code::Internal.as_str()));
    assert_eq!(consumer.lag().await.unwrap(), Lag::default());
}

#[tokio::test]
async fn what_can_never_be_handled_is_set_aside_at_once() {
    let (log, tried) = (log(), Arc::default());
    let consumer = log.consumer("g", "one", &TOPICS, false);
    publish(&log, &[("a", 1), ("a", 2)]).await;
    let bad = trying(&tried, |_, _| Err(Error::invalid(Code::RequestInvalid, "never")));
    let worker = Worker::new(consumer, bad).with(quick()).start();
    eventually("both to be buried", || async { (worker.stats().buried == 2).then_some(()) }).await;
    worker.stop().await;
    assert_eq!(*tried.lock(), pairs(&[("a1", 1), ("a2", 1)]));
}

#[tokio::test]
async fn an_outage_of_a_backend_buries_nothing() {
    let (log, tried) = (log(), Arc::<Mutex<Vec<_>>>::default());
    let consumer = log.consumer("g", "one", &TOPICS, false);
    publish(&log, &[("a", 1)]).await;
    let away = Arc::new(AtomicUsize::new(30));
    let handler = trying(&tried, {
        let away = Arc::clone(&away);
        move |_, _| {
            let left = away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_ok() { Err(Code::Unavailable.into()) } else { Ok(()) }
        }
    });
    let worker = Worker::new(consumer, handler).with(quick()).start();
    eventually("it to be handled", || async { (worker.stats().handled == 1).then_some(()) }).await;
    let stats = worker.stop().await;
    assert_eq!((stats.failed, stats.buried), (30, 0));
    assert!(tried.lock().iter().all(|(_, attempt)| *attempt == 1), "none of it counts");
}

#[tokio::test]
async fn a_panic_is_a_failure_like_others() {
    let (log, tried) = (log(), Arc::default());
    let consumer = log.consumer("g", "one", &TOPICS, false);
    publish(&log, &[("a", 1), ("b", 1)]).await;
    let bad = trying(&tried, |name, attempt| {
        assert!(name != "a1" || attempt == 3, "this panics");
        Ok(())
    });
    let worker = Worker::new(consumer, bad).with(quick()).start();
    eventually("both to be handled", || async { (worker.stats().handled == 2).then_some(()) }).await;
    assert_eq!(worker.stop().await.failed, 2);
}

#[tokio::test]
async fn what_killed_its_workers_too_often_is_set_aside_untried() {
    let clock = ManualClock::default();
    let log = Arc::new(MemoryEvents::new(Arc::new(clock.clone())));
    let (dead, one) = (log.consumer("g", "dead", &TOPICS, false), log.consumer("g", "one", &TOPICS, false));
    publish(&log, &[("a", 1)]).await;
    dead.fetch(1, Duration::ZERO).await.unwrap();
    for _ in 0..2 {
        clock.advance(Duration::from_secs(60));
        assert_eq!(dead.reclaim(Duration::from_secs(60), 1).await.unwrap().len(), 1);
    }
    clock.advance(Duration::from_secs(60));
    let tried = Arc::default();
    let options = WorkerOptions { attempts: 3, reclaim_every: Duration::from_millis(5), ..quick() };
    let worker = Worker::new(one, trying(&tried, |_, _| Ok(()))).with(options).start();
    eventually("it to be buried", || async { (worker.stats().buried == 1).then_some(()) }).await;
    assert_eq!((worker.stop().await.reclaimed, tried.lock().len()), (1, 0));
}

#[tokio::test]
async fn so_many_keys_at_once_and_one_event_of_each() {
    let log = log();
    let consumer = log.consumer("g", "one", &TOPICS, false);
    for key in ["a", "b", "c", "d", "e", "f"] {
        publish(&log, &[(key, 1), (key, 2)]).await;
    }
    let (gate, now, most) =
        (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let slow = {
        let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
        handler(move |_: Arc<Envelope>, _| {
            let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        })
    };
    let options = WorkerOptions { batch: 4, concurrency: 3, ..quick() };
    let worker = Worker::new(consumer.clone(), slow).with(options).start();
    eventually("as many as may be", || async { (now.load(Ordering::SeqCst) == 3).then_some(()) }).await;
    assert!(worker.stats().held <= 8, "it takes no more than it can do soon: {:?}", worker.stats());
    gate.add_permits(100);
    eventually("all of them", || async { (worker.stats().handled == 12).then_some(()) }).await;
    worker.stop().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(consumer.lag().await.unwrap(), Lag::default());
}

#[tokio::test]
async fn stopping_finishes_what_it_has_and_leaves_the_rest() {
    let log = log();
    let consumer = log.consumer("g", "one", &TOPICS, false);
    let gate = Arc::new(Semaphore::new(0));
    let slow = {
        let gate = Arc::clone(&gate);
        handler(move |_: Arc<Envelope>, _| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(())
            }
        })
    };
    publish(&log, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let worker = Worker::new(consumer.clone(), slow).with(quick()).start();
    eventually("it to have all", || async { (worker.stats().held == 3).then_some(()) }).await;
    let stopping = tokio::spawn(worker.stop());
    publish(&log, &[("c", 1)]).await;
    gate.add_permits(4);
    let stats = stopping.await.unwrap();
    assert!(stats.handled >= 3 && stats.held <= 1, "{stats:?}");
    let lag = consumer.lag().await.unwrap();
    assert_eq!(
        lag.waiting + lag.pending,
        4 - stats.handled,
        "what is done is acknowledged, and nothing else"
    );
}

#[tokio::test]
async fn stopping_has_a_deadline() {
    let log = log();
    let consumer = log.consumer("g", "one", &TOPICS, false);
    publish(&log, &[("a", 1)]).await;
    let stuck = handler(|_: Arc<Envelope>, _| std::future::pending());
    let options = WorkerOptions { drain: Duration::from_millis(30), ..quick() };
    let worker = Worker::new(consumer.clone(), stuck).with(options).start();
    eventually("it to have it", || async { (worker.stats().held == 1).then_some(()) }).await;
    assert_eq!(worker.stop().await.held, 1);
    assert_eq!(consumer.lag().await.unwrap().pending, 1, "another member will get it");
}

/// A consumer whose entries cannot be read.
#[derive(Debug)]
struct Broken(chat_core::memory::MemoryConsumer, Mutex<Vec<String>>);

#[async_trait]
impl EventConsumer for Broken {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let mut found = self.0.fetch(max, wait).await?;
        found.iter_mut().for_each(|delivery| delivery.event = Err(Undecodable::new("broken")));
        Ok(found)
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        self.0.ack(receipts).await
    }
    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        self.0.reclaim(idle, max).await
    }
    async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()> {
        self.1.lock().push(cause.to_string());
        self.0.bury(delivery, cause).await
    }
    async fn lag(&self) -> Result<Lag> {
        self.0.lag().await
    }
}

impl Source for Broken {}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_at_once() {
    let (log, tried) = (log(), Arc::default());
    let broken = Broken(log.consumer("g", "one", &TOPICS, false), Mutex::default());
    publish(&log, &[("a", 1), ("a", 2)]).await;
    let worker = Worker::new(broken, trying(&tried, |_, _| Ok(()))).with(quick()).start();
    eventually("both to be buried", || async { (worker.stats().buried == 2).then_some(()) }).await;
    worker.stop().await;
    assert!(tried.lock().is_empty());
    let letters = log.list(&Page::first(10)).await.unwrap().items;
    assert!(letters.iter().all(|letter| letter.cause.contains(Code::DataCorrupt.as_str())), "{letters:?}");
}

#[tokio::test]
async fn an_effect_happens_once() {
    let clock = ManualClock::default();
    let cache = Arc::new(MemoryCache::new(Arc::new(clock.clone())));
    let once = Once::new(cache, CacheScope::new("push").unwrap());
    let event = sample::notice("a", 1).id;
    let count = Arc::new(AtomicUsize::new(0));
    let effect = |fails: bool| {
        let count = Arc::clone(&count);
        move || async move {
            if fails {
                return Err(Error::new(Code::Internal));
            }
            Ok(count.fetch_add(1, Ordering::SeqCst))
        }
    };
    assert_eq!(once.process_once(&event, effect(true)).await.unwrap_err().code(), Code::Internal);
    assert_eq!(
        once.process_once(&event, effect(false)).await.unwrap(),
        Outcome::Done(0),
        "a failure is no effect"
    );
    assert_eq!(once.process_once(&event, effect(false)).await.unwrap(), Outcome::Before);
    let inside = once.clone();
    let busy = once
        .process_once(&sample::notice("a", 2).id, || async move {
            let id = sample::notice("a", 2).id;
            let again = inside.process_once(&id, || async { Ok(()) }).await.unwrap_err();
            Ok(again.code())
        })
        .await;
    assert_eq!(busy.unwrap(), Outcome::Done(Code::Unavailable), "one at a time");
    clock.advance(Duration::from_secs(25 * 60 * 60));
    assert_eq!(
        once.process_once(&event, effect(false)).await.unwrap(),
        Outcome::Done(1),
        "it is not known for ever"
    );
}
