//! [`Wal`] in Redis, for hosts without disks.

use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::id::Id;
use chat_core::error::{Code, Error, Result};
use chat_core::event::Envelope;
use chat_redis::driver::{Command, Key, Operation, Script, Store};
use chat_redis::{KeySpace, RedisService};
use redis::{FromRedisValue, ParsingError, Value};
use tokio::task::JoinHandle;

use super::file::{decode_entry, encode};
use super::{Wal, WalEntry, WalId, WalLimit, WalStats};
use crate::reply::Entry;
use crate::script::{WAL_BEGIN, WAL_FINISH, WAL_HOLD};

const OPENING: Operation = Operation::write("wal.open");
const BEGINNING: Operation = Operation::write("wal.begin");
const FINISHING: Operation = Operation::write("wal.finish");
const READING: Operation = Operation::read("wal.unfinished").bulk();
const LOOKING: Operation = Operation::write("wal.stats");
const LISTING: Operation = Operation::read("wal.logs");

/// How many places one script finishes.
const PLACES_AT_ONCE: usize = 512;

/// Which log, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisWalOptions {
    /// What keys begin with: `chat` by default.
    pub prefix: String,
    /// The log's name: that of the node whose log it is, without braces.
    pub log: String,
    /// Who uses it: the node, by default; another one when it takes over what a dead node left. No two processes at the same
    /// time have one name.
    pub owner: String,
    /// How much it takes.
    pub limit: WalLimit,
    /// After how long without a sign of life of its owner another may take the log over: 30 s by default.
    pub lease: Duration,
}

impl RedisWalOptions {
    /// The log of this node.
    pub fn of(node: impl Into<String>) -> Self {
        let node = node.into();
        Self {
            prefix: "chat".to_owned(),
            log: node.clone(),
            owner: node,
            limit: WalLimit::default(),
            lease: Duration::from_secs(30),
        }
    }

    /// The log of a dead node, for this one.
    #[must_use]
    pub fn take_over(self, log: impl Into<String>) -> Self {
        Self { log: log.into(), ..self }
    }
}

/// A write-ahead log in a Redis stream, for one owner at a time. Clones of the connection share round trips, so what many
/// tasks begin at once becomes safe together.
///
/// It survives the death of the process. What a death of Redis costs is Redis's configuration: nothing with `appendonly yes` and
/// `appendfsync always`, up to a second with `everysec`, and everything without persistence. A log that was lost is empty; a place
/// of before names nothing in it. It must not stand in the Redis whose absence it is to bridge.
///
/// The owner holds a lease, by the server's clock, and renews it by itself. When it is dead for as long as that, another node may
/// [take the log over](RedisWalOptions::take_over): [`logs`](Self::logs) names them. Whoever lost its log to another is told so
/// by [`Code::Conflict`].
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | `begin`, `stats` | 1 | 1 |
/// | `finish` | 1 per 512 entries | 1 |
/// | `unfinished` | 1 | 1 |
/// | renewing the lease, three times in its length | 2 | 2 |
#[derive(Debug)]
pub struct RedisWal {
    log: Log,
    renewing: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Log {
    store: Store,
    keys: [Key; 3],
    list: Key,
    options: RedisWalOptions,
}

impl RedisWal {
    /// Opens the log, or makes it. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Code::Conflict`] while another owner has it; [`Code::ConfigInvalid`] for a name that is none; those of the connection.
    pub async fn open(service: &RedisService, options: RedisWalOptions) -> Result<Self> {
        for name in [&options.prefix, &options.log, &options.owner] {
            let is_id = Id::<()>::new(name.as_str()).is_ok();
            if !is_id || name.contains(['{', '}']) {
                return Err(Error::invalid(Code::ConfigInvalid, "not a name for a write-ahead log"));
            }
        }
        let beside = |what| Key::foreign(format!("{}:wal:{{{}}}:{what}", options.prefix, options.log));
        let keys = [beside("log"), beside("names"), beside("state")];
        let list = list(&options.prefix);
        let log = Log { store: Store::new(service.clone(), KeySpace::default()), keys, list, options };
        log.renew().await?;
        let renewed = log.clone();
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(renewed.options.lease / 3).await;
                if let Err(error) = renewed.renew().await {
                    tracing::warn!(code = %error.code(), log = renewed.options.log, "a write-ahead log could not be held");
                }
            }
        });
        Ok(Self { log, renewing })
    }

    /// The logs there are, of the living and the dead; one whose owner lives cannot be opened by another.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn logs(service: &RedisService, prefix: &str) -> Result<Vec<String>> {
        let store = Store::new(service.clone(), KeySpace::default());
        let mut logs: Vec<String> = store.call_one(LISTING, Command::new("SMEMBERS", &list(prefix))).await?;
        logs.sort_unstable();
        Ok(logs)
    }

    /// Gives the log back, so that anybody may have it at once; an empty one is removed.
    ///
    /// # Errors
    /// Those of the connection: then the lease runs out.
    pub async fn close(self) -> Result<()> {
        self.renewing.abort();
        let log = &self.log;
        if log.hold(LOOKING, Duration::ZERO).await?.entries == 0 {
            let unlisting = Command::new("SREM", &log.list).arg(log.options.log.as_str());
            log.store.call_one::<i64>(LOOKING, unlisting).await?;
        }
        Ok(())
    }
}

impl Drop for RedisWal {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Log {
    fn script(&self, script: &'static Script, lease: Duration) -> Command {
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.store.script(script, &self.keys).arg(self.options.owner.as_str()).arg(lease)
    }

    /// It is listed before it can hold anything, and again should another have taken it off.
    async fn renew(&self) -> Result<()> {
        let listing = Command::new("SADD", &self.list).arg(self.options.log.as_str());
        self.store.call_one::<i64>(OPENING, listing).await?;
        self.hold(OPENING, self.options.lease).await.map(drop)
    }

    async fn hold(&self, operation: Operation, lease: Duration) -> Result<WalStats> {
        let answer: Held = self.store.call_one(operation, self.script(&WAL_HOLD, lease)).await?;
        answer.0.ok_or_else(|| others(operation))
    }
}

fn list(prefix: &str) -> Key {
    Key::foreign(format!("{prefix}:wals"))
}

fn others(operation: Operation) -> Error {
    Error::new(Code::Conflict).during(operation.name()).with("reason", "another has this write-ahead log")
}

#[async_trait]
impl Wal for RedisWal {
    async fn begin(&self, events: &[Envelope]) -> Result<WalId> {
        let log = &self.log;
        let name = super::name_of(events)?;
        let command = log
            .script(&WAL_BEGIN, log.options.lease)
            .arg(log.options.limit.entries)
            .arg(log.options.limit.bytes)
            .arg(name)
            .arg(encode(log.store.now(), events)?);
        match log.store.call_one::<String>(BEGINNING, command).await?.as_str() {
            "other" => Err(others(BEGINNING)),
            "full" => Err(Error::new(Code::QueueFull).during(BEGINNING.name())),
            place => {
                let unreadable = |_| Error::new(Code::DataCorrupt).during(BEGINNING.name());
                place.parse().map(WalId).map_err(unreadable)
            }
        }
    }

    async fn finish(&self, entries: &[WalId]) -> Result<()> {
        let finishing = entries.chunks(PLACES_AT_ONCE).map(|places| {
            let command = self.log.script(&WAL_FINISH, self.log.options.lease);
            places.iter().fold(command, |command, WalId(place)| command.arg(*place))
        });
        let finishing: Vec<_> = finishing.collect();
        if finishing.is_empty() {
            return Ok(());
        }
        let answers: Vec<String> = self.log.store.call(FINISHING, finishing).await?;
        if answers.iter().any(|answer| answer == "other") { Err(others(FINISHING)) } else { Ok(()) }
    }

    async fn unfinished(&self, after: Option<WalId>, limit: usize) -> Result<Vec<WalEntry>> {
        let from = after.map_or_else(|| "-".to_owned(), |WalId(place)| format!("({place}-0"));
        let [log, ..] = &self.log.keys;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let reading = Command::new("XRANGE", log).arg(from).arg("+").arg("COUNT").arg(limit);
        let found: Vec<Entry> = self.log.store.call_one(READING, reading).await?;
        found.iter().map(read).collect()
    }

    async fn stats(&self) -> Result<WalStats> {
        self.log.hold(LOOKING, self.log.options.lease).await
    }
}

/// What `wal_hold.lua` answers: nothing when another has the log.
struct Held(Option<WalStats>);

impl FromRedisValue for Held {
    fn from_redis_value(value: Value) -> std::result::Result<Self, ParsingError> {
        let words: Vec<String> = redis::from_redis_value(value)?;
        let number = |word: &String| word.parse().map_err(|_| ParsingError::from("no number"));
        match words.as_slice() {
            [said] if said == "other" => Ok(Self(None)),
            [_, entries, bytes] => {
                Ok(Self(Some(WalStats { entries: number(entries)?, bytes: number(bytes)? })))
            }
            _ => Err("no state of a write-ahead log".into()),
        }
    }
}

fn read(entry: &Entry) -> Result<WalEntry> {
    let corrupt = || Error::new(Code::DataCorrupt).during(READING.name()).with("entry", entry.id);
    let place = entry.id.to_string().strip_suffix("-0").and_then(|place| place.parse().ok());
    let bytes = entry.content.field("entry").ok_or_else(corrupt)?;
    decode_entry(WalId(place.ok_or_else(corrupt)?), bytes)
}
