//! Which backends the chat runs on. The only place that knows them.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::SystemClock;
use chat_core::error::Result;
use chat_core::layer::FallbackRateLimiter;
use chat_core::memory::MemoryRateLimiter;
use chat_core::service::{Chat, ChatSettings};
use chat_redis::{KeySpace, Redis, RedisConfig, RedisService};

/// How long taking back may take.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A chat and what it runs on.
#[derive(Debug, Clone)]
pub struct Wired {
    /// The chat.
    pub chat: Chat,
    /// What it keeps in Redis, if it does.
    pub redis: Option<Redis>,
}

impl Wired {
    /// Takes back what nobody can use once the truth in memory has ended. A run that is killed leaves it behind.
    pub async fn end(&self) {
        let Some(redis) = &self.redis else { return };
        if !matches!(tokio::time::timeout(LAST_PATIENCE, redis.clear()).await, Ok(Ok(_))) {
            tracing::warn!("what this run kept in Redis stays there");
        }
    }
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
    // What is derived from a truth that ends with this process must not meet that of the next one.
    let redis = Redis::new(RedisService::lazy(config)?, &run(&config.keys)?);
    let own = MemoryRateLimiter::new(Arc::new(SystemClock));
    let limits = FallbackRateLimiter::new(Arc::clone(&redis.limits) as _, Arc::new(own));
    let chat = redis.clone().equip(builder).limits(Arc::new(limits)).build();
    Ok(Wired { chat, redis: Some(redis) })
}

/// A key space for this run only.
fn run(keys: &KeySpace) -> Result<KeySpace> {
    KeySpace::new(&format!("{}.{:016x}", keys.prefix(), rand::random::<u64>()))
}
