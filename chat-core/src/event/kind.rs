//! The table of events: one line gives a kind its number, name, version, topic, ordering key and retention.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::payload::*;
use super::topic::Topic;
use crate::domain::{ConversationKind, MessageKind};

/// Which id orders the events of a kind: events with the same key and topic are read in the order they were
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// The conversation's id.
    Conversation,
    /// The user's id.
    User,
    /// The room's id.
    Room,
    /// The file's id.
    File,
    /// The kind itself: there is nothing to tell its events apart by.
    Kind,
}

impl KeySource {
    /// The payload field it is taken from.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::Conversation => Some("conversationId"),
            Self::User => Some("userId"),
            Self::Room => Some("roomId"),
            Self::File => Some("fileId"),
            Self::Kind => None,
        }
    }
}

/// How long the events of a kind are worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retention {
    /// Never dropped before every registered group has acknowledged it; then about `max_len` entries are
    /// kept.
    Durable {
        /// Entries kept for replay.
        max_len: u64,
    },
    /// Means nothing after `ttl`, and may be dropped at any time.
    Ephemeral {
        /// Entries kept at most.
        max_len: u64,
        /// How long it means anything.
        ttl: Duration,
    },
    /// Only the newest event of a key matters; older ones of the same key and topic may be dropped.
    Latest {
        /// Entries kept at most.
        max_len: u64,
    },
}

impl Retention {
    /// About how many entries are kept.
    pub const fn max_len(self) -> u64 {
        match self {
            Self::Durable { max_len } | Self::Ephemeral { max_len, .. } | Self::Latest { max_len } => max_len,
        }
    }
}

/// How long what is ephemeral means anything: the seeds' 60 s of typing.
const EPHEMERAL: Duration = Duration::from_secs(60);

macro_rules! retention {
    (durable, $max_len:expr) => {
        Retention::Durable { max_len: $max_len }
    };
    (ephemeral, $max_len:expr) => {
        Retention::Ephemeral { max_len: $max_len, ttl: EPHEMERAL }
    };
    (latest, $max_len:expr) => {
        Retention::Latest { max_len: $max_len }
    };
}

macro_rules! version {
    (v1) => {
        1
    };
}

macro_rules! key_source {
    (conversation) => {
        KeySource::Conversation
    };
    (user) => {
        KeySource::User
    };
    (room) => {
        KeySource::Room
    };
    (file) => {
        KeySource::File
    };
    (kind) => {
        KeySource::Kind
    };
}

macro_rules! key {
    (conversation, $payload:expr, $name:expr) => {
        $payload.conversation_id.as_str()
    };
    (user, $payload:expr, $name:expr) => {
        $payload.user_id.as_str()
    };
    (room, $payload:expr, $name:expr) => {
        $payload.room_id.as_str()
    };
    (file, $payload:expr, $name:expr) => {
        $payload.file_id.as_str()
    };
    (kind, $payload:expr, $name:expr) => {
        $name
    };
}

macro_rules! number {
    () => {
        None
    };
    ($number:literal) => {
        Some($number)
    };
}

macro_rules! events {
    ($(
        $kind:ident $(= $number:literal)? $wire:literal
        $version:ident $topic:ident key($key:ident) $retention:ident,
    )*) => {
        /// Every kind of event this version knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $(#[doc = concat!("`", $wire, "`, carrying [`", stringify!($kind), "`].")] $kind,)*
        }

        impl EventKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The wire name, such as `message.sent`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $wire,)* }
            }

            /// The kind with this wire name.
            pub fn from_wire(name: &str) -> Option<Self> {
                match name { $($wire => Some(Self::$kind),)* _ => None }
            }

            /// The version of the payload that is written.
            pub const fn version(self) -> u32 {
                match self { $(Self::$kind => version!($version),)* }
            }

            /// The number in seed 000's audit: 1 to 21.
            pub const fn number(self) -> Option<u8> {
                match self { $(Self::$kind => number!($($number)?),)* }
            }

            /// The topic; that of `message.sent` depends on the message, so [`Event::topic`] has the last
            /// word.
            pub const fn topic(self) -> Topic {
                match self { $(Self::$kind => Topic::$topic,)* }
            }

            /// Which id orders its events.
            pub const fn key_of(self) -> KeySource {
                match self { $(Self::$kind => key_source!($key),)* }
            }

            /// How long its events are worth keeping.
            pub const fn retention(self) -> Retention {
                match self { $(Self::$kind => retention!($retention, Topic::$topic.max_len()),)* }
            }

            /// The names of the payload's fields, as written.
            pub fn fields(self) -> &'static [&'static str] {
                match self { $(Self::$kind => probe::fields_of::<$kind>(),)* }
            }
        }

        /// Something that happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = concat!("`", $wire, "`.")] $kind($kind),)*
            /// An event of a kind or version this code does not know, kept as it came.
            Unknown(Unknown),
        }

        impl Event {
            /// Its kind; `None` when unknown.
            pub const fn kind(&self) -> Option<EventKind> {
                match self {
                    $(Self::$kind(_) => Some(EventKind::$kind),)*
                    Self::Unknown(_) => None,
                }
            }

            /// The ordering key: the id of the conversation, user, room or file it is about.
            pub fn key(&self) -> String {
                match self {
                    $(Self::$kind(_payload) => key!($key, _payload, $wire),)*
                    Self::Unknown(unknown) => &unknown.key,
                }
                .to_owned()
            }

            /// Reads `{"data": …}` as the payload of a kind.
            pub(super) fn from_json(kind: EventKind, text: &str) -> serde_json::Result<Self> {
                match kind {
                    $(EventKind::$kind => {
                        serde_json::from_str(text).map(|body: Body<$kind>| Self::$kind(body.data))
                    })*
                }
            }
        }

        impl Serialize for Event {
            /// Writes the payload alone.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$kind(payload) => payload.serialize(serializer),)*
                    Self::Unknown(unknown) => unknown.data.serialize(serializer),
                }
            }
        }

        $(impl From<$kind> for Event {
            fn from(payload: $kind) -> Self {
                Self::$kind(payload)
            }
        })*

        impl From<Unknown> for Event {
            fn from(unknown: Unknown) -> Self {
                Self::Unknown(unknown)
            }
        }
    };
}

events! {
    MessageSent = 1 "message.sent" v1 MessagesPrivate key(conversation) durable,
    MessageDelivered = 2 "message.delivered" v1 Delivered key(conversation) durable,
    MessageRead = 3 "message.read" v1 Read key(conversation) durable,
    MessageUnread "message.unread" v1 Read key(conversation) durable,
    MessageEdited = 4 "message.edited" v1 Messages key(conversation) durable,
    MessageDeleted = 5 "message.deleted" v1 Messages key(conversation) durable,
    ConversationCreated = 6 "conversation.created" v1 Conversations key(conversation) durable,
    ParticipantAdded = 7 "conversation.participant.added" v1 Conversations key(conversation) durable,
    ParticipantRemoved = 8 "conversation.participant.removed" v1 Conversations key(conversation) durable,
    ParticipantLeft = 9 "conversation.participant.left" v1 Conversations key(conversation) durable,
    ConversationNameUpdated = 10 "conversation.name.updated" v1 Conversations key(conversation) durable,
    ConversationAvatarUpdated = 11 "conversation.avatar.updated" v1 Conversations key(conversation) durable,
    ConversationArchived = 12 "conversation.archived" v1 Conversations key(conversation) durable,
    ConversationUnarchived = 13 "conversation.unarchived" v1 Conversations key(conversation) durable,
    ConversationMuted = 14 "conversation.muted" v1 Conversations key(conversation) durable,
    ConversationUnmuted = 15 "conversation.unmuted" v1 Conversations key(conversation) durable,
    ConversationPinned = 16 "conversation.pinned" v1 Conversations key(conversation) durable,
    ConversationUnpinned = 17 "conversation.unpinned" v1 Conversations key(conversation) durable,
    FileUploaded = 18 "file.uploaded" v1 Files key(file) durable,
    FileDeleted = 19 "file.deleted" v1 Files key(file) durable,
    TypingStarted = 20 "typing.started" v1 Typing key(conversation) ephemeral,
    TypingStopped = 21 "typing.stopped" v1 Typing key(conversation) ephemeral,

    MessageReactionAdded "message.reaction.added" v1 Messages key(conversation) durable,
    MessageReactionRemoved "message.reaction.removed" v1 Messages key(conversation) durable,
    MessagePinned "message.pinned" v1 Messages key(conversation) durable,
    MessageUnpinned "message.unpinned" v1 Messages key(conversation) durable,
    MessageRejected "message.rejected" v1 Notifications key(user) ephemeral,

    ParticipantRoleChanged "conversation.participant.role.changed" v1 Conversations key(conversation) durable,
    ConversationDeleted "conversation.deleted" v1 Conversations key(conversation) durable,
    ConversationUnread "conversation.unread" v1 Unread key(user) ephemeral,

    FileDownloaded "file.downloaded" v1 Files key(file) durable,
    MediaReady "media.ready" v1 Files key(file) durable,
    MediaRejected "media.rejected" v1 Files key(file) durable,

    UserProfileCreated "user.profile.created" v1 Users key(user) durable,
    UserProfileUpdated "user.profile.updated" v1 Users key(user) durable,
    UserProfileDeleted "user.profile.deleted" v1 Users key(user) durable,
    PresenceOnline "user.online" v1 Presence key(user) latest,
    PresenceOffline "user.offline" v1 Presence key(user) latest,
    PresenceIdle "user.idle" v1 Presence key(user) latest,

    RoomCreated "room.created" v1 Rooms key(room) durable,
    RoomRenamed "room.renamed" v1 Rooms key(room) durable,
    RoomStatusChanged "room.status.changed" v1 Rooms key(room) durable,
    RoomSettingsChanged "room.settings.changed" v1 Rooms key(room) durable,
    RoomPermissionsUpdated "room.permissions.updated" v1 Rooms key(room) durable,
    RoomParticipantAdded "room.participant.added" v1 Rooms key(room) durable,
    RoomParticipantRemoved "room.participant.removed" v1 Rooms key(room) durable,
    RoomParticipantRoleChanged "room.participant.role.changed" v1 Rooms key(room) durable,
    RoomParticipantBanned "room.participant.banned" v1 Rooms key(room) durable,
    RoomParticipantUnbanned "room.participant.unbanned" v1 Rooms key(room) durable,
    RoomParticipantMuted "room.participant.muted" v1 Rooms key(room) durable,
    RoomParticipantUnmuted "room.participant.unmuted" v1 Rooms key(room) durable,
    RoomIdle "room.idle" v1 Rooms key(room) durable,
    RoomArchived "room.archived" v1 Rooms key(room) durable,
    RoomUnarchived "room.unarchived" v1 Rooms key(room) durable,
    RoomDeleted "room.deleted" v1 Rooms key(room) durable,

    ChatModerationContentFlagged "chat.moderation.content.flagged" v1 Moderation key(room) durable,
    ChatModerationAction "chat.moderation.action" v1 Moderation key(room) durable,
    ChatMessageDeleted "chat.message.deleted" v1 Moderation key(room) durable,
    ChatNotificationCreated "chat.notification.created" v1 Notifications key(user) durable,
    ChatRecoveryDetected "chat.recovery.detected" v1 System key(kind) durable,
    ChatRecoveryCompleted "chat.recovery.completed" v1 System key(kind) durable,

    ModerationReportOpened "moderation.report.opened" v1 Moderation key(room) durable,
    ModerationReportAssigned "moderation.report.assigned" v1 Moderation key(room) durable,
    ModerationReportResolved "moderation.report.resolved" v1 Moderation key(room) durable,
    ModerationReportDismissed "moderation.report.dismissed" v1 Moderation key(room) durable,

    ExportProgress "export.progress" v1 Exports key(user) ephemeral,
    ExportCompleted "export.completed" v1 Exports key(user) durable,
    ExportFailed "export.failed" v1 Exports key(user) durable,

    SyncInconsistencyDetected "sync.inconsistency.detected" v1 System key(room) durable,
    SyncInconsistencyRepaired "sync.inconsistency.repaired" v1 System key(room) durable,
    SyncRoomFrozen "sync.room.frozen" v1 System key(room) durable,
    SyncRoomResumed "sync.room.resumed" v1 System key(room) durable,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// The wire name.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown(unknown) => &unknown.name,
            known => known.kind().map_or("", EventKind::as_str),
        }
    }

    /// The version of the payload.
    pub fn version(&self) -> u32 {
        match self {
            Self::Unknown(unknown) => unknown.version,
            known => known.kind().map_or(0, EventKind::version),
        }
    }

    /// Reads `{"data": …}` as it is.
    pub(super) fn data_from_json(text: &str) -> serde_json::Result<Value> {
        serde_json::from_str(text).map(|body: Body<Value>| body.data)
    }

    /// The topic it belongs to.
    pub fn topic(&self) -> Topic {
        match self {
            Self::MessageSent(sent) if sent.kind == MessageKind::System => Topic::MessagesSystem,
            Self::MessageSent(sent) if sent.conversation_kind == ConversationKind::Direct => {
                Topic::MessagesPrivate
            }
            Self::MessageSent(_) => Topic::MessagesGroup,
            Self::Unknown(unknown) => unknown.topic(),
            known => known.kind().map_or(Topic::System, EventKind::topic),
        }
    }
}

/// The part of a written envelope that depends on the kind.
#[derive(Deserialize)]
struct Body<T> {
    data: T,
}

/// An event of a kind or version this code does not know. It is written again exactly as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its wire name.
    pub name: String,
    /// The version of its payload; 0 when the writer gave none.
    pub version: u32,
    /// Its ordering key.
    pub key: String,
    /// Its payload.
    pub data: Value,
    /// The fields of the entry it was read from; none if made here.
    pub(super) entry: Vec<(Cow<'static, str>, String)>,
    /// The envelope it was read from; none if made here or by a writer that has none.
    pub(super) envelope: Option<String>,
}

impl Unknown {
    /// An event made here rather than read.
    pub fn new(name: impl Into<String>, version: u32, key: impl Into<String>, data: Value) -> Self {
        Self { name: name.into(), version, key: key.into(), data, entry: Vec::new(), envelope: None }
    }

    /// The topic its name belongs to, as far as that can be told.
    fn topic(&self) -> Topic {
        if let Some(kind) = EventKind::from_wire(&self.name) {
            return kind.topic();
        }
        match self.name.split(['.', '_', ':']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "message" => Topic::Messages,
            "conversation" | "participant" => Topic::Conversations,
            "file" | "media" => Topic::Files,
            "typing" => Topic::Typing,
            "user" => Topic::Users,
            "room" => Topic::Rooms,
            "moderation" | "chat" => Topic::Moderation,
            "notification" => Topic::Notifications,
            "export" => Topic::Exports,
            _ => Topic::System,
        }
    }
}

/// Asks a derived `Deserialize` which fields it reads, so that no list of them can grow old.
mod probe {
    use std::fmt;

    use serde::de::{self, Deserialize, Deserializer, Visitor};
    use serde::forward_to_deserialize_any;

    /// Stops deserialisation at its first question, keeping the answer.
    #[derive(Debug)]
    struct Names(&'static [&'static str]);

    impl fmt::Display for Names {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("only the names of the fields were asked for")
        }
    }

    impl std::error::Error for Names {}

    impl de::Error for Names {
        fn custom<T: fmt::Display>(_: T) -> Self {
            Self(&[])
        }
    }

    struct Probe;

    impl<'de> Deserializer<'de> for Probe {
        type Error = Names;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
            Err(Names(&[]))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Names> {
            Err(Names(fields))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// The names of the fields of `T`, in the order they are declared.
    pub(super) fn fields_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
        match T::deserialize(Probe) {
            Err(Names(fields)) => fields,
            Ok(_) => &[],
        }
    }
}
