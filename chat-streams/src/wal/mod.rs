//! The write-ahead log: what was begun is not forgotten.
//!
//! For hosts that keep their own database instead of this family's truth, which has its outbox: a host notes what it is
//! about to announce, writes, publishes, and notes that it is done. What a crash interrupts is found again.
//!
//! ```text
//! begin ─► the host's own write ─► publish ─► finish
//!   └───────────── unfinished: after a crash, ask the host's truth, then publish or drop ─────────────┘
//! ```
//!
//! [`FileWal`] keeps it on a disk of this node, [`RedisWal`] in Redis.

mod file;
mod redis;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::EventId;
use chat_core::error::{Code, Effect, Error, Result};
use chat_core::event::Envelope;
use chat_core::store::{EventPublisher, events::Published};

pub use self::redis::{RedisWal, RedisWalOptions};
pub use file::FileWal;

/// A place in a write-ahead log; later entries have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalId(pub u64);

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEntry {
    /// Its place.
    pub id: WalId,
    /// When it was begun, by this machine's clock.
    pub at: Timestamp,
    /// What is to be announced.
    pub events: Vec<Envelope>,
}

/// How much is unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalStats {
    /// How many entries.
    pub entries: u64,
    /// How many bytes their events take.
    pub bytes: u64,
}

/// How much a write-ahead log takes before it refuses more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalLimit {
    /// How many entries: 100 000 by default.
    pub entries: u64,
    /// How many bytes of events: 256 MiB by default.
    pub bytes: u64,
}

impl Default for WalLimit {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 256 * 1024 * 1024 }
    }
}

/// What was begun and is not finished, kept through any crash.
#[async_trait]
pub trait Wal: fmt::Debug + Send + Sync + 'static {
    /// Keeps events. They are safe when this answers.
    ///
    /// # Atomicity
    /// All of them or none.
    ///
    /// # Idempotency
    /// By the ids of the events, while they are unfinished: a repeat answers the same place.
    ///
    /// # Errors
    /// [`Code::QueueFull`] at the limit: nothing was kept.
    /// [`Code::RequestInvalid`] without events.
    async fn begin(&self, events: &[Envelope]) -> Result<WalId>;

    /// Forgets what is done.
    ///
    /// # Idempotency
    /// Finishing again changes nothing.
    async fn finish(&self, entries: &[WalId]) -> Result<()>;

    /// Up to `limit` entries after a place, oldest first.
    async fn unfinished(&self, after: Option<WalId>, limit: usize) -> Result<Vec<WalEntry>>;

    /// How much is unfinished.
    async fn stats(&self) -> Result<WalStats>;
}

/// What a host's own truth says of something that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// The host's write took hold: announce it.
    Written,
    /// It did not, and never will: forget it.
    NotWritten,
    /// Not known yet: keep it for the next time.
    Unknown,
}

/// What a recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Entries announced.
    pub published: u64,
    /// Entries forgotten.
    pub dropped: u64,
    /// Entries kept for the next time.
    pub kept: u64,
}

/// Sugar over any [`Wal`]; implemented for all of them.
pub trait WalExt: Wal {
    /// Begins, writes, publishes and finishes. When `write` fails nothing is announced.
    ///
    /// Fails with the error of whichever step did. When publishing fails, the write has happened, and
    /// [`recover`](WalExt::recover) announces it later.
    fn write_and_publish<T, F>(
        &self,
        publisher: &dyn EventPublisher,
        events: &[Envelope],
        write: F,
    ) -> impl Future<Output = Result<(T, Vec<Published>)>> + Send
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        async move {
            let entry = self.begin(events).await?;
            let written = match write.await {
                Ok(written) => written,
                Err(error) => {
                    // Only what surely changed nothing may be forgotten.
                    if error.effect() == Effect::None {
                        self.finish(&[entry]).await?;
                    }
                    return Err(error);
                }
            };
            let published = publisher.publish_many(events).await?;
            self.finish(&[entry]).await?;
            Ok((written, published))
        }
    }

    /// Finishes what a crash interrupted, oldest first: asks `judge` about each entry and publishes what was written.
    fn recover<J, F>(
        &self,
        publisher: &dyn EventPublisher,
        mut judge: J,
    ) -> impl Future<Output = Result<Recovered>> + Send
    where
        J: FnMut(WalEntry) -> F + Send,
        F: Future<Output = Result<Interrupted>> + Send,
    {
        async move {
            let (mut recovered, mut after) = (Recovered::default(), None);
            loop {
                let entries = self.unfinished(after, RECOVERED_AT_ONCE).await?;
                let Some(last) = entries.last() else { return Ok(recovered) };
                after = Some(last.id);
                for entry in entries {
                    match judge(entry.clone()).await? {
                        Interrupted::Unknown => {
                            recovered.kept += 1;
                            continue;
                        }
                        Interrupted::NotWritten => recovered.dropped += 1,
                        Interrupted::Written => {
                            publisher.publish_many(&entry.events).await?;
                            recovered.published += 1;
                        }
                    }
                    self.finish(&[entry.id]).await?;
                }
            }
        }
    }
}

impl<W: Wal + ?Sized> WalExt for W {}

/// How many entries a recovery holds in memory.
const RECOVERED_AT_ONCE: usize = 100;

/// What the same events are always called.
fn name_of(events: &[Envelope]) -> Result<String> {
    if events.is_empty() {
        return Err(Error::invalid(Code::RequestInvalid, "nothing to begin"));
    }
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    Ok(EventId::derived(&ids).as_str().to_owned())
}
