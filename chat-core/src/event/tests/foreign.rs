//! Entries as the Node services write them, by hand from the audit and from their code.

use chat_core::clock::Timestamp;
use chat_core::domain::{ConversationKind, MessageKind, ReadPosition, RoomRole, Seq};
use chat_core::event::wire::{self, Origin};
use chat_core::event::*;
use serde_json::json;

use super::samples::{at, id};

const C: &str = "65a3f0c2e4b0a1b2c3d4e5f6";
const M: &str = "65a3f0c2e4b0a1b2c3d4e5aa";
const MS: &str = "1736862000123";
const ISO: &str = "2025-01-14T13:40:00.123Z";

fn from(stream: &str, fields: &[(&str, &str)]) -> Envelope {
    wire::decode(fields, Origin { stream, entry: "1736862000999-3" }).unwrap()
}

fn event(fields: &[(&str, &str)]) -> Event {
    from("events:any", fields).event
}

#[test]
fn new_messages() {
    let fields = [
        ("messageId", M),
        ("conversationId", C),
        ("senderId", "ann"),
        ("receiverId", "bob"),
        ("content", "Salut"),
        ("type", "TEXT"),
        ("event", "NEW_MESSAGE"),
        ("status", "SENT"),
        ("timestamp", ISO),
        ("source", "resilient-service"),
        ("publishedAt", "2025-01-14T13:40:00.200Z"),
    ];
    let read = from("stream:messages:private", &fields);
    assert_eq!(read.topic(), Topic::MessagesPrivate);
    assert_eq!(read.at, at());
    let expected = MessageSent {
        message_id: id(M),
        conversation_id: id(C),
        conversation_kind: ConversationKind::Direct,
        seq: Seq::ZERO,
        sender_id: Some(id("ann")),
        receiver_id: Some(id("bob")),
        kind: MessageKind::Text,
        content: "Salut".to_owned(),
        attachments: vec![],
        reply_to: None,
        thread: None,
        mentions: Default::default(),
        silent: false,
        metadata: Default::default(),
        client_key: None,
        timestamp: at(),
    };
    assert_eq!(read.event, expected.clone().into());

    let mut copy = fields;
    copy[6].1 = "EXISTING_MESSAGE";
    let copy = wire::decode(&copy, Origin { stream: "events:notifications", entry: "9-9" }).unwrap();
    assert_eq!(copy.id, read.id, "copies of a message are one event");

    let mut group = fields;
    group[3].1 = "";
    let Event::MessageSent(sent) = from("stream:messages:group", &group).event else { panic!() };
    assert_eq!((sent.conversation_kind, sent.receiver_id), (ConversationKind::Group, None));
    let channel = from("chat:stream:messages:channel", &group).event;
    let Event::MessageSent(sent) = channel else { panic!() };
    assert_eq!(sent.conversation_kind, ConversationKind::Channel);
}

#[test]
fn system_messages() {
    let read = from(
        "chat:stream:messages:group",
        &[
            ("messageId", "system_1736862000123"),
            ("conversationId", C),
            ("senderId", "system"),
            ("senderName", "Système"),
            ("type", "SYSTEM"),
            ("subType", "PARTICIPANT_ADDED"),
            ("content", "Bob a été ajouté"),
            ("participants", "[\"ann\",\"bob\"]"),
            ("metadata", "{\"addedBy\":\"ann\",\"count\":2}"),
            ("createdAt", ISO),
            ("ts", MS),
        ],
    );
    assert_eq!(read.topic(), Topic::MessagesSystem);
    let Event::MessageSent(sent) = read.event else { panic!() };
    assert_eq!((sent.kind, sent.timestamp), (MessageKind::System, at()));
    let facts: Vec<_> = sent.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        facts,
        [("addedBy", "ann"), ("count", "2"), ("senderName", "Système"), ("subType", "PARTICIPANT_ADDED")]
    );
}

#[test]
fn receipts() {
    let audit = event(&[
        ("event", "message.read"),
        ("conversationId", C),
        ("messageIds", "[\"m1\",\"m2\"]"),
        ("readerId", "bob"),
        ("readAt", ISO),
        ("modifiedCount", "2"),
        ("timestamp", MS),
    ]);
    let read = MessageRead {
        conversation_id: id(C),
        reader_id: id("bob"),
        up_to_seq: Seq::ZERO,
        message_ids: CoveredIds::Ids(vec![id("m1"), id("m2")]),
        modified_count: 2,
        read_at: at(),
        position: ReadPosition::START,
    };
    assert_eq!(audit, read.clone().into());

    let all = event(&[
        ("event", "message.read"),
        ("conversationId", C),
        ("messageIds", "ALL"),
        ("readerId", "bob"),
        ("readAt", ISO),
        ("modifiedCount", "7"),
    ]);
    assert_eq!(all, MessageRead { message_ids: CoveredIds::All, modified_count: 7, ..read.clone() }.into());

    // The later services name the message's author, and everybody in the conversation.
    let status = [
        ("messageId", M),
        ("userId", "ann"),
        ("conversationId", C),
        ("status", "READ"),
        ("timestamp", ISO),
        ("participants", "[\"ann\",\"bob\"]"),
    ];
    let one = CoveredIds::Ids(vec![id(M)]);
    assert_eq!(
        event(&status),
        MessageRead { message_ids: one.clone(), modified_count: 0, ..read.clone() }.into()
    );

    let mut delivered = status;
    delivered[3].1 = "DELIVERED";
    delivered[5].1 = "[\"ann\",\"bob\",\"cyd\"]";
    let expected = MessageDelivered {
        conversation_id: id(C),
        user_id: id("ann"),
        up_to_seq: Seq::ZERO,
        message_ids: one,
        timestamp: at(),
    };
    assert_eq!(event(&delivered), expected.into());

    let bulk = event(&[
        ("conversationId", C),
        ("userId", "bob"),
        ("status", "READ"),
        ("messageCount", "12"),
        ("isBulk", "true"),
        ("participants", ""),
        ("timestamp", ISO),
        ("publishedAt", MS),
    ]);
    assert_eq!(bulk, MessageRead { message_ids: CoveredIds::All, modified_count: 12, ..read }.into());
}

#[test]
fn edits_and_deletions() {
    let edited = MessageEdited {
        message_id: id(M),
        conversation_id: id(C),
        seq: Seq::ZERO,
        editor_id: id("ann"),
        new_content: "Salut !".to_owned(),
        mentions: Default::default(),
        revision: 0,
        edited_at: at(),
    };
    let audit = event(&[
        ("event", "message.edited"),
        ("messageId", M),
        ("conversationId", C),
        ("editorId", "ann"),
        ("newContent", "Salut !"),
        ("editedAt", ISO),
        ("timestamp", MS),
    ]);
    assert_eq!(audit, edited.clone().into());
    let status = event(&[
        ("messageId", M),
        ("userId", "ann"),
        ("conversationId", C),
        ("status", "EDITED"),
        ("timestamp", ISO),
        ("participants", "[\"ann\",\"bob\"]"),
        ("messageContent", "Salut !"),
    ]);
    assert_eq!(status, edited.into());

    let deleted = MessageDeleted {
        message_id: id(M),
        conversation_id: id(C),
        seq: Seq::ZERO,
        deleter_id: Some(id("ann")),
        delete_type: DeleteType::ForMe,
        deleted_at: at(),
    };
    let audit = event(&[
        ("event", "message.deleted"),
        ("messageId", M),
        ("conversationId", C),
        ("deleterId", "ann"),
        ("deleteType", "FOR_ME"),
        ("deletedAt", ISO),
        ("timestamp", MS),
    ]);
    assert_eq!(audit, deleted.clone().into());
    let status = event(&[
        ("messageId", M),
        ("userId", "bob"),
        ("conversationId", C),
        ("status", "DELETED"),
        ("timestamp", ISO),
        ("participants", "[]"),
    ]);
    assert_eq!(
        status,
        MessageDeleted { deleter_id: None, delete_type: DeleteType::ForEveryone, ..deleted }.into()
    );
}

#[test]
fn conversations() {
    let created = ConversationCreated {
        conversation_id: id(C),
        kind: ConversationKind::Group,
        created_by: id("ann"),
        participants: vec![id("ann"), id("bob")],
        participant_count: 2,
        name: Some("Équipe".to_owned()),
    };
    let common = [("conversationId", C), ("type", "GROUP"), ("createdBy", "ann"), ("name", "Équipe")];
    let participants = ("participants", "[\"ann\",\"bob\"]");
    let audit = [
        &common[..],
        &[("event", "conversation.created"), participants, ("participantCount", "2"), ("timestamp", MS)],
    ];
    assert_eq!(event(&audit.concat()), created.clone().into());
    let later =
        [&common[..], &[("eventType", "CONVERSATION_CREATED"), participants, ("timestamp", ISO), ("ts", MS)]];
    assert_eq!(event(&later.concat()), created.clone().into());
    let objects = [
        &common[..],
        &[("eventType", "CONVERSATION_CREATED"), ("participants", "[{\"userId\":\"ann\"},\"bob\"]")],
    ];
    assert_eq!(event(&objects.concat()), created.into());

    let added = ParticipantAdded {
        conversation_id: id(C),
        participant_id: id("cyd"),
        participant_name: Some("Cyd Ela".to_owned()),
        added_by: id("ann"),
        role: RoomRole::Member,
        added_at: at(),
        total_participants: 3,
        version: 0,
    };
    let who = [("conversationId", C), ("participantId", "cyd"), ("participantName", "Cyd Ela")];
    let audit = [
        &who[..],
        &[
            ("event", "conversation.participant.added"),
            ("addedBy", "ann"),
            ("addedAt", ISO),
            ("totalParticipants", "3"),
            ("timestamp", MS),
        ],
    ];
    assert_eq!(event(&audit.concat()), added.clone().into());
    let everybody = ("participants", "[\"ann\",\"bob\",\"cyd\"]");
    let later = [
        &who[..],
        &[("eventType", "PARTICIPANT_ADDED"), ("addedBy", "ann"), everybody, ("timestamp", ISO), ("ts", MS)],
    ];
    assert_eq!(event(&later.concat()), added.into());

    let removed = ParticipantRemoved {
        conversation_id: id(C),
        participant_id: id("cyd"),
        participant_name: Some("Cyd Ela".to_owned()),
        removed_by: id("ann"),
        removed_at: at(),
        total_participants: 3,
        version: 0,
    };
    let later = [
        &who[..],
        &[
            ("eventType", "PARTICIPANT_REMOVED"),
            ("removedBy", "ann"),
            everybody,
            ("timestamp", ISO),
            ("ts", MS),
        ],
    ];
    assert_eq!(event(&later.concat()), removed.clone().into());
    let audit = [
        &who[..],
        &[
            ("event", "conversation.participant.removed"),
            ("removedBy", "ann"),
            ("removedAt", ISO),
            ("totalParticipants", "3"),
            ("timestamp", MS),
        ],
    ];
    assert_eq!(event(&audit.concat()), removed.into());

    let left = [
        &who[..],
        &[
            ("event", "conversation.participant.left"),
            ("leftAt", ISO),
            ("totalParticipants", "2"),
            ("timestamp", MS),
        ],
    ];
    let expected = ParticipantLeft {
        conversation_id: id(C),
        participant_id: id("cyd"),
        participant_name: Some("Cyd Ela".to_owned()),
        left_at: at(),
        total_participants: 2,
        version: 0,
    };
    assert_eq!(event(&left.concat()), expected.into());
}

#[test]
fn changes_to_conversations() {
    let updated = [
        ("eventType", "CONVERSATION_UPDATED"),
        ("conversationId", C),
        ("timestamp", ISO),
        ("ts", MS),
        ("name", "Projet"),
        ("updatedBy", "ann"),
        ("changes", "{\"name\":\"Projet\"}"),
    ];
    let renamed = ConversationNameUpdated {
        conversation_id: id(C),
        name: "Projet".to_owned(),
        updated_by: id("ann"),
        version: 0,
    };
    assert_eq!(event(&updated), renamed.into());
    let mut picture = updated;
    picture[4].1 = "";
    picture[6].1 = "{\"avatar\":\"https://img.example/c\"}";
    let expected = ConversationAvatarUpdated {
        conversation_id: id(C),
        avatar: Some("https://img.example/c".to_owned()),
        updated_by: id("ann"),
        version: 0,
    };
    assert_eq!(event(&picture), expected.into());
    picture[6].1 = "{\"settings\":{}}";
    let other = from("chat:stream:events:conversation:updated", &picture);
    assert_eq!(
        (other.kind(), other.name(), other.topic()),
        (None, "CONVERSATION_UPDATED", Topic::Conversations)
    );

    let deleted = event(&[
        ("eventType", "CONVERSATION_DELETED"),
        ("conversationId", C),
        ("deletedBy", "ann"),
        ("timestamp", ISO),
    ]);
    let expected =
        ConversationDeleted { conversation_id: id(C), deleted_by: Some(id("ann")), deleted_at: at() };
    assert_eq!(deleted, expected.into());

    let own =
        |name: &str| event(&[("event", name), ("conversationId", C), ("userId", "bob"), ("timestamp", MS)]);
    let (conversation_id, user_id) = (id(C), id("bob"));
    assert_eq!(own("conversation.muted"), ConversationMuted { conversation_id, user_id, until: None }.into());
    for name in ["archived", "unarchived", "unmuted", "pinned", "unpinned"] {
        let name = format!("conversation.{name}");
        let read = own(&name);
        assert_eq!(read.name(), name);
        assert_eq!(read.key(), C);
    }
}

#[test]
fn files() {
    let uploaded = FileUploaded {
        file_id: id("f1"),
        conversation_id: id(C),
        uploaded_by: id("ann"),
        file_name: "f1.pdf".to_owned(),
        original_name: "plan.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
        size: 2_048,
        url: Some("/files/f1".to_owned()),
    };
    let common = [
        ("fileId", "f1"),
        ("fileName", "f1.pdf"),
        ("originalName", "plan.pdf"),
        ("mimeType", "application/pdf"),
        ("conversationId", C),
        ("timestamp", MS),
    ];
    let audit = [
        &common[..],
        &[("event", "file.uploaded"), ("size", "2048"), ("url", "/files/f1"), ("uploadedBy", "ann")],
    ];
    assert_eq!(event(&audit.concat()), uploaded.clone().into());
    let later = [
        &common[..],
        &[("event", "file.uploaded"), ("fileSize", "2048"), ("url", "/files/f1"), ("userId", "ann")],
    ];
    assert_eq!(event(&later.concat()), uploaded.into());

    let deleted = FileDeleted {
        file_id: id("f1"),
        conversation_id: id(C),
        deleter_id: Some(id("ann")),
        original_name: "plan.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
        size: 2_048,
        deleted_at: at(),
        physical_delete: true,
    };
    let how = [("event", "file.deleted"), ("deletedAt", ISO), ("physicalDelete", "true")];
    let audit = [&common[..], &how, &[("size", "2048"), ("deleterId", "ann")]];
    assert_eq!(event(&audit.concat()), deleted.clone().into());
    let later = [&common[..], &how, &[("fileSize", "2048"), ("userId", "ann")]];
    assert_eq!(event(&later.concat()), deleted.into());

    let downloaded = event(&[
        ("event", "file.downloaded"),
        ("fileId", "f1"),
        ("fileName", "f1.pdf"),
        ("fileSize", ""),
        ("userId", "bob"),
        ("timestamp", MS),
    ]);
    let expected = FileDownloaded {
        file_id: id("f1"),
        conversation_id: None,
        user_id: id("bob"),
        file_name: "f1.pdf".to_owned(),
        file_size: 0,
    };
    assert_eq!(downloaded, expected.into());
}

#[test]
fn typing_in_all_its_dialects() {
    let started = Event::from(TypingStarted { conversation_id: id(C), user_id: id("ann"), thread: None });
    let stopped = Event::from(TypingStopped { conversation_id: id(C), user_id: id("ann"), thread: None });
    let typing = |who: &'static str, more: &[(&'static str, &'static str)]| {
        event(&[&[("conversationId", C), (who, "ann"), ("timestamp", MS)], more].concat())
    };
    for name in ["typing.started", "typing:start", "typing:refresh", "TYPING_STARTED"] {
        assert_eq!(typing("userId", &[("event", name)]), started, "{name}");
        assert_eq!(typing("userId", &[("event", name), ("isTyping", "true")]), started, "{name}");
        assert_eq!(typing("userId", &[("event", name), ("isTyping", "false")]), stopped, "{name}");
    }
    for name in ["typing.stopped", "typing:stop", "TYPING_STOPPED"] {
        assert_eq!(typing("userId", &[("event", name)]), stopped, "{name}");
    }
    assert_eq!(typing("senderId", &[("event", "TYPING_STARTED")]), started);
    assert_eq!(typing("userId", &[("isTyping", "true")]), started);
    assert_eq!(typing("userId", &[("isTyping", "false")]), stopped);
}

#[test]
fn profiles() {
    let updated = UserProfileUpdated {
        user_id: id("123"),
        full_name: "Jean Dupont".to_owned(),
        avatar: Some("https://img.example/123".to_owned()),
        matricule: Some("547352Y".to_owned()),
        ministere: None,
        sexe: None,
        updated_at: at(),
    };
    let seed = json!({
        "event": "user.profile.updated", "userId": 123, "fullName": "Jean Dupont",
        "avatar": "https://img.example/123", "matricule": "547352Y", "timestamp": 1_736_862_000_123_u64,
    });
    let read = from("events:users", &[("payload", &seed.to_string())]);
    assert_eq!((read.at, &read.event), (at(), &updated.clone().into()));

    let parts = json!({
        "event": "user.profile.created", "userId": "123", "prenom": "Jean", "nom": "Dupont", "fullName": "",
        "avatar": null, "matricule": "547352Y", "ministere": "MINFI", "sexe": "M", "timestamp": MS,
    });
    let expected = UserProfileCreated {
        user_id: id("123"),
        full_name: "Jean Dupont".to_owned(),
        avatar: None,
        matricule: Some("547352Y".to_owned()),
        ministere: Some("MINFI".to_owned()),
        sexe: Some("M".to_owned()),
        updated_at: at(),
    };
    assert_eq!(event(&[("payload", &parts.to_string())]), expected.into());

    let synced = json!({
        "id": "9", "prenom": "Jean", "nom": "Dupont", "profile_pic": "https://img.example/123",
        "matricule": "547352Y", "updatedAt": MS,
    });
    let synced = [("event", "user:profile:synced"), ("userId", "123"), ("data", &synced.to_string())];
    assert_eq!(event(&synced), updated.clone().into());

    let nobody = event(&[("event", "user.profile.updated"), ("userId", "123"), ("timestamp", MS)]);
    let expected = UserProfileUpdated {
        full_name: "Utilisateur inconnu".to_owned(),
        avatar: None,
        matricule: None,
        ..updated
    };
    assert_eq!(nobody, expected.into());

    let deleted =
        json!({"event": "user.profile.deleted", "userId": "123", "matricule": "547352Y", "timestamp": MS});
    let expected = UserProfileDeleted { user_id: id("123"), matricule: Some("547352Y".to_owned()) };
    assert_eq!(event(&[("payload", &deleted.to_string())]), expected.into());
}

#[test]
fn notifications_reactions_and_replies() {
    let told = [
        ("userId", "bob"),
        ("title", "Nouveau message"),
        ("message", "Salut"),
        ("type", "message"),
        ("timestamp", ISO),
        ("publishedAt", MS),
    ];
    let expected = ChatNotificationCreated {
        notification_id: "1736862000999-3".to_owned(),
        user_id: id("bob"),
        kind: "message".to_owned(),
        priority: Priority::Medium,
        title: Some("Nouveau message".to_owned()),
        content: Some("Salut".to_owned()),
        room_id: None,
        message_id: None,
    };
    assert_eq!(event(&told), expected.into());

    let reaction =
        [("messageId", M), ("userId", "bob"), ("reaction", "👍"), ("action", "remove"), ("timestamp", ISO)];
    let lost = from("chat:stream:events:reactions", &reaction);
    assert_eq!((lost.kind(), lost.name(), lost.version()), (None, "message.reaction.removed", 0));
    assert_eq!(wire::encode_flat(&lost), reaction.map(|(name, value)| (name.into(), value.to_owned())));
    let placed = event(&[&reaction[..], &[("conversationId", C)]].concat());
    let expected = MessageReactionRemoved {
        message_id: id(M),
        conversation_id: id(C),
        seq: Seq::ZERO,
        user_id: id("bob"),
        emoji: "👍".to_owned(),
        count: 0,
    };
    assert_eq!(placed, expected.into());

    let reply =
        [("messageId", M), ("replyId", "m9"), ("userId", "bob"), ("content", "Oui"), ("timestamp", ISO)];
    assert_eq!(event(&reply).name(), "MESSAGE_REPLIED");
    let Event::MessageSent(placed) = event(&[&reply[..], &[("conversationId", C)]].concat()) else {
        panic!()
    };
    assert_eq!((placed.message_id, placed.reply_to), (id("m9"), Some(id(M))));
}

#[test]
fn foreign_entries_have_ids_and_times_of_their_own() {
    let fields = [("event", "typing:start"), ("conversationId", C), ("userId", "ann")];
    let one = from("events:typing", &fields);
    assert_eq!(one.at, Timestamp::from_millis(1_736_862_000_999), "the entry's own time");
    assert_eq!(one.id, from("events:typing", &fields).id);
    assert_ne!(one.id, from("stream:events:typing", &fields).id);
    let next = Origin { stream: "events:typing", entry: "1736862000999-4" };
    assert_ne!(one.id, wire::decode(&fields, next).unwrap().id);
    let nowhere = wire::decode(&fields, Origin { stream: "", entry: "" }).unwrap();
    assert_eq!(nowhere.at, Timestamp::EPOCH);
}

#[test]
fn foreign_entries_that_say_too_little_are_refused_or_kept() {
    let here = Origin { stream: "events:messages", entry: "1-0" };
    for fields in [
        &[("event", "message.read"), ("conversationId", C)][..],
        &[("event", "message.edited"), ("conversationId", C), ("editorId", "ann")],
        &[("event", "NEW_MESSAGE"), ("messageId", "undefined"), ("conversationId", C)],
        &[("event", "typing:start"), ("conversationId", "a\u{0}b"), ("userId", "ann")],
        &[("0", "e"), ("1", "v"), ("2", "e"), ("3", "n"), ("4", "t")],
    ] {
        assert!(wire::decode(fields, here).is_err(), "{fields:?}");
    }
    let kept = wire::decode(&[("event", "ANALYTICS_TICK"), ("userId", "ann"), ("n", "1")], here).unwrap();
    assert_eq!((kept.name(), kept.version(), kept.key().as_str()), ("ANALYTICS_TICK", 0, "ann"));
    let Event::Unknown(unknown) = &kept.event else { panic!() };
    assert_eq!(unknown.data, json!({"event": "ANALYTICS_TICK", "userId": "ann", "n": "1"}));
    let again = wire::decode_payload(wire::encode_payload(&kept), here).unwrap();
    assert_eq!((&again.id, again.name()), (&kept.id, kept.name()));
}
