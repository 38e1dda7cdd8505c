//! [`CachePolicies`]: how many of each type, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::cache::{Cache, CacheExt, CacheScope, TypedCache};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How values of one type are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long at most.
    pub ttl: Duration,
    /// How many answers the near tier remembers. The far one is bounded by time.
    pub most: u64,
    /// For how long it is remembered that there is nothing.
    pub absent: Duration,
}

impl CachePolicy {
    /// So long and so many; what is absent for 30 s, or for as long as what is there if that is shorter.
    pub const fn new(ttl: Duration, most: u64) -> Self {
        let absent = Duration::from_secs(30);
        Self { ttl, most, absent: if ttl.as_nanos() < absent.as_nanos() { ttl } else { absent } }
    }
}

/// The policy of each type. A type is a scope of the cache, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePolicies {
    named: BTreeMap<String, CachePolicy>,
    other: CachePolicy,
}

impl CachePolicies {
    /// One policy for all types.
    pub const fn of_all(other: CachePolicy) -> Self {
        Self { named: BTreeMap::new(), other }
    }

    /// Seed 003's. What decides about access is its addition: 5 s for what is not there.
    ///
    /// | scope | time to live | most |
    /// |---|---|---|
    /// | `messages` | 1 h | 1 000 |
    /// | `rooms` | 12 h | 100 |
    /// | `users` | 24 h | 500 |
    /// | `access` | 30 s | 10 000 |
    /// | `media` | 1 h | 1 000 |
    /// | any other | 24 h | 100 |
    pub fn sl3() -> Self {
        let access = CachePolicy { absent: 5 * SECOND, ..CachePolicy::new(30 * SECOND, 10_000) };
        Self::of_all(CachePolicy::new(DAY, 100))
            .with("messages", CachePolicy::new(HOUR, 1_000))
            .with("rooms", CachePolicy::new(12 * HOUR, 100))
            .with("users", CachePolicy::new(DAY, 500))
            .with("access", access)
            .with("media", CachePolicy::new(HOUR, 1_000))
    }

    /// Seed 002's for profiles and seed 001's for the rest. Their documents name no sizes: those are seed 003's.
    ///
    /// | scope | time to live | most |
    /// |---|---|---|
    /// | `users` | 7 days | 500 |
    /// | `rooms`, `rooms.idle`, `rooms.archived` | 1 h, 2 h, 24 h | 100 |
    /// | `unread` | 3 days | 1 000 |
    /// | `presence` | 5 min | 500 |
    /// | any other | 1 h | 100 |
    pub fn ngomna() -> Self {
        Self::of_all(CachePolicy::new(HOUR, 100))
            .with("users", CachePolicy::new(7 * DAY, 500))
            .with("rooms", CachePolicy::new(HOUR, 100))
            .with("rooms.idle", CachePolicy::new(2 * HOUR, 100))
            .with("rooms.archived", CachePolicy::new(DAY, 100))
            .with("unread", CachePolicy::new(3 * DAY, 1_000))
            .with("presence", CachePolicy::new(5 * MINUTE, 500))
    }

    /// The same with another policy for the scope of this name.
    #[must_use]
    pub fn with(mut self, scope: &str, policy: CachePolicy) -> Self {
        self.named.insert(scope.to_owned(), policy);
        self
    }

    /// The policy of a scope.
    pub fn of(&self, scope: &CacheScope) -> CachePolicy {
        self.named.get(scope.as_str()).copied().unwrap_or(self.other)
    }

    /// A cache for values of one type, with the times of its scope.
    pub fn typed<T, C>(&self, cache: Arc<C>, scope: &CacheScope) -> TypedCache<T, C>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        C: Cache + ?Sized,
    {
        let policy = self.of(scope);
        cache.typed(scope.clone(), policy.ttl).with_absent_ttl(policy.absent)
    }
}

impl Default for CachePolicies {
    /// Seed 003's.
    fn default() -> Self {
        Self::sl3()
    }
}
