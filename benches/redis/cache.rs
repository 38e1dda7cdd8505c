//! The cache beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_benches::{Act, Goal, Reference, Row, Stage, acting, measure};
use chat_core::clock::{SystemClock, Timestamp};
use chat_core::layer::{Tiered, TieredOptions};
use chat_core::memory::MemoryCache;
use chat_core::store::cache::{Cache, CacheEntry, CacheExt, CacheScope, Put};
use redis::AsyncTypedCommands;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// How many keys there are.
const KEYS: usize = 10_000;
const VALUE: [u8; 64] = [b'v'; 64];

fn main() {
    let Some(stage) = Stage::set() else { return };
    let scope = CacheScope::new("bench").unwrap();
    stage.prepare(async {
        let entries: Vec<_> = (0..KEYS).map(|nth| entry(&key(nth))).collect();
        for part in entries.chunks(500) {
            stage.redis.cache.put_many(&scope, part, Put::Always).await.unwrap();
        }
        let _: () = stage.raw.clone().set("plain", &VALUE[..]).await.unwrap();
    });
    let rows = [near(&stage, &scope), get(&stage, &scope), get_many(&stage, &scope), put(&stage, &scope)];
    measure(&stage, &rows);
}

fn key(nth: usize) -> String {
    format!("key{:06}", nth % KEYS)
}

fn entry(key: &str) -> CacheEntry {
    CacheEntry { key: key.to_owned(), value: Bytes::from_static(&VALUE), ttl: HOUR }
}

/// A hit in front of Redis, beside memory alone and Redis alone.
fn near(stage: &Stage, scope: &CacheScope) -> Row {
    let clock = Arc::new(SystemClock);
    let near = Tiered::new(Arc::clone(&stage.redis.cache) as _, TieredOptions::default(), clock.clone());
    let news = near.news();
    news.heard(Timestamp::EPOCH, Duration::MAX);
    // What nobody changes needs no more news.
    std::mem::forget(news);
    let memory = Arc::new(MemoryCache::new(clock));
    stage.prepare(async { memory.put(scope, "key000001", &VALUE[..], HOUR).await.unwrap() });
    let looking = |cache: Arc<dyn Cache>| {
        let scope = scope.clone();
        acting(move |_, _| {
            let (cache, scope) = (Arc::clone(&cache), scope.clone());
            async move { assert!(cache.get(&scope, "key000001").await.unwrap().is_some()) }
        })
    };
    let mut row = Row::new("cache get, near", looking(Arc::new(near)));
    row.raw.push(chat_benches::Contender { name: "memory alone", act: looking(memory) });
    row.raw.push(chat_benches::Contender {
        name: "redis alone",
        act: looking(Arc::clone(&stage.redis.cache) as _),
    });
    row
}

fn get(stage: &Stage, scope: &CacheScope) -> Row {
    let (cache, scope) = (Arc::clone(&stage.redis.cache), scope.clone());
    let ours = acting(move |_, _| {
        let (cache, scope) = (Arc::clone(&cache), scope.clone());
        async move { assert!(cache.get(&scope, "key000001").await.unwrap().is_some()) }
    });
    let mut row = stage.row("cache get", ours);
    let plain = acting({
        let raw = stage.raw.clone();
        move |_, _| {
            let mut raw = raw.clone();
            async move { assert!(raw.get("plain").await.unwrap().is_some()) }
        }
    });
    row.raw.push(chat_benches::Contender { name: "raw driver, GET", act: plain });
    let get = || ["GET", "plain"].map(str::to_owned).to_vec();
    row.references = vec![Reference::new("GET", get(), 1), Reference::new("GET", get(), 16)];
    row.goals = vec![
        Goal { tasks: 1, beside: "raw driver, GET", at_least: 0.9 },
        Goal { tasks: 64, beside: "redis-benchmark GET -P 1", at_least: 2.0 },
    ];
    row
}

fn get_many(stage: &Stage, scope: &CacheScope) -> Row {
    let keys: Arc<Vec<String>> = Arc::new((0..100).map(key).collect());
    let (cache, scope) = (Arc::clone(&stage.redis.cache), scope.clone());
    let ours = acting(move |_, _| {
        let (cache, scope, keys) = (Arc::clone(&cache), scope.clone(), Arc::clone(&keys));
        async move { assert!(cache.get_many(&scope, &keys).await.unwrap().values.iter().all(Option::is_some)) }
    });
    stage.row("cache get 100", ours)
}

fn put(stage: &Stage, scope: &CacheScope) -> Row {
    let (cache, scope) = (Arc::clone(&stage.redis.cache), scope.clone());
    let ours: Act = acting(move |_, _| {
        let (cache, scope) = (Arc::clone(&cache), scope.clone());
        async move { cache.put(&scope, "key000001", &VALUE[..], HOUR).await.unwrap() }
    });
    let mut row = stage.row("cache put", ours.clone());
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}
