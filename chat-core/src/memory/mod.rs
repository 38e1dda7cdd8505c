//! Every port in memory: the backend of tests, examples and small embedded chats.
//!
//! It keeps the same promises as every other backend, concurrency included, and is proved by the same kit. A restart
//! loses everything. What holds derived state is bounded; the truth grows with what is said.

mod audit;
mod cache;
mod conversations;
mod events;
mod files;
mod limits;
mod messages;
mod outbox;
mod positions;
mod presence;
mod rooms;
mod source;
mod unread;
mod users;

use std::sync::Arc;

pub use audit::MemoryAudit;
pub use cache::MemoryCache;
pub use conversations::MemoryConversations;
pub use events::{MemoryConsumer, MemoryEvents};
pub use files::MemoryFiles;
pub use limits::MemoryRateLimiter;
pub use messages::MemoryMessages;
pub use outbox::MemoryOutbox;
pub use positions::MemoryPositions;
pub use presence::MemoryPresence;
pub use rooms::MemoryRooms;
pub use source::MemorySource;
pub use unread::MemoryUnread;
pub use users::MemoryUsers;

use crate::clock::{Clock, SystemClock};

/// One of every port, on one clock and with one outbox.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The cache.
    pub cache: Arc<MemoryCache>,
    /// What moderators and rules did.
    pub audit: Arc<MemoryAudit>,
    /// Presence.
    pub presence: Arc<MemoryPresence>,
    /// Unread counts.
    pub unread: Arc<MemoryUnread>,
    /// Rooms.
    pub rooms: Arc<MemoryRooms>,
    /// Rate limits.
    pub limits: Arc<MemoryRateLimiter>,
    /// Messages.
    pub messages: Arc<MemoryMessages>,
    /// Read positions.
    pub positions: Arc<MemoryPositions>,
    /// Conversations.
    pub conversations: Arc<MemoryConversations>,
    /// Files.
    pub files: Arc<MemoryFiles>,
    /// The profile cache.
    pub users: Arc<MemoryUsers>,
    /// The source of profiles.
    pub source: Arc<MemorySource>,
    /// What truth has written and nobody has published yet.
    pub outbox: Arc<MemoryOutbox>,
    /// The event log.
    pub events: Arc<MemoryEvents>,
}

impl Memory {
    /// An empty backend on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let outbox = Arc::new(MemoryOutbox::new(Arc::clone(&clock)));
        let presence = Arc::new(MemoryPresence::new(Arc::clone(&clock)));
        let messages = Arc::new(MemoryMessages::new(Arc::clone(&clock), Arc::clone(&outbox)));
        Self {
            cache: Arc::new(MemoryCache::new(Arc::clone(&clock))),
            audit: Arc::new(MemoryAudit::new(Arc::clone(&clock))),
            unread: Arc::new(MemoryUnread::new()),
            limits: Arc::new(MemoryRateLimiter::new(Arc::clone(&clock))),
            rooms: Arc::new(MemoryRooms::new(Arc::clone(&clock), Arc::clone(&presence) as _)),
            positions: Arc::new(MemoryPositions::new(Arc::clone(&messages))),
            conversations: Arc::new(MemoryConversations::new(Arc::clone(&clock), Arc::clone(&outbox))),
            files: Arc::new(MemoryFiles::new(Arc::clone(&clock), Arc::clone(&outbox))),
            users: Arc::new(MemoryUsers::new(Arc::clone(&clock))),
            source: Arc::new(MemorySource::new(Arc::clone(&clock), Arc::clone(&outbox))),
            events: Arc::new(MemoryEvents::new(clock)),
            presence,
            messages,
            outbox,
        }
    }
}

impl Default for Memory {
    /// On the system clock.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}
