//! [`PositionStore`] in memory.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::MemoryMessages;
use super::messages::Log;
use crate::domain::page::{Page, Paged};
use crate::domain::{ConversationId, Receipts, Seq, UserId};
use crate::error::Result;
use crate::event::payload::MAX_COVERED_IDS;
use crate::store::PositionStore;
use crate::store::positions::{Covered, Moved, PositionStep};
use crate::store::unread::UnreadTruth;

/// Who has received and read what, in memory; kept beside the messages, so that both are seen as of one moment.
#[derive(Debug)]
pub struct MemoryPositions {
    messages: Arc<MemoryMessages>,
}

impl MemoryPositions {
    /// The positions in these messages.
    pub fn new(messages: Arc<MemoryMessages>) -> Self {
        Self { messages }
    }

    fn take(&self, step: &PositionStep) -> Moved {
        let log = self.messages.log_or_new(&step.conversation);
        let mut log = log.lock();
        let before = log.receipts.get(&step.user).copied().unwrap_or_default();
        let after = step.step.taken(before, log.head());
        let moved = Moved { before, after };
        if moved.changed() {
            log.receipts.insert(step.user.clone(), after);
            let now = self.messages.now();
            if let Some(event) = step.event(&moved, covered(&log, step, &moved), now) {
                self.messages.outbox().write_change(step.user.as_str(), now, event);
            }
        }
        moved
    }

    fn members_at(
        &self,
        conversation: &ConversationId,
        page: &Page<UserId>,
        at: Seq,
        reached: impl Fn(&Receipts) -> Seq,
    ) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        let Some(log) = self.messages.log(conversation) else { return Ok(Paged::last(Vec::new())) };
        let log = log.lock();
        let Some(message) = log.get(at) else { return Ok(Paged::last(Vec::new())) };
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let found = log
            .receipts
            .range((from, Bound::Unbounded))
            .filter(|(user, receipts)| {
                reached(receipts) >= at && receipts.joined < at && message.sender_id.as_ref() != Some(user)
            })
            .map(|(user, _)| user.clone())
            .take(page.limit + 1)
            .collect();
        Ok(Paged::from_surplus(found, page.limit, UserId::clone))
    }
}

/// Others' messages that a step newly covers.
fn covered(log: &Log, step: &PositionStep, moved: &Moved) -> Covered {
    let Some((after, to)) = step.covers(moved) else { return Covered::default() };
    let others =
        log.between(after, to).iter().filter(|message| message.sender_id.as_ref() != Some(&step.user));
    let count = others.clone().count() as u64;
    let ids = others.take(MAX_COVERED_IDS + 1).map(|message| message.id.clone()).collect();
    Covered { ids, count }
}

#[async_trait]
impl PositionStore for MemoryPositions {
    async fn step_many(&self, steps: &[PositionStep]) -> Result<Vec<Moved>> {
        Ok(steps.iter().map(|step| self.take(step)).collect())
    }

    async fn receipts_many(&self, members: &[(UserId, ConversationId)]) -> Result<Vec<Receipts>> {
        let receipts = |(user, conversation): &(UserId, ConversationId)| {
            let log = self.messages.log(conversation)?;
            let log = log.lock();
            log.receipts.get(user).copied()
        };
        Ok(members.iter().map(|member| receipts(member).unwrap_or_default()).collect())
    }

    async fn readers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        self.members_at(conversation, page, seq, |receipts| receipts.seen)
    }

    async fn receivers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        self.members_at(conversation, page, seq, |receipts| receipts.delivered)
    }

    async fn recount(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<UnreadTruth>> {
        let recount = |conversation| {
            let Some(log) = self.messages.log(conversation) else { return UnreadTruth::default() };
            let log = log.lock();
            let receipts = log.receipts.get(user).copied().unwrap_or_default();
            let (head, position, own) = (log.head(), receipts.read, receipts.own);
            let after = log.between(position.reached(own), head);
            let seqs = |keep: &dyn Fn(&crate::domain::Message) -> bool| {
                after.iter().filter(|message| keep(message)).map(|message| message.seq).collect()
            };
            UnreadTruth {
                head,
                position,
                own,
                uncounted: seqs(&|message| !message.is_countable()),
                mentions: seqs(&|message| message.is_countable() && message.mentions_user(user)),
            }
        };
        Ok(conversations.iter().map(recount).collect())
    }
}
