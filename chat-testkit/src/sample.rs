//! Values to test with.

use std::fmt::Display;

use chat_core::clock::Timestamp;
use chat_core::domain::message::{Draft, NewMessage};
use chat_core::domain::{
    ClientKey, ConversationId, ConversationKind, FileId, FileRecord, MessageId, RoomId, RoomRole, SessionId,
    UserId,
};
use chat_core::event::{ChatNotificationCreated, Envelope, Priority};
use chat_core::store::conversations::{NewConversation, NewMember};

/// The user of this name.
pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user id")
}

/// The session of this name.
pub fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("a session id")
}

/// The conversation of this name.
pub fn conversation(name: &str) -> ConversationId {
    ConversationId::new(name).expect("a conversation id")
}

/// The room of this name.
pub fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room id")
}

/// The client key of this name.
pub fn key(name: &str) -> ClientKey {
    ClientKey::new(name).expect("a client key")
}

/// The message of this name.
pub fn message(name: &str) -> MessageId {
    MessageId::new(name).expect("a message id")
}

/// The file of this name, which is its id.
pub fn file(conversation: &ConversationId, name: &str) -> FileRecord {
    FileRecord {
        file_id: FileId::new(name).expect("a file id"),
        conversation_id: conversation.clone(),
        uploaded_by: user("ann"),
        file_name: format!("{name}.stored"),
        original_name: format!("{name}.png"),
        mime_type: "image/png".to_owned(),
        size: 1_234,
        url: Some(format!("https://files.invalid/{name}")),
        uploaded_at: Timestamp::from_millis(1_735_689_600_000),
        downloads: 0,
    }
}

/// A member to let in.
pub fn member(name: &str, role: RoomRole) -> NewMember {
    NewMember { user: user(name), role, name: Some(format!("The one called {name}")) }
}

/// A group of up to 200 made by the first of `members`, who is its only admin.
pub fn group(name: &str, members: &[&str]) -> NewConversation {
    let role = |nth| if nth == 0 { RoomRole::Admin } else { RoomRole::Member };
    NewConversation {
        id: conversation(name),
        kind: ConversationKind::Group,
        name: Some("The group".to_owned()),
        avatar: None,
        created_by: user(members.first().expect("somebody who makes the group")),
        members: members.iter().enumerate().map(|(nth, name)| member(name, role(nth))).collect(),
        max_members: 200,
    }
}

/// An event ordered by the user of this name, told apart by `nth`; its topic is `Notifications`.
pub fn notice(user_name: &str, nth: impl Display) -> Envelope {
    let nth = nth.to_string();
    let notice = ChatNotificationCreated {
        notification_id: nth.clone(),
        user_id: user(user_name),
        kind: "system".to_owned(),
        priority: Priority::default(),
        title: None,
        content: Some(format!("Notice {nth} for {user_name}")),
        room_id: None,
        message_id: None,
    };
    Envelope::new(&["notice", user_name, &nth], Timestamp::from_millis(1_735_689_600_000), notice)
}

/// A text of `sender` in a group, with its own id and no client key.
pub fn text(conversation: &ConversationId, sender: &UserId, content: &str) -> NewMessage {
    NewMessage {
        id: MessageId::new(format!("m{:016x}", rand::random::<u64>())).expect("a message id"),
        conversation_id: conversation.clone(),
        conversation_kind: ConversationKind::Group,
        sender_id: Some(sender.clone()),
        receiver_id: None,
        client_key: None,
        draft: Draft::text(content),
    }
}

/// Ids made to break keys, patterns and logs; all of them are valid.
pub fn hostile_ids() -> Vec<String> {
    [
        ":",
        "*",
        "?",
        "{}",
        "{a}",
        "}{",
        "a:b",
        "a b",
        "[a-z]",
        "\\",
        "'",
        "\"",
        "%s",
        "../..",
        "é",
        "\u{202e}",
        "日本",
        "0",
        "-1",
        "nil",
        "null",
        "undefined",
        "__proto__",
        "$ne",
        "a.b",
        "a\u{a0}b",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(["x".repeat(128)])
    .collect()
}
