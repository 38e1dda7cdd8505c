//! Generations: begun, learnt, and brought in line.

use chat_core::error::Result;
use chat_core::store::cache::{CacheScope, Generation};
use redis::Value;

use super::RedisCache;
use super::record;
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Shard;
use crate::script::scripts;

scripts! {
    BEGIN_SCRIPT = "cache", "cache_begin";
}

/// Nobody sees a difference, so it reads.
const SETTLE: Operation = Operation::read("cache.settle");
const INVALIDATE: Operation = Operation::write("cache.invalidate");

/// What a shard's life says: its generation, or nothing when it has none.
pub(super) fn generation(operation: Operation, life: &Value) -> Result<Option<Generation>> {
    match life {
        Value::Nil => Ok(None),
        Value::BulkString(life) => {
            record::generation(life).map(Some).ok_or_else(|| corrupt(operation, "not the life of a scope"))
        }
        _ => Err(corrupt(operation, "a life that is no string")),
    }
}

impl RedisCache {
    /// Begins the next generation of a scope everywhere.
    ///
    /// Two that meet may begin the same one, which is in order: each began after both had asked.
    pub(super) async fn begin_next(&self, scope: &CacheScope) -> Result<Generation> {
        let latest = self.latest(INVALIDATE, scope).await?;
        let next = latest.map_or(0, |latest| latest.0.saturating_add(1));
        self.begin(INVALIDATE, scope, Generation(next.max(self.moment()))).await
    }

    /// Brings all shards in line with the one that is ahead; begins the first generation where there is none.
    pub(super) async fn settle(&self, scope: &CacheScope) -> Result<()> {
        let target = match self.latest(SETTLE, scope).await? {
            Some(latest) => latest,
            // Of those that meet, the first one in the scope's own shard decides for all.
            None => {
                let shard = Shard::of(scope.as_str());
                let first = self.beginning(scope, shard, Generation(self.moment())).arg(true);
                let begun: Value = self.store.call_one(SETTLE, first).await?;
                begun_in(SETTLE, &begun)?
            }
        };
        self.begin(SETTLE, scope, target).await.map(drop)
    }

    /// The latest generation in any shard.
    async fn latest(&self, operation: Operation, scope: &CacheScope) -> Result<Option<Generation>> {
        let mut lives = Shard::all().map(|shard| self.life(scope, shard));
        let Some(first) = lives.next() else { return Ok(None) };
        let all = Command::new("MGET", &first).arg(lives.collect::<Vec<_>>());
        let lives: Vec<Value> = self.store.call_one(operation, all).await?;
        let generations = lives.iter().map(|life| generation(operation, life));
        generations.collect::<Result<Vec<_>>>().map(|all| all.into_iter().flatten().max())
    }

    /// Begins a generation in every shard that has no later one; answers the latest there is then.
    async fn begin(
        &self,
        operation: Operation,
        scope: &CacheScope,
        target: Generation,
    ) -> Result<Generation> {
        let everywhere = Shard::all().map(|shard| self.beginning(scope, shard, target).arg(false)).collect();
        let begun: Vec<Value> = self.store.call(operation, everywhere).await?;
        begun.iter().try_fold(target, |latest, begun| Ok(latest.max(begun_in(operation, begun)?)))
    }

    fn beginning(&self, scope: &CacheScope, shard: Shard, generation: Generation) -> Command {
        let keys = [self.life(scope, shard), self.list(scope, shard)];
        self.store.script(&BEGIN_SCRIPT, &keys).arg(self.rubbish()).arg(&generation.0.to_be_bytes()[..])
    }

    /// A generation nobody has used before, unless the clock was set back.
    fn moment(&self) -> u64 {
        self.store.now().as_millis().max(1)
    }
}

fn begun_in(operation: Operation, begun: &Value) -> Result<Generation> {
    let bytes = match begun {
        Value::BulkString(bytes) => <[u8; 8]>::try_from(&bytes[..]).ok(),
        _ => None,
    };
    let generation = bytes.map(|bytes| Generation(u64::from_be_bytes(bytes)));
    generation.ok_or_else(|| corrupt(operation, "not a generation"))
}
