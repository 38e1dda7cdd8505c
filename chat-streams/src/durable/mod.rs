//! [`DurablePublisher`]: publishes now, or as soon as the log is back.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result;
use chat_core::event::Envelope;
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinHandle;

use crate::wal::{Wal, WalEntry};

/// The pause after a first failed replay; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many entries a replay reads, and how many events it publishes at once.
const ENTRIES_AT_ONCE: usize = 128;
const EVENTS_AT_ONCE: usize = 128;

/// A publisher that never says no while its write-ahead log has room: seed 001's fallback, without its losses.
///
/// While the log is away events are [`Buffered`](Published::Buffered), and so is everything after them, so that order
/// per key survives. A [replay](DurablePublisher::start) publishes them in order when the log is back, after a crash of
/// this process, too. The log recognises a repeat for
/// [`REPEAT_WINDOW`](chat_core::store::events::REPEAT_WINDOW); where a reply was lost before a longer outage, an event
/// may be in the log twice, under one id, by which consumers know it.
///
/// The write-ahead log must be its own: everything in it is going to be published.
#[derive(Debug, Clone)]
pub struct DurablePublisher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Arc<dyn EventPublisher>,
    wal: Arc<dyn Wal>,
    buffering: AtomicBool,
    /// Held by whoever publishes; alone by whoever ends the buffering.
    gate: RwLock<()>,
    buffered: Notify,
}

impl DurablePublisher {
    /// Publishes to `log`, and what it does not take to `wal`.
    ///
    /// # Errors
    /// Those of [`Wal::stats`].
    pub async fn new(log: Arc<dyn EventPublisher>, wal: Arc<dyn Wal>) -> Result<Self> {
        let buffering = AtomicBool::new(wal.stats().await?.entries > 0);
        let inner = Inner { log, wal, buffering, gate: RwLock::default(), buffered: Notify::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether events are buffered now instead of published.
    pub fn is_buffering(&self) -> bool {
        self.inner.buffering.load(Ordering::Acquire)
    }

    /// Publishes everything buffered, in order; says how many events that were. Afterwards events go to the log again.
    ///
    /// # Errors
    /// The failure that ended it; what was not published stays buffered.
    pub async fn replay(&self) -> Result<u64> {
        let mut replayed = 0;
        while self.is_buffering() {
            let entries = self.inner.wal.unfinished(None, ENTRIES_AT_ONCE).await?;
            if entries.is_empty() {
                let _alone = self.inner.gate.write().await;
                if self.inner.wal.stats().await?.entries == 0 {
                    self.inner.buffering.store(false, Ordering::Release);
                }
                continue;
            }
            for batch in batches(&entries) {
                let events: Vec<Envelope> = batch.iter().flat_map(|entry| entry.events.clone()).collect();
                self.inner.log.publish_many(&events).await?;
                self.inner.wal.finish(&batch.iter().map(|entry| entry.id).collect::<Vec<_>>()).await?;
                replayed += events.len() as u64;
            }
        }
        Ok(replayed)
    }

    /// Replays whenever there is something to, until the answer is dropped.
    #[must_use = "dropping it ends the replaying"]
    pub fn start(&self) -> Replaying {
        let publisher = self.clone();
        Replaying(tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let buffered = publisher.inner.buffered.notified();
                match publisher.replay().await {
                    Ok(replayed) => {
                        if replayed > 0 {
                            tracing::info!(replayed, "buffered events are published");
                        }
                        pause = FIRST_PAUSE;
                        buffered.await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "buffered events wait");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }))
    }

    async fn buffer(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        self.inner.wal.begin(events).await?;
        self.inner.buffering.store(true, Ordering::Release);
        self.inner.buffered.notify_one();
        metrics::counter!("chat_events_buffered_total").increment(events.len() as u64);
        Ok(vec![Published::Buffered; events.len()])
    }
}

#[async_trait]
impl EventPublisher for DurablePublisher {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let _open = self.inner.gate.read().await;
        if self.is_buffering() {
            return self.buffer(events).await;
        }
        match self.inner.log.publish_many(events).await {
            Err(error) if error.is_transient() => self.buffer(events).await,
            outcome => outcome,
        }
    }
}

/// Neighbours that are published at once.
fn batches(entries: &[WalEntry]) -> Vec<&[WalEntry]> {
    let (mut batches, mut rest) = (Vec::new(), entries);
    while !rest.is_empty() {
        let mut events = 0;
        let fitting = rest.iter().take_while(|entry| {
            events += entry.events.len();
            events <= EVENTS_AT_ONCE
        });
        let (batch, others) = rest.split_at(fitting.count().clamp(1, rest.len()));
        batches.push(batch);
        rest = others;
    }
    batches
}

/// Replays until dropped.
#[derive(Debug)]
pub struct Replaying(JoinHandle<()>);

impl Drop for Replaying {
    fn drop(&mut self) {
        self.0.abort();
    }
}
