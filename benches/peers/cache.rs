//! JSON in a cache.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Contender, Goal, Reference, Row, acting};
use chat_core::clock::{SystemClock, Timestamp};
use chat_core::layer::{Tiered, TieredOptions};
use chat_core::store::CacheExt;
use chat_core::store::cache::{Cache, CacheScope};
use serde::{Deserialize, Serialize};

use crate::data::{CACHED, HOUR, hundred};
use crate::field::{Field, SLOW};
use crate::fixed::get;

#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
    dept: String,
    nth: u32,
    seen: u64,
}

pub(crate) fn rows(field: &mut Field<'_>) {
    let stage = field.stage;
    let bare = &stage.redis.cache;
    let cache = Arc::new(Arc::clone(bare).typed::<Person>(CacheScope::new("chat").unwrap(), HOUR));
    stage.prepare(async {
        for nth in 0..CACHED {
            cache.put(&key(nth), &person(nth)).await.unwrap();
        }
    });

    let ours = Arc::clone(&cache);
    let look_up = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move { assert_eq!(ours.get(&key(nth)).await.unwrap().unwrap().name, "Alice") }
    });
    let plain = get(field, &serde_json::to_string(&person(1)).unwrap());
    let row = field.add_fixed("cache get, with its JSON", "cache.get", look_up);
    row.raw.push(Contender { name: "raw driver, GET", act: plain });
    row.goals = [1, 64].map(|tasks| Goal { tasks, beside: "raw driver, GET", at_least: 0.9 }).to_vec();
    let words = || ["GET", "plain"].map(str::to_owned).to_vec();
    row.references = vec![Reference::new("GET", words(), 1), Reference::new("GET", words(), 16)];

    field.add_alone(near(field));

    let (ours, keys) = (Arc::clone(bare), Arc::new(hundred(key)));
    let scope = CacheScope::new("chat").unwrap();
    let hundred = acting(move |_, _| {
        let (ours, keys, scope) = (Arc::clone(&ours), Arc::clone(&keys), scope.clone());
        async move {
            #[derive(Deserialize)]
            struct Kept {
                v: Person,
            }
            for value in ours.get_many(&scope, &keys).await.unwrap().values {
                let kept: Kept = serde_json::from_slice(&value.unwrap()).unwrap();
                assert_eq!(kept.v.name, "Alice");
            }
        }
    });
    field.add_fixed("cache get 100, with their JSON", "cache.get100", hundred);

    let ours = Arc::clone(&cache);
    let put = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move { ours.put(&key(nth), &person(nth)).await.unwrap() }
    });
    field.add_fixed("cache put, with its JSON", "cache.put", put);

    let (ours, group) = (Arc::clone(bare), CacheScope::new("group").unwrap());
    let invalidate = acting(move |_, _| {
        let (ours, group) = (Arc::clone(&ours), group.clone());
        async move {
            ours.invalidate(&group).await.unwrap();
        }
    });
    field.add_fixed("cache, invalidate a group", "cache.invalidate", invalidate).tasks = SLOW;
}

/// A hit in front of Redis.
fn near(field: &Field<'_>) -> Row {
    let clock = Arc::new(SystemClock);
    let near = Tiered::new(Arc::clone(&field.stage.redis.cache) as _, TieredOptions::default(), clock);
    let news = near.news();
    news.heard(Timestamp::EPOCH, Duration::MAX);
    // What nobody changes needs no more news.
    std::mem::forget(news);
    let (near, scope) = (Arc::new(near), CacheScope::new("chat").unwrap());
    let hit = acting(move |_, _| {
        let (near, scope) = (Arc::clone(&near), scope.clone());
        async move { assert!(near.get(&scope, "key000001").await.unwrap().is_some()) }
    });
    Row::new("cache get, a hit in front of Redis", hit)
}

fn key(nth: usize) -> String {
    format!("key{:06}", nth % CACHED)
}

fn person(nth: usize) -> Person {
    Person { name: "Alice".into(), dept: "IT".into(), nth: (nth % CACHED) as u32, seen: 1_736_862_000_000 }
}
