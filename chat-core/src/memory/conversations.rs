//! [`ConversationStore`] in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use super::MemoryOutbox;
use crate::clock::{Clock, Timestamp};
use crate::domain::conversation::{check_avatar, check_name};
use crate::domain::page::{Page, Paged, check_limit};
use crate::domain::{
    Conversation, ConversationId, ConversationKind, LastActivity, Member, MemberSettings, Mute, RoomRole,
    Seq, UserId,
};
use crate::error::{Code, Error, Result};
use crate::event::{
    ConversationArchived, ConversationAvatarUpdated, ConversationCreated, ConversationMuted,
    ConversationNameUpdated, ConversationPinned, ConversationUnarchived, ConversationUnmuted,
    ConversationUnpinned, Event, ParticipantAdded, ParticipantLeft, ParticipantRemoved,
    ParticipantRoleChanged,
};
use crate::store::ConversationStore;
use crate::store::conversations::{
    Change, Changed, ConversationCursor, ConversationFilter, Created, Membership, NewConversation, NewMember,
};

/// Who talks where, in memory, behind one lock.
#[derive(Debug)]
pub struct MemoryConversations {
    clock: Arc<dyn Clock>,
    outbox: Arc<MemoryOutbox>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<ConversationId, Entry>,
    of_user: HashMap<UserId, BTreeSet<ConversationId>>,
}

#[derive(Debug, Clone)]
struct Entry {
    conversation: Conversation,
    members: BTreeMap<UserId, Member>,
    settings: HashMap<UserId, MemberSettings>,
}

/// What a change did, before its events are written.
#[derive(Debug, Default)]
struct Effects {
    members: Vec<Member>,
    events: Vec<Event>,
}

impl MemoryConversations {
    /// No conversations yet.
    pub fn new(clock: Arc<dyn Clock>, outbox: Arc<MemoryOutbox>) -> Self {
        Self { clock, outbox, state: RwLock::default() }
    }
}

impl Entry {
    fn new(new: &NewConversation, now: Timestamp) -> Result<Self> {
        let members: BTreeMap<_, _> = new
            .members
            .iter()
            .map(|member| (member.user.clone(), joined(member, Seq::ZERO, 1, now)))
            .collect();
        if members.len() > new.max_members as usize {
            return Err(Error::new(Code::MemberLimit).with("max", new.max_members));
        }
        let conversation = Conversation {
            id: new.id.clone(),
            kind: new.kind,
            name: new.name.clone(),
            avatar: new.avatar.clone(),
            created_by: new.created_by.clone(),
            created_at: now,
            member_count: count(&members),
            max_members: new.max_members,
            version: 1,
            last_activity: LastActivity { at: now, seq: Seq::ZERO, message_id: None },
        };
        Ok(Self { conversation, members, settings: HashMap::new() })
    }

    /// Whether `new` asks for what is here already.
    fn is(&self, new: &NewConversation) -> bool {
        let here = &self.conversation;
        let same_people = || new.members.iter().all(|member| self.members.contains_key(&member.user));
        here.kind == new.kind
            && if here.kind == ConversationKind::Direct {
                same_people()
            } else {
                here.created_by == new.created_by
            }
    }

    /// A change for everybody: refused on a direct conversation.
    fn bump(&mut self) -> Result<u64> {
        if self.conversation.kind == ConversationKind::Direct {
            return Err(Error::invalid(Code::ConversationInvalid, "a direct conversation stays as it is"));
        }
        self.conversation.version += 1;
        Ok(self.conversation.version)
    }

    fn total(&self) -> u64 {
        self.members.len() as u64
    }

    /// Refuses to take the last admin's role while others are in.
    fn check_last_admin(&self, user: &UserId) -> Result<()> {
        let others = self.members.values().filter(|member| member.user_id != *user);
        let is_admin = self.members.get(user).is_some_and(|member| member.role == RoomRole::Admin);
        let mut others = others.peekable();
        let last =
            is_admin && others.peek().is_some() && !others.any(|member| member.role == RoomRole::Admin);
        if last { Err(Code::MemberLastAdmin.into()) } else { Ok(()) }
    }

    fn remove(&mut self, user: &UserId) -> Result<Option<(Member, u64)>> {
        if !self.members.contains_key(user) {
            return Ok(None);
        }
        self.check_last_admin(user)?;
        let version = self.bump()?;
        self.settings.remove(user);
        let gone = self.members.remove(user);
        self.conversation.member_count = count(&self.members);
        Ok(gone.map(|mut member| {
            member.version = version;
            (member, version)
        }))
    }

    fn set<T: PartialEq>(
        &mut self,
        user: &UserId,
        field: impl FnOnce(&mut MemberSettings) -> &mut T,
        value: T,
    ) -> Result<bool> {
        if !self.members.contains_key(user) {
            return Err(Code::RoomNotMember.into());
        }
        let field = field(self.settings.entry(user.clone()).or_default());
        let changed = *field != value;
        *field = value;
        Ok(changed)
    }

    fn apply(&mut self, by: &UserId, change: &Change, now: Timestamp) -> Result<Effects> {
        let conversation_id = self.conversation.id.clone();
        let mut effects = Effects::default();
        match change {
            Change::Rename(name) => {
                check_name(name)?;
                let version = self.bump()?;
                if self.conversation.name.as_deref() == Some(name) {
                    return Ok(effects);
                }
                self.conversation.name = Some(name.clone());
                let (name, updated_by) = (name.clone(), by.clone());
                effects
                    .events
                    .push(ConversationNameUpdated { conversation_id, name, updated_by, version }.into());
            }
            Change::SetAvatar(avatar) => {
                avatar.as_deref().map_or(Ok(()), check_avatar)?;
                let version = self.bump()?;
                if self.conversation.avatar == *avatar {
                    return Ok(effects);
                }
                self.conversation.avatar.clone_from(avatar);
                let (avatar, updated_by) = (avatar.clone(), by.clone());
                effects
                    .events
                    .push(ConversationAvatarUpdated { conversation_id, avatar, updated_by, version }.into());
            }
            Change::Add { members, head } => self.add(by, members, *head, now, &mut effects)?,
            Change::Remove { user, name } => {
                let Some((member, version)) = self.remove(user)? else { return Ok(effects) };
                effects.events.push(
                    ParticipantRemoved {
                        conversation_id,
                        participant_id: user.clone(),
                        participant_name: name.clone(),
                        removed_by: by.clone(),
                        removed_at: now,
                        total_participants: self.total(),
                        version,
                    }
                    .into(),
                );
                effects.members.push(member);
            }
            Change::Leave { name } => {
                let Some((member, version)) = self.remove(by)? else { return Ok(effects) };
                effects.events.push(
                    ParticipantLeft {
                        conversation_id,
                        participant_id: by.clone(),
                        participant_name: name.clone(),
                        left_at: now,
                        total_participants: self.total(),
                        version,
                    }
                    .into(),
                );
                effects.members.push(member);
            }
            Change::SetRole { user, role } => {
                let known = self.members.get(user).ok_or_else(|| Error::new(Code::RoomNotMember))?.role;
                if known == *role {
                    return Ok(effects);
                }
                if *role < RoomRole::Admin {
                    self.check_last_admin(user)?;
                }
                let version = self.bump()?;
                let Some(member) = self.members.get_mut(user) else { return Ok(effects) };
                (member.role, member.version) = (*role, version);
                effects.members.push(member.clone());
                let (participant_id, changed_by) = (user.clone(), by.clone());
                let event = ParticipantRoleChanged {
                    conversation_id,
                    participant_id,
                    role: *role,
                    changed_by,
                    version,
                };
                effects.events.push(event.into());
            }
            Change::Archive(on) => {
                if self.set(by, |settings| &mut settings.archived, *on)? {
                    let user_id = by.clone();
                    effects.events.push(if *on {
                        ConversationArchived { conversation_id, user_id }.into()
                    } else {
                        ConversationUnarchived { conversation_id, user_id }.into()
                    });
                }
            }
            Change::Mute(mute) => {
                if self.set(by, |settings| &mut settings.muted, *mute)? {
                    let user_id = by.clone();
                    effects.events.push(match mute {
                        Some(Mute::Always) => {
                            ConversationMuted { conversation_id, user_id, until: None }.into()
                        }
                        Some(Mute::Until(until)) => {
                            ConversationMuted { conversation_id, user_id, until: Some(*until) }.into()
                        }
                        None => ConversationUnmuted { conversation_id, user_id }.into(),
                    });
                }
            }
            Change::Pin(on) => {
                if self.set(by, |settings| &mut settings.pinned, *on)? {
                    let user_id = by.clone();
                    effects.events.push(if *on {
                        ConversationPinned { conversation_id, user_id }.into()
                    } else {
                        ConversationUnpinned { conversation_id, user_id }.into()
                    });
                }
            }
        }
        Ok(effects)
    }

    fn add(
        &mut self,
        by: &UserId,
        new: &[NewMember],
        head: Seq,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<()> {
        for member in new {
            if self.members.contains_key(&member.user) {
                continue;
            }
            let version = self.bump()?;
            if self.members.len() >= self.conversation.max_members as usize {
                return Err(Error::new(Code::MemberLimit).with("max", self.conversation.max_members));
            }
            let joined = joined(member, head, version, now);
            self.members.insert(member.user.clone(), joined.clone());
            effects.members.push(joined);
            effects.events.push(
                ParticipantAdded {
                    conversation_id: self.conversation.id.clone(),
                    participant_id: member.user.clone(),
                    participant_name: member.name.clone(),
                    added_by: by.clone(),
                    role: member.role,
                    added_at: now,
                    total_participants: self.total(),
                    version,
                }
                .into(),
            );
        }
        self.conversation.member_count = count(&self.members);
        Ok(())
    }

    fn membership(&self, user: &UserId) -> Option<Membership> {
        Some(Membership {
            conversation: self.conversation.clone(),
            member: self.members.get(user)?.clone(),
            settings: self.settings.get(user).copied().unwrap_or_default(),
        })
    }
}

fn joined(member: &NewMember, head: Seq, version: u64, now: Timestamp) -> Member {
    Member { user_id: member.user.clone(), role: member.role, joined_at: now, joined_seq: head, version }
}

fn count(members: &BTreeMap<UserId, Member>) -> u32 {
    u32::try_from(members.len()).unwrap_or(u32::MAX)
}

/// Pinned first, then newest activity first, then by id.
fn rank(
    pinned: bool,
    at: Timestamp,
    id: &ConversationId,
) -> (Reverse<bool>, Reverse<Timestamp>, ConversationId) {
    (Reverse(pinned), Reverse(at), id.clone())
}

#[async_trait]
impl ConversationStore for MemoryConversations {
    async fn create(&self, new: &NewConversation) -> Result<Created> {
        new.name.as_deref().map_or(Ok(()), check_name)?;
        new.avatar.as_deref().map_or(Ok(()), check_avatar)?;
        let now = self.clock.now();
        let mut state = self.state.write();
        if let Some(known) = state.entries.get(&new.id) {
            if known.is(new) {
                return Ok(Created { conversation: known.conversation.clone(), created: false });
            }
            return Err(Code::Conflict.into());
        }
        let entry = Entry::new(new, now)?;
        let conversation = entry.conversation.clone();
        let event =
            ConversationCreated::new(&conversation, new.members.iter().map(|member| member.user.clone()));
        for user in entry.members.keys() {
            state.of_user.entry(user.clone()).or_default().insert(new.id.clone());
        }
        state.entries.insert(new.id.clone(), entry);
        self.outbox.write_change(new.id.as_str(), now, event);
        Ok(Created { conversation, created: true })
    }

    async fn get_many(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Conversation>>> {
        let state = self.state.read();
        Ok(conversations
            .iter()
            .map(|id| state.entries.get(id).map(|entry| entry.conversation.clone()))
            .collect())
    }

    async fn change(&self, id: &ConversationId, by: &UserId, change: &Change) -> Result<Changed> {
        let now = self.clock.now();
        let mut state = self.state.write();
        let State { entries, of_user } = &mut *state;
        let entry = entries.get_mut(id).ok_or_else(|| Error::new(Code::ConversationNotFound))?;
        let mut next = entry.clone();
        let effects = next.apply(by, change, now)?;
        let changed = !effects.events.is_empty();
        if changed {
            *entry = next;
        }
        for member in &effects.members {
            let of_user = of_user.entry(member.user_id.clone()).or_default();
            if entry.members.contains_key(&member.user_id) {
                of_user.insert(id.clone());
            } else {
                of_user.remove(id);
            }
        }
        for event in effects.events {
            self.outbox.write_change(id.as_str(), now, event);
        }
        Ok(Changed { conversation: entry.conversation.clone(), members: effects.members, changed })
    }

    async fn members_by_id(&self, id: &ConversationId, users: &[UserId]) -> Result<Vec<Option<Member>>> {
        let state = self.state.read();
        let entry = state.entries.get(id);
        Ok(users.iter().map(|user| entry.and_then(|entry| entry.members.get(user)).cloned()).collect())
    }

    async fn members(&self, id: &ConversationId, page: &Page<UserId>) -> Result<Paged<Member, UserId>> {
        page.check()?;
        let state = self.state.read();
        let entry = state.entries.get(id).ok_or_else(|| Error::new(Code::ConversationNotFound))?;
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let found = entry.members.range((from, Bound::Unbounded)).take(page.limit + 1);
        let found = found.map(|(_, member)| member.clone()).collect();
        Ok(Paged::from_surplus(found, page.limit, |member: &Member| member.user_id.clone()))
    }

    async fn first_members(
        &self,
        conversations: &[ConversationId],
        limit: usize,
    ) -> Result<Vec<Vec<Member>>> {
        check_limit(limit, 100)?;
        let state = self.state.read();
        let first =
            |id| state.entries.get(id).map(|entry| entry.members.values().take(limit).cloned().collect());
        Ok(conversations.iter().map(|id| first(id).unwrap_or_default()).collect())
    }

    async fn list(
        &self,
        user: &UserId,
        filter: &ConversationFilter,
        page: &Page<ConversationCursor>,
    ) -> Result<Paged<Membership, ConversationCursor>> {
        page.check()?;
        let state = self.state.read();
        let from = page.after.as_ref().map(|cursor| rank(cursor.pinned, cursor.at, &cursor.id));
        let ids = state.of_user.get(user).into_iter().flatten();
        let mut ranked: Vec<_> = ids
            .filter_map(|id| state.entries.get(id))
            .filter(|entry| filter.kind.is_none_or(|kind| entry.conversation.kind == kind))
            .filter_map(|entry| {
                let settings = entry.settings.get(user).copied().unwrap_or_default();
                let wanted = filter.archived.is_none_or(|archived| archived == settings.archived);
                let rank = rank(settings.pinned, entry.conversation.last_activity.at, &entry.conversation.id);
                let after = from.as_ref().is_none_or(|from| rank > *from);
                (wanted && after).then_some((rank, entry))
            })
            .collect();
        ranked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let found =
            ranked.into_iter().take(page.limit + 1).filter_map(|(_, entry)| entry.membership(user)).collect();
        Ok(Paged::from_surplus(found, page.limit, |last: &Membership| ConversationCursor {
            pinned: last.settings.pinned,
            at: last.conversation.last_activity.at,
            id: last.conversation.id.clone(),
        }))
    }

    async fn memberships(
        &self,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Membership>>> {
        let state = self.state.read();
        let of = |id| state.entries.get(id).and_then(|entry| entry.membership(user));
        Ok(conversations.iter().map(of).collect())
    }

    async fn touch_many(&self, activities: &[(ConversationId, LastActivity)]) -> Result<()> {
        let mut state = self.state.write();
        for (id, activity) in activities {
            if let Some(entry) = state.entries.get_mut(id)
                && activity.seq > entry.conversation.last_activity.seq
            {
                entry.conversation.last_activity = activity.clone();
            }
        }
        Ok(())
    }
}
