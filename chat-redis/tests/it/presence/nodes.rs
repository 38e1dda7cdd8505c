//! Several nodes on one Redis.

use std::time::Duration;

use chat_core::clock::Clock;
use chat_core::domain::Transition;
use chat_core::store::PresenceStore;
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

use super::{HOUR, LEASE, Node, node, numbered, waiting};

trials! { needs "redis":
    a_peak_is_of_all_nodes_and_outlives_them,
    alone_a_node_misses_no_peak_and_sends_nothing_for_it,
    who_lapsed_unnoticed_is_in_no_peak,
}

async fn peak(node: &Node) -> u64 {
    node.presence.stats().await.unwrap().peak_users
}

async fn a_peak_is_of_all_nodes_and_outlives_them() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let one = node(&server.url()).await;
    let other = waiting(&server.url(), &one.clock, Duration::from_secs(2)).await;
    let users = numbered("u", 40);
    let half = users.len() / 2;
    one.all_connect(&users[..half], HOUR).await;
    other.all_connect(&users[half..], HOUR).await;
    // A sweep is when a node hears of the others.
    one.presence.sweep(9).await.unwrap();
    let at = one.clock.now();
    one.clock.advance(LEASE);
    for user in &users {
        assert_eq!(one.disconnect(user, "1").await, Transition::WentOffline);
    }
    // A sweep is also when what a node noticed is saved.
    one.presence.sweep(9).await.unwrap();
    let later = waiting(&server.url(), &one.clock, Duration::from_secs(2)).await;
    for node in [&one, &other, &later] {
        let stats = node.presence.stats().await.unwrap();
        assert_eq!((stats.users, stats.peak_users, stats.peak_at), (0, 40, Some(at)));
    }
    Ok(())
}

async fn alone_a_node_misses_no_peak_and_sends_nothing_for_it() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let users = numbered("u", 60);
    node.all_connect(&users[..1], HOUR).await;
    let (_, calls) = server.counting(node.all_connect(&users[1..], HOUR)).await;
    assert_eq!(calls.get("evalsha"), Some(&59), "one script a user");
    for user in &users {
        node.disconnect(user, "1").await;
    }
    assert_eq!(peak(&node).await, 60);
    node.all_connect(&users[..59], HOUR).await;
    assert_eq!(peak(&node).await, 60);
    Ok(())
}

async fn who_lapsed_unnoticed_is_in_no_peak() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    node.all_connect(&numbered("a", 30), LEASE).await;
    node.clock.advance(LEASE);
    node.all_connect(&numbered("b", 29), LEASE).await;
    assert_eq!(peak(&node).await, 30);
    node.all_connect(&numbered("c", 3), LEASE).await;
    assert_eq!(peak(&node).await, 32);
    Ok(())
}
