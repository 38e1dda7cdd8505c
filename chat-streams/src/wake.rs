//! Waiting for something to come.
//!
//! A blocking read has a connection of its own, which is kept for the next wait: on one server one for all streams, on a
//! cluster one for each. What comes is never taken here: whoever waits asks again, in the usual way, so an answer that is
//! lost loses nothing. Where the host brought a connection of which there are no more, or all are in use, streams are
//! looked at every now and then.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::error::Result;
use chat_redis::connection::Dedicated;
use chat_redis::driver::{Command, Key, Operation, Stopwatch};
use futures::future::{BoxFuture, select_all};
use parking_lot::Mutex;
use redis::Value;
use tokio::time::{sleep, timeout};

use crate::streams::Streams;

const WAITING: Operation = Operation::read("events.wait");

/// How long one read blocks at most: as long may a stream that begins anew with earlier ids go unnoticed.
const LONGEST_BLOCK: Duration = Duration::from_secs(5);
/// How long streams are looked at before a blocking read is tried again, and the pauses between two looks.
const LOOKING: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A place in a stream behind which something is going to be.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// Those of one stream and what stands beside it are in one slot.
    pub(crate) stream: String,
    pub(crate) key: Key,
    pub(crate) after: String,
}

/// A read that blocks: when it ends, its connection can be used again.
type Blocked = BoxFuture<'static, Result<Dedicated>>;

/// Waits for entries.
pub(crate) struct Wake {
    streams: Streams,
    /// Whether each stream needs a connection of its own, because they are on different servers.
    is_spread: AtomicBool,
    /// The reads that were blocked when somebody stopped waiting, by what they read. One that began behind an earlier entry
    /// ends at once, which does no harm.
    blocked: Mutex<HashMap<String, Blocked>>,
    idle: Mutex<HashMap<String, Dedicated>>,
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake").field("is_spread", &self.is_spread).finish_non_exhaustive()
    }
}

impl Wake {
    pub(crate) fn new(streams: &Streams) -> Self {
        let is_spread = AtomicBool::new(false);
        Self { streams: streams.clone(), is_spread, blocked: Mutex::default(), idle: Mutex::default() }
    }

    /// Comes back when there may be something behind any of these places, or when it is time to ask again anyway. A failure
    /// is left to be found by whoever asks again.
    pub(crate) async fn wait(&self, watches: &[Watch], patience: Duration) {
        let began = Stopwatch::start();
        if let Err(failure) = self.block(watches, patience.min(LONGEST_BLOCK)).await {
            if matches!(failure.detail("redis"), Some("CROSSSLOT" | "MOVED" | "ASK")) {
                self.is_spread.store(true, Ordering::Relaxed);
            } else {
                let left = patience.saturating_sub(began.elapsed());
                self.look(watches, left.min(LOOKING)).await;
            }
        }
    }

    /// Waits with blocking reads.
    async fn block(&self, watches: &[Watch], patience: Duration) -> Result<()> {
        let mut parts: HashMap<String, Vec<&Watch>> = HashMap::new();
        for watch in watches {
            let part = if self.is_spread.load(Ordering::Relaxed) { watch.stream.as_str() } else { "" };
            parts.entry(part.to_owned()).or_default().push(watch);
        }
        let mut before = std::mem::take(&mut *self.blocked.lock());
        let mut reads: Vec<(String, Blocked)> = Vec::with_capacity(parts.len());
        for (part, watches) in parts {
            let name = watches.iter().map(|watch| watch.key.as_str()).collect::<Vec<_>>().join("\n");
            let read = before.remove(&name).unwrap_or_else(|| self.read(&part, &name, &watches, patience));
            reads.push((name, read));
        }
        let (names, reads): (Vec<_>, Vec<_>) = reads.into_iter().unzip();
        // What nobody waits for any more ends here, with its connection.
        drop(before);
        self.idle.lock().retain(|name, _| names.contains(name));
        if reads.is_empty() {
            sleep(patience).await;
            return Ok(());
        }
        let mut reads = Reads { wake: self, names, reads };
        match timeout(patience, select_all(reads.reads.iter_mut())).await {
            Err(_) => Ok(()),
            Ok((ended, nth, _)) => {
                let name = reads.forget(nth);
                self.idle.lock().insert(name, ended?);
                Ok(())
            }
        }
    }

    fn read(&self, part: &str, name: &str, watches: &[&Watch], patience: Duration) -> Blocked {
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1))
            .arg("STREAMS");
        for watch in watches {
            command.arg(&watch.key);
        }
        for watch in watches {
            command.arg(&watch.after);
        }
        let (service, idle) = (self.streams.service().clone(), self.idle.lock().remove(name));
        let part = part.to_owned();
        Box::pin(async move {
            let mut connection = match idle {
                Some(connection) => connection,
                None if part.is_empty() => service.dedicated().await?.named(WAITING.name()),
                None => service.dedicated_for(part.as_bytes()).await?.named(WAITING.name()),
            };
            connection.query::<Value>(&command, patience).await?;
            Ok(connection)
        })
    }

    /// Waits by looking again and again.
    async fn look(&self, watches: &[Watch], patience: Duration) {
        let began = Stopwatch::start();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let looks = watches.iter().map(|watch| {
                let look = Command::new("XRANGE", &watch.key).arg(format!("({}", watch.after));
                look.arg("+").arg("COUNT").arg(1)
            });
            let found = self.streams.store().call::<Value>(WAITING, looks.collect()).await;
            let is_there = |answer: &Value| matches!(answer, Value::Array(entries) if !entries.is_empty());
            if found.map_or(true, |answers| answers.iter().any(is_there)) {
                return;
            }
        }
    }
}

/// The reads of one wait. What has not ended when it is over stays blocked for the next.
struct Reads<'a> {
    wake: &'a Wake,
    names: Vec<String>,
    reads: Vec<Blocked>,
}

impl Reads<'_> {
    fn forget(&mut self, nth: usize) -> String {
        drop(self.reads.remove(nth));
        self.names.remove(nth)
    }
}

impl Drop for Reads<'_> {
    fn drop(&mut self) {
        let still = std::mem::take(&mut self.names).into_iter().zip(std::mem::take(&mut self.reads));
        self.wake.blocked.lock().extend(still);
    }
}
