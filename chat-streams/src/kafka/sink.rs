//! [`KafkaSink`]: events of the log into topics of Kafka.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result;
use chat_core::event::{Envelope, Topic, wire};

use super::config::KafkaConfig;
use super::routes::KafkaRoutes;
use super::sender::{Outgoing, Sender};
use super::{EVENT, ID, LOG, VERSION};
use crate::worker::Handler;

/// Sends the events of the configured kinds; a [`Worker`](crate::Worker) over a group runs it. Clones share everything.
///
/// The record of an event has the event's key, and as its value the versioned envelope as JSON, byte for byte what
/// [`wire::encode_payload`] writes. Headers: [`ID`], [`EVENT`], [`VERSION`], [`LOG`]. Events of other kinds are handled by
/// leaving them alone.
///
/// # Order
/// A worker hands out the events of a key one after the other, and the next one is sent when the brokers have acknowledged
/// the one before: so records of a key stand in order, also after attempts that failed.
///
/// # Idempotency
/// At least once. Attempts of the driver are recognised by the brokers; what a crash or a lost acknowledgement makes a
/// worker send again is in the topic twice, under one [`ID`].
///
/// # Errors
/// Of [`Handler::handle`]: `Unavailable` while Kafka is away or refuses for a reason of its own (rights, passwords, a topic
/// that is not there): the worker waits. `PayloadTooLarge` for what no broker takes: it is a dead letter.
///
/// ```no_run
/// use chat_streams::kafka::{KafkaConfig, KafkaRoutes, KafkaSink};
/// use chat_streams::{Start, Streams, Worker};
///
/// # async fn example(streams: Streams) -> chat_core::error::Result<()> {
/// let sink = KafkaSink::new(&KafkaConfig::new("localhost:9092", KafkaRoutes::seed("chat")))?;
/// let group = streams.consumer("kafka", "node-1", &sink.topics(), Start::Beginning).await?;
/// let working = Worker::new(group, sink.clone()).start();
/// # working.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KafkaSink {
    inner: Arc<Inner>,
}

struct Inner {
    routes: KafkaRoutes,
    sender: Sender,
    sent: AtomicU64,
    ignored: AtomicU64,
    failed: AtomicU64,
}

/// What a sink did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkStats {
    /// Events the brokers acknowledged.
    pub sent: u64,
    /// Events that are not to be sent.
    pub ignored: u64,
    /// Attempts that failed.
    pub failed: u64,
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("routes", &self.inner.routes).finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// A sink for these routes. It connects by itself, and for ever again.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid) for routes that go round, or properties the driver
    /// does not take.
    pub fn new(config: &KafkaConfig) -> Result<Self> {
        config.routes.check()?;
        let inner = Inner {
            routes: config.routes.clone(),
            sender: Sender::new(config, "sink", "kafka.send")?,
            sent: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The topics of the log its group has to follow.
    pub fn topics(&self) -> Vec<Topic> {
        self.inner.routes.log_topics()
    }

    /// What it did so far.
    pub fn stats(&self) -> SinkStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { sent, ignored, failed, .. } = &*self.inner;
        SinkStats { sent: read(sent), ignored: read(ignored), failed: read(failed) }
    }

    /// Whether the brokers answer, within `patience`: for a health check.
    ///
    /// # Errors
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable) when none does.
    pub async fn check(&self, patience: Duration) -> Result<()> {
        self.inner.sender.check(patience).await
    }
}

#[async_trait]
impl Handler for KafkaSink {
    async fn handle(&self, envelope: &Envelope, _attempt: u32) -> Result<()> {
        let inner = &*self.inner;
        let Some(topic) = inner.routes.topic_for(envelope.name()) else {
            inner.ignored.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let (key, value) = (envelope.key(), wire::encode_payload(envelope));
        let version = envelope.version().to_string();
        let headers = [
            (ID, Some(envelope.id.as_str().as_bytes())),
            (EVENT, Some(envelope.name().as_bytes())),
            (VERSION, Some(version.as_bytes())),
            (LOG, Some(inner.routes.log().as_bytes())),
        ];
        let record =
            Outgoing { topic, key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &headers };
        let outcome = inner.sender.send(record).await;
        let counter = if outcome.is_ok() { &inner.sent } else { &inner.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let said = outcome.as_ref().err().map_or("ok", |error| error.code().as_str());
        metrics::counter!("chat_kafka_sent_total", "topic" => topic.to_owned(), "outcome" => said)
            .increment(1);
        outcome
    }
}
