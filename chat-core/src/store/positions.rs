//! [`PositionStore`]: the truth about who has received and read what.

use std::future::Future;

use super::only;
use super::unread::UnreadTruth;
use crate::clock::Timestamp;
use crate::domain::page::{Page, Paged};
use crate::domain::{ConversationId, MessageId, Receipts, Seq, UserId};
use crate::error::Result;
use crate::event::{CoveredIds, Event, MessageDelivered, MessageRead, MessageUnread};

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

impl Step {
    /// The receipts after this step. Nothing passes `head`, the newest message.
    pub fn taken(self, before: Receipts, head: Seq) -> Receipts {
        let Receipts { delivered, read, seen, own, joined } = before;
        match self {
            Self::Joined(seq) => {
                let seq = seq.min(head);
                Receipts {
                    read: read.read_up_to(seq),
                    joined: joined.max(seq),
                    delivered: delivered.max(seq),
                    ..before
                }
            }
            Self::Delivered(seq) => Receipts { delivered: delivered.max(seq.min(head)), ..before },
            Self::Read(seq) => {
                let seq = seq.min(head);
                Receipts {
                    read: read.read_up_to(seq),
                    seen: seen.max(seq),
                    delivered: delivered.max(seq),
                    ..before
                }
            }
            Self::Unread { from, epoch } => {
                let last = from.previous();
                if epoch == read.epoch && last < read.reached(own) {
                    Receipts { read: read.rewound_to(last, head), delivered: delivered.max(last), ..before }
                } else {
                    before
                }
            }
        }
    }
}

/// Others' messages that a step newly covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Covered {
    /// The first of them: 101 are enough, because more are announced as all.
    pub ids: Vec<MessageId>,
    /// How many they are.
    pub count: u64,
}

impl PositionStep {
    /// Between which places the messages are that the event of this step names: after the first, up to the second.
    pub fn covers(&self, moved: &Moved) -> Option<(Seq, Seq)> {
        match self.step {
            Step::Delivered(_) if moved.changed() => Some((moved.before.delivered, moved.after.delivered)),
            Step::Read(_)
                if moved.after.read != moved.before.read || moved.after.seen != moved.before.seen =>
            {
                Some((moved.before.read.seq, moved.after.read.seq))
            }
            _ => None,
        }
    }

    /// The event of a step that moved something.
    pub fn event(&self, moved: &Moved, covered: Covered, at: Timestamp) -> Option<Event> {
        let conversation_id = self.conversation.clone();
        let Covered { ids, count } = covered;
        match self.step {
            Step::Delivered(_) if self.covers(moved).is_some() => {
                let (user_id, up_to_seq) = (self.user.clone(), moved.after.delivered);
                let message_ids = CoveredIds::new(ids);
                Some(
                    MessageDelivered { conversation_id, user_id, up_to_seq, message_ids, timestamp: at }
                        .into(),
                )
            }
            Step::Read(_) if self.covers(moved).is_some() => {
                let (reader_id, position) = (self.user.clone(), moved.after.read);
                let read = MessageRead {
                    conversation_id,
                    reader_id,
                    up_to_seq: position.seq,
                    message_ids: CoveredIds::new(ids),
                    modified_count: count,
                    read_at: at,
                    position,
                };
                Some(read.into())
            }
            Step::Unread { from, .. } if moved.changed() => {
                let (reader_id, position) = (self.user.clone(), moved.after.read);
                Some(MessageUnread { conversation_id, reader_id, from_seq: from, position }.into())
            }
            _ => None,
        }
    }
}

port! {
    /// Who has received and read what; kind of state: **truth**.
    ///
    /// Positions never pass the newest message. Each real advance writes one event to the
    /// [`Outbox`](super::Outbox), with `upToSeq` and the ids it newly covers (of others' messages, up to 100, else
    /// `"ALL"`), in the same atomic step.
    pub trait PositionStore as "positions" {
        /// Takes steps; answers the receipts before and after each.
        ///
        /// # Atomicity
        /// Per (user, conversation).
        ///
        /// # Idempotency
        /// `Delivered` and `Read` are maxima; `Unread` is compared with its epoch; `Joined` only ever raises.
        already async fn step_many(&self, steps: &[PositionStep]) -> Result<Vec<Moved>>;

        /// The receipts of members; all zero for somebody unknown.
        read async fn receipts_many(&self, members: &[(UserId, ConversationId)]) -> Result<Vec<Receipts>>;

        /// Who has read the message at `seq`, in a stable order; the author is not among them, nor is who joined later.
        read async fn readers(
            &self, conversation: &ConversationId, seq: Seq, page: &Page<UserId>,
        ) -> Result<Paged<UserId, UserId>>;

        /// To whom the message at `seq` was delivered, likewise.
        read async fn receivers(
            &self, conversation: &ConversationId, seq: Seq, page: &Page<UserId>,
        ) -> Result<Paged<UserId, UserId>>;

        /// Counts unread messages from the messages themselves: what
        /// [`UnreadStore::rebuild`](super::UnreadStore::rebuild) is fed with.
        read async fn recount(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<UnreadTruth>>;
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
