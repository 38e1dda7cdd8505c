//! The list of conversations: everything a client shows, in a number of calls that does not depend on its length.

use std::collections::{BTreeSet, HashMap};

use super::derive::recorded;
use super::{Chat, derived};
use crate::domain::page::{Page, check_limit};
use crate::domain::presence::VisiblePresence;
use crate::domain::{
    Actor, ConversationId, ConversationKind, Member, Message, Receipts, Seq, Unread, UserId, UserProfile,
};
use crate::error::{Code, Error, Result};
use crate::event::MessageSent;
use crate::moderation::Action;
use crate::store::conversations::{ConversationCursor, ConversationFilter, Membership};
use crate::store::messages::Head;
use crate::store::unread::Recorded;

/// The most conversations of one page.
pub const MAX_LIST: usize = 50;
/// How many participants a list names of each conversation.
pub const LISTED_PARTICIPANTS: usize = 20;

/// A participant as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantView {
    /// The member.
    pub member: Member,
    /// Its profile, if known.
    pub profile: Option<UserProfile>,
    /// How far it has received and read.
    pub receipts: Receipts,
    /// Its presence, as the actor may know it; not known while the presence store is away.
    pub presence: Option<VisiblePresence>,
}

/// A conversation as its member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation, and what the member keeps for itself.
    pub membership: Membership,
    /// The place of the newest message.
    pub head: Seq,
    /// The newest message the member can see.
    pub last_message: Option<Message>,
    /// What the member has not read.
    pub unread: Unread,
    /// How far the member has read.
    pub receipts: Receipts,
    /// Participants: the first ones in a list, up to 1 000 of a single conversation.
    pub participants: Vec<ParticipantView>,
}

/// A page of conversations: pinned ones first, then newest activity first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationList {
    /// The conversations.
    pub items: Vec<ConversationView>,
    /// Where the next page begins.
    pub next: Option<ConversationCursor>,
}

impl Chat {
    /// The actor's conversations with their newest messages, unread counts, participants and presence.
    ///
    /// # Errors
    /// [`Code::PageInvalid`] unless the limit lies between 1 and 50.
    pub async fn conversations(
        &self,
        actor: &Actor,
        filter: &ConversationFilter,
        page: &Page<ConversationCursor>,
    ) -> Result<ConversationList> {
        check_limit(page.limit, MAX_LIST)?;
        let found = self.inner.ports.conversations.list(&actor.user, filter, page).await?;
        let ids: Vec<ConversationId> = found.items.iter().map(|one| one.conversation.id.clone()).collect();
        let members = self.inner.ports.conversations.first_members(&ids, LISTED_PARTICIPANTS).await?;
        let items = self.views(actor, found.items, members).await?;
        Ok(ConversationList { items, next: found.next })
    }

    /// One conversation of the actor, with up to 1 000 participants.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn conversation(&self, actor: &Actor, id: &ConversationId) -> Result<ConversationView> {
        self.inner.guard.check(actor, id, Action::Read).await?;
        let memberships =
            self.inner.ports.conversations.memberships(&actor.user, std::slice::from_ref(id)).await?;
        let membership =
            memberships.into_iter().flatten().next().ok_or_else(|| Error::new(Code::Forbidden))?;
        let members = self.inner.ports.conversations.members(id, &Page::first(1_000)).await?.items;
        let views = self.views(actor, vec![membership], vec![members]).await?;
        views.into_iter().next().ok_or_else(|| Error::new(Code::Forbidden))
    }

    async fn views(
        &self,
        actor: &Actor,
        memberships: Vec<Membership>,
        members: Vec<Vec<Member>>,
    ) -> Result<Vec<ConversationView>> {
        let ports = &self.inner.ports;
        let ids: Vec<ConversationId> = memberships.iter().map(|one| one.conversation.id.clone()).collect();
        let places: Vec<(UserId, ConversationId)> = ids
            .iter()
            .zip(&members)
            .flat_map(|(id, members)| {
                let own = std::iter::once(actor.user.clone());
                own.chain(members.iter().map(|member| member.user_id.clone()))
                    .map(move |user| (user, id.clone()))
            })
            .collect();
        let users: BTreeSet<&UserId> = places.iter().map(|(user, _)| user).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let (heads, receipts, presence, profiles) = futures::try_join!(
            ports.messages.heads(Some(&actor.user), &ids),
            ports.positions.receipts_many(&places),
            self.presence_if_known(actor, &users),
            self.profiles(&users),
        )?;
        let known = Known {
            receipts: places.into_iter().zip(receipts).collect(),
            people: users.into_iter().zip(presence.into_iter().zip(profiles)).collect(),
        };
        // Who sends a message is about to count it, or died before: whoever sees it has it counted.
        let news: Vec<Recorded> =
            ids.iter().zip(&heads).filter_map(|(id, head)| known.news(&actor.user, id, head)).collect();
        if !news.is_empty() {
            derived("unread", ports.unread.record_many(&news).await);
        }
        let unread = self.counts(&actor.user, &ids).await?;
        let rows = memberships.into_iter().zip(members).zip(heads.into_iter().zip(unread));
        Ok(rows
            .map(|((membership, members), (head, unread))| known.view(membership, members, head, unread))
            .collect())
    }

    /// The presence of users who share a conversation with the actor. A list is worth having without it.
    async fn presence_if_known(
        &self,
        actor: &Actor,
        users: &[UserId],
    ) -> Result<Vec<Option<VisiblePresence>>> {
        match self.presence_of_contacts(actor, users).await {
            Ok(seen) => Ok(seen.into_iter().map(Some).collect()),
            Err(error) if error.is_transient() => Ok(vec![None; users.len()]),
            Err(error) => Err(error),
        }
    }
}

/// What was found out about everybody on a page.
struct Known {
    receipts: HashMap<(UserId, ConversationId), Receipts>,
    people: HashMap<UserId, (Option<VisiblePresence>, Option<UserProfile>)>,
}

impl Known {
    fn receipts(&self, user: &UserId, conversation: &ConversationId) -> Receipts {
        self.receipts.get(&(user.clone(), conversation.clone())).copied().unwrap_or_default()
    }

    /// The newest message, where it lies beyond all that its reader has read or written.
    fn news(&self, user: &UserId, conversation: &ConversationId, head: &Head) -> Option<Recorded> {
        let receipts = self.receipts(user, conversation);
        let reached = receipts.read.seq.max(receipts.own);
        let newest = head.message.as_ref().filter(|message| message.seq > reached)?;
        Some(recorded(&MessageSent::from(newest)))
    }

    fn view(
        &self,
        membership: Membership,
        members: Vec<Member>,
        head: Head,
        unread: Unread,
    ) -> ConversationView {
        let id = membership.conversation.id.clone();
        let participants = members.into_iter().filter_map(|member| {
            let (presence, profile) = self.people.get(&member.user_id)?.clone();
            Some(ParticipantView { receipts: self.receipts(&member.user_id, &id), member, profile, presence })
        });
        ConversationView {
            participants: participants.collect(),
            head: head.seq,
            last_message: head.message,
            unread,
            receipts: self.receipts(&membership.member.user_id, &id),
            membership,
        }
    }
}

impl ConversationView {
    /// The other one, in a direct conversation.
    pub fn other(&self) -> Option<&ParticipantView> {
        let direct = self.membership.conversation.kind == ConversationKind::Direct;
        let own = &self.membership.member.user_id;
        self.participants.iter().find(|one| direct && one.member.user_id != *own)
    }
}
