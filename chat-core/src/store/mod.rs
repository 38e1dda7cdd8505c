//! The ports: what a backend must promise.
//!
//! One trait a file, its `Ext` sugar beside it. Ports are dyn-compatible and used as `Arc<dyn Port>`; arguments are
//! borrowed; the batch is the required method and answers line up with the question (same length, same order). A
//! batch is not atomic unless its docs say so. `Arc` and `Box` of a port are that port.
//! [`Guarded`] puts a policy in front of any port.
//!
//! Every method says, in this order and only where there is something to say: what it does, `# Atomicity`,
//! `# Idempotency`, `# Errors`. These sentences are promises; `chat-testkit` has a check for each. Common to all:
//!
//! * [`Unavailable`](crate::error::Code::Unavailable) means nothing changed; a
//!   [`Timeout`](crate::error::Code::Timeout) has an [`effect`](crate::error::Error::effect) that says whether
//!   something may have. Repeating any operation with the same arguments is safe; what a repeat answers is its
//!   [`Repeat`].
//! * An outage is an error: never a miss, a zero, an empty list or "offline".
//! * Deadlines are measured with the store's own clock, never with the caller's.

#[macro_use]
mod port;

pub mod audit;
pub mod cache;
pub mod change;
pub mod conversations;
pub mod events;
pub mod files;
pub mod guarded;
pub mod limits;
pub mod messages;
pub mod operation;
pub mod outbox;
pub mod positions;
pub mod presence;
pub mod rooms;
pub mod unread;
pub mod users;

pub use audit::{AuditLog, AuditLogExt};
pub use cache::{Cache, CacheExt};
pub use conversations::{ConversationStore, ConversationStoreExt};
pub use events::{DeadLetters, DeadLettersExt, EventConsumer, EventPublisher, EventPublisherExt, EventTail};
pub use files::{FileStore, FileStoreExt};
pub use guarded::{Attempt, Guarded, Policy};
pub use limits::{RateLimiter, RateLimiterExt};
pub use messages::{MessageStore, MessageStoreExt};
pub use operation::{Call, Operation, Repeat};
pub use outbox::Outbox;
pub use positions::{PositionStore, PositionStoreExt};
pub use presence::{PresenceStore, PresenceStoreExt};
pub use rooms::{RoomStore, RoomStoreExt};
pub use unread::{UnreadStore, UnreadStoreExt};
pub use users::{UserSource, UserSourceExt, UserStore, UserStoreExt};

/// The answer to a batch of one.
pub(crate) fn only<T>(answers: Vec<T>) -> crate::error::Result<T> {
    answers.into_iter().next().ok_or_else(|| {
        crate::error::Error::new(crate::error::Code::Internal)
            .with("reason", "a backend answered an empty batch")
    })
}
