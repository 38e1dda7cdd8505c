//! Listing the keys of a scope: the lists of its shards, merged.

use std::collections::BTreeSet;

use chat_core::domain::page::{Page, Paged};
use chat_core::error::Result;
use chat_core::store::cache::CacheScope;

use super::RedisCache;
use crate::connection::Operation;
use crate::error::corrupt;
use crate::keys::{SHARDS, Shard};
use crate::script::scripts;

scripts! {
    KEYS_SCRIPT = "cache", "cache_keys";
}

/// What it strikes out is not there for anybody, so it reads.
const KEYS: Operation = Operation::read("cache.keys");

/// How far the list of one shard was read.
struct Reading {
    shard: Shard,
    /// The last key looked at; none before the first.
    last: Option<Vec<u8>>,
    is_over: bool,
}

impl RedisCache {
    pub(super) async fn list_keys(
        &self,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        let (wanted, end) = (page.limit + 1, end_of(prefix));
        let begin = match &page.after {
            Some(after) if after.as_str() >= prefix => bound(b'(', after.as_bytes()),
            _ => bound(b'[', prefix.as_bytes()),
        };
        // A shard's part of the page and somewhat more, so that one round trip is nearly always enough.
        let share = wanted / usize::from(SHARDS);
        let share = share + share / 4 + 8;
        let mut readings: Vec<Reading> =
            Shard::all().map(|shard| Reading { shard, last: None, is_over: false }).collect();
        let mut found = BTreeSet::new();
        loop {
            let last = found.iter().nth(wanted - 1).map(|key: &String| key.as_bytes().to_vec());
            let is_short = |reading: &Reading| match (&reading.last, &last) {
                _ if reading.is_over => false,
                (Some(seen), Some(last)) => seen < last,
                _ => true,
            };
            let short: Vec<_> = readings.iter_mut().filter(|reading| is_short(reading)).collect();
            if short.is_empty() {
                break;
            }
            let commands = short
                .iter()
                .map(|reading| {
                    let keys = [self.life(scope, reading.shard), self.list(scope, reading.shard)];
                    let begin = reading.last.as_ref().map_or_else(|| begin.clone(), |last| bound(b'(', last));
                    self.store.script(&KEYS_SCRIPT, &keys).arg(self.rubbish()).arg(begin).arg(&end).arg(share)
                })
                .collect();
            let operation = if wanted > 100 { KEYS.bulk() } else { KEYS };
            let answers: Vec<Vec<Vec<u8>>> = self.store.call(operation, commands).await?;
            for (reading, answer) in short.into_iter().zip(answers) {
                let mut answer = answer.into_iter();
                let last = answer.next().ok_or_else(|| corrupt(KEYS, "too short an answer"))?;
                reading.is_over = last.is_empty();
                reading.last = Some(last);
                for key in answer {
                    found.insert(String::from_utf8(key).map_err(|_| corrupt(KEYS, "a key that is no text"))?);
                }
            }
        }
        let items = found.into_iter().take(wanted).collect();
        Ok(Paged::from_surplus(items, page.limit, String::clone))
    }
}

/// `[key` or `(key`, as ZRANGEBYLEX has it.
fn bound(kind: u8, key: &[u8]) -> Vec<u8> {
    [&[kind], key].concat()
}

/// The end of all that begin with a prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    // No text holds the byte 255.
    if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), &[255]].concat() }
}
