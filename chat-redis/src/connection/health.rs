//! How a service is: seed 001's `getHealthStatus` and `getStats`.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chat_core::error::Result;
use redis::{FromRedisValue, Value};

use super::{Command, Operation, RedisService};

const HEALTH: Operation = Operation::read("redis.health");
const INFO: Operation = Operation::read("redis.info");

/// How much of its memory a server may use before that is a concern.
const FULL: f64 = 0.9;

/// How a service is (seed 001's `OK`, `DEGRADED` and `Disconnected`).
pub type Health = chat_core::observe::Health<Concern>;

/// What is wrong with a server that answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Concern {
    /// An answer took so long: more than a quarter of [`Timing::response`](super::Timing::response).
    Slow(Duration),
    /// It is reading its data from disk.
    Loading,
    /// It is a replica: it takes no writes.
    Replica,
    /// Its memory is almost full.
    Memory {
        /// Bytes in use.
        used: u64,
        /// Bytes it may use.
        max: u64,
    },
    /// It threw away so many keys for want of memory since the last time it was asked.
    Evicting(u64),
    /// It could not write to disk, and may refuse writes for it.
    Disk,
    /// So many slots of the cluster are not served.
    Slots(u64),
    /// It, or a node of the cluster, does not tell how it is.
    Unanswered,
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(time) => write!(f, "it takes {} ms to answer", time.as_millis()),
            Self::Loading => f.write_str("it is reading its data from disk"),
            Self::Replica => f.write_str("it is a replica"),
            Self::Memory { used, max } => write!(f, "{used} of {max} bytes are in use"),
            Self::Evicting(keys) => write!(f, "it threw {keys} keys away for want of memory"),
            Self::Disk => f.write_str("it cannot write to disk"),
            Self::Slots(slots) => write!(f, "{slots} slots are not served"),
            Self::Unanswered => f.write_str("a node does not tell how it is"),
        }
    }
}

/// What a server tells of itself; of a cluster, the sum over its masters (seed 001's `getStats`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The version of the server.
    pub version: String,
    /// Bytes in use.
    pub used_memory: u64,
    /// Bytes that may be used; zero for no limit.
    pub max_memory: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Keys thrown away for want of memory since the server started.
    pub evicted_keys: u64,
    /// Connections of clients.
    pub connected_clients: u64,
    loading: bool,
    replica: bool,
    disk_failed: bool,
}

impl RedisService {
    /// How it is, asked for now: answers within twice [`Timing::operation`](super::Timing::operation).
    pub async fn health(&self) -> Health {
        let watch = self.inner.watch;
        let mut began = watch.elapsed();
        // Any server answers this, also one that is loading or a replica.
        if self.call_one::<Value>(HEALTH, Command::keyless("TIME")).await.is_err() {
            return Health::Disconnected;
        }
        let mut slowest = watch.elapsed().saturating_sub(began);
        began = watch.elapsed();
        let mut concerns = Vec::new();
        match self.server_info().await {
            Ok(info) => {
                let before = self.inner.evicted.swap(info.evicted_keys, Relaxed);
                concerns.extend(info.concerns(before));
            }
            Err(_) => concerns.push(Concern::Unanswered),
        }
        slowest = slowest.max(watch.elapsed().saturating_sub(began));
        if slowest > self.inner.timing.response / 4 {
            concerns.push(Concern::Slow(slowest));
        }
        concerns.extend(self.unserved_slots().await.filter(|slots| *slots > 0).map(Concern::Slots));
        if concerns.is_empty() { Health::Ok } else { Health::Degraded(concerns) }
    }

    /// What the server tells of itself.
    ///
    /// # Errors
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable),
    /// [`Code::Timeout`](chat_core::error::Code::Timeout).
    pub async fn server_info(&self) -> Result<ServerInfo> {
        let answer: Value = self.call_one(INFO, Command::keyless("INFO")).await?;
        Ok(match answer {
            Value::Map(nodes) => nodes
                .iter()
                .map(|(_, text)| ServerInfo::read(text))
                .fold(ServerInfo::default(), ServerInfo::and),
            text => ServerInfo::read(&text),
        })
    }

    /// How many slots of a cluster are not served; `None` where there is no cluster.
    async fn unserved_slots(&self) -> Option<u64> {
        self.inner.main.now().filter(|live| live.connection().is_cluster())?;
        let answer: String = self.call_one(HEALTH, Command::keyless("CLUSTER").arg("INFO")).await.ok()?;
        let number = |name| field(&answer, name).and_then(|number| number.parse::<u64>().ok());
        Some(16_384_u64.saturating_sub(number("cluster_slots_ok")?))
    }
}

impl ServerInfo {
    fn read(text: &Value) -> Self {
        let text = String::from_redis_value_ref(text).unwrap_or_default();
        let number = |name| field(&text, name).and_then(|number| number.parse().ok()).unwrap_or(0);
        let is = |name, value| field(&text, name) == Some(value);
        let keys = |line: &str| {
            line.strip_prefix("db")?.split_once(":keys=")?.1.split(',').next()?.parse::<u64>().ok()
        };
        Self {
            version: field(&text, "redis_version").unwrap_or_default().to_owned(),
            used_memory: number("used_memory"),
            max_memory: number("maxmemory"),
            keys: text.lines().filter_map(keys).sum(),
            evicted_keys: number("evicted_keys"),
            connected_clients: number("connected_clients"),
            loading: is("loading", "1"),
            replica: is("role", "slave"),
            disk_failed: is("rdb_last_bgsave_status", "err") || is("aof_last_write_status", "err"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            version: other.version,
            used_memory: self.used_memory + other.used_memory,
            max_memory: self.max_memory + other.max_memory,
            keys: self.keys + other.keys,
            evicted_keys: self.evicted_keys + other.evicted_keys,
            connected_clients: self.connected_clients + other.connected_clients,
            loading: self.loading || other.loading,
            replica: self.replica || other.replica,
            disk_failed: self.disk_failed || other.disk_failed,
        }
    }

    fn concerns(&self, evicted_before: u64) -> impl Iterator<Item = Concern> {
        let evicted = self.evicted_keys.saturating_sub(evicted_before);
        let full = self.max_memory > 0 && self.used_memory as f64 >= self.max_memory as f64 * FULL;
        let memory = Concern::Memory { used: self.used_memory, max: self.max_memory };
        let all = [
            (self.loading, Concern::Loading),
            (self.replica, Concern::Replica),
            (full, memory),
            (evicted > 0, Concern::Evicting(evicted)),
            (self.disk_failed, Concern::Disk),
        ];
        all.into_iter().filter_map(|(is_so, concern)| is_so.then_some(concern))
    }
}

pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
