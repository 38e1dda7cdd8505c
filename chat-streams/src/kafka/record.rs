//! [`KafkaRecord`], what is found in a topic, and [`DeadRecords`], where it goes if it cannot be used.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::error::{Error, ErrorKind, Result};
use chat_core::event::wire::{self, Origin};
use chat_core::event::{Envelope, Undecodable};
use rdkafka::Message;
use rdkafka::message::Headers;

use super::sender::{Outgoing, Sender};

/// A record as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRecord {
    /// Its topic.
    pub topic: String,
    /// The partition there.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
    /// When it was written, in milliseconds; zero where the topic does not tell.
    pub at: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl KafkaRecord {
    pub(super) fn new(message: &impl Message) -> Self {
        let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), bytes(header.value))).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            at: message.timestamp().to_millis().unwrap_or(0),
            key: bytes(message.key()),
            value: bytes(message.payload()),
            headers: headers.unwrap_or_default(),
        }
    }

    /// The last header of this name, if it has a value.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// The event in it: an envelope of ours, or what a Node service wrote as JSON. What has no id of its own is given one
    /// that follows from where the record stands, so reading it again gives the same.
    ///
    /// # Errors
    /// [`Undecodable`] when it is no event; also when it has no value.
    pub fn event(&self) -> Result<Envelope, Undecodable> {
        let Some(value) = &self.value else { return Err(Undecodable::new("a record without a value")) };
        let stream = format!("kafka:{}:{}", self.topic, self.partition);
        let entry = format!("{}-{}", self.at.max(0), self.offset);
        wire::decode_payload(value, Origin { stream: &stream, entry: &entry })
    }
}

/// Where records go that cannot be used, so that they hold up nobody and are not lost.
#[async_trait]
pub trait DeadRecords: Send + Sync + std::fmt::Debug {
    /// Keeps a record, whole, with the cause. It may come again, with the same place.
    ///
    /// # Errors
    /// Any: it is tried again until it succeeds, and nothing behind the record is committed meanwhile.
    async fn bury(&self, record: &KafkaRecord, cause: &Error) -> Result<()>;
}

#[async_trait]
impl<D: DeadRecords + ?Sized> DeadRecords for Arc<D> {
    async fn bury(&self, record: &KafkaRecord, cause: &Error) -> Result<()> {
        (**self).bury(record, cause).await
    }
}

/// Keeps dead records in Kafka: those of a topic in another one, called `<topic>.dead`.
///
/// Key, value and headers stay as they were, byte for byte; these headers are added: `chat-dead-topic`,
/// `chat-dead-partition`, `chat-dead-offset`, `chat-dead-cause`. The value of a record that is too large to be written again
/// with them is left out and its length told in `chat-dead-bytes`: it is still where it was.
#[derive(Debug, Clone)]
pub struct KafkaDeadTopics {
    sender: Arc<Sender>,
}

impl KafkaDeadTopics {
    /// What the topic of dead records has behind its name.
    pub const SUFFIX: &'static str = ".dead";

    pub(super) fn new(sender: Arc<Sender>) -> Self {
        Self { sender }
    }
}

#[async_trait]
impl DeadRecords for KafkaDeadTopics {
    async fn bury(&self, record: &KafkaRecord, cause: &Error) -> Result<()> {
        let topic = format!("{}{}", record.topic, Self::SUFFIX);
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        let cause = told(cause);
        let bytes = record.value.as_ref().map_or(0, Bytes::len).to_string();
        let mut headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        headers.extend([
            ("chat-dead-topic", Some(record.topic.as_bytes())),
            ("chat-dead-partition", Some(partition.as_bytes())),
            ("chat-dead-offset", Some(offset.as_bytes())),
            ("chat-dead-cause", Some(cause.as_bytes())),
        ]);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let whole = self.sender.send(Outgoing { topic: &topic, key, value, headers: &headers }).await;
        match whole {
            Err(error) if error.kind() == ErrorKind::InvalidInput && value.is_some() => {
                headers.push(("chat-dead-bytes", Some(bytes.as_bytes())));
                self.sender.send(Outgoing { topic: &topic, key, value: None, headers: &headers }).await
            }
            outcome => outcome,
        }
    }
}

/// The cause, and what lies under it: names and places, never the text of a message.
fn told(cause: &Error) -> String {
    match std::error::Error::source(cause).and_then(|source| source.downcast_ref::<Undecodable>()) {
        Some(undecodable) => format!("{cause}: {undecodable}"),
        None => cause.to_string(),
    }
}
