//! A socket, the master of a group, a cluster.

use chat_core::error::Code;
use chat_redis::connection::{Event, Health};
use chat_redis::driver::Stopwatch;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::{Redis, RedisCluster, RedisOptions, RedisSentinel, free_port};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

use super::{ask, command, ms};

trials! { needs "redis":
    a_socket,
    the_master_is_found_behind_dead_and_silent_sentinels,
    a_failover_is_followed,
    a_cluster_is_one_service,
    a_node_that_hangs_does_not_hold_the_others,
    a_node_that_dies_costs_only_its_slots,
    slots_that_move_are_followed,
    a_node_of_a_cluster_on_its_own_is_the_wrong_place,
}

async fn a_socket() -> Result<(), Absent> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("redis.sock");
    let _server = Redis::spawn_with(&RedisOptions::default().set("unixsocket", path.display()))?;
    let url = format!("redis+unix://{}?db=3", path.display());
    let service = RedisService::connect(&RedisConfig::from_url(&url).unwrap()).await.unwrap();
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap(), 1);
    let mut own = service.dedicated().await.unwrap();
    assert_eq!(own.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap(), 2);
    Ok(())
}

fn behind(sentinels: &[String], master: &str) -> RedisConfig {
    let mut config =
        RedisConfig::from_url(&format!("redis+sentinel://{}/{master}", sentinels.join(","))).unwrap();
    config.timing.connect = ms(1_000);
    config
}

async fn the_master_is_found_behind_dead_and_silent_sentinels() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sentinels = vec![
        format!("127.0.0.1:{}", free_port()),
        silent.local_addr().unwrap().to_string(),
        // A server is no sentinel.
        group.master().address().to_owned(),
    ];
    let nobody = RedisService::connect(&behind(&sentinels, group.name())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unavailable);
    sentinels.push(group.sentinels()[2].address().to_owned());
    let began = Stopwatch::start();
    let service = RedisService::connect(&behind(&sentinels, group.name())).await.unwrap();
    assert!(began.elapsed() < ms(500), "{:?}", began.elapsed());
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap(), 1);
    let unknown = RedisService::connect(&behind(&sentinels, "unknown")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable);
    Ok(())
}

async fn a_failover_is_followed() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    let sentinels: Vec<_> = group.sentinels().iter().map(|sentinel| sentinel.address().to_owned()).collect();
    let service = RedisService::connect(&behind(&sentinels, group.name())).await.unwrap();
    let mut news = service.subscribe(["a"]).await.unwrap();
    drop(service.dedicated().await.unwrap());
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap(), 1);
    let new = group.failover();
    eventually("a success", async || ask::<i64>(&service, &["INCR", "n"]).await.ok()).await;
    assert!(new.command(&["GET", "n"]).text().parse::<i64>().unwrap() >= 1);
    let mut own = service.dedicated().await.unwrap();
    own.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap();
    assert_eq!(news.next().await, Some(Event::Gap));
    service.publish("a", b"x").await.unwrap();
    assert!(matches!(news.next().await, Some(Event::Message { .. })));
    Ok(())
}

fn over(cluster: &RedisCluster) -> RedisConfig {
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_owned()).collect();
    RedisConfig::from_url(&format!("redis+cluster://{}", nodes.join(","))).unwrap()
}

/// A key of each node.
fn keys(cluster: &RedisCluster) -> Vec<String> {
    let of = |node| (0..).map(|n| format!("k{n}")).find(|key| cluster.owner(cluster.slot(key)) == node);
    (0..cluster.nodes().len()).filter_map(of).collect()
}

async fn a_cluster_is_one_service() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let service = RedisService::connect(&over(&cluster)).await.unwrap();
    let keys = keys(&cluster);
    for key in &keys {
        assert_eq!(ask::<i64>(&service, &["INCR", key]).await.unwrap(), 1);
    }
    for (node, key) in keys.iter().enumerate() {
        let list = format!("{{{key}}}");
        let mut own = service.dedicated_for(list.as_bytes()).await.unwrap();
        let waiting = tokio::spawn({
            let list = list.clone();
            async move { own.query::<(String, String)>(&command(&["BLPOP", &list, "5"]), ms(5_000)).await }
        });
        eventually("the read to block", async || {
            (cluster.nodes()[node].info("blocked_clients").unwrap() == "1").then_some(())
        })
        .await;
        ask::<i64>(&service, &["LPUSH", &list, "x"]).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().1, "x");
    }
    let mut news = service.subscribe(["a"]).await.unwrap();
    for node in cluster.nodes() {
        node.command(&["PUBLISH", "a", "x"]);
        assert!(matches!(news.next().await, Some(Event::Message { .. })));
    }
    assert_eq!(service.health().await, Health::Ok);
    Ok(())
}

async fn a_node_that_hangs_does_not_hold_the_others() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let service = RedisService::connect(&over(&cluster)).await.unwrap();
    let keys = keys(&cluster);
    for key in &keys {
        ask::<i64>(&service, &["INCR", key]).await.unwrap();
    }
    cluster.nodes()[0].hang();
    let before = service.stats();
    let began = Stopwatch::start();
    while began.elapsed() < ms(1_500) {
        let asked = Stopwatch::start();
        let (hung, live) = tokio::join!(
            ask::<i64>(&service, &["INCR", &keys[0]]),
            ask::<i64>(&service, &["INCR", &keys[1]]),
        );
        assert!(asked.elapsed() < ms(2_300), "{:?}", asked.elapsed());
        assert!(hung.is_err());
        live.unwrap();
    }
    assert_eq!(service.stats().lost, before.lost, "the whole is not given up for one node");
    cluster.nodes()[0].resume();
    let back = Stopwatch::start();
    eventually("a success", async || ask::<i64>(&service, &["INCR", &keys[0]]).await.ok()).await;
    assert!(back.elapsed() < ms(3_000), "{:?}", back.elapsed());
    Ok(())
}

async fn a_node_that_dies_costs_only_its_slots() -> Result<(), Absent> {
    let options = RedisOptions::default().set("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::spawn_with(3, &options)?;
    let service = RedisService::connect(&over(&cluster)).await.unwrap();
    let keys = keys(&cluster);
    for key in &keys {
        ask::<i64>(&service, &["INCR", key]).await.unwrap();
    }
    cluster.nodes()[0].kill();
    for _ in 0..20 {
        let (dead, live) = tokio::join!(
            tokio::time::timeout(ms(100), ask::<i64>(&service, &["INCR", &keys[0]])),
            ask::<i64>(&service, &["INCR", &keys[1]]),
        );
        assert!(!matches!(dead, Ok(Ok(_))));
        live.unwrap();
    }
    assert_eq!(service.stats().lost, 0, "the whole is not given up for one node");
    cluster.nodes()[0].restart();
    eventually("a success", async || ask::<i64>(&service, &["INCR", &keys[0]]).await.ok()).await;
    // All of them, at once.
    for node in cluster.nodes() {
        node.kill();
    }
    assert!(ask::<i64>(&service, &["INCR", &keys[1]]).await.is_err());
    for node in cluster.nodes() {
        node.restart();
    }
    eventually("a success", async || ask::<i64>(&service, &["INCR", &keys[1]]).await.ok()).await;
    Ok(())
}

async fn slots_that_move_are_followed() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let service = RedisService::connect(&over(&cluster)).await.unwrap();
    let key = &keys(&cluster)[0];
    ask::<i64>(&service, &["INCR", key]).await.unwrap();
    let slot = cluster.slot(key);
    let moving = cluster.migrate(slot, 0, 1);
    for expected in 2..10 {
        assert_eq!(ask::<i64>(&service, &["INCR", key]).await.unwrap(), expected);
        if expected == 5 {
            moving.move_keys(10);
        }
    }
    moving.finish();
    assert_eq!(ask::<i64>(&service, &["INCR", key]).await.unwrap(), 10);
    assert_eq!(service.stats().lost, 0);
    Ok(())
}

async fn a_node_of_a_cluster_on_its_own_is_the_wrong_place() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let alone = RedisConfig::from_url(&format!("redis://{}", cluster.nodes()[0].address())).unwrap();
    let service = RedisService::connect(&alone).await.unwrap();
    let keys = keys(&cluster);
    assert_eq!(ask::<i64>(&service, &["INCR", &keys[0]]).await.unwrap(), 1);
    let began = Stopwatch::start();
    let error = ask::<i64>(&service, &["INCR", &keys[1]]).await.unwrap_err();
    assert_eq!((error.code(), error.detail("redis")), (Code::Unavailable, Some("MOVED")));
    assert!(began.elapsed() < ms(1_000), "waiting helps nobody");
    Ok(())
}
