//! What a service promises of its connections.

use chat_core::error::Code;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::{Redis, RedisOptions};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    it_signs_in,
}

async fn it_signs_in() -> Result<(), Absent> {
    let server = Redis::spawn_with(&RedisOptions::default().password("s3cret"))?;
    let config = RedisConfig::from_url(&server.url()).unwrap();
    assert!(RedisService::connect(&config).await.unwrap().is_available());

    let mut config = config;
    config.password = None;
    config.timing.connect = std::time::Duration::from_millis(200);
    let refused = RedisService::connect(&config).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    Ok(())
}
