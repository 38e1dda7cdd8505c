//! Which backends the chat runs on. The only place that knows them.
//!
//! | `--redis` | `--mongo` | truth | volatile and derived | events | nodes |
//! |---|---|---|---|---|---|
//! | | | memory | memory | memory | one |
//! | yes | | memory | Redis, a key space for each run | memory | one |
//! | | yes | MongoDB | memory | memory | one |
//! | yes | yes | MongoDB | Redis | Redis Streams | any number are one chat |

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::SystemClock;
use chat_core::error::Result;
use chat_core::layer::{Breaker, BreakerOptions, FallbackRateLimiter, Guarded};
use chat_core::memory::MemoryRateLimiter;
use chat_core::service::{Chat, ChatBuilder, ChatSettings};
use chat_mongo::{Mongo, MongoConfig, Waking};
use chat_redis::{KeySpace, Redis, RedisConfig, RedisService};
use chat_streams::{Monitor, Streams, StreamsOptions, Watching};

/// How long taking back may take.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// How long to rest before MongoDB is looked for again.
const REST: Duration = Duration::from_secs(1);
/// How long MongoDB has peace after five failures in a row, before one question decides whether it is back.
const BREAKER_REST: Duration = Duration::from_secs(1);
/// How often the streams are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where backends are; what is not given is in memory.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Where what is volatile or derived lives.
    pub redis: Option<RedisConfig>,
    /// Where truth lives.
    pub mongo: Option<MongoConfig>,
}

/// What a chat runs on.
#[derive(Debug, Clone, Default)]
pub struct Backends {
    /// What is volatile or derived.
    pub redis: Option<Redis>,
    /// The truth.
    pub mongo: Option<Mongo>,
    /// The limits, which are shared while Redis is there.
    pub limits: Option<Arc<FallbackRateLimiter>>,
    /// How the event log is, if it is on Redis.
    pub events: Option<Monitor>,
}

impl Backends {
    /// Whether other servers are the same chat.
    pub fn is_shared(&self) -> bool {
        self.events.is_some()
    }
}

/// A chat, what it runs on, and what runs beside it.
#[derive(Debug)]
pub struct Wired {
    /// The chat.
    pub chat: Chat,
    /// What it runs on.
    pub backends: Backends,
    beside: Beside,
}

/// What runs until a [`Wired`] is ended.
#[derive(Debug, Default)]
struct Beside {
    _waking: Option<Waking>,
    _watching: Option<Watching>,
}

impl Wired {
    /// Ends what runs beside the chat, and takes back what nobody can use once the truth in memory has ended. A run that is
    /// killed leaves that behind.
    pub async fn end(self) {
        let Self { chat, backends: Backends { redis, mongo, .. }, beside } = self;
        let (_, _) = (chat, beside);
        match (redis, mongo) {
            (Some(redis), None)
                if !matches!(tokio::time::timeout(LAST_PATIENCE, redis.clear()).await, Ok(Ok(_))) =>
            {
                tracing::warn!("what this run kept in Redis stays there");
            }
            (_, Some(mongo)) => mongo.close().await,
            _ => {}
        }
    }
}

/// A chat on these backends.
///
/// A Redis that is not there yet does not keep a chat from starting: it is connected to as soon as it is. A MongoDB that is
/// not there yet is waited for, since nothing can be said before the truth is there.
///
/// # Errors
/// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid), also when a backend does not let us in.
pub async fn chat(settings: ChatSettings, places: &Places) -> Result<Wired> {
    let mut builder = Chat::builder().settings(settings);
    let mut backends = Backends::default();
    if let Some(config) = &places.mongo {
        let mongo = truth(config).await?;
        builder = behind_a_breaker(builder, &mongo);
        backends.mongo = Some(mongo);
    }
    if let Some(config) = &places.redis {
        let keys = match &places.mongo {
            Some(_) => config.keys.clone(),
            // What is derived from a truth that ends with this process must not meet that of the next one.
            None => run(&config.keys)?,
        };
        let redis = Redis::new(RedisService::lazy(config)?, &keys);
        let limits = limits(&redis);
        builder = redis.clone().equip(builder).limits(Arc::clone(&limits) as _);
        backends.limits = Some(limits);
        if places.mongo.is_some() {
            let streams = Streams::new(&redis.service, StreamsOptions::default())?;
            builder = streams.equip(builder, &format!("{:016x}", rand::random::<u64>()))?;
            backends.events = Some(Monitor::new(&streams));
        }
        backends.redis = Some(redis);
    }
    let chat = builder.build();
    let beside = Beside {
        _waking: backends.mongo.as_ref().map(|mongo| mongo.wake(&chat)),
        _watching: backends.events.clone().map(|monitor| {
            monitor.start(LOOK_EVERY, |health| tracing::info!(?health, "how the event log is"))
        }),
    };
    Ok(Wired { chat, backends, beside })
}

/// The truth, as soon as it is there.
pub(crate) async fn truth(config: &MongoConfig) -> Result<Mongo> {
    loop {
        let connected = async {
            let mongo = Mongo::connect(config).await?;
            mongo.ensure().await.map(|()| mongo)
        };
        match connected.await {
            Err(error) if error.is_transient() => {
                tracing::warn!(code = %error.code(), "MongoDB is not there yet");
                tokio::time::sleep(REST).await;
            }
            outcome => return outcome,
        }
    }
}

/// With truth in MongoDB; while that is away, whoever asks learns so at once instead of waiting for it.
fn behind_a_breaker(builder: ChatBuilder, mongo: &Mongo) -> ChatBuilder {
    let options = BreakerOptions { rest: BREAKER_REST, ..BreakerOptions::default() };
    let breaker = Arc::new(Breaker::new("mongo", options, Arc::new(SystemClock)));
    macro_rules! guarded {
        ($($port:ident),*) => {
            builder$(.$port(Arc::new(Guarded::new(Arc::clone(&mongo.$port), Arc::clone(&breaker)))))*
        };
    }
    guarded!(messages, outbox, positions, conversations, files, source)
}

/// Limits all servers share, and each for itself while Redis is away.
fn limits(redis: &Redis) -> Arc<FallbackRateLimiter> {
    let own = MemoryRateLimiter::new(Arc::new(SystemClock));
    Arc::new(FallbackRateLimiter::new(Arc::clone(&redis.limits) as _, Arc::new(own)))
}

/// A key space for this run only.
fn run(keys: &KeySpace) -> Result<KeySpace> {
    KeySpace::new(&format!("{}.{:016x}", keys.prefix(), rand::random::<u64>()))
}
