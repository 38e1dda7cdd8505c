//! Conversations: making them, naming them, and what each member keeps for itself.

use super::derive::silence;
use super::{Chat, derived};
use crate::domain::conversation::{check_avatar, check_name, direct_id};
use crate::domain::message::{Draft, MessageKind, NewMessage};
use crate::domain::{
    Actor, ClientKey, Conversation, ConversationId, ConversationKind, MemberSettings, Mute, ReadPosition,
    RoomRole, Seq, UserId,
};
use crate::error::{Code, Error, Result};
use crate::moderation::Action;
use crate::store::conversations::{Change, Changed, Created, NewConversation, NewMember};
use crate::store::unread::{Advance, AdvanceTo};
use crate::store::{ConversationStore, MessageStoreExt, UnreadStoreExt};

/// A conversation of many to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// What kind: a group, unless said otherwise.
    pub kind: ConversationKind,
    /// Its id, if the caller has one; making it again then answers the same group.
    pub id: Option<ConversationId>,
    /// Its name: 1 to 100 characters.
    pub name: String,
    /// Address of its picture.
    pub avatar: Option<String>,
    /// Who is in it besides the one who makes it, and as what. Repeats count once, with the highest role.
    pub members: Vec<(UserId, RoomRole)>,
}

impl NewGroup {
    /// A group with a name and nobody but the one who makes it.
    pub fn named(name: impl Into<String>) -> Self {
        Self { kind: ConversationKind::Group, id: None, name: name.into(), avatar: None, members: Vec::new() }
    }

    /// Of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ConversationKind) -> Self {
        self.kind = kind;
        self
    }

    /// With this id.
    #[must_use]
    pub fn with_id(mut self, id: ConversationId) -> Self {
        self.id = Some(id);
        self
    }

    /// With this picture.
    #[must_use]
    pub fn with_avatar(mut self, avatar: impl Into<String>) -> Self {
        self.avatar = Some(avatar.into());
        self
    }

    /// With this member.
    #[must_use]
    pub fn with_member(self, user: UserId) -> Self {
        self.with_role(user, RoomRole::Member)
    }

    /// With this member in this role.
    #[must_use]
    pub fn with_role(mut self, user: UserId, role: RoomRole) -> Self {
        self.members.push((user, role));
        self
    }
}

impl Chat {
    /// The direct conversation of the actor and another user, made if need be. Race-free, and the same whoever asks.
    ///
    /// # Errors
    /// [`Code::ConversationInvalid`] with oneself.
    pub async fn direct(&self, actor: &Actor, other: &UserId) -> Result<Created> {
        let id = direct_id(&actor.user, other)?;
        let members = [&actor.user, other].map(|user| NewMember {
            user: user.clone(),
            role: RoomRole::Member,
            name: None,
        });
        let new = NewConversation {
            id,
            kind: ConversationKind::Direct,
            name: None,
            avatar: None,
            created_by: actor.user.clone(),
            members: members.to_vec(),
            max_members: 2,
        };
        self.create(new).await
    }

    /// Makes a group, channel, broadcast or event room, with the actor as its admin.
    ///
    /// # Idempotency
    /// With an id: the same maker, kind and name answers what is there.
    ///
    /// # Errors
    /// [`Code::ConversationInvalid`] for a bad name, picture or kind, or an id of the form direct conversations have;
    /// [`Code::MemberLimit`]; [`Code::Conflict`] when the id is in use.
    pub async fn create_group(&self, actor: &Actor, group: NewGroup) -> Result<Conversation> {
        if group.kind == ConversationKind::Direct {
            return Err(Error::invalid(
                Code::ConversationInvalid,
                "a direct conversation is made by writing to somebody",
            ));
        }
        check_name(&group.name)?;
        group.avatar.as_deref().map_or(Ok(()), check_avatar)?;
        group.id.as_ref().map_or(Ok(()), check_own_id)?;
        let new = NewConversation {
            id: group.id.unwrap_or_else(|| self.new_conversation_id()),
            kind: group.kind,
            name: Some(group.name.clone()),
            avatar: group.avatar,
            created_by: actor.user.clone(),
            members: self.founders(actor, group.members).await,
            max_members: self.inner.settings.max_members,
        };
        let created = self.create(new).await?;
        if !created.created {
            let same = created.conversation.name.as_ref() == Some(&group.name);
            // Who made it and is out of it is told no more than anybody else.
            if !same || self.inner.guard.role(&actor.user, &created.conversation.id).await?.is_none() {
                return Err(Code::Conflict.into());
            }
        }
        let sub_type = match group.kind {
            ConversationKind::Broadcast => "BROADCAST_CREATED",
            _ => "GROUP_CREATED",
        };
        self.note(&created.conversation, actor, sub_type, "created", &[]).await?;
        Ok(created.conversation)
    }

    /// A broadcast: its admins write, its recipients read.
    ///
    /// # Errors
    /// As [`create_group`](Self::create_group).
    pub async fn create_broadcast(&self, actor: &Actor, group: NewGroup) -> Result<Conversation> {
        self.create_group(actor, group.of_kind(ConversationKind::Broadcast)).await
    }

    /// The first members, everybody once with the highest role given, with names for the events.
    async fn founders(&self, actor: &Actor, members: Vec<(UserId, RoomRole)>) -> Vec<NewMember> {
        let mut founders = std::collections::BTreeMap::new();
        for (user, role) in members {
            let known = founders.entry(user).or_insert(role);
            *known = role.max(*known);
        }
        founders.insert(actor.user.clone(), RoomRole::Admin);
        founders.into_iter().map(|(user, role)| NewMember { user, role, name: None }).collect()
    }

    async fn create(&self, new: NewConversation) -> Result<Created> {
        let ports = &self.inner.ports;
        let created = ports.conversations.create(&new).await?;
        let id = &created.conversation.id;
        if created.created {
            self.wrote();
            derived("unread", ports.unread.record(&silence(id)).await);
            let start = AdvanceTo::Position(ReadPosition::START);
            let advance = |member: NewMember| Advance {
                user: member.user,
                conversation: id.clone(),
                to: start,
                own: Seq::ZERO,
            };
            let advances: Vec<_> = new.members.into_iter().map(advance).collect();
            derived("unread", ports.unread.advance_many(&advances).await);
        }
        derived("rooms", self.inner.guard.index(id).await);
        Ok(created)
    }

    /// Says in the conversation itself what happened to it: a system message, never unread, once per `key`.
    pub(super) async fn note(
        &self,
        conversation: &Conversation,
        actor: &Actor,
        sub_type: &str,
        key: &str,
        users: &[UserId],
    ) -> Result<()> {
        let mut metadata = std::collections::BTreeMap::from([
            ("subType".to_owned(), sub_type.to_owned()),
            ("actorId".to_owned(), actor.user.to_string()),
            ("count".to_owned(), users.len().to_string()),
        ]);
        if let [user] = users {
            metadata.insert("userId".to_owned(), user.to_string());
        }
        let content = sub_type.to_lowercase().replace('_', " ");
        let draft = Draft { kind: MessageKind::System, content, metadata, ..Draft::default() };
        let new = NewMessage {
            id: self.new_message_id(),
            conversation_id: conversation.id.clone(),
            conversation_kind: conversation.kind,
            sender_id: None,
            receiver_id: None,
            client_key: Some(ClientKey::derived(&[conversation.id.as_str(), sub_type, key])),
            draft,
        };
        self.append(&new).await.map(drop)
    }

    /// Gives a conversation another name.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::ConversationInvalid`].
    pub async fn rename(&self, actor: &Actor, id: &ConversationId, name: &str) -> Result<Conversation> {
        self.inner.guard.check(actor, id, Action::Rename).await?;
        Ok(self.change(actor, id, &Change::Rename(name.to_owned())).await?.conversation)
    }

    /// Gives a conversation another picture, or none.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::ConversationInvalid`].
    pub async fn set_avatar(
        &self,
        actor: &Actor,
        id: &ConversationId,
        avatar: Option<&str>,
    ) -> Result<Conversation> {
        self.inner.guard.check(actor, id, Action::Rename).await?;
        Ok(self.change(actor, id, &Change::SetAvatar(avatar.map(str::to_owned))).await?.conversation)
    }

    /// Puts a conversation away, or back, for the actor.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn archive(&self, actor: &Actor, id: &ConversationId, on: bool) -> Result<MemberSettings> {
        self.keep(actor, id, &Change::Archive(on)).await
    }

    /// Mutes a conversation for the actor, or not.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn mute(
        &self,
        actor: &Actor,
        id: &ConversationId,
        mute: Option<Mute>,
    ) -> Result<MemberSettings> {
        self.keep(actor, id, &Change::Mute(mute)).await
    }

    /// Keeps a conversation on top for the actor, or not.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn pin_conversation(
        &self,
        actor: &Actor,
        id: &ConversationId,
        on: bool,
    ) -> Result<MemberSettings> {
        self.keep(actor, id, &Change::Pin(on)).await
    }

    async fn keep(&self, actor: &Actor, id: &ConversationId, change: &Change) -> Result<MemberSettings> {
        self.inner.guard.check(actor, id, Action::OwnSettings).await?;
        self.change(actor, id, change).await?;
        let memberships =
            self.inner.ports.conversations.memberships(&actor.user, std::slice::from_ref(id)).await?;
        let membership = memberships.into_iter().next().flatten();
        Ok(membership.ok_or_else(|| Error::new(Code::Forbidden))?.settings)
    }

    /// Changes truth; the caller has asked the guard.
    pub(super) async fn change(
        &self,
        actor: &Actor,
        id: &ConversationId,
        change: &Change,
    ) -> Result<Changed> {
        let changed = self.inner.ports.conversations.change(id, &actor.user, change).await?;
        if changed.changed {
            self.wrote();
        }
        Ok(changed)
    }

    pub(super) async fn head(&self, id: &ConversationId) -> Result<Seq> {
        self.inner.ports.messages.head(id).await
    }
}

/// Keeps the ids of direct conversations free: they follow from two users, so anybody could take one beforehand and
/// read along.
fn check_own_id(id: &ConversationId) -> Result<()> {
    match uuid::Uuid::try_parse(id.as_str()) {
        Ok(uuid) if uuid.get_version_num() == 5 => Err(Error::invalid(
            Code::ConversationInvalid,
            "a UUID of version 5 is the id of a direct conversation",
        )),
        _ => Ok(()),
    }
}
