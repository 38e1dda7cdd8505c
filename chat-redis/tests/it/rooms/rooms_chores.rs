//! What was begun by somebody who then went away.

use std::collections::BTreeSet;

use chat_core::domain::UserId;
use chat_core::store::rooms::RoomChanged;
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

use super::{MEMBER, Node, node, numbered, room, user, with_members};

trials! { needs "redis":
    the_lists_of_many_first_members_follow,
    the_lists_of_many_last_members_follow,
    a_room_that_was_taken_away_is_made_anew,
}

const MANY: usize = 2_500;

/// A node that does no chores: every attempt ends its connection.
async fn lazy(server: &Redis) -> (Proxy, Node) {
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let node = node(&server.url_at(proxy.address())).await;
    for _ in 0..100 {
        // Chores are named after a room, which is "r", or an operation; nothing else begins like this.
        let is_chore = |request: &[u8]| {
            let text = String::from_utf8_lossy(request);
            let of_operation = |word: &str| {
                word.len() < 18
                    && word.strip_prefix('-').is_some_and(|id| u64::from_str_radix(id, 16).is_ok())
            };
            text.contains("$2\r\n+r\r\n") || text.split("\r\n").any(of_operation)
        };
        proxy.cut_before(Request::when(is_chore));
    }
    (proxy, node)
}

/// Of these users, those who list the room.
async fn listing<'a>(node: &Node, name: &str, users: &'a [UserId]) -> BTreeSet<&'a UserId> {
    let mut listing = BTreeSet::new();
    for user in users {
        if node.rooms_of(user).await.contains(&room(name)) {
            listing.insert(user);
        }
    }
    listing
}

async fn the_lists_of_many_first_members_follow() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (proxy, gone) = lazy(&server).await;
    let other = node(&server.url()).await;
    let users = numbered("u", MANY);
    let r = room("r");
    assert!(gone.rooms.create(&with_members(&r, &users)).await.unwrap());
    assert!(proxy.counts().faults > 0, "nobody has been listed yet");
    assert_eq!((other.counts(&r).await, other.members(&r).await.len()), (2_500, 2_500), "the room is whole");
    assert!(!other.rooms.create(&with_members(&r, &[])).await.unwrap());
    let some = [0, 249, 250, 251, 2_499].map(|nth| users[nth].clone());
    assert!(listing(&other, "r", &some).await.is_empty());
    // Meanwhile some leave and some come.
    assert_eq!(other.rooms.leave(&r, &some[3]).await.unwrap(), RoomChanged::Changed);
    assert_eq!(other.rooms.join(&r, &user("a"), MEMBER).await.unwrap(), RoomChanged::Changed);
    for _ in 0..11 {
        other.tidy().await;
    }
    let expected: BTreeSet<_> = [&some[0], &some[1], &some[2], &some[4]].into();
    assert_eq!(listing(&other, "r", &some).await, expected);
    assert_eq!(other.rooms_of(&user("a")).await, [r.clone()].into());
    assert_eq!(server.command(&["KEYS", "*:z"]).list().len(), 0, "all chores are done");
    // Done by the one who makes the room, nobody has to wait.
    let s = other.make("s", &users).await;
    assert_eq!(listing(&other, "s", &some).await.len(), 5);
    assert!(other.rooms.delete(&s).await.unwrap());
    assert!(listing(&other, "s", &users).await.is_empty());
    Ok(())
}

async fn the_lists_of_many_last_members_follow() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (proxy, gone) = lazy(&server).await;
    let other = node(&server.url()).await;
    let users = numbered("u", MANY);
    let r = other.make("r", &users).await;
    assert!(gone.rooms.delete(&r).await.unwrap());
    assert!(proxy.counts().faults > 0, "nobody has been told yet");
    assert!(!other.is_there(&r).await && !other.is_in(&r, &users[0]).await);
    assert!(!other.rooms.delete(&r).await.unwrap());
    let some = [0, 249, 250, 251, 2_499].map(|nth| users[nth].clone());
    // It is made anew, with some of those who were in it.
    let back = [some[1].clone(), some[4].clone()];
    other.make("r", &back[..1]).await;
    other.rooms.join(&r, &back[1], MEMBER).await.unwrap();
    for _ in 0..11 {
        other.tidy().await;
    }
    assert_eq!(listing(&other, "r", &some).await, back.iter().collect(), "those of the new room stay");
    assert_eq!(other.members(&r).await, back.into());
    assert!(server.command(&["KEYS", "*:[zt]*"]).list().is_empty(), "nothing is left");
    Ok(())
}

async fn a_room_that_was_taken_away_is_made_anew() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let users = numbered("u", 3);
    let r = node.make("r", &users).await;
    let key = server.command(&["KEYS", "*:h:r"]).list()[0].text();
    server.command(&["DEL", &key]);
    assert_eq!(node.rooms.roles(&r, &users).await.unwrap(), None, "the truth has to be asked");
    assert!(node.rooms.create(&with_members(&r, &users[1..2])).await.unwrap());
    assert_eq!(node.members(&r).await, users[1..2].iter().cloned().collect());
    node.tidy().await;
    assert_eq!(listing(&node, "r", &users).await, [&users[1]].into(), "the others' lists follow");
    Ok(())
}
