//! Rooms on real servers: what is lost on the way, left half done, moved, taken away or simply large.

mod rooms_chores;
mod rooms_cluster;
mod rooms_large;
mod rooms_lost;
mod rooms_odd;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::{Page, RoomId, RoomRole, UserId};
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_redis::{Redis, RedisConfig, RedisPresence, RedisRooms, RedisService};
use chat_testkit::Trial;
use chat_testkit::walk::walk;

const MEMBER: RoomRole = RoomRole::Member;

pub(crate) fn trials() -> Vec<Trial> {
    let topics = [
        rooms_chores::trials(),
        rooms_cluster::trials(),
        rooms_large::trials(),
        rooms_lost::trials(),
        rooms_odd::trials(),
    ];
    topics.into_iter().flatten().collect()
}

/// One node of a service.
#[derive(Clone)]
struct Node {
    rooms: Arc<RedisRooms>,
    presence: Arc<RedisPresence>,
    clock: ManualClock,
}

async fn node(url: &str) -> Node {
    waiting(url, Duration::from_secs(2)).await
}

/// A node that asks again when no reply comes for this long.
async fn waiting(url: &str, patience: Duration) -> Node {
    let (clock, mut config) = (ManualClock::default(), RedisConfig::from_url(url).unwrap());
    config.timing.operation = Duration::from_secs(5);
    config.timing.response = patience;
    let config = config.with_clock(Arc::new(clock.clone()));
    let service = RedisService::connect(&config).await.unwrap();
    let Redis { rooms, presence, .. } = Redis::new(service, &config.keys);
    Node { rooms, presence, clock }
}

fn user(name: impl AsRef<str>) -> UserId {
    UserId::new(name).unwrap()
}

fn room(name: impl AsRef<str>) -> RoomId {
    RoomId::new(name).unwrap()
}

fn numbered(prefix: &str, count: usize) -> Vec<UserId> {
    (0..count).map(|nth| user(format!("{prefix}{nth:06}"))).collect()
}

fn join(user: &UserId, version: u64) -> RoomChange {
    RoomChange { user: user.clone(), role: Some(MEMBER), version }
}

fn leave(user: &UserId, version: u64) -> RoomChange {
    RoomChange { user: user.clone(), role: None, version }
}

fn with_members(id: &RoomId, members: &[UserId]) -> NewRoom {
    let members = members.iter().map(|member| join(member, 1)).collect();
    NewRoom { id: id.clone(), kind: "group".to_owned(), name: None, max_members: None, members }
}

impl Node {
    async fn make(&self, name: &str, members: &[UserId]) -> RoomId {
        let id = room(name);
        assert!(self.rooms.create(&with_members(&id, members)).await.unwrap(), "{name} was there before");
        id
    }

    async fn members(&self, id: &RoomId) -> BTreeSet<UserId> {
        let found = walk(1_000, |page| async move { self.rooms.members(id, &page).await }).await;
        found.into_iter().map(|member| member.user).collect()
    }

    async fn rooms_of(&self, user: &UserId) -> BTreeSet<RoomId> {
        let found = walk(1_000, |page| async move { self.rooms.rooms_of(user, &page).await }).await;
        found.into_iter().collect()
    }

    async fn is_in(&self, id: &RoomId, user: &UserId) -> bool {
        let roles = self.rooms.roles(id, std::slice::from_ref(user)).await.unwrap();
        roles.is_some_and(|roles| roles[0].is_some())
    }

    async fn is_there(&self, id: &RoomId) -> bool {
        self.rooms.get(id).await.unwrap().is_some()
    }

    async fn counts(&self, id: &RoomId) -> u64 {
        self.rooms.get(id).await.unwrap().unwrap().members
    }

    /// Lets time do what it does beside ageing: nothing is due.
    async fn tidy(&self) {
        let aged = self.rooms.age(Duration::MAX, Duration::MAX, 1).await.unwrap();
        assert_eq!(aged, []);
    }

    async fn online(&self, id: &RoomId) -> Vec<UserId> {
        let found = self.rooms.online(id, &Page::first(1_000)).await.unwrap();
        assert_eq!(found.next, None);
        found.items
    }
}
