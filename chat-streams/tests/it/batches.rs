//! Batches: whatever comes between, all of one is there or none, where it was said, and nobody sees a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_core::event::Envelope;
use chat_core::store::EventPublisher;
use chat_core::store::events::{Position, Published};
use chat_streams::{StreamPublisher, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{Redis, RedisCluster, RedisOptions};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::log::{Log, STREAM, TOPIC, connect, notice};

trials! { needs "redis":
    each_event_stands_where_it_was_said_to_stand,
    a_stream_whose_newest_entry_is_in_the_future_goes_on,
    a_lost_answer_changes_nothing,
    those_who_wait_are_given_what_comes,
    nobody_sees_a_part_of_it,
    a_replica_has_the_same,
    a_log_that_ends_anywhere_has_all_of_a_batch_or_none,
    on_a_cluster_it_follows_its_slot,
    whatever_happens_each_event_stands_once,
}

const BATCH: usize = 100;

fn batch(from: usize, count: usize) -> Vec<Envelope> {
    (from..from + count).map(|nth| notice(&format!("key{}x{nth}", nth % 7))).collect()
}

async fn publish(publisher: &StreamPublisher, events: &[Envelope]) -> Vec<Published> {
    publisher.publish_many(events).await.unwrap()
}

fn durable(answers: Vec<Published>) -> Vec<Position> {
    let at = |answer| match answer {
        Published::Durable(at) => at,
        other => panic!("{other:?}"),
    };
    answers.into_iter().map(at).collect()
}

fn suppressed(at: &[Position]) -> Vec<Published> {
    at.iter().cloned().map(Published::Suppressed).collect()
}

/// The ids of the entries, and what the payload of each says about which event it is.
fn entries(server: &Redis) -> Vec<(String, String)> {
    let entry = |entry: &chat_testkit::server::Reply| {
        let id = entry.list()[0].text();
        let payload = entry.list()[1].list().last().map_or_else(String::new, |payload| payload.text());
        (id, payload)
    };
    server.command(&["XRANGE", STREAM, "-", "+"]).list().iter().map(entry).collect()
}

/// That these events stand in this order where it was said, and nothing else does.
fn stand(server: &Redis, events: &[Envelope], at: &[Position]) {
    let entries = entries(server);
    assert_eq!((entries.len(), events.len()), (events.len(), at.len()));
    for ((event, at), (id, payload)) in events.iter().zip(at).zip(entries) {
        assert!(at.0.ends_with(&format!("-{id}")), "{at:?} is not {id}");
        assert!(payload.contains(event.id.as_str()), "{} is not {payload}", event.id);
    }
}

fn digest(log: &Log) -> String {
    log.server.command(&["DEBUG", "DIGEST"]).text()
}

/// A log whose stream is there.
async fn begun() -> Result<Log, Absent> {
    let log = Log::new().await?;
    publish(&log.streams.publisher(), &batch(0, 1)).await;
    log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    Ok(log)
}

async fn each_event_stands_where_it_was_said_to_stand() -> Result<(), Absent> {
    let log = begun().await?;
    let publisher = log.streams.publisher();
    let (mut all, mut at) = (Vec::new(), Vec::new());
    // Large ones take the server longer than a millisecond.
    for round in 0..10 {
        let mut events = batch(1_000 * (round + 1), BATCH + round);
        if round % 2 == 1 {
            for event in &mut events {
                *event = sample::notice(event.id.as_str(), "x".repeat(20_000));
            }
        }
        at.extend(durable(publish(&publisher, &events).await));
        all.extend(events);
    }
    stand(&log.server, &all, &at);
    let milliseconds: BTreeSet<_> =
        at[BATCH..2 * BATCH].iter().map(|at| at.0.split('-').nth(1).unwrap().to_owned()).collect();
    eprintln!("a batch of large events is spread over {} milliseconds", milliseconds.len());
    // Also one by one, and by those who never saw them.
    let other = log.streams.publisher();
    for nth in (0..all.len()).step_by(9) {
        assert_eq!(publish(&other, &all[nth..=nth]).await, suppressed(&at[nth..=nth]));
    }
    assert_eq!(publish(&other, &all).await, suppressed(&at));
    Ok(())
}

async fn a_stream_whose_newest_entry_is_in_the_future_goes_on() -> Result<(), Absent> {
    let log = begun().await?;
    let publisher = log.streams.publisher();
    for newest in
        ["9999999999999-41", "9999999999999-9007199254740990", "18446744073709551000-18446744073709551000"]
    {
        log.server.command(&["XADD", STREAM, newest, "by", "hand"]);
        log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
        let events = batch(newest.len() * 1_000, BATCH);
        let at = durable(publish(&publisher, &events).await);
        stand(&log.server, &events, &at);
        assert_eq!(publish(&publisher, &events).await, suppressed(&at), "{newest}");
    }
    Ok(())
}

async fn a_lost_answer_changes_nothing() -> Result<(), Absent> {
    let log = begun().await?;
    log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let far = connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    let publisher = far.publisher();
    let (mut all, mut at) = (Vec::new(), Vec::new());
    for round in 0..2 {
        let before = proxy.counts().faults;
        match round {
            0 => proxy.cut_before(Request::with("EVAL")),
            _ => proxy.cut_after(Request::with("EVAL")),
        }
        let events = batch(1_000 * (round + 1), BATCH);
        at.extend(durable(publish(&publisher, &events).await));
        all.extend(events);
        assert_eq!(proxy.counts().faults, before + 1, "{round}");
        stand(&log.server, &all, &at);
    }
    assert!(publish(&publisher, &all).await == suppressed(&at));
    Ok(())
}

async fn those_who_wait_are_given_what_comes() -> Result<(), Absent> {
    let log = begun().await?;
    let publisher = log.streams.publisher();
    log.server.command(&["XGROUP", "CREATE", STREAM, "theirs", "$"]);
    for round in 1..=3 {
        let (mut plain, mut member) = (log.server.connect().unwrap(), log.server.connect().unwrap());
        plain.send(&["XREAD", "COUNT", "1000", "BLOCK", "9000", "STREAMS", STREAM, "$"]).unwrap();
        let group =
            ["XREADGROUP", "GROUP", "theirs", "c", "COUNT", "1000", "BLOCK", "9000", "STREAMS", STREAM, ">"];
        member.send(&group).unwrap();
        let wait = || async { (log.server.info("blocked_clients").as_deref() == Some("2")).then_some(()) };
        eventually("both to wait", wait).await;
        // A repeat: nothing happens to the stream, and nobody is woken for nothing.
        if round > 1 {
            publish(&publisher, &batch(1_000 * (round - 1), BATCH)).await;
            assert_eq!(log.server.info("blocked_clients").as_deref(), Some("2"));
        }
        publish(&publisher, &batch(1_000 * round, BATCH)).await;
        for waiting in [&mut plain, &mut member] {
            let reply = waiting.receive().unwrap();
            assert!(!reply.is_error(), "{reply}");
            assert_eq!(reply.list()[0].list()[1].list().len(), BATCH, "all of it at once");
        }
    }
    Ok(())
}

async fn nobody_sees_a_part_of_it() -> Result<(), Absent> {
    const ROUNDS: usize = 20;
    let lengths = BTreeMap::from([(TOPIC, 1_000_000)]);
    let log = Log::with(StreamsOptions { lengths, ..StreamsOptions::default() }).await?;
    publish(&log.streams.publisher(), &batch(0, BATCH)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut connection = log.server.connect().unwrap();
    let watch = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let length = connection.command(&["XLEN", STREAM]).unwrap().int();
                assert!(length > 0 && length % BATCH as i64 == 0, "a part of a batch: {length}");
                seen.insert(length);
            }
            seen.len()
        }
    });
    let publishers: Vec<_> = (1..=4).map(|lane| (lane, log.streams.publisher())).collect();
    let each = publishers.iter().map(|(lane, publisher)| async move {
        for round in 0..ROUNDS {
            publish(publisher, &batch(100_000 * lane + round * BATCH, BATCH)).await;
        }
    });
    futures::future::join_all(each).await;
    over.store(true, Ordering::Relaxed);
    assert!(watch.join().unwrap() > 1, "it was looked at while it grew");
    assert_eq!(entries(&log.server).len(), (4 * ROUNDS + 1) * BATCH);
    Ok(())
}

async fn a_replica_has_the_same() -> Result<(), Absent> {
    let log = begun().await?;
    let replica = Redis::spawn()?;
    replica.replicate(&log.server);
    let publisher = log.streams.publisher();
    let events = batch(1_000, 5 * BATCH);
    let at = durable(publish(&publisher, &events).await);
    let mut mixed = batch(3_000, BATCH);
    mixed[5] = events[5].clone();
    publish(&publisher, &mixed).await;
    let same = || async { (replica.command(&["DEBUG", "DIGEST"]).text() == digest(&log)).then_some(()) };
    eventually("the replica to have it all", same).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let promoted = connect(&replica.url(), Some(&log.clock), StreamsOptions::default()).await;
    assert_eq!(publish(&promoted.publisher(), &events).await, suppressed(&at));
    Ok(())
}

fn appended(server: &Redis) -> PathBuf {
    let folder = server.process().folder().join("appendonlydir");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap()
}

async fn rewritten(server: &Redis) {
    server.command(&["BGREWRITEAOF"]);
    let done = || async {
        let is_over = |field: &str, value: &str| server.info(field).as_deref() == Some(value);
        let is_over = is_over("aof_rewrite_in_progress", "0") && is_over("aof_rewrite_scheduled", "0");
        is_over.then_some(())
    };
    eventually("a new file", done).await;
}

async fn a_log_that_ends_anywhere_has_all_of_a_batch_or_none() -> Result<(), Absent> {
    let options = RedisOptions::default().append_only().set("appendfsync", "always");
    let server = Redis::spawn_with(&options)?;
    let streams = connect(&server.url(), None, StreamsOptions::default()).await;
    let publisher = streams.publisher();
    publish(&publisher, &batch(0, 1)).await;
    publish(&publisher, &batch(1, BATCH)).await;
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kept, mut lost) = (1 + BATCH, 0);
    for round in 1..=8 {
        let events = batch(1_000 * round, BATCH);
        let before = size(&appended(&server));
        publish(&publisher, &events).await;
        server.kill();
        let path = appended(&server);
        let (after, all) = (size(&path), round == 8);
        assert!(after > before + 1_000, "{before} {after}");
        let cut = if all { after } else { random.random_range(before..after) };
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        server.restart();
        // Redis 7.0 leaves the beginning of a torn script in the file, and would do it at the next start.
        rewritten(&server).await;
        assert_eq!(
            entries(&server).len(),
            kept + if all { BATCH } else { 0 },
            "cut at {cut} of {before}..{after}"
        );
        let answers = publish(&publisher, &events).await;
        let is_new = |answer: &Published| matches!(answer, Published::Durable(_));
        assert!(answers.iter().all(|answer| is_new(answer) != all), "all of it was lost, or none");
        kept += BATCH;
        lost += usize::from(!all);
        assert_eq!(entries(&server).len(), kept);
    }
    assert_eq!(lost, 7);
    Ok(())
}

async fn on_a_cluster_it_follows_its_slot() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    let url = format!("redis+cluster://{}", nodes.join(","));
    let publisher = connect(&url, None, StreamsOptions::default()).await.publisher();
    publish(&publisher, &batch(0, 1)).await;
    let slot = cluster.slot(STREAM);
    let (mut all, mut at) = (Vec::new(), Vec::new());
    for round in 1..=4 {
        let from = cluster.owner(slot);
        let moving = cluster.migrate(slot, from, (from + 1) % 3);
        if round % 2 == 0 {
            moving.move_keys(2);
        }
        // It waits for the end of the move, or happens before it.
        let events = batch(1_000 * round, BATCH);
        let (answers, ()) = tokio::join!(publish(&publisher, &events), async {
            tokio::task::yield_now().await;
            moving.finish();
        });
        at.extend(durable(answers));
        all.extend(events);
    }
    let node = &cluster.nodes()[cluster.owner(slot)];
    assert_eq!(node.command(&["XLEN", STREAM]).int(), 1 + 4 * BATCH as i64);
    assert_eq!(publish(&publisher, &all).await, suppressed(&at));
    Ok(())
}

async fn whatever_happens_each_event_stands_once() -> Result<(), Absent> {
    let wanted = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = wanted.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let log = Log::new().await?;
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let far = connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    let publishers = [far.publisher(), far.publisher()];
    let mut stood: BTreeMap<usize, Position> = BTreeMap::new();
    for step in 0..120 {
        let newest = stood.len();
        let count = [1, 5, 20, 60, 256, 300][random.random_range(0..6)];
        let mut nths: Vec<usize> = (newest..newest + count).collect();
        if newest > 0 && random.random_ratio(1, 3) {
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..=nths.len());
                nths.insert(place, random.random_range(newest.saturating_sub(500)..newest));
            }
        }
        match random.random_range(0..8) {
            0 => proxy.cut_before(Request::with("EVAL")),
            1 | 2 => proxy.cut_after(Request::with("EVAL")),
            3 => drop(log.server.command(&["SCRIPT", "FLUSH"])),
            _ => {}
        }
        let events: Vec<_> = nths.iter().map(|nth| batch(*nth, 1).remove(0)).collect();
        let answers = publish(&publishers[random.random_range(0..2)], &events).await;
        for (nth, answer) in nths.iter().zip(answers) {
            match answer {
                Published::Durable(at) => {
                    assert!(stood.insert(*nth, at).is_none(), "step {step}: {nth} again");
                }
                Published::Suppressed(at) => assert_eq!(stood.get(nth), Some(&at), "step {step}: {nth}"),
                other => panic!("step {step}: {other:?}"),
            }
        }
        proxy.pass().await;
    }
    let entries = entries(&log.server);
    let newest = stood.len() - entries.len();
    assert!(newest == 0 || entries.len() >= 2_000, "{} of {}", entries.len(), stood.len());
    for ((nth, at), (id, payload)) in stood.iter().skip(newest).zip(&entries) {
        let event = batch(*nth, 1).remove(0);
        assert!(
            at.0.ends_with(&format!("-{id}")) && payload.contains(event.id.as_str()),
            "{nth} at {at:?}, {id}"
        );
    }
    Ok(())
}
