//! Rooms on a cluster whose slots move and whose nodes die.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_core::domain::{Page, RoomId, UserId};
use chat_core::error::Code;
use chat_core::store::rooms::{RoomChanged, RoomState};
use chat_core::store::{RoomStore, RoomStoreExt};
use chat_testkit::server::{RedisCluster, RedisOptions};
use chat_testkit::walk::eventually;
use chat_testkit::{Absent, trials};

use super::{MEMBER, Node, node, numbered, room, user};

trials! { needs "redis":
    a_room_on_its_way_is_whole_or_unavailable,
    what_the_living_shards_hand_out_is_not_lost,
}

fn url(cluster: &RedisCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_owned()).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

/// Where a room is: its slot, and the number of its node.
fn place(cluster: &RedisCluster, id: &RoomId) -> (u16, usize) {
    let pattern = format!("*:h:{id}");
    let keys = cluster.nodes().iter().flat_map(|node| node.command(&["KEYS", &pattern]).list().to_vec());
    let keys: Vec<_> = keys.collect();
    assert_eq!(keys.len(), 1, "{id} is in one place");
    let slot = cluster.slot(keys[0].text());
    (slot, cluster.owner(slot))
}

fn is_away(error: &chat_core::error::Error) -> bool {
    matches!(error.code(), Code::Unavailable | Code::Timeout)
}

/// Everything about a room says that it has these members, perhaps some more, or that it cannot be said now. Whether it
/// was said.
async fn says(node: &Node, id: &RoomId, surely: &BTreeSet<UserId>, perhaps: &BTreeSet<UserId>) -> bool {
    let count = surely.len() as u64..=surely.union(perhaps).count() as u64;
    let one = surely.first().expect("a member");
    let found = node.rooms.members(id, &Page::first(1_000)).await.map(|found| {
        let found: BTreeSet<_> = found.items.into_iter().map(|member| member.user).collect();
        assert!(found.is_superset(surely) && found.difference(surely).all(|user| perhaps.contains(user)));
    });
    let answers = [
        found,
        node.rooms.get(id).await.map(|found| assert!(count.contains(&found.expect("a room").members))),
        node.rooms.stats(id).await.map(|stats| assert!(count.contains(&stats.members))),
        node.rooms
            .roles(id, std::slice::from_ref(one))
            .await
            .map(|roles| assert_eq!(roles, Some(vec![Some(MEMBER)]))),
    ];
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(is_away(error), "{error:?}");
    }
    answers.iter().all(Result::is_ok)
}

async fn a_room_on_its_way_is_whole_or_unavailable() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let node = node(&url(&cluster)).await;
    let users = numbered("u", 20);
    let r = node.make("r", &users).await;
    // Many keys of the same slot.
    let names: Vec<_> = (0..200).map(|nth| format!("s{nth}")).collect();
    for name in &names {
        node.make(name, &users[..2]).await;
    }
    let (slot, from) = place(&cluster, &r);
    let to = (from + 1) % 3;
    let migration = cluster.migrate(slot, from, to);
    let (mut surely, mut perhaps) = (BTreeSet::from_iter(users.clone()), BTreeSet::new());
    for step in 0..4 {
        let new = user(format!("new{step}"));
        match node.rooms.join(&r, &new, MEMBER).await {
            Ok(outcome) => {
                assert_eq!(outcome, RoomChanged::Changed);
                surely.insert(new);
            }
            Err(error) => {
                assert!(is_away(&error), "{error:?}");
                perhaps.insert(new);
            }
        }
        says(&node, &r, &surely, &perhaps).await;
        migration.move_keys(10);
    }
    migration.finish();
    eventually("the room is whole again", || says(&node, &r, &surely, &perhaps)).await;
    assert_eq!(place(&cluster, &r), (slot, to));
    for user in surely.union(&perhaps) {
        assert_eq!(node.rooms_of(user).await.contains(&r), node.is_in(&r, user).await, "{user}");
    }
    assert_eq!(node.counts(&r).await, node.members(&r).await.len() as u64);
    assert_eq!(node.rooms.join(&r, &user("last"), MEMBER).await.unwrap(), RoomChanged::Changed);
    assert_eq!(node.rooms_of(&users[0]).await.len(), 201);
    for name in names {
        assert!(node.rooms.delete(&room(name)).await.unwrap());
    }
    assert_eq!(node.rooms_of(&users[0]).await, [r].into());
    Ok(())
}

async fn what_the_living_shards_hand_out_is_not_lost() -> Result<(), Absent> {
    let options = RedisOptions::default().set("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::spawn_with(3, &options)?;
    let node = node(&url(&cluster)).await;
    let hour = Duration::from_secs(60 * 60);
    let (mut alive, mut dead) = (Vec::new(), Vec::new());
    for nth in 0..60 {
        let id = node.make(&format!("r{nth}"), &[]).await;
        if place(&cluster, &id).1 == 2 { dead.push(id) } else { alive.push(id) }
    }
    assert!(alive.len() > 20 && dead.len() > 10);
    cluster.nodes()[2].kill();
    node.clock.advance(hour);
    let mut aged = Vec::new();
    loop {
        match node.rooms.age(hour, hour * 2, 7).await {
            Ok(some) => {
                assert!(!some.is_empty(), "an outage is not the end of it");
                aged.extend(some);
            }
            Err(error) => {
                assert!(is_away(&error), "{error:?}");
                break;
            }
        }
    }
    assert!(aged.iter().all(|step| step.state == RoomState::Idle));
    let mut aged: Vec<_> = aged.into_iter().map(|step| step.room).collect();
    aged.sort();
    alive.sort();
    assert_eq!(aged, alive, "each once");
    assert!(node.rooms.rooms_of(&user("ann"), &Page::first(9)).await.is_err(), "nor is it no room");
    Ok(())
}
