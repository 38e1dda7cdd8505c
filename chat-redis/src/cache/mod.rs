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

use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::error::{Code, Error, Result};
use chat_core::store::Cache;
use chat_core::store::cache::{
    CacheEntry, CacheScope, FENCE, Generation, Lookup, Put, check_entries, check_key,
};
use uuid::Uuid;

use crate::connection::Operation;
use crate::keys::{Key, SHARDS, Shard};
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
pub const APART: usize = 64 * 1024;

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
        let writers = Writers::new();
        let args = |nth, key: &str| vec![key.as_bytes().to_vec(), writers.of(nth).to_vec()];
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
        let script = script.arg(owner).arg(&Writers::new().of(0)[..]).arg(self.store.kept_for(REMEMBERED));
        self.store.call_one(RELEASE, script).await
    }
}

/// Names for those that write, one per place in a batch, so that a repeated command finds what it did.
struct Writers(u64);

impl Writers {
    fn new() -> Self {
        Self(Uuid::new_v4().as_u64_pair().1)
    }

    fn of(&self, nth: usize) -> Word {
        // Zero is nobody.
        self.0.wrapping_add(nth as u64).max(1).to_be_bytes()
    }
}

/// Cuts a batch, whose nth item belongs to a shard and has a size, into rounds: in each, one command per shard at most,
/// of so many items and, unless one item alone is larger, of such a size.
fn rounds(
    items: impl Iterator<Item = (Shard, usize)>,
    most: usize,
    largest: usize,
) -> Vec<Vec<(Shard, Vec<usize>)>> {
    let mut rounds: Vec<Vec<(Shard, Vec<usize>)>> = Vec::new();
    // Of each shard, in which round its next item goes, and how large that command has become.
    let mut open = [(0_usize, 0_usize); SHARDS as usize];
    for (nth, (shard, size)) in items.enumerate() {
        let Some((round, filled)) = open.get_mut(shard.index()) else { continue };
        let is_full = |batch: &Vec<usize>| batch.len() >= most || filled.saturating_add(size) > largest;
        let batch = rounds.get(*round).and_then(|batches| batches.iter().find(|(of, _)| *of == shard));
        if batch.is_some_and(|(_, batch)| is_full(batch)) {
            (*round, *filled) = (*round + 1, 0);
        }
        if rounds.len() <= *round {
            rounds.push(Vec::new());
        }
        *filled += size;
        let Some(batches) = rounds.get_mut(*round) else { continue };
        match batches.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, batch)) => batch.push(nth),
            None => batches.push((shard, vec![nth])),
        }
    }
    rounds
}

fn check_ttl(ttl: Duration) -> Result<()> {
    if ttl.is_zero() { Err(Error::invalid(Code::CacheKey, "a time to live of zero")) } else { Ok(()) }
}

/// A time to live in milliseconds; below one it lasts one.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(items: &[(&str, usize)], most: usize, largest: usize) -> Vec<Vec<Vec<usize>>> {
        let rounds = rounds(items.iter().map(|(key, size)| (Shard::of(key), *size)), most, largest);
        rounds.into_iter().map(|round| round.into_iter().map(|(_, batch)| batch).collect()).collect()
    }

    #[test]
    fn a_batch_is_cut_into_one_command_per_shard_and_round() {
        let (a, b) = ("ada", "eve");
        assert_ne!(Shard::of(a), Shard::of(b));
        assert!(cut(&[], 2, 10).is_empty());
        let mixed = [(a, 1), (b, 1), (a, 1), (b, 1)];
        assert_eq!(cut(&mixed, 9, 10), [[vec![0, 2], vec![1, 3]]]);
        assert_eq!(cut(&[(a, 1); 5], 2, 10), [[[0, 1].to_vec()], [[2, 3].to_vec()], [[4].to_vec()]]);
        assert_eq!(cut(&[(a, 6), (a, 6), (a, 99), (a, 1)], 9, 10), [[[0]], [[1]], [[2]], [[3]]], "by size");
        assert_eq!(cut(&[(a, 6), (a, 4), (b, 9)], 9, 10), [[vec![0, 1], vec![2]]]);
    }

    #[test]
    fn writers_of_a_batch_differ_and_none_is_nobody() {
        let writers = Writers(u64::MAX);
        assert_ne!(writers.of(0), writers.of(1));
        assert_ne!(writers.of(1), [0; 8]);
    }
}
