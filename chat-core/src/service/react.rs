//! Reacting.

use super::Chat;
use crate::domain::message::check_emoji;
use crate::domain::{Actor, MessageId};
use crate::error::Result;
use crate::moderation::Action;
use crate::store::messages::MessageChanged;

impl Chat {
    /// Puts the actor's emoji on a message, or takes it off. Not a toggle: repeating it changes nothing.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden);
    /// [`Code::MessageInvalid`](crate::error::Code::MessageInvalid) for what is no emoji;
    /// [`Code::MessageDeleted`](crate::error::Code::MessageDeleted);
    /// [`Code::ReactionLimit`](crate::error::Code::ReactionLimit).
    pub async fn react(
        &self,
        actor: &Actor,
        message: &MessageId,
        emoji: &str,
        on: bool,
    ) -> Result<MessageChanged> {
        check_emoji(emoji)?;
        self.message(actor, message, Action::React).await?;
        let changed = self.inner.ports.messages.react(message, &actor.user, emoji, on).await?;
        if changed.changed {
            self.wrote();
        }
        Ok(changed)
    }
}
