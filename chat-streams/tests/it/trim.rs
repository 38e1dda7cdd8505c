//! What is trimmed, what is not, and who says so.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::error::{Code, Effect};
use chat_core::event::{Envelope, FileUploaded, Topic};
use chat_core::store::events::{Published, TailCursor, TailRead};
use chat_core::store::{EventConsumer, EventPublisher};
use chat_streams::{Start, StreamsOptions, Trimmed};
use chat_testkit::{Absent, sample, trials};

use super::log::{IDLE, Log, STREAM, TOPIC, ack, fetch, lag, named};

trials! { needs "redis":
    a_stream_nobody_lags_behind_stays_near_its_length,
    a_group_of_another_program_keeps_what_it_needs,
    groups_of_other_programs_can_be_ignored,
    a_full_stream_takes_nothing_of_a_batch,
    a_full_stream_refuses_a_batch_for_several_topics_whole,
    what_another_program_trims_is_told,
    a_forced_trim_says_what_was_lost,
    entries_deleted_one_by_one_are_no_gap,
}

const LENGTH: u64 = 200;

async fn short() -> Result<Log, Absent> {
    let lengths = BTreeMap::from([(TOPIC, LENGTH), (Topic::Files, LENGTH)]);
    Log::with(StreamsOptions { lengths, stretch: 3, ..StreamsOptions::default() }).await
}

fn batch(from: u64, count: u64) -> Vec<Envelope> {
    (from + 1..=from + count).map(|nth| sample::notice("a", nth)).collect()
}

async fn publish(log: &Log, from: u64, count: u64) -> chat_core::error::Result<Vec<Published>> {
    log.streams.publisher().publish_many(&batch(from, count)).await
}

fn length(log: &Log) -> u64 {
    u64::try_from(log.server.command(&["XLEN", STREAM]).int()).unwrap()
}

async fn a_stream_nobody_lags_behind_stays_near_its_length() -> Result<(), Absent> {
    let log = short().await?;
    let one = log.member("one").await;
    for from in (0..3_000).step_by(50) {
        publish(&log, from, 50).await.unwrap();
        ack(&one, &fetch(&one, 100).await).await;
        assert!(length(&log) <= LENGTH * 2, "{}", length(&log));
    }
    assert!(length(&log) >= LENGTH, "no more than that is trimmed: {}", length(&log));
    Ok(())
}

async fn a_group_of_another_program_keeps_what_it_needs() -> Result<(), Absent> {
    let log = short().await?;
    log.server.command(&["XGROUP", "CREATE", STREAM, "theirs", "$", "MKSTREAM"]);
    for from in (0..500).step_by(50) {
        publish(&log, from, 50).await.unwrap();
    }
    assert_eq!(length(&log), 500);
    let read =
        log.server.command(&["XREADGROUP", "GROUP", "theirs", "c", "COUNT", "450", "STREAMS", STREAM, ">"]);
    assert_eq!(read.list()[0].list()[1].list().len(), 450);
    publish(&log, 500, 50).await.unwrap();
    assert_eq!(length(&log), 550, "also what it has not acknowledged");
    Ok(())
}

async fn groups_of_other_programs_can_be_ignored() -> Result<(), Absent> {
    let lengths = BTreeMap::from([(TOPIC, LENGTH)]);
    let options =
        StreamsOptions { lengths, stretch: 3, ignore_foreign_groups: true, ..StreamsOptions::default() };
    let log = Log::with(options).await?;
    log.server.command(&["XGROUP", "CREATE", STREAM, "theirs", "$", "MKSTREAM"]);
    for from in (0..1_000).step_by(50) {
        publish(&log, from, 50).await.unwrap();
    }
    assert!(length(&log) <= LENGTH * 2);
    log.member("one").await;
    for from in (1_000..1_300).step_by(50) {
        publish(&log, from, 50).await.unwrap();
    }
    assert!(length(&log) >= 300, "ours are not: {}", length(&log));
    Ok(())
}

async fn a_full_stream_takes_nothing_of_a_batch() -> Result<(), Absent> {
    let log = short().await?;
    let slow = log.member("slow").await;
    publish(&log, 0, 500).await.unwrap();
    let refused = publish(&log, 500, 150).await.unwrap_err();
    assert_eq!((refused.code(), refused.effect()), (Code::QueueFull, Effect::None));
    assert_eq!(length(&log), 500, "more than one script's worth, and nothing of it");
    let repeats = publish(&log, 0, 300).await.unwrap();
    assert!(repeats.iter().all(|answer| matches!(answer, Published::Suppressed(_))), "repeats need no room");
    publish(&log, 500, 100).await.unwrap();
    while let deliveries @ [_, ..] = fetch(&slow, 512).await.as_slice() {
        ack(&slow, deliveries).await;
    }
    publish(&log, 600, 150).await.unwrap();
    assert_eq!(lag(&slow).await, (150, 0));
    Ok(())
}

async fn a_full_stream_refuses_a_batch_for_several_topics_whole() -> Result<(), Absent> {
    let log = short().await?;
    log.member("slow").await;
    publish(&log, 0, 590).await.unwrap();
    let file = FileUploaded::from(&sample::file(&sample::conversation("a"), "photo"));
    let mut events = batch(590, 20);
    events.insert(0, Envelope::new(&["a file"], sample::notice("a", 0).at, file));
    for publisher in [log.streams.publisher(), log.streams.publisher()] {
        let refused = publisher.publish_many(&events).await.unwrap_err();
        assert_eq!((refused.code(), refused.effect()), (Code::QueueFull, Effect::None));
    }
    assert_eq!(log.server.command(&["XLEN", "events:files"]).int(), 0, "nor of the topic that has room");
    let answers = log.streams.publisher().publish_many(&events[..5]).await.unwrap();
    assert_eq!(answers.len(), 5);
    assert_eq!(log.server.command(&["XLEN", "events:files"]).int(), 1);
    Ok(())
}

async fn what_another_program_trims_is_told() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    let beginning = log.end().await;
    log.publish(&["a1", "a2", "b1", "a3"]).await;
    let held = fetch(&one, 2).await;
    assert_eq!(named(&held), ["a1", "a2"]);
    assert_eq!(named(&fetch(&two, 10).await), ["b1"], "a3 is parked");
    log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    ack(&one, &held[..1]).await;
    log.clock.advance(IDLE);
    let again = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(again.len(), 2, "a2 and b1 are gone, which nobody can overlook");
    assert!(again.iter().all(|delivery| delivery.event.is_err() && delivery.attempt == 2), "{again:?}");
    ack(&two, &again).await;
    let parked = fetch(&two, 10).await;
    assert!(parked.len() == 1 && parked[0].event.is_err(), "{parked:?}");
    two.bury(&parked[0], &parked[0].event.clone().unwrap_err().into()).await.unwrap();
    assert_eq!((lag(&one).await, log.letters().await.len()), ((0, 0), 1));
    assert!(matches!(log.read(&beginning, 10).await, Some(TailRead::Discontinuity { .. })));
    Ok(())
}

async fn a_forced_trim_says_what_was_lost() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, other) = (log.member("one").await, log.consumer("other", "one").await);
    let cursor = log.end().await;
    for from in (0..2_500).step_by(500) {
        publish(&log, from, 500).await.unwrap();
    }
    let held = fetch(&one, 100).await;
    ack(&one, &held[..40]).await;
    ack(&other, &fetch(&other, 500).await).await;
    let trimmed = log.streams.force_trim(TOPIC, 1_000).await.unwrap();
    // `one` was done with 40, `other` with 500.
    assert_eq!(trimmed, Trimmed { removed: 1_500, unacknowledged: 1_460 });
    assert_eq!((length(&log), lag(&one).await, lag(&other).await), (1_000, (1_000, 60), (1_000, 0)));
    assert!(matches!(log.read(&cursor, 10).await, Some(TailRead::Discontinuity { .. })));
    assert_eq!(named(&fetch(&other, 1).await), ["a1501"]);
    assert_eq!(lag(&other).await, (999, 1));
    assert_eq!(log.streams.force_trim(TOPIC, 1_000).await.unwrap(), Trimmed::default());
    log.streams.force_trim(TOPIC, 0).await.unwrap();
    assert_eq!((length(&log), lag(&other).await), (0, (0, 1)));
    publish(&log, 2_500, 10).await.unwrap();
    assert_eq!(lag(&other).await, (10, 1));
    Ok(())
}

async fn entries_deleted_one_by_one_are_no_gap() -> Result<(), Absent> {
    let log = Log::new().await?;
    let cursor = log.end().await;
    log.publish(&["a1", "a2", "a3", "a4"]).await;
    let one = log.streams.consumer("late", "one", &[TOPIC], Start::Beginning).await.unwrap();
    let Some(TailRead::Events { next, .. }) = log.read(&cursor, 2).await else { panic!() };
    let entry = |cursor: &TailCursor| cursor.after.as_ref().unwrap().0.split_once('-').unwrap().1.to_owned();
    log.server.command(&["XDEL", STREAM, &entry(&next)]);
    let Some(TailRead::Events { events, .. }) = log.read(&next, 10).await else { panic!("a gap") };
    assert_eq!(events.len(), 2, "what comes after the entry that was deleted");
    assert_eq!(lag(&one).await, (3, 0));
    assert_eq!(named(&one.fetch(10, Duration::ZERO).await.unwrap()), ["a1", "a3", "a4"]);
    assert_eq!(lag(&one).await, (0, 3));
    Ok(())
}
