//! Beside the Node services, byte for byte: what they wrote is consumed, what we write is what they read, what nobody can
//! read holds up nobody, and members of both share a group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::event::wire::{self, Origin};
use chat_core::event::{Envelope, StreamNames, Topic};
use chat_core::store::events::{TailCursor, TailRead};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher, EventTail};
use chat_streams::worker::handler;
use chat_streams::{Encoding, Start, StreamsOptions, Worker};
use chat_testkit::server::Reply;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use parking_lot::Mutex;
use serde_json::Value;

use super::log::{IDLE, Log, STREAM, ack, connect, fetch, lag, name, named};

trials! { needs "redis":
    what_the_node_services_wrote_is_consumed,
    what_is_written_is_what_the_node_services_read,
    poison_is_set_aside_at_once_and_holds_up_nobody,
    members_of_the_node_services_share_a_group_with_ours,
}

const NODE: &str = include_str!("../golden/node_written.txt");
const STREAMS: &str = include_str!("../golden/streams.txt");

/// An entry of the golden file: its stream, what event it is, its key, its fields.
struct Entry {
    stream: &'static str,
    kind: &'static str,
    key: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

fn node_entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in NODE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix("> ") {
            let [stream, kind, key] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            entries.push(Entry { stream, kind, key, fields: Vec::new() });
        } else {
            entries.last_mut().unwrap().fields.push(line.split_once(' ').unwrap());
        }
    }
    entries
}

fn found(event: &Envelope) -> (String, String) {
    (event.name().to_owned(), event.key())
}

fn expected<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<(String, String)> {
    entries.into_iter().map(|entry| (entry.kind.to_owned(), entry.key.to_owned())).collect()
}

async fn what_the_node_services_wrote_is_consumed() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.streams.consumer("g", "one", Topic::ALL, Start::Beginning).await.unwrap();
    let entries = node_entries();
    assert!(entries.len() > 20);
    for entry in &entries {
        log.add(entry.stream, &entry.fields);
    }
    let names = StreamNames::seed();
    let mut deliveries: BTreeMap<Topic, Vec<_>> = BTreeMap::new();
    let mut count = 0;
    while count < entries.len() {
        let some = fetch(&one, 5).await;
        assert!(!some.is_empty(), "{count} of {}", entries.len());
        count += some.len();
        for delivery in some {
            deliveries.entry(delivery.receipt.topic).or_default().push(delivery);
        }
    }
    for (topic, of_topic) in &deliveries {
        let stream = names.name(*topic);
        let there = || entries.iter().filter(|entry| entry.stream == stream);
        let events: Vec<_> = of_topic.iter().map(|delivery| delivery.event.clone().unwrap()).collect();
        assert_eq!(events.iter().map(found).collect::<Vec<_>>(), expected(there()), "{stream}");

        // A reader sees the same, ids included.
        let cursor = TailCursor { topic: *topic, after: None };
        let read = log.streams.tail().read_since(&[cursor], 100, Duration::ZERO).await.unwrap().remove(0);
        let TailRead::Events { events: read, .. } = read else { panic!("{read:?}") };
        assert_eq!(read.into_iter().map(Result::unwrap).collect::<Vec<_>>(), events);

        // Among the dead letters every byte of them is kept, and they come back as they were.
        for delivery in of_topic {
            one.bury(delivery, &Error::new(Code::Internal)).await.unwrap();
        }
        let kept = log.server.command(&["XRANGE", &format!("{{{stream}}}:dead"), "-", "+"]);
        for (entry, letter) in there().zip(kept.list()) {
            let texts: Vec<_> = letter.list()[1].list().iter().map(|text| text.text()).collect();
            let fields: Vec<_> = texts
                .chunks(2)
                .filter_map(|pair| Some((pair[0].strip_prefix(':')?, pair[1].as_str())))
                .collect();
            assert_eq!(fields, entry.fields);
        }
        let ids: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
        assert_eq!(log.streams.dead_letters().replay(&ids).await.unwrap(), ids.len() as u64);
        let mut again = Vec::new();
        while again.len() < events.len() {
            let some = fetch(&one, 100).await;
            assert!(!some.is_empty());
            again.extend(some.iter().map(|delivery| delivery.event.clone().unwrap()));
            ack(&one, &some).await;
        }
        let id = |event: &Envelope| event.id.clone();
        assert_eq!(
            again.iter().map(id).collect::<BTreeSet<_>>(),
            events.iter().map(id).collect(),
            "every letter comes back"
        );
    }
    assert_eq!(lag(&one).await, (0, 0));
    Ok(())
}

async fn what_is_written_is_what_the_node_services_read() -> Result<(), Absent> {
    let log = Log::new().await?;
    let compact = StreamsOptions { encoding: Encoding::Payload, ..StreamsOptions::default() };
    let compact = connect(&log.server.url(), Some(&log.clock), compact).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chat-core/tests/golden");
    let one = log.streams.consumer("g", "one", Topic::ALL, Start::Now).await.unwrap();
    let lines = STREAMS.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for (kind, stream) in lines.map(|line| line.split_once(' ').unwrap()) {
        let file = std::fs::read_to_string(folder.join(format!("{kind}.json"))).unwrap();
        let file: Value = serde_json::from_str(&file).unwrap();
        let payload = file["payload"].as_str().unwrap();
        let event = wire::decode_payload(payload, Origin { stream, entry: "1-0" }).unwrap();
        log.streams.publisher().publish_many(std::slice::from_ref(&event)).await.unwrap();
        let newest = || {
            let entry = log.server.command(&["XREVRANGE", stream, "+", "-", "COUNT", "1"]);
            entry.list()[0].list()[1].list().iter().map(|text| text.text()).collect::<Vec<_>>()
        };
        let written = newest();
        let flat: BTreeMap<_, _> =
            written.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        assert_eq!(flat.len() * 2, written.len(), "no field twice");
        let golden = file["flat"].as_object().unwrap();
        let golden: BTreeMap<_, _> =
            golden.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(flat, golden, "{kind}");
        assert_eq!(written[written.len() - 2], "payload", "the envelope is the last of them");

        let mut another = event.clone();
        another.id = chat_core::domain::EventId::derived(&["another", kind]);
        compact.publisher().publish_many(std::slice::from_ref(&another)).await.unwrap();
        assert_eq!(newest(), ["payload".to_owned(), wire::encode_payload(&another)]);
        for published in [event, another] {
            let held = fetch(&one, 1).await;
            assert_eq!(held[0].event.as_ref().unwrap(), &published);
            ack(&one, &held).await;
        }
        count += 1;
    }
    assert_eq!(count, 25);
    Ok(())
}

/// What nobody can read: the fields of each, and nothing of them is an event.
fn poison() -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let entry = |fields: &[(&[u8], &[u8])]| {
        fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>()
    };
    let huge = [b"{\"id\":\"x\",\"name\":\"".as_slice(), &b"y".repeat(2_000_000)].concat();
    let deep = b"[".repeat(100_000);
    let envelope = |text: &str| entry(&[(b"payload", text.as_bytes())]);
    vec![
        // Flat XADD arguments: {0:"e",1:"v",2:"e"}.
        entry(&[(b"0", b"e"), (b"1", b"v"), (b"2", b"e")]),
        entry(&[(b"payload", b"\xff\xfe{}")]),
        entry(&[(b"event", b"message.read"), (b"conversationId", b"c\xc3\x28")]),
        entry(&[(b"\xff\xff", b"\x00\x01"), (b"", b"")]),
        envelope("{\"event\":\"user.profile.updated\",\"userId\":\"an"),
        envelope(""),
        envelope("null"),
        envelope("[1,2]"),
        envelope("{\"id\":1,\"name\":[],\"v\":\"x\",\"at\":null,\"key\":{},\"data\":7}"),
        envelope("{\"envelope\":{\"id\":\"x\"}}"),
        envelope(
            "{\"id\":\"x\",\"name\":\"message.sent\",\"v\":1,\"at\":\"2025-01-14T13:40:00.123Z\",\"key\":\"c1\",\"data\":{}}",
        ),
        entry(&[(b"payload", &huge)]),
        entry(&[(b"payload", &deep)]),
        entry(&[(b"event", b"message.sent"), (b"messageId", b"m1"), (b"conversationId", b"\x01")]),
    ]
}

async fn poison_is_set_aside_at_once_and_holds_up_nobody() -> Result<(), Absent> {
    let log = Log::new().await?;
    let start = log.end().await;
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let member = log.member("one").await;
    let worker = Worker::new(
        member,
        handler(move |envelope: Arc<Envelope>, attempt| {
            seen.lock().push((name(&envelope), attempt));
            async { Ok(()) }
        }),
    )
    .start();
    let (poison, mut good) = (poison(), Vec::new());
    for (nth, fields) in poison.iter().enumerate() {
        let mut words: Vec<&[u8]> = vec![b"XADD", STREAM.as_bytes(), b"*"];
        words.extend(fields.iter().flat_map(|(name, value)| [name.as_slice(), value]));
        log.server.command(&words);
        good.push((format!("a{nth}"), 1));
        log.publish(&[&format!("a{nth}")]).await;
    }
    eventually("the good ones to be handled", || async {
        (handled.lock().len() >= good.len()).then_some(())
    })
    .await;
    let stats = worker.stop().await;
    assert_eq!(*handled.lock(), good, "in order");
    assert_eq!((stats.buried, stats.failed, stats.held), (poison.len() as u64, 0, 0));
    let letters = log.letters().await;
    assert_eq!(letters.len(), poison.len());
    for letter in &letters {
        assert!(letter.event.is_err() && letter.attempts == 1, "{letter:?}");
        assert!(letter.cause.contains(Code::DataCorrupt.as_str()), "{}", letter.cause);
        assert!(!letter.cause.contains("yyyy") && letter.cause.len() < 300, "{}", letter.cause);
    }
    let raw = log.server.command(&["XRANGE", &format!("{{{STREAM}}}:dead"), "-", "+"]);
    let mut kept: Vec<Vec<(Vec<u8>, Vec<u8>)>> = Vec::new();
    for letter in raw.list() {
        let bytes = |reply: &_| match reply {
            Reply::Bytes(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        };
        let texts: Vec<_> = letter.list()[1].list().iter().map(bytes).collect();
        let of_entry = |pair: &[Vec<u8>]| Some((pair[0].strip_prefix(b":")?.to_vec(), pair[1].clone()));
        kept.push(texts.chunks(2).filter_map(of_entry).collect());
    }
    kept.sort();
    let mut whole = poison.clone();
    whole.sort();
    assert!(kept == whole, "every byte is kept");
    let ids: Vec<_> = letters.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.streams.dead_letters().replay(&ids).await.unwrap(), 0, "what cannot be read stays");

    // A reader steps over them.
    let Some(TailRead::Events { events, .. }) = log.read(&start, 1_000).await else { panic!("a gap") };
    assert_eq!(events.iter().filter(|event| event.is_ok()).count(), good.len());
    assert_eq!(events.len(), good.len() + poison.len());
    assert_eq!(log.streams.dead_letters().purge(&ids).await.unwrap(), ids.len() as u64);
    Ok(())
}

async fn members_of_the_node_services_share_a_group_with_ours() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    let node = |max: &str| -> Vec<(String, String)> {
        let words = ["XREADGROUP", "GROUP", "g", "node-1", "COUNT", max, "STREAMS", STREAM, ">"];
        let read = log.server.command(&words);
        if read.to_string().is_empty() || !matches!(read, Reply::List(_)) {
            return Vec::new();
        }
        let entries = read.list()[0].list()[1].list();
        let nth = |fields: &[_]| {
            let texts: Vec<String> = fields.iter().map(Reply::text).collect();
            let value = |name: &str| texts[texts.iter().position(|text| text == name).unwrap() + 1].clone();
            let fields: Vec<_> = texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            let event = wire::decode(&fields, Origin { stream: STREAM, entry: "1-0" }).unwrap();
            assert_eq!(value("userId"), event.key());
            super::log::name(&event)
        };
        entries.iter().map(|entry| (entry.list()[0].text(), nth(entry.list()[1].list()))).collect()
    };
    let mut seen = Vec::new();
    for round in 0..40 {
        let names: Vec<_> = (0..6).map(|key| format!("k{key}r{round}")).collect();
        let events: Vec<_> = names.iter().map(|name| sample::notice(name, 1)).collect();
        log.streams.publisher().publish_many(&events).await.unwrap();
        let theirs = node("2");
        for member in [&one, &two] {
            let ours = fetch(member, 2).await;
            seen.extend(named(&ours));
            ack(member, &ours).await;
        }
        for (id, name) in theirs {
            seen.push(name);
            assert_eq!(log.server.command(&["XACK", STREAM, "g", &id]).int(), 1);
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len(), lag(&one).await), (240, 240, (0, 0)), "each by one of them");

    // Theirs dies, ours takes over; ours dies, theirs does.
    log.publish(&["x1", "y1"]).await;
    assert_eq!(node("1").len(), 1);
    let held = fetch(&two, 1).await;
    assert_eq!(named(&held), ["y1"]);
    let taken = one.reclaim(Duration::ZERO, 1).await.unwrap();
    let both = one.reclaim(Duration::ZERO, 10).await.unwrap();
    let mut names: Vec<_> = named(&taken).into_iter().chain(named(&both)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["x1", "y1"]);
    ack(&one, &taken).await;
    ack(&one, &both).await;
    log.publish(&["z1", "z2"]).await;
    let held = fetch(&one, 1).await;
    let theirs = log.server.command(&["XAUTOCLAIM", STREAM, "g", "node-2", "0", "0", "COUNT", "1"]);
    let id = theirs.list()[1].list()[0].list()[0].text();
    assert!(held[0].receipt.position.0.ends_with(&id));
    log.server.command(&["XACK", STREAM, "g", &id]);
    // It was acknowledged where nobody of ours could see it: at least once, and nothing of its key is stuck.
    log.clock.advance(IDLE);
    let again = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&again), ["z1"]);
    ack(&two, &again).await;
    assert_eq!(named(&fetch(&two, 10).await), ["z2"]);
    assert_eq!(log.native("g").len(), 1);
    Ok(())
}
