//! Ids, data and clocks that nobody expects.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_core::domain::{Page, UserId};
use chat_core::error::Code;
use chat_core::store::rooms::{REMOVAL_MEMORY, RoomAged, RoomChanged, RoomState};
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_testkit::sample::hostile_ids;
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

use super::{MEMBER, join, leave, node, room, user};

trials! { needs "redis":
    hostile_ids_leave_nothing_behind,
    removals_are_kept_apart_by_every_byte,
    what_is_not_ours_is_corrupt_data,
    two_key_spaces_share_nothing,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

fn hostile() -> Vec<String> {
    let mut ids = hostile_ids();
    let also = [
        "a:b:c", "b:c", "a:", ":a", "a{", "a}", "%", "%25", "%3A", "%7B", "\\n", "[", "(", "+", "-", "h", "z",
    ];
    ids.extend(also.map(str::to_owned));
    ids
}

async fn hostile_ids_leave_nothing_behind() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let ids = hostile();
    let all: BTreeSet<UserId> = ids.iter().map(user).collect();
    for id in &ids {
        // The odd ones come in one by one.
        let first: Vec<_> = all.iter().step_by(2).cloned().collect();
        let r = node.make(id, &first).await;
        let changes: Vec<_> = all.iter().skip(1).step_by(2).map(|user| join(user, 0)).collect();
        assert!(
            node.rooms.change_members(&r, &changes).await.unwrap().iter().all(|o| *o == RoomChanged::Changed)
        );
    }
    let rooms: BTreeSet<_> = ids.iter().map(room).collect();
    for who in &all {
        assert_eq!(node.rooms_of(who).await, rooms, "{who:?}");
    }
    for (wait, state) in [(HOUR, RoomState::Idle), (HOUR, RoomState::Archived)] {
        node.clock.advance(wait);
        let aged = node.rooms.age(HOUR, HOUR * 2, 1_000).await.unwrap();
        let expected: Vec<_> = rooms.iter().map(|room| RoomAged { room: room.clone(), state }).collect();
        assert!(aged.len() == rooms.len() && expected.iter().all(|step| aged.contains(step)), "{aged:?}");
    }
    node.rooms.touch_many(&ids.iter().map(room).collect::<Vec<_>>()).await.unwrap();
    let found = node.rooms.get_many(&ids.iter().map(room).collect::<Vec<_>>()).await.unwrap();
    assert!(
        found
            .iter()
            .flatten()
            .all(|room| room.state == RoomState::Active && room.members == all.len() as u64)
    );
    assert_eq!(found.len(), found.iter().flatten().count());
    for id in &ids {
        assert_eq!(node.members(&room(id)).await, all, "{id:?}");
        assert_eq!(node.rooms.leave(&room(id), &user(id)).await.unwrap(), RoomChanged::Changed);
        assert_eq!(node.rooms.stats(&room(id)).await.unwrap().members, all.len() as u64 - 1);
        let mut others = rooms.clone();
        others.remove(&room(id));
        assert_eq!(node.rooms_of(&user(id)).await, others, "{id:?} left one room");
    }
    for id in &ids {
        assert!(node.rooms.delete(&room(id)).await.unwrap());
    }
    for who in &all {
        assert_eq!(node.rooms_of(who).await, BTreeSet::new());
    }
    for key in server.command(&["KEYS", "*"]).list() {
        let key = key.text();
        assert!(key.contains("}:q:") || key.contains("}:x:"), "{key} is left");
        assert!(server.command(&["PTTL", &key]).int() > 0, "{key} goes by itself");
    }
    Ok(())
}

async fn removals_are_kept_apart_by_every_byte() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let pairs = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("a", "b%3Ac"), ("a:", "b"), ("a", ":b")];
    for name in ["a", "a:b", "a%3Ab", "a:"] {
        node.make(name, &[]).await;
    }
    for (nth, (r, who)) in pairs.iter().enumerate() {
        let version = 10 + nth as u64;
        let outcome = node.rooms.change_members(&room(r), &[leave(&user(who), version)]).await.unwrap();
        assert_eq!(outcome, [RoomChanged::Unchanged]);
    }
    for (nth, (r, who)) in pairs.iter().enumerate() {
        let version = 10 + nth as u64;
        let changes = [join(&user(who), version - 1), join(&user(who), version)];
        let outcome = node.rooms.change_members(&room(r), &changes).await.unwrap();
        assert_eq!(outcome, [RoomChanged::Outdated, RoomChanged::Changed], "{r:?} {who:?}");
    }
    let kept = |key: &str| server.command(&["PTTL", key]).int();
    node.rooms.change_members(&room("a"), &[leave(&user("d"), 1)]).await.unwrap();
    let key = server.command(&["KEYS", "*:x:a:d"]).list()[0].text();
    assert!(kept(&key) >= i64::try_from(REMOVAL_MEMORY.as_millis()).unwrap());
    Ok(())
}

async fn what_is_not_ours_is_corrupt_data() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let (r, ann) = (node.make("r", &[user("ann")]).await, user("ann"));
    let key = server.command(&["KEYS", "*:h:r"]).list()[0].text();
    let corrupt = |error: chat_core::error::Error| assert_eq!(error.code(), Code::DataCorrupt, "{error:?}");
    for seat in ["", "9 1 1", "0", "0 1 x"] {
        server.command(&["HSET", &key, "ann", seat]);
        corrupt(node.rooms.members(&r, &Page::first(9)).await.unwrap_err());
        corrupt(node.rooms.join(&r, &ann, MEMBER).await.unwrap_err());
    }
    server.command(&["HSET", &key, "ann", "9 1 1"]);
    corrupt(node.rooms.roles(&r, std::slice::from_ref(&ann)).await.unwrap_err());
    server.command(&["HSET", &key, "\u{1}s", "7"]);
    corrupt(node.rooms.get(&r).await.unwrap_err());
    server.command(&["SET", &key, "something else"]);
    corrupt(node.rooms.get(&r).await.unwrap_err());
    corrupt(node.rooms.roles(&r, std::slice::from_ref(&ann)).await.unwrap_err());
    corrupt(node.rooms.members(&r, &Page::first(9)).await.unwrap_err());
    corrupt(node.rooms.online(&r, &Page::first(9)).await.unwrap_err());
    corrupt(node.rooms.stats(&r).await.unwrap_err());
    corrupt(node.rooms.join(&r, &ann, MEMBER).await.unwrap_err());
    corrupt(node.rooms.create(&super::with_members(&r, &[])).await.unwrap_err());
    corrupt(node.rooms.touch_many(std::slice::from_ref(&r)).await.unwrap_err());
    corrupt(node.rooms.delete(&r).await.unwrap_err());
    Ok(())
}

async fn two_key_spaces_share_nothing() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let url = server.url();
    let (one, two) = (node(&url).await, node(&format!("{url}?prefix=chat2")).await);
    let r = one.make("r", &[user("ann")]).await;
    two.make("r", &[user("ben")]).await;
    assert_eq!(one.members(&r).await, [user("ann")].into());
    assert!(one.rooms.delete(&r).await.unwrap());
    assert_eq!(two.rooms_of(&user("ben")).await, [r.clone()].into());
    assert_eq!(two.members(&r).await, [user("ben")].into());
    Ok(())
}
