//! Members who are online, at one instant.
//!
//! Members are in one slot, and users, each with its presence, in all of them: no command sees both. So the room and the
//! presence of its members are looked at by turns until nothing stands against an instant at which all of it was so:
//!
//! ```text
//! room R0 ─► presence P1 ─► presence P2, room R1 ─► presence P3, room R2 ─► …
//! ```
//!
//! * P1 = P2 and R0 = R1: all of it was so between P1 and P2. Three round trips; nearly always.
//! * P1 = P2 = P3 for all members in R1: all of it was so when R1 was looked at, however often the room changes.
//!
//! A set of online members beside each room would make counting cheap in rooms of thousands, and connecting dear for
//! whoever is in many rooms; and a lease that runs out changes it without a word. Bounded pages are what there is
//! instead.

use std::collections::{HashMap, VecDeque};

use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{RoomId, UserId};
use chat_core::error::Result;
use chat_core::store::PresenceStore;
use chat_core::store::rooms::{RoomPeak, RoomStats};
use futures::future::try_join;

use super::{RedisRooms, begin, record, unknown};
use crate::connection::Operation;
use crate::error::corrupt;
use crate::script::scripts;

const ONLINE: Operation = Operation::read("rooms.online");
const STATS: Operation = Operation::read("rooms.stats");

/// How often room and presence are looked at, and how many members presence is asked about at most, before whatever is
/// known is the answer.
const MAX_TURNS: usize = 64;
const MAX_ASKED: usize = 50_000;
/// How many members are taken or asked about at once.
const SLICE: usize = 2_500;
/// How many members a page looks at, at least.
const PAGE: usize = 1_000;

scripts! {
    TAKE = "rooms", "rooms_slice";
    PEAK = "rooms", "rooms_peak";
}

/// Which members.
#[derive(Clone, Copy)]
enum Which<'a> {
    All,
    After(Option<&'a UserId>, usize),
}

/// A room at a revision: its numbers, and some members.
struct Look {
    revision: String,
    roles: [u64; 3],
    peak: RoomPeak,
    /// Nothing when they are known at this revision already.
    members: Option<Vec<UserId>>,
    /// Whether there are more after them.
    more: bool,
    /// Whether all of it was so at once.
    whole: bool,
}

/// Members, those of them who are online, and the room, at one instant.
struct Seen {
    look: Look,
    online: Vec<UserId>,
    /// The last member looked at, if there are more.
    more_after: Option<UserId>,
}

impl RedisRooms {
    /// One page looks at four times as many members as it may list, and at a thousand at least; so it may be short.
    pub(super) async fn list_online(
        &self,
        room: &RoomId,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        let some = Which::After(page.after.as_ref(), page.limit.saturating_mul(4).max(PAGE));
        let seen = self.see(ONLINE, room, some).await?;
        self.note(ONLINE, room, &seen).await?;
        let mut found = Paged::from_surplus(seen.online, page.limit, UserId::clone);
        found.next = found.next.or(seen.more_after);
        Ok(found)
    }

    pub(super) async fn count(&self, room: &RoomId) -> Result<RoomStats> {
        let seen = self.see(STATS, room, Which::All).await?;
        let peak = self.note(STATS, room, &seen).await?;
        Ok(RoomStats {
            members: seen.look.roles.iter().sum(),
            online: seen.online.len() as u64,
            peak,
            roles: record::roles(seen.look.roles),
        })
    }

    async fn see(&self, operation: Operation, room: &RoomId, which: Which<'_>) -> Result<Seen> {
        let mut asked = Asked::default();
        let mut look = self.look(operation, room, which, None).await?;
        let mut members = asked.places(look.members.take().unwrap_or_default());
        asked.note(self.are_online(&asked.users).await?);
        let mut turns = 0;
        loop {
            turns += 1;
            let again = self.look(operation, room, which, Some(&look.revision));
            let (online, mut next) = try_join(self.are_online(&asked.users), again).await?;
            asked.note(online);
            let stays = next.members.is_none() && next.revision == look.revision;
            let is_so = stays && asked.agree(2, &members) || look.whole && asked.agree(3, &members);
            if is_so {
                return asked.seen(operation, look, &members);
            }
            if let Some(users) = next.members.take() {
                members = asked.places(users);
                look = next;
            }
            if turns >= MAX_TURNS || asked.questions > MAX_ASKED {
                return asked.seen(operation, look, &members);
            }
        }
    }

    /// Who of many users is online.
    async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>> {
        let mut online = Vec::with_capacity(users.len());
        for part in users.chunks(SLICE) {
            online.extend(self.presence.are_online(part).await?);
        }
        Ok(online)
    }

    /// The room, and members unless they are known at its revision.
    async fn look(
        &self,
        operation: Operation,
        room: &RoomId,
        which: Which<'_>,
        known: Option<&str>,
    ) -> Result<Look> {
        let (after, count) = match which {
            Which::All => (None, SLICE),
            Which::After(after, count) => (after, count),
        };
        let mut look = self.look_at(operation, room, after, count, known).await?;
        if let (Which::All, Some(members)) = (which, &mut look.members) {
            while look.more {
                let next = self.look_at(operation, room, members.last(), SLICE, None).await?;
                members.extend(next.members.unwrap_or_default());
                (look.more, look.whole) = (next.more, look.whole && next.revision == look.revision);
            }
        }
        Ok(look)
    }

    async fn look_at(
        &self,
        operation: Operation,
        room: &RoomId,
        after: Option<&UserId>,
        count: usize,
        known: Option<&str>,
    ) -> Result<Look> {
        let command = self
            .store
            .script(&TAKE, &[self.of_room("h", room), self.of_room("o", room)])
            .arg(begin(after.map(UserId::as_str)))
            .arg(count + 1)
            .arg(known.unwrap_or_default());
        // Whoever knows the members hears little.
        let operation = if known.is_some() { operation } else { operation.bulk() };
        type Found = Option<(String, (u64, u64, u64, u64, u64), Option<Vec<String>>)>;
        let found: Found = self.store.call_one(operation, command).await?;
        let (revision, (member, moderator, admin, online, at), users) =
            found.ok_or_else(|| unknown(operation, room))?;
        let more = users.as_ref().is_some_and(|users| users.len() > count);
        let user = |user: &String| record::user_id(operation, user);
        let users =
            users.map(|users| users.iter().take(count).map(user).collect::<Result<_>>()).transpose()?;
        let (roles, peak) = ([member, moderator, admin], peak(online, at));
        Ok(Look { revision, roles, peak, members: users, more, whole: true })
    }

    /// Notes a new peak; the peak, this instant included.
    async fn note(&self, operation: Operation, room: &RoomId, seen: &Seen) -> Result<RoomPeak> {
        if seen.online.len() as u64 <= seen.look.peak.online {
            return Ok(seen.look.peak);
        }
        let command = self.store.script(&PEAK, &[self.of_room("h", room)]);
        let command = command.arg(&seen.look.revision).arg(seen.online.len());
        let (online, at): (u64, u64) = self.store.call_one(operation, command).await?;
        Ok(peak(online, at))
    }
}

fn peak(online: u64, at: u64) -> RoomPeak {
    RoomPeak { online, at: (online > 0).then(|| Timestamp::from_millis(at)) }
}

/// Everybody who was seen in the room during one question, and the last answers of presence about them.
#[derive(Default)]
struct Asked {
    users: Vec<UserId>,
    places: HashMap<UserId, usize>,
    /// The newest first. Those who were seen later are missing at the end of an older one.
    answers: VecDeque<Vec<bool>>,
    questions: usize,
}

impl Asked {
    /// The places of these users, from now on.
    fn places(&mut self, users: Vec<UserId>) -> Vec<usize> {
        let place = |user: UserId| {
            *self.places.entry(user).or_insert_with_key(|user| {
                self.users.push(user.clone());
                self.users.len() - 1
            })
        };
        users.into_iter().map(place).collect()
    }

    fn note(&mut self, answer: Vec<bool>) {
        self.questions += answer.len();
        self.answers.push_front(answer);
        self.answers.truncate(3);
    }

    /// Whether the last so many answers are the same about all at these places.
    fn agree(&self, answers: usize, places: &[usize]) -> bool {
        let [newest, older @ ..] =
            &self.answers.range(..answers.min(self.answers.len())).collect::<Vec<_>>()[..]
        else {
            return false;
        };
        let is_same = |place: &usize| {
            let online = newest.get(*place);
            online.is_some() && older.iter().all(|answer| answer.get(*place) == online)
        };
        older.len() + 1 == answers && places.iter().all(is_same)
    }

    /// What was seen, by the newest answer.
    fn seen(&self, operation: Operation, look: Look, places: &[usize]) -> Result<Seen> {
        let newest = self.answers.front().filter(|newest| newest.len() <= self.users.len());
        let newest = newest.ok_or_else(|| corrupt(operation, "not an answer for each user"))?;
        let user = |place: &usize| self.users.get(*place).cloned();
        let is_online = |place: &&usize| newest.get(**place).copied().unwrap_or(false);
        let more_after = places.last().filter(|_| look.more).and_then(user);
        let online = places.iter().filter(is_online).filter_map(user).collect();
        Ok(Seen { look, online, more_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(names: &[&str]) -> Vec<UserId> {
        names.iter().map(|name| UserId::new(name).unwrap()).collect()
    }

    #[test]
    fn answers_agree_only_about_whom_all_of_them_know() {
        let mut asked = Asked::default();
        assert!(!asked.agree(1, &[]));
        let first = asked.places(users(&["ann", "ben"]));
        asked.note(vec![true, false]);
        assert!(asked.agree(1, &first) && !asked.agree(2, &first));
        let second = asked.places(users(&["ben", "cid"]));
        assert_eq!((&first[..], &second[..]), (&[0, 1][..], &[1, 2][..]));
        assert!(!asked.agree(1, &second), "nobody was asked about cid");
        asked.note(vec![false, false, true]);
        assert!(!asked.agree(2, &first), "ann went");
        assert!(asked.agree(2, &[1]) && !asked.agree(2, &second));
        asked.note(vec![false, false, true]);
        assert!(asked.agree(2, &first) && asked.agree(2, &second));
        assert!(!asked.agree(3, &first) && asked.agree(3, &[1]));
        asked.note(vec![false, false, true]);
        assert!(asked.agree(3, &[0, 1, 2]) && !asked.agree(4, &[]));
    }
}
