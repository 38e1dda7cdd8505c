//! A near tier in front of the cache, told by Redis what changes.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::layer::{News, Tiered, TieredOptions};
use chat_core::store::cache::CacheScope;
use tokio::runtime::Handle;

use crate::Redis;
use crate::connection::{Tracked, Tracking};
use crate::keys::KeySpace;

/// The kind of all keys of the cache.
const KIND: &str = "c";

impl Redis {
    /// The cache with a near tier in this process in front of it: see [`chat_core::layer::tiered`]. What any process
    /// changes in the cache is told by Redis itself, within a round trip.
    ///
    /// | Redis | no answer of the near tier is older than what others wrote by more than |
    /// |---|---|
    /// | one server, or the master that sentinels know | [`Tracking::beat`] and [`Tracking::patience`] together: 2 s |
    /// | the same, when the connection is lost or the server hangs | nothing: the near tier is passed by until it is back |
    /// | a cluster, a connection the host brought, a server that refuses `CLIENT TRACKING` | [`TieredOptions::stale_for`]: 1 s |
    ///
    /// It needs a connection of its own, Redis 6 or newer, and the right to `CLIENT TRACKING` and `INFO`; called outside of
    /// a tokio runtime, nobody brings news. All that is under the prefix of the cache is told, so every process hears as
    /// much as all of them write. The connection ends with the last clone of the answer.
    ///
    /// ```no_run
    /// # async fn example() -> chat_core::Result<()> {
    /// use chat_core::store::{CacheExt, cache::CacheScope};
    /// use chat_redis::connection::Tracking;
    ///
    /// let redis = chat_redis::connect("redis://localhost:6379").await?;
    /// let cache = redis.tiered(Default::default(), Tracking::default());
    /// let ada = cache.get(&CacheScope::new("users")?, "ada").await?;
    /// # Ok(()) }
    /// ```
    pub fn tiered(&self, options: TieredOptions, tracking: Tracking) -> Tiered {
        let service = self.store.service.clone();
        let tiered = Tiered::new(self.cache.clone(), options, service.shared_clock());
        if let Ok(runtime) = Handle::try_current() {
            let keys = self.store.keys.clone();
            let prefix = keys.beginning(KIND);
            let heard = Arc::new(Heard { news: tiered.news(), keys });
            runtime.spawn(async move {
                let news = Arc::clone(&heard);
                tokio::select! {
                    () = news.news.closed() => {}
                    () = service.track(prefix, tracking, heard) => {}
                }
            });
        }
        tiered
    }
}

/// Hands on what Redis says of keys as what became of values.
struct Heard {
    news: News,
    keys: KeySpace,
}

impl Tracked for Heard {
    fn changed(&self, key: &[u8]) {
        let parts = self.keys.parts(KIND, key).unwrap_or_default();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let scope = parts.first().and_then(|scope| CacheScope::new(scope).ok());
        match (scope, parts.get(1..).unwrap_or_default()) {
            // A record, or a large value beside it.
            (Some(scope), ["v", key] | ["v", key, _]) => self.news.forget(&scope, &[key]),
            // Lists and claims are not kept near.
            (Some(_), ["k"] | ["c", _]) => {}
            // A life, or something that is not known.
            (Some(scope), _) => self.news.forget_scope(&scope),
            (None, _) => self.news.forget_all(),
        }
    }

    fn everything_changed(&self) {
        self.news.forget_all();
    }

    fn heard(&self, until: Timestamp, lease: Duration) {
        self.news.heard(until, lease);
    }

    fn lost(&self) {
        self.news.lost();
    }
}
