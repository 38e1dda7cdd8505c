//! Editing.

use super::derive::recorded;
use super::{Chat, derived};
use crate::domain::message::Draft;
use crate::domain::{Actor, Mentions, Message, MessageId};
use crate::error::{Code, Error, Result};
use crate::event::MessageSent;
use crate::moderation::Action;
use crate::store::MessageStoreExt;
use crate::store::messages::{Edit, MessageChanged};

impl Chat {
    /// Gives the actor's own message a new text. The earlier ones are kept.
    ///
    /// # Idempotency
    /// The text it has already changes nothing.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for somebody else's message or one the actor may not see; those of [`Draft::check`];
    /// [`Code::MessageDeleted`]; [`Code::EditConflict`] when `expect` is not its revision.
    pub async fn edit(
        &self,
        actor: &Actor,
        message: &MessageId,
        content: impl Into<String>,
        mentions: Mentions,
        expect: Option<u32>,
    ) -> Result<MessageChanged> {
        let known = self.message(actor, message, Action::EditOwn).await?;
        if known.sender_id.as_ref() != Some(&actor.user) {
            return Err(Code::Forbidden.into());
        }
        if known.deleted.is_some() {
            return Err(Code::MessageDeleted.into());
        }
        let content = content.into();
        let draft = Draft {
            content: content.clone(),
            mentions: mentions.clone(),
            attachments: known.attachments,
            ..Draft::default()
        };
        draft.check()?;
        let mentions = self.members_mentioned(&known.conversation_id, mentions).await?;
        let edit = Edit { message: message.clone(), by: actor.user.clone(), content, mentions, expect };
        let changed = self.inner.ports.messages.edit(&edit).await?;
        if changed.changed {
            self.wrote();
            let recorded = recorded(&MessageSent::from(&changed.message));
            derived("unread", self.record_edited(&actor.user, &recorded).await);
        }
        Ok(changed)
    }

    /// A message the actor may do this with; forbidden whether or not it exists.
    pub(super) async fn message(&self, actor: &Actor, id: &MessageId, action: Action) -> Result<Message> {
        let forbidden = || Error::new(Code::Forbidden);
        let message = self.inner.ports.messages.get(id).await?.ok_or_else(forbidden)?;
        self.inner.guard.check(actor, &message.conversation_id, action).await?;
        Ok(message)
    }
}
