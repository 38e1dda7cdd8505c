//! A cluster of real nodes: its slots have owners, and move with their keys.

use std::sync::OnceLock;

use chat_testkit::server::{Redis, RedisCluster, RedisOptions, SLOTS};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    every_slot_has_an_owner_and_shares_are_even,
    a_slot_moves_with_its_keys,
    a_slot_on_its_way_is_at_both_nodes,
    several_slots_move_at_once,
    slots_that_go_to_and_fro_stay_where_they_are_put,
    a_cluster_with_a_password_moves_slots_too,
    a_node_that_was_killed_comes_back_to_its_place,
}

/// For trials that move one slot of their own.
fn shared() -> Result<&'static RedisCluster, Absent> {
    static SHARED: OnceLock<Result<RedisCluster, Absent>> = OnceLock::new();
    SHARED.get_or_init(|| RedisCluster::spawn(3)).as_ref().map_err(Absent::clone)
}

fn error(node: &Redis, words: &[&str]) -> String {
    let reply = node.try_command(words).unwrap();
    assert!(reply.is_error(), "{reply}");
    reply.to_string()
}

async fn every_slot_has_an_owner_and_shares_are_even() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let shares: Vec<usize> = (0..3).map(|node| cluster.slots_of(node).len()).collect();
    assert_eq!(shares.iter().sum::<usize>(), usize::from(SLOTS));
    assert!(shares.iter().all(|share| (5461..=5462).contains(share)), "{shares:?}");
    let slot = cluster.slot("key");
    assert_eq!(slot, 12_539);
    let owner = cluster.owner(slot);
    cluster.nodes()[owner].command(&["SET", "key", "value"]);
    let elsewhere = error(&cluster.nodes()[(owner + 1) % 3], &["GET", "key"]);
    assert_eq!(elsewhere, format!("MOVED {slot} {}", cluster.nodes()[owner].address()));
    Ok(())
}

async fn a_slot_moves_with_its_keys() -> Result<(), Absent> {
    let cluster = shared()?;
    let slot = cluster.slot("{moves}");
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    for number in 0..250 {
        cluster.nodes()[from].command(&["SET", &format!("{{moves}}{number}"), &number.to_string()]);
    }
    cluster.migrate_slot(slot, from, to);
    assert_eq!(cluster.owner(slot), to);
    for number in 0..250 {
        let value = cluster.nodes()[to].command(&["GET", &format!("{{moves}}{number}")]);
        assert_eq!(value.text(), number.to_string());
    }
    assert!(error(&cluster.nodes()[from], &["GET", "{moves}0"]).starts_with("MOVED"));
    Ok(())
}

async fn a_slot_on_its_way_is_at_both_nodes() -> Result<(), Absent> {
    let cluster = shared()?;
    let slot = cluster.slot("{between}");
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    source.command(&["MSET", "{between}a", "1", "{between}b", "2"]);
    let migration = cluster.migrate(slot, from, to);
    assert_eq!(migration.move_keys(1), 1);

    let at_source =
        ["{between}a", "{between}b"].map(|key| source.try_command(&["GET", key]).unwrap().to_string());
    let asked = format!("ASK {slot} {}", target.address());
    assert_eq!(at_source.iter().filter(|answer| **answer == asked).count(), 1, "{at_source:?}");
    assert!(error(source, &["MGET", "{between}a", "{between}b"]).starts_with("TRYAGAIN"));
    assert!(error(target, &["GET", "{between}a"]).starts_with("MOVED"));

    migration.finish();
    let values = target.command(&["MGET", "{between}a", "{between}b"]);
    assert_eq!(values.list().iter().map(ToString::to_string).collect::<Vec<_>>(), ["1", "2"]);
    Ok(())
}

async fn several_slots_move_at_once() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(2)?;
    assert_eq!(cluster.reshard(0, 1, 20), (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.slots_of(0), (20..SLOTS / 2).collect::<Vec<_>>());
    assert_eq!(cluster.slots_of(1), (0..20).chain(SLOTS / 2..SLOTS).collect::<Vec<_>>());
    assert_eq!((cluster.owner(19), cluster.owner(20)), (1, 0));
    Ok(())
}

async fn slots_that_go_to_and_fro_stay_where_they_are_put() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    for slot in 0..30 {
        let there = 1 + usize::from(slot % 2);
        cluster.migrate_slot(slot, 0, there);
        cluster.migrate_slot(slot, there, 0);
        cluster.migrate_slot(slot, 0, there);
    }
    for slot in 0..30 {
        assert_eq!(cluster.owner(slot), 1 + usize::from(slot % 2));
    }
    Ok(())
}

async fn a_cluster_with_a_password_moves_slots_too() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn_with(2, &RedisOptions::default().password("secret"))?;
    let slot = cluster.slot("key");
    let from = cluster.owner(slot);
    cluster.nodes()[from].command(&["SET", "key", "value"]);
    cluster.migrate_slot(slot, from, 1 - from);
    assert_eq!(cluster.nodes()[1 - from].command(&["GET", "key"]).text(), "value");
    Ok(())
}

async fn a_node_that_was_killed_comes_back_to_its_place() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let slots = cluster.slots_of(1);
    cluster.nodes()[1].kill();
    cluster.nodes()[1].restart();
    cluster.wait_until_whole();
    assert_eq!(cluster.slots_of(1), slots);
    assert_eq!(cluster.owner(slots[0]), 1);
    Ok(())
}
