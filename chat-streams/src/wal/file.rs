//! [`Wal`] on a disk of this node.

use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use chat_core::clock::{Clock, Timestamp};
use chat_core::error::{Code, Error, Result};
use chat_core::event::Envelope;
use chat_core::event::wire::{Origin, decode, encode_flat};
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{Wal, WalEntry, WalId, WalLimit, WalStats};

/// Place to the name of the entry, and the entry.
const ENTRIES: TableDefinition<'_, u64, (&str, &[u8])> = TableDefinition::new("entries");
/// The name of an entry to its place.
const PLACES: TableDefinition<'_, &str, u64> = TableDefinition::new("places");
/// Numbers by name.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const NEXT: &str = "next";
const BYTES: &str = "bytes";

/// How many changes wait for the writer; then callers wait.
const WAITING: usize = 1_024;
/// How many changes become durable by one write to the disk.
const GROUP: usize = 256;

/// A write-ahead log in one file, for one process at a time.
///
/// Changes of many tasks become durable together: each waits for one `fsync`, which it shares with those that came
/// meanwhile. The file has checksums; a write that a crash tore is as if it had never begun.
///
/// ```
/// # use std::sync::Arc;
/// # use chat_core::clock::SystemClock;
/// # use chat_streams::{FileWal, Wal as _, WalLimit};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let wal = FileWal::open(folder.path().join("chat.wal"), WalLimit::default(), Arc::new(SystemClock))?;
/// assert_eq!(wal.stats().await?.entries, 0);
/// # Ok(()) }
/// ```
pub struct FileWal {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    /// Dropped first: that ends the writer.
    changes: Option<mpsc::Sender<Change>>,
    writer: Option<JoinHandle<()>>,
}

/// What the disk said.
type Fault = Box<dyn std::error::Error + Send + Sync>;
type Disk<T> = std::result::Result<T, Fault>;

enum Change {
    Begin { name: String, entry: Vec<u8>, answer: oneshot::Sender<Result<WalId>> },
    Finish { entries: Vec<WalId>, answer: oneshot::Sender<Result<()>> },
}

/// An entry as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    at: u64,
    events: Vec<Vec<(String, String)>>,
}

impl FileWal {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] when it cannot be made or opened, another process has it, or an older version made it;
    /// [`Code::DataCorrupt`] when it is no write-ahead log or damaged beyond a torn write: it is left as it is.
    pub fn open(path: impl AsRef<Path>, limit: WalLimit, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.as_ref();
        let unusable = |error| {
            Error::invalid(Code::ConfigInvalid, "the write-ahead log cannot be opened").caused_by(error)
        };
        if !path.try_exists().map_err(unusable)? {
            make(path)?;
        }
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen
            | redb::DatabaseError::Storage(redb::StorageError::Io(_)) => {
                Error::invalid(Code::ConfigInvalid, "the write-ahead log cannot be opened").caused_by(error)
            }
            redb::DatabaseError::UpgradeRequired(_) => {
                let reason = "the write-ahead log is an older version's, which has to finish what is in it";
                Error::invalid(Code::ConfigInvalid, reason).caused_by(error)
            }
            damaged => Error::new(Code::DataCorrupt).during("wal.open").caused_by(damaged),
        })?;
        Self::over(database, limit, clock)
    }

    pub(super) fn over(database: Database, limit: WalLimit, clock: Arc<dyn Clock>) -> Result<Self> {
        let database = Arc::new(database);
        prepare(&database).map_err(|error| failed("wal.open", error))?;
        let (changes, queue) = mpsc::channel(WAITING);
        let written = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("chat-wal".to_owned())
            .spawn(move || write_changes(&written, queue, limit))
            .map_err(|error| Error::new(Code::Internal).during("wal.open").caused_by(error))?;
        Ok(Self { database, clock, changes: Some(changes), writer: Some(writer) })
    }

    async fn change<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(oneshot::Sender<Result<T>>) -> Change,
    ) -> Result<T> {
        let gone = || Error::new(Code::Unavailable).during(operation).with("reason", "the writer has ended");
        let (answer, answered) = oneshot::channel();
        let changes = self.changes.as_ref().ok_or_else(gone)?;
        changes.send(change(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone().effect_unknown())?
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        look: impl FnOnce(&Database) -> Disk<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.database);
        let found = tokio::task::spawn_blocking(move || look(&database)).await;
        found
            .map_err(|error| Error::new(Code::Internal).during(operation).caused_by(error))?
            .map_err(|error| failed(operation, error))
    }
}

impl Drop for FileWal {
    /// Waits until what was handed over is on the disk, so that the file can be opened again.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of a write-ahead log has panicked");
        }
    }
}

impl fmt::Debug for FileWal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileWal")
    }
}

#[async_trait]
impl Wal for FileWal {
    async fn begin(&self, events: &[Envelope]) -> Result<WalId> {
        let name = super::name_of(events)?;
        let entry = encode(self.clock.now(), events)?;
        self.change("wal.begin", |answer| Change::Begin { name, entry, answer }).await
    }

    async fn finish(&self, entries: &[WalId]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries = entries.to_vec();
        self.change("wal.finish", |answer| Change::Finish { entries, answer }).await
    }

    async fn unfinished(&self, after: Option<WalId>, limit: usize) -> Result<Vec<WalEntry>> {
        let from = after.map_or(0, |WalId(place)| place.saturating_add(1));
        let stored = self
            .read("wal.unfinished", move |database| {
                let table = database.begin_read()?.open_table(ENTRIES)?;
                let entries = table.range(from..)?.take(limit);
                entries
                    .map(|entry| entry.map(|(place, stored)| (place.value(), stored.value().1.to_vec())))
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map_err(Fault::from)
            })
            .await?;
        stored.into_iter().map(|(place, bytes)| decode_entry(WalId(place), &bytes)).collect()
    }

    async fn stats(&self) -> Result<WalStats> {
        self.read("wal.stats", |database| {
            let read = database.begin_read()?;
            let entries = read.open_table(ENTRIES)?.len()?;
            let bytes = number(&read.open_table(NUMBERS)?, BYTES)?;
            Ok(WalStats { entries, bytes })
        })
        .await
    }
}

pub(super) fn encode(at: Timestamp, events: &[Envelope]) -> Result<Vec<u8>> {
    let fields = |event| encode_flat(event).into_iter().map(|(name, value)| (name.into_owned(), value));
    let events = events.iter().map(|event| fields(event).collect()).collect();
    let stored = Stored { at: at.as_millis(), events };
    serde_json::to_vec(&stored).map_err(|e| Error::new(Code::Internal).during("wal.begin").caused_by(e))
}

pub(super) fn decode_entry(id: WalId, bytes: &[u8]) -> Result<WalEntry> {
    let corrupt = || Error::new(Code::DataCorrupt).during("wal.unfinished").with("entry", id);
    let stored: Stored = serde_json::from_slice(bytes).map_err(|e| corrupt().caused_by(e))?;
    let origin = Origin { stream: "wal", entry: "0-0" };
    let event = |fields: &Vec<(String, String)>| {
        decode(fields, origin).map_err(|undecodable| corrupt().with("reason", undecodable))
    };
    let events = stored.events.iter().map(event).collect::<Result<_>>()?;
    Ok(WalEntry { id, at: Timestamp::from_millis(stored.at), events })
}

/// Makes an empty log under another name first: at no moment is there a file of this name that is none.
fn make(path: &Path) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}.new", rand::random::<u32>()));
    let draft = path.with_file_name(name);
    let made = (|| {
        prepare(&Database::create(&draft)?)?;
        match fs::hard_link(&draft, path) {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // Not every disk has links.
            Err(_) => fs::rename(&draft, path)?,
            Ok(()) => {}
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    // After a rename it is gone.
    let _ = fs::remove_file(&draft);
    made.map_err(|error: Fault| {
        Error::invalid(Code::ConfigInvalid, "the write-ahead log cannot be made").caused_by(error)
    })
}

fn prepare(database: &Database) -> Disk<()> {
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    write.open_table(PLACES)?;
    write.open_table(NUMBERS)?;
    write.commit()?;
    Ok(())
}

/// Ends when the last handle is gone and everything handed over is on the disk.
fn write_changes(database: &Database, mut queue: mpsc::Receiver<Change>, limit: WalLimit) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        let answers = write_group(database, &group, limit);
        for (nth, change) in group.drain(..).enumerate() {
            let outcome = match &answers {
                Ok(answers) => answers.get(nth).cloned().unwrap_or(Done::Finished),
                Err(_) => Done::Failed,
            };
            // Who asked may be gone.
            match change {
                Change::Begin { answer, .. } => drop(answer.send(outcome.begun(answers.as_ref().err()))),
                Change::Finish { answer, .. } => drop(answer.send(outcome.finished(answers.as_ref().err()))),
            }
        }
    }
}

/// What became of one change of a group.
#[derive(Clone)]
enum Done {
    Begun(WalId),
    Full,
    Finished,
    Failed,
}

impl Done {
    fn begun(self, failure: Option<&Fault>) -> Result<WalId> {
        match self {
            Self::Begun(id) => Ok(id),
            Self::Full => Err(Error::new(Code::QueueFull).during("wal.begin")),
            Self::Finished | Self::Failed => Err(disk("wal.begin", failure)),
        }
    }

    fn finished(self, failure: Option<&Fault>) -> Result<()> {
        match self {
            Self::Finished => Ok(()),
            _ => Err(disk("wal.finish", failure)),
        }
    }
}

/// A disk that does not take it: what was written of the group is not known.
fn disk(operation: &'static str, failure: Option<&Fault>) -> Error {
    let error = Error::new(Code::Timeout).during(operation).effect_unknown();
    match failure {
        Some(failure) => error.with("disk", failure),
        None => error,
    }
}

fn write_group(database: &Database, group: &[Change], limit: WalLimit) -> Disk<Vec<Done>> {
    let write = database.begin_write()?;
    let done = {
        let mut entries = write.open_table(ENTRIES)?;
        let mut places = write.open_table(PLACES)?;
        let mut numbers = write.open_table(NUMBERS)?;
        let mut next = number(&numbers, NEXT)?;
        let mut bytes = number(&numbers, BYTES)?;
        let mut done = Vec::with_capacity(group.len());
        for change in group {
            done.push(match change {
                Change::Begin { name, entry, .. } => {
                    let known = places.get(name.as_str())?.map(|place| place.value());
                    let size = entry.len() as u64;
                    if let Some(place) = known {
                        Done::Begun(WalId(place))
                    } else if entries.len()? >= limit.entries || bytes.saturating_add(size) > limit.bytes {
                        Done::Full
                    } else {
                        entries.insert(next, (name.as_str(), entry.as_slice()))?;
                        places.insert(name.as_str(), next)?;
                        bytes += size;
                        next += 1;
                        Done::Begun(WalId(next - 1))
                    }
                }
                Change::Finish { entries: finished, .. } => {
                    for WalId(place) in finished {
                        let Some(entry) = entries.remove(place)? else { continue };
                        let (name, entry) = entry.value();
                        bytes = bytes.saturating_sub(entry.len() as u64);
                        places.remove(name)?;
                    }
                    Done::Finished
                }
            });
        }
        numbers.insert(NEXT, next)?;
        numbers.insert(BYTES, bytes)?;
        done
    };
    write.commit()?;
    Ok(done)
}

fn number(
    table: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> std::result::Result<u64, redb::StorageError> {
    Ok(table.get(name)?.map_or(0, |number| number.value()))
}

fn failed(operation: &'static str, fault: Fault) -> Error {
    let damaged = matches!(fault.downcast_ref(), Some(redb::StorageError::Corrupted(_)));
    let code = if damaged { Code::DataCorrupt } else { Code::Unavailable };
    Error::new(code).during(operation).caused_by(fault)
}
