//! [`Lanes`]: who waits to append to which conversation. While some messages of a conversation are being written, others
//! queue up, and go out together as the next.

use std::collections::{HashMap, VecDeque};

use chat_core::clock::Timestamp;
use chat_core::domain::message::NewMessage;
use chat_core::domain::{ConversationId, Seq};
use chat_core::error::{Code, Error, Result};
use chat_core::store::messages::Appended;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The most messages written at once.
const MAX_BATCH: usize = 256;
/// The most messages that wait in one conversation.
const MAX_WAITING: usize = 10_000;
/// Of how many conversations it is remembered where the next message goes.
const MAX_LANES: usize = 10_000;

/// A message on its way in, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) new: NewMessage,
    pub(super) answer: oneshot::Sender<Result<Appended>>,
}

impl Waiting {
    pub(super) fn answer(self, answer: Result<Appended>) {
        // Nobody waits any more.
        let _ = self.answer.send(answer);
    }
}

/// The newest message of a conversation, as far as what follows depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) seq: Seq,
    pub(super) stamp: i64,
    pub(super) at: Timestamp,
}

/// Where this node believes the next message goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hint {
    /// What it has written last, unless something went wrong since.
    pub(super) tail: Option<Tail>,
    /// Another node writes here too: better look.
    pub(super) shared: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// Somebody writes.
    busy: bool,
    hint: Hint,
}

/// A lane for each conversation.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<ConversationId, Lane>>);

impl Lanes {
    /// Queues messages up. True when nobody writes there: the caller sees to it that somebody does.
    pub(super) fn push(&self, conversation: &ConversationId, messages: Vec<Waiting>) -> bool {
        let mut lanes = self.0.lock();
        let lane = lanes.entry(conversation.clone()).or_default();
        let room = MAX_WAITING.saturating_sub(lane.waiting.len());
        let mut messages = messages.into_iter();
        lane.waiting.extend(messages.by_ref().take(room));
        messages.for_each(|more| more.answer(Err(Error::new(Code::QueueFull).with("max", MAX_WAITING))));
        let is_first = !lane.busy && !lane.waiting.is_empty();
        lane.busy |= is_first;
        is_first
    }

    /// The next messages to write; `None` when there are none, and the lane is free again.
    pub(super) fn next(&self, conversation: &ConversationId) -> Option<(Vec<Waiting>, Hint)> {
        let mut lanes = self.0.lock();
        let is_crowded = lanes.len() > MAX_LANES;
        let lane = lanes.get_mut(conversation)?;
        // Whoever went away has lost interest.
        lane.waiting.retain(|waiting| !waiting.answer.is_closed());
        if lane.waiting.is_empty() {
            lane.busy = false;
            if is_crowded {
                lanes.retain(|_, lane| lane.busy);
            }
            return None;
        }
        let count = lane.waiting.len().min(MAX_BATCH);
        Some((lane.waiting.drain(..count).collect(), lane.hint))
    }

    pub(super) fn learn(&self, conversation: &ConversationId, hint: Hint) {
        if let Some(lane) = self.0.lock().get_mut(conversation) {
            lane.hint = hint;
        }
    }

    /// Whoever wrote there was stopped in the middle.
    pub(super) fn abandon(&self, conversation: &ConversationId) {
        self.0.lock().remove(conversation);
    }
}

#[cfg(test)]
mod tests {
    use chat_core::domain::message::Draft;

    use super::*;

    fn waiting() -> (Waiting, oneshot::Receiver<Result<Appended>>) {
        let new = NewMessage {
            id: "m".parse().unwrap(),
            conversation_id: "c".parse().unwrap(),
            conversation_kind: chat_core::domain::ConversationKind::Group,
            sender_id: None,
            receiver_id: None,
            client_key: None,
            draft: Draft::text("text"),
        };
        let (answer, answered) = oneshot::channel();
        (Waiting { new, answer }, answered)
    }

    #[test]
    fn one_writes_and_the_others_queue_up_within_bounds() {
        let (lanes, here) = (Lanes::default(), "c".parse().unwrap());
        let (messages, mut answers): (Vec<_>, Vec<_>) = (0..MAX_WAITING + 1).map(|_| waiting()).unzip();
        assert!(!lanes.push(&here, Vec::new()), "nothing to write");
        assert!(lanes.push(&here, messages), "the first to come writes");
        let refused = answers.pop().unwrap().try_recv().unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::QueueFull);
        let (one, gone) = waiting();
        drop(gone);
        assert_eq!(lanes.next(&here).unwrap().0.len(), MAX_BATCH);
        assert!(!lanes.push(&here, vec![one]), "somebody writes already");
        drop(answers);
        assert!(lanes.next(&here).is_none(), "who went away is not written for");
        assert!(lanes.push(&here, vec![waiting().0]), "and the lane is free");
    }
}
