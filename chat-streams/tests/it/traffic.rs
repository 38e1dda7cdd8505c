//! Publishers, workers and a reader that never rest, whatever becomes of the server, and a ledger of what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::SystemClock;
use chat_core::event::Envelope;
use chat_core::store::events::{TailCursor, TailRead};
use chat_core::store::{EventPublisher, EventTail};
use chat_redis::connection::Timing;
use chat_redis::{RedisConfig, RedisService};
use chat_streams::worker::{Working, handler};
use chat_streams::{
    DurablePublisher, FileWal, Replaying, Start, Streams, StreamsOptions, WalLimit, Worker, WorkerOptions,
};
use chat_testkit::sample;
use chat_testkit::wait::eventually;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::ledger::numbered;
use super::log::TOPIC;

const PAUSE: Duration = Duration::from_millis(3);
const IDLE: Duration = Duration::from_millis(400);

/// What was acknowledged, handled and read: by key, numbers.
#[derive(Debug, Default)]
struct Ledger {
    acked: Mutex<BTreeMap<String, u64>>,
    handled: Mutex<BTreeMap<String, Vec<u64>>>,
    read: Mutex<BTreeMap<String, Vec<u64>>>,
    handlings: AtomicU64,
    gaps: AtomicU64,
    refusals: AtomicU64,
    stop: AtomicBool,
}

impl Ledger {
    fn note(list: &Mutex<BTreeMap<String, Vec<u64>>>, envelope: &Envelope) {
        let (key, nth) = numbered(envelope);
        list.lock().entry(key).or_default().push(nth);
    }
}

pub(crate) struct Traffic {
    ledger: Arc<Ledger>,
    publishers: Vec<JoinHandle<()>>,
    workers: Vec<Working>,
    reader: JoinHandle<()>,
    durable: DurablePublisher,
    since: BTreeMap<String, u64>,
    _replaying: Replaying,
    _folder: tempfile::TempDir,
}

/// Gives up soon, so that outages are seen.
fn brisk() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        response: Duration::from_millis(500),
        operation: Duration::from_secs(1),
        longest_pause: Duration::from_millis(50),
        ..Timing::default()
    }
}

async fn streams(url: &str) -> Streams {
    let mut config = RedisConfig::from_url(url).unwrap();
    config.timing = brisk();
    let lengths = [(TOPIC, 1_000_000)].into();
    let service = RedisService::connect(&config).await.unwrap();
    Streams::new(&service, StreamsOptions { lengths, ..StreamsOptions::default() }).unwrap()
}

/// Publishes to its keys in turn, each batch until it is acknowledged.
async fn publish(ledger: Arc<Ledger>, publisher: Arc<dyn EventPublisher>, keys: [&'static str; 2]) {
    let mut round = 0;
    while !ledger.stop.load(Ordering::SeqCst) {
        let key = keys[round % 2];
        let from = ledger.acked.lock().get(key).copied().unwrap_or(0);
        let count = 1 + round as u64 % 3;
        let batch: Vec<_> = (from + 1..=from + count).map(|nth| sample::notice(key, nth)).collect();
        while let Err(refused) = publisher.publish_many(&batch).await {
            assert!(refused.is_transient(), "{refused}");
            ledger.refusals.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
        ledger.acked.lock().insert(key.to_owned(), from + count);
        round += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads everything, and goes on behind every gap.
async fn read(ledger: Arc<Ledger>, streams: Streams) {
    let (tail, mut cursor) = (streams.tail(), TailCursor { topic: TOPIC, after: None });
    loop {
        let found = tail.read_since(std::slice::from_ref(&cursor), 100, IDLE).await;
        for read in found.unwrap_or_default() {
            match read {
                TailRead::Events { events, next } => {
                    events.iter().flatten().for_each(|event| Ledger::note(&ledger.read, event));
                    cursor = next;
                }
                TailRead::Discontinuity { oldest } => {
                    ledger.gaps.fetch_add(1, Ordering::SeqCst);
                    cursor = oldest;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Traffic {
    pub(crate) async fn begin(url: &str) -> Self {
        let ledger = Arc::new(Ledger::default());
        let mut workers = Vec::new();
        for member in ["one", "two"] {
            let consumer =
                streams(url).await.consumer("g", member, &[TOPIC], Start::Beginning).await.unwrap();
            let seen = Arc::clone(&ledger);
            let handling = handler(move |envelope: Arc<Envelope>, _attempt| {
                let seen = Arc::clone(&seen);
                async move {
                    tokio::task::yield_now().await;
                    Ledger::note(&seen.handled, &envelope);
                    seen.handlings.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            });
            let options = WorkerOptions {
                batch: 8,
                concurrency: 4,
                attempts: u32::MAX,
                idle: IDLE,
                reclaim_every: IDLE / 4,
                wait: IDLE / 8,
                linger: PAUSE,
                ..WorkerOptions::default()
            };
            workers.push(Worker::new(consumer, handling).with(options).start());
        }
        let folder = tempfile::tempdir().unwrap();
        let wal =
            FileWal::open(folder.path().join("wal"), WalLimit::default(), Arc::new(SystemClock)).unwrap();
        let streams = streams(url).await;
        let durable = DurablePublisher::new(Arc::new(streams.publisher()), Arc::new(wal)).await.unwrap();
        let (one, two): (Arc<dyn EventPublisher>, Arc<dyn EventPublisher>) =
            (Arc::new(streams.publisher()), Arc::new(streams.publisher()));
        let publishers = vec![
            tokio::spawn(publish(Arc::clone(&ledger), one, ["a", "b"])),
            tokio::spawn(publish(Arc::clone(&ledger), two, ["c", "d"])),
            tokio::spawn(publish(Arc::clone(&ledger), Arc::new(durable.clone()), ["w", "x"])),
        ];
        let reader = tokio::spawn(read(Arc::clone(&ledger), streams.clone()));
        let _replaying = durable.start();
        Self {
            ledger,
            publishers,
            workers,
            reader,
            durable,
            since: BTreeMap::new(),
            _replaying,
            _folder: folder,
        }
    }

    /// So many more events are handled.
    pub(crate) async fn handle(&self, count: u64) {
        let goal = self.ledger.handlings.load(Ordering::SeqCst) + count;
        eventually("more events to be handled", || async {
            (self.ledger.handlings.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Somebody is told that it does not work.
    pub(crate) async fn refusal(&self) {
        let before = self.ledger.refusals.load(Ordering::SeqCst);
        eventually("a refusal", || async {
            (self.ledger.refusals.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }

    /// What cannot be published is kept.
    pub(crate) async fn buffering(&self) {
        eventually("events to be buffered", || async { self.is_buffering().then_some(()) }).await;
    }

    fn is_buffering(&self) -> bool {
        self.durable.is_buffering()
    }

    /// Everything comes to rest: what was acknowledged last is handled and read.
    async fn rest(&mut self) {
        self.ledger.stop.store(true, Ordering::SeqCst);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await.unwrap();
        }
        eventually("what was buffered to be published", || async { (!self.is_buffering()).then_some(()) })
            .await;
        eventually("everything to be handled and read", || async {
            let acked = self.ledger.acked.lock().clone();
            let has = |list: &Mutex<BTreeMap<String, Vec<u64>>>, key: &String, nth: &u64| {
                list.lock().get(key).is_some_and(|numbers| numbers.contains(nth))
            };
            let is_done =
                |(key, nth)| has(&self.ledger.handled, key, nth) && has(&self.ledger.read, key, nth);
            acked.iter().all(is_done).then_some(())
        })
        .await;
        self.reader.abort();
        for worker in std::mem::take(&mut self.workers) {
            assert!(!worker.is_over());
            assert_eq!(worker.stop().await.held, 0);
        }
    }

    /// Nothing acknowledged is missing; everything came in order, to the reader once. Answers how many events there were,
    /// and how many of them were handled again.
    pub(crate) async fn end(mut self) -> (u64, u64) {
        self.rest().await;
        let (acked, handled, read) =
            (self.ledger.acked.lock(), self.ledger.handled.lock(), self.ledger.read.lock());
        let mut again = 0;
        for (key, last) in acked.iter() {
            let all: Vec<_> = (1..=*last).collect();
            assert_eq!(first_sights(&handled[key]), all, "{key}: handled");
            assert_eq!(read[key], all, "{key}: read");
            again += handled[key].len() as u64 - last;
        }
        assert_eq!(self.ledger.gaps.load(Ordering::SeqCst), 0, "no gap");
        (acked.values().sum(), again)
    }

    /// From here on order is looked at again: of what was under way when the server forgot who has it, what came later may
    /// have been handled first.
    pub(crate) fn everything_is_back(&mut self) {
        // A batch may be there whose publisher was not told yet.
        self.since = self.ledger.acked.lock().iter().map(|(key, last)| (key.clone(), last + 3)).collect();
    }

    /// What the server forgot may be missing; what is there came in order. Answers how often the reader was told.
    pub(crate) async fn end_with_losses(mut self) -> u64 {
        self.rest().await;
        let (acked, handled, read) =
            (self.ledger.acked.lock(), self.ledger.handled.lock(), self.ledger.read.lock());
        for (key, last) in acked.iter() {
            let since = self.since.get(key).copied().unwrap_or(0);
            let handled: Vec<_> = handled[key].iter().copied().filter(|nth| *nth > since).collect();
            for list in [&handled, &read[key]] {
                let first = first_sights(list);
                assert!(first.is_sorted() && first.iter().all(|nth| nth <= last), "{key}: {list:?}");
            }
        }
        self.ledger.gaps.load(Ordering::SeqCst)
    }
}

fn first_sights(numbers: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    numbers.iter().copied().filter(|nth| seen.insert(*nth)).collect()
}
