//! [`RoomStore`] in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::{Ref, RefMut};
use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::domain::page::{Page, Paged};
use crate::domain::{RoomId, RoomRole, UserId};
use crate::error::{Code, Error, Result};
use crate::store::rooms::{
    NewRoom, REMOVAL_MEMORY, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomPeak, RoomState,
    RoomStats,
};
use crate::store::{PresenceStore, RoomStore};

/// How many removed members are remembered in all rooms together: those removed last.
const MAX_REMOVALS: usize = 1_000_000;
/// How often a question about who is online starts over because members changed meanwhile.
const MAX_TRIES: usize = 64;

/// Live rooms in this process; a restart loses them.
///
/// What is kept is the rooms that were created and not deleted, their members, and the members removed within the
/// last [`REMOVAL_MEMORY`] with a version, up to a million in all rooms together.
///
/// A page of online members costs one question about all members, because it tells of one instant. When members come
/// and go faster than presence can answer, it tells of the members and the presence of two instants close together.
pub struct MemoryRooms {
    clock: Arc<dyn Clock>,
    presence: Arc<dyn PresenceStore>,
    /// Locked before the others.
    rooms: DashMap<RoomId, Live>,
    rooms_of: DashMap<UserId, BTreeSet<RoomId>>,
    ages: Mutex<Ages>,
    removals: Mutex<BTreeSet<(Timestamp, RoomId, UserId)>>,
    revisions: AtomicU64,
}

/// One room.
struct Live {
    kind: String,
    name: Option<String>,
    max_members: Option<u32>,
    members: BTreeMap<UserId, Seat>,
    removed: HashMap<UserId, Removed>,
    /// The members' ids, once asked for.
    ids: Option<Arc<[UserId]>>,
    /// Differs after every change of the members, also from that of an earlier room of this id.
    revision: u64,
    state: RoomState,
    created_at: Timestamp,
    last_activity: Timestamp,
    /// Where it stands among the rooms of its state: never after its last activity.
    aged_from: Timestamp,
    peak: RoomPeak,
}

#[derive(Clone, Copy)]
struct Seat {
    role: RoomRole,
    joined_at: Timestamp,
    version: u64,
}

#[derive(Clone, Copy)]
struct Removed {
    version: u64,
    until: Timestamp,
}

/// The members of a room and which of them are online, at one instant.
struct Seen {
    revision: u64,
    ids: Arc<[UserId]>,
    online: Vec<bool>,
}

impl MemoryRooms {
    /// No rooms yet; `presence` says who is online.
    pub fn new(clock: Arc<dyn Clock>, presence: Arc<dyn PresenceStore>) -> Self {
        Self {
            clock,
            presence,
            rooms: DashMap::new(),
            rooms_of: DashMap::new(),
            ages: Mutex::default(),
            removals: Mutex::default(),
            revisions: AtomicU64::new(0),
        }
    }

    fn room(&self, room: &RoomId) -> Result<Ref<'_, RoomId, Live>> {
        self.rooms.get(room).ok_or_else(|| unknown(room))
    }

    fn room_mut(&self, room: &RoomId) -> Result<RefMut<'_, RoomId, Live>> {
        self.rooms.get_mut(room).ok_or_else(|| unknown(room))
    }

    fn next_revision(&self) -> u64 {
        self.revisions.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self, new: &NewRoom, now: Timestamp) -> Live {
        Live {
            kind: new.kind.clone(),
            name: new.name.clone(),
            max_members: new.max_members,
            members: BTreeMap::new(),
            removed: HashMap::new(),
            ids: None,
            revision: self.next_revision(),
            state: RoomState::Active,
            created_at: now,
            last_activity: now,
            aged_from: now,
            peak: RoomPeak::default(),
        }
    }

    fn change(&self, id: &RoomId, room: &mut Live, change: &RoomChange, now: Timestamp) -> RoomChanged {
        let known = room.version_of(&change.user, now);
        if change.version != 0 && change.version < known {
            return RoomChanged::Outdated;
        }
        let version = change.version.max(known);
        match change.role {
            Some(role) => self.seat(id, room, &change.user, role, version, now),
            None => self.unseat(id, room, &change.user, version, now),
        }
    }

    fn seat(
        &self,
        id: &RoomId,
        room: &mut Live,
        user: &UserId,
        role: RoomRole,
        version: u64,
        now: Timestamp,
    ) -> RoomChanged {
        if let Some(seat) = room.members.get_mut(user) {
            let before = std::mem::replace(&mut seat.role, role);
            seat.version = version;
            return if before == role { RoomChanged::Unchanged } else { RoomChanged::Changed };
        }
        if room.is_full() {
            return RoomChanged::Full;
        }
        if let Some(removed) = room.removed.remove(user) {
            self.removals.lock().remove(&(removed.until, id.clone(), user.clone()));
        }
        room.members.insert(user.clone(), Seat { role, joined_at: now, version });
        self.rooms_of.entry(user.clone()).or_default().insert(id.clone());
        RoomChanged::Changed
    }

    fn unseat(
        &self,
        id: &RoomId,
        room: &mut Live,
        user: &UserId,
        version: u64,
        now: Timestamp,
    ) -> RoomChanged {
        let was_member = room.members.remove(user).is_some();
        if was_member {
            self.unlist(user, id);
        }
        if version > 0 {
            let until = now.after(REMOVAL_MEMORY);
            let before = room.removed.insert(user.clone(), Removed { version, until });
            let mut removals = self.removals.lock();
            if let Some(before) = before {
                removals.remove(&(before.until, id.clone(), user.clone()));
            }
            removals.insert((until, id.clone(), user.clone()));
        }
        if was_member { RoomChanged::Changed } else { RoomChanged::Unchanged }
    }

    fn unlist(&self, user: &UserId, room: &RoomId) {
        if let Entry::Occupied(mut rooms) = self.rooms_of.entry(user.clone()) {
            rooms.get_mut().remove(room);
            if rooms.get().is_empty() {
                rooms.remove();
            }
        }
    }

    fn touch(&self, id: &RoomId, room: &mut Live, now: Timestamp) {
        room.last_activity = room.last_activity.max(now);
        if room.state != RoomState::Active {
            self.ages.lock().shift(id, room, RoomState::Active);
        }
    }

    /// Forgets removals that are old enough, and the oldest ones of too many.
    fn purge_removals(&self, now: Timestamp) {
        // Not in the `for` itself, where the lock would be held to its end, and rooms are locked first.
        let due = due_removals(&mut self.removals.lock(), now);
        for (until, room, user) in due {
            if let Some(mut room) = self.rooms.get_mut(&room)
                && room.removed.get(&user).is_some_and(|removed| removed.until == until)
            {
                room.removed.remove(&user);
            }
        }
    }

    /// Ages rooms of one state that have been without activity for a time, as long as there are any and `limit` allows.
    fn age_from(&self, from: RoomState, without: Duration, limit: usize, aged: &mut Vec<RoomAged>) {
        let before = self.clock.now().before(without);
        while aged.len() < limit {
            let Some((at, id)) = self.ages.lock().pop(from, before) else { return };
            let Some(mut room) = self.rooms.get_mut(&id) else { continue };
            if room.state != from || room.aged_from != at {
                continue;
            }
            let to = if room.last_activity > before { from } else { next(from) };
            self.ages.lock().shift(&id, &mut room, to);
            if to != from {
                aged.push(RoomAged { room: id.clone(), state: to });
            }
        }
    }

    /// Who of a room is online. Presence is asked without any lock held, so members may have changed meanwhile.
    async fn look(&self, room: &RoomId) -> Result<Seen> {
        let (revision, ids) = self.room_mut(room)?.ids();
        let online = self.presence.are_online(&ids).await?;
        Ok(Seen { revision, ids, online })
    }

    /// What `read` makes of a room and who of it is online, at one instant.
    async fn see<T: Send>(&self, room: &RoomId, read: impl Fn(&Live, &Seen) -> T + Send + Sync) -> Result<T> {
        let mut tries = 1;
        loop {
            let seen = self.look(room).await?;
            let mut live = self.room_mut(room)?;
            if live.revision == seen.revision || tries == MAX_TRIES {
                live.note_online(seen.count(), self.clock.now());
                return Ok(read(&live, &seen));
            }
            tries += 1;
        }
    }
}

impl fmt::Debug for MemoryRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRooms").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl RoomStore for MemoryRooms {
    async fn create(&self, new: &NewRoom) -> Result<bool> {
        let place = match self.rooms.entry(new.id.clone()) {
            Entry::Occupied(room) if room.get().is_like(new) => return Ok(false),
            Entry::Occupied(_) => return Err(Error::new(Code::Conflict).during("rooms.create")),
            Entry::Vacant(place) => place,
        };
        let now = self.clock.now();
        let mut room = self.open(new, now);
        if room.max_members.is_some_and(|max| first_members(new) > max as usize) {
            return Err(Error::new(Code::RoomFull).during("rooms.create"));
        }
        for change in new.members.iter().filter(|change| change.role.is_some()) {
            self.change(&new.id, &mut room, change, now);
        }
        self.ages.lock().shift(&new.id, &mut room, RoomState::Active);
        place.insert(room);
        Ok(true)
    }

    async fn get_many(&self, rooms: &[RoomId]) -> Result<Vec<Option<Room>>> {
        Ok(rooms.iter().map(|id| Some(self.rooms.get(id)?.describe(id))).collect())
    }

    async fn change_members(&self, room: &RoomId, changes: &[RoomChange]) -> Result<Vec<RoomChanged>> {
        let now = self.clock.now();
        let outcomes: Vec<_> = {
            let mut live = self.room_mut(room)?;
            let outcomes: Vec<_> =
                changes.iter().map(|change| self.change(room, &mut live, change, now)).collect();
            if outcomes.contains(&RoomChanged::Changed) {
                live.revision = self.next_revision();
                live.ids = None;
                self.touch(room, &mut live, now);
            }
            outcomes
        };
        self.purge_removals(now);
        Ok(outcomes)
    }

    async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Option<Vec<Option<RoomRole>>>> {
        let Some(room) = self.rooms.get(room) else { return Ok(None) };
        Ok(Some(users.iter().map(|user| room.members.get(user).map(|seat| seat.role)).collect()))
    }

    async fn members(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<RoomMember, UserId>> {
        page.check()?;
        let room = self.room(room)?;
        let members = room.members.range::<UserId, _>((after(page), Bound::Unbounded)).take(page.limit + 1);
        let members = members.map(|(user, seat)| RoomMember {
            user: user.clone(),
            role: seat.role,
            joined_at: seat.joined_at,
        });
        Ok(Paged::from_surplus(members.collect(), page.limit, |member| member.user.clone()))
    }

    async fn online(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        let online = self.see(room, |_, seen| seen.online_after(page.after.as_ref(), page.limit + 1)).await?;
        Ok(Paged::from_surplus(online, page.limit, UserId::clone))
    }

    async fn rooms_of(&self, user: &UserId, page: &Page<RoomId>) -> Result<Paged<RoomId, RoomId>> {
        page.check()?;
        let Some(rooms) = self.rooms_of.get(user) else { return Ok(Paged::last(Vec::new())) };
        let rooms = rooms.range::<RoomId, _>((after(page), Bound::Unbounded)).take(page.limit + 1).cloned();
        Ok(Paged::from_surplus(rooms.collect(), page.limit, RoomId::clone))
    }

    async fn stats(&self, room: &RoomId) -> Result<RoomStats> {
        self.see(room, |live, seen| RoomStats {
            members: live.members.len() as u64,
            online: seen.count(),
            peak: live.peak,
            roles: live.roles(),
        })
        .await
    }

    async fn touch_many(&self, rooms: &[RoomId]) -> Result<()> {
        let now = self.clock.now();
        for id in rooms {
            if let Some(mut room) = self.rooms.get_mut(id) {
                self.touch(id, &mut room, now);
            }
        }
        Ok(())
    }

    async fn age(&self, idle: Duration, archive: Duration, limit: usize) -> Result<Vec<RoomAged>> {
        let mut aged = Vec::new();
        // In this order no room takes two steps at once.
        self.age_from(RoomState::Idle, archive, limit, &mut aged);
        self.age_from(RoomState::Active, idle, limit, &mut aged);
        self.purge_removals(self.clock.now());
        Ok(aged)
    }

    async fn delete(&self, room: &RoomId) -> Result<bool> {
        let Entry::Occupied(entry) = self.rooms.entry(room.clone()) else { return Ok(false) };
        let live = entry.get();
        for user in live.members.keys() {
            self.unlist(user, room);
        }
        self.ages.lock().remove(room, live);
        let mut removals = self.removals.lock();
        for (user, removed) in &live.removed {
            removals.remove(&(removed.until, room.clone(), user.clone()));
        }
        entry.remove();
        Ok(true)
    }
}

fn unknown(room: &RoomId) -> Error {
    Error::new(Code::RoomNotFound).with("room", room)
}

fn after<T>(page: &Page<T>) -> Bound<&T> {
    page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
}

fn first_members(new: &NewRoom) -> usize {
    let with_role = new.members.iter().filter(|change| change.role.is_some());
    with_role.map(|change| &change.user).collect::<BTreeSet<_>>().len()
}

/// What a room becomes that nothing happens in.
fn next(state: RoomState) -> RoomState {
    match state {
        RoomState::Active => RoomState::Idle,
        RoomState::Idle | RoomState::Archived => RoomState::Archived,
    }
}

fn due_removals(
    removals: &mut BTreeSet<(Timestamp, RoomId, UserId)>,
    now: Timestamp,
) -> Vec<(Timestamp, RoomId, UserId)> {
    let mut due = Vec::new();
    while removals.len() > MAX_REMOVALS || removals.first().is_some_and(|(until, ..)| *until <= now) {
        due.extend(removals.pop_first());
    }
    due
}

impl Live {
    fn is_like(&self, new: &NewRoom) -> bool {
        self.kind == new.kind && self.name == new.name && self.max_members == new.max_members
    }

    fn is_full(&self) -> bool {
        self.max_members.is_some_and(|max| self.members.len() >= max as usize)
    }

    /// The last version known of a user, member or not; zero when nothing is known.
    fn version_of(&self, user: &UserId, now: Timestamp) -> u64 {
        let removed =
            || self.removed.get(user).filter(|removed| removed.until > now).map(|removed| removed.version);
        self.members.get(user).map(|seat| seat.version).or_else(removed).unwrap_or(0)
    }

    fn ids(&mut self) -> (u64, Arc<[UserId]>) {
        let ids = self.ids.get_or_insert_with(|| self.members.keys().cloned().collect());
        (self.revision, Arc::clone(ids))
    }

    fn note_online(&mut self, online: u64, now: Timestamp) {
        if online > self.peak.online {
            self.peak = RoomPeak { online, at: Some(now) };
        }
    }

    fn roles(&self) -> BTreeMap<RoomRole, u64> {
        let mut roles = BTreeMap::new();
        for seat in self.members.values() {
            *roles.entry(seat.role).or_default() += 1;
        }
        roles
    }

    fn describe(&self, id: &RoomId) -> Room {
        Room {
            id: id.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            max_members: self.max_members,
            members: self.members.len() as u64,
            state: self.state,
            created_at: self.created_at,
            last_activity: self.last_activity,
        }
    }
}

impl Seen {
    fn count(&self) -> u64 {
        self.online.iter().filter(|online| **online).count() as u64
    }

    fn online_after(&self, after: Option<&UserId>, limit: usize) -> Vec<UserId> {
        let online = self.ids.iter().zip(&self.online).filter(|(_, online)| **online).map(|(user, _)| user);
        online.filter(|user| after.is_none_or(|after| *user > after)).take(limit).cloned().collect()
    }
}

/// The rooms that can grow older, those without activity first.
#[derive(Default)]
struct Ages {
    active: BTreeSet<(Timestamp, RoomId)>,
    idle: BTreeSet<(Timestamp, RoomId)>,
}

impl Ages {
    fn of(&mut self, state: RoomState) -> Option<&mut BTreeSet<(Timestamp, RoomId)>> {
        match state {
            RoomState::Active => Some(&mut self.active),
            RoomState::Idle => Some(&mut self.idle),
            RoomState::Archived => None,
        }
    }

    /// Moves a room to another state, or to its place by now in the same one.
    fn shift(&mut self, id: &RoomId, room: &mut Live, to: RoomState) {
        self.remove(id, room);
        room.state = to;
        room.aged_from = room.last_activity;
        if let Some(rooms) = self.of(to) {
            rooms.insert((room.aged_from, id.clone()));
        }
    }

    fn remove(&mut self, id: &RoomId, room: &Live) {
        if let Some(rooms) = self.of(room.state) {
            rooms.remove(&(room.aged_from, id.clone()));
        }
    }

    /// Takes out a room of this state whose place is at or before a time.
    fn pop(&mut self, state: RoomState, before: Timestamp) -> Option<(Timestamp, RoomId)> {
        let rooms = self.of(state)?;
        rooms.first().filter(|(at, _)| *at <= before)?;
        rooms.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::memory::MemoryPresence;

    fn change(user: usize, role: Option<RoomRole>, version: u64) -> RoomChange {
        RoomChange { user: UserId::new(format!("{user:04}")).unwrap(), role, version }
    }

    async fn rooms(clock: &ManualClock, ids: &[&RoomId]) -> MemoryRooms {
        let clock = Arc::new(clock.clone());
        let rooms = MemoryRooms::new(Arc::clone(&clock) as _, Arc::new(MemoryPresence::new(clock)));
        for id in ids {
            let members = Vec::new();
            let new = NewRoom { id: (*id).clone(), kind: "k".into(), name: None, max_members: None, members };
            rooms.create(&new).await.unwrap();
        }
        rooms
    }

    #[tokio::test]
    async fn removals_are_forgotten_in_time_also_in_rooms_that_rest() {
        let clock = ManualClock::default();
        let (a, b) = (RoomId::new("a").unwrap(), RoomId::new("b").unwrap());
        let rooms = rooms(&clock, &[&a, &b]).await;
        for user in 0..100 {
            for version in 1..10 {
                let role = (version % 2 == 1).then_some(RoomRole::Member);
                rooms.change_members(&a, &[change(user, role, version)]).await.unwrap();
                rooms.change_members(&a, &[change(user, None, version)]).await.unwrap();
            }
        }
        assert_eq!(rooms.removals.lock().len(), 100);
        assert!(rooms.rooms_of.is_empty());
        clock.advance(REMOVAL_MEMORY);
        rooms.change_members(&b, &[change(0, None, 1)]).await.unwrap();
        assert_eq!(rooms.removals.lock().len(), 1);
        assert!(rooms.rooms.get(&a).unwrap().removed.is_empty());
    }

    #[tokio::test]
    async fn nothing_of_a_room_outlives_it() {
        let clock = ManualClock::default();
        let a = RoomId::new("a").unwrap();
        let rooms = rooms(&clock, &[&a]).await;
        rooms.change_members(&a, &[change(1, Some(RoomRole::Admin), 1), change(2, None, 1)]).await.unwrap();
        assert!(rooms.delete(&a).await.unwrap());
        assert!(rooms.rooms.is_empty() && rooms.rooms_of.is_empty() && rooms.removals.lock().is_empty());
        let ages = rooms.ages.lock();
        assert!(ages.active.is_empty() && ages.idle.is_empty());
    }
}
