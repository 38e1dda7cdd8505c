#![doc = include_str!("../README.md")]

pub mod config;
pub mod connection;
pub mod keys;

mod clock;
mod error;
mod script;
mod store;

use chat_core::error::Result;

pub use config::RedisConfig;
pub use connection::RedisService;
pub use keys::KeySpace;
use store::Store;

/// Every port of this crate, on one service.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The connection.
    pub service: RedisService,
}

impl Redis {
    /// The ports over a service, with their keys in `keys`.
    pub fn new(service: RedisService, keys: &KeySpace) -> Self {
        let _store = Store::new(service.clone(), keys.clone());
        Self { service }
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
