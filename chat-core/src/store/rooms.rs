//! [`RoomStore`]: live rooms, and the index by which membership is asked on the hot path.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;

use super::only;
use crate::clock::Timestamp;
use crate::domain::page::{Page, Paged};
use crate::domain::{RoomId, RoomRole, UserId};
use crate::error::Result;

/// How long a removed member's version is remembered, so that a late "join" cannot bring it back: a day.
pub const REMOVAL_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// A room to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoom {
    /// Its id.
    pub id: RoomId,
    /// What kind of room: free text of the host, such as a conversation's kind.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// How many members it may have; `None` for no limit.
    pub max_members: Option<u32>,
    /// Who is in it from the beginning: those with a role. The room and they come into being together.
    pub members: Vec<RoomChange>,
}

/// Where a room stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomState {
    /// Something happened lately.
    Active,
    /// Nothing happened for a while.
    Idle,
    /// Nothing happened for long.
    Archived,
}

/// A room as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// Its id.
    pub id: RoomId,
    /// What kind of room.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// How many members it may have.
    pub max_members: Option<u32>,
    /// How many it has.
    pub members: u64,
    /// Where it stands in its life.
    pub state: RoomState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something last happened.
    pub last_activity: Timestamp,
}

/// A change to a room's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomChange {
    /// Who.
    pub user: UserId,
    /// As what from now on; `None` takes the member out.
    pub role: Option<RoomRole>,
    /// Which state of the truth this is: a change older than the last one of the same user is ignored. Zero for
    /// rooms without a truth behind them: always applied, and the last version known stays.
    pub version: u64,
}

/// What became of a [`RoomChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoomChanged {
    /// Joined, left or given another role.
    Changed,
    /// It was so already.
    Unchanged,
    /// A newer version is known: nothing changed.
    Outdated,
    /// The room has as many members as it may have: nothing changed, and the version was not noted.
    Full,
}

/// A member as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomMember {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: RoomRole,
    /// Since when.
    pub joined_at: Timestamp,
}

/// The most members of a room that were online at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomPeak {
    /// How many.
    pub online: u64,
    /// When; `None` if nobody ever was.
    pub at: Option<Timestamp>,
}

/// A room in numbers (seed 001's room presence statistics), at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomStats {
    /// How many members.
    pub members: u64,
    /// How many of them are online.
    pub online: u64,
    /// The most that were online at once, this instant included.
    pub peak: RoomPeak,
    /// How many members have each role.
    pub roles: BTreeMap<RoomRole, u64>,
}

/// A room that moved on in its life, handed to exactly one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomAged {
    /// Which room.
    pub room: RoomId,
    /// What it became.
    pub state: RoomState,
}

port! {
    /// Live rooms; kind of state: **derived** for a conversation's room, **volatile** for a room of its own. Seed 001's
    /// `RoomManager`. The room's side is authoritative; [`rooms_of`](RoomStore::rooms_of) is an index that may lag it.
    pub trait RoomStore as "rooms" {
        /// Creates a room, with its first members.
        ///
        /// # Atomicity
        /// Of racing callers exactly one gets `true`. Nobody sees the room without its first members.
        ///
        /// # Idempotency
        /// `false` when a room of this kind, name and limit is there already; its members stay as they are.
        ///
        /// # Errors
        /// [`Code::Conflict`](crate::error::Code::Conflict) when a different room has this id;
        /// [`Code::RoomFull`](crate::error::Code::RoomFull) for more first members than it may have.
        once async fn create(&self, room: &NewRoom) -> Result<bool>;

        /// Rooms by id.
        read async fn get_many(&self, rooms: &[RoomId]) -> Result<Vec<Option<Room>>>;

        /// Changes members; says what became of each change. Counts as activity when anything changed.
        ///
        /// # Atomicity
        /// Per room: the limit holds under any number of concurrent joins. The members' own lists follow.
        ///
        /// # Idempotency
        /// Joining twice is one membership, and keeps `joined_at`. Leaving a room one is not in changes nothing.
        ///
        /// # Errors
        /// [`Code::RoomNotFound`](crate::error::Code::RoomNotFound).
        once async fn change_members(&self, room: &RoomId, changes: &[RoomChange]) -> Result<Vec<RoomChanged>>;

        /// The roles of users in a room, in one round trip; `None` inside for a user who is no member, `None` outside
        /// when the index does not know the room and truth has to be asked.
        read async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Option<Vec<Option<RoomRole>>>>;

        /// The members, in a stable order.
        ///
        /// # Errors
        /// [`Code::RoomNotFound`](crate::error::Code::RoomNotFound).
        read async fn members(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<RoomMember, UserId>>;

        /// The members who are online, in a stable order, consistent with one instant.
        ///
        /// # Errors
        /// [`Code::RoomNotFound`](crate::error::Code::RoomNotFound).
        read async fn online(&self, room: &RoomId, page: &Page<UserId>) -> Result<Paged<UserId, UserId>>;

        /// The rooms of a user, in a stable order.
        read async fn rooms_of(&self, user: &UserId, page: &Page<RoomId>) -> Result<Paged<RoomId, RoomId>>;

        /// A room in numbers. The peak is at least every count of online members ever answered.
        ///
        /// # Errors
        /// [`Code::RoomNotFound`](crate::error::Code::RoomNotFound).
        read async fn stats(&self, room: &RoomId) -> Result<RoomStats>;

        /// Records activity now: an idle or archived room is active again. Unknown rooms are passed over.
        write async fn touch_many(&self, rooms: &[RoomId]) -> Result<()>;

        /// Ages up to `limit` rooms: active ones without activity for `idle` become idle, idle ones without activity
        /// for `archive` become archived, counted from their last activity. Nothing is ever deleted by this.
        ///
        /// # Atomicity
        /// Each step of each room is handed to exactly one of racing callers.
        once async fn age(&self, idle: Duration, archive: Duration, limit: usize) -> Result<Vec<RoomAged>>;

        /// Forgets a room, its members on both sides and who was removed from it; `true` if it was there.
        once async fn delete(&self, room: &RoomId) -> Result<bool>;
    }
}

/// Sugar over any [`RoomStore`]; implemented for all of them.
pub trait RoomStoreExt: RoomStore {
    /// One room.
    fn get(&self, room: &RoomId) -> impl Future<Output = Result<Option<Room>>> + Send {
        let one = [room.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// Lets a user in, without a truth behind it.
    fn join(
        &self,
        room: &RoomId,
        user: &UserId,
        role: RoomRole,
    ) -> impl Future<Output = Result<RoomChanged>> + Send {
        let one = [RoomChange { user: user.clone(), role: Some(role), version: 0 }];
        async move { only(self.change_members(room, &one).await?) }
    }

    /// Lets a user out, without a truth behind it.
    fn leave(&self, room: &RoomId, user: &UserId) -> impl Future<Output = Result<RoomChanged>> + Send {
        let one = [RoomChange { user: user.clone(), role: None, version: 0 }];
        async move { only(self.change_members(room, &one).await?) }
    }
}

impl<R: RoomStore + ?Sized> RoomStoreExt for R {}
