//! What rooms cost.

use std::ops::Range;
use std::time::Duration;

use chat_core::domain::{Page, RoomId, RoomRole, UserId};
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_redis::Redis;

use super::{Meter, NOTHING, SHARDS, for_each, id};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn member(name: &str) -> RoomChange {
    RoomChange { user: user(name), role: Some(RoomRole::Member), version: 1 }
}

fn new(name: &str, members: Vec<RoomChange>) -> NewRoom {
    NewRoom { id: room(name), kind: "group".to_owned(), name: None, max_members: None, members }
}

/// A room of one for each user; and, from the beginning, one of 10, one of 10 000, and somebody in a hundred rooms.
pub(super) async fn fill(redis: &Redis, range: Range<usize>) {
    let rooms = &*redis.rooms;
    if range.start == 0 {
        for (name, members) in [("room of 10", 10), ("room of 9999", 9_999)] {
            let members: Vec<RoomChange> = (0..members).map(|nth| member(&id(nth))).collect();
            rooms.create(&new(name, Vec::new())).await.unwrap();
            rooms.change_members(&room(name), &members).await.unwrap();
        }
        for_each(0..100, |nth| async move {
            rooms.create(&new(&format!("hundred{nth:04}"), vec![member("busy")])).await.unwrap();
        })
        .await;
    }
    for_each(range, |nth| async move {
        rooms.create(&new(&id(nth), vec![member(&id(nth))])).await.unwrap();
    })
    .await;
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let rooms = &*meter.redis.rooms.clone();
    let (ten, crowd, ann) = (&room("room of 10"), &room("room of 9999"), &user(&id(1)));
    let names: Vec<String> = (0..2).map(|nth| meter.fresh(nth)).collect();
    let (names, page, users) = (&names[..], &Page::first(10), &Page::first(10));

    meter
        .measure("rooms: create", 1, "2 / 2", |nth| {
            let new = new(&names[nth], vec![member(&names[nth])]);
            async move { rooms.create(&new).await }
        })
        .await;
    let join = |to, name: &str| {
        let change = [member(name)];
        async move { rooms.change_members(to, &change).await }
    };
    let leave = |from, name: &str| {
        let change = [RoomChange { role: None, version: 2, ..member(name) }];
        async move { rooms.change_members(from, &change).await }
    };
    meter.measure("rooms: join a room of 10", 1, "8 / 8", |nth| join(ten, &names[nth])).await;
    meter.measure("rooms: join a room of 9 999", 1, "8 / 8", |nth| join(crowd, &names[nth])).await;
    meter.measure("rooms: leave a room of 10", 1, "4 / 4", |nth| leave(ten, &names[nth])).await;
    meter.measure("rooms: leave a room of 9 999", 1, "4 / 4", |nth| leave(crowd, &names[nth])).await;

    let one = std::slice::from_ref(ann);
    meter.measure("rooms: role in a room of 10", 1, "1 / 1", |_| rooms.roles(ten, one)).await;
    meter.measure("rooms: role in a room of 9 999", 1, "1 / 1", |_| rooms.roles(crowd, one)).await;
    meter.measure("rooms: get", 1, NOTHING, |_| rooms.get(ten)).await;
    let hundred: Vec<RoomId> = (0..100).map(|nth| room(&format!("hundred{nth:04}"))).collect();
    let hundred = &hundred[..];
    meter.measure("rooms: get 100", SHARDS, NOTHING, |_| rooms.get_many(hundred)).await;
    meter.measure("rooms: touch", 1, "3 / 3", |_| rooms.touch_many(std::slice::from_ref(ten))).await;
    meter.measure("rooms: touch 100", SHARDS, "300 / 300", |_| rooms.touch_many(hundred)).await;
    let busy = &user("busy");
    meter
        .measure("rooms: 10 of the 100 rooms of a user", SHARDS, "1 / 1", |_| rooms.rooms_of(busy, page))
        .await;
    meter.measure("rooms: 10 members of 9 999", 1, "10 000 / 10 000", |_| rooms.members(crowd, users)).await;
    meter.measure_trips("rooms: online of 10", (34, 3), NOTHING, |_| rooms.online(ten, users)).await;
    meter.measure_trips("rooms: statistics of 10", (34, 3), "43 / 43", |_| rooms.stats(ten)).await;
    meter.measure("rooms: age, nothing due", SHARDS, NOTHING, |_| rooms.age(DAY, DAY, 100)).await;
    meter
        .measure("rooms: delete", 1, NOTHING, |nth| {
            let gone = room(&names[nth]);
            async move { rooms.delete(&gone).await }
        })
        .await;
}
