//! Replies that are lost after the work was done.

use std::time::Duration;

use chat_core::domain::{RoomId, RoomRole};
use chat_core::store::rooms::{NewRoom, RoomAged, RoomChange, RoomChanged, RoomState};
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

use super::super::lost::{between, losing};
use super::{MEMBER, Node, join, leave, node, numbered, room, user, waiting, with_members};

trials! { needs "redis":
    whoever_lost_the_reply_gets_the_same_answer,
    a_repeat_does_not_undo_what_came_between,
    a_step_is_handed_out_though_its_reply_was_lost,
    reading_repeats,
    a_server_that_lost_its_scripts_is_told_again,
}

/// A server and a node behind a proxy, whose scripts the server knows already.
async fn behind_a_proxy() -> Result<(Redis, Proxy, Node), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let node = waiting(&server.url_at(proxy.address()), Duration::from_millis(300)).await;
    let known = node.make("known", &numbered("k", 1)).await;
    node.rooms.join(&known, &user("ann"), MEMBER).await.unwrap();
    node.rooms.stats(&known).await.unwrap();
    node.rooms.touch_many(std::slice::from_ref(&known)).await.unwrap();
    node.rooms.members(&known, &chat_core::domain::Page::first(1)).await.unwrap();
    node.tidy().await;
    assert!(node.rooms.delete(&known).await.unwrap());
    Ok((server, proxy, node))
}

async fn whoever_lost_the_reply_gets_the_same_answer() -> Result<(), Absent> {
    use RoomChanged::{Changed, Full, Outdated, Unchanged};
    let (_server, proxy, node) = behind_a_proxy().await?;
    let (r, rooms) = (room("r"), &node.rooms);
    let [ann, ben, cid] = ["ann", "ben", "cid"].map(user);
    let new = NewRoom { max_members: Some(2), ..with_members(&r, std::slice::from_ref(&ann)) };
    assert!(losing(&proxy, rooms.create(&new)).await.unwrap(), "it was made by this call");
    assert!(!losing(&proxy, rooms.create(&new)).await.unwrap());
    let promote = RoomChange { role: Some(RoomRole::Admin), ..join(&ann, 2) };
    let changes = [join(&ben, 5), promote, join(&cid, 1), join(&ben, 4), join(&ben, 5)];
    let outcomes = losing(&proxy, rooms.change_members(&r, &changes)).await.unwrap();
    assert_eq!(outcomes, [Changed, Changed, Full, Outdated, Unchanged]);
    let outcomes = losing(&proxy, rooms.change_members(&r, &[leave(&ben, 6), leave(&cid, 0)])).await.unwrap();
    assert_eq!(outcomes, [Changed, Unchanged]);
    assert_eq!((node.counts(&r).await, node.members(&r).await), (1, [ann].into()), "each was done once");
    assert!(losing(&proxy, rooms.delete(&r)).await.unwrap(), "it was deleted by this call");
    assert!(!losing(&proxy, rooms.delete(&r)).await.unwrap());
    Ok(())
}

async fn a_repeat_does_not_undo_what_came_between() -> Result<(), Absent> {
    let (server, proxy, node) = behind_a_proxy().await?;
    let other = super::node(&server.url()).await;
    let (r, ann) = (node.make("r", &[]).await, user("ann"));

    let outcome =
        between(&proxy, node.rooms.join(&r, &ann, MEMBER), async || other.is_in(&r, &ann).await, async {
            assert_eq!(other.rooms.leave(&r, &ann).await.unwrap(), RoomChanged::Changed)
        });
    assert_eq!(outcome.await.unwrap(), RoomChanged::Changed);
    assert!(!other.is_in(&r, &ann).await, "whoever was let out stays out");

    let s = room("s");
    let new = with_members(&s, &[]);
    let made = between(&proxy, node.rooms.create(&new), async || other.is_there(&s).await, async {
        assert!(other.rooms.delete(&s).await.unwrap())
    });
    assert!(made.await.unwrap());
    assert!(!other.is_there(&s).await, "what was deleted stays deleted");

    let deleted = between(&proxy, node.rooms.delete(&r), async || !other.is_there(&r).await, async {
        drop(other.make("r", &[]).await)
    });
    assert!(deleted.await.unwrap());
    assert!(other.is_there(&r).await, "what was made anew is there");
    Ok(())
}

async fn a_step_is_handed_out_though_its_reply_was_lost() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let hour = Duration::from_secs(60 * 60);
    let mut expected = Vec::new();
    for nth in 0..40 {
        let id = node.make(&format!("r{nth}"), &[]).await;
        expected.push(RoomAged { room: id, state: RoomState::Idle });
    }
    node.clock.advance(hour);
    // Each shard has its own script; lose the reply of several.
    for nth in [1, 4, 9] {
        proxy.cut_after(Request::with("EVALSHA").but_the(nth));
    }
    let mut aged = node.rooms.age(hour, hour * 2, 100).await.unwrap();
    assert!(proxy.counts().faults >= 1);
    proxy.pass().await;
    let by_room = |aged: &RoomAged| aged.room.clone();
    aged.sort_by_key(by_room);
    expected.sort_by_key(by_room);
    assert_eq!(aged, expected, "each once, and none is lost");
    assert_eq!(node.rooms.age(hour, hour * 2, 100).await.unwrap(), []);
    Ok(())
}

async fn reading_repeats() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let r: RoomId = node.make("r", &numbered("u", 3)).await;
    assert_eq!(losing(&proxy, node.rooms.get(&r)).await.unwrap().unwrap().members, 3);
    assert_eq!(losing(&proxy, node.members(&r)).await.len(), 3);
    assert_eq!(losing(&proxy, node.rooms.stats(&r)).await.unwrap().members, 3);
    losing(&proxy, node.rooms.touch_many(&[r])).await.unwrap();
    Ok(())
}

async fn a_server_that_lost_its_scripts_is_told_again() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    for round in 0..2 {
        let r = node.make("r", &numbered("u", 3)).await;
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(node.rooms.join(&r, &user("ann"), MEMBER).await.unwrap(), RoomChanged::Changed);
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(node.rooms.stats(&r).await.unwrap().members, 4, "round {round}");
        assert!(node.rooms.delete(&r).await.unwrap());
    }
    Ok(())
}
