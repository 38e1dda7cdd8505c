//! Sending.

use super::derive::{activity, recorded};
use super::{Chat, derived};
use crate::domain::message::{Draft, MessageKind, NewMessage};
use crate::domain::{
    Actor, Attachment, ClientKey, ConversationId, ConversationKind, FileId, Mentions, Message, RoomId,
    UserId, conversation,
};
use crate::error::{Code, Error, Result};
use crate::event::MessageSent;
use crate::moderation::{Access, Action};
use crate::store::{MessageStoreExt, UnreadStoreExt};

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this conversation.
    Conversation(ConversationId),
    /// To this user: into the one direct conversation of both, which is made if need be.
    User(UserId),
}

impl From<&ConversationId> for Target {
    fn from(conversation: &ConversationId) -> Self {
        Self::Conversation(conversation.clone())
    }
}

impl From<&UserId> for Target {
    fn from(user: &UserId) -> Self {
        Self::User(user.clone())
    }
}

impl From<&str> for Draft {
    fn from(content: &str) -> Self {
        Self::text(content)
    }
}

impl From<String> for Draft {
    fn from(content: String) -> Self {
        Self::text(content)
    }
}

/// What became of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message as stored, now or before.
    pub message: Message,
    /// It had been sent before under the same key: nothing was done.
    pub duplicate: bool,
}

impl Chat {
    /// Sends a message. Whoever is told that it was sent will find it in the history, once, under its `Seq`.
    ///
    /// # Idempotency
    /// With a key: repeating it answers the first message.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; those of [`Draft::check`]; [`Code::FileNotFound`] for an attachment that is not registered
    /// in the conversation; [`Code::MessageNotFound`] for a message it hangs on that is not in the conversation;
    /// [`Code::ClientKeyConflict`].
    pub async fn send(
        &self,
        actor: &Actor,
        to: impl Into<Target>,
        draft: impl Into<Draft>,
        key: Option<&ClientKey>,
    ) -> Result<Sent> {
        let draft = draft.into();
        if draft.kind == MessageKind::System {
            return Err(Error::invalid(Code::MessageInvalid, "only the system says that"));
        }
        // Before anything is made for it.
        draft.check()?;
        let (conversation, access) = self.target(actor, to.into(), &draft).await?;
        let draft = self.complete(&conversation, draft).await?;
        let new = NewMessage {
            id: self.new_message_id(),
            conversation_id: conversation,
            conversation_kind: access.kind,
            sender_id: Some(actor.user.clone()),
            receiver_id: access.other,
            client_key: key.cloned(),
            draft,
        };
        let sent = self.append(&new).await?;
        self.stop_typing_of(&actor.user, &new.conversation_id).await;
        Ok(sent)
    }

    /// Stores a message and advances what is derived from it.
    pub(super) async fn append(&self, new: &NewMessage) -> Result<Sent> {
        let ports = &self.inner.ports;
        let appended = ports.messages.append(new).await?;
        // Whoever sends again was not told that it was done: what follows may not have been, either, and repeats harmlessly.
        let sent = MessageSent::from(&appended.message);
        let (recorded, activity) = (recorded(&sent), [activity(&sent)]);
        let counting = async {
            derived("unread", ports.unread.record(&recorded).await);
            // Whoever sees the message sees the badge.
            self.wrote();
        };
        let ((), listed) = futures::join!(counting, ports.conversations.touch_many(&activity));
        derived("list", listed);
        Ok(Sent { message: appended.message, duplicate: appended.duplicate })
    }

    async fn target(&self, actor: &Actor, to: Target, draft: &Draft) -> Result<(ConversationId, Access)> {
        match to {
            Target::Conversation(conversation) => {
                let access = self.inner.guard.check(actor, &conversation, Action::Send).await?;
                Ok((conversation, access))
            }
            Target::User(user) => {
                let conversation = conversation::direct_id(&actor.user, &user)?;
                let access = match self.inner.guard.check(actor, &conversation, Action::Send).await {
                    Err(error) if error.code() == Code::Forbidden => {
                        check_first(draft)?;
                        self.direct(actor, &user).await?;
                        self.inner.guard.check(actor, &conversation, Action::Send).await?
                    }
                    outcome => outcome?,
                };
                match access.kind {
                    ConversationKind::Direct => Ok((conversation, access)),
                    _ => Err(Code::Conflict.into()),
                }
            }
        }
    }

    /// The draft with what the chat knows better than the sender: files as registered, threads by their root, and only
    /// members mentioned.
    async fn complete(&self, conversation: &ConversationId, mut draft: Draft) -> Result<Draft> {
        if !draft.attachments.is_empty() {
            draft.attachments = self.registered(conversation, &draft.attachments).await?;
        }
        if let Some(place) = &mut draft.thread
            && let Some(root) = self.inner.ports.messages.get(&place.root).await?
            && let Some(above) = root.thread
        {
            place.root = above.root;
        }
        draft.mentions = self.members_mentioned(conversation, draft.mentions).await?;
        Ok(draft)
    }

    async fn registered(
        &self,
        conversation: &ConversationId,
        attachments: &[Attachment],
    ) -> Result<Vec<Attachment>> {
        let ids: Vec<FileId> = attachments.iter().map(|attachment| attachment.file_id.clone()).collect();
        let files = self.inner.ports.files.get_many(&ids).await?;
        let here = files.into_iter().map(|file| file.filter(|file| file.conversation_id == *conversation));
        here.zip(attachments)
            .map(|(file, attachment)| {
                let file = file.ok_or_else(|| Error::new(Code::FileNotFound))?;
                Ok(Attachment { duration_ms: attachment.duration_ms, ..Attachment::from(&file) })
            })
            .collect()
    }

    /// The mentions of members only, without repeats.
    pub(super) async fn members_mentioned(
        &self,
        conversation: &ConversationId,
        mut mentions: Mentions,
    ) -> Result<Mentions> {
        if mentions.users.is_empty() {
            return Ok(mentions);
        }
        mentions.users.sort_unstable();
        mentions.users.dedup();
        let mut known = self.are_members(conversation, &mentions.users).await?.into_iter();
        mentions.users.retain(|_| known.next().unwrap_or(false));
        Ok(mentions)
    }

    /// Which of these users are members: the index knows, else truth, also while the index is away.
    pub(super) async fn are_members(
        &self,
        conversation: &ConversationId,
        users: &[UserId],
    ) -> Result<Vec<bool>> {
        let ports = &self.inner.ports;
        match ports.rooms.roles(&RoomId::from(conversation), users).await {
            Ok(Some(roles)) => return Ok(roles.into_iter().map(|role| role.is_some()).collect()),
            Err(error) if !error.is_transient() => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let members = ports.conversations.members_by_id(conversation, users).await?;
        Ok(members.into_iter().map(|member| member.is_some()).collect())
    }
}

/// What the first message of a conversation hangs on cannot be there yet.
fn check_first(draft: &Draft) -> Result<()> {
    if !draft.attachments.is_empty() {
        return Err(Code::FileNotFound.into());
    }
    if draft.reply_to.is_some() || draft.thread.is_some() {
        return Err(Code::MessageNotFound.into());
    }
    Ok(())
}
