//! Deleting.

use super::{Chat, derived};
use crate::domain::{Actor, MessageId};
use crate::error::{Code, Result};
use crate::event::DeleteType;
use crate::moderation::Action;
use crate::store::messages::MessageChanged;

impl Chat {
    /// Deletes a message: for the actor alone, or for everyone, which is for its sender within the delete window, or for
    /// those who keep order.
    ///
    /// # Idempotency
    /// Deleting again changes nothing.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::DeleteTooLate`].
    pub async fn delete(
        &self,
        actor: &Actor,
        message: &MessageId,
        whom: DeleteType,
    ) -> Result<MessageChanged> {
        let known = self.message(actor, message, Action::Read).await?;
        if whom == DeleteType::ForEveryone && known.deleted.is_none() {
            let guard = &self.inner.guard;
            let keeps_order = match guard.check(actor, &known.conversation_id, Action::DeleteAny).await {
                Err(error) if error.code() == Code::Forbidden => false,
                outcome => outcome.map(|_| true)?,
            };
            if !keeps_order {
                if known.sender_id.as_ref() != Some(&actor.user) {
                    return Err(Code::Forbidden.into());
                }
                guard.check(actor, &known.conversation_id, Action::DeleteOwn).await?;
                if self.now().since(known.created_at) > self.inner.settings.delete_window {
                    return Err(Code::DeleteTooLate.into());
                }
            }
        }
        let changed = self.inner.ports.messages.delete(message, &actor.user, whom).await?;
        if whom == DeleteType::ForEveryone {
            let seqs = [known.seq];
            derived("unread", self.inner.ports.unread.uncount_many(&known.conversation_id, &seqs).await);
        }
        // Whoever hears of it sees the count, too.
        if changed.changed {
            self.wrote();
        }
        Ok(changed)
    }
}
