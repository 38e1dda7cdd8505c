//! Members who are online, at one instant.
//!
//! Members and presence are in different slots. So the members are taken together with the room's revision, presence is
//! asked about them, and the answer counts if the room is still at that revision: then both were so at the instant at
//! which presence answered. The same step notes the peak.

use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{RoomId, UserId};
use chat_core::error::Result;
use chat_core::store::rooms::{RoomPeak, RoomStats};

use super::{PART, RedisRooms, begin, record, room_scripts, unknown};
use crate::connection::Operation;
use crate::error::corrupt;

const ONLINE: Operation = Operation::read("rooms.online");
const STATS: Operation = Operation::read("rooms.stats");

/// How often a question starts over because members changed meanwhile, and after how many members it is enough.
const MAX_TRIES: usize = 64;
const MAX_ASKED: usize = 100_000;
/// How many members one step of counting takes.
const SLICE: usize = 5_000;

room_scripts! {
    TAKE = "rooms_slice";
    NOTE = "rooms_seen";
}

/// Members as they were at a revision of the room.
struct Members {
    revision: String,
    users: Vec<UserId>,
    /// Whether there are more after them.
    more: bool,
}

/// A room in numbers, as `rooms_seen` says.
type Numbers = (u64, u64, u64, u64, u64);

impl RedisRooms {
    /// One page looks at four times as many members as it may list, and at a thousand at least; so it may be short.
    pub(super) async fn list_online(
        &self,
        room: &RoomId,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        let look = page.limit.saturating_mul(4).max(PART);
        let mut enough = Enough::default();
        loop {
            let after = page.after.as_ref();
            let members = self.take(ONLINE, room, after, look).await?.ok_or_else(|| unknown(ONLINE, room))?;
            let last_seen = members.users.last().filter(|_| members.more).cloned();
            let online = self.online_of(ONLINE, &members.users).await?;
            let revision = enough.or_else_only_at(&members);
            if self.note(ONLINE, room, revision, online.len()).await?.is_some() {
                let mut found = Paged::from_surplus(online, page.limit, UserId::clone);
                found.next = found.next.or(last_seen);
                return Ok(found);
            }
        }
    }

    pub(super) async fn count(&self, room: &RoomId) -> Result<RoomStats> {
        let mut enough = Enough::default();
        loop {
            let members = self.take_all(room).await?.ok_or_else(|| unknown(STATS, room))?;
            let online = self.online_of(STATS, &members.users).await?.len();
            let revision = enough.or_else_only_at(&members);
            if let Some((member, moderator, admin, peak, at)) =
                self.note(STATS, room, revision, online).await?
            {
                return Ok(RoomStats {
                    members: member + moderator + admin,
                    online: online as u64,
                    peak: RoomPeak { online: peak, at: (peak > 0).then(|| Timestamp::from_millis(at)) },
                    roles: record::roles([member, moderator, admin]),
                });
            }
        }
    }

    /// All members, at the revision of the first of them: whoever changes it meanwhile is noticed in the end.
    async fn take_all(&self, room: &RoomId) -> Result<Option<Members>> {
        let Some(mut all) = self.take(STATS, room, None, SLICE).await? else { return Ok(None) };
        while all.more {
            let Some(next) = self.take(STATS, room, all.users.last(), SLICE).await? else { return Ok(None) };
            all.users.extend(next.users);
            all.more = next.more;
        }
        Ok(Some(all))
    }

    async fn take(
        &self,
        operation: Operation,
        room: &RoomId,
        after: Option<&UserId>,
        count: usize,
    ) -> Result<Option<Members>> {
        let command = self.room_script(&TAKE, room).arg(begin(after.map(UserId::as_str))).arg(count + 1);
        let found: Option<(String, Vec<String>)> = self.store.call_one(operation.bulk(), command).await?;
        let Some((revision, mut users)) = found else { return Ok(None) };
        let more = users.len() > count;
        users.truncate(count);
        let users = users.iter().map(|user| record::user_id(operation, user)).collect::<Result<_>>()?;
        Ok(Some(Members { revision, users, more }))
    }

    /// Those of the users who are online.
    async fn online_of(&self, operation: Operation, users: &[UserId]) -> Result<Vec<UserId>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let online = self.presence.are_online(users).await?;
        if online.len() != users.len() {
            return Err(corrupt(operation, "not an answer for each user"));
        }
        Ok(users.iter().zip(online).filter(|(_, online)| *online).map(|(user, _)| user.clone()).collect())
    }

    /// Notes how many were seen online; nothing if the members are not those of `revision` any more.
    async fn note(
        &self,
        operation: Operation,
        room: &RoomId,
        revision: &str,
        online: usize,
    ) -> Result<Option<Numbers>> {
        let command = self.room_script(&NOTE, room).arg(revision).arg(online);
        let found: Option<Vec<u64>> = self.store.call_one(operation, command).await?;
        match found.ok_or_else(|| unknown(operation, room))?.as_slice() {
            [] => Ok(None),
            [member, moderator, admin, peak, at] => Ok(Some((*member, *moderator, *admin, *peak, *at))),
            _ => Err(corrupt(operation, "not the numbers of a room")),
        }
    }
}

/// Counts what was tried in vain.
#[derive(Default)]
struct Enough {
    tries: usize,
    asked: usize,
}

impl Enough {
    /// The revision that the room must still be at; any, once members come and go faster than presence can answer.
    fn or_else_only_at<'a>(&mut self, members: &'a Members) -> &'a str {
        self.tries += 1;
        self.asked += members.users.len();
        if self.tries >= MAX_TRIES || self.asked > MAX_ASKED { "" } else { &members.revision }
    }
}
