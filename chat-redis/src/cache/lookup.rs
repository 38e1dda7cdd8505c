//! Looking keys up.

use std::time::Duration;

use bytes::Bytes;
use chat_core::clock::Timestamp;
use chat_core::error::Result;
use chat_core::store::cache::{CacheScope, Generation, Lookup};
use redis::Value;

use super::lives::generation;
use super::record::{self, Found, Word};
use super::{BATCH, RedisCache, SHORT};
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Shard;
use crate::script::scripts;

scripts! {
    EXPIRE_SCRIPT = "cache", "cache_expire";
}

const EXPIRE: Operation = Operation::read("cache.expire");
const GET: Operation = Operation::read("cache.get");

/// How often a value that stands apart is looked for again, because another took its place meanwhile.
const CHASES: usize = 3;

/// What one round trip found.
struct Seen {
    /// The oldest generation among the shards asked; nothing if one of them has none.
    generation: Option<Generation>,
    /// Whether all of them have the same.
    is_settled: bool,
    found: Vec<Found>,
}

impl RedisCache {
    pub(super) async fn look_up(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        let all: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut seen = self.see(scope, &all).await?;
        if !seen.is_settled {
            self.settle(scope).await?;
            seen = self.see(scope, &all).await?;
        }
        let generation = seen.generation.unwrap_or(Generation(0));
        let (mut values, mut left) = (vec![None; keys.len()], vec![Duration::ZERO; keys.len()]);
        let (mut apart, mut over) = (Vec::new(), Vec::new());
        for (nth, (found, (value, lives_on))) in
            seen.found.into_iter().zip(values.iter_mut().zip(&mut left)).enumerate()
        {
            match found {
                Found::Value(bytes, time) => (*value, *lives_on) = (Some(bytes), time),
                Found::Miss => {}
                Found::Over => over.extend(keys.get(nth).cloned()),
                Found::Apart(writer, time) => apart.push((nth, writer, time)),
            }
        }
        // Redis does it itself a millisecond later; a time that is injected means nothing to it.
        if !over.is_empty() {
            self.change(EXPIRE, &EXPIRE_SCRIPT, scope, &over, 0, |_, _| Vec::new()).await?;
        }
        for (nth, writer, time) in apart {
            if let (Some(key), Some(value), Some(lives_on)) =
                (all.get(nth), values.get_mut(nth), left.get_mut(nth))
                && let Some((bytes, time)) = self.fetch(scope, key, writer, time).await?
            {
                (*value, *lives_on) = (Some(bytes), time);
            }
        }
        Ok(Lookup { generation, values, left })
    }

    /// Fetches a value that stands apart.
    async fn fetch(
        &self,
        scope: &CacheScope,
        key: &str,
        mut writer: Word,
        mut left: Duration,
    ) -> Result<Option<(Bytes, Duration)>> {
        let shard = Shard::of(key);
        for _ in 0..CHASES {
            let get = Command::new("GET", &self.apart(scope, shard, key, writer));
            match self.store.call_one(GET.bulk(), get).await? {
                Value::BulkString(value) => return Ok(Some((Bytes::from(value), left))),
                Value::Nil => {}
                _ => return Err(corrupt(GET, "a value that is no string")),
            }
            match self.see(scope, &[key]).await?.found.pop() {
                Some(Found::Apart(another, time)) => (writer, left) = (another, time),
                Some(Found::Value(value, time)) => return Ok(Some((value, time))),
                Some(Found::Miss | Found::Over) | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// One round trip: `MGET life record… life record…`, shard by shard.
    async fn see(&self, scope: &CacheScope, keys: &[&str]) -> Result<Seen> {
        let mut order: Vec<(Shard, usize)> =
            keys.iter().enumerate().map(|(nth, key)| (Shard::of(key), nth)).collect();
        order.sort_unstable();
        let commands = match order.as_slice() {
            [] => vec![Command::new("MGET", &self.life(scope, Shard::of(scope.as_str())))],
            order => order.chunks(BATCH).map(|chunk| self.mget(scope, keys, chunk)).collect(),
        };
        let operation = if keys.len() > SHORT { GET.bulk() } else { GET };
        let replies: Vec<Vec<Value>> = self.store.call(operation, commands).await?;
        let mut seeing = Seeing::new(self.store.now(), keys.len());
        if let ([], Some([life])) = (order.as_slice(), replies.first().map(Vec::as_slice)) {
            seeing.enter(life)?;
        }
        for (chunk, reply) in order.chunks(BATCH).zip(replies) {
            seeing.read(chunk, reply)?;
        }
        Ok(seeing.seen)
    }

    fn mget(&self, scope: &CacheScope, keys: &[&str], chunk: &[(Shard, usize)]) -> Command {
        let (mut places, mut within) = (Vec::with_capacity(chunk.len() + 1), None);
        for (shard, nth) in chunk {
            if within != Some(shard) {
                places.push(self.life(scope, *shard));
                within = Some(shard);
            }
            if let Some(key) = keys.get(*nth) {
                places.push(self.place(scope, *shard, key));
            }
        }
        let mut places = places.into_iter();
        match places.next() {
            Some(first) => Command::new("MGET", &first).arg(places.collect::<Vec<_>>()),
            None => Command::keyless("MGET"),
        }
    }
}

/// Takes replies apart.
struct Seeing {
    now: Timestamp,
    seen: Seen,
    /// The generation of the shard being read.
    current: Option<Generation>,
    latest: Option<Generation>,
    is_first: bool,
}

impl Seeing {
    fn new(now: Timestamp, keys: usize) -> Self {
        let found = (0..keys).map(|_| Found::Miss).collect();
        let seen = Seen { generation: None, is_settled: true, found };
        Self { now, seen, current: None, latest: None, is_first: true }
    }

    fn enter(&mut self, life: &Value) -> Result<()> {
        self.current = generation(GET, life)?;
        let is_same = self.is_first || self.latest == self.current;
        self.seen.is_settled &= is_same && self.current.is_some();
        self.seen.generation =
            if self.is_first { self.current } else { self.seen.generation.min(self.current) };
        (self.latest, self.is_first) = (self.latest.max(self.current), false);
        Ok(())
    }

    fn read(&mut self, chunk: &[(Shard, usize)], reply: Vec<Value>) -> Result<()> {
        let (mut reply, mut within) = (reply.into_iter(), None);
        let mut next = move || reply.next().ok_or_else(|| corrupt(GET, "too short an answer"));
        for (shard, nth) in chunk {
            if within != Some(shard) {
                self.enter(&next()?)?;
                within = Some(shard);
            }
            let found = match (next()?, self.current) {
                (Value::Nil, _) | (Value::BulkString(_), None) => Found::Miss,
                (Value::BulkString(bytes), Some(current)) => record::read(bytes, current, self.now)
                    .ok_or_else(|| corrupt(GET, "not a record of the cache"))?,
                _ => return Err(corrupt(GET, "a record that is no string")),
            };
            if let Some(place) = self.seen.found.get_mut(*nth) {
                *place = found;
            }
        }
        Ok(())
    }
}
