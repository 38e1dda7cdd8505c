//! A process that publishes, handles, acknowledges, sets aside and replays until it is killed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::SystemClock;
use chat_core::domain::page::Page;
use chat_core::error::{Code, Error, Result};
use chat_core::event::Envelope;
use chat_core::store::cache::CacheScope;
use chat_core::store::events::{Delivery, Lag, Published, Receipt};
use chat_core::store::{Cache, DeadLetters, EventConsumer, EventPublisher};
use chat_redis::{KeySpace, RedisConfig, RedisService};
use chat_streams::wal::WalExt;
use chat_streams::worker::{Handler, Once, Source};
use chat_streams::{
    DurablePublisher, FileWal, Interrupted, Start, StreamConsumer, StreamPublisher, Streams, StreamsOptions,
    Wal, WalEntry, WalId, WalLimit, WalStats, Worker, WorkerOptions,
};
use chat_testkit::server::Redis;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::ledger::{Effects, Journal, Way, fails, is_once, keys, numbered};
use super::log::{STREAM, TOPIC};

/// Set for a copy of this binary that is to be killed: its lane, a seed, after how many steps, and its folder.
pub(crate) const LIFE: &str = "CHAT_STREAMS_LIFE";
/// After how long others take over what this process had.
pub(crate) const IDLE: Duration = Duration::from_millis(150);

/// How many steps are left.
static STEPS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Between two steps: here the process may end, as if it were killed.
fn step() {
    if STEPS.fetch_sub(1, Ordering::SeqCst) == 0 {
        std::process::abort();
    }
}

async fn between<T>(work: impl Future<Output = T> + Send) -> T {
    step();
    let outcome = work.await;
    step();
    outcome
}

/// A port, with a step before and after everything it does.
#[derive(Debug)]
pub(crate) struct Steps<T>(pub(crate) T);

#[async_trait]
impl EventPublisher for Steps<StreamPublisher> {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        between(self.0.publish_many(events)).await
    }
}

#[async_trait]
impl EventConsumer for Steps<StreamConsumer> {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        between(self.0.fetch(max, wait)).await
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        between(self.0.ack(receipts)).await
    }
    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        between(self.0.reclaim(idle, max)).await
    }
    async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()> {
        between(self.0.bury(delivery, cause)).await
    }
    async fn lag(&self) -> Result<Lag> {
        self.0.lag().await
    }
}

#[async_trait]
impl Source for Steps<StreamConsumer> {
    async fn ack_and_fetch(&self, receipts: &[Receipt], max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        between(Source::ack_and_fetch(&self.0, receipts, max, wait)).await
    }
    async fn renew(&self, receipts: &[Receipt]) -> Result<bool> {
        between(Source::renew(&self.0, receipts)).await
    }
}

#[async_trait]
impl Wal for Steps<FileWal> {
    async fn begin(&self, events: &[Envelope]) -> Result<WalId> {
        between(self.0.begin(events)).await
    }
    async fn finish(&self, entries: &[WalId]) -> Result<()> {
        between(self.0.finish(entries)).await
    }
    async fn unfinished(&self, after: Option<WalId>, limit: usize) -> Result<Vec<WalEntry>> {
        between(self.0.unfinished(after, limit)).await
    }
    async fn stats(&self) -> Result<WalStats> {
        self.0.stats().await
    }
}

/// A log that is away now and then: half the time before anything happened, half the time after.
#[derive(Debug)]
struct Unsteady {
    log: Steps<StreamPublisher>,
    random: Mutex<StdRng>,
}

#[async_trait]
impl EventPublisher for Unsteady {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        let dice = self.random.lock().random_range(0..6);
        if dice == 0 {
            return Err(Error::new(Code::Unavailable));
        }
        let published = self.log.publish_many(events).await?;
        if dice == 1 { Err(Error::new(Code::Timeout).effect_unknown()) } else { Ok(published) }
    }
}

/// What events are for.
pub(crate) struct Handling {
    pub(crate) effects: Effects,
    pub(crate) once: Once,
}

#[async_trait]
impl Handler for Handling {
    async fn handle(&self, envelope: &Envelope, _attempt: u32) -> Result<()> {
        step();
        let (key, nth) = numbered(envelope);
        if fails(nth) > 0 && self.effects.tried(envelope) < fails(nth) {
            return Err(Error::new(Code::RequestInvalid));
        }
        if is_once(&key) {
            let effect = || async {
                step();
                self.effects.apply(envelope);
                self.effects.said("happened", envelope);
                step();
                Ok(())
            };
            // Somebody who died may seem to be at it for a while.
            loop {
                match self.once.process_once(&envelope.id, effect).await {
                    Err(error) if error.code() == Code::Unavailable => tokio::time::sleep(IDLE / 10).await,
                    Err(error) => return Err(error),
                    Ok(_) => break,
                }
            }
            self.effects.said("noted", envelope);
        } else {
            self.effects.apply(envelope);
        }
        step();
        Ok(())
    }
}

pub(crate) fn options() -> StreamsOptions {
    StreamsOptions { lengths: [(TOPIC, 1_000_000)].into(), ..StreamsOptions::default() }
}

/// The log, and what handlers need.
pub(crate) async fn open(url: &str) -> (Streams, Arc<dyn Cache>) {
    let mut config = RedisConfig::from_url(url).unwrap();
    (config.timing.operation, config.timing.response) = (Duration::from_secs(60), Duration::from_secs(30));
    let service = RedisService::connect(&config).await.unwrap();
    let cache = chat_redis::Redis::new(service.clone(), &KeySpace::default()).cache;
    (Streams::new(&service, options()).unwrap(), cache)
}

impl Handling {
    pub(crate) fn new(effects: Redis, cache: Arc<dyn Cache>) -> Self {
        let mut once = Once::new(cache, CacheScope::new("once").unwrap());
        once.lease = IDLE;
        Self { effects: Effects(effects), once }
    }
}

pub(crate) fn file_wal(folder: &Path, name: &str, lane: usize) -> FileWal {
    let path = folder.join(format!("{name}-{lane}"));
    FileWal::open(path, WalLimit::default(), Arc::new(SystemClock)).unwrap()
}

pub(crate) fn journal(folder: &Path, lane: usize) -> PathBuf {
    folder.join(format!("journal-{lane}"))
}

/// Announces what the host wrote, and forgets what it did not.
pub(crate) async fn recover(wal: &impl Wal, publisher: &dyn EventPublisher, journal: &Journal) {
    let judge = |entry: WalEntry| {
        let (key, nth) = numbered(entry.events.last().unwrap());
        let is_written = journal.told.truth.get(&key).is_some_and(|written| *written >= nth);
        async move { Ok(if is_written { Interrupted::Written } else { Interrupted::NotWritten }) }
    };
    wal.recover(publisher, judge).await.unwrap();
}

/// What such a copy does instead of tests.
pub(crate) fn child() -> Option<ExitCode> {
    let said = std::env::var(LIFE).ok()?;
    let words: Vec<_> = said.splitn(4, ' ').collect();
    let number = |nth: usize| words[nth].parse::<u64>().unwrap();
    let (lane, seed, folder) = (usize::try_from(number(0)).unwrap(), number(1), PathBuf::from(words[3]));
    STEPS.store(number(2), Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live(lane, seed, &folder));
    Some(ExitCode::SUCCESS)
}

async fn live(lane: usize, seed: u64, folder: &Path) {
    let mut random = StdRng::seed_from_u64(seed);
    let server = Redis::find_or_spawn().unwrap();
    let (streams, cache) = open(&server.url()).await;
    let publisher = Steps(streams.publisher());
    let mut journal = Journal::open(&journal(folder, lane));
    let host = Steps(file_wal(folder, "host", lane));
    recover(&host, &publisher, &journal).await;
    let log = Unsteady {
        log: Steps(streams.publisher()),
        random: Mutex::new(StdRng::seed_from_u64(random.random())),
    };
    let wal = Arc::new(Steps(file_wal(folder, "durable", lane)));
    let durable = DurablePublisher::new(Arc::new(log), wal).await.unwrap();
    let letters = streams.dead_letters();
    let join = || async {
        let name = format!("member {lane}");
        Steps(streams.consumer("g", &name, &[TOPIC], Start::Beginning).await.unwrap())
    };
    let member = join().await;
    step();
    let handling = Handling::new(server, Arc::clone(&cache));
    let options = WorkerOptions {
        batch: 4,
        concurrency: 3,
        attempts: u32::MAX,
        first_pause: Duration::from_millis(1),
        idle: IDLE,
        reclaim_every: IDLE / 4,
        wait: IDLE / 10,
        linger: Duration::from_millis(2),
        ..WorkerOptions::default()
    };
    let (by_hand, working) = if random.random_bool(0.5) {
        (Some((member, handling)), None)
    } else {
        (None, Some(Worker::new(member, handling).with(options).start()))
    };
    let all_keys: Vec<_> = keys(lane).collect();
    loop {
        match random.random_range(0..10) {
            0..=4 => {
                let (way, key) = &all_keys[random.random_range(0..all_keys.len())];
                let batch = journal.next(key, random.random_range(1..=3));
                step();
                let (_, last) = numbered(batch.last().unwrap());
                match way {
                    Way::Direct | Way::Once => drop(publisher.publish_many(&batch).await.unwrap()),
                    Way::Durable => drop(durable.publish_many(&batch).await.unwrap()),
                    Way::Host => {
                        let write = async {
                            step();
                            journal.note(&format!("truth {key} {last}"));
                            step();
                            Ok(())
                        };
                        host.write_and_publish(&publisher, &batch, write).await.unwrap();
                    }
                }
                journal.note(&format!("acked {key} {last}"));
                step();
            }
            5 => {
                // It may be away.
                let _ = durable.replay().await;
            }
            6 => {
                let ids: Vec<_> = letters
                    .list(&Page::first(20))
                    .await
                    .unwrap()
                    .items
                    .into_iter()
                    .map(|letter| letter.id)
                    .collect();
                between(letters.replay(&ids)).await.unwrap();
            }
            dice => match &by_hand {
                Some((member, handling)) => consume(member, handling, dice == 7, &mut random).await,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            },
        }
        assert!(working.as_ref().is_none_or(|worker| !worker.is_over()), "the worker ended by itself");
    }
}

/// One round without a worker.
async fn consume(member: &Steps<StreamConsumer>, handling: &Handling, reclaims: bool, random: &mut StdRng) {
    let max = random.random_range(1..=6);
    let found = if reclaims {
        member.reclaim(IDLE, max).await.unwrap()
    } else {
        member.fetch(max, Duration::from_millis(1)).await.unwrap()
    };
    let mut done = Vec::new();
    for delivery in found {
        let envelope = delivery.event.as_ref().unwrap_or_else(|error| panic!("{error} in {STREAM}"));
        match handling.handle(envelope, delivery.attempt).await {
            Ok(()) => done.push(delivery.receipt),
            Err(error) => member.bury(&delivery, &error).await.unwrap(),
        }
        if random.random_bool(0.5) {
            member.ack(&std::mem::take(&mut done)).await.unwrap();
        }
    }
    member.ack(&done).await.unwrap();
}
