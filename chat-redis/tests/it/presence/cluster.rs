//! Presence on a cluster whose slots move and whose nodes die.

use chat_core::domain::{Transition, UserId};
use chat_core::error::{Code, Effect, Error};
use chat_core::store::presence::Renewal;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_testkit::server::{RedisCluster, RedisOptions};
use chat_testkit::walk::eventually;
use chat_testkit::{Absent, trials};

use super::{HOUR, LEASE, node, numbered, session, user};

trials! { needs "redis":
    users_on_their_way_are_whole_or_unavailable,
    what_the_living_shards_hand_out_is_not_lost,
}

fn url(cluster: &RedisCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_owned()).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

/// Where a user is: its slot, and the number of its node.
fn place(cluster: &RedisCluster, user: &UserId) -> (u16, usize) {
    let pattern = format!("*:u:{user}");
    let keys = cluster.nodes().iter().flat_map(|node| node.command(&["KEYS", &pattern]).list().to_vec());
    let keys: Vec<_> = keys.collect();
    assert_eq!(keys.len(), 1, "{user} is in one place");
    let slot = cluster.slot(keys[0].text());
    (slot, cluster.owner(slot))
}

/// A refusal that may be asked again.
fn is_away(error: &Error) {
    assert!(matches!(error.code(), Code::Unavailable | Code::Timeout), "{error:?}");
}

async fn users_on_their_way_are_whole_or_unavailable() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let node = node(&url(&cluster)).await;
    let presence = &node.presence;
    node.all_connect(&numbered("u", 400), HOUR).await;
    let (slot, from) = place(&cluster, &user("u00000"));
    let users: Vec<_> =
        numbered("u", 400).into_iter().filter(|user| place(&cluster, user).0 == slot).collect();
    let (stay, go) = users.split_at(users.len() - 4);
    let to = (from + 1) % 3;
    let migration = cluster.migrate(slot, from, to);
    let (mut online, mut in_doubt) = (users.len(), 0);
    for one in go {
        migration.move_keys(10);
        match presence.disconnect(one, &session("1")).await {
            Ok(edge) => {
                assert_eq!(edge, Transition::WentOffline);
                online -= 1;
            }
            Err(error) => {
                is_away(&error);
                in_doubt += usize::from(error.effect() == Effect::Unknown);
            }
        }
        for answer in [
            presence.is_online(&stay[0]).await.map(|online| assert!(online)),
            presence.renew(&stay[0], &session("1"), HOUR * 2).await.map(|it| assert_eq!(it, Renewal::Alive)),
            presence.are_online(stay).await.map(|all| assert!(all.iter().all(|online| *online))),
            presence.get_many(stay).await.map(|all| assert!(all.iter().all(|one| one.sessions.len() == 1))),
        ] {
            if let Err(error) = answer {
                is_away(&error);
                assert!(
                    error.operation() == Some("presence.renew_many") || error.effect() == Effect::None,
                    "{error:?}"
                );
            }
        }
    }
    migration.finish();
    eventually("the slot is whole again", async || presence.stats().await.is_ok()).await;
    assert_eq!(place(&cluster, &stay[0]), (slot, to));
    let here = presence.are_online(&users).await.unwrap();
    let found = here.iter().filter(|here| **here).count();
    assert!((online - in_doubt..=online).contains(&found), "{found} of {online}, {in_doubt} in doubt");
    assert_eq!(presence.stats().await.unwrap().users, (400 - users.len() + found) as u64);
    for (one, here) in users.iter().zip(here) {
        let edge = if here { Transition::WentOffline } else { Transition::None };
        assert_eq!(node.disconnect(one, "1").await, edge);
    }
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), ((400 - users.len()) as u64, (400 - users.len()) as u64));
    Ok(())
}

async fn what_the_living_shards_hand_out_is_not_lost() -> Result<(), Absent> {
    let options = RedisOptions::default().set("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::spawn_with(3, &options)?;
    let node = node(&url(&cluster)).await;
    let users = numbered("u", 90);
    node.all_connect(&users, LEASE).await;
    let (dead, alive): (Vec<_>, Vec<_>) = users.into_iter().partition(|user| place(&cluster, user).1 == 2);
    assert!(alive.len() > 30 && dead.len() > 10);
    cluster.nodes()[2].kill();
    node.clock.advance(LEASE);
    let mut swept = Vec::new();
    loop {
        match node.presence.sweep(40).await {
            Ok(some) => {
                assert!(!some.is_empty(), "an outage is not the end of it");
                swept.extend(some.into_iter().map(|lapse| lapse.user));
            }
            Err(error) => {
                assert!(matches!(error.code(), Code::Unavailable | Code::Timeout), "{error:?}");
                break;
            }
        }
    }
    swept.sort();
    assert_eq!(swept, alive, "each once");
    assert!(node.presence.is_online(&dead[0]).await.is_err(), "nor is anybody offline");
    assert!(node.presence.stats().await.is_err());
    Ok(())
}
