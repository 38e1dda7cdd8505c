//! Members: letting in, taking out, leaving, roles.

use super::{Chat, derived};
use crate::domain::page::{Page, Paged};
use crate::domain::{Actor, ConversationId, ConversationKind, Member, RoomRole, UserId};
use crate::error::{Code, Error, Result};
use crate::moderation::Action;
use crate::store::conversations::{Change, Changed, NewMember};
use crate::store::rooms::RoomChange;
use crate::store::{ConversationStore, ConversationStoreExt};

impl Chat {
    /// Lets users in; answers who was not in before. All of them, or none when the limit would be passed.
    ///
    /// # Idempotency
    /// Who is in already stays as it is.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::MemberLimit`]; [`Code::ConversationInvalid`] in a direct conversation.
    pub async fn add_members(
        &self,
        actor: &Actor,
        id: &ConversationId,
        users: &[UserId],
    ) -> Result<Vec<UserId>> {
        self.check_members(actor, id, Action::AddMembers).await?;
        let names = self.names(users).await;
        let members = users.iter().zip(names);
        let members = members
            .map(|(user, name)| NewMember { user: user.clone(), role: RoomRole::Member, name })
            .collect();
        let head = self.head(id).await?;
        let changed = self.change(actor, id, &Change::Add { members, head }).await?;
        // Also of those whom a try that failed half-way has let in.
        let members = self.inner.ports.conversations.members_by_id(id, users).await?;
        let members: Vec<Member> = members.into_iter().flatten().collect();
        self.begin(id, &members).await?;
        let seats: Vec<RoomChange> = members.iter().map(seat).collect();
        derived("rooms", self.index_changes(id, &seats).await);
        let added: Vec<UserId> = changed.members.into_iter().map(|member| member.user_id).collect();
        if added.is_empty() {
            return Ok(added);
        }
        let key = changed.conversation.version.to_string();
        self.note(&changed.conversation, actor, "PARTICIPANT_ADDED", &key, &added).await?;
        Ok(added)
    }

    /// Takes a member out; answers whether it was in. Once this is answered, the member sees nothing more.
    ///
    /// # Idempotency
    /// Who is out already stays out.
    ///
    /// # Errors
    /// [`Code::Forbidden`], also for a member of the same or a higher role; [`Code::MemberLastAdmin`];
    /// [`Code::ConversationInvalid`] in a direct conversation.
    pub async fn remove_member(&self, actor: &Actor, id: &ConversationId, user: &UserId) -> Result<bool> {
        if *user == actor.user {
            return self.leave(actor, id).await;
        }
        let role = self.check_members(actor, id, Action::RemoveMembers).await?;
        if let Some(member) = self.inner.ports.conversations.member(id, user).await?
            && member.role >= role
        {
            return Err(Code::Forbidden.into());
        }
        let name = self.names(std::slice::from_ref(user)).await.into_iter().next().flatten();
        let changed = self.change(actor, id, &Change::Remove { user: user.clone(), name }).await?;
        self.gone(&changed, user).await?;
        if changed.changed {
            let key = changed.conversation.version.to_string();
            self.note(&changed.conversation, actor, "PARTICIPANT_REMOVED", &key, std::slice::from_ref(user))
                .await?;
        }
        Ok(changed.changed)
    }

    /// Leaves; answers whether the actor was in.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::MemberLastAdmin`] while others are in; [`Code::ConversationInvalid`] in a direct
    /// conversation.
    pub async fn leave(&self, actor: &Actor, id: &ConversationId) -> Result<bool> {
        self.check_members(actor, id, Action::Leave).await?;
        let name = self.names(std::slice::from_ref(&actor.user)).await.into_iter().next().flatten();
        let changed = self.change(actor, id, &Change::Leave { name }).await?;
        self.gone(&changed, &actor.user).await?;
        if changed.changed {
            let (key, users) = (changed.conversation.version.to_string(), std::slice::from_ref(&actor.user));
            self.note(&changed.conversation, actor, "PARTICIPANT_LEFT", &key, users).await?;
        }
        Ok(changed.changed)
    }

    /// Gives a member another role; answers whether that changed anything.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::RoomNotMember`] for somebody who is no member; [`Code::MemberLastAdmin`];
    /// [`Code::ConversationInvalid`] in a direct conversation.
    pub async fn set_role(
        &self,
        actor: &Actor,
        id: &ConversationId,
        user: &UserId,
        role: RoomRole,
    ) -> Result<bool> {
        self.check_members(actor, id, Action::ManageRoles).await?;
        let changed = self.change(actor, id, &Change::SetRole { user: user.clone(), role }).await?;
        for member in &changed.members {
            // Fewer rights count from now on, so this one may not lag.
            self.index_at_once(id, seat(member)).await?;
        }
        Ok(changed.changed)
    }

    /// The members, in the order of their ids.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn members(
        &self,
        actor: &Actor,
        id: &ConversationId,
        page: &Page<UserId>,
    ) -> Result<Paged<Member, UserId>> {
        self.inner.guard.check(actor, id, Action::Read).await?;
        self.inner.ports.conversations.members(id, page).await
    }

    /// Asks the guard; a member of a direct conversation is told why it cannot be done there.
    async fn check_members(&self, actor: &Actor, id: &ConversationId, action: Action) -> Result<RoomRole> {
        let access = self.inner.guard.check(actor, id, Action::Read).await?;
        if access.kind == ConversationKind::Direct {
            return Err(Error::invalid(
                Code::ConversationInvalid,
                "a direct conversation has two members for good",
            ));
        }
        Ok(self.inner.guard.check(actor, id, action).await?.role)
    }

    /// A member is out of the truth: out of the index, before anybody is told; then out of what is derived.
    async fn gone(&self, changed: &Changed, user: &UserId) -> Result<()> {
        let id = &changed.conversation.id;
        let out = RoomChange { user: user.clone(), role: None, version: changed.conversation.version };
        self.index_at_once(id, out).await?;
        self.stop_typing_of(user, id).await;
        derived("unread", self.inner.ports.unread.forget_many(&[(user.clone(), id.clone())]).await);
        Ok(())
    }

    /// What users are called, as far as it is known.
    async fn names(&self, users: &[UserId]) -> Vec<Option<String>> {
        match self.profiles(users).await {
            Ok(profiles) => {
                profiles.into_iter().map(|profile| profile.map(|profile| profile.full_name)).collect()
            }
            Err(_) => vec![None; users.len()],
        }
    }
}

/// A member as the room index is told.
fn seat(member: &Member) -> RoomChange {
    RoomChange { user: member.user_id.clone(), role: Some(member.role), version: member.version }
}
