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
    /// Where.
    pub conversation: ConversationId,
    /// Its place; [`Seq::ZERO`] is said by nobody, and says that the conversation begins.
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
    /// The last message the user is known to have written; [`Seq::ZERO`] when that is not known.
    pub own: Seq,
}

/// How a position moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvanceTo {
    /// The larger of the stored position and this one.
    Position(ReadPosition),
    /// At least this message, within whatever epoch is stored: for hosts in which nobody marks as unread.
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
    /// The last message that is not unread.
    pub fn reached(&self) -> Seq {
        self.position.reached(self.own)
    }

    /// What is unread: the countable messages after what the user has reached.
    pub fn unread(&self) -> Unread {
        let reached = self.reached();
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
    /// So a message costs the same whatever the size of the conversation.
    ///
    /// # What is known
    /// A store may lose its past: by a restart, a flush, an eviction. So a count is known only where the store has seen
    /// everything after what the reader has reached; elsewhere it is `None`: *not known*, never zero. Ask truth then,
    /// and [`rebuild`](UnreadStore::rebuild).
    ///
    /// - A conversation begins with a record of [`Seq::ZERO`], and nothing is missing; or, where that was lost, with a
    ///   record of a later message, and what lies before it is missing. No later record brings that back: it may be a
    ///   repeat.
    /// - A reader begins with an advance. Up to the head of that moment, what mentions the reader and what it wrote is
    ///   missing; so nothing is for whoever joins at the head. A reader who began before the conversation did lacks what
    ///   the conversation lacks.
    /// - Truth brings back what is missing, for the reader it was asked about.
    ///
    /// # Order
    /// Operations are maxima, set inserts or keyed: any duplication, reordering and retry of a set of them ends in the
    /// same counts or in `None`, never in other counts. Three go by their order: an adjustment, which an advance or a
    /// rebuild after it clears; forgetting; and [`AdvanceTo::Read`] where positions are of several epochs.
    pub trait UnreadStore as "unread" {
        /// Takes messages into account. Does not need to know who the members are.
        ///
        /// # Atomicity
        /// Per message.
        ///
        /// # Idempotency
        /// A repeat changes nothing. A message is known to exist when a later one is, and counts until its own record says
        /// otherwise.
        write async fn record_many(&self, messages: &[Recorded]) -> Result<()>;

        /// Takes messages out of the count: deleted, or hidden. Keeps the newest [`MAX_UNCOUNTED`].
        ///
        /// # Idempotency
        /// A message is taken out once, also when the deletion is known before the message.
        write async fn uncount_many(&self, conversation: &ConversationId, messages: &[Seq]) -> Result<()>;

        /// Moves positions: how a member starts, reads, and marks as unread. Answers where each one stands then. What
        /// it says was written last counts as recorded. An advance to a position that is at or beyond the stored one
        /// clears the adjustment.
        ///
        /// # Atomicity
        /// Per (user, conversation); never across conversations.
        ///
        /// # Idempotency
        /// A maximum of each: an older position changes nothing. A batch that is repeated finds all of itself done:
        /// [`AdvanceTo::Read`] goes by the newest epoch then.
        already async fn advance_many(&self, advances: &[Advance]) -> Result<Vec<ReadPosition>>;

        /// Counts the unread messages of one user per conversation; `None` where they are
        /// [not known](Self#what-is-known).
        read async fn counts(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Unread>>>;

        /// Adds to or takes from a count by hand (seed 001's increment and decrement); cleared by reading.
        /// Answers the new count.
        ///
        /// # Idempotency
        /// By `key`, until the adjustment is cleared. What is adjusted while the count is not known may be lost.
        write async fn adjust(
            &self, user: &UserId, conversation: &ConversationId, by: i64, key: &ClientKey,
        ) -> Result<Option<Unread>>;

        /// Takes over what truth says, one answer per conversation, and clears adjustments. Everything after what the
        /// reader had reached is known then, unless more is missing than truth had seen: it was asked too early.
        ///
        /// # Atomicity
        /// Merges by maxima and unions: what was recorded while truth was being asked survives.
        write async fn rebuild(&self, user: &UserId, truth: &[(ConversationId, UnreadTruth)]) -> Result<()>;

        /// Forgets a user's positions: `None` from now on.
        write async fn forget_many(&self, users: &[(UserId, ConversationId)]) -> Result<()>;
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
        let one = [Advance { user: user.clone(), conversation: conversation.clone(), to, own: Seq::ZERO }];
        async move { only(self.advance_many(&one).await?) }
    }
}

impl<U: UnreadStore + ?Sized> UnreadStoreExt for U {}
