//! History: pages, threads, and catching up.

use super::Chat;
use crate::domain::{Actor, ConversationId, Message, MessageId, Seq};
use crate::error::{Code, Error, Result};
use crate::moderation::Action;
use crate::store::messages::{Anchor, History, HistoryQuery, HistoryScope, MAX_HISTORY};
use crate::store::{MessageStore, MessageStoreExt};

/// How far behind in one conversation a client may be to catch up message by message.
pub const MAX_MISSED: u64 = 500;
/// The most messages one catch-up answers.
pub const MAX_CATCH_UP: usize = 1_000;
/// The most conversations one catch-up asks for.
pub const MAX_POSITIONS: usize = 200;

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPage {
    /// The message it began with.
    pub root: Message,
    /// Replies, oldest first.
    pub replies: History,
}

/// What somebody has missed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatchUp {
    /// Every message after the positions, in order per conversation.
    pub messages: Vec<Message>,
    /// Conversations in which too much was missed, or whose past is gone: to be loaded anew.
    pub discontinuity: Vec<ConversationId>,
    /// Conversations the actor may not read (any more).
    pub forbidden: Vec<ConversationId>,
    /// There is more: ask again with the new positions.
    pub more: bool,
}

impl Chat {
    /// A page of history, as the actor sees it.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::PageInvalid`].
    pub async fn history(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        scope: HistoryScope,
        anchor: Anchor,
        limit: usize,
    ) -> Result<History> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let query = HistoryQuery {
            conversation: conversation.clone(),
            viewer: Some(actor.user.clone()),
            scope,
            anchor,
            limit,
        };
        self.inner.ports.messages.history(&query).await
    }

    /// A thread, by any message of it, from its first reply or from where `after` says.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::PageInvalid`].
    pub async fn thread(
        &self,
        actor: &Actor,
        message: &MessageId,
        after: Seq,
        limit: usize,
    ) -> Result<ThreadPage> {
        let message = self.message(actor, message, Action::Read).await?;
        let root = match &message.thread {
            Some(place) => self.inner.ports.messages.get(&place.root).await?,
            None => Some(message),
        };
        let root = root.ok_or_else(|| Error::new(Code::Forbidden))?;
        let scope = HistoryScope::Thread(root.id.clone());
        let replies = self.history(actor, &root.conversation_id, scope, Anchor::After(after), limit).await?;
        Ok(ThreadPage { root, replies })
    }

    /// A message and its place, if the actor may see it and has not deleted it for itself.
    ///
    /// # Errors
    /// [`Code::Forbidden`], whether or not there is such a message.
    pub async fn find(&self, actor: &Actor, message: &MessageId) -> Result<Message> {
        let mut found = vec![self.message(actor, message, Action::Read).await?];
        self.without_hidden(actor, &mut found).await?;
        found.pop().ok_or_else(|| Error::new(Code::Forbidden))
    }

    /// Everything after the last message seen in each conversation, exactly once and in order per conversation.
    ///
    /// # Errors
    /// [`Code::RequestInvalid`] for more than [`MAX_POSITIONS`]. A conversation the actor may not read is named, and
    /// does not hold up the others.
    pub async fn catch_up(&self, actor: &Actor, positions: &[(ConversationId, Seq)]) -> Result<CatchUp> {
        if positions.len() > MAX_POSITIONS {
            return Err(Error::invalid(Code::RequestInvalid, format!("at most {MAX_POSITIONS} positions")));
        }
        let mut answer = CatchUp::default();
        let mut readable = Vec::new();
        for (conversation, seq) in positions {
            match self.inner.guard.check(actor, conversation, Action::Read).await {
                Ok(_) => readable.push((conversation.clone(), *seq)),
                Err(error) if error.code() == Code::Forbidden => answer.forbidden.push(conversation.clone()),
                Err(error) => return Err(error),
            }
        }
        let ids: Vec<ConversationId> =
            readable.iter().map(|(conversation, _)| conversation.clone()).collect();
        let heads = self.inner.ports.messages.heads(None, &ids).await?;
        for ((conversation, seq), head) in readable.into_iter().zip(heads) {
            match head.seq.0.checked_sub(seq.0) {
                Some(0) => {}
                Some(missed) if missed <= MAX_MISSED => {
                    self.collect(actor, conversation, seq, head.seq, &mut answer).await?;
                }
                // Too much, or a place this log has never reached.
                _ => answer.discontinuity.push(conversation),
            }
        }
        Ok(answer)
    }

    async fn collect(
        &self,
        actor: &Actor,
        conversation: ConversationId,
        mut seq: Seq,
        head: Seq,
        answer: &mut CatchUp,
    ) -> Result<()> {
        while seq < head {
            let room = MAX_CATCH_UP - answer.messages.len();
            if room == 0 {
                answer.more = true;
                return Ok(());
            }
            let query = HistoryQuery {
                conversation: conversation.clone(),
                viewer: Some(actor.user.clone()),
                scope: HistoryScope::Everything,
                anchor: Anchor::After(seq),
                limit: room.min(MAX_HISTORY),
            };
            let page = self.inner.ports.messages.history(&query).await?;
            let Some(last) = page.messages.last() else { return Ok(()) };
            seq = last.seq;
            answer.messages.extend(page.messages);
        }
        Ok(())
    }

    /// Takes out what the actor has deleted for itself.
    pub(super) async fn without_hidden(&self, actor: &Actor, messages: &mut Vec<Message>) -> Result<()> {
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id.clone()).collect();
        let mut hidden = self.inner.ports.messages.hidden_many(&actor.user, &ids).await?.into_iter();
        messages.retain(|_| !hidden.next().unwrap_or(false));
        Ok(())
    }
}
