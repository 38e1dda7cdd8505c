//! What stands beside a stream is bounded by what is not done with, and a stream by its length.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::error::{Code, Effect, Error};
use chat_core::event::Envelope;
use chat_core::store::events::Published;
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher};
use chat_streams::{StreamConsumer, StreamsOptions};
use chat_testkit::{Absent, sample, trials};

use super::log::{IDLE, Log, STREAM, TOPIC, ack, fetch, lag};

trials! { needs "redis":
    fifty_times_the_length_later_a_stream_is_as_long_as_it_was,
    what_is_acknowledged_leaves_nothing_behind,
    a_dead_group_is_never_trimmed_away,
}

const LENGTH: u64 = 300;

async fn short(stretch: u64) -> Result<Log, Absent> {
    let lengths = BTreeMap::from([(TOPIC, LENGTH)]);
    Log::with(StreamsOptions { lengths, stretch, ..StreamsOptions::default() }).await
}

fn batch(from: u64, count: u64, keys: u64) -> Vec<Envelope> {
    (from..from + count).map(|nth| sample::notice(&format!("key {}", nth % keys), nth)).collect()
}

fn length(log: &Log) -> u64 {
    u64::try_from(log.server.command(&["XLEN", STREAM]).int()).unwrap()
}

/// What stands beside the stream: by name, its bytes.
fn beside(log: &Log) -> BTreeMap<String, i64> {
    let keys = log.server.command(&["KEYS", &format!("{{{STREAM}}}:*")]);
    let size = |key: &str| log.server.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).int();
    let prefix = format!("{{{STREAM}}}:");
    keys.list()
        .iter()
        .map(|key| key.text())
        .map(|key| (key.strip_prefix(&prefix).unwrap().to_owned(), size(&key)))
        .collect()
}

async fn drain(member: &StreamConsumer) {
    loop {
        let found = fetch(member, 512).await;
        if found.is_empty() {
            return;
        }
        ack(member, &found).await;
    }
}

async fn fifty_times_the_length_later_a_stream_is_as_long_as_it_was() -> Result<(), Absent> {
    let log = short(10).await?;
    let (one, other) = (log.member("one").await, log.consumer("other", "one").await);
    let mut longest = 0;
    for from in (0..50 * LENGTH).step_by(100) {
        log.streams.publisher().publish_many(&batch(from, 100, 40)).await.unwrap();
        drain(&one).await;
        drain(&other).await;
        longest = longest.max(length(&log));
        if from % 3_000 == 0 {
            // Ids are remembered by time: this is ten minutes' worth.
            log.clock.advance(Duration::from_secs(600));
        }
    }
    assert!(longest <= 2 * LENGTH + 100, "{longest}");
    assert!(length(&log) >= LENGTH);
    let memory = log.server.command(&["MEMORY", "USAGE", STREAM, "SAMPLES", "0"]).int();
    assert!(memory < 400_000, "{memory} bytes for {} entries", length(&log));
    let beside = beside(&log);
    let remembered = beside["ids:new"] + beside.get("ids:old").copied().unwrap_or(0);
    assert!(remembered < 720_000, "{remembered} bytes for the ids of twenty minutes: 6000");
    Ok(())
}

async fn what_is_acknowledged_leaves_nothing_behind() -> Result<(), Absent> {
    const EVENTS: u64 = 10_000;
    let log = Log::new().await?;
    let mut members = Vec::new();
    for nth in 0..5 {
        members.push(log.member(&format!("member {nth}")).await);
    }
    // Everything that can happen to an entry: parked, reclaimed, set aside, replayed.
    for from in (0..EVENTS).step_by(500) {
        log.streams.publisher().publish_many(&batch(from, 500, 1_000)).await.unwrap();
        for (nth, member) in members.iter().enumerate() {
            let found = fetch(member, 150).await;
            match nth {
                0 => {}
                1 => {
                    for delivery in &found[..10.min(found.len())] {
                        member.bury(delivery, &Error::new(Code::Internal)).await.unwrap();
                    }
                }
                _ => ack(member, &found).await,
            }
        }
    }
    let ids: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.streams.dead_letters().replay(&ids).await.unwrap(), ids.len() as u64);
    log.clock.advance(IDLE);
    loop {
        let taken = members[2].reclaim(IDLE, 500).await.unwrap();
        ack(&members[2], &taken).await;
        for member in &members {
            drain(member).await;
        }
        if taken.is_empty() && lag(&members[0]).await == (0, 0) {
            break;
        }
    }
    let beside = beside(&log);
    let of_group: BTreeMap<_, _> =
        beside.iter().filter_map(|(name, bytes)| Some((name.strip_prefix("g:g:")?, *bytes))).collect();
    let names: Vec<_> = of_group.keys().copied().collect();
    assert!(names.iter().all(|name| ["busy", "last", "seen", "wake"].contains(name)), "{names:?}");
    // Two answers of up to 512 entries for each member.
    assert!(of_group["last"] < 5 * 2 * 512 * 40, "{of_group:?}");
    // One node of a stream, in which all but one entry are crossed out.
    assert!(of_group["wake"] < 10_000, "{of_group:?}");
    let others: Vec<_> =
        beside.keys().filter(|name| !name.starts_with("g:") && !name.starts_with("done:")).collect();
    assert_eq!(others, ["dead", "groups", "ids:new", "life", "replayed", "trim"], "and nothing else");
    assert_eq!(log.native("g"), []);
    // A member that is forgotten leaves nothing either.
    log.streams.remove_group("g", &[TOPIC]).await.unwrap();
    let left = self::beside(&log);
    assert!(left.keys().all(|name| !name.starts_with("g:")), "{left:?}");
    Ok(())
}

async fn a_dead_group_is_never_trimmed_away() -> Result<(), Absent> {
    let log = short(4).await?;
    let (dead, one) = (log.consumer("dead", "one").await, log.member("one").await);
    let (mut published, mut refusals) = (0, 0);
    for _ in 0..100 {
        match log.streams.publisher().publish_many(&batch(published, 50, 10)).await {
            Ok(answers) => {
                assert!(answers.iter().all(|answer| matches!(answer, Published::Durable(_))));
                published += 50;
            }
            Err(refused) => {
                assert_eq!((refused.code(), refused.effect()), (Code::QueueFull, Effect::None));
                refusals += 1;
            }
        }
        drain(&one).await;
        assert_eq!(length(&log), published, "nothing it needs is gone");
    }
    assert_eq!((published, refusals), (4 * LENGTH, 100 - 4 * LENGTH / 50), "at the stated bound");
    let mut count = 0;
    loop {
        let found = fetch(&dead, 100).await;
        if found.is_empty() {
            break;
        }
        for delivery in &found {
            assert_eq!(delivery.event.as_ref().unwrap(), &batch(count, 1, 10)[0]);
            count += 1;
        }
        ack(&dead, &found).await;
    }
    assert_eq!(count, published, "it finds all of it");
    log.streams.publisher().publish_many(&batch(published, 50, 10)).await.unwrap();
    assert!(length(&log) <= 2 * LENGTH, "then it is trimmed: {}", length(&log));
    Ok(())
}
