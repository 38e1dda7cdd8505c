//! What follows from events: repeats what a crash between truth and derived state left undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Chat;
use crate::domain::{ConversationId, LastActivity, Mentions, RoomId, RoomRole, Seq, UserId};
use crate::domain::{MessageKind, ReadPosition};
use crate::error::{Code, Result};
use crate::event::{DeleteType, Envelope, Event, MessageEdited, MessageSent, Topic};
use crate::store::events::Delivery;
use crate::store::rooms::RoomChange;
use crate::store::unread::{Advance, AdvanceTo, Recorded};
use crate::store::{ConversationStoreExt, EventConsumer, UnreadStoreExt};

/// The topics of the events from which anything is derived: what a consumer of [`ChatBuilder::derive`](super::ChatBuilder::derive)
/// has to follow. No other one, so that what passes quickly (typing, presence) is kept for nobody.
pub const DERIVED: &[Topic] = &[
    Topic::MessagesPrivate,
    Topic::MessagesGroup,
    Topic::MessagesSystem,
    Topic::Messages,
    Topic::Read,
    Topic::Conversations,
];

/// How many events the worker takes at once.
const BATCH: usize = 256;
/// After how many attempts an event is set aside.
const MAX_ATTEMPTS: u32 = 5;

impl Chat {
    /// Takes the next events of the derive group and applies them; says how many.
    ///
    /// # Errors
    /// Those of the consumer. An event that fails is tried again later and set aside after five attempts.
    pub async fn derive_once(
        &self,
        consumer: &Arc<dyn EventConsumer>,
        wait: Duration,
        idle: Duration,
    ) -> Result<usize> {
        let mut deliveries = consumer.reclaim(idle, BATCH).await?;
        if deliveries.is_empty() {
            deliveries = consumer.fetch(BATCH, wait).await?;
        }
        let news: Vec<&MessageSent> = deliveries.iter().filter_map(news).collect();
        // Alone, each shows whether it is the one that cannot be applied.
        let together = news.len() > 1 && self.apply_news(&news).await.is_ok();
        let mut done = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            let outcome = match &delivery.event {
                Ok(_) if together && self::news(delivery).is_some() => Ok(()),
                Ok(envelope) => self.apply(envelope).await,
                Err(_) => Err(Code::DataCorrupt.into()),
            };
            match outcome {
                Ok(()) => done.push(delivery.receipt.clone()),
                Err(error) if !error.is_transient() || delivery.attempt >= MAX_ATTEMPTS => {
                    consumer.bury(delivery, &error).await?;
                }
                Err(error) => tracing::warn!(code = %error.code(), "an event could not be applied yet"),
            }
        }
        consumer.ack(&done).await?;
        Ok(done.len())
    }

    /// Applies an event to what is derived: unread counts, the room index, the order of lists. Harmless to repeat.
    ///
    /// # Errors
    /// Those of the derived stores.
    pub async fn apply(&self, envelope: &Envelope) -> Result<()> {
        let ports = &self.inner.ports;
        match &envelope.event {
            Event::MessageSent(sent) => self.apply_news(&[sent]).await,
            Event::MessageDeleted(gone) if gone.delete_type == DeleteType::ForEveryone => {
                ports.unread.uncount_many(&gone.conversation_id, &[gone.seq]).await
            }
            Event::MessageRead(read) => {
                self.moved(&read.conversation_id, &read.reader_id, read.position).await
            }
            Event::MessageUnread(unread) => {
                self.moved(&unread.conversation_id, &unread.reader_id, unread.position).await
            }
            Event::MessageEdited(edited) if edited.seq > Seq::ZERO => {
                self.record_edited(&edited.editor_id, &mentioned(edited)).await
            }
            Event::ParticipantAdded(added) => {
                let (conversation, user) = (&added.conversation_id, &added.participant_id);
                if let Some(member) = ports.conversations.member(conversation, user).await? {
                    self.begin(conversation, &[member]).await?;
                }
                self.index_change(conversation, user, Some(added.role), added.version).await
            }
            Event::ParticipantRoleChanged(changed) => {
                let user = &changed.participant_id;
                self.index_change(&changed.conversation_id, user, Some(changed.role), changed.version).await
            }
            Event::ParticipantRemoved(gone) => {
                self.index_change(&gone.conversation_id, &gone.participant_id, None, gone.version).await
            }
            Event::ParticipantLeft(gone) => {
                self.index_change(&gone.conversation_id, &gone.participant_id, None, gone.version).await
            }
            _ => Ok(()),
        }
    }

    /// Applies new messages: all of them are counted at once, and of each conversation only the newest moves it.
    async fn apply_news(&self, news: &[&MessageSent]) -> Result<()> {
        let ports = &self.inner.ports;
        let counted = news.iter().filter(|sent| sent.seq > Seq::ZERO);
        ports.unread.record_many(&counted.map(|sent| recorded(sent)).collect::<Vec<_>>()).await?;
        let mut newest: BTreeMap<&ConversationId, &MessageSent> = BTreeMap::new();
        for sent in news {
            let known = newest.entry(&sent.conversation_id).or_insert(sent);
            if known.seq < sent.seq {
                *known = sent;
            }
        }
        let activities: Vec<_> = newest.into_values().map(activity).collect();
        ports.conversations.touch_many(&activities).await
    }

    async fn moved(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        position: ReadPosition,
    ) -> Result<()> {
        let to = AdvanceTo::Position(position);
        let advance = Advance { user: user.clone(), conversation: conversation.clone(), to, own: Seq::ZERO };
        self.inner.ports.unread.advance_many(&[advance]).await.map(drop)
    }

    /// Takes an edited message into account. It is no news, so a store that lost the conversation may not take it for
    /// the newest message: truth comes first.
    pub(super) async fn record_edited(&self, editor: &UserId, message: &Recorded) -> Result<()> {
        self.counts(editor, std::slice::from_ref(&message.conversation)).await?;
        self.inner.ports.unread.record(message).await
    }

    async fn index_change(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        role: Option<RoomRole>,
        version: u64,
    ) -> Result<()> {
        let change = RoomChange { user: user.clone(), role, version };
        self.index_changes(conversation, &[change]).await.map(drop)
    }

    /// Brings changes of membership into the room index. Says whether it knows the room; if not, truth is asked.
    pub(super) async fn index_changes(
        &self,
        conversation: &ConversationId,
        changes: &[RoomChange],
    ) -> Result<bool> {
        match self.inner.ports.rooms.change_members(&RoomId::from(conversation), changes).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::RoomNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings a change that takes rights away into the room index, before it is acknowledged. A room the index does not
    /// know is made known first: somebody may be bringing it in as it was before.
    pub(super) async fn index_at_once(
        &self,
        conversation: &ConversationId,
        change: RoomChange,
    ) -> Result<()> {
        let changes = [change];
        if !self.index_changes(conversation, &changes).await? {
            self.inner.guard.index(conversation).await?;
            self.index_changes(conversation, &changes).await?;
        }
        Ok(())
    }
}

/// The new message a delivery brings.
fn news(delivery: &Delivery) -> Option<&MessageSent> {
    match &delivery.event.as_ref().ok()?.event {
        Event::MessageSent(sent) => Some(sent),
        _ => None,
    }
}

/// A message as far as counting goes.
pub(super) fn recorded(sent: &MessageSent) -> Recorded {
    Recorded {
        conversation: sent.conversation_id.clone(),
        seq: sent.seq,
        sender: sent.sender_id.clone(),
        countable: sent.kind != MessageKind::System && !sent.silent,
        mentions: sent.mentions.clone(),
    }
}

/// Whom an edited message calls from now on; taking a mention back shows when the message is read.
fn mentioned(edited: &MessageEdited) -> Recorded {
    Recorded {
        conversation: edited.conversation_id.clone(),
        seq: edited.seq,
        sender: None,
        countable: true,
        mentions: edited.mentions.clone(),
    }
}

/// A message as far as lists go.
pub(super) fn activity(sent: &MessageSent) -> (ConversationId, LastActivity) {
    let activity =
        LastActivity { at: sent.timestamp, seq: sent.seq, message_id: Some(sent.message_id.clone()) };
    (sent.conversation_id.clone(), activity)
}

/// A conversation nothing was said in yet, made known to the unread store.
pub(super) fn silence(conversation: &ConversationId) -> Recorded {
    Recorded {
        conversation: conversation.clone(),
        seq: Seq::ZERO,
        sender: None,
        countable: true,
        mentions: Mentions::default(),
    }
}
