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
//! * No script looks at more than about a thousand members. The lists of more than that follow as a *chore*, in parts;
//!   what a crash leaves over of it is done by [`age`](RoomStore::age).

mod change;
mod create;
mod life;
mod list;
mod online;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{RoomId, RoomRole, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::store::rooms::{NewRoom, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomStats};
use chat_core::store::{PresenceStore, RoomStore};
use uuid::Uuid;

use crate::connection::{Command, Operation};
use crate::keys::{Key, Shard};
use crate::script::Script;
use crate::store::Store;

/// How many members one script looks at or changes at most, so that it holds the server for a millisecond or two.
const PART: usize = 1_000;
/// From how many items on a reply travels apart from the short ones.
const LONG: usize = 250;

/// Declares scripts over the rooms of one shard: what `scripts!` does, with `rooms_common.lua` in front.
macro_rules! room_scripts {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: $crate::script::Script = $crate::script::Script::joined(&[
            $crate::script::PRELUDE,
            include_str!("../scripts/rooms_common.lua"),
            include_str!(concat!("../scripts/", $file, ".lua")),
        ]);)*
    };
}
use room_scripts;

/// Live rooms, their members and their lives; kind of state: **derived** or **volatile**, as the port says.
///
/// Everything about a room is in the shard of its id, and every change of it is one script: both sides of a membership
/// agree at every instant. Presence is somebody else's: members are taken at a revision of the room, and who of them is
/// online counts if the room is still at that revision afterwards. Only where members come and go faster than presence
/// can answer (64 tries, or 100 000 members asked about) it tells of two instants close together, as in memory.
///
/// | operation | commands | round trips |
/// |---|---|---|
/// | `create` | 1; from 1001 first members on, 1 + 2 per thousand | as many |
/// | `get_many`, `touch_many` | one a shard, at most 16 | 1 |
/// | `change_members` | 1 per 500 changes | as many |
/// | `roles` | 1 `HMGET` | 1 |
/// | `members` | 1 | 1 |
/// | `rooms_of` | 16 `ZRANGEBYLEX` | 1 |
/// | `online` | 2, and one question to presence | 3; 2 more if a member came or went meanwhile |
/// | `stats` | as `online`; 1 more per 5000 members | as many |
/// | `age` | 16 if nothing is due, 16 more per 1600 steps | 1 to 2, then 1 per 1600 steps |
/// | `delete` | 1; from 1001 members on, 1 + 1 per thousand | as many |
#[derive(Clone)]
pub struct RedisRooms {
    store: Store,
    presence: Arc<dyn PresenceStore>,
}

impl RedisRooms {
    /// Rooms in the store's key space; `presence` says who is online, of all users it is asked about at one instant.
    pub(crate) fn new(store: Store, presence: Arc<dyn PresenceStore>) -> Self {
        Self { store, presence }
    }

    /// A script over the rooms of a shard.
    fn script(&self, script: &'static Script, shard: Shard) -> Command {
        self.store.script(script, &[self.key(shard, &[])])
    }

    /// A script over a room, which is its first argument.
    fn room_script(&self, script: &'static Script, room: &RoomId) -> Command {
        self.script(script, shard(room)).arg(room.as_str())
    }

    fn key(&self, shard: Shard, parts: &[&str]) -> Key {
        self.store.keys.sharded("r", shard, parts)
    }
}

impl fmt::Debug for RedisRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRooms").field("store", &self.store).finish_non_exhaustive()
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

/// What an operation is called, so that its answer is remembered for a repeat.
fn operation_id() -> String {
    Uuid::new_v4().simple().to_string()
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
