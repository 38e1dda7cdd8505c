//! Keeping values.

use chat_core::error::Result;
use chat_core::store::cache::{CacheEntry, CacheScope, Put};

use super::{APART, BATCH, RedisCache, millis};
use crate::batch::rounds;
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Shard;
use crate::once::OperationId;
use crate::script::scripts;

scripts! {
    PUT_SCRIPT = "cache", "cache_put";
}

const PUT: Operation = Operation::write("cache.put");

/// How many bytes of values one command carries at most, unless one value is larger.
const LARGEST_COMMAND: usize = 512 * 1024;

impl RedisCache {
    pub(super) async fn put_all(
        &self,
        scope: &CacheScope,
        entries: &[CacheEntry],
        put: Put,
    ) -> Result<Vec<bool>> {
        let call = OperationId::new();
        for (nth, entry) in entries.iter().enumerate().filter(|(_, entry)| stands_apart(entry)) {
            self.set_apart(scope, entry, call, nth).await?;
        }
        let mut kept = vec![false; entries.len()];
        let sizes = entries.iter().map(|entry| {
            let value = if stands_apart(entry) { 0 } else { entry.value.len() };
            (Shard::of(&entry.key), value)
        });
        // One after the other, because a key may come twice.
        for round in rounds(sizes, BATCH, LARGEST_COMMAND) {
            for (nth, is_kept) in self.put_round(scope, entries, put, call, &round).await? {
                if let Some(kept) = kept.get_mut(nth) {
                    *kept = is_kept;
                }
            }
        }
        Ok(kept)
    }

    /// Brings a large value to where only its record will point at it: it is not copied by the script.
    async fn set_apart(
        &self,
        scope: &CacheScope,
        entry: &CacheEntry,
        call: OperationId,
        nth: usize,
    ) -> Result<()> {
        let place = self.apart(scope, Shard::of(&entry.key), &entry.key, call.part(nth));
        let set = Command::new("SET", &place).arg(&entry.value[..]).arg("PX").arg(self.kept_for(entry));
        self.store.call_one(PUT.bulk(), set).await
    }

    async fn put_round(
        &self,
        scope: &CacheScope,
        entries: &[CacheEntry],
        put: Put,
        call: OperationId,
        round: &[(Shard, Vec<usize>)],
    ) -> Result<Vec<(usize, bool)>> {
        let size: usize = round
            .iter()
            .flat_map(|(_, batch)| batch)
            .filter_map(|nth| entries.get(*nth))
            .map(|entry| if stands_apart(entry) { 0 } else { entry.value.len() })
            .sum();
        let operation = if size > APART { PUT.bulk() } else { PUT };
        for is_last in [false, true] {
            let commands = round
                .iter()
                .map(|(shard, batch)| {
                    let batch = batch.iter().filter_map(|nth| Some((*nth, entries.get(*nth)?)));
                    self.put_command(scope, *shard, batch, put, call)
                })
                .collect();
            let kept: Vec<Option<Vec<bool>>> = self.store.call(operation, commands).await?;
            if kept.iter().any(Option::is_none) && !is_last {
                self.settle(scope).await?;
                continue;
            }
            let answers = round.iter().zip(kept).flat_map(|((_, batch), kept)| {
                batch.iter().copied().zip(kept.unwrap_or_else(|| vec![false; batch.len()]))
            });
            return Ok(answers.collect());
        }
        Err(corrupt(PUT, "no answer"))
    }

    fn put_command<'a>(
        &self,
        scope: &CacheScope,
        shard: Shard,
        batch: impl Iterator<Item = (usize, &'a CacheEntry)> + Clone,
        put: Put,
        call: OperationId,
    ) -> Command {
        let mut places = vec![self.life(scope, shard), self.list(scope, shard)];
        places.extend(batch.clone().map(|(_, entry)| self.place(scope, shard, &entry.key)));
        let apart = batch.clone().filter(|(_, entry)| stands_apart(entry));
        places.extend(apart.map(|(nth, entry)| self.apart(scope, shard, &entry.key, call.part(nth))));
        let command = self.store.script(&PUT_SCRIPT, &places).arg(self.rubbish());
        let command = match put {
            Put::Always => command.arg(""),
            Put::Fill(begun) => command.arg(&begun.0.to_be_bytes()[..]),
        };
        batch.fold(command, |command, (nth, entry)| {
            let (kind, value) = if stands_apart(entry) { ("a", &[][..]) } else { ("i", &entry.value[..]) };
            command.arg(&entry.key).arg(millis(entry.ttl)).arg(&call.part(nth)[..]).arg(kind).arg(value)
        })
    }

    fn kept_for(&self, entry: &CacheEntry) -> u64 {
        millis(entry.ttl).saturating_add(self.rubbish())
    }
}

fn stands_apart(entry: &CacheEntry) -> bool {
    entry.value.len() > APART
}
