//! [`Cache`] on Redis.
//!
//! A key belongs to one of 16 shards; so everything of a scope exists 16 times, once for each shard:
//!
//! * the **life**: the generation that is current, the same in every shard;
//! * a **record** per key: generation, end, writer, value. One `MGET` of life and record answers a lookup: a record of
//!   another generation is none, so an invalidation replaces 16 small strings and touches no value;
//! * the **list**: the keys in order. Only a new key is added (0.5 µs to 3 µs of server time); a replaced value costs
//!   nothing more. Without it one page of `keys` walks the whole database: 14 490 round trips at 1.45 million keys.
//!
//! A removal is a record too, which keeps fills away for [`FENCE`]. Values above [`APART`] stand in a key of their own,
//! under the name of the put that wrote them, and are fetched over the connection for long replies: so no lookup holds
//! the others up, and no script copies a large value.
//!
//! Generations are numbers of milliseconds, so that one that was lost is not used again. A lookup that finds a shard
//! without the others' generation, because somebody died in the middle of an invalidation or Redis lost a key, brings
//! them in line before it answers.
//!
//! | operation | commands | round trips |
//! |---|---|---|
//! | `get_many` | 1 `MGET` for up to 500 keys; on a cluster 1 per shard | 1; 2 with values above 64 KiB, each with a `GET` |
//! | `put_many` | 1 script per shard | 1; 2 with values above 64 KiB, each with a `SET` |
//! | `renew_many`, `remove_many` | 1 script per shard | 1 |
//! | `invalidate` | 1 `MGET`, 16 scripts | 2 |
//! | `keys` | 16 scripts, each for a sixteenth of the page | 1, rarely more |
//! | `claim`, `release` | 1 script | 1 |
//! | the first lookup or put of a scope | 1 `MGET`, 17 scripts more | 3 more |

mod keys;
mod lives;
mod lookup;
mod put;
mod record;
mod tracking;

use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::error::{Code, Error, Result};
use chat_core::store::Cache;
use chat_core::store::cache::{
    CacheEntry, CacheScope, FENCE, Generation, Lookup, Put, check_entries, check_key,
};

use crate::batch::rounds;
use crate::connection::Operation;
use crate::keys::{Key, Shard};
use crate::once::OperationId;
use crate::script::{Script, scripts};
use crate::store::Store;
use record::Word;

scripts! {
    RENEW_SCRIPT = "cache", "cache_renew";
    REMOVE_SCRIPT = "cache", "cache_remove";
    CLAIM_SCRIPT = "cache_claim";
    RELEASE_SCRIPT = "cache_release";
}

const RENEW: Operation = Operation::write("cache.renew");
const REMOVE: Operation = Operation::write("cache.remove");
const CLAIM: Operation = Operation::write("cache.claim");
const RELEASE: Operation = Operation::write("cache.release");

/// The largest value that stands in its record, in bytes: 64 KiB.
const APART: usize = 64 * 1024;

/// How many keys one command touches at most.
const BATCH: usize = 500;
/// Answers to more keys than this come over the connection for long replies.
const SHORT: usize = 16;
/// For how long a claim's last release is remembered, for one whose answer was lost.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The longest time to live: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A cache in Redis, shared by all that use the same key space; kind of state: **derived**.
///
/// Values above 64 KiB need time to travel: [`Timing::response`](crate::connection::Timing::response) bounds each way.
#[derive(Debug, Clone)]
pub struct RedisCache {
    store: Store,
}

impl RedisCache {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    fn life(&self, scope: &CacheScope, shard: Shard) -> Key {
        self.store.keys.sharded("c", shard, &[scope.as_str(), "g"])
    }

    fn list(&self, scope: &CacheScope, shard: Shard) -> Key {
        self.store.keys.sharded("c", shard, &[scope.as_str(), "k"])
    }

    fn place(&self, scope: &CacheScope, shard: Shard, key: &str) -> Key {
        self.store.keys.sharded("c", shard, &[scope.as_str(), "v", key])
    }

    fn apart(&self, scope: &CacheScope, shard: Shard, key: &str, writer: Word) -> Key {
        let writer = format!("{:016x}", u64::from_be_bytes(writer));
        self.store.keys.sharded("c", shard, &[scope.as_str(), "v", key, &writer])
    }

    fn claimed(&self, scope: &CacheScope, name: &str) -> Key {
        self.store.keys.sharded("c", Shard::of(name), &[scope.as_str(), "c", name])
    }

    /// For how many milliseconds Redis keeps what is over.
    fn rubbish(&self) -> u64 {
        self.store.kept_for(Duration::ZERO)
    }

    /// One script call per shard and [`BATCH`] over the places of keys, each with what `args` says of the nth; one answer
    /// per key, in order.
    async fn change(
        &self,
        operation: Operation,
        script: &'static Script,
        scope: &CacheScope,
        keys: &[String],
        argument: u64,
        args: impl Fn(usize, &str) -> Vec<Vec<u8>> + Send + Sync,
    ) -> Result<Vec<bool>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut answers = vec![false; keys.len()];
        // One after the other, because a key may come twice.
        for round in rounds(keys.iter().map(|key| (Shard::of(key), 0)), BATCH, usize::MAX) {
            let commands = round
                .iter()
                .map(|(shard, batch)| {
                    let mut places = vec![self.life(scope, *shard), self.list(scope, *shard)];
                    let batch = batch.iter().filter_map(|nth| Some((*nth, keys.get(*nth)?)));
                    let mut arguments = Vec::new();
                    for (nth, key) in batch {
                        places.push(self.place(scope, *shard, key));
                        arguments.extend(args(nth, key));
                    }
                    self.store.script(script, &places).arg(self.rubbish()).arg(argument).arg(arguments)
                })
                .collect();
            let found: Vec<Vec<bool>> = self.store.call(operation, commands).await?;
            for ((_, batch), found) in round.iter().zip(found) {
                for (nth, found) in batch.iter().zip(found) {
                    if let Some(answer) = answers.get_mut(*nth) {
                        *answer = found;
                    }
                }
            }
        }
        Ok(answers)
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.look_up(scope, keys).await
    }

    async fn put_many(&self, scope: &CacheScope, entries: &[CacheEntry], put: Put) -> Result<Vec<bool>> {
        check_entries(entries)?;
        self.put_all(scope, entries, put).await
    }

    async fn renew_many(&self, scope: &CacheScope, keys: &[String], ttl: Duration) -> Result<Vec<bool>> {
        check_ttl(ttl)?;
        self.change(RENEW, &RENEW_SCRIPT, scope, keys, millis(ttl), |_, _| Vec::new()).await
    }

    async fn remove_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Vec<bool>> {
        let call = OperationId::new();
        let args = |nth, key: &str| vec![key.as_bytes().to_vec(), call.part(nth).to_vec()];
        self.change(REMOVE, &REMOVE_SCRIPT, scope, keys, millis(FENCE), args).await
    }

    async fn invalidate(&self, scope: &CacheScope) -> Result<Generation> {
        self.begin_next(scope).await
    }

    async fn keys(
        &self,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        page.check()?;
        self.list_keys(scope, prefix, page).await
    }

    async fn claim(&self, scope: &CacheScope, name: &str, owner: &str, ttl: Duration) -> Result<bool> {
        check_key(name)?;
        check_ttl(ttl)?;
        let ttl = ttl.min(LONGEST);
        let script = self.store.script(&CLAIM_SCRIPT, &[self.claimed(scope, name)]);
        let kept = self.store.kept_for(ttl.max(REMEMBERED));
        self.store.call_one(CLAIM, script.arg(owner).arg(millis(ttl)).arg(kept)).await
    }

    async fn release(&self, scope: &CacheScope, name: &str, owner: &str) -> Result<bool> {
        check_key(name)?;
        let script = self.store.script(&RELEASE_SCRIPT, &[self.claimed(scope, name)]);
        let script =
            script.arg(owner).arg(&OperationId::new().part(0)[..]).arg(self.store.kept_for(REMEMBERED));
        self.store.call_one(RELEASE, script).await
    }
}

fn check_ttl(ttl: Duration) -> Result<()> {
    if ttl.is_zero() { Err(Error::invalid(Code::CacheKey, "a time to live of zero")) } else { Ok(()) }
}

/// A time to live in milliseconds; below one it lasts one.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}
