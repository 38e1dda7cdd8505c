//! The model of the `conversations` port: one row per conversation, with its members and what they keep for themselves.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::page::Page;
use chat_core::domain::{
    Conversation, ConversationId, ConversationKind, LastActivity, Member, MemberSettings, Mute, RoomRole,
    Seq, UserId,
};
use chat_core::error::Code;
use chat_core::event::{
    ConversationArchived, ConversationAvatarUpdated, ConversationCreated, ConversationMuted,
    ConversationNameUpdated, ConversationPinned, ConversationUnarchived, ConversationUnmuted,
    ConversationUnpinned, Event, ParticipantAdded, ParticipantLeft, ParticipantRemoved,
    ParticipantRoleChanged,
};
use chat_core::store::conversations::{
    Change, ConversationFilter, Created, Membership, NewConversation, NewMember,
};
use chat_core::store::{ConversationStore, Outbox};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, holds, one_of, play_histories, same};
use crate::expect::events;
use crate::walk::walk;
use crate::{Offer, sample};

const CONVERSATIONS: [&str; 3] = ["c", "c:c", "d"];
const USERS: [&str; 4] = ["ann", "ben", "an", "eve"];
const NAMES: [&str; 2] = ["One", "Another"];
const ROLES: [RoomRole; 3] = RoomRole::ALL;
const KINDS: [ConversationKind; 3] =
    [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Channel];

/// What a user keeps for itself.
#[derive(Debug, Clone, Copy)]
enum Own {
    Archive(bool),
    Mute(Option<u64>),
    Pin(bool),
}

#[derive(Debug, Clone)]
enum Operation {
    Create { conversation: usize, kind: usize, members: Vec<(usize, usize)>, max: u32 },
    Rename { conversation: usize, by: usize, name: usize },
    SetAvatar { conversation: usize, by: usize, avatar: Option<usize> },
    Add { conversation: usize, by: usize, members: Vec<(usize, usize)>, head: u64 },
    Remove { conversation: usize, by: usize, user: usize },
    Leave { conversation: usize, by: usize },
    SetRole { conversation: usize, by: usize, user: usize, role: usize },
    Keep { conversation: usize, by: usize, own: Own },
    Touch { conversation: usize, seq: u64 },
    Members { conversation: usize, limit: usize },
    Active { seconds: u64, limit: usize },
    List { user: usize, archived: Option<bool>, kind: Option<usize>, limit: usize },
    Look,
    Wait,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let conversation = || one_of(CONVERSATIONS.len());
    let user = || one_of(USERS.len());
    let members = |most: usize| vec((user(), one_of(ROLES.len())), 1..=most);
    let limit = || select(&[1_usize, 2, 1_000][..]);
    let own = prop_oneof![
        any::<bool>().prop_map(Own::Archive),
        of(0_u64..3).prop_map(Own::Mute),
        any::<bool>().prop_map(Own::Pin),
    ];
    let create = (conversation(), one_of(KINDS.len()), members(3), 1_u32..5);
    prop_oneof![
        4 => create.prop_map(|(conversation, kind, members, max)| Create { conversation, kind, members, max }),
        1 => (conversation(), user(), one_of(NAMES.len()))
            .prop_map(|(conversation, by, name)| Rename { conversation, by, name }),
        1 => (conversation(), user(), of(one_of(NAMES.len())))
            .prop_map(|(conversation, by, avatar)| SetAvatar { conversation, by, avatar }),
        3 => (conversation(), user(), members(3), 0_u64..5)
            .prop_map(|(conversation, by, members, head)| Add { conversation, by, members, head }),
        2 => (conversation(), user(), user())
            .prop_map(|(conversation, by, user)| Remove { conversation, by, user }),
        2 => (conversation(), user()).prop_map(|(conversation, by)| Leave { conversation, by }),
        2 => (conversation(), user(), user(), one_of(ROLES.len()))
            .prop_map(|(conversation, by, user, role)| SetRole { conversation, by, user, role }),
        4 => (conversation(), user(), own).prop_map(|(conversation, by, own)| Keep { conversation, by, own }),
        2 => (conversation(), 0_u64..6).prop_map(|(conversation, seq)| Touch { conversation, seq }),
        1 => (conversation(), limit()).prop_map(|(conversation, limit)| Members { conversation, limit }),
        3 => (user(), of(any::<bool>()), of(one_of(KINDS.len())), limit())
            .prop_map(|(user, archived, kind, limit)| List { user, archived, kind, limit }),
        2 => (0_u64..4, limit()).prop_map(|(seconds, limit)| Active { seconds, limit }),
        1 => Just(Look),
        2 => Just(Wait),
    ]
}

#[derive(Debug, Clone)]
struct Row {
    conversation: Conversation,
    members: BTreeMap<UserId, Member>,
    settings: BTreeMap<UserId, MemberSettings>,
}

/// What a change did: whether it did anything, and to whom.
type Done = (bool, Vec<UserId>);

#[derive(Debug, Default)]
struct Model {
    rows: BTreeMap<ConversationId, Row>,
    written: Vec<Event>,
}

impl Row {
    fn is_direct(&self) -> bool {
        self.conversation.kind == ConversationKind::Direct
    }

    /// A change for everybody; a direct conversation takes none.
    fn raise(&mut self) -> Result<u64, Code> {
        if self.is_direct() {
            return Err(Code::ConversationInvalid);
        }
        self.conversation.version += 1;
        Ok(self.conversation.version)
    }

    fn counted(&mut self) -> u64 {
        self.conversation.member_count = u32::try_from(self.members.len()).expect("a few members");
        self.members.len() as u64
    }

    fn is_last_admin(&self, user: &UserId) -> bool {
        let is_admin = |member: &Member| member.role == RoomRole::Admin;
        self.members.get(user).is_some_and(is_admin)
            && self.members.len() > 1
            && self.members.values().filter(|member| is_admin(member)).count() == 1
    }

    fn kept(&self, user: &UserId) -> MemberSettings {
        self.settings.get(user).copied().unwrap_or_default()
    }
}

impl Model {
    fn create(&mut self, new: &NewConversation, now: Timestamp) -> Result<bool, Code> {
        let mut members = BTreeMap::new();
        for NewMember { user, role, .. } in &new.members {
            let member = Member {
                user_id: user.clone(),
                role: *role,
                joined_at: now,
                joined_seq: Seq::ZERO,
                version: 1,
            };
            members.insert(user.clone(), member);
        }
        if let Some(row) = self.rows.get(&new.id) {
            let same_people = row.members.keys().eq(members.keys());
            let same_maker = row.conversation.created_by == new.created_by;
            let same =
                row.conversation.kind == new.kind && if row.is_direct() { same_people } else { same_maker };
            return if same { Ok(false) } else { Err(Code::Conflict) };
        }
        if members.len() > new.max_members as usize {
            return Err(Code::MemberLimit);
        }
        let conversation = Conversation {
            id: new.id.clone(),
            kind: new.kind,
            name: new.name.clone(),
            avatar: new.avatar.clone(),
            created_by: new.created_by.clone(),
            created_at: now,
            member_count: u32::try_from(members.len()).expect("a few members"),
            max_members: new.max_members,
            version: 1,
            last_activity: LastActivity { at: now, seq: Seq::ZERO, message_id: None },
        };
        self.written.push(ConversationCreated::new(&conversation, members.keys().cloned()).into());
        self.rows.insert(new.id.clone(), Row { conversation, members, settings: BTreeMap::new() });
        Ok(true)
    }

    fn change(
        &mut self,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
        now: Timestamp,
    ) -> Result<Done, Code> {
        let mut row = self.rows.get(id).cloned().ok_or(Code::ConversationNotFound)?;
        let mut written = Vec::new();
        let members = Self::apply(&mut row, by, change, now, &mut written)?;
        let changed = !written.is_empty();
        if changed {
            self.rows.insert(id.clone(), row);
            self.written.extend(written);
        }
        Ok((changed, members))
    }

    fn apply(
        row: &mut Row,
        by: &UserId,
        change: &Change,
        now: Timestamp,
        written: &mut Vec<Event>,
    ) -> Result<Vec<UserId>, Code> {
        let conversation_id = row.conversation.id.clone();
        let (user_id, updated_by) = (by.clone(), by.clone());
        match change {
            Change::Rename(name) => {
                let version = row.raise()?;
                if row.conversation.name.replace(name.clone()).as_ref() != Some(name) {
                    let name = name.clone();
                    written
                        .push(ConversationNameUpdated { conversation_id, name, updated_by, version }.into());
                }
            }
            Change::SetAvatar(avatar) => {
                let version = row.raise()?;
                if row.conversation.avatar != *avatar {
                    row.conversation.avatar.clone_from(avatar);
                    let avatar = avatar.clone();
                    written.push(
                        ConversationAvatarUpdated { conversation_id, avatar, updated_by, version }.into(),
                    );
                }
            }
            Change::Add { members, head } => return Self::add(row, by, members, *head, now, written),
            Change::Remove { user, name } => {
                let Some((total_participants, version)) = Self::take_out(row, user)? else {
                    return Ok(Vec::new());
                };
                written.push(
                    ParticipantRemoved {
                        conversation_id,
                        participant_id: user.clone(),
                        participant_name: name.clone(),
                        removed_by: by.clone(),
                        removed_at: now,
                        total_participants,
                        version,
                    }
                    .into(),
                );
                return Ok(vec![user.clone()]);
            }
            Change::Leave { name } => {
                let Some((total_participants, version)) = Self::take_out(row, by)? else {
                    return Ok(Vec::new());
                };
                written.push(
                    ParticipantLeft {
                        conversation_id,
                        participant_id: by.clone(),
                        participant_name: name.clone(),
                        left_at: now,
                        total_participants,
                        version,
                    }
                    .into(),
                );
                return Ok(vec![by.clone()]);
            }
            Change::SetRole { user, role } => {
                let Some(member) = row.members.get(user) else { return Err(Code::RoomNotMember) };
                if member.role == *role {
                    return Ok(Vec::new());
                }
                if row.is_last_admin(user) {
                    return Err(Code::MemberLastAdmin);
                }
                let version = row.raise()?;
                row.members
                    .entry(user.clone())
                    .and_modify(|member| (member.role, member.version) = (*role, version));
                let (participant_id, changed_by) = (user.clone(), by.clone());
                let event = ParticipantRoleChanged {
                    conversation_id,
                    participant_id,
                    role: *role,
                    changed_by,
                    version,
                };
                written.push(event.into());
                return Ok(vec![user.clone()]);
            }
            Change::Archive(_) | Change::Mute(_) | Change::Pin(_) => {
                if !row.members.contains_key(by) {
                    return Err(Code::RoomNotMember);
                }
                let before = row.kept(by);
                let after = match change {
                    Change::Archive(on) => MemberSettings { archived: *on, ..before },
                    Change::Mute(mute) => MemberSettings { muted: *mute, ..before },
                    Change::Pin(on) => MemberSettings { pinned: *on, ..before },
                    _ => before,
                };
                row.settings.insert(by.clone(), after);
                let until = match after.muted {
                    Some(Mute::Until(until)) => Some(until),
                    _ => None,
                };
                let event: Event = match change {
                    Change::Archive(true) => ConversationArchived { conversation_id, user_id }.into(),
                    Change::Archive(false) => ConversationUnarchived { conversation_id, user_id }.into(),
                    Change::Mute(Some(_)) => ConversationMuted { conversation_id, user_id, until }.into(),
                    Change::Mute(None) => ConversationUnmuted { conversation_id, user_id }.into(),
                    Change::Pin(true) => ConversationPinned { conversation_id, user_id }.into(),
                    _ => ConversationUnpinned { conversation_id, user_id }.into(),
                };
                written.extend((after != before).then_some(event));
            }
        }
        Ok(Vec::new())
    }

    fn add(
        row: &mut Row,
        by: &UserId,
        members: &[NewMember],
        head: Seq,
        now: Timestamp,
        written: &mut Vec<Event>,
    ) -> Result<Vec<UserId>, Code> {
        let mut added = Vec::new();
        for new in members {
            if row.members.contains_key(&new.user) {
                continue;
            }
            let version = row.raise()?;
            if row.members.len() >= row.conversation.max_members as usize {
                return Err(Code::MemberLimit);
            }
            let member = Member {
                user_id: new.user.clone(),
                role: new.role,
                joined_at: now,
                joined_seq: head,
                version,
            };
            row.members.insert(new.user.clone(), member);
            added.push(new.user.clone());
            written.push(
                ParticipantAdded {
                    conversation_id: row.conversation.id.clone(),
                    participant_id: new.user.clone(),
                    participant_name: new.name.clone(),
                    added_by: by.clone(),
                    role: new.role,
                    added_at: now,
                    total_participants: row.counted(),
                    version,
                }
                .into(),
            );
        }
        Ok(added)
    }

    /// How many are left, and in which version; `None` when the user was not in.
    fn take_out(row: &mut Row, user: &UserId) -> Result<Option<(u64, u64)>, Code> {
        if !row.members.contains_key(user) {
            return Ok(None);
        }
        if !row.is_direct() && row.is_last_admin(user) {
            return Err(Code::MemberLastAdmin);
        }
        let version = row.raise()?;
        row.members.remove(user);
        row.settings.remove(user);
        Ok(Some((row.counted(), version)))
    }

    fn touch(&mut self, id: &ConversationId, activity: &LastActivity) {
        if let Some(row) = self.rows.get_mut(id)
            && activity.seq > row.conversation.last_activity.seq
        {
            row.conversation.last_activity = activity.clone();
        }
    }

    fn membership(&self, user: &UserId, id: &ConversationId) -> Option<Membership> {
        let row = self.rows.get(id)?;
        let (conversation, settings) = (row.conversation.clone(), row.kept(user));
        Some(Membership { conversation, member: row.members.get(user)?.clone(), settings })
    }
}

struct Game {
    store: Arc<dyn ConversationStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
    model: Model,
}

fn conversation(nth: usize) -> ConversationId {
    sample::conversation(CONVERSATIONS[nth])
}

fn user(nth: usize) -> UserId {
    sample::user(USERS[nth])
}

fn newcomers(members: &[(usize, usize)]) -> Vec<NewMember> {
    members.iter().map(|(user, role)| sample::member(USERS[*user], ROLES[*role])).collect()
}

impl Game {
    async fn change(
        &mut self,
        asked: &(dyn Debug + Sync),
        id: usize,
        by: usize,
        change: Change,
    ) -> Agreement {
        let (id, by) = (conversation(id), user(by));
        let answer = self.store.change(&id, &by, &change).await.map_err(|error| error.code());
        let expected = self.model.change(&id, &by, &change, self.clock.now());
        let (answer, (changed, members)) = match (answer, expected) {
            (Ok(answer), Ok(expected)) => (answer, expected),
            (answer, expected) => {
                let answer = answer.map(|answer| answer.changed);
                return same(asked, &answer, &expected.map(|(changed, _)| changed));
            }
        };
        let row = &self.model.rows[&id];
        same(asked, &(answer.changed, &answer.conversation), &(changed, &row.conversation))?;
        same(asked, &answer.members.iter().map(|member| member.user_id.clone()).collect(), &members)?;
        for member in answer.members.iter().filter(|member| row.members.contains_key(&member.user_id)) {
            same(asked, member, &row.members[&member.user_id])?;
        }
        Ok(())
    }

    async fn step(&mut self, operation: &Operation) -> Agreement {
        let (asked, now) = (operation as &(dyn Debug + Sync), self.clock.now());
        match operation {
            Operation::Create { conversation: id, kind, members, max } => {
                let mut members = newcomers(members);
                // The same one twice is nobody's intention.
                let mut seen = std::collections::BTreeSet::new();
                members.retain(|member| seen.insert(member.user.clone()));
                if KINDS[*kind] == ConversationKind::Direct {
                    members.iter_mut().for_each(|member| member.role = RoomRole::Member);
                }
                let new = NewConversation {
                    id: conversation(*id),
                    kind: KINDS[*kind],
                    name: Some(NAMES[0].to_owned()),
                    avatar: None,
                    created_by: members[0].user.clone(),
                    members,
                    max_members: *max,
                };
                // Whether fewer people than there are are the same people, nobody says.
                if let Some(row) = self.model.rows.get(&new.id)
                    && row.is_direct()
                    && new.members.len() < row.members.len()
                {
                    return Ok(());
                }
                let answer = self.store.create(&new).await.map_err(|error| error.code());
                let expected = self.model.create(&new, now).map(|created| {
                    let conversation = self.model.rows[&new.id].conversation.clone();
                    Created { conversation, created }
                });
                same(asked, &answer, &expected)
            }
            Operation::Rename { conversation, by, name } => {
                self.change(asked, *conversation, *by, Change::Rename(NAMES[*name].to_owned())).await
            }
            Operation::SetAvatar { conversation, by, avatar } => {
                let avatar = avatar.map(|avatar| format!("https://pictures.invalid/{avatar}"));
                self.change(asked, *conversation, *by, Change::SetAvatar(avatar)).await
            }
            Operation::Add { conversation, by, members, head } => {
                let change = Change::Add { members: newcomers(members), head: Seq(*head) };
                self.change(asked, *conversation, *by, change).await
            }
            Operation::Remove { conversation, by, user: gone } => {
                let change = Change::Remove { user: user(*gone), name: None };
                self.change(asked, *conversation, *by, change).await
            }
            Operation::Leave { conversation, by } => {
                self.change(asked, *conversation, *by, Change::Leave { name: Some("One of us".to_owned()) })
                    .await
            }
            Operation::SetRole { conversation, by, user: whom, role } => {
                let change = Change::SetRole { user: user(*whom), role: ROLES[*role] };
                self.change(asked, *conversation, *by, change).await
            }
            Operation::Keep { conversation, by, own } => {
                let change = match own {
                    Own::Archive(on) => Change::Archive(*on),
                    Own::Mute(None) => Change::Mute(None),
                    Own::Mute(Some(0)) => Change::Mute(Some(Mute::Always)),
                    Own::Mute(Some(hours)) => {
                        let until = Timestamp::from_millis(4_000_000_000_000 + hours * 3_600_000);
                        Change::Mute(Some(Mute::Until(until)))
                    }
                    Own::Pin(on) => Change::Pin(*on),
                };
                self.change(asked, *conversation, *by, change).await
            }
            Operation::Touch { conversation: id, seq } => {
                let message_id = Some(sample::message(&format!("m{seq}")));
                let activity = (conversation(*id), LastActivity { at: now, seq: Seq(*seq), message_id });
                self.store.touch_many(std::slice::from_ref(&activity)).await.unwrap();
                self.model.touch(&activity.0, &activity.1);
                Ok(())
            }
            Operation::Members { conversation: id, limit } => {
                let (store, id) = (&self.store, conversation(*id));
                let Some(row) = self.model.rows.get(&id) else {
                    let answer = store.members(&id, &Page::first(*limit)).await.map_err(|error| error.code());
                    return same(asked, &answer.map(|page| page.items), &Err(Code::ConversationNotFound));
                };
                let (id, first) =
                    (&id, store.first_members(std::slice::from_ref(&id), (*limit).min(100)).await.unwrap());
                let found = walk(*limit, |page| async move { store.members(id, &page).await }).await;
                same(asked, &found, &row.members.values().cloned().collect())?;
                same(asked, &first, &vec![found.into_iter().take((*limit).min(100)).collect::<Vec<_>>()])
            }
            Operation::Active { seconds, limit } => {
                let (store, since) = (&self.store, now.before(Duration::from_secs(*seconds)));
                let found = walk(*limit, |page| async move { store.active(since, &page).await }).await;
                let all = self.model.rows.values().map(|row| row.conversation.clone());
                let mut expected: Vec<_> = all
                    .filter(|one| one.last_activity.message_id.is_some() && one.last_activity.at >= since)
                    .collect();
                // Those of one moment stay in the order of their ids.
                expected.sort_by_key(|one| std::cmp::Reverse(one.last_activity.at));
                same(asked, &found, &expected)
            }
            Operation::List { user: whose, archived, kind, limit } => {
                let (store, whose) = (&self.store, &user(*whose));
                let filter = &ConversationFilter { archived: *archived, kind: kind.map(|kind| KINDS[kind]) };
                let mut found =
                    walk(*limit, |page| async move { store.list(whose, filter, &page).await }).await;
                let rank = |mine: &Membership| {
                    std::cmp::Reverse((mine.settings.pinned, mine.conversation.last_activity.at))
                };
                let in_order = found.is_sorted_by_key(rank);
                holds(in_order, asked, || format!("pinned first, then the newest: {found:?}"))?;
                // Those of one moment come in an order of the backend's own.
                found.sort_by(|one, other| one.conversation.id.cmp(&other.conversation.id));
                let all = self.model.rows.keys().filter_map(|id| self.model.membership(whose, id));
                let wanted = all.filter(|mine| {
                    filter.kind.is_none_or(|kind| kind == mine.conversation.kind)
                        && filter.archived.is_none_or(|archived| archived == mine.settings.archived)
                });
                same(asked, &found, &wanted.collect())
            }
            Operation::Look => self.look(asked).await,
            Operation::Wait => {
                self.clock.advance(Duration::from_secs(1));
                Ok(())
            }
        }
    }

    async fn look(&self, asked: &(dyn Debug + Sync)) -> Agreement {
        let ids: Vec<_> =
            (0..CONVERSATIONS.len()).map(conversation).chain([sample::conversation("nowhere")]).collect();
        let found = self.store.get_many(&ids).await.unwrap();
        let expected = ids.iter().map(|id| self.model.rows.get(id).map(|row| row.conversation.clone()));
        same(asked, &found, &expected.collect())?;
        let users: Vec<_> = (0..USERS.len()).map(user).collect();
        for user in &users {
            let mine = self.store.memberships(user, &ids).await.unwrap();
            same(asked, &mine, &ids.iter().map(|id| self.model.membership(user, id)).collect())?;
        }
        for id in &ids {
            let members = self.store.members_by_id(id, &users).await.unwrap();
            let row = self.model.rows.get(id);
            let expected = users.iter().map(|user| row.and_then(|row| row.members.get(user)).cloned());
            same(asked, &members, &expected.collect())?;
        }
        Ok(())
    }
}

/// An event whose participants are in a known order: nobody says in which they are named.
fn sorted(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::ConversationCreated(created) = &mut event {
        created.participants.sort();
    }
    event
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let store = offer.conversations.clone().expect("conversations");
    let outbox = offer.outbox.clone().expect("an outbox");
    let mut game = Game { store, outbox, clock: offer.clock.clone(), model: Model::default() };
    for operation in &history {
        game.step(operation).await?;
    }
    game.look(&"what there is in the end").await?;
    let written = events(&*game.outbox).await;
    for key in CONVERSATIONS {
        let of_key = |events: &[Event]| {
            events.iter().filter(|event| event.key() == key).map(sorted).collect::<Vec<_>>()
        };
        same(&"the events written", &of_key(&written), &of_key(&game.model.written))?;
    }
    same(&"how many events were written", &written.len(), &game.model.written.len())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
