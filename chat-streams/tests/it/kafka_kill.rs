//! Processes that die between any two steps: before a record is sent or published, and before that is acknowledged.

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result as Outcome;
use chat_core::event::{Envelope, Topic, wire};
use chat_core::store::events::{Lag, Published};
use chat_core::store::{EventConsumer, EventPublisher};
use chat_streams::kafka::{ID, KafkaSink, KafkaSource, SourceOptions};
use chat_streams::worker::{Handler, Worker};
use chat_streams::{Start, WorkerOptions};
use chat_testkit::server::Redis;
use chat_testkit::wait::{eventually, until};
use chat_testkit::{Absent, trials};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::kafka::{
    Onlooker, all, broker, eager, edits, events, in_order, quick, receiving, revisions, sending, streams,
    topic, unique, write,
};

trials! { needs "kafka":
    a_sink_that_dies_at_any_step_loses_nothing,
    a_source_that_dies_at_any_step_loses_nothing_and_repeats_nothing,
}

/// Set for a copy of this binary that works until it dies: what as, brokers, topic, group, Redis, after how many steps.
const LIFE: &str = "CHAT_STREAMS_KAFKA_LIFE";

const IDLE: Duration = Duration::from_millis(300);

/// What such a copy does instead of tests.
pub(crate) fn child() -> Option<ExitCode> {
    let said = std::env::var(LIFE).ok()?;
    let words: Vec<_> = said.split(' ').collect();
    let [what, brokers, topic, group, url, steps] = words[..] else { panic!("{said}") };
    STEPS.store(steps.parse().unwrap(), Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if what == "sink" {
            send(brokers, topic, group, url).await;
        } else {
            read(brokers, topic, group, url).await;
        }
        std::future::pending::<()>().await;
    });
    None
}

/// How many steps this copy may take.
static STEPS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Takes a step, or dies as by `kill -9`: nothing is dropped, closed or said.
fn step() {
    if STEPS.fetch_sub(1, Ordering::SeqCst) == 1 {
        std::process::abort();
    }
}

/// Dies before or after what it does.
#[derive(Debug)]
struct Steps<T>(T);

#[async_trait]
impl Handler for Steps<KafkaSink> {
    async fn handle(&self, envelope: &Envelope, attempt: u32) -> Outcome<()> {
        step();
        self.0.handle(envelope, attempt).await?;
        step();
        Ok(())
    }
}

#[async_trait]
impl<P: EventPublisher> EventPublisher for Steps<P> {
    async fn publish_many(&self, events: &[Envelope]) -> Outcome<Vec<Published>> {
        step();
        let answers = self.0.publish_many(events).await?;
        step();
        Ok(answers)
    }
}

async fn send(brokers: &str, topic: &str, group: &str, url: &str) {
    let log = streams(url, "a:").await;
    // Long enough for what is not waited for to be acknowledged, and to die with the process.
    let config = sending(brokers, topic).set("linger.ms", "30").unwrap();
    let sink = KafkaSink::new(&config).unwrap();
    let member = log.consumer(group, "node", &sink.topics(), Start::Beginning).await.unwrap();
    let options = WorkerOptions {
        batch: 8,
        concurrency: 4,
        attempts: u32::MAX,
        idle: IDLE,
        reclaim_every: IDLE / 3,
        ..quick()
    };
    std::mem::forget(Worker::new(member, Steps(sink)).with(options).start());
}

async fn read(brokers: &str, topic: &str, group: &str, url: &str) {
    let log = streams(url, "b:").await;
    let mut config = receiving(brokers, topic).set("session.timeout.ms", "2000").unwrap();
    config = config.set("heartbeat.interval.ms", "300").unwrap();
    config.group = group.to_owned();
    let source = KafkaSource::new(&config, Arc::new(Steps(log.publisher()))).unwrap();
    std::mem::forget(source.with(SourceOptions { batch: 8, ..eager() }).start().unwrap());
}

/// A copy of this binary; it is ended with this.
struct Life(Child);

impl Life {
    fn new(what: &str, brokers: &str, topic: &str, group: &str, url: &str, steps: u64) -> Self {
        let said = format!("{what} {brokers} {topic} {group} {url} {steps}");
        let mut copy = Command::new(std::env::current_exe().unwrap());
        let copy = copy.env(LIFE, said).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        Self(copy.spawn().unwrap())
    }

    fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn a_sink_that_dies_at_any_step_loses_nothing() -> Result<(), Absent> {
    const KEYS: usize = 6;
    const EACH: u32 = 40;
    let (kafka, redis) = (broker()?, Redis::spawn()?);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let name = topic(kafka.brokers(), 2).await;
    let log = streams(&redis.url(), "a:").await;
    let watch = log.consumer("kafka", "watch", &[Topic::Messages], Start::Beginning).await.unwrap();
    let sent = edits(KEYS, EACH);
    let ledger: BTreeMap<_, _> =
        sent.iter().map(|event| (event.id.to_string(), wire::encode_payload(event))).collect();
    let (mut lives, mut rest) = (0, sent.as_slice());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rng.random_range(1..=60).min(rest.len()));
        log.publisher().publish_many(now).await.unwrap();
        rest = later;
        // Two steps an event: it dies before it has done all of these.
        let steps = rng.random_range(1..=now.len() as u64);
        let mut life = Life::new("sink", kafka.brokers(), &name, "kafka", &redis.url(), steps);
        until("it to die", || life.is_over());
        lives += 1;
    }
    let _last = Life::new("sink", kafka.brokers(), &name, "kafka", &redis.url(), u64::MAX);
    let mut onlooker = Onlooker::new(kafka.brokers(), &name);
    let seen = onlooker.until("all of it, in order", |seen| revisions(&events(seen)) == in_order(KEYS, EACH));
    for record in seen {
        let value = record.value.as_deref().unwrap();
        assert_eq!(ledger[&record.header(ID)].as_bytes(), value, "a repeat is the same under the same id");
    }
    eventually("all of it to be acknowledged", || async {
        (watch.lag().await.unwrap() == Lag::default()).then_some(())
    })
    .await;
    println!("{lives} lives, {} records for {} events", seen.len(), sent.len());
    Ok(())
}

async fn a_source_that_dies_at_any_step_loses_nothing_and_repeats_nothing() -> Result<(), Absent> {
    const KEYS: usize = 4;
    const EACH: u32 = 30;
    let (kafka, redis) = (broker()?, Redis::spawn()?);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (name, group) = (topic(kafka.brokers(), 2).await, unique("group"));
    let sent = edits(KEYS, EACH);
    for event in &sent {
        let value = wire::encode_payload(event);
        write(kafka.brokers(), &name, &[(Some(event.key().as_bytes()), Some(value.as_bytes()))]).await;
    }
    // A life before the publishing, one after it, then whatever comes.
    for nth in 0..6 {
        let steps = if nth < 2 { nth + 1 } else { rng.random_range(1..=6) };
        let mut life = Life::new("source", kafka.brokers(), &name, &group, &redis.url(), steps);
        until("it to die", || life.is_over());
    }
    let _last = Life::new("source", kafka.brokers(), &name, &group, &redis.url(), u64::MAX);
    let log = streams(&redis.url(), "b:").await;
    let found = eventually("all of it", || async {
        let found = all(&log.tail(), Topic::Messages).await;
        (found.len() >= sent.len()).then_some(found)
    })
    .await;
    assert_eq!(found.len(), sent.len(), "each once");
    assert_eq!(revisions(&found), in_order(KEYS, EACH));
    Ok(())
}
