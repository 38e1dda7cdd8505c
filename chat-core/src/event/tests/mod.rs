//! The wire contract of events: what is written stays as it is, and everything ever written can be read.
//!
//! `CHAT_BLESS=1 cargo test` writes the golden files anew, when the contract is to change.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod foreign;
mod samples;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chat_core::domain::{ConversationKind, EventId, MessageId, MessageKind};
use chat_core::event::wire::{self, Origin};
use chat_core::event::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const HERE: Origin<'static> = Origin { stream: "events:messages", entry: "1736862000123-0" };

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A golden file: the flat fields in their order, then the payload that stands alone.
fn golden(envelope: &Envelope) -> String {
    let mut text = String::from("{\n  \"flat\": {\n");
    let fields = wire::encode_flat(envelope);
    for (i, (name, value)) in fields.iter().enumerate() {
        let comma = if i + 1 < fields.len() { "," } else { "" };
        writeln!(text, "    {}: {}{comma}", json!(name), json!(value)).unwrap();
    }
    writeln!(text, "  }},\n  \"payload\": {}\n}}", json!(wire::encode_payload(envelope))).unwrap();
    text
}

#[test]
fn every_kind_has_a_sample() {
    let kinds: BTreeSet<_> = samples::all().iter().filter_map(Envelope::kind).collect();
    assert_eq!(kinds, EventKind::ALL.iter().copied().collect());
    assert_eq!(samples::all().len(), EventKind::ALL.len());
}

#[test]
fn what_is_written_is_what_always_was_written() {
    let bless = std::env::var_os("CHAT_BLESS").is_some();
    let mut expected = BTreeSet::new();
    for envelope in samples::all() {
        let path = golden_dir().join(format!("{}.json", envelope.name()));
        let written = golden(&envelope);
        if bless {
            std::fs::create_dir_all(golden_dir()).unwrap();
            std::fs::write(&path, &written).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), written, "{}", path.display());
        expected.insert(path);
    }
    let found: BTreeSet<_> =
        std::fs::read_dir(golden_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found, expected, "one golden file per kind");
}

#[test]
fn golden_files_are_read_back_in_both_encodings() {
    for envelope in samples::all() {
        let text = std::fs::read_to_string(golden_dir().join(format!("{}.json", envelope.name()))).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let flat: Vec<_> = file["flat"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name, value.as_str().unwrap()))
            .collect();
        assert_eq!(wire::decode(&flat, HERE), Ok(envelope.clone()));
        assert_eq!(wire::decode_payload(file["payload"].as_str().unwrap(), HERE), Ok(envelope));
    }
}

#[test]
fn the_flat_fields_alone_are_read_as_the_same_kind_and_key() {
    for envelope in samples::all().iter().filter(|envelope| envelope.kind().unwrap().number().is_some()) {
        let fields: Vec<_> =
            wire::encode_flat(envelope).into_iter().filter(|(name, _)| name != "payload").collect();
        let read = wire::decode(&fields, HERE).unwrap();
        assert_eq!((read.kind(), read.key(), read.at), (envelope.kind(), envelope.key(), envelope.at));
    }
}

#[test]
fn the_table_is_consistent() {
    let mut names = HashSet::new();
    for kind in EventKind::ALL {
        assert!(names.insert(kind.as_str()));
        assert_eq!(EventKind::from_wire(kind.as_str()), Some(*kind));
        assert!(kind.version() >= 1 && kind.retention().max_len() > 0);
        assert!(!kind.fields().is_empty(), "{kind}");
        if let Some(field) = kind.key_of().field() {
            assert!(kind.fields().contains(&field), "{kind} has no {field}");
        }
    }
    let numbers: Vec<_> = EventKind::ALL.iter().filter_map(|kind| kind.number()).collect();
    assert_eq!(numbers, (1..=21).collect::<Vec<_>>());
    assert_eq!(EventKind::MessageSent.fields()[..3], ["messageId", "conversationId", "conversationKind"]);
    assert_eq!(EventKind::from_wire("message.nothing"), None);
}

#[test]
fn the_fields_are_exactly_those_written() {
    for envelope in samples::all() {
        let written: Value = serde_json::from_str(&wire::encode_payload(&envelope)).unwrap();
        let written: BTreeSet<_> = written["data"].as_object().unwrap().keys().cloned().collect();
        let fields: BTreeSet<_> =
            envelope.kind().unwrap().fields().iter().map(|field| (*field).to_owned()).collect();
        assert_eq!(written, fields, "{}", envelope.name());
    }
}

#[test]
fn the_topic_of_a_message_depends_on_where_it_was_said() {
    let topic = |conversation, kind| samples::message_in(conversation, kind).topic();
    assert_eq!(topic(ConversationKind::Direct, MessageKind::Text), Topic::MessagesPrivate);
    for group in [
        ConversationKind::Group,
        ConversationKind::Channel,
        ConversationKind::Broadcast,
        ConversationKind::EventRoom,
    ] {
        assert_eq!(topic(group, MessageKind::Image), Topic::MessagesGroup);
    }
    for any in ConversationKind::ALL {
        assert_eq!(topic(any, MessageKind::System), Topic::MessagesSystem);
    }
    for envelope in samples::all().iter().skip(1) {
        assert_eq!(Some(envelope.topic()), envelope.kind().map(EventKind::topic));
    }
}

#[test]
fn streams_and_topics_name_each_other() {
    for names in [StreamNames::seed(), StreamNames::ngomna(), StreamNames::seed().with_prefix("blue:")] {
        let mut streams = HashSet::new();
        for topic in Topic::ALL {
            assert_eq!(names.topic(&names.name(*topic)), Some(*topic));
            for stream in names.sources(*topic) {
                assert!(streams.insert(stream.clone()), "{stream} carries two topics");
                assert_eq!(names.topic(&stream), Some(*topic));
            }
        }
        assert_eq!(names.topic("nothing"), None);
    }
    let seed = |topic| StreamNames::seed().name(topic);
    assert_eq!(seed(Topic::MessagesPrivate), "stream:messages:private");
    assert_eq!(seed(Topic::MessagesGroup), "stream:messages:group");
    assert_eq!(seed(Topic::MessagesSystem), "stream:messages:system");
    assert_eq!(seed(Topic::Messages), "events:messages");
    assert_eq!(seed(Topic::Conversations), "events:conversations");
    assert_eq!(seed(Topic::Files), "events:files");
    assert_eq!(seed(Topic::Typing), "events:typing");
    assert_eq!(seed(Topic::Users), "events:users");
    assert_eq!(seed(Topic::Read), "stream:events:read");
    let blue = StreamNames::ngomna().with_prefix("blue:");
    assert_eq!(blue.name(Topic::Read), "blue:chat:stream:status:read");
    assert_eq!(blue.topic("chat:stream:status:read"), None);
    assert_eq!(blue.topic("blue:chat:stream:messages:channel"), Some(Topic::MessagesGroup));
}

#[test]
fn the_same_cause_gives_the_same_id() {
    let typing = |user: &str| TypingStarted {
        conversation_id: samples::id("c1"),
        user_id: samples::id(user),
        thread: None,
    };
    let one = Envelope::new(&["m1", "1"], samples::at(), typing("ann"));
    assert_eq!(one.id, Envelope::new(&["m1", "1"], samples::at(), typing("bob")).id);
    assert_ne!(one.id, Envelope::new(&["m1", "2"], samples::at(), typing("ann")).id);
    assert_ne!(one.id, Envelope::new(&["m11"], samples::at(), typing("ann")).id);
    let other = Envelope::new(&["m1", "1"], samples::at(), samples::message());
    assert_ne!(one.id, other.id, "another kind, another id");
    assert_eq!(one.id, EventId::derived(&["m1", "1", "typing.started"]));
    assert_eq!(other.id.as_str(), "69510a4e-4e93-5b99-8826-3ba2309e8e02", "part of the wire contract");
}

#[test]
fn unknown_kinds_and_newer_versions_survive() {
    for payload in [
        r#"{"id":"e1","name":"poll.closed","v":1,"at":"2025-01-14T13:40:00.123Z","key":"p1","data":{"z":1,"a":[1.0,2e3]}}"#,
        r#"{ "v": 9, "name": "message.sent", "extra": null, "key": "c1", "id": "e2", "at": "2025-01-14T13:40:00.123Z", "trace": "t", "data": 12345678901234567890 }"#,
    ] {
        let alone = wire::decode_payload(payload, HERE).unwrap();
        assert_eq!(alone.kind(), None);
        assert_eq!(wire::encode_payload(&alone), payload);

        let flat = vec![("event".into(), "x".to_owned()), ("payload".into(), payload.to_owned())];
        let read = wire::decode(&flat, HERE).unwrap();
        assert_eq!(wire::encode_flat(&read), flat);
        assert_eq!(wire::encode_payload(&read), payload);
        assert_eq!((read.id, read.at), (alone.id, samples::at()));
    }
    let poll = wire::decode_payload(
        r#"{"id":"e1","name":"poll.closed","v":3,"at":"2025-01-14T13:40:00.123Z","key":"p1","data":{"a":1}}"#,
        HERE,
    )
    .unwrap();
    assert_eq!((poll.name(), poll.version(), poll.key().as_str()), ("poll.closed", 3, "p1"));
    assert_eq!(poll.topic(), Topic::System);

    let made =
        Envelope::new(&["x"], samples::at(), Unknown::new("room.painted", 2, "r1", json!({"colour": "red"})));
    assert_eq!(made.topic(), Topic::Rooms);
    let read = wire::decode(&wire::encode_flat(&made), HERE).unwrap();
    assert_eq!(wire::encode_payload(&read), wire::encode_payload(&made));
}

#[test]
fn newer_writers_may_add_fields_and_older_ones_may_lack_them() {
    let read = wire::decode_payload(
        r#"{"id":"e1","name":"message.edited","v":1,"at":"2025-01-14T13:40:00.123Z","key":"c1","shard":4,
            "data":{"messageId":"m1","conversationId":"c1","editorId":"ann","newContent":"x","tone":"kind",
                    "editedAt":"2025-01-14T13:40:00.123Z"}}"#,
        HERE,
    )
    .unwrap();
    let Event::MessageEdited(edited) = read.event else { panic!("{read:?}") };
    assert_eq!((edited.revision, edited.seq.0, edited.mentions.is_empty()), (0, 0, true));
}

#[test]
fn a_damaged_envelope_is_a_value_that_says_why_but_not_what() {
    let damaged = [
        (
            r#"{"id":"e1","name":"message.sent","v":1,"at":"yesterday","key":"c1","data":{}}"#,
            "missing or damaged",
        ),
        (
            r#"{"id":"","name":"message.sent","v":1,"at":"2025-01-14T13:40:00Z","key":"c1","data":{}}"#,
            "damaged",
        ),
        (
            r#"{"id":"e1","name":"message.sent","v":1,"at":"2025-01-14T13:40:00Z","key":"c1","data":{}}"#,
            "`messageId`",
        ),
        (r#"{"id":"e1","name":"message.sent","v":1,"at":"2025-01-14T13:40:00Z","key":"c1"}"#, "`data`"),
        (r#"{"id":"e1","name":"x.y","v":1,"at":"2025-01-14T13:40:00Z","key":"c1"}"#, "`data`"),
        (r#"{"event":"user.profile.updated","envelope":{"id":"e1"}}"#, "envelope"),
        (
            r#"{"id":"e1","name":"export.progress","v":1,"at":"2025-01-14T13:40:00Z","key":"c1","data":{"exportId":"x","userId":"u","roomId":"r","percent":"secret"}}"#,
            "does not fit",
        ),
        ("[1,2]", "not a JSON object"),
        ("{", "not a JSON object"),
        ("", "not a JSON object"),
    ];
    for (payload, reason) in damaged {
        let why = wire::decode_payload(payload, HERE).unwrap_err();
        assert!(why.reason.contains(reason), "{payload}: {why}");
        assert!(!why.reason.contains("secret"), "{why}");
    }
    assert!(wire::decode(&[("payload", b"\xff".as_slice())], HERE).is_err());
    assert!(wire::decode(&[("", "")], HERE).is_err());
    assert!(wire::decode(&[("", ""); 0], HERE).is_err());
}

#[test]
fn a_profile_satisfies_both_readers() {
    let updated =
        samples::all().into_iter().find(|e| e.kind() == Some(EventKind::UserProfileUpdated)).unwrap();
    let fields = wire::encode_flat(&updated);
    assert_eq!(fields.len(), 1);
    let seed: Value = serde_json::from_str(&fields[0].1).unwrap();
    assert_eq!(seed["event"], "user.profile.updated");
    assert_eq!(seed["userId"], "ann");
    assert_eq!(seed["fullName"], "Ann Ngo");
    assert_eq!(seed["avatar"], Value::Null);
    assert_eq!(seed["timestamp"], 1_736_862_000_123_u64);
    assert_eq!(wire::decode(&fields, HERE), Ok(updated));
}

#[test]
fn receipts_name_up_to_a_hundred_messages() {
    let ids = |n: usize| CoveredIds::new((0..n).map(|i| MessageId::new(format!("m{i}")).unwrap()));
    assert!(matches!(ids(100), CoveredIds::Ids(ids) if ids.len() == 100));
    assert_eq!(ids(101), CoveredIds::All);
    assert_eq!(serde_json::to_value(CoveredIds::All).unwrap(), "ALL");
    assert!(serde_json::from_value::<CoveredIds>(json!("SOME")).is_err());
}

/// Names and values that lead deep into the decoder.
fn junk_fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let names: Vec<String> = EventKind::ALL
        .iter()
        .flat_map(|kind| kind.fields())
        .map(|name| (*name).to_owned())
        .chain(
            [
                "event",
                "eventType",
                "payload",
                "data",
                "status",
                "ts",
                "reaction",
                "action",
                "replyId",
                "isTyping",
            ]
            .map(str::to_owned),
        )
        .collect();
    let events: Vec<String> = EventKind::ALL
        .iter()
        .map(|kind| kind.as_str().to_owned())
        .chain(
            ["NEW_MESSAGE", "typing:refresh", "CONVERSATION_UPDATED", "user:profile:synced"]
                .map(str::to_owned),
        )
        .collect();
    let value = prop_oneof![
        proptest::sample::select(events.clone()).prop_map(String::into_bytes),
        proptest::sample::select(vec![
            "",
            "ALL",
            "[]",
            "{}",
            "[1,\"a\",{}]",
            "{\"v\":1}",
            "null",
            "-1",
            "1e999",
            "2025-01-14T13:40:00Z"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        any::<String>().prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let field = (prop_oneof![9 => proptest::sample::select(names), 1 => any::<String>()], value);
    let event = proptest::sample::select(events).prop_map(|name| ("event".to_owned(), name.into_bytes()));
    (proptest::collection::vec(field, 0..12), proptest::option::of(event)).prop_map(|(mut fields, event)| {
        fields.extend(event);
        fields
    })
}

proptest! {
    #[test]
    fn junk_never_panics_and_what_is_read_can_be_written(
        fields in junk_fields(),
        entry in "[0-9]{0,25}-?[0-9]{0,3}",
    ) {
        let origin = Origin { stream: "s", entry: &entry };
        if let Ok(envelope) = wire::decode(&fields, origin) {
            let alone = wire::decode_payload(wire::encode_payload(&envelope), origin).unwrap();
            prop_assert_eq!((&alone.id, alone.at, alone.name()), (&envelope.id, envelope.at, envelope.name()));
            let again = wire::decode(&wire::encode_flat(&envelope), origin).unwrap();
            prop_assert_eq!(again, envelope);
        }
    }

    #[test]
    fn damaged_envelopes_never_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples::all();
        let mut payload = wire::encode_payload(which.get(&samples)).into_bytes();
        let place = cut.index(payload.len());
        payload[place] = byte;
        let _ = wire::decode_payload(&payload, HERE);
        payload.truncate(place);
        prop_assert!(wire::decode_payload(&payload, HERE).is_err());
    }

    #[test]
    fn any_text_travels_unharmed(content in any::<String>(), name in any::<String>()) {
        let message = MessageSent { content, metadata: [(name.clone(), name)].into(), ..samples::message() };
        let envelope = Envelope::new(&["x"], samples::at(), message);
        prop_assert_eq!(wire::decode_payload(wire::encode_payload(&envelope), HERE), Ok(envelope.clone()));
        prop_assert_eq!(wire::decode(&wire::encode_flat(&envelope), HERE), Ok(envelope));
    }
}
