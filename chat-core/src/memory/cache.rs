//! [`Cache`] in memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dashmap::DashMap;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::domain::page::{Page, Paged};
use crate::error::{Code, Error, Result};
use crate::store::Cache;
use crate::store::cache::{CacheEntry, CacheScope, FENCE, Generation, Lookup, Put, check_entries, check_key};

/// How many bytes are kept unless told otherwise: 64 MiB.
const DEFAULT_CAPACITY: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its key and value, roughly.
const ENTRY_BYTES: u64 = 200;
/// The most removed keys remembered one by one; more of them within [`FENCE`] refuse every fill for as long.
const MAX_FENCES: usize = 100_000;

/// A scope's name, a zero byte, which no scope holds, and the name within the scope.
type Key = Arc<str>;
type Values = moka::sync::Cache<Key, Value>;
type Listed = Mutex<BTreeSet<Key>>;

/// A cache in this process; a restart loses it.
///
/// Values, their keys and an allowance for each entry stay within a capacity in bytes: the least recently used leave
/// first. Beside them stand the claims that have not ended, the keys removed within the last [`FENCE`] (up to
/// 100 000; more of them refuse all fills for that time), and one number per scope ever invalidated.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    capacity: u64,
    values: Arc<Values>,
    listed: Arc<Listed>,
    generations: DashMap<CacheScope, u64>,
    fences: Mutex<Fences>,
    claims: Mutex<Expiring<Key, String>>,
    unsettled: AtomicU64,
}

#[derive(Clone)]
struct Value {
    bytes: Bytes,
    until: Timestamp,
    generation: u64,
}

impl MemoryCache {
    /// An empty cache of 64 MiB.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let listed = Arc::default();
        Self {
            clock,
            capacity: DEFAULT_CAPACITY,
            values: values(DEFAULT_CAPACITY, &listed),
            listed,
            generations: DashMap::new(),
            fences: Mutex::default(),
            claims: Mutex::default(),
            unsettled: AtomicU64::new(0),
        }
    }

    /// The same cache, empty, with room for this many bytes. A larger value is not kept.
    #[must_use]
    pub fn with_capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self.listed = Arc::default();
        self.values = values(bytes, &self.listed);
        self
    }

    fn generation(&self, scope: &CacheScope) -> u64 {
        self.generations.get(scope).map_or(0, |generation| *generation)
    }

    fn lives(&self, scope: &CacheScope, value: &Value) -> bool {
        value.generation == self.generation(scope) && value.until > self.clock.now()
    }

    /// Looks a value up and drops it when it is over.
    fn find(&self, scope: &CacheScope, key: &Key, generation: u64) -> Option<Value> {
        let value = self.values.get(key)?;
        if value.generation == generation && value.until > self.clock.now() {
            return Some(value);
        }
        self.change(scope, key, |living| if living.is_some() { Op::Nop } else { Op::Remove });
        None
    }

    /// Takes an atomic step on one entry, which is shown only while it lives; `true` if it was put or renewed.
    fn change(&self, scope: &CacheScope, key: &Key, step: impl FnOnce(Option<Value>) -> Op<Value>) -> bool {
        let done = self.values.entry(Arc::clone(key)).and_compute_with(|entry| {
            let there = entry.is_some();
            let living = entry.map(moka::Entry::into_value).filter(|value| self.lives(scope, value));
            match step(living) {
                Op::Remove if !there => Op::Nop,
                step => step,
            }
        });
        if matches!(done, CompResult::Inserted(_)) {
            relist(&self.values, &self.listed, key);
        }
        matches!(done, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
    }

    fn put_one(&self, scope: &CacheScope, entry: &CacheEntry, put: Put) -> bool {
        let fits = entry.value.len() as u64 <= self.capacity;
        let key = key(scope, &entry.key);
        // A slice would keep the whole buffer it was cut from.
        let bytes = if fits { Bytes::copy_from_slice(&entry.value) } else { Bytes::new() };
        self.change(scope, &key, |living| {
            let now = self.clock.now();
            let generation = self.generation(scope);
            let refused = match put {
                Put::Always => false,
                Put::Fill(begun) => {
                    living.is_some() || begun.0 != generation || self.fences.lock().refuse(&key, now)
                }
            };
            match (refused, fits) {
                (true, _) => Op::Nop,
                (false, false) => Op::Remove,
                (false, true) => Op::Put(Value { bytes, until: deadline(now, entry.ttl), generation }),
            }
        })
    }

    fn renew_one(&self, scope: &CacheScope, name: &str, ttl: Duration) -> bool {
        self.change(scope, &key(scope, name), |living| match living {
            Some(value) => Op::Put(Value { until: deadline(self.clock.now(), ttl), ..value }),
            None => Op::Remove,
        })
    }

    fn remove_one(&self, scope: &CacheScope, name: &str) -> bool {
        let key = key(scope, name);
        // The fence stands before the value goes, so that no fill slips in between.
        self.fences.lock().raise(&key, self.clock.now());
        let mut was = false;
        self.change(scope, &key, |living| {
            was = living.is_some();
            Op::Remove
        });
        was
    }

    /// Lets evictions happen before much more than the capacity is held.
    fn settle(&self, added: u64) {
        let unsettled = self.unsettled.fetch_add(added, Ordering::Relaxed).saturating_add(added);
        if unsettled >= self.capacity / 16 {
            self.unsettled.store(0, Ordering::Relaxed);
            self.values.run_pending_tasks();
        }
    }
}

impl Default for MemoryCache {
    /// On the system clock.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.listed.lock().len();
        f.debug_struct("MemoryCache").field("capacity", &self.capacity).field("entries", &entries).finish()
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        keys.iter().try_for_each(|name| check_key(name))?;
        let generation = self.generation(scope);
        let now = self.clock.now();
        let found = keys.iter().map(|name| match self.find(scope, &key(scope, name), generation) {
            Some(value) => (Some(value.bytes), value.until.since(now)),
            None => (None, Duration::ZERO),
        });
        let (values, left) = found.unzip();
        Ok(Lookup { generation: Generation(generation), values, left })
    }

    async fn put_many(&self, scope: &CacheScope, entries: &[CacheEntry], put: Put) -> Result<Vec<bool>> {
        check_entries(entries)?;
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            kept.push(self.put_one(scope, entry, put));
            self.settle(ENTRY_BYTES + entry.value.len() as u64);
        }
        Ok(kept)
    }

    async fn renew_many(&self, scope: &CacheScope, keys: &[String], ttl: Duration) -> Result<Vec<bool>> {
        keys.iter().try_for_each(|name| check_key(name))?;
        check_ttl(ttl)?;
        Ok(keys.iter().map(|name| self.renew_one(scope, name, ttl)).collect())
    }

    async fn remove_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Vec<bool>> {
        keys.iter().try_for_each(|name| check_key(name))?;
        Ok(keys.iter().map(|name| self.remove_one(scope, name)).collect())
    }

    async fn invalidate(&self, scope: &CacheScope) -> Result<Generation> {
        let mut generation = self.generations.entry(scope.clone()).or_default();
        *generation += 1;
        Ok(Generation(*generation))
    }

    async fn keys(
        &self,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        page.check()?;
        let generation = self.generation(scope);
        let first = key(scope, prefix);
        let after = page.after.as_ref().map(|cursor| key(scope, cursor)).filter(|after| *after >= first);
        let mut from = after.map_or(Bound::Included(Arc::clone(&first)), Bound::Excluded);
        let mut found = Vec::new();
        while found.len() <= page.limit {
            let wanted = page.limit + 1 - found.len();
            let listed = list(&self.listed, &from, &first, wanted);
            let Some(last) = listed.last() else { break };
            from = Bound::Excluded(Arc::clone(last));
            let living = listed.iter().filter(|key| self.find(scope, key, generation).is_some());
            found.extend(living.filter_map(|key| Some(key.get(scope.as_str().len() + 1..)?.to_owned())));
        }
        Ok(Paged::from_surplus(found, page.limit, String::clone))
    }

    async fn claim(&self, scope: &CacheScope, name: &str, owner: &str, ttl: Duration) -> Result<bool> {
        check_key(name)?;
        check_ttl(ttl)?;
        let key = key(scope, name);
        let mut claims = self.claims.lock();
        let now = self.clock.now();
        if claims.get(&key, now).is_some_and(|holder| holder != owner) {
            return Ok(false);
        }
        claims.insert(key, owner.to_owned(), deadline(now, ttl), now);
        Ok(true)
    }

    async fn release(&self, scope: &CacheScope, name: &str, owner: &str) -> Result<bool> {
        check_key(name)?;
        let key = key(scope, name);
        let mut claims = self.claims.lock();
        let held = claims.get(&key, self.clock.now()).is_some_and(|holder| holder == owner);
        if held {
            claims.remove(&key);
        }
        Ok(held)
    }
}

fn key(scope: &CacheScope, name: &str) -> Key {
    Key::from([scope.as_str(), "\0", name].concat())
}

/// A time to live below a millisecond lasts one.
fn deadline(now: Timestamp, ttl: Duration) -> Timestamp {
    now.after(ttl.max(Duration::from_millis(1)))
}

fn check_ttl(ttl: Duration) -> Result<()> {
    if ttl.is_zero() { Err(Error::invalid(Code::CacheKey, "a time to live of zero")) } else { Ok(()) }
}

/// Values within `capacity` bytes, each of them listed.
fn values(capacity: u64, listed: &Arc<Listed>) -> Arc<Values> {
    let listed = Arc::clone(listed);
    Arc::new_cyclic(|values: &Weak<Values>| {
        let values = Weak::clone(values);
        Values::builder()
            .max_capacity(capacity)
            // What an invalidation left behind is never read again, so it goes first.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(move |key: &Key, value: &Value| {
                let weight = ENTRY_BYTES + key.len() as u64 + value.bytes.len() as u64;
                // The largest value allowed still fits, alone.
                u32::try_from(weight.min(capacity)).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |key, _, cause| {
                if cause != RemovalCause::Replaced
                    && let Some(values) = values.upgrade()
                {
                    relist(&values, &listed, &key);
                }
            })
            .build()
    })
}

/// Lists a key if and only if it is there. It follows every coming and going, so the last one decides.
fn relist(values: &Values, listed: &Listed, key: &Key) {
    let mut listed = listed.lock();
    if values.contains_key(key) {
        listed.insert(Arc::clone(key));
    } else {
        listed.remove(key);
    }
}

/// Up to `limit` listed keys that begin with `first`.
fn list(listed: &Listed, from: &Bound<Key>, first: &Key, limit: usize) -> Vec<Key> {
    let listed = listed.lock();
    let keys = listed.range::<Key, _>((from.as_ref(), Bound::Unbounded));
    keys.take_while(|key| key.starts_with(&**first)).take(limit).cloned().collect()
}

/// The keys removed lately.
#[derive(Default)]
struct Fences {
    keys: Expiring<Key, ()>,
    everything: Timestamp,
}

impl Fences {
    fn raise(&mut self, key: &Key, now: Timestamp) {
        let until = now.after(FENCE);
        if self.keys.len() >= MAX_FENCES {
            self.keys = Expiring::default();
            self.everything = until;
        }
        self.keys.insert(Arc::clone(key), (), until, now);
    }

    fn refuse(&self, key: &Key, now: Timestamp) -> bool {
        // A clock that was set back must not refuse for longer.
        let everything = self.everything > now && self.everything.since(now) <= FENCE;
        everything || self.keys.get(key, now).is_some()
    }
}

/// A map whose entries end: what is over is not found, and goes as others come.
pub(super) struct Expiring<K, V> {
    entries: HashMap<K, (V, Timestamp)>,
    ends: BTreeSet<(Timestamp, K)>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), ends: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash, V> Expiring<K, V> {
    /// How many there are, some of which may be over.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<&V> {
        self.entries.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub(super) fn insert(&mut self, key: K, value: V, until: Timestamp, now: Timestamp) {
        self.purge(now);
        self.remove(&key);
        self.ends.insert((until, key.clone()));
        self.entries.insert(key, (value, until));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, until) = self.entries.remove(key)?;
        self.ends.remove(&(until, key.clone()));
        Some(value)
    }

    /// Drops the one that ends first.
    pub(super) fn pop_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_first() {
            self.entries.remove(&key);
        }
    }

    /// Drops what is over.
    pub(super) fn purge(&mut self, now: Timestamp) {
        while self.ends.first().is_some_and(|(until, _)| *until <= now) {
            self.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::CacheExt;

    const MINUTE: Duration = Duration::from_secs(60);

    fn held(cache: &MemoryCache) -> u64 {
        cache.values.iter().map(|(key, value)| ENTRY_BYTES + (key.len() + value.bytes.len()) as u64).sum()
    }

    #[tokio::test]
    async fn values_stay_within_the_capacity_and_the_list_follows() {
        let cache = MemoryCache::default().with_capacity(100_000);
        let scope = CacheScope::new("s").unwrap();
        for i in 0..2_000 {
            cache.put(&scope, &format!("{i:05}"), vec![0; 500], MINUTE).await.unwrap();
            assert!(held(&cache) <= 110_000, "{}", held(&cache));
        }
        cache.values.run_pending_tasks();
        let listed: Vec<_> = cache.listed.lock().iter().cloned().collect();
        assert!((100..200).contains(&listed.len()), "{}", listed.len());
        assert!(listed.iter().all(|key| cache.values.contains_key(key)));
        assert_eq!(listed.len(), cache.values.iter().count());
        assert!(cache.get(&scope, "01999").await.unwrap().is_some(), "the newest stays");
    }

    #[tokio::test]
    async fn a_value_above_the_capacity_takes_the_old_one_away() {
        let cache = MemoryCache::default().with_capacity(1_000);
        let scope = CacheScope::new("s").unwrap();
        cache.put(&scope, "k", "old", MINUTE).await.unwrap();
        let large = CacheEntry { key: "k".to_owned(), value: vec![0; 1_001].into(), ttl: MINUTE };
        assert_eq!(cache.put_many(&scope, &[large], Put::Always).await.unwrap(), [false]);
        assert_eq!(cache.get(&scope, "k").await.unwrap(), None);
    }

    #[tokio::test]
    async fn claims_and_fences_go_when_they_are_over() {
        let clock = ManualClock::default();
        let cache = MemoryCache::new(Arc::new(clock.clone()));
        let scope = CacheScope::new("s").unwrap();
        for i in 0..1_000 {
            assert!(cache.claim(&scope, &i.to_string(), "o", MINUTE).await.unwrap());
            cache.remove(&scope, &i.to_string()).await.unwrap();
        }
        clock.advance(MINUTE);
        assert!(cache.claim(&scope, "next", "o", MINUTE).await.unwrap());
        cache.remove(&scope, "next").await.unwrap();
        assert_eq!(cache.claims.lock().len(), 1);
        assert_eq!(cache.fences.lock().keys.len(), 1);
    }

    #[tokio::test]
    async fn too_many_removals_refuse_every_fill_for_a_while() {
        let clock = ManualClock::default();
        let cache = MemoryCache::new(Arc::new(clock.clone()));
        let scope = CacheScope::new("s").unwrap();
        for i in 0..=MAX_FENCES {
            cache.remove(&scope, &i.to_string()).await.unwrap();
        }
        assert!(cache.fences.lock().keys.len() < MAX_FENCES);
        let fill = |key: &str| CacheEntry { key: key.to_owned(), value: Bytes::new(), ttl: MINUTE };
        let put = Put::Fill(Generation(0));
        assert_eq!(cache.put_many(&scope, &[fill("7"), fill("other")], put).await.unwrap(), [false, false]);
        clock.advance(FENCE);
        assert_eq!(cache.put_many(&scope, &[fill("7"), fill("other")], put).await.unwrap(), [true, true]);
    }

    #[tokio::test]
    async fn what_an_invalidation_left_behind_goes_when_seen() {
        let cache = MemoryCache::default();
        let scope = CacheScope::new("s").unwrap();
        for i in 0..100 {
            cache.put(&scope, &i.to_string(), "v", MINUTE).await.unwrap();
        }
        cache.invalidate(&scope).await.unwrap();
        assert_eq!(cache.keys(&scope, "", &Page::first(10)).await.unwrap(), Paged::last(Vec::new()));
        assert_eq!(cache.listed.lock().len(), 0);
    }
}
