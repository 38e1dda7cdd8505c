//! Between the event log and Kafka, both ways (feature `kafka`).
//!
//! ```text
//! log ──group──▶ Worker ──▶ KafkaSink ──▶ Kafka topic ──▶ KafkaSource ──▶ another log
//! ```
//!
//! - [`KafkaSink`] is a [`Handler`](crate::worker::Handler): a [`Worker`](crate::Worker) over a consumer group sends the
//!   events of the configured kinds, each key in order, and acknowledges what the brokers acknowledged.
//! - [`KafkaSource`] reads topics in a Kafka consumer group and publishes what it finds; an offset is committed after the
//!   log accepted everything before it. What cannot be read goes to [`DeadRecords`].
//!
//! # What is promised
//! Nothing is lost, and everything may come twice: an event that was sent or read when a process died is sent or read
//! again, **under the same id**. Between processes that means: consumers of the topics know a repeat by the header
//! [`ID`]. A log knows it by the id for [`REPEAT_WINDOW`](chat_core::store::events::REPEAT_WINDOW); what is read again
//! after a longer time is in the log twice. The first records of the events of a key stand in the order of the key; a
//! repeat may stand behind later ones.
//!
//! # No circles
//! Records carry the name of the log they are from ([`KafkaRoutes::log`]), and a source leaves those of its own log alone.
//! What a log receives it does not send: routes in which a kind goes both ways are refused.
//!
//! # Metrics
//! | counter | labels |
//! |---|---|
//! | `chat_kafka_sent_total` | `topic`, `outcome`: `ok` or a code |
//! | `chat_kafka_received_total` | `topic`, `outcome`: `published`, `buffered`, `suppressed`, `skipped`, `own`, `dead` |
//! | `chat_kafka_failures_total` | `client`: `sink` or `source` |

mod client;
mod config;
mod env;
mod error;
mod record;
mod routes;
mod run;
mod sender;
mod sink;
mod source;

pub use config::KafkaConfig;
pub use record::{DeadRecords, KafkaDeadTopics, KafkaRecord};
pub use routes::{KafkaRoutes, Wanted};
pub use sink::{KafkaSink, SinkStats};
pub use source::{KafkaSource, SourceOptions, SourceStats, Sourcing};

/// The header with the event's id, by which a repeat is known.
pub const ID: &str = "chat-id";
/// The header with the event's wire name, such as `message.edited`.
pub const EVENT: &str = "chat-event";
/// The header with the version of the event's payload.
pub const VERSION: &str = "chat-version";
/// The header with the name of the log the event is from.
pub const LOG: &str = "chat-log";
