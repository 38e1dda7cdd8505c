//! What a service promises of its connections.

mod brought;
mod dedicated;
mod health;
mod life;
mod secrets;
mod subscription;
#[cfg(feature = "tls")]
mod tls;
mod together;
mod topology;
mod transaction;

use std::time::Duration;

use chat_core::error::Result;
use chat_redis::connection::Role;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::Trial;
use chat_testkit::server::Redis;
use redis::{Cmd, FromRedisValue};

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = [
        brought::trials(),
        dedicated::trials(),
        health::trials(),
        life::trials(),
        secrets::trials(),
        subscription::trials(),
        together::trials(),
        topology::trials(),
        transaction::trials(),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    #[cfg(feature = "tls")]
    all.extend(tls::trials());
    all
}

/// A configuration for the server, with times that suit a test.
fn config(server: &Redis) -> RedisConfig {
    RedisConfig::from_url(&server.url()).unwrap()
}

async fn connect(server: &Redis) -> RedisService {
    RedisService::connect(&config(server)).await.unwrap()
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

/// A command that repeats harmlessly.
fn ask<T: FromRedisValue>(
    service: &RedisService,
    words: &[&str],
) -> impl Future<Output = Result<T>> + Send + use<T> {
    let (client, command) = (service.client(Role::Main), command(words));
    async move { client.repeat(command).await }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
