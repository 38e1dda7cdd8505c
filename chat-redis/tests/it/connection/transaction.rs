//! Commands that happen at once, or not at all.

use chat_core::error::{Code, Effect, Result};
use chat_redis::driver::{Command, Key, Operation, PRELUDE, Script, Store};
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{Redis, RedisCluster};
use chat_testkit::{Absent, trials};
use redis::Value;

use super::config;

trials! { needs "redis":
    it_is_one_write_and_nothing_comes_between,
    a_script_in_it_is_never_missing,
    it_is_repeated_as_a_whole_when_its_answer_is_lost,
    one_that_must_not_happen_twice_is_not_repeated,
    what_is_refused_before_it_begins_has_no_effect,
    a_command_that_fails_in_it_fails_the_operation,
    a_server_that_begins_none_is_found_out,
    a_replica_takes_none,
    on_a_cluster_it_goes_where_its_slot_is,
    on_a_cluster_it_follows_its_slot,
}

const WRITE: Operation = Operation::write("t.transaction");

static ADD: Script = Script::joined(&[PRELUDE, "return redis.call('INCRBY', KEYS[1], ARGV[2])"]);

async fn store(url: &str) -> Store {
    let config = RedisConfig::from_url(url).unwrap();
    Store::new(RedisService::connect(&config).await.unwrap(), config.keys.clone())
}

fn key(name: &str) -> Key {
    Key::foreign(name.to_owned())
}

fn incr(name: &str) -> Command {
    Command::new("INCR", &key(name))
}

async fn twice(store: &Store, name: &str) -> Result<Vec<i64>> {
    store.transaction(WRITE, vec![incr(name), incr(name)]).await
}

async fn it_is_one_write_and_nothing_comes_between() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let store = store(&server.url_at(proxy.address())).await;
    let ((answers, passed), calls) = server.counting(proxy.counting(twice(&store, "n"))).await;
    assert_eq!((answers.unwrap(), passed.turns), (vec![1, 2], 1));
    assert_eq!((calls["multi"], calls["incr"], calls["exec"]), (1, 2, 1));

    let mut seen = Vec::new();
    let all = (0..200).map(|_| async {
        let (both, _) = tokio::join!(twice(&store, "n"), store.call_one::<i64>(WRITE, incr("n")));
        both.unwrap()
    });
    for both in futures::future::join_all(all).await {
        assert_eq!(both[1], both[0] + 1);
        seen.extend(both);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 400);
    assert!(store.transaction::<i64>(WRITE, Vec::new()).await.unwrap().is_empty());
    Ok(())
}

async fn a_script_in_it_is_never_missing() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let store = store(&server.url()).await;
    let both = || vec![store.script(&ADD, &[key("n")]).arg(5), incr("n")];
    let ((), calls) = server
        .counting(async {
            for expected in [[5, 6], [11, 12], [17, 18]] {
                assert_eq!(store.transaction::<i64>(WRITE, both()).await.unwrap(), expected);
                server.command(&["SCRIPT", "FLUSH"]);
            }
        })
        .await;
    assert_eq!((calls["eval"], calls["exec"], calls.get("evalsha")), (3, 3, None));
    Ok(())
}

async fn it_is_repeated_as_a_whole_when_its_answer_is_lost() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let store = store(&server.url_at(proxy.address())).await;
    // Done, its answer lost: done again. A half that was sent is not done.
    for (nth, expected) in [[3, 4], [7, 8], [9, 10], [11, 12]].into_iter().enumerate() {
        match nth {
            0 => proxy.cut_after(Request::with("EXEC")),
            1 => proxy.hang_after(Request::with("EXEC")),
            2 => proxy.cut_before(Request::with("EXEC")),
            _ => proxy.cut_after(Request::with("INCR")),
        }
        assert_eq!(twice(&store, "n").await.unwrap(), expected, "{nth}");
        assert_eq!(proxy.counts().faults, nth as u64 + 1);
    }
    Ok(())
}

async fn one_that_must_not_happen_twice_is_not_repeated() -> Result<(), Absent> {
    const ONCE: Operation = Operation::once("t.transaction");
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let store = store(&server.url_at(proxy.address())).await;
    proxy.cut_after(Request::with("EXEC"));
    let error = store.transaction::<i64>(ONCE, vec![incr("n"), incr("n")]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
    assert_eq!(server.command(&["GET", "n"]).text(), "2");
    Ok(())
}

async fn what_is_refused_before_it_begins_has_no_effect() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let store = store(&server.url()).await;
    let unknown = vec![incr("n"), Command::new("NOSUCH", &key("n")), store.script(&ADD, &[key("n")])];
    let error = store.transaction::<Value>(WRITE, unknown).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Internal, Effect::None));

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let mixed = vec![Command::new("GET", &key("n")), incr("n"), store.script(&ADD, &[key("n")]).arg(1)];
    let error = store.transaction::<Value>(WRITE, mixed).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    assert_eq!(error.detail("redis"), Some("OOM"));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(twice(&store, "n").await.unwrap(), [1, 2], "nothing had happened");
    Ok(())
}

async fn a_command_that_fails_in_it_fails_the_operation() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let store = store(&server.url()).await;
    server.command(&["SET", "text", "x"]);
    let pushed = Command::new("LPUSH", &key("text")).arg("y");
    let error = store.transaction::<Value>(WRITE, vec![incr("n"), pushed, incr("n")]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::DataCorrupt, Effect::Unknown));
    assert_eq!(server.command(&["GET", "n"]).text(), "2", "the others happened, once");
    Ok(())
}

async fn a_server_that_begins_none_is_found_out() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let store = store(&server.url()).await;
    server.command(&["ACL", "SETUSER", "default", "-multi"]);
    let error = store.transaction::<i64>(WRITE, vec![incr("n")]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::ConfigInvalid, Effect::Unknown));
    Ok(())
}

async fn a_replica_takes_none() -> Result<(), Absent> {
    let (master, server) = (Redis::spawn()?, Redis::spawn()?);
    let store = Store::new(super::connect(&server).await, config(&server).keys.clone());
    server.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let error = twice(&store, "n").await.unwrap_err();
    assert_eq!((error.detail("redis"), error.effect()), (Some("READONLY"), Effect::None));
    Ok(())
}

async fn over(cluster: &RedisCluster) -> Store {
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_owned()).collect();
    store(&format!("redis+cluster://{}", nodes.join(","))).await
}

async fn on_a_cluster_it_goes_where_its_slot_is() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let store = over(&cluster).await;
    for round in 0..2 {
        for n in 0..20 {
            let name = |what: &str| format!("{{k{n}}}{what}");
            let commands =
                vec![incr(&name("a")), store.script(&ADD, &[key(&name("b"))]).arg(5), incr(&name("b"))];
            let answers: Vec<i64> = store.transaction(WRITE, commands).await.unwrap();
            assert_eq!(answers, [1 + round, 5 + 6 * round, 6 + 6 * round]);
        }
        for node in cluster.nodes() {
            node.command(&["SCRIPT", "FLUSH"]);
        }
    }
    let apart = cluster.slot("{k1}a") != cluster.slot("{k2}a");
    assert!(apart);
    let error = store.transaction::<i64>(WRITE, vec![incr("{k1}a"), incr("{k2}a")]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Internal, Effect::None));
    Ok(())
}

async fn on_a_cluster_it_follows_its_slot() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let store = over(&cluster).await;
    assert_eq!(twice(&store, "{k}n").await.unwrap(), [1, 2]);
    let slot = cluster.slot("{k}n");
    let (from, to) = (cluster.owner(slot), (cluster.owner(slot) + 1) % 3);
    let moving = cluster.migrate(slot, from, to);
    assert_eq!(twice(&store, "{k}n").await.unwrap(), [3, 4], "all of it is still there");
    moving.move_keys(10);
    assert_eq!(twice(&store, "{k}n").await.unwrap(), [5, 6], "all of it is on the other side");
    // It needs both sides, and is refused until the slot has moved.
    let other = || vec![incr("{k}n"), Command::new("MSETNX", &key("{k}n")).arg("0").arg("{k}x").arg("0")];
    let error = store.transaction::<i64>(WRITE, other()).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    moving.finish();
    assert_eq!(store.transaction::<i64>(WRITE, other()).await.unwrap(), [7, 0]);
    cluster.migrate_slot(slot, to, from);
    assert_eq!(twice(&store, "{k}n").await.unwrap(), [8, 9], "moved: followed");
    Ok(())
}
