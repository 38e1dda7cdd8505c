//! [`Outbox`]: the events that truth has written and nobody has published yet.

use std::time::Duration;

use crate::domain::EventId;
use crate::domain::page::{Page, Paged};
use crate::error::Result;
use crate::event::Envelope;

/// How much is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxStats {
    /// Events not cleared yet.
    pub pending: u64,
}

port! {
    /// The way of events out of the truth; kind of state: **truth**. The stores write to it in the same atomic step as
    /// the change; a relay claims, publishes and clears.
    ///
    /// An entry stays until it is cleared, so a relay that dies after publishing publishes again, under the same
    /// [`EventId`].
    pub trait Outbox as "outbox" {
        /// Up to `limit` entries for `owner` to publish, oldest first, in order per key.
        ///
        /// # Atomicity
        /// While a claim lasts (`lease`), no other owner gets an entry of the same key. When it runs out, another owner
        /// takes over from the first entry not cleared.
        ///
        /// # Idempotency
        /// The owner of a claim gets the same entries again and renews it.
        write async fn claim(&self, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>>;

        /// Removes published entries.
        ///
        /// # Idempotency
        /// Clearing an entry that is not there changes nothing.
        write async fn clear(&self, owner: &str, events: &[EventId]) -> Result<()>;

        /// What waits, oldest first and in order per key, whoever has claimed it: for those who cannot wait until it is
        /// published. Nothing is claimed.
        ///
        /// # Errors
        /// [`Code::PageInvalid`](crate::error::Code::PageInvalid) and
        /// [`Code::CursorInvalid`](crate::error::Code::CursorInvalid).
        read async fn list(&self, page: &Page<String>) -> Result<Paged<Envelope, String>>;

        /// How much is waiting.
        read async fn stats(&self) -> Result<OutboxStats>;
    }
}
