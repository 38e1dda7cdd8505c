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

mod call;
pub(crate) mod command;
mod counters;
mod dial;
mod line;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, SystemClock};
use chat_core::error::Result;

pub(crate) use command::{Access, Command, Lane, Operation};
pub use counters::ConnectionStats;
pub(crate) use dial::Sentinels;
pub use dial::{Connection, Dial};
pub use timing::Timing;

use crate::clock::{ServerClock, Stopwatch};
use crate::config::RedisConfig;
use counters::Counters;
use line::Line;

/// A wait that the service measures itself.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Redis, for one service: seed 001's `RedisService` and `RedisManager`. Clones share everything.
#[derive(Debug, Clone)]
pub struct RedisService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    timing: Timing,
    main: Line,
    bulk: Line,
    counters: Arc<Counters>,
    clock: Arc<ServerClock>,
    watch: Stopwatch,
}

impl RedisService {
    /// Connects as `config` says, and waits for the first connection for [`Timing::connect`].
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid);
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
        Ok(Self::over(&config.name, config.dial()?, config.timing, config.clock.clone()))
    }

    /// A service over connections that the host makes: see [`Dial`]. `clock` overrides the server's time, for tests.
    pub fn over(name: &str, dial: Arc<dyn Dial>, timing: Timing, clock: Option<Arc<dyn Clock>>) -> Self {
        let watch = Stopwatch::start();
        let counters = Arc::new(Counters::new(clock.clone().unwrap_or_else(|| Arc::new(SystemClock))));
        let clock = Arc::new(ServerClock::new(clock, watch));
        let line = || Line::new(Arc::clone(&dial), timing, Arc::clone(&counters), Arc::clone(&clock), watch);
        let (main, bulk) = (line(), line());
        Self { inner: Arc::new(Inner { name: Arc::from(name), timing, main, bulk, counters, clock, watch }) }
    }

    /// Waits for a connection for [`Timing::connect`].
    ///
    /// # Errors
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable) when no server answers in time.
    pub async fn ready(&self) -> Result<()> {
        const READY: Operation = Operation::read("redis.connect");
        self.wait(READY, self.inner.timing.connect).await
    }

    /// What this service calls itself.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What happened to the connections so far.
    pub fn stats(&self) -> ConnectionStats {
        self.inner.counters.stats()
    }

    /// Whether there is a connection.
    pub fn is_available(&self) -> bool {
        self.inner.main.is_up()
    }

    pub(crate) fn clock(&self) -> &ServerClock {
        &self.inner.clock
    }
}
