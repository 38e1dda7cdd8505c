//! [`AccessGuard`]: the one place that decides who may do what.

use std::collections::HashSet;
use std::sync::Arc;

use super::policy::{Action, PolicyTable};
use crate::domain::page::Page;
use crate::domain::{Actor, ConversationId, ConversationKind, PlatformRole, RoomId, RoomRole, UserId};
use crate::error::{Code, Error, Result};
use crate::store::rooms::{NewRoom, RoomChange};
use crate::store::{ConversationStore, ConversationStoreExt, RoomStore};

/// Rooms with more members are not kept in the index whole: their members are asked of the truth.
const MAX_INDEXED: u32 = 5_000;
/// How many conversations' kinds are remembered; they never change.
const MAX_REMEMBERED: u64 = 100_000;

/// What the guard found out on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What kind of conversation it is.
    pub kind: ConversationKind,
    /// The actor's role in it; a platform admin acts as an admin everywhere.
    pub role: RoomRole,
    /// The other one, in a direct conversation the actor is in.
    pub other: Option<UserId>,
}

/// What never changes about a conversation.
#[derive(Debug, Clone)]
struct Fixed {
    kind: ConversationKind,
    pair: Option<(UserId, UserId)>,
}

/// Decides for every service: deny by default, from one table, and the same answer whether the conversation does not
/// exist or the actor may not see it.
///
/// Membership and role come from the room index in one round trip. Truth is asked when the index does not know the room,
/// and while it is away: the index is derived, and nobody is turned away for its sake.
#[derive(Debug)]
pub struct AccessGuard {
    rooms: Arc<dyn RoomStore>,
    conversations: Arc<dyn ConversationStore>,
    policy: PolicyTable,
    fixed: moka::sync::Cache<ConversationId, Fixed>,
}

impl AccessGuard {
    /// A guard over these stores.
    pub fn new(
        rooms: Arc<dyn RoomStore>,
        conversations: Arc<dyn ConversationStore>,
        policy: PolicyTable,
    ) -> Self {
        Self { rooms, conversations, policy, fixed: moka::sync::Cache::new(MAX_REMEMBERED) }
    }

    /// Lets the actor through, or not.
    ///
    /// # Errors
    /// [`Code::Forbidden`], whether or not the conversation exists.
    pub async fn check(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        action: Action,
    ) -> Result<Access> {
        let role = self.role(&actor.user, conversation).await?;
        let role = match actor.role {
            PlatformRole::Admin => Some(RoomRole::Admin),
            PlatformRole::User => role,
        };
        let (Some(role), Some(fixed)) = (role, self.fixed(conversation).await?) else { return denied() };
        if !self.policy.allows(fixed.kind, role, action) {
            return denied();
        }
        let other = fixed.pair.and_then(|(one, two)| match &actor.user {
            user if *user == one => Some(two),
            user if *user == two => Some(one),
            _ => None,
        });
        Ok(Access { kind: fixed.kind, role, other })
    }

    /// The role of a user, from the index or the truth; `None` for no member.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn role(&self, user: &UserId, conversation: &ConversationId) -> Result<Option<RoomRole>> {
        let asked = std::slice::from_ref(user);
        match self.rooms.roles(&RoomId::from(conversation), asked).await {
            Ok(Some(roles)) => return Ok(roles.into_iter().next().flatten()),
            Ok(None) => self.index(conversation).await.or_else(outlive)?,
            Err(outage) => outlive(outage)?,
        }
        Ok(self.conversations.member(conversation, user).await?.map(|member| member.role))
    }

    /// Brings a conversation's members into the room index.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn index(&self, conversation: &ConversationId) -> Result<()> {
        let Some(truth) = self.conversations.get(conversation).await? else { return Ok(()) };
        if truth.member_count > MAX_INDEXED {
            return Ok(());
        }
        let new = NewRoom {
            id: RoomId::from(conversation),
            kind: truth.kind.as_str().to_owned(),
            name: None,
            max_members: None,
            members: self.all_members(conversation).await?,
        };
        if !self.rooms.create(&new).await? {
            return Ok(());
        }
        // Changes made since truth was read have found no room to go into; later ones go into this one.
        let now = self.conversations.get(conversation).await?;
        match now.filter(|now| now.version != truth.version) {
            Some(now) => self.catch_up(&new, conversation, now.version).await,
            None => Ok(()),
        }
    }

    /// Brings a room that was made from an older state up to what truth says now.
    async fn catch_up(&self, old: &NewRoom, conversation: &ConversationId, version: u64) -> Result<()> {
        let mut changes = self.all_members(conversation).await?;
        let there: HashSet<UserId> = changes.iter().map(|change| change.user.clone()).collect();
        let gone = old.members.iter().filter(|change| !there.contains(&change.user));
        changes.extend(gone.map(|change| RoomChange { user: change.user.clone(), role: None, version }));
        self.rooms.change_members(&old.id, &changes).await.map(drop)
    }

    async fn all_members(&self, conversation: &ConversationId) -> Result<Vec<RoomChange>> {
        let mut members = Vec::new();
        let mut page = Page::first(crate::domain::page::MAX_PAGE);
        loop {
            let found = self.conversations.members(conversation, &page).await?;
            members.extend(found.items.into_iter().map(|member| RoomChange {
                user: member.user_id,
                role: Some(member.role),
                version: member.version,
            }));
            match found.next {
                Some(cursor) => page.after = Some(cursor),
                None => return Ok(members),
            }
        }
    }

    async fn fixed(&self, conversation: &ConversationId) -> Result<Option<Fixed>> {
        if let Some(fixed) = self.fixed.get(conversation) {
            return Ok(Some(fixed));
        }
        let Some(truth) = self.conversations.get(conversation).await? else { return Ok(None) };
        let pair = match truth.kind {
            ConversationKind::Direct => {
                let two = self.conversations.members(conversation, &Page::first(2)).await?.items;
                let mut two = two.into_iter().map(|member| member.user_id);
                two.next().zip(two.next())
            }
            _ => None,
        };
        let fixed = Fixed { kind: truth.kind, pair };
        self.fixed.insert(conversation.clone(), fixed.clone());
        Ok(Some(fixed))
    }
}

/// The index is away: truth answers instead.
fn outlive(error: Error) -> Result<()> {
    if error.is_transient() { Ok(()) } else { Err(error) }
}

fn denied() -> Result<Access> {
    Err(Error::new(Code::Forbidden))
}
