//! The cache, and a hit of the near tier in front of one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_benches::{Act, acting};
use chat_core::clock::{SystemClock, Timestamp};
use chat_core::layer::{Tiered, TieredOptions};
use chat_core::memory::Memory;
use chat_core::store::cache::{Cache, CacheEntry, CacheScope, Put};

use crate::field::{Field, HOUR, MANY};

pub(crate) fn rows(field: &mut Field) {
    field.row("cache get", 1, |field, memory| getting(filled(field, &memory), 1));
    field.row("cache get, near", 1, |field, memory| {
        let clock = Arc::new(SystemClock);
        let near = Tiered::new(filled(field, &memory), TieredOptions::default(), clock);
        let news = near.news();
        news.heard(Timestamp::EPOCH, Duration::MAX);
        // What nobody changes needs no more news.
        std::mem::forget(news);
        getting(Arc::new(near), 1)
    });
    field.row("cache get 100", 100, |field, memory| getting(filled(field, &memory), 100));
    field.row("cache put", 1, |field, memory| putting(filled(field, &memory), 1));
    field.row("cache put 100", 100, |field, memory| putting(filled(field, &memory), 100));
    field.row("cache invalidate", 1, |field, memory| {
        let cache = filled(field, &memory);
        acting(move |_, _| {
            let cache = Arc::clone(&cache);
            async move {
                cache.invalidate(&scope("group")).await.unwrap();
            }
        })
    });
}

fn scope(name: &str) -> CacheScope {
    CacheScope::new(name).unwrap()
}

fn key(nth: usize) -> String {
    format!("key{:06}", nth % MANY)
}

fn entry(nth: usize) -> CacheEntry {
    CacheEntry { key: key(nth), value: Bytes::from_static(&[b'v'; 64]), ttl: HOUR }
}

fn filled(field: &Field, memory: &Memory) -> Arc<dyn Cache> {
    field.prepare(async {
        let entries: Vec<_> = (0..MANY).map(entry).collect();
        memory.cache.put_many(&scope("chat"), &entries, Put::Always).await.unwrap();
    });
    Arc::clone(&memory.cache) as _
}

fn getting(cache: Arc<dyn Cache>, count: usize) -> Act {
    let batch = |first: usize| (0..count).map(|nth| key(first * count + nth)).collect::<Vec<_>>();
    // As many as a near tier keeps.
    let batches: Arc<Vec<_>> = Arc::new((0..64).map(batch).collect());
    let scope = scope("chat");
    acting(move |_, nth| {
        let (cache, batches, scope) = (Arc::clone(&cache), Arc::clone(&batches), scope.clone());
        async move {
            let found = cache.get_many(&scope, &batches[nth % batches.len()]).await.unwrap();
            assert!(found.values.iter().all(Option::is_some));
        }
    })
}

fn putting(cache: Arc<dyn Cache>, count: usize) -> Act {
    let batch = |first: usize| (0..count).map(|nth| entry(first * count + nth)).collect::<Vec<_>>();
    let batches: Arc<Vec<_>> = Arc::new((0..MANY / count).map(batch).collect());
    let scope = scope("chat");
    acting(move |_, nth| {
        let (cache, batches, scope) = (Arc::clone(&cache), Arc::clone(&batches), scope.clone());
        async move {
            cache.put_many(&scope, &batches[nth % batches.len()], Put::Always).await.unwrap();
        }
    })
}
