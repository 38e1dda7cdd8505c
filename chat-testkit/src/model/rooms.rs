//! The model of the `rooms` port: one map of rooms, each with a map of members.
//!
//! Who is online is asked of the presence the rooms are over, which has a model of its own. Choices are left open
//! where a removal is repeated (its memory may begin anew or not), where a clock was set back (a removal that had been
//! forgotten may be known again, and the last activity may go back with the clock), and in how many steps a room ages
//! by one call. The index of a user's rooms may lag.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::{Page, RoomId, RoomRole, UserId};
use chat_core::error::{Code, Effect, Result};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::{
    NewRoom, REMOVAL_MEMORY, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomPeak, RoomState,
    RoomStats,
};
use chat_core::store::{PresenceStore, RoomStore};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, Tick, holds, one_of, play_histories, same, tick};
use crate::Offer;
use crate::sample::session;
use crate::walk::walk;

const ROOMS: [&str; 3] = ["a", "a:b", "b"];
const USERS: [&str; 4] = ["ann", "ben", "a", "b"];
const IDLE: Duration = Duration::from_secs(60 * 60);
const ARCHIVE: Duration = Duration::from_secs(3 * 60 * 60);
const LEASE: Duration = Duration::from_secs(2 * 60 * 60);
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);
const BORDERS: &[Duration] = &[IDLE, ARCHIVE, LEASE, REMOVAL_MEMORY];
/// How often a lagging index is asked again, and how long lies between.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// Who, as what, at which version.
type Change = (usize, Option<RoomRole>, u64);

#[derive(Debug, Clone)]
enum Operation {
    Create { room: usize, kind: u8, max: Option<u32>, members: Vec<Change> },
    Get { rooms: Vec<usize> },
    Change { room: usize, changes: Vec<Change> },
    Roles { room: usize, users: Vec<usize> },
    Members { room: usize, limit: usize },
    Online { room: usize, limit: usize },
    RoomsOf { user: usize, limit: usize },
    Stats { room: usize },
    Touch { rooms: Vec<usize> },
    Age { limit: usize },
    Delete { room: usize },
    Connect { user: usize, device: bool },
    Disconnect { user: usize, device: bool },
    Time(Tick),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let (room, user) = (|| one_of(ROOMS.len()), || one_of(USERS.len()));
    let limit = || select(&[1, 2, 1_000][..]);
    let role = || option::weighted(0.7, select(&RoomRole::ALL[..]));
    let changes = move || vec((user(), role(), 0_u64..5), 0..4);
    let max = || option::of(1_u32..4);
    prop_oneof![
        4 => (room(), max(), changes()).prop_map(|(room, max, members)| Create { room, kind: 0, max, members }),
        1 => (room(), 0_u8..2, max(), changes())
            .prop_map(|(room, kind, max, members)| Create { room, kind, max, members }),
        2 => vec(room(), 0..4).prop_map(|rooms| Get { rooms }),
        10 => (room(), changes()).prop_map(|(room, changes)| Change { room, changes }),
        2 => (room(), vec(user(), 0..4)).prop_map(|(room, users)| Roles { room, users }),
        2 => (room(), limit()).prop_map(|(room, limit)| Members { room, limit }),
        3 => (room(), limit()).prop_map(|(room, limit)| Online { room, limit }),
        2 => (user(), limit()).prop_map(|(user, limit)| RoomsOf { user, limit }),
        3 => room().prop_map(|room| Stats { room }),
        2 => vec(room(), 0..3).prop_map(|rooms| Touch { rooms }),
        3 => select(&[1, 2, 1_000][..]).prop_map(|limit| Age { limit }),
        1 => room().prop_map(|room| Delete { room }),
        3 => (user(), any::<bool>()).prop_map(|(user, device)| Connect { user, device }),
        2 => (user(), any::<bool>()).prop_map(|(user, device)| Disconnect { user, device }),
        4 => tick(LONGEST, BORDERS).prop_map(Time),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    role: RoomRole,
    joined_at: Timestamp,
    version: u64,
}

/// The version of somebody removed.
#[derive(Debug, Clone, Copy)]
struct Removed {
    version: u64,
    /// Surely remembered until here.
    surely: Timestamp,
    /// Surely forgotten from here on.
    perhaps: Timestamp,
}

#[derive(Debug)]
struct Live {
    kind: u8,
    max: Option<u32>,
    members: BTreeMap<usize, Seat>,
    removed: BTreeMap<usize, Removed>,
    state: RoomState,
    created_at: Timestamp,
    last_activity: Timestamp,
    /// The most members online that was ever answered.
    answered: u64,
    /// How many members were online, and when, after each step.
    crowds: BTreeSet<(u64, Timestamp)>,
}

impl Live {
    /// What may become of a change, and does when it is carried out; `found` is what the backend chose.
    fn change(
        &mut self,
        (user, role, version): Change,
        found: RoomChanged,
        now: Timestamp,
    ) -> Vec<RoomChanged> {
        let seat = self.members.get(&user).copied();
        let removed = self.removed.get(&user).copied().filter(|removed| removed.perhaps > now);
        let known = seat.map(|seat| seat.version).or(removed.map(|removed| removed.version)).unwrap_or(0);
        let sure = seat.is_some() || removed.is_none_or(|removed| removed.surely > now);
        let outdated = version != 0 && version < known;
        if outdated && (sure || found == RoomChanged::Outdated) {
            if let Some(removed) = self.removed.get_mut(&user) {
                removed.surely = removed.perhaps;
            }
            return vec![RoomChanged::Outdated];
        }
        // Applied though a removal was perhaps known: so it is not.
        let known = if outdated { 0 } else { known };
        let version = version.max(known);
        let outcome = match (role, seat) {
            (Some(role), Some(seat)) => {
                self.members.insert(user, Seat { role, version, ..seat });
                if seat.role == role { RoomChanged::Unchanged } else { RoomChanged::Changed }
            }
            (Some(_), None) if self.is_full() => {
                if outdated {
                    self.removed.remove(&user);
                }
                return vec![RoomChanged::Full];
            }
            (Some(role), None) => {
                self.removed.remove(&user);
                self.members.insert(user, Seat { role, joined_at: now, version });
                RoomChanged::Changed
            }
            (None, seat) => {
                self.remove(user, version, removed.filter(|_| !outdated), seat, now);
                if seat.is_some() { RoomChanged::Changed } else { RoomChanged::Unchanged }
            }
        };
        if outdated { vec![outcome, RoomChanged::Outdated] } else { vec![outcome] }
    }

    fn remove(
        &mut self,
        user: usize,
        version: u64,
        before: Option<Removed>,
        seat: Option<Seat>,
        now: Timestamp,
    ) {
        self.members.remove(&user);
        if version == 0 {
            return;
        }
        let end = now.after(REMOVAL_MEMORY);
        // Repeated, and nothing new by it: the time may begin anew or not.
        let repeated = before.filter(|before| seat.is_none() && before.version == version);
        let surely = repeated.map_or(end, |before| before.surely.min(end));
        let perhaps = repeated.map_or(end, |before| before.perhaps.max(end));
        self.removed.insert(user, Removed { version, surely, perhaps });
    }

    fn is_full(&self) -> bool {
        self.max.is_some_and(|max| self.members.len() >= max as usize)
    }

    fn describe(&self, room: usize) -> Room {
        Room {
            id: id(room),
            kind: kind(self.kind),
            name: None,
            max_members: self.max,
            members: self.members.len() as u64,
            state: self.state,
            created_at: self.created_at,
            last_activity: self.last_activity,
        }
    }

    /// The step that is due, if any.
    fn due(&self, now: Timestamp) -> Option<RoomState> {
        match self.state {
            RoomState::Active if self.last_activity.after(IDLE) <= now => Some(RoomState::Idle),
            RoomState::Idle if self.last_activity.after(ARCHIVE) <= now => Some(RoomState::Archived),
            _ => None,
        }
    }
}

fn id(room: usize) -> RoomId {
    crate::sample::room(ROOMS[room])
}

fn user(user: usize) -> UserId {
    crate::sample::user(USERS[user])
}

fn user_at(asked: Asked<'_>, found: &UserId) -> std::result::Result<usize, String> {
    let place = USERS.iter().position(|name| *name == found.as_str());
    place.ok_or_else(|| format!("{asked:?}\n  lists {found:?}, whom nobody knows"))
}

fn kind(kind: u8) -> String {
    format!("kind {kind}")
}

fn changes(of: &[Change]) -> Vec<RoomChange> {
    of.iter()
        .map(|(who, role, version)| RoomChange { user: user(*who), role: *role, version: *version })
        .collect()
}

fn refused<T: Debug>(asked: Asked<'_>, found: Result<T>, code: Code) -> Agreement {
    match found {
        Err(error) => same(asked, &(error.code(), error.effect()), &(code, Effect::None)),
        Ok(answer) => Err(format!("{asked:?}\n  answered {answer:?}\n  expected {code:?}")),
    }
}

/// What was asked, for the report.
type Asked<'a> = &'a (dyn Debug + Sync);

struct Game {
    rooms: Arc<dyn RoomStore>,
    presence: Arc<dyn PresenceStore>,
    clock: ManualClock,
    live: BTreeMap<usize, Live>,
}

impl Game {
    async fn step(&mut self, operation: &Operation) -> Agreement {
        self.act(operation).await?;
        self.count_crowds().await;
        Ok(())
    }

    async fn act(&mut self, operation: &Operation) -> Agreement {
        let (now, asked) = (self.clock.now(), operation as Asked<'_>);
        match operation {
            Operation::Create { room, kind, max, members } => {
                self.create(asked, *room, *kind, *max, members).await
            }
            Operation::Get { rooms } => {
                let ids: Vec<_> = rooms.iter().map(|room| id(*room)).collect();
                let found = self.rooms.get_many(&ids).await.unwrap();
                let describe = |room: &usize| self.live.get(room).map(|live| live.describe(*room));
                same(asked, &found, &rooms.iter().map(describe).collect())
            }
            Operation::Change { room, changes } => self.change(asked, *room, changes).await,
            Operation::Roles { room, users } => {
                let ids: Vec<_> = users.iter().map(|who| user(*who)).collect();
                let found = self.rooms.roles(&id(*room), &ids).await.unwrap();
                let role = |live: &Live, who: &usize| live.members.get(who).map(|seat| seat.role);
                let roles = self.live.get(room).map(|live| users.iter().map(|who| role(live, who)).collect());
                same(asked, &found, &roles)
            }
            Operation::Members { room, limit } => self.members(asked, *room, *limit).await,
            Operation::Online { room, limit } => self.online(asked, *room, *limit).await,
            Operation::RoomsOf { user, limit } => self.rooms_of(asked, *user, *limit).await,
            Operation::Stats { room } => self.stats(asked, *room).await,
            Operation::Touch { rooms } => {
                let ids: Vec<_> = rooms.iter().map(|room| id(*room)).collect();
                self.rooms.touch_many(&ids).await.unwrap();
                for room in rooms {
                    self.active(asked, *room, now).await?;
                }
                Ok(())
            }
            Operation::Age { limit } => self.age(asked, *limit, now).await,
            Operation::Delete { room } => {
                let was_there = self.rooms.delete(&id(*room)).await.unwrap();
                same(asked, &was_there, &self.live.remove(room).is_some())
            }
            Operation::Connect { user: who, device } => {
                let session = session(&format!("{who}-{device}"));
                let connect = Connect { user: user(*who), session, device: None, lease: LEASE };
                self.presence.connect(&connect).await.unwrap();
                Ok(())
            }
            Operation::Disconnect { user: who, device } => {
                self.presence.disconnect(&user(*who), &session(&format!("{who}-{device}"))).await.unwrap();
                Ok(())
            }
            Operation::Time(tick) => {
                tick.apply(&self.clock);
                if self.clock.now() < now {
                    let removed = self.live.values_mut().flat_map(|live| live.removed.values_mut());
                    removed
                        .filter(|removed| removed.surely <= now)
                        .for_each(|removed| removed.surely = Timestamp::EPOCH);
                }
                Ok(())
            }
        }
    }

    /// Who is online now, by presence's own word.
    async fn here(&self) -> BTreeSet<usize> {
        let everybody: Vec<_> = (0..USERS.len()).map(user).collect();
        let online = self.presence.are_online(&everybody).await.unwrap();
        (0..USERS.len()).filter(|who| online[*who]).collect()
    }

    async fn count_crowds(&mut self) {
        let (here, now) = (self.here().await, self.clock.now());
        for live in self.live.values_mut() {
            let online = live.members.keys().filter(|who| here.contains(who)).count() as u64;
            live.crowds.insert((online, now));
        }
    }

    async fn create(
        &mut self,
        asked: Asked<'_>,
        room: usize,
        of_kind: u8,
        max: Option<u32>,
        members: &[Change],
    ) -> Agreement {
        let new = NewRoom {
            id: id(room),
            kind: kind(of_kind),
            name: None,
            max_members: max,
            members: changes(members),
        };
        let found = self.rooms.create(&new).await;
        let with_role = members.iter().filter(|(_, role, _)| role.is_some());
        let too_many = max.is_some_and(|max| {
            with_role.clone().map(|(who, ..)| who).collect::<BTreeSet<_>>().len() > max as usize
        });
        match self.live.get(&room) {
            // With too many first members as well, either answer is right.
            Some(live) if live.kind == of_kind && live.max == max => match found {
                Err(_) if too_many => refused(asked, found, Code::RoomFull),
                found => same(asked, &found.ok(), &Some(false)),
            },
            Some(_) => match &found {
                Err(error) if too_many && error.code() == Code::RoomFull => {
                    refused(asked, found, Code::RoomFull)
                }
                _ => refused(asked, found, Code::Conflict),
            },
            None if too_many => refused(asked, found, Code::RoomFull),
            None => {
                same(asked, &found.ok(), &Some(true))?;
                let now = self.clock.now();
                let mut live = Live {
                    kind: of_kind,
                    max,
                    members: BTreeMap::new(),
                    removed: BTreeMap::new(),
                    state: RoomState::Active,
                    created_at: now,
                    last_activity: now,
                    answered: 0,
                    crowds: BTreeSet::new(),
                };
                for change in with_role {
                    live.change(*change, RoomChanged::Changed, now);
                }
                self.live.insert(room, live);
                Ok(())
            }
        }
    }

    async fn change(&mut self, asked: Asked<'_>, room: usize, of: &[Change]) -> Agreement {
        let now = self.clock.now();
        let found = self.rooms.change_members(&id(room), &changes(of)).await;
        let Some(live) = self.live.get_mut(&room) else {
            // There is nothing in an empty batch to refuse.
            let nothing = of.is_empty() && found.as_ref().is_ok_and(Vec::is_empty);
            return if nothing { Ok(()) } else { refused(asked, found, Code::RoomNotFound) };
        };
        let found = found.unwrap();
        same(asked, &found.len(), &of.len())?;
        for (change, found) in of.iter().zip(&found) {
            let allowed = live.change(*change, *found, now);
            holds(allowed.contains(found), asked, || {
                format!("{change:?} became {found:?}, not one of {allowed:?}")
            })?;
        }
        if found.contains(&RoomChanged::Changed) { self.active(asked, room, now).await } else { Ok(()) }
    }

    /// Something happened in a room, if there is one.
    async fn active(&mut self, asked: Asked<'_>, room: usize, now: Timestamp) -> Agreement {
        let Some(live) = self.live.get_mut(&room) else { return Ok(()) };
        live.state = RoomState::Active;
        if now >= live.last_activity {
            live.last_activity = now;
            return Ok(());
        }
        // The clock was set back: the later of both, or what it says now.
        let found = self.rooms.get_many(&[id(room)]).await.unwrap();
        let found = found.first().and_then(Option::as_ref).map(|room| room.last_activity);
        let allowed = [Some(now), Some(live.last_activity)];
        holds(allowed.contains(&found), asked, || format!("active at {found:?}, not one of {allowed:?}"))?;
        live.last_activity = found.unwrap_or(now);
        Ok(())
    }

    async fn members(&self, asked: Asked<'_>, room: usize, limit: usize) -> Agreement {
        let Some(live) = self.live.get(&room) else {
            return refused(
                asked,
                self.rooms.members(&id(room), &Page::first(limit)).await,
                Code::RoomNotFound,
            );
        };
        let (rooms, id) = (&self.rooms, &id(room));
        let found = walk(limit, |page| async move { rooms.members(id, &page).await }).await;
        same(asked, &found.len(), &live.members.len())?;
        let mut listed = BTreeMap::new();
        for RoomMember { user, role, joined_at } in &found {
            listed.insert(user_at(asked, user)?, (*role, *joined_at));
        }
        same(
            asked,
            &listed,
            &live.members.iter().map(|(who, seat)| (*who, (seat.role, seat.joined_at))).collect(),
        )
    }

    async fn online(&mut self, asked: Asked<'_>, room: usize, limit: usize) -> Agreement {
        let here = self.here().await;
        let Some(live) = self.live.get_mut(&room) else {
            return refused(
                asked,
                self.rooms.online(&id(room), &Page::first(limit)).await,
                Code::RoomNotFound,
            );
        };
        let (rooms, id) = (&self.rooms, &id(room));
        let found = walk(limit, |page| async move { rooms.online(id, &page).await }).await;
        let mut listed = Vec::new();
        for user in &found {
            listed.push(user_at(asked, user)?);
        }
        listed.sort_unstable();
        let expected: Vec<_> = live.members.keys().filter(|who| here.contains(who)).copied().collect();
        same(asked, &listed, &expected)?;
        live.answered = live.answered.max(listed.len() as u64);
        Ok(())
    }

    async fn rooms_of(&self, asked: Asked<'_>, who: usize, limit: usize) -> Agreement {
        let rooms_of_who = self.live.iter().filter(|(_, live)| live.members.contains_key(&who));
        let mut expected: Vec<_> = rooms_of_who.map(|(room, _)| id(*room)).collect();
        expected.sort_unstable();
        let (rooms, user) = (&self.rooms, &user(who));
        let mut attempt = 0;
        loop {
            let mut found = walk(limit, |page| async move { rooms.rooms_of(user, &page).await }).await;
            found.sort_unstable();
            attempt += 1;
            if found == expected || attempt == ATTEMPTS {
                return same(asked, &found, &expected);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn stats(&mut self, asked: Asked<'_>, room: usize) -> Agreement {
        let here = self.here().await;
        let found = self.rooms.stats(&id(room)).await;
        let Some(live) = self.live.get_mut(&room) else { return refused(asked, found, Code::RoomNotFound) };
        let RoomStats { members, online, peak, mut roles } = found.unwrap();
        roles.retain(|_, members| *members > 0);
        let mut expected = BTreeMap::new();
        for seat in live.members.values() {
            *expected.entry(seat.role).or_default() += 1;
        }
        let here = live.members.keys().filter(|who| here.contains(who)).count() as u64;
        same(asked, &(members, online, roles), &(live.members.len() as u64, here, expected))?;
        live.answered = live.answered.max(online);
        holds(peak.online >= live.answered, asked, || {
            format!("{peak:?} though {} were seen", live.answered)
        })?;
        match peak {
            RoomPeak { online: 0, at } => same(asked, &at, &None),
            RoomPeak { at: None, .. } => Err(format!("{asked:?}\n  answered {peak:?}, at no time")),
            RoomPeak { online, at: Some(at) } => holds(live.crowds.contains(&(online, at)), asked, || {
                format!("{peak:?} never was, but these: {:?}", live.crowds)
            }),
        }
    }

    async fn age(&mut self, asked: Asked<'_>, limit: usize, now: Timestamp) -> Agreement {
        let found = self.rooms.age(IDLE, ARCHIVE, limit).await.unwrap();
        holds(found.len() <= limit, asked, || format!("{found:?} are more than {limit}"))?;
        let due: BTreeSet<_> =
            self.live.iter().filter(|(_, live)| live.due(now).is_some()).map(|(room, _)| *room).collect();
        let mut stepped = BTreeSet::new();
        for RoomAged { room, state } in &found {
            let place = ROOMS.iter().position(|name| *name == room.as_str());
            let live = place.and_then(|place| self.live.get_mut(&place));
            let is_due = live.as_ref().and_then(|live| live.due(now)) == Some(*state);
            holds(is_due, asked, || format!("{room} became {state:?}, which was not due: {live:?}"))?;
            if let Some((live, place)) = live.zip(place) {
                live.state = *state;
                stepped.insert(place);
            }
        }
        holds(found.len() == limit || stepped == due, asked, || format!("{found:?}, though {due:?} were due"))
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let (rooms, presence) = (offer.rooms.clone().expect("rooms"), offer.presence.clone().expect("presence"));
    let mut game = Game { rooms, presence, clock: offer.clock.clone(), live: BTreeMap::new() };
    for operation in &history {
        game.step(operation).await?;
    }
    for room in 0..ROOMS.len() {
        game.step(&Operation::Get { rooms: vec![room] }).await?;
        game.step(&Operation::Members { room, limit: 1_000 }).await?;
        game.step(&Operation::Online { room, limit: 1_000 }).await?;
        game.step(&Operation::Stats { room }).await?;
    }
    for user in 0..USERS.len() {
        game.step(&Operation::RoomsOf { user, limit: 1_000 }).await?;
    }
    game.step(&Operation::Age { limit: 1_000 }).await
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
