#![doc = include_str!("../README.md")]

pub mod config;
pub mod connection;
pub mod driver;
pub mod keys;

mod clock;
mod error;
mod limits;
mod script;
mod store;

use std::sync::Arc;

use chat_core::error::Result;

pub use config::RedisConfig;
pub use connection::RedisService;
pub use keys::KeySpace;
pub use limits::RedisRateLimiter;
use store::Store;

/// Every port of this crate, on one service.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The connection.
    pub service: RedisService,
    /// Rate limits.
    pub limits: Arc<RedisRateLimiter>,
}

impl Redis {
    /// The ports over a service, with their keys in `keys`.
    pub fn new(service: RedisService, keys: &KeySpace) -> Self {
        let store = Store::new(service.clone(), keys.clone());
        Self { limits: Arc::new(RedisRateLimiter::new(store)), service }
    }
}

/// Connects to Redis and offers every port of this crate: see [`RedisConfig::from_url`].
///
/// # Errors
/// Those of [`RedisConfig::from_url`] and [`RedisService::connect`].
pub async fn connect(url: &str) -> Result<Redis> {
    let config = RedisConfig::from_url(url)?;
    Ok(Redis::new(RedisService::connect(&config).await?, &config.keys))
}
