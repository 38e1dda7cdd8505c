//! The script that orders entries reads the same key as `wire::decode`.

use std::path::Path;

use chat_core::clock::Timestamp;
use chat_core::domain::UserId;
use chat_core::event::wire::{self, Origin};
use chat_core::event::{Envelope, StreamNames, Topic, Unknown};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, sample, trials};
use serde_json::{Value, json};

trials! { needs "redis":
    golden_entries_have_the_same_key,
    hostile_keys_are_read_whole,
    entries_of_other_services_have_the_same_key,
    what_is_no_event_has_some_key,
}

/// What the scripts read from an entry of a topic.
fn read(server: &Redis, topic: Topic, fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    let ordering = match topic {
        Topic::Files => "fileId",
        Topic::Users => "userId,id,matricule",
        Topic::Presence | Topic::Notifications | Topic::Unread | Topic::Exports => "userId",
        Topic::Rooms | Topic::Moderation => "roomId",
        _ => "",
    };
    let source = [
        "local now = 0",
        include_str!("../../src/scripts/stream.lua"),
        include_str!("../../src/scripts/key.lua"),
        "local fields = {unpack(ARGV, 6)} return (key_of(fields))",
    ]
    .join("\n");
    let mut words: Vec<&[u8]> = vec![b"EVAL", source.as_bytes(), b"2", b"s", b"{s}:", b"", b"", b"", b""];
    words.push(ordering.as_bytes());
    for (name, value) in fields {
        words.extend([name.as_bytes(), value.as_slice()]);
    }
    server.command(&words).text().into_bytes()
}

fn same(server: &Redis, topic: Topic, fields: &[(String, Vec<u8>)]) {
    let stream = StreamNames::seed().name(topic);
    let envelope = wire::decode(fields, Origin { stream: &stream, entry: "1736862000123-0" }).unwrap();
    let found = String::from_utf8(read(server, topic, fields)).unwrap();
    assert_eq!(found, envelope.key(), "{}", envelope.name());
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn both_encodings(envelope: &Envelope) -> [Vec<(String, Vec<u8>)>; 2] {
    let flat = wire::encode_flat(envelope);
    let flat = flat.into_iter().map(|(name, value)| (name.into_owned(), value.into_bytes())).collect();
    [flat, vec![("payload".to_owned(), wire::encode_payload(envelope).into_bytes())]]
}

async fn golden_entries_have_the_same_key() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chat-core/tests/golden");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file: Value =
            serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let payload = file["payload"].as_str().unwrap();
        let origin = Origin { stream: "events:any", entry: "1-0" };
        let topic = wire::decode_payload(payload, origin).unwrap().topic();
        let flat: Vec<_> = file["flat"].as_object().unwrap().iter().collect();
        let flat: Vec<_> =
            flat.iter().map(|(name, value)| ((*name).clone(), value.as_str().unwrap().into())).collect();
        same(&server, topic, &flat);
        same(&server, topic, &owned(&[("payload", payload)]));
        count += 1;
    }
    assert!(count > 60, "{count}");
    Ok(())
}

async fn hostile_keys_are_read_whole() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut keys = sample::hostile_ids();
    keys.extend(["\",\"key\":\"b", "\\\",\"key\":\"", "a\",\"key\":\"b\\", "😀\\u0041"].map(str::to_owned));
    for key in &keys {
        for fields in both_encodings(&sample::notice(key, 1)) {
            same(&server, Topic::Notifications, &fields);
        }
        let mut odd = sample::notice("plain", 1);
        odd.id = UserId::new(key).unwrap().cast();
        for fields in both_encodings(&odd) {
            same(&server, Topic::Notifications, &fields);
        }
        let unknown = Unknown::new(key.clone(), 7, key.clone(), json!({"key": "another", "id": key}));
        let unknown = Envelope::new(&["unknown"], Timestamp::from_millis(1), unknown);
        for fields in both_encodings(&unknown) {
            same(&server, Topic::System, &fields);
        }
    }
    let control = Unknown::new("later", 1, "a\u{0}\u{1f}\n\"", json!({}));
    for fields in both_encodings(&Envelope::new(&["control"], Timestamp::EPOCH, control)) {
        let found = read(&server, Topic::System, &fields);
        assert_eq!(found, "a\u{0}\u{1f}\n\"".as_bytes());
    }
    Ok(())
}

async fn entries_of_other_services_have_the_same_key() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let at = ("timestamp", "1736862000123");
    let message =
        [("event", "NEW_MESSAGE"), ("messageId", "m1"), ("conversationId", "c1"), ("content", "Salut"), at];
    same(&server, Topic::MessagesPrivate, &owned(&message));
    same(&server, Topic::Notifications, &owned(&message));
    let without =
        [("event", "message.reaction.added"), ("messageId", "m1"), ("userId", "ann"), ("reaction", "👍"), at];
    same(&server, Topic::Messages, &owned(&without));
    let read =
        [("event", "message.read"), ("conversationId", "c1"), ("messageIds", "ALL"), ("readerId", "bob"), at];
    same(&server, Topic::Read, &owned(&read));
    let status =
        [("messageId", "m1"), ("userId", "ann"), ("conversationId", "c1"), ("status", "DELIVERED"), at];
    same(&server, Topic::Delivered, &owned(&status));
    let file = [
        ("event", "file.uploaded"),
        ("userId", "ann"),
        ("fileId", "f1"),
        ("conversationId", "c1"),
        ("fileName", "plan.pdf"),
        at,
    ];
    same(&server, Topic::Files, &owned(&file));
    let typing = [("event", "typing:start"), ("conversationId", "c1"), ("userId", "ann"), at];
    same(&server, Topic::Typing, &owned(&typing));
    let profile =
        json!({"event": "user.profile.updated", "userId": "ann", "fullName": "Ann", "timestamp": 1});
    same(&server, Topic::Users, &owned(&[("payload", &profile.to_string())]));
    let synced =
        [("event", "user:profile:synced"), ("userId", "ann"), ("data", "{\"id\":\"x\",\"nom\":\"N\"}")];
    same(&server, Topic::Users, &owned(&synced));
    let by_number = json!({"event": "user.profile.deleted", "matricule": "547352Y", "userId": null});
    same(&server, Topic::Users, &owned(&[("payload", &by_number.to_string()), ("userId", "not this one")]));
    let notification = [("userId", "ann"), ("title", "Hello"), ("message", "There"), ("type", "system"), at];
    same(&server, Topic::Notifications, &owned(&notification));
    let empty = [
        ("event", "typing:stop"),
        ("userId", "undefined"),
        ("conversationId", "c1"),
        ("senderId", "bob"),
        at,
    ];
    same(&server, Topic::Typing, &owned(&empty));
    let nothing = [("event", "something.else"), ("conversationId", ""), ("userId", "null"), at];
    same(&server, Topic::System, &owned(&nothing));
    Ok(())
}

async fn what_is_no_event_has_some_key() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    for payload in
        ["", "{", "[]", "1", "null", "{\"id\":1}", "{\"envelope\":null}", "{\"envelope\":[]}", "\u{0}"]
    {
        assert_eq!(read(&server, Topic::System, &owned(&[("payload", payload)])), b"", "{payload:?}");
    }
    let deep = "[".repeat(5_000);
    assert_eq!(read(&server, Topic::System, &owned(&[("payload", &deep), ("userId", "ann")])), b"ann");
    assert_eq!(read(&server, Topic::System, &owned(&[("payload", "{}"), ("conversationId", "c1")])), b"c1");
    Ok(())
}
