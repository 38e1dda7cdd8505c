//! Processes are killed between any two steps, hundreds of times, and nothing acknowledged is lost, nothing happens twice,
//! nothing comes out of its order.
//!
//! `CHAT_TEST_KILLS` says how often (500 where nothing is said), `CHAT_TEST_SEED` repeats what a failure printed, as far as
//! the system's scheduling lets it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_core::store::events::{TailCursor, TailRead};
use chat_core::store::{DeadLettersExt, EventConsumer, EventTail};
use chat_redis::driver::Stopwatch;
use chat_streams::worker::Handler;
use chat_streams::{DurablePublisher, Start, Streams, Wal};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::kill_life::{Handling, LIFE, file_wal, journal, open, recover};
use super::ledger::{Journal, Told, check, numbered};
use super::log::{STREAM, TOPIC};

trials! { needs "redis":
    killed_five_hundred_times_nothing_is_lost_or_done_twice,
}

/// How many processes live at the same time.
const LANES: usize = 3;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// One process, from its first step to its last. Mostly it ends at a step; else it is killed at any moment.
fn live_and_die(url: &str, folder: &Path, lane: usize, random: &mut StdRng) {
    let is_at_a_step = random.random_bool(0.75);
    let steps = if is_at_a_step { random.random_range(0..200) } else { u64::MAX };
    let said = format!("{lane} {} {steps} {}", random.random::<u64>(), folder.display());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(LIFE, said)
        .env("CHAT_TEST_REDIS_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if !is_at_a_step {
        std::thread::sleep(Duration::from_micros(random.random_range(10_000..300_000)));
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let ended = output.status.signal();
    assert!(
        matches!(ended, Some(SIGABRT | SIGKILL)),
        "a process ended by itself, {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn killed_five_hundred_times_nothing_is_lost_or_done_twice() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let folder = tempfile::tempdir().unwrap();
    let seed = from_environment("CHAT_TEST_SEED").unwrap_or_else(rand::random);
    let kills = from_environment("CHAT_TEST_KILLS").unwrap_or(500);
    eprintln!("CHAT_TEST_SEED={seed}");
    let (began, left) = (Stopwatch::start(), AtomicU64::new(kills));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (url, folder, left) = (server.url(), folder.path(), &left);
            let mut random = StdRng::seed_from_u64(seed ^ lane as u64);
            scope.spawn(move || {
                let one_more = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok() {
                    live_and_die(&url, folder, lane, &mut random);
                }
            });
        }
    });
    let killing = began.elapsed();

    // Those who live on finish what the dead left.
    let (streams, cache) = open(&server.url()).await;
    let url = server.url();
    let handling = Handling::new(server, cache);
    let mut told = Vec::new();
    for lane in 0..LANES {
        let publisher = streams.publisher();
        let journal = Journal::open(&journal(folder.path(), lane));
        let host = file_wal(folder.path(), "host", lane);
        recover(&host, &publisher, &journal).await;
        assert_eq!(host.stats().await.unwrap().entries, 0);
        let wal = Arc::new(file_wal(folder.path(), "durable", lane));
        DurablePublisher::new(Arc::new(publisher), wal).await.unwrap().replay().await.unwrap();
        told.push(Told::clone(&journal.told));
    }
    finish(&streams, &handling).await;
    let published = published(&streams).await;
    let events: u64 =
        told.iter().enumerate().map(|(lane, told)| check(lane, told, &published, &handling.effects)).sum();
    let server = &handling.effects.0;
    let pending = server.command(&["XPENDING", STREAM, "g"]);
    assert_eq!(pending.list()[0].int(), 0, "{url}: {pending:?}");
    let beside: BTreeSet<_> = server
        .command(&["KEYS", &format!("{{{STREAM}}}:g:g:*")])
        .list()
        .iter()
        .map(|key| key.text().rsplit_once("g:g:").unwrap().1.to_owned())
        .collect();
    let stays = ["busy", "last", "seen", "sole", "wake"];
    let is_left = |name: &String| !stays.contains(&name.as_str()) && !name.starts_with("spell:");
    assert!(!beside.iter().any(is_left), "nobody holds anything: {beside:?}");
    eprintln!(
        "{kills} kills in {killing:?}, {events} events, {} given again, seed {seed}",
        handling.effects.repeats()
    );
    assert!(events >= kills, "they did something: {events}");
    Ok(())
}

/// Takes over and handles everything that is left.
async fn finish(streams: &Streams, handling: &Handling) {
    let last = streams.consumer("g", "the last", &[TOPIC], Start::Now).await.unwrap();
    let letters = streams.dead_letters();
    loop {
        let mut found = last.reclaim(Duration::ZERO, 1_000).await.unwrap();
        if found.is_empty() {
            found = last.fetch(512, Duration::ZERO).await.unwrap();
        }
        let replayed = if found.is_empty() { letters.replay_all().await.unwrap() } else { 0 };
        if found.is_empty() && replayed == 0 {
            break;
        }
        for delivery in found {
            match handling.handle(delivery.event.as_ref().unwrap(), delivery.attempt).await {
                Ok(()) => last.ack(&[delivery.receipt]).await.unwrap(),
                Err(error) => last.bury(&delivery, &error).await.unwrap(),
            }
        }
    }
    let lag = last.lag().await.unwrap();
    assert_eq!((lag.waiting, lag.pending), (0, 0));
}

/// What is in the stream, by key and in order.
async fn published(streams: &Streams) -> BTreeMap<String, Vec<u64>> {
    let (tail, mut cursor) = (streams.tail(), TailCursor { topic: TOPIC, after: None });
    let mut found = BTreeMap::<_, Vec<_>>::new();
    while let Some(read) = tail.read_since(&[cursor.clone()], 1_000, Duration::ZERO).await.unwrap().pop() {
        let TailRead::Events { events, next } = read else { panic!("{read:?}") };
        cursor = next;
        for event in events {
            let (key, nth) = numbered(&event.unwrap());
            found.entry(key).or_default().push(nth);
        }
    }
    found
}
