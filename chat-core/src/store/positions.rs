//! [`PositionStore`]: the truth about who has received and read what.

use std::future::Future;

use super::only;
use super::unread::UnreadTruth;
use crate::domain::page::{Page, Paged};
use crate::domain::{ConversationId, Receipts, Seq, UserId};
use crate::error::Result;

/// One member's step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionStep {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// What happened.
    pub step: Step,
}

/// What moves a member's receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The member joined when this was the newest message: what came before was never unread. Writes no event.
    Joined(Seq),
    /// Everything up to this message has reached a device. Writes `message.delivered`.
    Delivered(Seq),
    /// Everything up to this message has been read, and so delivered. Writes `message.read`.
    Read(Seq),
    /// Everything from this message on is unread again, as far as it was read. `epoch` is the one the user saw: a
    /// repeat finds a newer one and changes nothing. Writes `message.unread`.
    Unread {
        /// The first unread message.
        from: Seq,
        /// The epoch this is based on.
        epoch: u32,
    },
}

/// Receipts before and after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Before.
    pub before: Receipts,
    /// After.
    pub after: Receipts,
}

impl Moved {
    /// Whether anything moved.
    pub fn changed(&self) -> bool {
        self.before != self.after
    }
}

port! {
    /// Who has received and read what; kind of state: **truth**.
    ///
    /// Positions never pass the newest message. Each real advance writes one event to the
    /// [`Outbox`](super::Outbox), with `upToSeq` and the ids it newly covers (of others' messages, up to 100, else
    /// `"ALL"`), in the same atomic step.
    pub trait PositionStore {
        /// Takes steps; answers the receipts before and after each.
        ///
        /// # Atomicity
        /// Per (user, conversation).
        ///
        /// # Idempotency
        /// `Delivered` and `Read` are maxima; `Unread` is compared with its epoch; `Joined` only ever raises.
        async fn step_many(&self, steps: &[PositionStep]) -> Result<Vec<Moved>>;

        /// The receipts of members; all zero for somebody unknown.
        async fn receipts_many(&self, members: &[(UserId, ConversationId)]) -> Result<Vec<Receipts>>;

        /// Who has read the message at `seq`, in a stable order; the author is not among them, nor is who joined later.
        async fn readers(
            &self, conversation: &ConversationId, seq: Seq, page: &Page<UserId>,
        ) -> Result<Paged<UserId, UserId>>;

        /// To whom the message at `seq` was delivered, likewise.
        async fn receivers(
            &self, conversation: &ConversationId, seq: Seq, page: &Page<UserId>,
        ) -> Result<Paged<UserId, UserId>>;

        /// Counts unread messages from the messages themselves: what
        /// [`UnreadStore::rebuild`](super::UnreadStore::rebuild) is fed with.
        async fn recount(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<UnreadTruth>>;
    }
}

/// Sugar over any [`PositionStore`]; implemented for all of them.
pub trait PositionStoreExt: PositionStore {
    /// Takes one step.
    fn step(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        step: Step,
    ) -> impl Future<Output = Result<Moved>> + Send {
        let one = [PositionStep { user: user.clone(), conversation: conversation.clone(), step }];
        async move { only(self.step_many(&one).await?) }
    }

    /// The receipts of one member.
    fn receipts(
        &self,
        user: &UserId,
        conversation: &ConversationId,
    ) -> impl Future<Output = Result<Receipts>> + Send {
        let one = [(user.clone(), conversation.clone())];
        async move { only(self.receipts_many(&one).await?) }
    }
}

impl<P: PositionStore + ?Sized> PositionStoreExt for P {}
