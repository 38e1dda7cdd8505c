//! [`KafkaSource`]: records of topics of Kafka into the log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, Undecodable};
use chat_core::store::EventPublisher;
use rdkafka::consumer::Consumer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Aside;
use super::config::KafkaConfig;
use super::error::creation;
use super::record::{DeadRecords, KafkaDeadTopics, KafkaRecord};
use super::run::{Link, Parts, Reader, Run};
use super::sender::Sender;
use crate::consumer::Start;

pub(super) type Decode = dyn Fn(&KafkaRecord) -> Result<Option<Envelope>, Undecodable> + Send + Sync;

/// How a source works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Where a group begins that has committed nothing, or whose place is gone from the topic;
    /// [`Start::Beginning`] by default, with which nothing is missed.
    pub start: Start,
    /// How many records it publishes at once, and holds; 256 by default. Besides, the driver keeps up to 16 MB:
    /// `queued.max.messages.kbytes`.
    pub batch: usize,
    /// How often an event is tried that the log refuses for no known reason, before it is a dead record; 5 by default.
    pub attempts: u32,
    /// The pause after a first failed attempt; it doubles up to [`longest_pause`](Self::longest_pause). 100 ms by default.
    pub first_pause: Duration,
    /// The longest pause between two attempts; 5 s by default.
    pub longest_pause: Duration,
    /// How long it may take to finish what it has when it is stopped; 30 s by default.
    pub drain: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            start: Start::Beginning,
            batch: 256,
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

/// What a source did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceStats {
    /// Records read.
    pub read: u64,
    /// Events the log took.
    pub published: u64,
    /// Events that are kept to be published when the log is back.
    pub buffered: u64,
    /// Events the log had already.
    pub suppressed: u64,
    /// Records of other kinds than are let in, and those the decoder left out.
    pub skipped: u64,
    /// Records this very log had sent.
    pub own: u64,
    /// Dead records.
    pub dead: u64,
    /// Attempts to publish or to bury that failed.
    pub failed: u64,
    /// Records it holds now.
    pub held: usize,
    /// Partitions it reads now.
    pub partitions: usize,
}

/// Reads topics in a Kafka consumer group and publishes the events it finds.
///
/// An offset is committed when the log has accepted (published, buffered or recognised) every event before it, and the dead
/// records have taken what is none. So a source that is killed, or whose partition goes to another one, misses nothing; what
/// is read again is suppressed by its id.
///
/// While the log does not answer it holds one batch, pauses its partitions and tries again for as long as that lasts.
/// Events are published in the order of their partition, so each key keeps its order.
///
/// What is no event, and what the log refuses, goes to [`DeadRecords`]; by default to a topic beside its own:
/// [`KafkaDeadTopics`].
///
/// ```no_run
/// use std::sync::Arc;
///
/// use chat_streams::Streams;
/// use chat_streams::kafka::{KafkaConfig, KafkaRoutes, KafkaSource};
///
/// # async fn example(streams: Streams) -> chat_core::error::Result<()> {
/// let routes = KafkaRoutes::new("search").receive_all("message-service.topic");
/// let config = KafkaConfig::new("localhost:9092", routes);
/// let reading = KafkaSource::new(&config, Arc::new(streams.publisher()))?.start()?;
/// println!("{:?}", reading.stats());
/// reading.stop().await;
/// # Ok(()) }
/// ```
pub struct KafkaSource {
    config: KafkaConfig,
    publisher: Arc<dyn EventPublisher>,
    dead: Arc<dyn DeadRecords>,
    decode: Arc<Decode>,
    options: SourceOptions,
    sender: Arc<Sender>,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("config", &self.config)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// A source of what the routes receive.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for routes that go round or receive nothing, or properties the driver does not take.
    pub fn new(config: &KafkaConfig, publisher: Arc<dyn EventPublisher>) -> Result<Self> {
        config.routes.check()?;
        if config.routes.received_from().next().is_none() {
            return Err(Error::invalid(Code::ConfigInvalid, "Kafka: the routes receive nothing"));
        }
        let sender = Arc::new(Sender::new(config, "source", "kafka.bury")?);
        Ok(Self {
            config: config.clone(),
            publisher,
            dead: Arc::new(KafkaDeadTopics::new(Arc::clone(&sender))),
            decode: Arc::new(|record| record.event().map(Some)),
            options: SourceOptions::default(),
            sender,
        })
    }

    /// The same, reading records like this: for those of others. `None` leaves a record out; what fails, or panics, is a
    /// dead record. Give an event an id that follows from the record, or it is published again when it is read again.
    #[must_use]
    pub fn decoding(
        mut self,
        decode: impl Fn(&KafkaRecord) -> Result<Option<Envelope>, Undecodable> + Send + Sync + 'static,
    ) -> Self {
        self.decode = Arc::new(decode);
        self
    }

    /// The same, with other dead records.
    #[must_use]
    pub fn burying(mut self, dead: impl DeadRecords + 'static) -> Self {
        self.dead = Arc::new(dead);
        self
    }

    /// The same, working like this.
    #[must_use]
    pub fn with(self, options: SourceOptions) -> Self {
        Self { options, ..self }
    }

    /// Starts to read. Needs a Tokio runtime. Brokers need not be there yet.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for properties the driver does not take.
    pub fn start(self) -> Result<Sourcing> {
        let (stop, stopped) = watch::channel(false);
        let (report, stats) = watch::channel(SourceStats::default());
        let Self { config, publisher, dead, decode, options, sender } = self;
        let partitions = Arc::<AtomicUsize>::default();
        let parts = Parts { config, publisher, dead, decode, options, partitions: Arc::clone(&partitions) };
        let run = Run::new(parts, report, stopped)?;
        Ok(Sourcing { stop, stats, partitions, sender, task: tokio::spawn(run.run()) })
    }
}

/// A consumer that has joined its group, or is about to.
pub(super) fn connect(
    config: &KafkaConfig,
    start: Start,
    partitions: &Arc<AtomicUsize>,
) -> Result<Aside<Link>> {
    let link: Link = config
        .consumer(start)?
        .create_with_context(Reader::new(partitions))
        .map_err(|failure| creation(config, &failure))?;
    let topics: Vec<&str> = config.routes.received_from().map(|(topic, _)| topic).collect();
    link.subscribe(&topics).map_err(|failure| creation(config, &failure))?;
    Ok(Aside::new(link))
}

/// A source at work. Dropping it ends it at once; what it has is read again.
#[derive(Debug)]
#[must_use = "dropping it ends the reading"]
pub struct Sourcing {
    stop: watch::Sender<bool>,
    stats: watch::Receiver<SourceStats>,
    partitions: Arc<AtomicUsize>,
    sender: Arc<Sender>,
    task: JoinHandle<()>,
}

impl Sourcing {
    /// What it did so far.
    pub fn stats(&self) -> SourceStats {
        SourceStats { partitions: self.partitions.load(Ordering::Relaxed), ..*self.stats.borrow() }
    }

    /// Whether the brokers answer, within `patience`: for a health check.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when none does.
    pub async fn check(&self, patience: Duration) -> Result<()> {
        self.sender.check(patience).await
    }

    /// Reads nothing more, publishes what it has within [`SourceOptions::drain`], commits it and leaves the group. What was
    /// not published is read again: see [`SourceStats::held`].
    pub async fn stop(mut self) -> SourceStats {
        self.stop.send_replace(true);
        // It ends in any case; if it panicked, what it did last is still known.
        let _ = (&mut self.task).await;
        self.stats()
    }
}

impl Drop for Sourcing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
