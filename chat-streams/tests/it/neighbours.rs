//! Beside other programs: what they write is read, what they see is true, what they leave behind is taken over.

use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::event::{Envelope, Event, StreamNames, Topic, Unknown, wire};
use chat_core::store::events::TailRead;
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher};
use chat_streams::{Encoding, Start, StreamsOptions};
use chat_testkit::{Absent, trials};
use serde_json::json;

use super::log::{IDLE, Log, STREAM, TOPIC, ack, fetch, lag, named, notice};

trials! { needs "redis":
    what_is_written_is_what_other_programs_read,
    what_other_programs_write_is_read,
    the_native_list_of_pending_entries_is_true,
    what_members_of_other_programs_forgot_is_taken_over,
    what_was_acknowledged_natively_is_given_again_and_no_key_is_stuck,
    a_member_that_has_nothing_is_forgotten,
    an_entry_that_cannot_be_read_is_a_value,
    an_unknown_event_is_read_whole,
    either_encoding_is_read,
    a_replayed_letter_survives_its_entry,
    two_chats_on_one_server_share_nothing,
    names_are_checked,
}

async fn what_is_written_is_what_other_programs_read() -> Result<(), Absent> {
    let log = Log::new().await?;
    log.publish(&["a1"]).await;
    let found = log.server.command(&["XRANGE", STREAM, "-", "+"]);
    let fields: Vec<_> = found.list()[0].list()[1].list().iter().map(|field| field.text()).collect();
    let expected: Vec<_> = wire::encode_flat(&notice("a1"))
        .into_iter()
        .flat_map(|(name, value)| [name.into_owned(), value])
        .collect();
    assert_eq!(fields, expected);
    Ok(())
}

async fn what_other_programs_write_is_read() -> Result<(), Absent> {
    let log = Log::new().await?;
    let stream = "stream:messages:private";
    let topics = [Topic::MessagesPrivate];
    let one = log.streams.consumer("g", "one", &topics, Start::Beginning).await.unwrap();
    let message = |id: &str| {
        let fields =
            [("event", "NEW_MESSAGE"), ("messageId", id), ("conversationId", "c1"), ("senderId", "ann")];
        let rest =
            [("receiverId", "bob"), ("content", "Salut"), ("type", "TEXT"), ("timestamp", "1736862000123")];
        log.add(stream, &[fields, rest].concat())
    };
    for id in ["m1", "m2", "m3"] {
        message(id);
    }
    let first = fetch(&one, 1).await;
    let two = log.streams.consumer("g", "two", &topics, Start::Now).await.unwrap();
    assert!(fetch(&two, 10).await.is_empty(), "in order per conversation");
    let rest = fetch(&one, 10).await;
    let ids: Vec<_> = first
        .iter()
        .chain(&rest)
        .map(|delivery| match &delivery.event.as_ref().unwrap().event {
            Event::MessageSent(sent) => sent.message_id.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["m1", "m2", "m3"]);
    Ok(())
}

async fn the_native_list_of_pending_entries_is_true() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "b1"]).await;
    let first = fetch(&one, 1).await;
    fetch(&two, 10).await;
    let with = |names: &[(&str, i64)]| {
        names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>()
    };
    assert_eq!(log.native("g"), with(&[("one", 1), ("\u{1}parked", 1), ("two", 1)]));
    ack(&one, &first).await;
    assert_eq!(named(&fetch(&two, 10).await), ["a2"]);
    assert_eq!(log.native("g"), with(&[("two", 1), ("two", 1)]));
    log.clock.advance(IDLE);
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(log.native("g"), with(&[("one", 2), ("one", 2)]));
    one.bury(&taken[0], &Error::new(Code::Internal)).await.unwrap();
    ack(&one, &taken[1..]).await;
    assert_eq!(log.native("g"), []);
    let ids: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
    log.streams.dead_letters().replay(&ids).await.unwrap();
    assert_eq!(named(&fetch(&two, 10).await), ["a2"]);
    assert_eq!(log.native("g"), with(&[("two", 3)]));
    Ok(())
}

async fn what_members_of_other_programs_forgot_is_taken_over() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1", "b1", "a2"]).await;
    log.server.command(&["XREADGROUP", "GROUP", "g", "node-4711", "COUNT", "2", "STREAMS", STREAM, ">"]);
    assert_eq!(named(&fetch(&one, 10).await), ["a2"]);
    // Their members count by the server's clock.
    let taken = one.reclaim(Duration::ZERO, 10).await.unwrap();
    let attempts: Vec<_> = named(&taken).into_iter().zip(taken.iter().map(|one| one.attempt)).collect();
    assert_eq!(attempts, [("a1".to_owned(), 2), ("b1".to_owned(), 2), ("a2".to_owned(), 2)]);
    assert_eq!(log.native("g").iter().filter(|(name, _)| name == "one").count(), 3);
    ack(&one, &taken).await;
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 0), 0));

    log.publish(&["c1", "c2"]).await;
    log.server.command(&["XREADGROUP", "GROUP", "g", "node-4712", "COUNT", "1", "STREAMS", STREAM, ">"]);
    let two = log.member("two").await;
    let held = fetch(&two, 10).await;
    assert_eq!(named(&held), ["c2"]);
    assert!(one.reclaim(Duration::from_secs(600), 10).await.unwrap().is_empty(), "not so soon");
    assert_eq!(named(&one.reclaim(Duration::ZERO, 10).await.unwrap()), ["c1", "c2"], "in order once more");
    Ok(())
}

async fn what_was_acknowledged_natively_is_given_again_and_no_key_is_stuck() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2"]).await;
    let first = fetch(&one, 1).await;
    let id = first[0].receipt.position.0.split_once('-').unwrap().1;
    log.server.command(&["XACK", STREAM, "g", id]);
    assert!(fetch(&two, 10).await.is_empty());
    log.clock.advance(IDLE);
    assert_eq!(named(&two.reclaim(IDLE, 10).await.unwrap()), ["a1"]);
    assert_eq!(named(&fetch(&two, 10).await), ["a2"]);
    Ok(())
}

async fn a_member_that_has_nothing_is_forgotten() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    for pid in 0..20 {
        let gone = log.member(&format!("consumer-{pid}")).await;
        log.publish(&[&format!("a{pid}")]).await;
        ack(&gone, &fetch(&gone, 10).await).await;
    }
    let names = || log.server.command(&["XINFO", "CONSUMERS", STREAM, "g"]).list().len();
    assert!(names() >= 20);
    log.clock.advance(IDLE);
    one.reclaim(IDLE, 10).await.unwrap();
    assert!(names() >= 20, "they may come back within the hour");
    let busy = format!("{{{STREAM}}}:g:g:busy");
    assert_eq!(log.server.command(&["ZCARD", &busy]).int(), 0, "and nobody looks at them until then");
    Ok(())
}

async fn an_entry_that_cannot_be_read_is_a_value() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    let start = log.end().await;
    log.add(STREAM, &[("payload", "{\"id\":\"x\",\"name\":\"message.sent\",\"v\":1,\"data\":{}}")]);
    log.publish(&["a1"]).await;
    let found = fetch(&one, 10).await;
    assert!(found[0].event.is_err() && found[1].event.is_ok(), "{found:?}");
    let cause = Error::from(found[0].event.clone().unwrap_err());
    one.bury(&found[0], &cause).await.unwrap();
    let letters = log.letters().await;
    assert!(letters[0].event.is_err() && letters[0].cause.contains(Code::DataCorrupt.as_str()));
    let ids = [letters[0].id.clone()];
    let dead = log.streams.dead_letters();
    assert_eq!(dead.replay(&ids).await.unwrap(), 0, "what cannot be read stays");
    assert_eq!(log.letters().await.len(), 1);
    assert_eq!(dead.purge(&ids).await.unwrap(), 1);
    let Some(TailRead::Events { events, .. }) = log.read(&start, 10).await else { panic!() };
    assert!(events[0].is_err() && events[1].is_ok());
    Ok(())
}

async fn an_unknown_event_is_read_whole() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.streams.consumer("g", "one", &[Topic::System], Start::Now).await.unwrap();
    let later = Unknown::new("later.kind", 9, "k", json!({"a": 1}));
    let payload = wire::encode_payload(&Envelope::new(&["later"], notice("a1").at, later));
    let fields = [("event", "later.kind"), ("beside", "kept"), ("payload", payload.as_str())];
    log.add("events:system", &fields);
    let found = fetch(&one, 10).await;
    let again = wire::encode_flat(found[0].event.as_ref().unwrap());
    let again: Vec<_> = again.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
    assert_eq!(again, fields, "it is written again exactly as it was");
    Ok(())
}

async fn either_encoding_is_read() -> Result<(), Absent> {
    let log = Log::new().await?;
    let options = StreamsOptions { encoding: Encoding::Payload, ..StreamsOptions::default() };
    let compact = super::log::connect(&log.server.url(), Some(&log.clock), options).await;
    let one = log.member("one").await;
    log.publish(&["a1"]).await;
    compact.publisher().publish_many(&[notice("a2"), notice("a1")]).await.unwrap();
    assert_eq!(named(&fetch(&one, 10).await), ["a1", "a2"]);
    let found = log.server.command(&["XREVRANGE", STREAM, "+", "-", "COUNT", "1"]);
    assert_eq!(found.list()[0].list()[1].list().len(), 2, "one field");
    Ok(())
}

async fn a_replayed_letter_survives_its_entry() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "b1"]).await;
    let held = fetch(&one, 10).await;
    one.bury(&held[0], &Error::new(Code::Internal)).await.unwrap();
    log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    let ids: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.streams.dead_letters().replay(&ids).await.unwrap(), 1);
    assert_eq!(lag(&one).await, (1, 1));
    let again = fetch(&two, 10).await;
    assert_eq!((named(&again), again[0].attempt), (vec!["a1".to_owned()], 2));
    log.clock.advance(IDLE);
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(taken.iter().map(|one| one.attempt).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(taken[0].event.as_ref().unwrap(), &notice("a1"));
    one.bury(&taken[0], &Error::new(Code::Internal)).await.unwrap();
    let letters = log.letters().await;
    assert_eq!((letters[0].event.as_ref().unwrap(), letters[0].attempts), (&notice("a1"), 3));
    Ok(())
}

async fn two_chats_on_one_server_share_nothing() -> Result<(), Absent> {
    let log = Log::new().await?;
    let names = StreamNames::seed().with_prefix("{blue}:");
    let options = StreamsOptions { names, ..StreamsOptions::default() };
    let blue = super::log::connect(&log.server.url(), Some(&log.clock), options).await;
    let (ours, theirs) =
        (log.member("one").await, blue.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap());
    log.publish(&["a1"]).await;
    blue.publisher().publish_many(&[notice("a1"), notice("a2")]).await.unwrap();
    assert_eq!(named(&fetch(&ours, 10).await), ["a1"]);
    let held = fetch(&theirs, 10).await;
    assert_eq!(named(&held), ["a1", "a2"]);
    theirs.bury(&held[0], &Error::new(Code::Internal)).await.unwrap();
    assert!(log.letters().await.is_empty());
    Ok(())
}

async fn names_are_checked() -> Result<(), Absent> {
    let log = Log::new().await?;
    for (group, member) in [("", "one"), ("g", ""), ("g", "\u{1}parked"), ("g\n", "one")] {
        let refused = log.streams.consumer(group, member, &[TOPIC], Start::Now).await.unwrap_err();
        assert_eq!(refused.code(), Code::IdInvalid, "{group:?} {member:?}");
    }
    Ok(())
}
