//! What every operation costs: counted, not timed, with 10, 1 000 and 100 000 users on the server.
//!
//! The figures are part of the contract. They stand in `docs/COSTS.md`; a change of any of them fails, until
//! `CHAT_BLESS=1` writes them anew.

mod cache;
mod limits;
mod others;
mod presence;
mod rooms;
mod unread;
mod users;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use chat_core::error::Result;
use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Redis as Server;
use chat_testkit::{Absent, trials};
use futures::StreamExt;

trials! { needs "redis":
    every_operation_costs_what_it_should_whatever_there_is,
}

/// How many users, and as many of everything else, are there.
const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// No command of these: what they cost depends on everything there is, or they are of no use.
const FORBIDDEN: [&str; 7] = ["keys", "scan", "hscan", "sscan", "zscan", "ping", "flushdb"];
/// What the seeds send for what they do not do.
const NOTHING: &str = "–";
/// How far away the server seems to be.
const AWAY: Duration = Duration::from_millis(20);
/// How many shards there are: the most commands of an operation over many users.
const SHARDS: u64 = 16;

/// What one operation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    /// Commands sent.
    commands: u64,
    round_trips: u64,
    /// Commands that scripts called.
    within: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Cost {
    /// The same, but for the digits of numbers: some per command.
    fn is_as(self, other: Self) -> bool {
        let counted = |cost: Self| (cost.commands, cost.round_trips, cost.within);
        let near = |one: u64, other: u64| one.abs_diff(other) <= 8 * self.commands.max(2);
        counted(self) == counted(other)
            && near(self.bytes_in, other.bytes_in)
            && near(self.bytes_out, other.bytes_out)
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
struct Row {
    operation: &'static str,
    cost: Cost,
    /// What the systems replaced send for it: commands and round trips.
    seed: &'static str,
}

/// Measures operations against a server of which it is the only client.
struct Meter<'a> {
    redis: Redis,
    server: &'a Server,
    proxy: &'a Proxy,
    size: usize,
    rows: Vec<Row>,
}

impl Meter<'_> {
    /// An id nobody else has, as long as every other one.
    fn fresh(&self, nth: usize) -> String {
        format!("m{:06}{nth:04}", self.size)
    }

    /// Measures an operation that may send `most` commands, in one round trip. It is run twice, with 0 and with 1: the
    /// first time its scripts are loaded.
    async fn measure<T, F>(
        &mut self,
        operation: &'static str,
        most: u64,
        seed: &'static str,
        run: impl Fn(usize) -> F,
    ) where
        T: Debug,
        F: Future<Output = Result<T>>,
    {
        self.measure_trips(operation, (most, 1), seed, run).await;
    }

    /// The same for an operation that may take several round trips.
    async fn measure_trips<T, F>(
        &mut self,
        operation: &'static str,
        (commands, round_trips): (u64, u64),
        seed: &'static str,
        run: impl Fn(usize) -> F,
    ) where
        T: Debug,
        F: Future<Output = Result<T>>,
    {
        run(0).await.unwrap();
        // What is asked at once is asked before the first answer is back, as with a server further away.
        self.proxy.delay(AWAY);
        let counted = self.server.counting(self.proxy.counting(run(1)));
        let ((answer, passed), calls) = counted.await;
        answer.unwrap();
        self.proxy.pass().await;
        // What a script calls is counted beside the script.
        let called: u64 = calls.values().sum();
        let cost = Cost {
            commands: passed.requests,
            round_trips: passed.turns,
            within: called - passed.requests,
            bytes_in: passed.bytes_in,
            bytes_out: passed.bytes_out,
        };
        let is_within = cost.commands <= commands && cost.round_trips <= round_trips;
        assert!(is_within, "{operation} costs {cost:?}: {calls:?}");
        let forbidden = calls.keys().find(|name| FORBIDDEN.contains(&name.as_str()));
        assert_eq!(forbidden, None, "{operation} calls {calls:?}");
        self.rows.push(Row { operation, cost, seed });
    }
}

/// Does something for each number, many at a time.
async fn for_each<F: Future<Output = ()>>(numbers: impl Iterator<Item = usize>, work: impl Fn(usize) -> F) {
    futures::stream::iter(numbers).for_each_concurrent(64, work).await;
}

/// The id of a user, a room or whatever there is.
fn id(nth: usize) -> String {
    format!("id{nth:09}")
}

async fn every_operation_costs_what_it_should_whatever_there_is() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let near = connect(&server.url()).await;
    let mut tables = Vec::new();
    let mut filled = 0;
    for size in SIZES {
        presence::fill(&near, filled..size).await;
        cache::fill(&near, filled..size).await;
        limits::fill(&near, filled..size).await;
        rooms::fill(&near, filled..size).await;
        unread::fill(&near, filled..size).await;
        users::fill(&near, filled..size).await;
        filled = size;
        let redis = connect(&server.url_at(proxy.address())).await;
        let mut meter = Meter { redis, server: &server, proxy: &proxy, size, rows: Vec::new() };
        presence::measure(&mut meter).await;
        rooms::measure(&mut meter).await;
        unread::measure(&mut meter).await;
        cache::measure(&mut meter).await;
        users::measure(&mut meter).await;
        limits::measure(&mut meter).await;
        tables.push(meter.rows);
    }
    let [small, middle, large] = &tables[..] else { panic!("three sizes") };
    for ((small, middle), large) in small.iter().zip(middle).zip(large) {
        for other in [middle, large] {
            assert!(
                small.cost.is_as(other.cost),
                "{}: {:?}, and {:?}",
                small.operation,
                small.cost,
                other.cost
            );
        }
    }
    compare(large);
    Ok(())
}

async fn connect(url: &str) -> Redis {
    let mut config = RedisConfig::from_url(url).unwrap();
    // Nobody asks an idle connection whether it lives.
    config.timing.idle = Duration::from_secs(24 * 60 * 60);
    Redis::new(RedisService::connect(&config).await.unwrap(), &config.keys)
}

/// Compares with the published table, or writes it.
fn compare(rows: &[Row]) {
    let unmeasured = others::unmeasured(|name| rows.iter().any(|row| row.operation == name));
    assert!(unmeasured.is_empty(), "nobody measures {unmeasured:?}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/COSTS.md");
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var("CHAT_BLESS").is_ok_and(|bless| bless == "1") {
        let before = read(&published);
        // What is as it was keeps its figures, so that only what changed is written.
        let kept = |row: &Row| before.get(row.operation).copied().filter(|before| before.is_as(row.cost));
        let rows: Vec<Row> =
            rows.iter().map(|row| Row { cost: kept(row).unwrap_or(row.cost), ..row.clone() }).collect();
        std::fs::write(&path, written(&rows)).unwrap();
        return;
    }
    let before = read(&published);
    let changed: Vec<String> = rows
        .iter()
        .filter(|row| !before.get(row.operation).is_some_and(|before| before.is_as(row.cost)))
        .map(|row| format!("{}: {:?}, published: {:?}", row.operation, row.cost, before.get(row.operation)))
        .collect();
    assert!(
        changed.is_empty() && before.len() == rows.len(),
        "docs/COSTS.md has {} rows of {}, and other figures for {changed:#?}; CHAT_BLESS=1 writes it anew",
        before.len(),
        rows.len(),
    );
}

/// What stands above the table.
const HEAD: &str = "\
# What it costs

Counted on a real Redis by `tests/it/cost`, not timed; the same with 10, 1 000 and 100 000 users, rooms and keys on the
server, and a test fails when a figure changes. *Within* are the commands that scripts call on the server. The last columns
are what others send for the same, commands / round trips; N is everything there is.

- **seed**: the managers of seeds 001 and 002.
- **centrifuge**: its Redis engine, with users; in brackets what its scripts call. It renews one presence at a time, and reads the members of a
  channel whole.
- **stoat** (`stoatchat/stoatchat`, August 2026): presence without leases, so a process that dies leaves its users online until it is
  started again; what is unread is in MongoDB, so there a command is one of MongoDB's.

| operation | commands | round trips | within | bytes to Redis | bytes back | seed | centrifuge | stoat |
|---|---|---|---|---|---|---|---|---|
";

fn written(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for Row { operation, cost, seed } in rows {
        let Cost { commands, round_trips, within, bytes_in, bytes_out } = cost;
        let (centrifuge, stoat) = others::others(operation);
        writeln!(
            text,
            "| {operation} | {commands} | {round_trips} | {within} | {bytes_in} | {bytes_out} | {seed} | {centrifuge} | {stoat} |"
        )
        .unwrap();
    }
    text
}

/// The figures of a published table, by operation.
fn read(text: &str) -> BTreeMap<String, Cost> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let figure = |nth: usize| cells.get(nth)?.parse().ok();
        let cost = Cost {
            commands: figure(2)?,
            round_trips: figure(3)?,
            within: figure(4)?,
            bytes_in: figure(5)?,
            bytes_out: figure(6)?,
        };
        Some(((*cells.get(1)?).to_owned(), cost))
    };
    text.lines().filter_map(row).collect()
}
