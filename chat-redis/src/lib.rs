#![doc = include_str!("../README.md")]
#![doc = include_str!("../docs/COSTS.md")]

pub mod config;
pub mod connection;
pub mod driver;
pub mod keys;

mod batch;
mod cache;
mod clear;
mod clock;
mod error;
mod limits;
mod once;
mod presence;
mod rooms;
mod scan;
mod script;
mod store;
mod unread;
mod users;

use std::sync::Arc;

use chat_core::error::Result;
use chat_core::service::ChatBuilder;

pub use cache::RedisCache;
pub use config::RedisConfig;
pub use connection::{RedisService, RedisServices};
pub use keys::KeySpace;
pub use limits::RedisRateLimiter;
pub use presence::RedisPresence;
pub use rooms::RedisRooms;
use store::Store;
pub use unread::RedisUnread;
pub use users::{ProfileLayout, RedisUsers};

/// Every port of this crate, on one service.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The connection.
    pub service: RedisService,
    /// Values that may vanish. With a near tier in this process: [`Redis::tiered`].
    pub cache: Arc<RedisCache>,
    /// Rate limits.
    pub limits: Arc<RedisRateLimiter>,
    /// Who is here.
    pub presence: Arc<RedisPresence>,
    /// Live rooms.
    pub rooms: Arc<RedisRooms>,
    /// Profiles of users, in [`ProfileLayout::Compact`] unless told otherwise.
    pub users: Arc<RedisUsers>,
    /// Unread counts.
    pub unread: Arc<RedisUnread>,
    store: Store,
}

impl Redis {
    /// The ports over a service, with their keys in `keys`.
    pub fn new(service: RedisService, keys: &KeySpace) -> Self {
        let store = Store::new(service.clone(), keys.clone());
        let limits = Arc::new(RedisRateLimiter::new(store.clone()));
        let cache = Arc::new(RedisCache::new(store.clone()));
        let presence = Arc::new(RedisPresence::new(store.clone()));
        let rooms = Arc::new(RedisRooms::new(store.clone(), Arc::clone(&presence)));
        let users = Arc::new(RedisUsers::new(store.clone()));
        let unread = Arc::new(RedisUnread::new(store.clone()));
        Self { cache, limits, presence, rooms, unread, service, users, store }
    }

    /// The builder with every port of this crate instead of its own: what is volatile or derived lives in Redis then.
    ///
    /// What is derived belongs to one truth. A host whose truth ends with the process, because it is in memory, gives
    /// every run a key space of its own.
    #[must_use]
    pub fn equip(self, builder: ChatBuilder) -> ChatBuilder {
        builder
            .cache(self.cache)
            .limits(self.limits)
            .presence(self.presence)
            .rooms(self.rooms)
            .unread(self.unread)
            .users(self.users)
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
