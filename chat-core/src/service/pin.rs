//! Pinning.

use super::Chat;
use crate::clock::Timestamp;
use crate::domain::{Actor, ConversationId, Message, MessageId};
use crate::error::Result;
use crate::moderation::Action;
use crate::store::messages::MessageChanged;

impl Chat {
    /// Pins a message for everyone, until a time or for good, or takes the pin away.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden);
    /// [`Code::MessageDeleted`](crate::error::Code::MessageDeleted);
    /// [`Code::PinLimit`](crate::error::Code::PinLimit).
    pub async fn pin(
        &self,
        actor: &Actor,
        message: &MessageId,
        on: bool,
        until: Option<Timestamp>,
    ) -> Result<MessageChanged> {
        self.message(actor, message, Action::Pin).await?;
        let changed = self.inner.ports.messages.pin(message, &actor.user, on, until).await?;
        if changed.changed {
            self.wrote();
        }
        Ok(changed)
    }

    /// The pinned messages, oldest first.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn pinned(&self, actor: &Actor, conversation: &ConversationId) -> Result<Vec<Message>> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let mut pinned = self.inner.ports.messages.pinned(conversation).await?;
        self.without_hidden(actor, &mut pinned).await?;
        Ok(pinned)
    }
}
