//! The connection: one service, whatever stands behind it.
//!
//! ```text
//! port ──▶ RedisService::call ──▶ line (main | bulk) ──▶ Connection ──▶ one server, its successor, or a cluster
//!            deadline, repeats      reconnects for ever     one write per batch
//! ```
//!
//! Requests and replies of all tasks share one connection, which pipelines them; long replies have a second one, so that
//! they hold nobody up. An operation has a deadline of its own, also while there is no connection. It is sent again
//! when its reply was lost, because every operation of this crate repeats harmlessly; only when the deadline comes first
//! does the caller get an error, which says whether anything may have happened.
//!
//! What blocks has a connection of its own ([`RedisService::dedicated`]), and so has every subscription
//! ([`RedisService::subscribe`]), and whoever is told what others change ([`Tracking`]).
//!
//! | what happens | what is done |
//! |---|---|
//! | the server is gone | attempts to connect for ever, at least every [`Timing::longest_pause`], also while one hangs |
//! | a reply does not come | after [`Timing::response`] the connection is replaced, unless others are answered on it |
//! | nothing is said for [`Timing::idle`] | the server is asked for the time: a dead connection is found without traffic |
//! | `LOADING`, `TRYAGAIN`, `CLUSTERDOWN`, `MASTERDOWN`, `BUSY`, `EXECABORT` | asked again until the deadline |
//! | `READONLY` | connects anew: to the new master, where sentinels know it |
//! | `NOSCRIPT` | the script is sent along |
//! | `MOVED`, `ASK` | followed, and the map of the cluster read again |
//! | `OOM`, `MISCONF`, `NOREPLICAS` | an error at once: `Unavailable`, nothing happened |
//! | a node of a cluster hangs | half of [`Timing::response`] for each attempt; when others serve its slots, a new connection is put in the old one's place, while the old one serves |
//! | the runtime that made the connection ends | the next operation connects on its own runtime |

mod call;
mod client;
mod cluster;
pub(crate) mod command;
mod counters;
mod dedicated;
mod dial;
mod health;
mod line;
pub(crate) mod servers;
mod services;
mod subscription;
mod timing;
mod together;
mod tracking;
mod work;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chat_core::clock::{Clock, ServerClock, Stopwatch, SystemClock};
use chat_core::error::Result;
use tokio::sync::watch;

pub use client::{RedisClient, Role};
pub(crate) use command::{Access, Command, Lane, Operation};
pub use counters::ConnectionStats;
pub use dedicated::{Dedicated, Spare};
pub use dial::{Connection, Dial};
pub use health::{Concern, Health, ServerInfo};
pub(crate) use line::Down;
pub use servers::Server;
pub use services::RedisServices;
pub use subscription::{Event, Subscription};
pub use timing::Timing;
pub(crate) use tracking::Tracked;
pub use tracking::Tracking;

use crate::config::RedisConfig;
use crate::error::{Failure, error, is_sign_in};
use counters::Counters;
use dedicated::Pools;
use line::{Kit, Line};

/// Redis, for one service: seed 001's `RedisService` and `RedisManager`. Clones share everything; the last one ends the
/// connections.
#[derive(Clone)]
pub struct RedisService {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    /// Where it is, for people: holds no secret.
    place: String,
    source: Arc<dyn Dial>,
    timing: Timing,
    attempts: Option<u32>,
    main: Line,
    bulk: Line,
    pools: Pools,
    counters: Arc<Counters>,
    clock: Arc<ServerClock>,
    watch: Stopwatch,
    /// Of all that was evicted, what is known already.
    evicted: AtomicU64,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for RedisService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisService")
            .field("name", &self.inner.name)
            .field("place", &self.inner.place)
            .field("available", &self.is_available())
            .finish()
    }
}

impl RedisService {
    /// Connects as `config` says, and waits for the first connection for [`Timing::connect`], or for
    /// [`RedisConfig::connect_attempts`].
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid), also when the server does not let us in;
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable) when no server answers in time.
    pub async fn connect(config: &RedisConfig) -> Result<Self> {
        let service = Self::lazy(config)?;
        service.ready().await?;
        Ok(service)
    }

    /// A service that begins to connect with its first operation: for hosts that start without Redis.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid).
    pub fn lazy(config: &RedisConfig) -> Result<Self> {
        Ok(Self::build(config, config.topology.to_string(), config.dial()?))
    }

    /// A service over connections that the host makes: see [`Dial`]. `clock` overrides the server's time, for tests.
    pub fn over(name: &str, dial: Arc<dyn Dial>, timing: Timing, clock: Option<Arc<dyn Clock>>) -> Self {
        let config = RedisConfig { name: name.to_owned(), timing, clock, ..RedisConfig::default() };
        Self::build(&config, "brought by the host".to_owned(), dial)
    }

    fn build(config: &RedisConfig, place: String, source: Arc<dyn Dial>) -> Self {
        let (name, timing): (Arc<str>, _) = (Arc::from(config.name.as_str()), config.timing);
        let watch = Stopwatch::start();
        let local = config.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let counters = Arc::new(Counters::new(Arc::clone(&name), local));
        let clock = Arc::new(ServerClock::new(config.clock.clone(), watch));
        let line = || {
            let (source, counters, clock) = (Arc::clone(&source), Arc::clone(&counters), Arc::clone(&clock));
            Line::new(Kit { source, timing, counters, clock, watch, epochs: AtomicU64::new(0) })
        };
        let (main, bulk) = (line(), line());
        let inner = Inner {
            name,
            place,
            timing,
            attempts: config.connect_attempts,
            main,
            bulk,
            pools: Pools::new(timing, config.max_dedicated),
            source,
            counters,
            clock,
            watch,
            evicted: AtomicU64::new(0),
            closed: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for a connection for [`Timing::connect`], or for [`RedisConfig::connect_attempts`].
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid) when the server does not let us in;
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable) when no server answers in time.
    pub async fn ready(&self) -> Result<()> {
        const READY: Operation = Operation::read("redis.connect");
        let Inner { timing, attempts, watch, main, .. } = &*self.inner;
        let rounds = attempts.unwrap_or(1);
        let patience = (timing.connect + timing.longest_pause).saturating_mul(rounds);
        let patience = if attempts.is_some() { patience } else { timing.connect };
        let first = main.first(watch.elapsed() + patience, *attempts).await;
        first.map(drop).map_err(|down| match &down.cause {
            Some(refusal) if is_sign_in(refusal) => error(READY, &Failure::Said(refusal), false),
            _ => error(READY, &Failure::Down(&down), false),
        })
    }

    /// What this service calls itself.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What happened to the connections so far.
    pub fn stats(&self) -> ConnectionStats {
        self.inner.counters.stats()
    }

    /// Whether there is a connection, as far as is known: that it broke may be noticed as late as the next operation, or
    /// [`Timing::idle`]. [`RedisService::health`] asks.
    pub fn is_available(&self) -> bool {
        self.inner.main.is_up()
    }

    /// Ends the connections of all clones, and the subscriptions. What is under way may still be answered; what comes
    /// later is refused as [`Code::Unavailable`](chat_core::error::Code::Unavailable).
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
        self.inner.main.close();
        self.inner.bulk.close();
        self.inner.pools.close();
    }

    /// Waits until the service is closed.
    async fn closed(&self) {
        let _ = self.inner.closed.subscribe().wait_for(|closed| *closed).await;
    }

    pub(crate) fn clock(&self) -> &ServerClock {
        &self.inner.clock
    }

    pub(crate) fn shared_clock(&self) -> Arc<ServerClock> {
        Arc::clone(&self.inner.clock)
    }
}
