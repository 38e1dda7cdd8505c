#![doc = include_str!("../README.md")]

mod durable;
pub mod wal;

pub use durable::{DurablePublisher, Replaying};
pub use wal::{FileWal, Interrupted, Recovered, Wal, WalEntry, WalExt, WalId, WalLimit, WalStats};
