//! What a server forgets is noticed: positions and receipts of another life mean nothing, and nobody waits for ever.

use chat_core::store::EventConsumer;
use chat_core::store::events::{Published, TailRead};
use chat_streams::Start;
use chat_testkit::{Absent, trials};

use super::log::{Log, STREAM, TOPIC, ack, fetch, lag, name, named};

trials! { needs "redis":
    a_position_does_not_outlive_the_data,
    a_deleted_stream_begins_another_life,
    a_stream_that_others_made_anew_is_not_the_one_it_was,
    members_go_on_after_an_empty_restart,
    a_receipt_does_not_outlive_the_data,
    a_deleted_group_is_given_everything_again,
    what_was_published_before_is_published_again_after_an_empty_restart,
}

fn names(read: TailRead) -> Vec<String> {
    match read {
        TailRead::Events { events, .. } => events.into_iter().map(|event| name(&event.unwrap())).collect(),
        gap @ TailRead::Discontinuity { .. } => panic!("{gap:?}"),
    }
}

/// The cursor has come to nothing, and what is kept can be read from the one that is offered.
async fn begins_anew(log: &Log, cursor: &chat_core::store::events::TailCursor, kept: &[&str]) {
    let Some(TailRead::Discontinuity { oldest }) = log.read(cursor, 10).await else { panic!("no gap") };
    assert_eq!(log.read(&oldest, 10).await.map(names).unwrap_or_default(), kept);
}

async fn a_position_does_not_outlive_the_data() -> Result<(), Absent> {
    let log = Log::new().await?;
    let empty = log.end().await;
    log.publish(&["a1", "a2"]).await;
    let end = log.end().await;
    log.server.restart_empty();
    for cursor in [&empty, &end] {
        begins_anew(&log, cursor, &[]).await;
    }
    log.publish(&["b1"]).await;
    for cursor in [&empty, &end] {
        begins_anew(&log, cursor, &["b1"]).await;
    }
    Ok(())
}

async fn a_deleted_stream_begins_another_life() -> Result<(), Absent> {
    let log = Log::new().await?;
    let empty = log.end().await;
    log.publish(&["a1", "a2"]).await;
    let end = log.end().await;
    log.server.command(&["DEL", STREAM]);
    let answers = log.publish(&["a1"]).await;
    assert!(matches!(answers[0], Published::Durable(_)), "what it knew of is gone: {answers:?}");
    for cursor in [&empty, &end] {
        begins_anew(&log, cursor, &["a1"]).await;
    }
    Ok(())
}

async fn a_stream_that_others_made_anew_is_not_the_one_it_was() -> Result<(), Absent> {
    let log = Log::new().await?;
    log.publish(&["a1", "a2"]).await;
    let end = log.end().await;
    let one = log.member("one").await;
    log.publish(&["a3"]).await;
    let held = fetch(&one, 1).await;
    assert_eq!(named(&held), ["a3"]);
    log.server.command(&["DEL", STREAM]);
    log.add(STREAM, &[("userId", "ann"), ("title", "Hello"), ("message", "There")]);
    assert!(matches!(log.read(&end, 10).await, Some(TailRead::Discontinuity { .. })));
    assert_eq!(fetch(&one, 10).await.len(), 1, "the group begins anew with all of it");
    ack(&one, &held).await;
    assert_eq!(lag(&one).await, (0, 1));
    Ok(())
}

async fn members_go_on_after_an_empty_restart() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "b1"]).await;
    assert_eq!(named(&fetch(&one, 1).await), ["a1"]);
    assert_eq!(named(&fetch(&two, 10).await), ["b1"]);
    log.server.restart_empty();
    log.publish(&["a3", "b2", "a4"]).await;
    assert_eq!(
        named(&fetch(&two, 10).await),
        ["a3", "b2", "a4"],
        "all of what came after, and nobody holds a key"
    );
    assert_eq!(lag(&one).await, (0, 3));
    Ok(())
}

async fn a_receipt_does_not_outlive_the_data() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1"]).await;
    let mut old = fetch(&one, 1).await;
    log.server.restart_empty();
    log.publish(&["a2"]).await;
    let new = fetch(&one, 1).await;
    // The same entry id in another life.
    let entry = new[0].receipt.position.0.split_once('-').unwrap().1.to_owned();
    let life = old[0].receipt.position.0.split_once('-').unwrap().0.to_owned();
    old[0].receipt.position.0 = format!("{life}-{entry}");
    ack(&one, &old).await;
    one.bury(&old[0], &chat_core::error::Error::new(chat_core::error::Code::Internal)).await.unwrap();
    assert_eq!((lag(&one).await, log.letters().await.len()), ((0, 1), 0), "it is a receipt for nothing here");
    ack(&one, &new).await;
    assert_eq!(lag(&one).await, (0, 0));
    Ok(())
}

async fn a_deleted_group_is_given_everything_again() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.streams.consumer("g", "one", &[TOPIC], Start::Beginning).await.unwrap();
    let two = log.member("two").await;
    log.publish(&["a1", "a2", "b1"]).await;
    assert_eq!(named(&fetch(&one, 1).await), ["a1"]);
    assert_eq!(named(&fetch(&two, 10).await), ["b1"]);
    log.server.command(&["XGROUP", "DESTROY", STREAM, "g"]);
    assert_eq!(named(&fetch(&two, 10).await), ["a1", "a2", "b1"], "again rather than never");
    assert!(log.streams.remove_group("g", &[TOPIC]).await.unwrap());
    assert!(!log.streams.remove_group("g", &[TOPIC]).await.unwrap(), "it is gone");
    let left = log.server.command(&["KEYS", "*:g:*"]);
    assert!(left.list().is_empty(), "{left:?}");
    Ok(())
}

async fn what_was_published_before_is_published_again_after_an_empty_restart() -> Result<(), Absent> {
    let log = Log::new().await?;
    let first = log.publish(&["a1"]).await;
    log.server.restart_empty();
    let second = log.publish(&["a1"]).await;
    assert!(matches!(second[0], Published::Durable(_)) && first != second);
    Ok(())
}
