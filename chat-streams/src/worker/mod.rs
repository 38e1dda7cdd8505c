//! [`Worker`]: runs a handler over a consumer.
//!
//! ```text
//! source ──fetch──▶ lanes, one per key ──▶ handler, several keys at once ──▶ done ──ack, with the next fetch──▶ source
//! ```
//!
//! Entries of one key are handled one after the other, in the order of the log; entries of different keys at the same
//! time. What fails is tried again in its place, so that nothing of its key overtakes it; what cannot be handled is set
//! aside with its cause, so that it holds up its neighbours no longer. Nothing is acknowledged before it was handled: what
//! a crash interrupts is handled again by another member.

mod lanes;
mod once;
mod run;
mod source;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::{Error, ErrorKind, Result};
use chat_core::event::Envelope;
use chat_core::store::events::Lag;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use once::{Once, Outcome};
pub use source::Source;

/// Does whatever an event is for.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. It may come more than once, under the same id: see [`Once`] for what must not be repeated.
    ///
    /// # Errors
    /// What kind of error it is decides what follows:
    ///
    /// | kind | what follows |
    /// |---|---|
    /// | `Unavailable` | it is tried again for as long as that lasts: an outage is no fault of the event |
    /// | `InvalidInput`, `Corrupt`, `Unsupported` | it is a dead letter at once: trying again changes nothing |
    /// | any other, and a panic | it is tried again [`WorkerOptions::attempts`] times, then it is a dead letter |
    async fn handle(&self, envelope: &Envelope, attempt: u32) -> Result<()>;
}

/// A handler made of a function.
///
/// ```
/// # use std::sync::Arc;
/// # use chat_core::event::Envelope;
/// let handler = chat_streams::worker::handler(|envelope: Arc<Envelope>, _attempt| async move {
///     println!("{}", envelope.name());
///     Ok(())
/// });
/// ```
pub fn handler<F, H>(function: F) -> impl Handler
where
    F: Fn(Arc<Envelope>, u32) -> H + Send + Sync + 'static,
    H: Future<Output = Result<()>> + Send + 'static,
{
    Function(function)
}

struct Function<F>(F);

#[async_trait]
impl<F, H> Handler for Function<F>
where
    F: Fn(Arc<Envelope>, u32) -> H + Send + Sync + 'static,
    H: Future<Output = Result<()>> + Send + 'static,
{
    async fn handle(&self, envelope: &Envelope, attempt: u32) -> Result<()> {
        (self.0)(Arc::new(envelope.clone()), attempt).await
    }
}

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// What it calls itself in metrics and logs; `worker` by default.
    pub name: String,
    /// How many entries it fetches at once; it holds twice as many at most. 128 by default.
    pub batch: usize,
    /// How many keys it works on at the same time; 16 by default.
    pub concurrency: usize,
    /// How often an event is tried before it is set aside, crashes included; 5 by default, as in the seeds.
    pub attempts: u32,
    /// The pause after a first failed attempt; it doubles up to [`longest_pause`](Self::longest_pause). 100 ms by default,
    /// as in the seeds.
    pub first_pause: Duration,
    /// The longest pause between two attempts; 5 s by default.
    pub longest_pause: Duration,
    /// After how long what a member neither acknowledges nor works on is taken over; 60 s by default. Longer than any
    /// handler takes, where the source cannot renew.
    pub idle: Duration,
    /// How often it looks for such entries; 15 s by default.
    pub reclaim_every: Duration,
    /// How long it waits for events; also how late it may notice that it is to stop. 1 s by default.
    pub wait: Duration,
    /// How long what was handled may wait for the next fetch to be acknowledged; 50 ms by default.
    pub linger: Duration,
    /// How long it may take to finish what it has when it is stopped; 30 s by default.
    pub drain: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            batch: 128,
            concurrency: 16,
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            reclaim_every: Duration::from_secs(15),
            wait: Duration::from_secs(1),
            linger: Duration::from_millis(50),
            drain: Duration::from_secs(30),
        }
    }
}

/// What became of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Again, and it does not count.
    Wait,
    /// Again, if there are attempts left.
    Again,
    /// Aside, at once.
    Bury,
}

impl Next {
    fn after(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Wait,
            ErrorKind::InvalidInput | ErrorKind::Corrupt | ErrorKind::Unsupported => Self::Bury,
            _ => Self::Again,
        }
    }
}

/// What a worker did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerStats {
    /// Events handled.
    pub handled: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Events set aside.
    pub buried: u64,
    /// Events taken over from other members, or from an earlier life of this one.
    pub reclaimed: u64,
    /// Entries it holds now.
    pub held: usize,
    /// How far behind its group was when it last looked, every [`WorkerOptions::reclaim_every`].
    pub lag: Lag,
}

/// Runs a handler over a consumer: see [the module](self).
///
/// ```
/// use std::sync::Arc;
///
/// use chat_core::clock::SystemClock;
/// use chat_core::event::{Envelope, Topic};
/// use chat_core::memory::MemoryEvents;
/// use chat_streams::worker::{Worker, WorkerOptions, handler};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let log = Arc::new(MemoryEvents::new(Arc::new(SystemClock)));
/// let consumer = log.consumer("search-index", "node-1", &[Topic::Messages], false);
/// let worker = Worker::new(consumer, handler(|envelope: Arc<Envelope>, _attempt| async move {
///     println!("{}", envelope.name());
///     Ok(())
/// }));
/// let running = worker.with(WorkerOptions { concurrency: 4, ..WorkerOptions::default() }).start();
/// let stats = running.stop().await;
/// assert_eq!((stats.handled, stats.held), (0, 0));
/// # }
/// ```
pub struct Worker {
    source: Arc<dyn Source>,
    handler: Arc<dyn Handler>,
    options: WorkerOptions,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for one member of a group.
    pub fn new(source: impl Source + 'static, handler: impl Handler) -> Self {
        Self { source: Arc::new(source), handler: Arc::new(handler), options: WorkerOptions::default() }
    }

    /// The same, working like this.
    #[must_use]
    pub fn with(self, options: WorkerOptions) -> Self {
        Self { options, ..self }
    }

    /// Starts to work. Needs a Tokio runtime.
    pub fn start(self) -> Working {
        let (stop, stopped) = watch::channel(false);
        let (report, stats) = watch::channel(WorkerStats::default());
        let running = run::Run::new(self.source, self.handler, self.options, report, stopped);
        Working { stop, stats, task: tokio::spawn(running.run()) }
    }
}

/// A worker at work. Dropping it ends it at once: what it has is taken over by another member.
#[derive(Debug)]
#[must_use = "dropping it ends the work"]
pub struct Working {
    stop: watch::Sender<bool>,
    stats: watch::Receiver<WorkerStats>,
    task: JoinHandle<()>,
}

impl Working {
    /// What it did so far.
    pub fn stats(&self) -> WorkerStats {
        *self.stats.borrow()
    }

    /// Whether it ended, which it does by itself only when something in it is broken.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Fetches nothing more, finishes what it has within [`WorkerOptions::drain`] and acknowledges it. What was not finished
    /// is left to other members: see [`WorkerStats::held`].
    pub async fn stop(mut self) -> WorkerStats {
        self.stop.send_replace(true);
        // It ends in any case; if it panicked, what it did last is still known.
        let _ = (&mut self.task).await;
        self.stats()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}
