//! [`Once`]: an effect that must not be repeated.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::domain::EventId;
use chat_core::error::{Code, Error, Result};
use chat_core::store::Cache;
use chat_core::store::cache::{CacheEntry, CacheScope, Put};

/// What became of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It happened now.
    Done(T),
    /// It had happened before.
    Before,
}

/// Keeps an effect of an event from being repeated: a push notification, a mail, a call to somebody else.
///
/// What is a set-insert, a maximum or a versioned write repeats harmlessly and needs none of this. An effect on a database
/// belongs into one transaction with the event's id under a unique key: only that is exact. For everything else this
/// remembers in a cache what was done. An effect happens once, unless a crash falls between it and the note of it, or the
/// cache forgets.
#[derive(Debug, Clone)]
pub struct Once {
    cache: Arc<dyn Cache>,
    scope: CacheScope,
    /// How long an effect may take; then another may try. One minute by default.
    pub lease: Duration,
    /// For how long it is known that an effect happened: longer than an event may be delivered again. A day by default.
    pub remember: Duration,
}

impl Once {
    /// Effects of one sort, by the name of `scope`: each handler has its own.
    pub fn new(cache: Arc<dyn Cache>, scope: CacheScope) -> Self {
        let (lease, remember) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
        Self { cache, scope, lease, remember }
    }

    /// Lets `effect` happen unless it did for this event.
    ///
    /// # Errors
    /// Those of the cache and of the effect, after which it did not happen, unless the error says that it may have taken
    /// effect; [`Code::Unavailable`] while somebody else is at it.
    pub async fn process_once<T, F>(
        &self,
        event: &EventId,
        effect: impl FnOnce() -> F + Send,
    ) -> Result<Outcome<T>>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let key = [event.as_str().to_owned()];
        let is_done = || async {
            let found = self.cache.get_many(&self.scope, &key).await?;
            Ok::<_, Error>(found.values.iter().any(Option::is_some))
        };
        if is_done().await? {
            return Ok(Outcome::Before);
        }
        let owner = format!("{:016x}", rand::random::<u64>());
        if !self.cache.claim(&self.scope, event.as_str(), &owner, self.lease).await? {
            return Err(Error::new(Code::Unavailable).during("events.once"));
        }
        // Somebody may have done it between the look and the claim.
        if is_done().await? {
            self.cache.release(&self.scope, event.as_str(), &owner).await?;
            return Ok(Outcome::Before);
        }
        let outcome = effect().await;
        if outcome.is_ok() {
            let [key] = key;
            let note = CacheEntry { key, value: Bytes::from_static(b"done"), ttl: self.remember };
            self.cache.put_many(&self.scope, &[note], Put::Always).await.map_err(Error::effect_unknown)?;
        }
        // The claim ends by itself.
        let _ = self.cache.release(&self.scope, event.as_str(), &owner).await;
        outcome.map(Outcome::Done)
    }
}
