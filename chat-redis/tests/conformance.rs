//! Redis keeps every promise, on one server and on a cluster.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chat_core::clock::ManualClock;
use chat_redis::{ProfileLayout, Redis, RedisConfig, RedisService};
use chat_testkit::server::{Redis as Server, RedisCluster};
use chat_testkit::{Absent, Namespace, Offer, promises, run_trials};

/// One server for all trials; each has a key space of its own.
static SERVER: LazyLock<Result<Server, Absent>> = LazyLock::new(Server::find_or_spawn);

/// One cluster of three for all trials.
static CLUSTER: LazyLock<Result<RedisCluster, Absent>> = LazyLock::new(|| RedisCluster::spawn(3));

fn main() -> ExitCode {
    let mut trials = promises("redis", |namespace| async move {
        let server = SERVER.as_ref().map_err(Clone::clone)?;
        offer(&server.url(), &namespace).await
    });
    let seed = promises("redis-seed-profiles", |namespace| async move {
        let server = SERVER.as_ref().map_err(Clone::clone)?;
        offer_seed_profiles(&server.url(), &namespace).await
    });
    let cluster = promises("redis-cluster", |namespace| async move {
        let cluster = CLUSTER.as_ref().map_err(Clone::clone)?;
        let nodes: Vec<&str> = cluster.nodes().iter().map(Server::address).collect();
        // Half the time of every operation is the way to three processes on two cores.
        let offer = offer(&format!("redis+cluster://{}", nodes.join(",")), &namespace).await?;
        Ok(offer.histories(100))
    });
    trials.extend(cluster);
    trials.extend(seed.into_iter().filter(|trial| trial.name().contains("::users::")));
    run_trials(trials)
}

async fn connect(url: &str, namespace: &Namespace, clock: &ManualClock) -> Result<Redis, Absent> {
    let config = RedisConfig::from_url(url).expect("a good URL");
    let config = config.with_prefix(&namespace.0).expect("a good prefix").with_clock(Arc::new(clock.clone()));
    let service = RedisService::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    Ok(Redis::new(service, &config.keys))
}

/// The profile cache in the layout of seed 002.
async fn offer_seed_profiles(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let clock = ManualClock::default();
    let redis = connect(url, namespace, &clock).await?;
    let layout = ProfileLayout::SeedHash { prefix: format!("{}-user:profile:", namespace.0).into() };
    let users = redis.users.with_layout(layout).expect("a good prefix");
    Ok(Offer::new(clock).users(Arc::new(users)))
}

async fn offer(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let clock = ManualClock::default();
    let redis = connect(url, namespace, &clock).await?;
    Ok(Offer::new(clock)
        .cache(redis.cache)
        .users(redis.users)
        .limits(redis.limits)
        .presence(redis.presence)
        .rooms(redis.rooms)
        .unread(redis.unread))
}
