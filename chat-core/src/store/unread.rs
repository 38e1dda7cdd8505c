//! [`UnreadStore`]: positions, not counters.

use std::future::Future;

use super::only;
use crate::domain::{ClientKey, ConversationId, Mentions, ReadPosition, Seq, Unread, UserId};
use crate::error::Result;

/// How many uncounted messages of a conversation a store keeps; a reader further behind than that gets `None`.
pub const MAX_UNCOUNTED: usize = 10_000;

/// A message that was stored, as far as counting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where. A conversation is made known by recording [`Seq::ZERO`].
    pub conversation: ConversationId,
    /// Its place.
    pub seq: Seq,
    /// Who wrote it: it counts as read by its author.
    pub sender: Option<UserId>,
    /// Whether it counts: not deleted, not from the system, not silent.
    pub countable: bool,
    /// Whom it mentions.
    pub mentions: Mentions,
}

/// A user's position in one conversation, to be merged or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// How far.
    pub to: AdvanceTo,
}

/// How a position moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvanceTo {
    /// The larger of the stored position and this one.
    Position(ReadPosition),
    /// At least this message, within whatever epoch is stored.
    Read(Seq),
}

/// What truth says about one user's unread messages in one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnreadTruth {
    /// The newest message.
    pub head: Seq,
    /// How far the user has read.
    pub position: ReadPosition,
    /// The last message the user wrote.
    pub own: Seq,
    /// The messages after the position that do not count.
    pub uncounted: Vec<Seq>,
    /// The messages after the position that mention the user.
    pub mentions: Vec<Seq>,
}

impl UnreadTruth {
    /// What is unread: the countable messages after what the user has reached.
    pub fn unread(&self) -> Unread {
        let reached = self.position.reached(self.own);
        let after = |seq: &&Seq| **seq > reached && **seq <= self.head;
        let uncounted = self.uncounted.iter().filter(after).count() as u64;
        let mentions = self.mentions.iter().filter(after).filter(|seq| !self.uncounted.contains(seq)).count();
        Unread {
            messages: self.head.0.saturating_sub(reached.0).saturating_sub(uncounted),
            mentions: mentions as u64,
        }
    }
}

port! {
    /// What is unread; kind of state: **derived**, rebuilt from [`PositionStore`](super::PositionStore) at any time.
    /// Seed 001's unread manager, with counts that cannot drift.
    ///
    /// ```text
    /// unread = head − reached − uncounted messages between them + adjustment, never below zero
    /// ```
    ///
    /// So a message costs the same whatever the size of the conversation. Every operation is a maximum, a set insert
    /// or keyed: any duplication, reordering and retry of a set of operations ends in the same counts.
    ///
    /// `None` means *not known*, never zero: ask truth and [`rebuild`](UnreadStore::rebuild).
    pub trait UnreadStore {
        /// Takes messages into account. Does not need to know who the members are.
        ///
        /// # Atomicity
        /// Per message.
        ///
        /// # Idempotency
        /// A repeat changes nothing. Order does not matter: a message is known to exist when a later one is.
        async fn record_many(&self, messages: &[Recorded]) -> Result<()>;

        /// Takes messages out of the count: deleted, or hidden. Keeps the newest [`MAX_UNCOUNTED`].
        ///
        /// # Idempotency
        /// A message is taken out once, also when the deletion is known before the message.
        async fn uncount_many(&self, conversation: &ConversationId, messages: &[Seq]) -> Result<()>;

        /// Moves positions: how a member starts, reads, and marks as unread. Answers where each one stands then. An
        /// advance to a position that is at or beyond the stored one clears the adjustment.
        ///
        /// # Atomicity
        /// Per (user, conversation); never across conversations.
        ///
        /// # Idempotency
        /// A maximum: an older position changes nothing.
        async fn advance_many(&self, advances: &[Advance]) -> Result<Vec<ReadPosition>>;

        /// Counts the unread messages of one user per conversation; `None` where it is not known.
        async fn counts(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Unread>>>;

        /// Adds to or takes from a count by hand (seed 001's increment and decrement); cleared by reading.
        /// Answers the new count.
        ///
        /// # Idempotency
        /// By `key`, until the adjustment is cleared.
        async fn adjust(
            &self, user: &UserId, conversation: &ConversationId, by: i64, key: &ClientKey,
        ) -> Result<Option<Unread>>;

        /// Takes over what truth says, one answer per conversation, and clears adjustments.
        ///
        /// # Atomicity
        /// Merges by maxima and unions: what was recorded while truth was being asked survives.
        async fn rebuild(&self, user: &UserId, truth: &[(ConversationId, UnreadTruth)]) -> Result<()>;

        /// Forgets a user's positions: `None` from now on.
        async fn forget_many(&self, users: &[(UserId, ConversationId)]) -> Result<()>;
    }
}

/// Sugar over any [`UnreadStore`]; implemented for all of them.
pub trait UnreadStoreExt: UnreadStore {
    /// Takes one message into account.
    fn record(&self, message: &Recorded) -> impl Future<Output = Result<()>> + Send {
        async move { self.record_many(std::slice::from_ref(message)).await }
    }

    /// Counts one conversation.
    fn count(
        &self,
        user: &UserId,
        conversation: &ConversationId,
    ) -> impl Future<Output = Result<Option<Unread>>> + Send {
        let one = [conversation.clone()];
        async move { only(self.counts(user, &one).await?) }
    }

    /// Counts these conversations together; `None` if one of them is not known.
    fn total(
        &self,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> impl Future<Output = Result<Option<Unread>>> + Send {
        async move { Ok(self.counts(user, conversations).await?.into_iter().sum()) }
    }

    /// Marks everything up to a message as read.
    fn mark_read(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        seq: Seq,
    ) -> impl Future<Output = Result<ReadPosition>> + Send {
        self.advance(user, conversation, AdvanceTo::Read(seq))
    }

    /// Moves one position.
    fn advance(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        to: AdvanceTo,
    ) -> impl Future<Output = Result<ReadPosition>> + Send {
        let one = [Advance { user: user.clone(), conversation: conversation.clone(), to }];
        async move { only(self.advance_many(&one).await?) }
    }
}

impl<U: UnreadStore + ?Sized> UnreadStoreExt for U {}
