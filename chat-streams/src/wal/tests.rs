//! The file log of a process that is killed, on a disk that loses power.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use chat_core::clock::{ManualClock, SystemClock};
use chat_core::error::{Code, Effect, Error};
use chat_core::memory::Memory;
use chat_testkit::sample;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::{Builder, StorageBackend};

use super::*;

/// A disk of which only what was synced is sure to be there after the power was cut; of the rest any part may be,
/// torn anywhere.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    now: Vec<u8>,
    safe: Vec<u8>,
    unsafe_writes: Vec<(usize, Vec<u8>)>,
    /// After so many more writes the power is cut.
    writes_left: Option<u64>,
}

impl Platter {
    fn powered(&mut self) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk {
    fn cut_after(&self, writes: u64) {
        self.0.lock().writes_left = Some(writes);
    }

    /// What is found when only the process has ended.
    fn left(&self) -> Self {
        let bytes = self.0.lock().now.clone();
        Self(Arc::new(Mutex::new(Platter { now: bytes.clone(), safe: bytes, ..Platter::default() })))
    }

    /// What is found when the power is back.
    fn restored(&self, random: &mut StdRng) -> Self {
        let mut platter = self.0.lock();
        let longest = platter.now.len();
        let mut bytes = std::mem::take(&mut platter.safe);
        bytes.resize(longest.max(bytes.len()), 0);
        for (at, data) in &platter.unsafe_writes {
            let torn = match random.random_range(0..3) {
                0 => 0,
                1 => random.random_range(0..=data.len()),
                _ => data.len(),
            };
            if at + torn <= bytes.len() {
                bytes[*at..at + torn].copy_from_slice(&data[..torn]);
            }
        }
        Self(Arc::new(Mutex::new(Platter { now: bytes.clone(), safe: bytes, ..Platter::default() })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().now[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.powered()?;
        platter.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.powered()?;
        platter.safe = platter.now.clone();
        platter.unsafe_writes.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.powered()?;
        let at = usize::try_from(offset).unwrap();
        platter.now[at..at + data.len()].copy_from_slice(data);
        platter.unsafe_writes.push((at, data.to_vec()));
        Ok(())
    }
}

fn open(disk: &Disk) -> Result<FileWal> {
    let database = Builder::new().create_with_backend(disk.clone());
    let database = database.map_err(|error| Error::new(Code::Unavailable).caused_by(error))?;
    FileWal::over(database, WalLimit::default(), Arc::new(ManualClock::default()))
}

fn on(disk: &Disk) -> FileWal {
    open(disk).expect("a log")
}

fn events(name: u64) -> Vec<Envelope> {
    (0..=name % 3).map(|nth| sample::notice(&format!("user {name}"), nth)).collect()
}

fn seed() -> u64 {
    let seed = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("CHAT_TEST_SEED={seed}");
    seed
}

/// What must be, what may be and what must not be in the log.
#[derive(Default)]
struct Ledger {
    open: BTreeMap<WalId, u64>,
    doubtful: BTreeSet<u64>,
}

#[tokio::test]
async fn crashes_lose_nothing_acknowledged_and_bring_nothing_back() {
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..120 {
        let (disk, mut ledger) = (Disk::default(), Ledger::default());
        let wal = on(&disk);
        for name in 0..random.random_range(1..12) {
            ledger.open.insert(wal.begin(&events(name)).await.unwrap(), name);
        }
        disk.cut_after(random.random_range(0..40));
        for name in 100.. {
            let outcome = if random.random_bool(0.6) {
                let begun = wal.begin(&events(name)).await;
                begun.map(|id| ledger.open.insert(id, name)).map_err(|error| (error, name))
            } else if let Some((id, name)) = ledger.open.pop_first() {
                wal.finish(&[id]).await.map(|()| None).map_err(|error| (error, name))
            } else {
                continue;
            };
            if let Err((error, name)) = outcome {
                assert_eq!(error.effect(), Effect::Unknown, "{error}");
                ledger.doubtful.insert(name);
                break;
            }
        }
        drop(wal);

        let (is_killed, mut disk) = (round % 2 == 0, disk);
        let mut restored = |disk: &Disk| if is_killed { disk.left() } else { disk.restored(&mut random) };
        disk = restored(&disk);
        // It goes again while what is left is mended.
        for writes in [3, 9, 1, 5, 0, 7, 2, 11].into_iter().take(round % 9) {
            disk.cut_after(writes);
            drop(open(&disk));
            disk = restored(&disk);
        }

        let found = on(&disk).unfinished(None, 1_000).await.unwrap();
        let found: BTreeMap<WalId, Vec<Envelope>> = found.into_iter().map(|e| (e.id, e.events)).collect();
        for (id, name) in &ledger.open {
            assert_eq!(found.get(id), Some(&events(*name)), "entry {id} was acknowledged");
        }
        let doubtful: Vec<_> = ledger.doubtful.iter().map(|name| events(*name)).collect();
        for (id, events) in found.iter().filter(|(id, _)| !ledger.open.contains_key(id)) {
            assert!(doubtful.contains(events), "entry {id} was never begun, or finished");
        }
    }
}

#[tokio::test]
async fn a_repeat_has_one_place_and_what_is_finished_is_gone() {
    let wal = on(&Disk::default());
    let first = wal.begin(&events(1)).await.unwrap();
    let second = wal.begin(&events(2)).await.unwrap();
    assert!(first < second);
    assert_eq!(wal.begin(&events(1)).await.unwrap(), first);
    let beginning_alike = [events(1), events(2)].concat();
    assert_ne!(wal.begin(&beginning_alike).await.unwrap(), first, "more events are another entry");
    wal.finish(&[first, first]).await.unwrap();
    wal.finish(&[first]).await.unwrap();
    assert_ne!(wal.begin(&events(1)).await.unwrap(), first, "places are never used again");
    let names: Vec<_> = wal.unfinished(Some(first), 2).await.unwrap().into_iter().map(|e| e.events).collect();
    assert_eq!(names, [events(2), beginning_alike]);
    assert_eq!(wal.begin(&[]).await.unwrap_err().code(), Code::RequestInvalid);
}

#[tokio::test]
async fn a_full_log_refuses_and_has_room_again() {
    let database = Builder::new().create_with_backend(Disk::default()).unwrap();
    let limit = WalLimit { entries: 2, bytes: 100_000 };
    let wal = FileWal::over(database, limit, Arc::new(SystemClock)).unwrap();
    let first = wal.begin(&events(1)).await.unwrap();
    wal.begin(&events(2)).await.unwrap();
    assert_eq!(wal.begin(&events(3)).await.unwrap_err().code(), Code::QueueFull);
    assert_eq!(wal.begin(&events(1)).await.unwrap(), first, "a repeat takes no room");
    wal.finish(&[first]).await.unwrap();
    let large = vec![sample::notice(&"x".repeat(100), 1); 1_000];
    assert_eq!(wal.begin(&large).await.unwrap_err().code(), Code::QueueFull, "too many bytes");
    wal.begin(&events(3)).await.unwrap();
    assert_eq!(wal.stats().await.unwrap().entries, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_begin_and_finish_at_once() {
    let wal = Arc::new(on(&Disk::default()));
    let work = (0..64).map(|task| {
        let wal = Arc::clone(&wal);
        tokio::spawn(async move {
            for nth in 0..20 {
                let id = wal.begin(&events(task * 1_000 + nth)).await.unwrap();
                if nth % 2 == 0 {
                    wal.finish(&[id]).await.unwrap();
                }
            }
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let left = wal.unfinished(None, 10_000).await.unwrap();
    assert_eq!(left.len(), 640);
    let bytes = wal.stats().await.unwrap().bytes;
    for entry in left {
        wal.finish(&[entry.id]).await.unwrap();
    }
    assert!(bytes > 0 && wal.stats().await.unwrap() == WalStats::default());
}

#[tokio::test]
async fn a_write_that_failed_surely_is_not_announced_and_one_in_doubt_is_asked_about() {
    let (wal, log) = (on(&Disk::default()), Memory::default().events);
    let refused = async { Err::<(), _>(Error::new(Code::Conflict)) };
    let sure = wal.write_and_publish(&*log, &events(1), refused).await;
    assert_eq!(sure.unwrap_err().code(), Code::Conflict);
    let lost = async { Err::<(), _>(Error::new(Code::Timeout).effect_unknown()) };
    assert_eq!(wal.write_and_publish(&*log, &events(2), lost).await.unwrap_err().code(), Code::Timeout);
    let ((), published) = wal.write_and_publish(&*log, &events(3), async { Ok(()) }).await.unwrap();
    assert!(published.iter().all(|one| matches!(one, Published::Durable(_))));

    let unknown = wal.recover(&*log, |_| async { Ok(Interrupted::Unknown) }).await.unwrap();
    assert_eq!(unknown, Recovered { kept: 1, ..Recovered::default() });
    let asked = Mutex::new(Vec::new());
    let judge = |entry: WalEntry| {
        asked.lock().push(entry.events);
        async { Ok(Interrupted::Written) }
    };
    let recovered = wal.recover(&*log, judge).await.unwrap();
    assert_eq!(recovered, Recovered { published: 1, ..Recovered::default() });
    assert_eq!(*asked.lock(), [events(2)]);
    assert_eq!(wal.stats().await.unwrap(), WalStats::default());
    let again = log.publish_many(&events(2)).await.unwrap();
    assert!(again.iter().all(|one| matches!(one, Published::Suppressed(_))), "it was announced");
}
