//! [`Cache`]: bytes that may vanish.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::only;
use crate::domain::page::{Page, Paged};
use crate::error::{Code, Error, Result};

/// For how long a removed key refuses late fills. A load that takes longer may bring an old value back.
pub const FENCE: Duration = Duration::from_secs(10);
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// The largest value, in bytes: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;

/// A family of keys that is listed and forgotten together: 1 to 64 of `a-z`, `0-9`, `_`, `-`, `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheScope(Arc<str>);

impl CacheScope {
    /// # Errors
    /// [`Code::CacheKey`] unless the name is 1 to 64 of `a-z`, `0-9`, `_`, `-`, `.`.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
        if (1..=64).contains(&name.len()) && name.bytes().all(fine) {
            Ok(Self(Arc::from(name)))
        } else {
            Err(Error::invalid(Code::CacheKey, "a scope is 1 to 64 of a-z, 0-9, _, -, ."))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which life of a scope an answer belongs to; every [`Cache::invalidate`] begins a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// The answer to [`Cache::get_many`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The life of the scope these answers belong to: what a fill must carry.
    pub generation: Generation,
    /// One answer per key, in order.
    pub values: Vec<Option<Bytes>>,
    /// For how long each of them lives on, in the same order; zero for a miss.
    pub left: Vec<Duration>,
}

/// One value to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its key: 1 to [`MAX_KEY_BYTES`] bytes of anything.
    pub key: String,
    /// Its value: up to [`MAX_VALUE_BYTES`], also empty.
    pub value: Bytes,
    /// How long at most.
    pub ttl: Duration,
}

/// What a put may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Whatever is there.
    Always,
    /// Nothing: the answer of a load that began with a miss of this generation. Refused where somebody was faster,
    /// where the scope was invalidated since, and for [`FENCE`] after the key was removed.
    Fill(Generation),
}

port! {
    /// Bytes that may vanish at any time; kind of state: **derived**. Seed 001's `CacheService`, with a miss, a cached
    /// nothing and an outage told apart.
    pub trait Cache as "cache" {
        /// Looks keys up. An expired value is a miss.
        ///
        /// # Errors
        /// [`Code::CacheKey`] for a key that is empty or too long.
        read async fn get_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup>;

        /// Keeps values; says of each whether it was kept.
        ///
        /// # Atomicity
        /// Each entry is whole or absent. A [`Put::Fill`] never replaces a value and never outlives an invalidation
        /// that happened after its lookup.
        ///
        /// # Idempotency
        /// Repeating a put changes nothing but the time to live.
        ///
        /// # Errors
        /// [`Code::CacheKey`] for a bad key or a time to live of zero; [`Code::PayloadTooLarge`] above
        /// [`MAX_VALUE_BYTES`]. Nothing of the batch is kept then.
        already async fn put_many(&self, scope: &CacheScope, entries: &[CacheEntry], put: Put) -> Result<Vec<bool>>;

        /// Sets the remaining time to live of keys; says of each whether it was there.
        write async fn renew_many(&self, scope: &CacheScope, keys: &[String], ttl: Duration) -> Result<Vec<bool>>;

        /// Forgets keys and refuses fills of them for [`FENCE`]; says of each whether it was there.
        already async fn remove_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Vec<bool>>;

        /// Forgets a whole scope, at a cost that does not depend on its size.
        ///
        /// # Atomicity
        /// No later lookup finds a value put before, and no fill whose lookup came before is kept.
        write async fn invalidate(&self, scope: &CacheScope) -> Result<Generation>;

        /// The keys of a scope that begin with `prefix`, in order. A claim is not a key.
        read async fn keys(&self, scope: &CacheScope, prefix: &str, page: &Page<String>) -> Result<Paged<String, String>>;

        /// Claims a name for `owner` until `ttl` has passed.
        ///
        /// # Atomicity
        /// Of racing owners exactly one gets `true`.
        ///
        /// # Idempotency
        /// The owner that holds a claim gets `true` again and renews it.
        write async fn claim(&self, scope: &CacheScope, name: &str, owner: &str, ttl: Duration) -> Result<bool>;

        /// Gives a claim up; `true` if `owner` held it. Claims survive [`Cache::invalidate`].
        already async fn release(&self, scope: &CacheScope, name: &str, owner: &str) -> Result<bool>;
    }
}

/// # Errors
/// [`Code::CacheKey`] unless the key has 1 to [`MAX_KEY_BYTES`] bytes.
pub fn check_key(key: &str) -> Result<()> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        Ok(())
    } else {
        Err(Error::invalid(Code::CacheKey, "a key has 1 to 512 bytes"))
    }
}

/// # Errors
/// What [`Cache::put_many`] refuses.
pub fn check_entries(entries: &[CacheEntry]) -> Result<()> {
    for entry in entries {
        check_key(&entry.key)?;
        if entry.ttl.is_zero() {
            return Err(Error::invalid(Code::CacheKey, "a time to live of zero"));
        }
        if entry.value.len() > MAX_VALUE_BYTES {
            return Err(Error::new(Code::PayloadTooLarge).with("max", MAX_VALUE_BYTES));
        }
    }
    Ok(())
}

/// Sugar over any [`Cache`]; implemented for all of them.
pub trait CacheExt: Cache {
    /// Looks one key up.
    fn get(&self, scope: &CacheScope, key: &str) -> impl Future<Output = Result<Option<Bytes>>> + Send {
        let key = key.to_owned();
        async move { only(self.get_many(scope, &[key]).await?.values) }
    }

    /// Keeps one value, whatever is there.
    fn put(
        &self,
        scope: &CacheScope,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        let entry = CacheEntry { key: key.to_owned(), value: value.into(), ttl };
        async move { self.put_many(scope, &[entry], Put::Always).await.map(drop) }
    }

    /// Forgets one key; `true` if it was there.
    fn remove(&self, scope: &CacheScope, key: &str) -> impl Future<Output = Result<bool>> + Send {
        let key = key.to_owned();
        async move { only(self.remove_many(scope, &[key]).await?) }
    }

    /// Forgets every key that begins with `prefix`, page by page; says how many there were.
    fn remove_prefix(&self, scope: &CacheScope, prefix: &str) -> impl Future<Output = Result<u64>> + Send {
        async move {
            let (mut page, mut removed) = (Page::first(500), 0);
            loop {
                let found = self.keys(scope, prefix, &page).await?;
                removed +=
                    self.remove_many(scope, &found.items).await?.iter().filter(|was| **was).count() as u64;
                match found.next {
                    Some(cursor) => page = Page::after(cursor, 500),
                    None => return Ok(removed),
                }
            }
        }
    }

    /// This cache for values of one type.
    fn typed<T: Serialize + DeserializeOwned + Send + Sync>(
        self: Arc<Self>,
        scope: CacheScope,
        ttl: Duration,
    ) -> TypedCache<T, Self> {
        TypedCache {
            cache: self,
            scope,
            ttl,
            absent_ttl: None,
            jitter: 0.1,
            flights: Flights::default(),
            of: PhantomData,
        }
    }
}

impl<C: Cache + ?Sized> CacheExt for C {}

type Flights = Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>;

/// What is kept: a value, or the knowledge that there is none.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    #[serde(rename = "v")]
    value: Option<T>,
}

/// A cache for values of one type in one scope, which loads what it does not have.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use chat_core::{memory::MemoryCache, store::{CacheExt, cache::CacheScope}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
/// let cache = Arc::new(MemoryCache::default());
/// let names = cache.typed::<String>(CacheScope::new("names")?, Duration::from_secs(60));
/// let name = names.get_or_load("7", || async { Ok(Some("Ada".to_owned())) }).await?;
/// assert_eq!(name.as_deref(), Some("Ada"));
/// assert_eq!(names.get("7").await?.as_deref(), Some("Ada"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TypedCache<T, C: ?Sized> {
    scope: CacheScope,
    ttl: Duration,
    absent_ttl: Option<Duration>,
    jitter: f64,
    flights: Flights,
    of: PhantomData<fn() -> T>,
    cache: Arc<C>,
}

impl<T, C: ?Sized> Clone for TypedCache<T, C> {
    /// Shares the cache and the loads under way.
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            ttl: self.ttl,
            absent_ttl: self.absent_ttl,
            jitter: self.jitter,
            flights: Arc::clone(&self.flights),
            of: PhantomData,
            cache: Arc::clone(&self.cache),
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync, C: Cache + ?Sized> TypedCache<T, C> {
    /// Also remembers for `ttl` that there is nothing under a key.
    #[must_use]
    pub fn with_absent_ttl(mut self, ttl: Duration) -> Self {
        self.absent_ttl = Some(ttl);
        self
    }

    /// Shortens each time to live by up to this share (0 to 1; 0.1 by default), so that what was filled together
    /// does not expire together. The share is a function of the key.
    #[must_use]
    pub fn with_jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// Looks a value up. `None` is a miss, or a remembered nothing.
    ///
    /// # Errors
    /// Those of [`Cache::get_many`]. Bytes that cannot be read count as a miss.
    pub async fn get(&self, key: &str) -> Result<Option<T>> {
        Ok(self.look_up(key).await?.0.and_then(|kept| kept.value))
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// Those of [`Cache::put_many`].
    pub async fn put(&self, key: &str, value: &T) -> Result<()> {
        self.keep(key, &Kept { value: Some(value) }, self.ttl, Put::Always).await
    }

    /// Forgets a key, so that the next reader loads it.
    ///
    /// # Errors
    /// Those of [`Cache::remove_many`].
    pub async fn remove(&self, key: &str) -> Result<bool> {
        self.cache.remove(&self.scope, key).await
    }

    /// The cached value, else what `load` brings, which is then kept.
    ///
    /// Within this process one load per key runs at a time and the others wait for it; if the one that loads is
    /// cancelled, the next takes over. A failing cache is passed by: then every caller loads.
    ///
    /// # Errors
    /// Those of `load`; they are not remembered.
    pub async fn get_or_load<F, L>(&self, key: &str, load: L) -> Result<Option<T>>
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<Option<T>>> + Send,
    {
        check_key(key)?;
        let Ok((found, _)) = self.look_up(key).await else { return load().await };
        if let Some(kept) = found {
            return Ok(kept.value);
        }
        let flight = self.flight(key);
        let _landing = Landing { flights: &self.flights, key, flight: Arc::downgrade(&flight) };
        let _turn = flight.lock().await;
        let (found, generation) = match self.look_up(key).await {
            Ok(answer) => answer,
            Err(_) => return load().await,
        };
        if let Some(kept) = found {
            return Ok(kept.value);
        }
        let value = load().await?;
        let ttl = if value.is_some() { Some(self.ttl) } else { self.absent_ttl };
        if let Some(ttl) = ttl {
            // The value is good whether or not it could be kept.
            if let Err(error) =
                self.keep(key, &Kept { value: value.as_ref() }, ttl, Put::Fill(generation)).await
            {
                tracing::debug!(code = %error.code(), "a cache fill failed");
            }
        }
        Ok(value)
    }

    async fn look_up(&self, key: &str) -> Result<(Option<Kept<T>>, Generation)> {
        let found = self.cache.get_many(&self.scope, &[key.to_owned()]).await?;
        let bytes = only(found.values)?;
        Ok((bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()), found.generation))
    }

    async fn keep(&self, key: &str, kept: &Kept<&T>, ttl: Duration, put: Put) -> Result<()> {
        let bytes = serde_json::to_vec(kept)
            .map_err(|e| Error::new(Code::Internal).during("cache.put").caused_by(e))?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let share = (hasher.finish() % 1_000) as f64 / 1_000.0 * self.jitter;
        let ttl = ttl.mul_f64(1.0 - share).max(Duration::from_millis(1));
        let entry = CacheEntry { key: key.to_owned(), value: bytes.into(), ttl };
        self.cache.put_many(&self.scope, &[entry], put).await.map(drop)
    }

    fn flight(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

/// Forgets a flight when its last passenger leaves, also when cancelled.
struct Landing<'a> {
    flights: &'a Flights,
    key: &'a str,
    flight: Weak<tokio::sync::Mutex<()>>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let last = self.flight.strong_count() <= 1;
        if last && flights.get(self.key).is_some_and(|known| known.ptr_eq(&self.flight)) {
            flights.remove(self.key);
        }
    }
}
