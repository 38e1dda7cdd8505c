//! A cluster whose slots move and whose nodes fail, under load.

use std::collections::BTreeSet;

use chat_redis::connection::Timing;
use chat_testkit::server::{Redis as Server, RedisCluster, RedisOptions};
use chat_testkit::{Absent, trials};

use super::load::{Client, Load, brisk, patient};

trials! { needs "redis":
    slots_move_under_load_and_nobody_notices,
    a_slot_half_moved_is_served,
    a_node_is_killed_and_comes_back,
    a_hung_node_does_not_take_the_others_with_it,
    a_script_flush_on_every_node_is_not_noticed,
}

pub(super) fn client(cluster: &RedisCluster, timing: Timing) -> Client {
    let nodes: Vec<&str> = cluster.nodes().iter().map(Server::address).collect();
    Client::lazy(&format!("redis+cluster://{}", nodes.join(",")), timing)
}

/// The slots there are keys in, with their nodes.
pub(super) fn used_slots(cluster: &RedisCluster) -> Vec<(u16, usize)> {
    let keys = cluster.nodes().iter().enumerate().flat_map(|(node, server)| {
        let keys = server.command(&["KEYS", "*"]);
        keys.list().iter().map(|key| (cluster.slot(key.text()), node)).collect::<Vec<_>>()
    });
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Subjects enough to have some in every shard.
fn subjects() -> Vec<String> {
    (0..100).map(|n| format!("s{n}")).collect()
}

async fn slots_move_under_load_and_nobody_notices() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let client = client(&cluster, patient());
    let subjects = subjects();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    assert_eq!(client.charge_all(&subjects, "1").await.unwrap(), vec![1; subjects.len()]);
    let load = Load::begin(&client, 8);
    load.successes(100).await;
    let slots = used_slots(&cluster);
    assert_eq!(slots.len(), 16);
    for (slot, node) in slots {
        // Elsewhere, and back again.
        let elsewhere = (node + 1) % 3;
        cluster.migrate_slot(slot, node, elsewhere);
        load.successes(5).await;
        if slot % 2 == 0 {
            cluster.migrate_slot(slot, elsewhere, node);
            load.successes(5).await;
        }
    }
    assert_eq!(client.charge_all(&subjects, "2").await.unwrap(), vec![2; subjects.len()]);
    let tally = load.end().await;
    assert!(tally.is_flawless(), "{tally:?}");
    tally.settle(&client).await;
    Ok(())
}

async fn a_slot_half_moved_is_served() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let client = client(&cluster, patient());
    let subjects = subjects();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    client.charge_all(&subjects, "1").await.unwrap();
    for (slot, node) in used_slots(&cluster) {
        let migration = cluster.migrate(slot, node, (node + 1) % 3);
        assert_eq!(migration.move_keys(1), 1);
        // Batches of one key each, so that none needs both sides at once.
        for subject in &subjects {
            client.charge(subject, &format!("half {slot}")).await.unwrap();
        }
        migration.finish();
    }
    assert_eq!(client.charge_all(&subjects, "2").await.unwrap(), vec![18; subjects.len()]);
    Ok(())
}

async fn a_node_is_killed_and_comes_back() -> Result<(), Absent> {
    let durable = RedisOptions::default().append_only().set("appendfsync", "always");
    let cluster = RedisCluster::spawn_with(3, &durable.set("cluster-require-full-coverage", "no"))?;
    let client = client(&cluster, brisk());
    let load = Load::begin(&client, 8);
    load.successes(100).await;
    let (here, gone) = (subject_on(&cluster, &client, 0).await, subject_on(&cluster, &client, 1).await);
    cluster.nodes()[1].kill();
    // The others go on.
    client.charge_at_last(&here, "meanwhile").await;
    client.charge(&gone, "meanwhile").await.unwrap_err();
    client.charge_at_last(&here, "again").await;
    cluster.nodes()[1].restart();
    client.charge_at_last(&gone, "back").await;
    load.successes(200).await;
    load.end().await.settle(&client).await;
    Ok(())
}

async fn a_hung_node_does_not_take_the_others_with_it() -> Result<(), Absent> {
    let cluster =
        RedisCluster::spawn_with(3, &RedisOptions::default().set("cluster-require-full-coverage", "no"))?;
    let client = client(&cluster, brisk());
    let (here, gone) = (subject_on(&cluster, &client, 0).await, subject_on(&cluster, &client, 1).await);
    cluster.nodes()[1].hang();
    client.charge(&gone, "meanwhile").await.unwrap_err();
    client.charge_at_last(&here, "meanwhile").await;
    // Tasks whose subjects are elsewhere go on.
    let load = Load::begin(&client, 12);
    load.successes(500).await;
    client.charge(&gone, "meanwhile").await.unwrap_err();
    client.charge_at_last(&here, "after").await;
    // A service that begins now finds the nodes that answer.
    let newcomer = self::client(&cluster, brisk());
    newcomer.charge_at_last(&here, "newcomer").await;
    cluster.nodes()[1].resume();
    client.charge_at_last(&gone, "back").await;
    load.successes(100).await;
    load.end().await.settle(&client).await;
    Ok(())
}

/// A subject whose count is on this node.
async fn subject_on(cluster: &RedisCluster, client: &Client, node: usize) -> String {
    for n in 0.. {
        let subject = format!("on {node} {n}");
        client.charge(&subject, "first").await.unwrap();
        let keys = cluster.nodes()[node].command(&["KEYS", "*"]);
        if keys.list().iter().any(|key| key.text().contains(&subject)) {
            return subject;
        }
    }
    unreachable!()
}

async fn a_script_flush_on_every_node_is_not_noticed() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let client = client(&cluster, patient());
    let load = Load::begin(&client, 8);
    for round in 0..9 {
        load.successes(20).await;
        cluster.nodes()[round % 3].command(&["SCRIPT", "FLUSH"]);
    }
    load.successes(50).await;
    let tally = load.end().await;
    assert!(tally.is_flawless(), "{tally:?}");
    tally.settle(&client).await;
    Ok(())
}
