//! Rooms beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Goal, Row, Stage, acting, measure};
use chat_core::domain::{Page, RoomId, RoomRole, SessionId, UserId};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::{PresenceStore, RoomStore, RoomStoreExt};

/// How many members the room has; one in three is online.
const MEMBERS: usize = 100;
const LEASE: Duration = Duration::from_secs(60 * 60);

fn main() {
    let Some(stage) = Stage::set() else { return };
    stage.prepare(async {
        let member = |nth| RoomChange { user: user(nth), role: Some(RoomRole::Member), version: 0 };
        for nth in 0..=100 {
            let members = if nth == 0 { (0..MEMBERS).map(member).collect() } else { Vec::new() };
            let new = NewRoom { id: room(nth), kind: "group".into(), name: None, max_members: None, members };
            assert!(stage.redis.rooms.create(&new).await.unwrap());
        }
        for nth in (0..MEMBERS).step_by(3) {
            let session = SessionId::new("s").unwrap();
            let connect = Connect { user: user(nth), session, device: None, lease: LEASE };
            stage.redis.presence.connect(&connect).await.unwrap();
        }
    });
    let rows = [role(&stage), get_many(&stage), online(&stage), touch_many(&stage), both(&stage)];
    measure(&stage, &rows);
}

fn user(nth: usize) -> UserId {
    UserId::new(format!("user{nth:06}")).unwrap()
}

fn room(nth: usize) -> RoomId {
    RoomId::new(format!("room{nth:06}")).unwrap()
}

fn role(stage: &Stage) -> Row {
    let rooms = Arc::clone(&stage.redis.rooms);
    let ours = acting(move |_, _| {
        let rooms = Arc::clone(&rooms);
        async move {
            let roles = rooms.roles(&room(0), &[user(1)]).await.unwrap().unwrap();
            assert_eq!(roles, [Some(RoomRole::Member)]);
        }
    });
    let mut row = stage.row("rooms role", ours);
    row.goals = vec![Goal { tasks: 1, beside: "raw driver, the same commands", at_least: 0.9 }];
    row
}

fn get_many(stage: &Stage) -> Row {
    let (rooms, all) = (Arc::clone(&stage.redis.rooms), Arc::new((0..100).map(room).collect::<Vec<_>>()));
    let ours = acting(move |_, _| {
        let (rooms, all) = (Arc::clone(&rooms), Arc::clone(&all));
        async move { assert!(rooms.get_many(&all).await.unwrap().iter().all(Option::is_some)) }
    });
    let mut row = stage.row("rooms get 100", ours);
    row.elements = 100;
    row
}

fn online(stage: &Stage) -> Row {
    let rooms = Arc::clone(&stage.redis.rooms);
    let ours = acting(move |_, _| {
        let rooms = Arc::clone(&rooms);
        async move {
            let online = rooms.online(&room(0), &Page::first(MEMBERS)).await.unwrap();
            assert_eq!(online.items.len(), MEMBERS.div_ceil(3));
        }
    });
    stage.row("rooms online of 100", ours)
}

fn touch_many(stage: &Stage) -> Row {
    let (rooms, all) = (Arc::clone(&stage.redis.rooms), Arc::new((0..100).map(room).collect::<Vec<_>>()));
    let ours = acting(move |_, _| {
        let (rooms, all) = (Arc::clone(&rooms), Arc::clone(&all));
        async move { rooms.touch_many(&all).await.unwrap() }
    });
    let mut row = stage.row("rooms touch 100", ours);
    row.elements = 100;
    row
}

fn both(stage: &Stage) -> Row {
    let rooms = Arc::clone(&stage.redis.rooms);
    let ours = acting(move |_, nth| {
        let rooms = Arc::clone(&rooms);
        async move {
            let visitor = UserId::new(format!("visitor{nth:012}")).unwrap();
            rooms.join(&room(0), &visitor, RoomRole::Member).await.unwrap();
            rooms.leave(&room(0), &visitor).await.unwrap();
        }
    });
    stage.row("rooms join and leave", ours)
}
