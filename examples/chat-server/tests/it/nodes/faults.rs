//! A server or a backend dies, hangs or loses its memory while people talk: nothing acknowledged is lost, nothing is there twice.

use std::sync::Arc;
use std::time::Duration;

use chat_testkit::Absent;
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Redis;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::sleep;

use super::roamer::Roamer;
use super::storm::{Size, Storm, USUAL};
use super::world::{World, run, trial, until};
use crate::it::support::run::{ignorable, without};

/// Longer than a lease.
const LONG: Duration = Duration::from_secs(6);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_server_is_killed_under_load", a_server_is_killed),
        trial("a_server_hangs_and_goes_on", a_server_hangs),
        trial("servers_are_replaced_one_after_the_other", servers_are_replaced),
        trial("redis_is_killed_and_comes_back_with_its_data", redis_is_killed),
        trial("redis_comes_back_empty", redis_comes_back_empty),
        trial("redis_hangs", redis_hangs),
        trial("mongo_is_killed_and_comes_back", mongo_is_killed),
        ignorable("nodes", "a_server_is_cut_off_from_redis", || {
            match Redis::spawn().map(Arc::new).and_then(World::on) {
                Ok(world) => run(a_server_is_cut_off(world)),
                Err(Absent(why)) => without("redis,mongo", &why),
            }
        }),
    ]
}

async fn a_server_is_killed(mut world: World) {
    let size = Size { talkers: 20, messages: 15, listeners: 180 };
    let mut storm = Storm::gather(&world, size).await;
    storm
        .while_talking(|said| {
            let world = &world;
            async move {
                said.reaches(60).await;
                world.nodes[0].kill().await;
            }
        })
        .await;
    storm.is_whole().await;
    storm.edges_alternate();
    // Who was there and does not come back is offline once the lease has run out.
    let gone = storm.people.pop().unwrap();
    gone.close();
    storm.presence_is_true().await;
    world.nodes.remove(0);
    drop(storm);
    world.end().await;
}

async fn a_server_hangs(world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let world = &world;
            async move {
                said.reaches(40).await;
                world.signal(0, "STOP");
                sleep(LONG).await;
                world.signal(0, "CONT");
            }
        })
        .await;
    storm.is_whole().await;
    storm.edges_alternate();
    drop(storm);
    world.end().await;
}

async fn servers_are_replaced(mut world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    // One who looks on from a server that stays until the end.
    let third = world.start();
    let mut watcher = Roamer::new(&world.addresses, "watcher", third).await;
    let user = watcher.user.clone();
    storm.people[0]
        .ask("addParticipant", json!({ "conversationId": storm.group, "participantId": user }))
        .await;
    let group = storm.group.clone();
    watcher.here().await.hears("conversation:created", |new| new["conversationId"] == group.as_str()).await;
    let world_ = &mut world;
    storm
        .while_talking(|said| async move {
            for (nth, count) in [(0, 40), (1, 120)] {
                said.reaches(count).await;
                world_.start();
                world_.signal(nth, "TERM");
                world_.nodes[nth].ended().await;
            }
        })
        .await;
    let mut people = std::mem::take(&mut storm.people);
    people.push(watcher);
    storm.people = people;
    storm.is_whole().await;
    let watcher = storm.people.last().unwrap();
    assert!(watcher.was_here_all_along());
    let seen: Vec<_> = watcher
        .everything()
        .into_iter()
        .filter(|(event, _)| event == "user_offline" || event == "user_online")
        .collect();
    assert!(seen.is_empty(), "nobody went, so nobody was to be seen going: {seen:?}");
    drop(storm);
    world.end().await;
}

async fn redis_is_killed(world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let redis = &world.redis;
            async move {
                said.reaches(40).await;
                redis.kill();
                said.reaches(100).await;
                redis.restart();
            }
        })
        .await;
    storm.is_whole().await;
    drop(storm);
    world.end().await;
}

async fn redis_comes_back_empty(world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let redis = &world.redis;
            async move {
                said.reaches(40).await;
                redis.kill();
                said.reaches(100).await;
                redis.restart_empty();
            }
        })
        .await;
    storm.is_whole().await;
    drop(storm);
    world.end().await;
}

async fn redis_hangs(world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let redis = &world.redis;
            async move {
                said.reaches(40).await;
                redis.hang();
                sleep(LONG).await;
                redis.resume();
            }
        })
        .await;
    storm.is_whole().await;
    drop(storm);
    world.end().await;
}

async fn mongo_is_killed(world: World) {
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let mongo = &world.mongo;
            async move {
                said.reaches(40).await;
                mongo.kill();
                sleep(Duration::from_secs(2)).await;
                mongo.restart();
            }
        })
        .await;
    storm.is_whole().await;
    drop(storm);
    world.end().await;
}

async fn a_server_is_cut_off(mut world: World) {
    let proxy = Proxy::start(world.redis.address(), Protocol::Redis).await;
    world.start();
    let far = world.redis.url_at(proxy.address());
    world.start_at(&far);
    let mut storm = Storm::gather(&world, USUAL).await;
    storm
        .while_talking(|said| {
            let proxy = &proxy;
            async move {
                said.reaches(40).await;
                proxy.hang();
                sleep(LONG).await;
                proxy.pass().await;
            }
        })
        .await;
    storm.is_whole().await;
    let health =
        || async { crate::it::support::http::get(&world.nodes[1], "/health").await.json()["status"] == "ok" };
    until("the server to be well again", health).await;
    drop(storm);
    world.end().await;
}
