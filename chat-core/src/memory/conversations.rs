//! [`ConversationStore`] in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use super::MemoryOutbox;
use crate::clock::{Clock, Timestamp};
use crate::domain::page::{Page, Paged, check_limit};
use crate::domain::{Conversation, ConversationId, LastActivity, Member, MemberSettings, RoomRole, UserId};
use crate::error::{Code, Error, Result};
use crate::store::ConversationStore;
use crate::store::conversations::rules::{Effect, Outcome, Standing};
use crate::store::conversations::{
    ActivityCursor, Change, Changed, ConversationCursor, ConversationFilter, Created, Membership,
    NewConversation,
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

impl MemoryConversations {
    /// No conversations yet.
    pub fn new(clock: Arc<dyn Clock>, outbox: Arc<MemoryOutbox>) -> Self {
        Self { clock, outbox, state: RwLock::default() }
    }
}

impl Entry {
    /// What decides about a change.
    fn standing(&self, by: &UserId, change: &Change) -> Standing {
        let concerned = change.concerns(by).into_iter().filter_map(|user| self.members.get(user));
        let is_admin = |member: &&Member| member.role == RoomRole::Admin;
        let admins = self.members.values().filter(is_admin).count();
        Standing {
            conversation: self.conversation.clone(),
            admins: u32::try_from(admins).unwrap_or(u32::MAX),
            members: concerned.map(|member| (member.user_id.clone(), member.clone())).collect(),
            settings: self.settings.get(by).copied().unwrap_or_default(),
        }
    }

    fn membership(&self, user: &UserId) -> Option<Membership> {
        Some(Membership {
            conversation: self.conversation.clone(),
            member: self.members.get(user)?.clone(),
            settings: self.settings.get(user).copied().unwrap_or_default(),
        })
    }

    /// Where it stands in the list of a user.
    fn cursor(&self, settings: MemberSettings) -> ConversationCursor {
        let Conversation { id, last_activity, .. } = &self.conversation;
        ConversationCursor { pinned: settings.pinned, at: last_activity.at, id: id.clone() }
    }
}

#[async_trait]
impl ConversationStore for MemoryConversations {
    async fn create(&self, new: &NewConversation) -> Result<Created> {
        new.check()?;
        let now = self.clock.now();
        let mut state = self.state.write();
        if let Some(Entry { conversation, members, .. }) = state.entries.get(&new.id) {
            if new.is_again(conversation, |user| members.contains_key(user)) {
                return Ok(Created { conversation: conversation.clone(), created: false });
            }
            return Err(Code::Conflict.into());
        }
        let (conversation, members, event) = new.begin(now)?;
        for member in &members {
            state.of_user.entry(member.user_id.clone()).or_default().insert(new.id.clone());
        }
        let members = members.into_iter().map(|member| (member.user_id.clone(), member)).collect();
        let entry = Entry { conversation: conversation.clone(), members, settings: HashMap::new() };
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
        let Outcome { conversation, effect, events, .. } =
            change.decide(entry.standing(by, change), by, now)?;
        entry.conversation = conversation.clone();
        match &effect {
            Effect::None => {}
            Effect::In(members) => {
                for member in members {
                    of_user.entry(member.user_id.clone()).or_default().insert(id.clone());
                    entry.members.insert(member.user_id.clone(), member.clone());
                }
            }
            Effect::Out(Member { user_id, .. }) => {
                entry.members.remove(user_id);
                entry.settings.remove(user_id);
                of_user.entry(user_id.clone()).or_default().remove(id);
            }
            Effect::Role(member) => {
                entry.members.insert(member.user_id.clone(), member.clone());
            }
            Effect::Own(settings) => {
                entry.settings.insert(by.clone(), *settings);
            }
        }
        let changed = !events.is_empty();
        for event in events {
            self.outbox.write_change(id.as_str(), now, event);
        }
        Ok(Changed { conversation, members: effect.into_members(), changed })
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
        let ids = state.of_user.get(user).into_iter().flatten();
        let mut ranked: Vec<_> = ids
            .filter_map(|id| state.entries.get(id))
            .filter_map(|entry| {
                let settings = entry.settings.get(user).copied().unwrap_or_default();
                let cursor = entry.cursor(settings);
                let is_after = page.after.as_ref().is_none_or(|after| cursor > *after);
                let is_wanted = filter.admits(entry.conversation.kind, settings.archived);
                (is_after && is_wanted).then_some((cursor, entry))
            })
            .collect();
        ranked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let ranked = ranked.into_iter().take(page.limit + 1);
        let found = ranked.filter_map(|(cursor, entry)| Some((cursor, entry.membership(user)?))).collect();
        let page =
            Paged::from_surplus(found, page.limit, |(cursor, _): &(ConversationCursor, _)| cursor.clone());
        Ok(page.map(|(_, membership)| membership))
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

    async fn active(
        &self,
        since: Timestamp,
        page: &Page<ActivityCursor>,
    ) -> Result<Paged<Conversation, ActivityCursor>> {
        page.check()?;
        let state = self.state.read();
        let mut ranked: Vec<_> = state
            .entries
            .values()
            .filter_map(|entry| Some((ActivityCursor::of(&entry.conversation, since)?, entry)))
            .filter(|(cursor, _)| page.after.as_ref().is_none_or(|after| cursor > after))
            .collect();
        ranked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let ranked = ranked.into_iter().take(page.limit + 1);
        let found = ranked.map(|(cursor, entry)| (cursor, entry.conversation.clone())).collect();
        let page = Paged::from_surplus(found, page.limit, |(cursor, _): &(ActivityCursor, _)| cursor.clone());
        Ok(page.map(|(_, conversation)| conversation))
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
