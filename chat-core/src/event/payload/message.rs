//! Messages: sending, receipts, and everything that happens to a message later.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Timestamp;
use crate::domain::message::ThreadPlace;
use crate::domain::{
    Attachment, ClientKey, ConversationId, ConversationKind, Mentions, Message, MessageId, MessageKind,
    ReadPosition, Seq, UserId,
};

/// The most message ids a receipt names; more are said as "all".
pub const MAX_COVERED_IDS: usize = 100;

payloads! {
    /// A message was sent.
    MessageSent has {
        /// The message.
        pub message_id: MessageId,
        /// Where it was said.
        pub conversation_id: ConversationId,
        /// What kind of conversation that is.
        pub conversation_kind: ConversationKind,
        /// Its place there.
        pub seq: Seq,
        /// Who said it; none for the system.
        pub sender_id: Option<UserId>,
        /// The other one, in a direct conversation.
        pub receiver_id: Option<UserId>,
        /// What it is.
        #[serde(rename = "type")]
        pub kind: MessageKind,
        /// The text, in full.
        pub content: String,
        /// Files.
        #[serde(default)]
        pub attachments: Vec<Attachment>,
        /// The message it answers.
        pub reply_to: Option<MessageId>,
        /// The thread it belongs to.
        pub thread: Option<ThreadPlace>,
        /// Whom it calls.
        #[serde(default)]
        pub mentions: Mentions,
        /// Sent without raising anybody's unread count.
        #[serde(default)]
        pub silent: bool,
        /// Facts for programs.
        #[serde(default)]
        pub metadata: BTreeMap<String, String>,
        /// What the sender's client called it.
        pub client_key: Option<ClientKey>,
        /// When it was stored.
        pub timestamp: Timestamp,
    }

    /// A user's devices have received messages.
    MessageDelivered has {
        /// Where.
        pub conversation_id: ConversationId,
        /// Who received them.
        pub user_id: UserId,
        /// Everything up to this place; zero when the writer did not say.
        #[serde(default)]
        pub up_to_seq: Seq,
        /// The messages newly covered.
        pub message_ids: CoveredIds,
        /// When.
        pub timestamp: Timestamp,
    }

    /// A user has read messages.
    MessageRead has {
        /// Where.
        pub conversation_id: ConversationId,
        /// Who read them.
        pub reader_id: UserId,
        /// Everything up to this place; zero when the writer did not say.
        #[serde(default)]
        pub up_to_seq: Seq,
        /// The messages newly covered.
        pub message_ids: CoveredIds,
        /// How many they are.
        #[serde(default)]
        pub modified_count: u64,
        /// When.
        pub read_at: Timestamp,
        /// How far the reader has read from now on, with the epoch of that position.
        #[serde(default)]
        pub position: ReadPosition,
    }

    /// A user marked messages as unread again, for itself.
    MessageUnread has {
        /// Where.
        pub conversation_id: ConversationId,
        /// Who.
        pub reader_id: UserId,
        /// The first message that is unread again.
        pub from_seq: Seq,
        /// How far the reader has read from now on, with the epoch of that position.
        pub position: ReadPosition,
    }

    /// A message's text was changed.
    MessageEdited has {
        /// The message.
        pub message_id: MessageId,
        /// Where it was said.
        pub conversation_id: ConversationId,
        /// Its place there; zero when the writer did not say.
        #[serde(default)]
        pub seq: Seq,
        /// Who changed it.
        pub editor_id: UserId,
        /// The text from now on, in full.
        pub new_content: String,
        /// Whom it calls from now on.
        #[serde(default)]
        pub mentions: Mentions,
        /// How often the text was changed; zero when the writer did not say.
        #[serde(default)]
        pub revision: u32,
        /// When.
        pub edited_at: Timestamp,
    }

    /// A message was deleted.
    MessageDeleted has {
        /// The message.
        pub message_id: MessageId,
        /// Where it was said.
        pub conversation_id: ConversationId,
        /// Its place there; zero when the writer did not say.
        #[serde(default)]
        pub seq: Seq,
        /// Who deleted it; none when retention did.
        pub deleter_id: Option<UserId>,
        /// For whom.
        pub delete_type: DeleteType,
        /// When.
        pub deleted_at: Timestamp,
    }

    /// A user put an emoji on a message.
    MessageReactionAdded and
    /// A user took an emoji off a message.
    MessageReactionRemoved has {
        /// The message.
        pub message_id: MessageId,
        /// Where it was said.
        pub conversation_id: ConversationId,
        /// Its place there; zero when the writer did not say.
        #[serde(default)]
        pub seq: Seq,
        /// Who.
        pub user_id: UserId,
        /// The emoji.
        pub emoji: String,
        /// How many users have put this emoji there from now on.
        #[serde(default)]
        pub count: u64,
    }

    /// A message was pinned for all to see.
    MessagePinned has {
        /// The message.
        pub message_id: MessageId,
        /// Where.
        pub conversation_id: ConversationId,
        /// Who pinned it.
        pub user_id: UserId,
        /// When it comes down by itself.
        pub until: Option<Timestamp>,
    }

    /// A message was taken down.
    MessageUnpinned has {
        /// The message.
        pub message_id: MessageId,
        /// Where.
        pub conversation_id: ConversationId,
        /// Who took it down.
        pub user_id: UserId,
    }

    /// A message was refused after it had been taken in; for its sender only.
    MessageRejected has {
        /// Where it was to be said.
        pub conversation_id: ConversationId,
        /// Who sent it.
        pub user_id: UserId,
        /// What the sender's client called it.
        pub client_key: Option<ClientKey>,
        /// The error code.
        pub code: String,
        /// Whether sending again may succeed.
        #[serde(default)]
        pub retryable: bool,
    }
}

impl From<&Message> for MessageSent {
    fn from(message: &Message) -> Self {
        Self {
            message_id: message.id.clone(),
            conversation_id: message.conversation_id.clone(),
            conversation_kind: message.conversation_kind,
            seq: message.seq,
            sender_id: message.sender_id.clone(),
            receiver_id: message.receiver_id.clone(),
            kind: message.kind,
            content: message.content.clone(),
            attachments: message.attachments.clone(),
            reply_to: message.reply_to.clone(),
            thread: message.thread.clone(),
            mentions: message.mentions.clone(),
            silent: message.silent,
            metadata: message.metadata.clone(),
            client_key: message.client_key.clone(),
            timestamp: message.created_at,
        }
    }
}

/// Which messages a receipt newly covers: their ids, or `"ALL"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CoveredIds {
    /// These, in order.
    Ids(Vec<MessageId>),
    /// Every message up to the position.
    All,
}

impl CoveredIds {
    /// These ids; all, when they are more than [`MAX_COVERED_IDS`].
    pub fn new(ids: impl IntoIterator<Item = MessageId>) -> Self {
        let ids: Vec<_> = ids.into_iter().take(MAX_COVERED_IDS + 1).collect();
        if ids.len() > MAX_COVERED_IDS { Self::All } else { Self::Ids(ids) }
    }
}

impl FromIterator<MessageId> for CoveredIds {
    fn from_iter<I: IntoIterator<Item = MessageId>>(ids: I) -> Self {
        Self::new(ids)
    }
}

impl Serialize for CoveredIds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ids(ids) => ids.serialize(serializer),
            Self::All => serializer.serialize_str("ALL"),
        }
    }
}

impl<'de> Deserialize<'de> for CoveredIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Ids(Vec<MessageId>),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Ids(ids) => Ok(Self::Ids(ids)),
            Form::Word(word) if word == "ALL" => Ok(Self::All),
            Form::Word(_) => Err(de::Error::custom("neither ids nor ALL")),
        }
    }
}

/// For whom a message was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeleteType {
    /// For the one who deleted it.
    ForMe,
    /// For everyone.
    ForEveryone,
}
