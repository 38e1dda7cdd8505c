//! [`RoomStore`] on Redis.
//!
//! ```text
//! r:{shard of the room}:h:<room>         hash   the room, and its members: user -> "role version joined_at"
//!                      :o:<room>         zset   its members in order: score 0, by id
//!                      :u:<user>         zset   the rooms of this shard that a user is in: score 0, by id
//!                      :x:<room>:<user>  string who was removed, at which version
//!                      :a:active|idle    zset   rooms by a time not after their last activity
//! ```
//!
//! **A room, all that is known of its members, their own lists and the index by age are in one slot**, that of the
//! room's shard. So every change is one script: both sides agree at every instant, and nothing is left half done by a
//! crash. The price is paid by [`rooms_of`](RoomStore::rooms_of): a user's list has a part in each shard, and all of them
//! are read, in one round trip. Rooms are many, so the load spreads over the shards; a large room is in one slot in any
//! layout. Under tags of their own, rooms could be joined in no fewer than two round trips, of which the second may be
//! lost, and could not be aged without asking each room again.
//!
//! * Membership and role are one `HGET` (1.4 µs, `spec/redis-lab.md` §4). Fields of a user are ids; those of the room
//!   begin with a control character, which no id holds.
//! * The index by age is lazy: activity in an active room only writes the room, and whoever ages asks the room again.
//! * Answers that are handed out once are remembered for half a minute under the operation's own id, for a repeat
//!   whose first reply was lost.
//! * No script changes more than 250 members. The lists of more than that follow as a *chore*, in parts; what a crash
//!   leaves over of it is done by [`age`](RoomStore::age).

mod change;
mod create;
mod life;
mod list;
mod online;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{RoomId, RoomRole, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::store::RoomStore;
use chat_core::store::rooms::{NewRoom, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomStats};

use crate::connection::Operation;
use crate::keys::{Key, Shard};
use crate::presence::RedisPresence;
use crate::store::Store;

/// How many members or rooms one script changes at most, so that it holds the server for about a millisecond.
const PART: usize = 250;
/// From how many items on a reply travels apart from the short ones.
const LONG: usize = 250;

/// Live rooms, their members and their lives; kind of state: **derived** or **volatile**, as the port says.
///
/// Everything about a room is in the shard of its id, and every change of it is one script: both sides of a membership
/// agree at every instant. What is said of online members holds at one instant too, unless 64 looks at them found none,
/// or more than 50 000 answers of presence: then it is of several instants close together. A page of online members
/// looks at a part of the room, so it may be shorter than asked for and not be the last.
///
/// | operation | commands | round trips |
/// |---|---|---|
/// | `create` | 1; of more than 250 first members, 2 more per 250 | as many |
/// | `get_many`, `touch_many` | one a shard, at most 16 | 1 |
/// | `change_members` | 1 per 250 changes | as many |
/// | `roles` | 1 `HMGET` | 1 |
/// | `members` | 1 | 1 |
/// | `rooms_of` | 16 `ZRANGEBYLEX` | 1 |
/// | `online` | 2, and 2 questions to presence | 3; 1 more for a new peak, or if a member comes or goes meanwhile |
/// | `stats` | as `online`; 1 more per 2500 members, and as many questions to presence | as many |
/// | `age` | 16 if nothing is due, 16 more per 1600 steps | 1 to 2, then 1 per 1600 steps |
/// | `delete` | 1; of more than 250 members, 1 more per 250 | as many |
#[derive(Debug)]
pub struct RedisRooms {
    store: Store,
    presence: Arc<RedisPresence>,
    /// At which shard the next ageing begins, so that a small limit is not always spent on the same ones.
    turn: AtomicUsize,
}

impl RedisRooms {
    pub(crate) fn new(store: Store, presence: Arc<RedisPresence>) -> Self {
        Self { store, presence, turn: AtomicUsize::new(0) }
    }

    /// Where something of a room is kept.
    fn of_room(&self, kind: &str, room: &RoomId) -> Key {
        self.at(shard(room), &[kind, room.as_str()])
    }

    /// Where something of a shard is kept.
    fn at(&self, shard: Shard, parts: &[&str]) -> Key {
        self.store.keys.sharded("r", shard, parts)
    }

    /// What all keys of a shard begin with.
    fn prefix(&self, shard: Shard) -> String {
        self.at(shard, &[]).as_str().to_owned()
    }
}

#[async_trait]
impl RoomStore for RedisRooms {
    async fn create(&self, room: &NewRoom) -> Result<bool> {
        self.create_room(room).await
    }

    async fn get_many(&self, rooms: &[RoomId]) -> Result<Vec<Option<Room>>> {
        self.look_up(rooms).await
    }

    async fn change_members(&self, room: &RoomId, changes: &[RoomChange]) -> Result<Vec<RoomChanged>> {
        self.change(room, changes).await
    }

    async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Option<Vec<Option<RoomRole>>>> {
        self.roles_of(room, users).await
    }

    async fn members(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<RoomMember, UserId>> {
        page.check()?;
        self.list_members(room, page).await
    }

    async fn online(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        self.list_online(room, page).await
    }

    async fn rooms_of(&self, user: &UserId, page: &Page<RoomId>) -> Result<Paged<RoomId, RoomId>> {
        page.check()?;
        self.list_rooms(user, page).await
    }

    async fn stats(&self, room: &RoomId) -> Result<RoomStats> {
        self.count(room).await
    }

    async fn touch_many(&self, rooms: &[RoomId]) -> Result<()> {
        self.touch(rooms).await
    }

    async fn age(&self, idle: Duration, archive: Duration, limit: usize) -> Result<Vec<RoomAged>> {
        self.age_rooms(idle, archive, limit).await
    }

    async fn delete(&self, room: &RoomId) -> Result<bool> {
        self.forget(room).await
    }
}

fn shard(room: &RoomId) -> Shard {
    Shard::of(room.as_str())
}

/// Places in `rooms`, by the shard of the room there.
fn by_shard(rooms: &[RoomId]) -> BTreeMap<Shard, Vec<usize>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for (place, room) in rooms.iter().enumerate() {
        places.entry(shard(room)).or_default().push(place);
    }
    places
}

/// Where a page begins, for `ZRANGEBYLEX`.
fn begin<T: AsRef<str>>(after: Option<T>) -> String {
    after.map_or_else(|| "-".to_owned(), |after| format!("({}", after.as_ref()))
}

/// This operation, over the connection for long replies if many items are asked for.
fn sized(operation: Operation, items: usize) -> Operation {
    if items > LONG { operation.bulk() } else { operation }
}

fn unknown(operation: Operation, room: &RoomId) -> Error {
    Error::new(Code::RoomNotFound).during(operation.name).with("room", room)
}
