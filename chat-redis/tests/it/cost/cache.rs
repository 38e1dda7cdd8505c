//! What the cache costs.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use chat_core::domain::Page;
use chat_core::store::cache::{Cache, CacheEntry, CacheExt, CacheScope, Put};
use chat_redis::Redis;

use super::{Meter, NOTHING, SHARDS, id};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn scope(name: &str) -> CacheScope {
    CacheScope::new(name).unwrap()
}

fn entry(key: &str) -> CacheEntry {
    CacheEntry { key: key.to_owned(), value: Bytes::from_static(&[b'v'; 64]), ttl: HOUR }
}

/// A value for each user, in two scopes.
pub(super) async fn fill(redis: &Redis, new: Range<usize>) {
    let five = (0..5).map(|nth| entry(&format!("five{nth}")));
    let entries: Vec<CacheEntry> = new.map(|nth| entry(&id(nth))).chain(five).collect();
    for name in ["all", "gone"] {
        for part in entries.chunks(1_000) {
            redis.cache.put_many(&scope(name), part, Put::Always).await.unwrap();
        }
    }
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let (cache, size) = (&*meter.redis.cache.clone(), meter.size);
    // The shard is the key's, so these are alike in every scope.
    let (all, gone, own) = (&scope("all"), &scope("gone"), &scope(&format!("own{size:06}")));
    cache.get_many(own, &[]).await.unwrap();
    let hundred: &Vec<String> = &(0..100).map(|nth| format!("hundred{nth:04}")).collect();
    let values: &Vec<CacheEntry> = &hundred.iter().map(|key| entry(key)).collect();
    cache.put_many(own, values, Put::Always).await.unwrap();
    let begun = cache.get_many(own, hundred).await.unwrap().generation;
    let large = &CacheEntry { value: vec![0; 100_000].into(), ..entry("large") };

    meter.measure("cache: get", 1, "1 / 1", |_| cache.get(all, "five1")).await;
    meter.measure("cache: get, a miss", 1, "1 / 1", |_| cache.get(all, "nobody")).await;
    meter.measure("cache: get 100", 1, "100 / 100", |_| cache.get_many(own, hundred)).await;
    meter.measure("cache: put", 1, "1 / 1", |_| cache.put(all, "five1", &b"value"[..], HOUR)).await;
    meter
        .measure("cache: put, a new key", 1, "1 / 1", |nth| async move {
            cache.put(own, &format!("new{nth}"), &b"value"[..], HOUR).await
        })
        .await;
    meter.measure("cache: put 100", SHARDS, "100 / 100", |_| cache.put_many(own, values, Put::Always)).await;
    meter
        .measure("cache: fill", 1, NOTHING, |nth| async move {
            cache.put_many(own, &[entry(&format!("fill{nth}"))], Put::Fill(begun)).await
        })
        .await;
    meter
        .measure_trips("cache: put 100 000 bytes", (2, 2), "1 / 1", |_| async move {
            cache.put_many(own, std::slice::from_ref(large), Put::Always).await
        })
        .await;
    meter.measure_trips("cache: get 100 000 bytes", (2, 2), "1 / 1", |_| cache.get(own, "large")).await;
    meter
        .measure(
            "cache: renew",
            1,
            "2 / 2",
            |_| async move { cache.renew_many(own, &hundred[..1], HOUR).await },
        )
        .await;
    meter.measure("cache: remove", 1, "1 / 1", |nth| cache.remove(own, &hundred[nth])).await;
    meter.measure("cache: remove 100", SHARDS, "100 / 100", |_| cache.remove_many(own, hundred)).await;
    meter
        .measure("cache: 5 keys by prefix", SHARDS, "N/100 / N/100", |_| async move {
            cache.keys(all, "five", &Page::first(5)).await
        })
        .await;
    meter.measure("cache: claim", 1, NOTHING, |_| cache.claim(own, "job", "ann", HOUR)).await;
    meter.measure("cache: release", 1, NOTHING, |_| cache.release(own, "job", "ann")).await;
    meter
        .measure_trips("cache: invalidate", (1 + SHARDS, 2), "N/100 / N/100", |_| cache.invalidate(gone))
        .await;
}
