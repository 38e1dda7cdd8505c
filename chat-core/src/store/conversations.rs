//! [`ConversationStore`]: the truth about who talks where.

pub mod rules;

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::only;
use crate::clock::Timestamp;
use crate::domain::page::{Page, Paged};
use crate::domain::{
    Conversation, ConversationId, ConversationKind, LastActivity, Member, MemberSettings, Mute, RoomRole,
    Seq, UserId,
};
use crate::error::Result;

/// A conversation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversation {
    /// Its id; that of a direct conversation follows from its members.
    pub id: ConversationId,
    /// Its kind.
    pub kind: ConversationKind,
    /// Its name.
    pub name: Option<String>,
    /// Its picture.
    pub avatar: Option<String>,
    /// Who makes it.
    pub created_by: UserId,
    /// Who is in it from the beginning, the maker included.
    pub members: Vec<NewMember>,
    /// How many may be in it.
    pub max_members: u32,
}

/// Somebody to let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: RoomRole,
    /// What they are called, for the event.
    pub name: Option<String>,
}

/// What became of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The conversation as it is.
    pub conversation: Conversation,
    /// False when it was there already.
    pub created: bool,
}

/// A change to a conversation or its members. Those of the first group are for everybody, the last ones only for the
/// user who makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new name. Writes `conversation.name.updated`.
    Rename(String),
    /// A new picture, or none. Writes `conversation.avatar.updated`.
    SetAvatar(Option<String>),
    /// Lets members in. Writes `conversation.participant.added` for each who was not, and raises the version for each.
    Add {
        /// Who.
        members: Vec<NewMember>,
        /// The newest message now.
        head: Seq,
    },
    /// Takes a member out. Writes `conversation.participant.removed`.
    Remove {
        /// Who.
        user: UserId,
        /// What they are called, for the event.
        name: Option<String>,
    },
    /// Leaves. Writes `conversation.participant.left`.
    Leave {
        /// What the one who leaves is called, for the event.
        name: Option<String>,
    },
    /// Gives a member another role. Writes `conversation.participant.role.changed`.
    SetRole {
        /// Whom.
        user: UserId,
        /// Which.
        role: RoomRole,
    },
    /// Puts it away, or back. Writes `conversation.archived` or `.unarchived`.
    Archive(bool),
    /// Mutes it, or not. Writes `conversation.muted` or `.unmuted`.
    Mute(Option<Mute>),
    /// Pins it on top, or not. Writes `conversation.pinned` or `.unpinned`.
    Pin(bool),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The conversation as it is now.
    pub conversation: Conversation,
    /// Members that were let in, taken out or given another role by this change, as they are now; those taken out as
    /// they were, but for the version that took them out.
    pub members: Vec<Member>,
    /// False when it was so already.
    pub changed: bool,
}

/// A conversation as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The conversation.
    pub conversation: Conversation,
    /// The member.
    pub member: Member,
    /// What the member keeps for itself.
    pub settings: MemberSettings,
}

/// Which conversations of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConversationFilter {
    /// Only archived ones, or only others.
    pub archived: Option<bool>,
    /// Only of this kind.
    pub kind: Option<ConversationKind>,
}

/// Where a walk over conversations stands: pinned ones first, then by last activity, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationCursor {
    /// Whether the last one was pinned.
    pub pinned: bool,
    /// Its last activity.
    pub at: Timestamp,
    /// The last one.
    pub id: ConversationId,
}

/// Where a walk over what was active lately stands: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityCursor {
    /// The last activity of the last one.
    pub at: Timestamp,
    /// The last one.
    pub id: ConversationId,
}

port! {
    /// Who talks where; kind of state: **truth**.
    ///
    /// Every change writes its event to the [`Outbox`](super::Outbox) in the same atomic step, exactly once; what
    /// changes nothing writes nothing, and the version grows by one with every event that is for everybody.
    pub trait ConversationStore as "conversations" {
        /// Makes a conversation and writes `conversation.created`.
        ///
        /// # Atomicity
        /// Of racing callers exactly one makes it; conversation, members and event come into being together.
        ///
        /// # Idempotency
        /// By id: the same kind and maker (the same members, for a direct one) answers what is there.
        ///
        /// # Errors
        /// [`Code::Conflict`](crate::error::Code::Conflict) when a different conversation has this id;
        /// [`Code::MemberLimit`](crate::error::Code::MemberLimit) for too many members.
        already async fn create(&self, new: &NewConversation) -> Result<Created>;

        /// Conversations by id.
        read async fn get_many(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Conversation>>>;

        /// Changes a conversation.
        ///
        /// # Atomicity
        /// Per conversation: the member limit and the rule of the last admin hold under any concurrency. An `Add` that
        /// does not fit as a whole adds nobody.
        ///
        /// # Idempotency
        /// What is so already changes nothing.
        ///
        /// # Errors
        /// [`Code::ConversationNotFound`](crate::error::Code::ConversationNotFound);
        /// [`Code::MemberLimit`](crate::error::Code::MemberLimit);
        /// [`Code::MemberLastAdmin`](crate::error::Code::MemberLastAdmin) when the last admin of several members would
        /// leave, be removed or lose the role;
        /// [`Code::RoomNotMember`](crate::error::Code::RoomNotMember) for a role or setting of somebody who is no
        /// member; [`Code::ConversationInvalid`](crate::error::Code::ConversationInvalid) for members, roles, names
        /// and pictures of a direct conversation.
        once async fn change(&self, conversation: &ConversationId, by: &UserId, change: &Change) -> Result<Changed>;

        /// Members by user; `None` for who is none.
        read async fn members_by_id(
            &self, conversation: &ConversationId, users: &[UserId],
        ) -> Result<Vec<Option<Member>>>;

        /// The members, in the order of their ids.
        ///
        /// # Errors
        /// [`Code::ConversationNotFound`](crate::error::Code::ConversationNotFound).
        read async fn members(&self, conversation: &ConversationId, page: &Page<UserId>) -> Result<Paged<Member, UserId>>;

        /// The first members of conversations, in the order of their ids, up to `limit` each: 1 to 100. None for a
        /// conversation that is not there.
        ///
        /// # Errors
        /// [`Code::PageInvalid`](crate::error::Code::PageInvalid).
        read async fn first_members(
            &self, conversations: &[ConversationId], limit: usize,
        ) -> Result<Vec<Vec<Member>>>;

        /// The conversations of a user: pinned first, then newest activity first. One that moves up during a walk may be
        /// missed by that walk.
        read async fn list(
            &self, user: &UserId, filter: &ConversationFilter, page: &Page<ConversationCursor>,
        ) -> Result<Paged<Membership, ConversationCursor>>;

        /// One user's view of conversations; `None` where the user is no member.
        read async fn memberships(
            &self, user: &UserId, conversations: &[ConversationId],
        ) -> Result<Vec<Option<Membership>>>;

        /// The conversations of all users with a message since then, that moment included: newest first, those of one moment
        /// by id. Of every kind, and whoever has put them away; one without a message is none of them.
        ///
        /// One that moves up during a walk may be missed by that walk, and is never seen twice. A walk over what was active
        /// since that walk began has it.
        ///
        /// # Errors
        /// [`Code::PageInvalid`](crate::error::Code::PageInvalid).
        read async fn active(
            &self, since: Timestamp, page: &Page<ActivityCursor>,
        ) -> Result<Paged<Conversation, ActivityCursor>>;

        /// Records newer activity, for lists; older activity changes nothing. Writes no event.
        write async fn touch_many(&self, activities: &[(ConversationId, LastActivity)]) -> Result<()>;
    }
}

/// Sugar over any [`ConversationStore`]; implemented for all of them.
pub trait ConversationStoreExt: ConversationStore {
    /// One conversation.
    fn get(
        &self,
        conversation: &ConversationId,
    ) -> impl Future<Output = Result<Option<Conversation>>> + Send {
        let one = [conversation.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// One member.
    fn member(
        &self,
        conversation: &ConversationId,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<Member>>> + Send {
        let one = [user.clone()];
        async move { only(self.members_by_id(conversation, &one).await?) }
    }
}

impl<C: ConversationStore + ?Sized> ConversationStoreExt for C {}
