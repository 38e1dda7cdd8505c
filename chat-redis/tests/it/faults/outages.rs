//! One server, and everything that can happen to it.

use std::time::Duration;

use chat_core::domain::UserId;
use chat_core::error::{Code, Effect};
use chat_core::store::{PresenceStoreExt, RateLimiterExt};
use chat_redis::connection::Timing;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::{Redis as Server, RedisOptions};
use chat_testkit::wait::{eventually, until, within};
use chat_testkit::{Absent, trials};

use super::load::{Client, Load, attempt, brisk, patient, refused, unknown};

trials! { needs "redis":
    absent_at_the_start_it_connects_when_the_server_comes,
    connecting_waits_as_long_as_it_says,
    killed_and_back_nothing_acknowledged_is_lost,
    hung_it_answers_in_time_and_goes_on,
    what_only_looks_has_no_effect_whatever_happens,
    stalled_it_answers_in_time_and_goes_on,
    restarted_empty_its_scripts_are_sent_again,
    a_script_flush_under_load_is_not_noticed,
    a_storm_of_killed_connections_is_not_noticed,
    a_replica_takes_no_writes,
    a_loading_server_is_waited_for,
    a_full_server_refuses_at_once_and_changes_nothing,
    a_key_of_the_wrong_type_is_corrupt_and_hurts_nobody_else,
    a_half_open_connection_is_given_up,
}

/// A server that loses nothing it acknowledged.
fn durable() -> RedisOptions {
    RedisOptions::default().append_only().set("appendfsync", "always")
}

async fn absent_at_the_start_it_connects_when_the_server_comes() -> Result<(), Absent> {
    let server = Server::spawn()?;
    server.kill();
    let mut config = RedisConfig::from_url(&server.url()).unwrap();
    config.timing = brisk();
    refused(within("connecting to fail", RedisService::connect(&config)).await);

    let client = Client::lazy(&server.url(), brisk());
    refused(client.charge("ada", "1").await);
    assert!(!client.service.is_available());
    let stats = client.service.stats();
    assert!(stats.dialled > 1 && stats.errors > 1 && stats.last_error_at.is_some(), "{stats:?}");

    server.restart();
    assert_eq!(client.charge_at_last("ada", "2").await, 1);
    let stats = client.service.stats();
    assert!(client.service.is_available());
    assert_eq!((stats.connected, stats.reconnected, stats.lost), (1, 0, 0), "{stats:?}");
    Ok(())
}

async fn connecting_waits_as_long_as_it_says() -> Result<(), Absent> {
    let server = Server::spawn()?;
    server.kill();
    // Far more than an operation may take passes before the server comes, and not as much as connecting may take.
    let timing = Timing { operation: Duration::from_millis(1), connect: Duration::from_secs(60), ..brisk() };
    let client = Client::lazy(&server.url(), timing);
    let service = client.service.clone();
    let ready = tokio::spawn(async move { service.ready().await });
    eventually("some attempts", || async { (client.service.stats().dialled > 4).then_some(()) }).await;
    server.restart();
    within("the server to be found", ready).await.unwrap().unwrap();
    Ok(())
}

async fn killed_and_back_nothing_acknowledged_is_lost() -> Result<(), Absent> {
    let server = Server::spawn_with(&durable())?;
    // A slow disk is no loss: connections are counted here.
    let client = Client::lazy(&server.url(), patient());
    let load = Load::begin(&client, 4);
    for _ in 0..3 {
        load.successes(200).await;
        server.kill();
        client.loss().await;
        server.restart();
    }
    load.successes(200).await;
    let stats = client.service.stats();
    assert_eq!((stats.connected, stats.reconnected, stats.lost), (4, 3, 3), "{stats:?}");
    load.end().await.settle(&client).await;
    Ok(())
}

async fn hung_it_answers_in_time_and_goes_on() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), brisk());
    let load = Load::begin(&client, 4);
    load.successes(100).await;
    let bystander = Client::lazy(&server.url(), brisk());
    bystander.charge("ada", "1").await.unwrap();
    server.hang();
    // What is under way may happen when it goes on; what comes after is not sent.
    unknown(bystander.charge("ada", "2").await);
    refused(bystander.charge("ada", "3").await);
    refused_at_once(&bystander).await;
    client.loss().await;
    server.resume();
    load.successes(100).await;
    assert!(client.service.is_available());
    load.end().await.settle(&client).await;
    assert_eq!(bystander.charge_at_last("ada", "2").await, 2);
    Ok(())
}

/// Once it is known that nobody is there, calls do not wait for their deadline.
async fn refused_at_once(client: &Client) {
    let calls = async {
        // All of them together would wait for longer than a trial waits.
        for n in 0..100 {
            refused(client.charge("refused", &n.to_string()).await);
        }
    };
    within("a hundred calls to be refused", calls).await;
}

async fn what_only_looks_has_no_effect_whatever_happens() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), brisk());
    let ada = UserId::new("ada").unwrap();
    let look = || client.bounded(client.redis.presence.is_online(&ada));
    assert!(!look().await.unwrap());
    server.hang();
    let error = look().await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::None));
    refused(look().await);
    server.resume();
    let works = || async { look().await.ok() };
    assert!(!eventually("a look", works).await);
    server.kill();
    let error = look().await.unwrap_err();
    assert_eq!(
        (error.code(), error.effect()),
        (Code::Unavailable, Effect::None),
        "nobody is there: not offline"
    );
    Ok(())
}

async fn stalled_it_answers_in_time_and_goes_on() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), brisk());
    let load = Load::begin(&client, 4);
    load.successes(100).await;
    server.stall(Duration::from_secs(3));
    client.loss().await;
    load.successes(100).await;
    load.end().await.settle(&client).await;
    Ok(())
}

async fn restarted_empty_its_scripts_are_sent_again() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), patient());
    assert_eq!(client.charge("ada", "1").await.unwrap(), 1);
    server.restart_empty();
    assert_eq!(client.charge("ada", "2").await.unwrap(), 1);
    let (charged, calls) = server.counting(client.charge("ada", "3")).await;
    assert_eq!(charged.unwrap(), 2);
    assert_eq!((calls.get("evalsha"), calls.get("eval")), (Some(&1), None));
    Ok(())
}

async fn a_script_flush_under_load_is_not_noticed() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), patient());
    let load = Load::begin(&client, 8);
    for _ in 0..20 {
        load.successes(20).await;
        server.command(&["SCRIPT", "FLUSH"]);
    }
    load.successes(100).await;
    let tally = load.end().await;
    assert!(tally.is_flawless(), "{tally:?}");
    assert!(server.commandstats()["eval"] >= 20);
    tally.settle(&client).await;
    Ok(())
}

async fn a_storm_of_killed_connections_is_not_noticed() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), patient());
    let load = Load::begin(&client, 8);
    for _ in 0..20 {
        load.successes(20).await;
        let killed = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).int();
        assert!(killed >= 1);
    }
    load.successes(100).await;
    let stats = client.service.stats();
    assert!(stats.reconnected >= 10 && stats.lost == stats.reconnected && stats.repeated > 0, "{stats:?}");
    assert_eq!(stats.connected, stats.reconnected + 1, "{stats:?}");
    let tally = load.end().await;
    assert!(tally.is_flawless(), "{tally:?}");
    tally.settle(&client).await;
    Ok(())
}

async fn a_replica_takes_no_writes() -> Result<(), Absent> {
    let (server, master) = (Server::spawn()?, Server::spawn()?);
    let client = Client::lazy(&server.url(), brisk());
    client.charge("ada", "1").await.unwrap();
    server.replicate(&master);
    client.refused_at_last("ada").await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    // What it had was the new master's to decide.
    assert_eq!(client.charge_at_last("ada", "4").await, 1);
    Ok(())
}

async fn a_loading_server_is_waited_for() -> Result<(), Absent> {
    let slow = durable().set("key-load-delay", 500).set("loading-process-events-interval-bytes", 1024);
    let server = Server::spawn_with(&slow)?;
    let client = Client::lazy(&server.url(), brisk());
    client.charge("ada", "1").await.unwrap();
    let fill = "for n = 1, 200000 do redis.call('SET', 'filler' .. n, n) end";
    server.command(&["EVAL", fill, "0"]);
    server.command(&["BGREWRITEAOF"]);
    until("a snapshot", || {
        server.info("aof_rewrite_in_progress").as_deref() == Some("0")
            && server.info("aof_rewrites").as_deref() != Some("0")
            && server.info("aof_rewrite_scheduled").as_deref() == Some("0")
    });
    // One key is read in half a millisecond, so this lasts until it is told to hurry.
    server.process().restart();
    let loading = || {
        server
            .try_command(&["INFO", "persistence"])
            .is_ok_and(|info| info.to_string().contains("\nloading:1"))
    };
    until("the server to load", loading);
    // It may have happened on the connection that was lost; what comes after meets a server that loads.
    unknown(client.charge("ada", "2").await);
    client.refused_at_last("ada").await;
    // As often as is said, so that the end is not missed for long.
    let eager =
        Timing { operation: Duration::from_secs(5), longest_pause: Duration::from_millis(100), ..patient() };
    let eager = Client::lazy(&server.url(), eager);
    eager.refused_at_last("ada").await;
    let asked_again = eager.service.stats().repeated;
    assert!(loading());
    assert!(asked_again >= 15, "it was asked {asked_again} times");
    server.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    assert_eq!(client.charge_at_last("ada", "2").await, 2);
    Ok(())
}

async fn a_full_server_refuses_at_once_and_changes_nothing() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), brisk());
    client.charge("ada", "1").await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = client.service.stats();
    refused(client.charge("bob", "1").await);
    let after = client.service.stats();
    assert_eq!(after.repeated, before.repeated, "it was asked again and again");
    assert_eq!((after.lost, after.errors), (before.lost, before.errors + 1));
    assert!(client.service.is_available());
    // A repeat changes nothing, so it needs no room.
    assert_eq!(client.charge("ada", "1").await.unwrap(), 1);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(client.charge("bob", "1").await.unwrap(), 1);
    Ok(())
}

async fn a_key_of_the_wrong_type_is_corrupt_and_hurts_nobody_else() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), brisk());
    client.charge("ada", "1").await.unwrap();
    let keys = server.command(&["KEYS", "*"]);
    let [key] = keys.list() else { panic!("{keys}") };
    server.command(&["SET", &key.text(), "a secret"]);
    let error = client.bounded(client.redis.limits.check(&attempt("ada", "2"))).await.unwrap_err();
    // A script that fails may have done a part.
    assert_eq!((error.code(), error.effect()), (Code::DataCorrupt, Effect::Unknown));
    assert!(!format!("{error:?}").contains("secret") && !format!("{error:?}").contains("ada"), "{error:?}");
    assert_eq!(client.charge("bob", "1").await.unwrap(), 1);
    assert_eq!(client.service.stats().lost, 0);
    server.command(&["DEL", &key.text()]);
    assert_eq!(client.charge("ada", "3").await.unwrap(), 1);
    Ok(())
}

async fn a_half_open_connection_is_given_up() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let client = Client::lazy(&server.url_at(proxy.address()), brisk());
    let bystander = Client::lazy(&server.url_at(proxy.address()), brisk());
    bystander.charge("ada", "0").await.unwrap();
    let load = Load::begin(&client, 4);
    load.successes(100).await;
    proxy.hang();
    unknown(bystander.charge("ada", "1").await);
    refused(bystander.charge("ada", "2").await);
    refused_at_once(&bystander).await;
    client.loss().await;
    // What was held back arrives late, when it was repeated or given up long since.
    proxy.pass().await;
    load.successes(100).await;
    load.end().await.settle(&client).await;
    assert_eq!(bystander.charge_at_last("ada", "1").await, 2);
    Ok(())
}
