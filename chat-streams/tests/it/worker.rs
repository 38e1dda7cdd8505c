//! A worker on real streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chat_core::event::Envelope;
use chat_core::store::{EventConsumer, EventPublisher};
use chat_streams::worker::handler;
use chat_streams::{Start, StreamsOptions, Worker, WorkerOptions};
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Redis;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use parking_lot::Mutex;

use super::log::{Log, TOPIC, connect, fetch, lag, name};

trials! { needs "redis":
    workers_share_the_work_in_order,
    what_a_dead_worker_had_is_done_by_another,
    a_slow_handler_keeps_what_it_has,
    handling_costs_less_than_three_hundredths_of_a_command_an_event,
}

type Seen = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn recording(seen: &Seen) -> impl chat_streams::worker::Handler {
    let seen = Arc::clone(seen);
    handler(move |envelope: Arc<Envelope>, _attempt| {
        let seen = Arc::clone(&seen);
        async move {
            tokio::task::yield_now().await;
            seen.lock().entry(envelope.key()).or_default().push(name(&envelope));
            Ok(())
        }
    })
}

fn count(seen: &Seen) -> usize {
    seen.lock().values().map(Vec::len).sum()
}

async fn workers_share_the_work_in_order() -> Result<(), Absent> {
    const EACH: usize = 60;
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let log = Log::new().await?;
    let (seen, mut working) = (Seen::default(), Vec::new());
    for nth in 0..3 {
        let options = WorkerOptions { batch: 7, concurrency: 3, ..WorkerOptions::default() };
        let member = log.member(&format!("worker {nth}")).await;
        working.push(Worker::new(member, recording(&seen)).with(options).start());
    }
    for nth in 1..=EACH {
        log.publish(&KEYS.map(|key| format!("{key}{nth}")).each_ref().map(String::as_str)).await;
    }
    eventually("everything to be handled", || async { (count(&seen) >= EACH * KEYS.len()).then_some(()) })
        .await;
    for worker in working {
        assert_eq!(worker.stop().await.held, 0);
    }
    for (key, names) in seen.lock().iter() {
        assert_eq!(
            *names,
            (1..=EACH).map(|nth| format!("{key}{nth}")).collect::<Vec<_>>(),
            "each once, in order"
        );
    }
    assert_eq!(lag(&log.member("last").await).await, (0, 0), "all of it is acknowledged");
    Ok(())
}

async fn what_a_dead_worker_had_is_done_by_another() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    let stuck = handler(|_: Arc<Envelope>, _| std::future::pending());
    let dead = Worker::new(log.member("dead").await, stuck).start();
    log.publish(&["a1", "b1", "a2"]).await;
    eventually("the worker to have it", || async { (lag(&one).await == (0, 3)).then_some(()) }).await;
    drop(dead);
    log.publish(&["a3"]).await;
    log.clock.advance(Duration::from_secs(120));
    let seen = Seen::default();
    let options = WorkerOptions { reclaim_every: Duration::from_millis(20), ..WorkerOptions::default() };
    let worker = Worker::new(one, recording(&seen)).with(options).start();
    eventually("another to do it", || async { (count(&seen) >= 4).then_some(()) }).await;
    let stats = worker.stop().await;
    assert_eq!((stats.handled, stats.reclaimed), (4, 3));
    assert_eq!(seen.lock()["a"], ["a1", "a2", "a3"]);
    Ok(())
}

async fn a_slow_handler_keeps_what_it_has() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (begun, finish) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let slow = {
        let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
        handler(move |_: Arc<Envelope>, _| {
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            async move {
                begun.notify_one();
                finish.notified().await;
                Ok(())
            }
        })
    };
    let options = WorkerOptions { idle: Duration::from_millis(60), ..WorkerOptions::default() };
    let worker = Worker::new(log.member("slow").await, slow).with(options).start();
    log.publish(&["a1"]).await;
    begun.notified().await;
    let other = log.member("other").await;
    let idle = Duration::from_secs(30);
    log.clock.advance(idle);
    eventually("it to be renewed", || async {
        // Whoever looks may only find nothing to take once it was renewed at the new time.
        let record = log.server.command(&["HVALS", "{events:notifications}:g:g:with:slow"]);
        let now = chat_core::clock::Clock::now(&log.clock).as_millis().to_string();
        record.list().first().is_some_and(|record| record.text().starts_with(&now)).then_some(())
    })
    .await;
    assert!(other.reclaim(idle, 10).await.unwrap().is_empty());
    finish.notify_one();
    let stats = worker.stop().await;
    assert_eq!((stats.handled, stats.failed, stats.held), (1, 0, 0));
    assert!(fetch(&other, 10).await.is_empty());
    Ok(())
}

async fn handling_costs_less_than_three_hundredths_of_a_command_an_event() -> Result<(), Absent> {
    const EVENTS: usize = 2_560;
    let server = Redis::spawn()?;
    let near = connect(&server.url(), None, StreamsOptions::default()).await;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let far = connect(&server.url_at(proxy.address()), None, StreamsOptions::default()).await;
    let member = far.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
    let events: Vec<_> = (0..EVENTS).map(|nth| sample::notice(&format!("user {}", nth % 50), nth)).collect();
    near.publisher().publish_many(&events).await.unwrap();
    let seen = Seen::default();
    let before = proxy.counts();
    let worker = Worker::new(member, recording(&seen)).start();
    eventually("everything to be handled", || async { (count(&seen) >= EVENTS).then_some(()) }).await;
    worker.stop().await;
    let each = (proxy.counts() - before).requests as f64 / EVENTS as f64;
    assert!(each <= 0.03, "{each} commands an event");
    let last = near.consumer("g", "last", &[TOPIC], Start::Now).await.unwrap();
    assert_eq!(last.lag().await.unwrap(), chat_core::store::events::Lag::default());
    Ok(())
}
