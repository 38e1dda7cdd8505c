//! A server or a backend dies, hangs or loses its memory while people talk: nothing acknowledged is lost, nothing is there twice.

use std::future::Future;
use std::sync::Arc;

use chat_core::clock::{Clock, SystemClock, Timestamp};
use chat_server::Options;
use chat_streams::{Streams, StreamsOptions};
use chat_testkit::Absent;
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::{Redis, RedisCluster, RedisSentinel};
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::roamer::Roamer;
use super::storm::{Said, Size, Storm, USUAL};
use super::world::{LONG, World, run, trial, until};
use crate::it::support::client::Client;
use crate::it::support::host::Host;
use crate::it::support::http;
use crate::it::support::run::{ignorable, without};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_server_is_killed_under_load", a_server_is_killed),
        trial("a_server_hangs_and_goes_on", a_server_hangs),
        trial("servers_are_replaced_one_after_the_other", servers_are_replaced),
        trial("redis_is_killed_and_comes_back_with_its_data", redis_is_killed),
        trial("redis_comes_back_empty", redis_comes_back_empty),
        trial("redis_hangs", redis_hangs),
        trial("people_talk_on_all_servers_while_redis_is_away", people_talk_without_redis),
        trial("mongo_is_killed_and_comes_back", mongo_is_killed),
        on("a_server_is_cut_off_from_redis", Redis::spawn, a_server_is_cut_off),
        on("redis_fails_over_to_its_replica", RedisSentinel::spawn, redis_fails_over),
        on("a_cluster_is_resharded", || RedisCluster::spawn(3), a_cluster_is_resharded),
        on("the_clock_of_a_server_is_wrong", Redis::spawn, a_clock_is_wrong),
    ]
}

/// One trial on a Redis of another kind.
fn on<S: 'static, F: Future<Output = Result<(), Absent>> + 'static>(
    name: &str,
    spawn: fn() -> Result<S, Absent>,
    body: fn(S) -> F,
) -> Trial {
    ignorable("nodes", name, move || -> Result<Completion, Failed> {
        let mut outcome = Ok(());
        let completion = match spawn() {
            Ok(redis) => run(async { outcome = body(redis).await })?,
            Err(Absent(why)) => return without("redis,mongo", &why),
        };
        match outcome {
            Ok(()) => Ok(completion),
            Err(Absent(why)) => without("redis,mongo", &why),
        }
    })
}

/// People talk while harm is done; afterwards everything is whole.
async fn endure(world: &World, size: Size, harm: impl AsyncFnOnce(Said)) -> Storm {
    let mut storm = Storm::gather(world, size).await;
    storm.while_talking(harm).await;
    storm.is_whole().await;
    storm
}

async fn a_server_is_killed(mut world: World) {
    let size = Size { talkers: 20, messages: 15, listeners: 180 };
    let harm = async |said: Said| {
        said.reaches(60).await;
        world.nodes[0].kill().await;
    };
    let mut storm = endure(&world, size, harm).await;
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
    let harm = async |said: Said| {
        said.reaches(40).await;
        world.server_hangs(0).await;
    };
    let storm = endure(&world, USUAL, harm).await;
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
    let replace = async |said: Said| {
        for (nth, count) in [(0, 40), (1, 120)] {
            said.reaches(count).await;
            world.start();
            world.nodes[nth].terminate();
            world.nodes[nth].ended().await;
        }
    };
    storm.while_talking(replace).await;
    storm.people.push(watcher);
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
    redis_goes(world, Redis::restart).await;
}

async fn redis_comes_back_empty(world: World) {
    redis_goes(world, Redis::restart_empty).await;
}

async fn redis_goes(world: World, comes_back: fn(&Redis)) {
    let harm = async |said: Said| {
        said.reaches(40).await;
        world.redis().kill();
        said.reaches(100).await;
        comes_back(world.redis());
    };
    let storm = endure(&world, USUAL, harm).await;
    resynchronised(&world).await;
    drop(storm);
    world.end().await;
}

/// Every server says that it is whole again.
pub(super) async fn recovered(world: &World) {
    for node in &world.nodes {
        until("the server to be whole", || async {
            let health = http::get(node, "/health").await.json();
            health["status"] == "ok" && health["checks"]["recovery"]["status"] == "ok"
        })
        .await;
    }
}

/// Every server has compared what it has with the truth, and is whole again.
async fn resynchronised(world: &World) {
    recovered(world).await;
    for node in &world.nodes {
        let metrics = http::get(node, "/metrics").await.body;
        let count = metrics.lines().find_map(|line| line.strip_prefix("chat_recoveries_total "));
        assert!(count.is_some_and(|count| count != "0"), "{count:?}");
    }
}

async fn redis_hangs(world: World) {
    let harm = async |said: Said| {
        said.reaches(40).await;
        world.redis_hangs().await;
    };
    let storm = endure(&world, USUAL, harm).await;
    resynchronised(&world).await;
    drop(storm);
    world.end().await;
}

async fn people_talk_without_redis(world: World) {
    let (one, other) = (&world.nodes[0], &world.nodes[1]);
    let (mut ann, eve) = (Client::new(one, "ann").await, Client::new(one, "eve").await);
    let mut bob = Client::new(other, "bob").await;
    let group = ann.group(&[&eve, &bob]).await;
    let of = |conversation: &Value, user: &str| {
        let participants = conversation["conversation"]["participants"].as_array().unwrap();
        participants.iter().find(|one| one["userId"] == user).unwrap()["presence"].clone()
    };
    let shown = ann.ask("getConversation", json!({ "conversationId": group })).await;
    assert_eq!(of(&shown, &bob.user)["status"], "online", "{shown}");
    assert!(of(&shown, &bob.user).get("freshness").is_none(), "{shown}");

    world.redis().kill();
    let sent = ann.send(&group, "meanwhile").await;
    bob.hears_message("meanwhile").await;
    eve.hears_message("meanwhile").await;
    let message = sent["messageId"].clone();
    bob.ask("reactToMessage", json!({ "messageId": message, "emoji": "👍", "on": true })).await;
    ann.hears("message:reaction", |reaction| reaction["messageId"] == message).await;
    // Of people with sockets here it is known that they are here; nobody is called offline.
    let shown = ann.ask("getConversation", json!({ "conversationId": group })).await;
    let seen = of(&shown, &eve.user);
    assert_eq!(
        (&seen["status"], &seen["freshness"]["source"]),
        (&json!("online"), &json!("process")),
        "{shown}"
    );
    assert!(seen["freshness"]["ageMs"].is_u64(), "{shown}");
    assert_eq!(of(&shown, &bob.user), Value::Null, "{shown}");
    let online = ann.ask("getConversationOnlineUsers", json!({ "conversationId": group })).await;
    let here: Vec<_> = online["online"].as_array().unwrap().iter().map(|one| one["userId"].clone()).collect();
    assert!(here.contains(&json!(eve.user)) && !here.contains(&json!(bob.user)), "{online}");

    // What was heard without the log is not heard again when it is back.
    world.redis().restart();
    recovered(&world).await;
    for who in [&mut ann, &mut bob] {
        let last = format!("{} again", who.user);
        who.send(&group, &last).await;
        eve.hears_message(&last).await;
    }
    let last = format!("{} again", bob.user);
    for who in [&ann, &bob, &eve] {
        who.hears_message(&last).await;
        let said: Vec<_> =
            who.heard("newMessage").into_iter().filter(|said| said["conversationId"] == group).collect();
        let places: Vec<_> = said.iter().map(|said| said["seq"].as_u64().unwrap()).collect();
        assert!(places.is_sorted_by(|one, other| other - one == 1), "{}: {said:?}", who.user);
        assert_eq!(who.heard("message:reaction").len(), 1, "{}", who.user);
    }
    let shown = ann.ask("getConversation", json!({ "conversationId": group })).await;
    assert_eq!(of(&shown, &bob.user)["status"], "online", "{shown}");
    drop((ann, bob, eve));
    world.end().await;
}

async fn mongo_is_killed(world: World) {
    let harm = async |said: Said| {
        said.reaches(40).await;
        world.mongo_is_away().await;
    };
    drop(endure(&world, USUAL, harm).await);
    world.end().await;
}

async fn a_server_is_cut_off(redis: Redis) -> Result<(), Absent> {
    let proxy = Proxy::start(redis.address(), Protocol::Redis).await;
    let mut world = World::on(&redis.url())?;
    world.start();
    world.start_at(&redis.url_at(proxy.address()));
    let harm = async |said: Said| {
        said.reaches(40).await;
        proxy.hang();
        sleep(LONG).await;
        proxy.pass().await;
    };
    let storm = endure(&world, USUAL, harm).await;
    let node = &world.nodes[1];
    until("the server to be well again", || async {
        http::get(node, "/health").await.json()["status"] == "ok"
    })
    .await;
    drop(storm);
    world.end().await;
    Ok(())
}

async fn redis_fails_over(group: RedisSentinel) -> Result<(), Absent> {
    let sentinels: Vec<&str> = group.sentinels().iter().map(Redis::address).collect();
    let mut world = World::on(&format!("redis+sentinel://{}/{}", sentinels.join(","), group.name()))?;
    world.start();
    world.start();
    let harm = async |said: Said| {
        said.reaches(40).await;
        // What the replica had not got yet goes with the master: everybody is cut then, and catches up.
        tokio::task::block_in_place(|| group.failover());
    };
    drop(endure(&world, USUAL, harm).await);
    world.end().await;
    Ok(())
}

async fn a_cluster_is_resharded(cluster: RedisCluster) -> Result<(), Absent> {
    let nodes: Vec<&str> = cluster.nodes().iter().map(Redis::address).collect();
    let mut world = World::on(&format!("redis+cluster://{}", nodes.join(",")))?;
    world.start();
    world.start();
    let harm = async |said: Said| {
        said.reaches(40).await;
        tokio::task::block_in_place(|| {
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                let used = |slot: &u16| {
                    cluster.nodes()[from].command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).int()
                        > 0
                };
                let slots: Vec<u16> = cluster.slots_of(from).into_iter().filter(used).take(4).collect();
                for slot in slots {
                    cluster.migrate_slot(slot, from, to);
                }
            }
        });
    };
    let storm = endure(&world, USUAL, harm).await;
    storm.edges_alternate();
    drop(storm);
    world.end().await;
    Ok(())
}

/// The clock of a machine nobody looks after.
#[derive(Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now.saturating_add_signed(self.0))
    }
}

async fn a_clock_is_wrong(redis: Redis) -> Result<(), Absent> {
    const TEN_MINUTES: i64 = 600_000;
    for (round, offset) in [TEN_MINUTES, -TEN_MINUTES].into_iter().enumerate() {
        redis.command(&["FLUSHALL"]);
        let mut world = World::on(&redis.url())?;
        world.start();
        let mongo = chat_mongo::connect(&world.mongo_url()).await.unwrap();
        let ports = chat_redis::connect(&redis.url()).await.unwrap();
        let streams = Streams::new(&ports.service, StreamsOptions::default()).unwrap();
        let host = Host::with(Options::default(), |builder| {
            let builder =
                streams.equip(ports.equip(mongo.clone().equip(builder)), &format!("wrong{round}")).unwrap();
            builder.clock(Arc::new(Wrong(offset)))
        })
        .await;
        world.addresses.lock().unwrap().push(host.address);
        let mut storm = Storm::gather(&world, USUAL).await;
        storm.while_talking(async |_| {}).await;
        // Longer than a lease: whose clock is wrong renews as the others do, and is renewed by nobody's mistake.
        sleep(LONG).await;
        storm.while_talking(async |_| {}).await;
        storm.is_whole().await;
        storm.edges_alternate();
        drop(storm);
        host.stop().await;
        mongo.close().await;
        world.end().await;
    }
    Ok(())
}
