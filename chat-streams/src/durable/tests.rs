//! A log that comes and goes.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use chat_core::clock::SystemClock;
use chat_core::domain::EventId;
use chat_core::error::{Code, Error};
use chat_core::event::Topic;
use chat_core::memory::Memory;
use chat_core::store::EventTail;
use chat_core::store::events::{TailCursor, TailRead};
use chat_testkit::sample;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::wal::{FileWal, WalLimit};

const NEVER: u64 = 0;
const ALWAYS: u64 = 1_000;

/// A log that fails so many times in a thousand: half the time before anything happened, half the time after.
#[derive(Debug)]
struct Unsteady {
    log: Arc<dyn EventPublisher>,
    fails: AtomicU64,
    random: parking_lot::Mutex<StdRng>,
}

#[async_trait]
impl EventPublisher for Unsteady {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        let (fails, before) = {
            let mut random = self.random.lock();
            (random.random_range(0..1_000) < self.fails.load(Ordering::SeqCst), random.random_bool(0.5))
        };
        if fails && before {
            return Err(Error::new(Code::Unavailable));
        }
        let published = self.log.publish_many(events).await?;
        if fails { Err(Error::new(Code::Timeout).effect_unknown()) } else { Ok(published) }
    }
}

struct Stage {
    memory: Memory,
    log: Arc<Unsteady>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let memory = Memory::default();
        let random = parking_lot::Mutex::new(StdRng::seed_from_u64(seed));
        let log = Unsteady { log: Arc::clone(&memory.events) as _, fails: AtomicU64::new(NEVER), random };
        Self { memory, log: Arc::new(log), folder: tempfile::tempdir().unwrap() }
    }

    /// What a process does when it starts.
    async fn publisher(&self, limit: WalLimit) -> DurablePublisher {
        let wal = FileWal::open(self.folder.path().join("wal"), limit, Arc::new(SystemClock)).unwrap();
        DurablePublisher::new(Arc::clone(&self.log) as _, Arc::new(wal)).await.unwrap()
    }

    fn fails(&self, how_often: u64) {
        self.log.fails.store(how_often, Ordering::SeqCst);
    }

    /// The ids in the log, in order, per key.
    async fn published(&self) -> BTreeMap<String, Vec<EventId>> {
        let (mut cursor, mut found) =
            (TailCursor { topic: Topic::Notifications, after: None }, BTreeMap::new());
        loop {
            let reads =
                self.memory.events.read_since(&[cursor.clone()], 1_000, Duration::ZERO).await.unwrap();
            let Some(TailRead::Events { events, next }) = reads.into_iter().next() else { return found };
            cursor = next;
            for event in events.into_iter().map(std::result::Result::unwrap) {
                found.entry(event.key()).or_insert_with(Vec::new).push(event.id);
            }
        }
    }
}

#[tokio::test]
async fn what_the_log_does_not_take_is_published_in_order_when_it_is_back() {
    let stage = Stage::new(1);
    let publisher = stage.publisher(WalLimit::default()).await;
    let events: Vec<_> = (0..10).map(|nth| sample::notice("ada", nth)).collect();
    assert!(matches!(publisher.publish_many(&events[..2]).await.unwrap()[..], [Published::Durable(_), _]));
    stage.fails(ALWAYS);
    assert_eq!(publisher.publish_many(&events[2..5]).await.unwrap(), vec![Published::Buffered; 3]);
    assert!(publisher.replay().await.unwrap_err().is_transient());
    stage.fails(NEVER);
    assert_eq!(
        publisher.publish_many(&events[5..6]).await.unwrap(),
        [Published::Buffered],
        "behind the others"
    );
    assert_eq!(publisher.replay().await.unwrap(), 4);
    assert!(matches!(publisher.publish_many(&events[6..]).await.unwrap()[0], Published::Durable(_)));
    let expected: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    assert_eq!(stage.published().await["ada"], expected);
}

#[tokio::test]
async fn what_is_buffered_survives_the_process() {
    let stage = Stage::new(2);
    stage.fails(ALWAYS);
    let publisher = stage.publisher(WalLimit::default()).await;
    publisher.publish_many(&[sample::notice("ada", 1)]).await.unwrap();
    drop(publisher);
    stage.fails(NEVER);
    let publisher = stage.publisher(WalLimit::default()).await;
    assert_eq!(publisher.publish_many(&[sample::notice("ada", 2)]).await.unwrap(), [Published::Buffered]);
    assert_eq!(publisher.replay().await.unwrap(), 2);
    assert_eq!(stage.published().await["ada"], [1, 2].map(|nth| sample::notice("ada", nth).id));
}

#[tokio::test]
async fn a_full_buffer_refuses_and_forgets_nothing() {
    let stage = Stage::new(3);
    stage.fails(ALWAYS);
    let publisher = stage.publisher(WalLimit { entries: 2, ..WalLimit::default() }).await;
    for nth in 0..2 {
        publisher.publish_many(&[sample::notice("ada", nth)]).await.unwrap();
    }
    let refused = publisher.publish_many(&[sample::notice("ada", 2)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::QueueFull);
    stage.fails(NEVER);
    assert_eq!(publisher.replay().await.unwrap(), 2);
}

#[tokio::test]
async fn what_can_never_be_published_is_the_callers_to_know() {
    #[derive(Debug)]
    struct Refusing;
    #[async_trait]
    impl EventPublisher for Refusing {
        async fn publish_many(&self, _events: &[Envelope]) -> Result<Vec<Published>> {
            Err(Error::new(Code::DataCorrupt))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let wal = FileWal::open(folder.path().join("wal"), WalLimit::default(), Arc::new(SystemClock)).unwrap();
    let publisher = DurablePublisher::new(Arc::new(Refusing), Arc::new(wal)).await.unwrap();
    let refused = publisher.publish_many(&[sample::notice("ada", 1)]).await.unwrap_err();
    assert_eq!((refused.code(), publisher.is_buffering()), (Code::DataCorrupt, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_event_is_in_the_log_once_and_in_order_whatever_the_log_does() {
    let seed = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("CHAT_TEST_SEED={seed}");
    let stage = Stage::new(seed);
    stage.fails(100);
    let publisher = stage.publisher(WalLimit::default()).await;
    let replaying = publisher.start();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                for nth in 0..60 {
                    let event = sample::notice(&format!("user {writer}"), nth);
                    publisher.publish_many(&[event]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    stage.fails(NEVER);
    drop(replaying);
    publisher.replay().await.unwrap();
    let published = stage.published().await;
    for writer in 0..8 {
        let name = format!("user {writer}");
        let expected: Vec<_> = (0..60).map(|nth| sample::notice(&name, nth).id).collect();
        assert_eq!(published[&name], expected, "{name}");
    }
}
