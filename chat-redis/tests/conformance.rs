//! Redis keeps every promise.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::Arc;

use chat_core::clock::ManualClock;
use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::{Absent, Namespace, Offer, run};

fn main() -> ExitCode {
    run("redis", offer)
}

async fn offer(namespace: Namespace) -> Result<Offer, Absent> {
    let url =
        std::env::var("CHAT_TEST_REDIS_URL").map_err(|_| Absent("no CHAT_TEST_REDIS_URL".to_owned()))?;
    let clock = ManualClock::default();
    let config = RedisConfig::from_url(&url).expect("a good URL");
    let config = config.with_prefix(&namespace.0).expect("a good prefix").with_clock(Arc::new(clock.clone()));
    let service = RedisService::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    let redis = Redis::new(service, &config.keys);
    let _ = redis;
    Ok(Offer::new(clock))
}
