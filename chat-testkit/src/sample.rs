//! Values to test with.

use chat_core::domain::message::{Draft, NewMessage};
use chat_core::domain::{ClientKey, ConversationId, ConversationKind, MessageId, RoomId, SessionId, UserId};

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
    [":", "*", "?", "{}", "{a}", "}{", "a:b", "a b", "[a-z]", "\\", "'", "\"", "%s", "../..", "é", "\u{202e}", "日本", "0", "-1", "nil", "null", "undefined", "__proto__", "$ne", "a.b", "a\u{a0}b"]
        .into_iter()
        .map(str::to_owned)
        .chain(["x".repeat(128)])
        .collect()
}
