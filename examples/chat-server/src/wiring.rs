//! Which backends the chat runs on. The only place that knows them.

use std::sync::Arc;

use chat_core::clock::SystemClock;
use chat_core::error::Result;
use chat_core::layer::FallbackRateLimiter;
use chat_core::memory::MemoryRateLimiter;
use chat_core::service::{Chat, ChatSettings};
use chat_redis::{KeySpace, Redis, RedisConfig, RedisService};

/// A chat and what it runs on.
#[derive(Debug, Clone)]
pub struct Wired {
    /// The chat.
    pub chat: Chat,
    /// Its connection to Redis, if it has one.
    pub redis: Option<RedisService>,
}

/// A chat in memory: nothing to install, and gone with the process. With `redis`, what is volatile or derived lives
/// there; the truth and its events stay in memory.
///
/// A Redis that is not there yet does not keep a chat from starting: it is connected to as soon as it is.
///
/// # Errors
/// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid).
pub fn chat(settings: ChatSettings, redis: Option<&RedisConfig>) -> Result<Wired> {
    let builder = Chat::builder().settings(settings);
    let Some(config) = redis else { return Ok(Wired { chat: builder.build(), redis: None }) };
    let service = RedisService::lazy(config)?;
    // What is derived from a truth that ends with this process must not meet that of the next one.
    let redis = Redis::new(service.clone(), &run(&config.keys)?);
    let own = MemoryRateLimiter::new(Arc::new(SystemClock));
    let limits = FallbackRateLimiter::new(Arc::clone(&redis.limits) as _, Arc::new(own));
    let chat = redis.equip(builder).limits(Arc::new(limits)).build();
    Ok(Wired { chat, redis: Some(service) })
}

/// A key space for this run only.
fn run(keys: &KeySpace) -> Result<KeySpace> {
    KeySpace::new(&format!("{}.{:016x}", keys.prefix(), rand::random::<u64>()))
}
