//! Facts: what happened, as every consumer of every service reads it.
//!
//! [`kind`] holds the one table of events. [`payload`] says what each of them carries, [`envelope`] gives it an
//! id and a time, [`topic`] says on which stream it travels, and [`wire`] how it is written there.
//!
//! ```
//! use chat_core::clock::Timestamp;
//! use chat_core::domain::{ConversationId, UserId};
//! use chat_core::event::wire::{self, Origin};
//! use chat_core::event::{Envelope, StreamNames, Topic, TypingStarted};
//!
//! let typing = TypingStarted {
//!     conversation_id: ConversationId::new("c1")?,
//!     user_id: UserId::new("ann")?,
//!     thread: None,
//! };
//! let envelope = Envelope::new(&["keystroke 1"], Timestamp::from_millis(1_736_862_000_123), typing);
//!
//! assert_eq!(envelope.topic(), Topic::Typing);
//! assert_eq!(StreamNames::seed().name(Topic::Typing), "events:typing");
//! assert_eq!(envelope.key(), "c1");
//!
//! let fields = wire::encode_flat(&envelope);
//! let origin = Origin { stream: "events:typing", entry: "1736862000123-0" };
//! assert_eq!(wire::decode(&fields, origin)?, envelope);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod envelope;
pub mod kind;
pub mod payload;
pub mod topic;
pub mod wire;

pub use envelope::Envelope;
pub use kind::{Event, EventKind, KeySource, Retention, Unknown};
pub use payload::*;
pub use topic::{StreamNames, Topic};
pub use wire::Undecodable;

#[cfg(test)]
mod tests;
