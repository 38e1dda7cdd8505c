//! Redis keeps every promise, on one server and on a cluster.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chat_core::clock::ManualClock;
use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::server::Redis as Server;
use chat_testkit::{Absent, Namespace, Offer, promises, run_trials};

/// One server for all trials; each has a key space of its own.
static SERVER: LazyLock<Result<Server, Absent>> = LazyLock::new(Server::find_or_spawn);

fn main() -> ExitCode {
    run_trials(promises("redis", |namespace| async move {
        let server = SERVER.as_ref().map_err(Clone::clone)?;
        offer(&server.url(), &namespace).await
    }))
}

async fn offer(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let clock = ManualClock::default();
    let config = RedisConfig::from_url(url).expect("a good URL");
    let config = config.with_prefix(&namespace.0).expect("a good prefix").with_clock(Arc::new(clock.clone()));
    let service = RedisService::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    let redis = Redis::new(service, &config.keys);
    let rooms = redis.rooms_over(Arc::clone(&redis.presence) as _);
    Ok(Offer::new(clock)
        .cache(redis.cache)
        .limits(redis.limits)
        .presence(redis.presence)
        .rooms(Arc::new(rooms)))
}
