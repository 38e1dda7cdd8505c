#![doc = include_str!("../README.md")]

mod consumer;
mod dead_letters;
mod durable;
#[cfg(feature = "kafka")]
pub mod kafka;
mod monitor;
mod options;
mod place;
mod position;
mod publisher;
mod reply;
mod script;
mod streams;
mod tail;
mod trim;
mod turn;
pub mod users;
mod wake;
pub mod wal;
pub mod worker;

pub use consumer::{Start, StreamConsumer};
pub use dead_letters::StreamDeadLetters;
pub use durable::{DurablePublisher, Replaying};
pub use monitor::{
    Concern, GroupReport, Health, Monitor, Report, Severity, Thresholds, TopicReport, Watching,
};
pub use options::{Encoding, StreamsOptions};
pub use publisher::StreamPublisher;
pub use streams::Streams;
pub use tail::StreamTail;
pub use trim::Trimmed;
pub use users::{UserStreamConsumer, UserStreamOptions, UserStreamStats};
pub use wal::{
    FileWal, Interrupted, Recovered, RedisWal, RedisWalOptions, Wal, WalEntry, WalExt, WalId, WalLimit,
    WalStats,
};
pub use worker::{Worker, WorkerOptions};
