//! Entries as the Node services write them: the audit format of seed 000, the later dialects, and seed 002's
//! profiles.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::{Entry, Origin, PAYLOAD, Undecodable, flat};
use crate::clock::Timestamp;
use crate::domain::id::Id;
use crate::domain::{
    ConversationId, ConversationKind, Mentions, MessageId, MessageKind, ReadPosition, RoomRole, Seq, UserId,
};
use crate::event::payload::*;
use crate::event::{Envelope, Event, EventKind, Unknown};

/// Reads an entry without an envelope; `object` is its `payload`, if it has one.
pub(super) fn decode(
    entry: Entry,
    object: Map<String, Value>,
    origin: Origin<'_>,
) -> Result<Envelope, Undecodable> {
    let foreign = Foreign::new(&entry, object, origin);
    let Some(name) = foreign.name() else {
        return Err(Undecodable::new("neither an envelope nor a name"));
    };
    let at = foreign.time(&["timestamp", "ts", "publishedAt"]);
    let event = match foreign.kind(&name).map(|kind| foreign.event(kind)).transpose()?.flatten() {
        Some(event) => event,
        None => Event::Unknown(Unknown { entry, ..foreign.unknown(name) }),
    };
    let sent = match &event {
        Event::MessageSent(sent) => Some(sent.message_id.clone()),
        _ => None,
    };
    Ok(match sent {
        Some(message) => Envelope::new(&[message.as_str()], at, event),
        None => Envelope::new(&[origin.stream, origin.entry], at, event),
    })
}

/// The fields of one entry, all text.
struct Foreign<'a> {
    fields: HashMap<String, String>,
    origin: Origin<'a>,
}

impl<'a> Foreign<'a> {
    fn new(entry: &Entry, object: Map<String, Value>, origin: Origin<'a>) -> Self {
        let beside = entry.iter().filter(|(name, _)| name != PAYLOAD);
        let mut fields: HashMap<_, _> =
            beside.map(|(name, value)| (name.to_string(), value.clone())).collect();
        fields.extend(object.into_iter().map(|(name, value)| (name, flat(value))));
        Self { fields, origin }
    }

    /// A field that says something: the services write what they lack as an empty text.
    fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|text| !matches!(*text, "" | "null" | "undefined"))
    }

    fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    fn text(&self, names: &[&str]) -> String {
        self.any(names).unwrap_or_default().to_owned()
    }

    fn maybe_text(&self, names: &[&str]) -> Option<String> {
        self.any(names).map(str::to_owned)
    }

    fn maybe_id<K>(&self, names: &[&str]) -> Result<Option<Id<K>>, Undecodable> {
        self.any(names)
            .map(|text| {
                Id::new(text).map_err(|_| Undecodable::new(format!("{} is no id", names.join(" or "))))
            })
            .transpose()
    }

    fn id<K>(&self, names: &[&str]) -> Result<Id<K>, Undecodable> {
        self.maybe_id(names)?.ok_or_else(|| Undecodable::new(format!("no {}", names.join(" or "))))
    }

    fn conversation(&self) -> Result<ConversationId, Undecodable> {
        self.id(&["conversationId"])
    }

    /// Who changed a conversation, or an own setting of it.
    fn changer(&self) -> Result<UserId, Undecodable> {
        self.id(&["updatedBy", "userId"])
    }

    fn number(&self, names: &[&str]) -> u64 {
        self.any(names).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn json(&self, name: &str) -> Value {
        self.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The first of these that is a time, in milliseconds or ISO 8601; else when the entry was written.
    fn time(&self, names: &[&str]) -> Timestamp {
        let entry = self.origin.entry.split('-').next().unwrap_or_default();
        let known = names.iter().chain(&["timestamp", "ts"]).find_map(|name| time(self.get(name)?));
        known.or_else(|| time(entry)).unwrap_or_default()
    }

    /// What the entry calls itself, or what its fields give away.
    fn name(&self) -> Option<Cow<'static, str>> {
        if let Some(name) = self.any(&["event", "eventType"]) {
            return Some(Cow::Owned(name.to_owned()));
        }
        let has = |names: &[&str]| names.iter().all(|name| self.get(name).is_some());
        let status = self.get("status").map(str::to_ascii_uppercase);
        Some(Cow::Borrowed(match status.as_deref() {
            _ if has(&["replyId", "messageId"]) => "MESSAGE_REPLIED",
            _ if has(&["reaction", "action", "messageId"]) => match self.get("action") {
                Some("remove") => "message.reaction.removed",
                _ => "message.reaction.added",
            },
            _ if has(&["messageId"]) && self.fields.contains_key("content") => "message.sent",
            _ if has(&["isTyping", "conversationId"]) => "TYPING_STARTED",
            Some("DELIVERED") => "message.delivered",
            Some("READ") => "message.read",
            Some("EDITED") => "message.edited",
            Some("DELETED") => "message.deleted",
            _ if has(&["userId", "title", "message"]) => "chat.notification.created",
            _ => return None,
        }))
    }

    /// The kind behind any of the names the services have used.
    fn kind(&self, name: &str) -> Option<EventKind> {
        let typing_ended = self.get("isTyping") == Some("false");
        Some(match name {
            "NEW_MESSAGE" | "EXISTING_MESSAGE" | "SYSTEM_MESSAGE" | "message.created" => {
                EventKind::MessageSent
            }
            "MESSAGE_REPLIED" if self.get("conversationId").is_some() => EventKind::MessageSent,
            "MESSAGES_DELIVERED" => EventKind::MessageDelivered,
            "MESSAGES_READ" => EventKind::MessageRead,
            "typing:start" | "typing:refresh" | "typing.started" | "TYPING_STARTED" if typing_ended => {
                EventKind::TypingStopped
            }
            "typing:start" | "typing:refresh" => EventKind::TypingStarted,
            "typing:stop" => EventKind::TypingStopped,
            "user:profile:synced" => EventKind::UserProfileUpdated,
            "CONVERSATION_UPDATED" if self.get("name").is_some() => EventKind::ConversationNameUpdated,
            "CONVERSATION_UPDATED" if self.json("changes").get("avatar").is_some() => {
                EventKind::ConversationAvatarUpdated
            }
            // MESSAGE_EDITED is message.edited, PARTICIPANT_ADDED is conversation.participant.added.
            other => {
                let dotted = other.to_ascii_lowercase().replace(['_', ':'], ".");
                let prefix = if dotted.starts_with("participant.") { "conversation." } else { "" };
                return EventKind::from_wire(&format!("{prefix}{dotted}"));
            }
        })
    }

    /// The event, or none when the services never wrote this kind, or not enough of it.
    fn event(&self, kind: EventKind) -> Result<Option<Event>, Undecodable> {
        Ok(Some(match kind {
            EventKind::MessageSent => self.message_sent()?.into(),
            EventKind::MessageDelivered => MessageDelivered {
                conversation_id: self.conversation()?,
                user_id: self.reader()?,
                up_to_seq: Seq(self.number(&["upToSeq"])),
                message_ids: self.covered()?,
                timestamp: self.time(&[]),
            }
            .into(),
            EventKind::MessageRead => MessageRead {
                conversation_id: self.conversation()?,
                reader_id: self.reader()?,
                up_to_seq: Seq(self.number(&["upToSeq"])),
                message_ids: self.covered()?,
                modified_count: self.number(&["modifiedCount", "messageCount"]),
                read_at: self.time(&["readAt"]),
                position: ReadPosition::at(Seq(self.number(&["upToSeq"]))),
            }
            .into(),
            EventKind::MessageEdited => MessageEdited {
                message_id: self.id(&["messageId"])?,
                conversation_id: self.conversation()?,
                seq: Seq(self.number(&["seq"])),
                editor_id: self.id(&["editorId", "userId"])?,
                new_content: self.raw(&["newContent", "messageContent"]),
                mentions: Mentions::default(),
                revision: u32::try_from(self.number(&["revision"])).unwrap_or_default(),
                edited_at: self.time(&["editedAt"]),
            }
            .into(),
            EventKind::MessageDeleted => MessageDeleted {
                message_id: self.id(&["messageId"])?,
                conversation_id: self.conversation()?,
                seq: Seq(self.number(&["seq"])),
                deleter_id: self.maybe_id(&["deleterId"])?,
                delete_type: match self.get("deleteType") {
                    Some("FOR_ME") => DeleteType::ForMe,
                    _ => DeleteType::ForEveryone,
                },
                deleted_at: self.time(&["deletedAt"]),
            }
            .into(),
            EventKind::MessageReactionAdded | EventKind::MessageReactionRemoved => {
                return self.reaction(kind);
            }
            EventKind::ConversationCreated => {
                let participants = self.users("participants");
                let count =
                    self.number(&["participantCount"]).max(u64::try_from(participants.len()).unwrap_or(0));
                ConversationCreated {
                    conversation_id: self.conversation()?,
                    kind: self.conversation_kind().unwrap_or(ConversationKind::Group),
                    created_by: self.id(&["createdBy"])?,
                    participants: participants.into_iter().take(MAX_NAMED_PARTICIPANTS).collect(),
                    participant_count: count,
                    name: self.maybe_text(&["name"]),
                }
                .into()
            }
            EventKind::ParticipantAdded => ParticipantAdded {
                conversation_id: self.conversation()?,
                participant_id: self.id(&["participantId"])?,
                participant_name: self.maybe_text(&["participantName"]),
                added_by: self.id(&["addedBy"])?,
                role: self.role("role"),
                added_at: self.time(&["addedAt"]),
                total_participants: self.total_participants(),
                version: self.number(&["version"]),
            }
            .into(),
            EventKind::ParticipantRemoved => ParticipantRemoved {
                conversation_id: self.conversation()?,
                participant_id: self.id(&["participantId"])?,
                participant_name: self.maybe_text(&["participantName"]),
                removed_by: self.id(&["removedBy"])?,
                removed_at: self.time(&["removedAt"]),
                total_participants: self.total_participants(),
                version: self.number(&["version"]),
            }
            .into(),
            EventKind::ParticipantLeft => ParticipantLeft {
                conversation_id: self.conversation()?,
                participant_id: self.id(&["participantId"])?,
                participant_name: self.maybe_text(&["participantName"]),
                left_at: self.time(&["leftAt"]),
                total_participants: self.total_participants(),
                version: self.number(&["version"]),
            }
            .into(),
            EventKind::ConversationNameUpdated => ConversationNameUpdated {
                conversation_id: self.conversation()?,
                name: self.text(&["name"]),
                updated_by: self.changer()?,
                version: self.number(&["version"]),
            }
            .into(),
            EventKind::ConversationAvatarUpdated => ConversationAvatarUpdated {
                conversation_id: self.conversation()?,
                avatar: self.maybe_text(&["avatar"]).or_else(|| {
                    self.json("changes").get("avatar").and_then(Value::as_str).map(str::to_owned)
                }),
                updated_by: self.changer()?,
                version: self.number(&["version"]),
            }
            .into(),
            EventKind::ConversationDeleted => ConversationDeleted {
                conversation_id: self.conversation()?,
                deleted_by: self.maybe_id(&["deletedBy"])?,
                deleted_at: self.time(&["deletedAt"]),
            }
            .into(),
            EventKind::ConversationArchived => {
                ConversationArchived { conversation_id: self.conversation()?, user_id: self.changer()? }
                    .into()
            }
            EventKind::ConversationUnarchived => {
                ConversationUnarchived { conversation_id: self.conversation()?, user_id: self.changer()? }
                    .into()
            }
            EventKind::ConversationMuted => ConversationMuted {
                conversation_id: self.conversation()?,
                user_id: self.changer()?,
                until: self.get("until").and_then(time),
            }
            .into(),
            EventKind::ConversationUnmuted => {
                ConversationUnmuted { conversation_id: self.conversation()?, user_id: self.changer()? }.into()
            }
            EventKind::ConversationPinned => {
                ConversationPinned { conversation_id: self.conversation()?, user_id: self.changer()? }.into()
            }
            EventKind::ConversationUnpinned => {
                ConversationUnpinned { conversation_id: self.conversation()?, user_id: self.changer()? }
                    .into()
            }
            EventKind::FileUploaded => FileUploaded {
                file_id: self.id(&["fileId"])?,
                conversation_id: self.conversation()?,
                uploaded_by: self.id(&["uploadedBy", "userId"])?,
                file_name: self.text(&["fileName", "originalName"]),
                original_name: self.text(&["originalName", "fileName"]),
                mime_type: self.text(&["mimeType"]),
                size: self.number(&["size", "fileSize"]),
                url: self.maybe_text(&["url"]),
            }
            .into(),
            EventKind::FileDeleted => FileDeleted {
                file_id: self.id(&["fileId"])?,
                conversation_id: self.conversation()?,
                deleter_id: self.maybe_id(&["deleterId", "userId"])?,
                original_name: self.text(&["originalName", "fileName"]),
                mime_type: self.text(&["mimeType"]),
                size: self.number(&["size", "fileSize"]),
                deleted_at: self.time(&["deletedAt"]),
                physical_delete: self.get("physicalDelete") == Some("true"),
            }
            .into(),
            EventKind::FileDownloaded => FileDownloaded {
                file_id: self.id(&["fileId"])?,
                conversation_id: self.maybe_id(&["conversationId"])?,
                user_id: self.id(&["userId"])?,
                file_name: self.text(&["fileName"]),
                file_size: self.number(&["fileSize", "size"]),
            }
            .into(),
            EventKind::TypingStarted => TypingStarted {
                conversation_id: self.conversation()?,
                user_id: self.id(&["userId", "senderId"])?,
                thread: None,
            }
            .into(),
            EventKind::TypingStopped => TypingStopped {
                conversation_id: self.conversation()?,
                user_id: self.id(&["userId", "senderId"])?,
                thread: None,
            }
            .into(),
            EventKind::UserProfileCreated => {
                let UserProfileUpdated { user_id, full_name, avatar, matricule, ministere, sexe, updated_at } =
                    self.profile()?;
                UserProfileCreated { user_id, full_name, avatar, matricule, ministere, sexe, updated_at }
                    .into()
            }
            EventKind::UserProfileUpdated => self.profile()?.into(),
            EventKind::UserProfileDeleted => UserProfileDeleted {
                user_id: self.id(&["userId", "id", "matricule"])?,
                matricule: self.maybe_text(&["matricule"]),
            }
            .into(),
            EventKind::ChatNotificationCreated => ChatNotificationCreated {
                notification_id: self
                    .maybe_text(&["notificationId"])
                    .unwrap_or_else(|| self.origin.entry.to_owned()),
                user_id: self.id(&["userId"])?,
                kind: self.maybe_text(&["type"]).unwrap_or_else(|| "system".to_owned()),
                priority: Priority::default(),
                title: self.maybe_text(&["title"]),
                content: self.maybe_text(&["message", "content"]),
                room_id: self.maybe_id(&["roomId", "conversationId"])?,
                message_id: self.maybe_id(&["messageId"])?,
            }
            .into(),
            _ => return Ok(None),
        }))
    }

    fn message_sent(&self) -> Result<MessageSent, Undecodable> {
        let receiver_id = self.maybe_id(&["receiverId"])?;
        let kind: MessageKind = self
            .get("type")
            .and_then(|kind| serde_json::from_value(kind.to_ascii_uppercase().into()).ok())
            .unwrap_or_default();
        let grouped = kind == MessageKind::System || self.origin.stream.contains("group");
        let conversation_kind = match receiver_id {
            _ if self.origin.stream.contains("channel") => ConversationKind::Channel,
            Some(_) if !grouped => ConversationKind::Direct,
            _ => ConversationKind::Group,
        };
        let mut metadata: BTreeMap<_, _> = match self.json("metadata") {
            Value::Object(members) => members.into_iter().map(|(name, value)| (name, flat(value))).collect(),
            _ => BTreeMap::new(),
        };
        for name in ["subType", "senderName"] {
            if let Some(value) = self.get(name) {
                metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        let reply = self.maybe_id(&["replyId"])?;
        let answered = self.maybe_id(&["messageId"])?;
        let (message_id, reply_to) = match (reply, answered) {
            (Some(reply), answered) => (reply, answered),
            (None, Some(message)) => (message, self.maybe_id(&["replyTo"])?),
            (None, None) => return Err(Undecodable::new("no messageId")),
        };
        Ok(MessageSent {
            message_id,
            conversation_id: self.conversation()?,
            conversation_kind,
            seq: Seq(self.number(&["seq"])),
            sender_id: self.maybe_id(&["senderId", "userId"])?,
            receiver_id,
            kind,
            content: self.raw(&["content"]),
            attachments: Vec::new(),
            reply_to,
            thread: None,
            mentions: Mentions::default(),
            silent: false,
            metadata,
            client_key: self.maybe_id(&["temporaryId"])?,
            timestamp: self.time(&["timestamp", "createdAt"]),
        })
    }

    /// Reactions are written without a conversation; then there is nothing to order them by.
    fn reaction(&self, kind: EventKind) -> Result<Option<Event>, Undecodable> {
        let Some(conversation_id) = self.maybe_id(&["conversationId"])? else { return Ok(None) };
        let message_id = self.id(&["messageId"])?;
        let seq = Seq(self.number(&["seq"]));
        let user_id = self.id(&["userId"])?;
        let emoji = self.text(&["reaction", "emoji"]);
        let count = self.number(&["count"]);
        Ok(Some(if kind == EventKind::MessageReactionAdded {
            MessageReactionAdded { message_id, conversation_id, seq, user_id, emoji, count }.into()
        } else {
            MessageReactionRemoved { message_id, conversation_id, seq, user_id, emoji, count }.into()
        }))
    }

    fn profile(&self) -> Result<UserProfileUpdated, Undecodable> {
        let nested = match self.json("data") {
            Value::Object(mut data) => {
                // The event's own name and user win over what the record says.
                data.remove("event");
                if self.get("userId").is_some() {
                    data.remove("userId");
                }
                let mut fields = self.fields.clone();
                fields.extend(data.into_iter().map(|(name, value)| (name, flat(value))));
                Some(Foreign { fields, origin: self.origin })
            }
            _ => None,
        };
        let entry = nested.as_ref().unwrap_or(self);
        let both = format!("{} {}", entry.text(&["prenom"]), entry.text(&["nom"]));
        let full_name = entry
            .maybe_text(&["fullName"])
            .or_else(|| Some(both.trim().to_owned()).filter(|name| !name.is_empty()))
            .or_else(|| entry.maybe_text(&["name"]))
            .unwrap_or_else(|| "Utilisateur inconnu".to_owned());
        Ok(UserProfileUpdated {
            user_id: entry.id(&["userId", "id", "matricule"])?,
            full_name,
            avatar: entry.maybe_text(&["avatar", "profile_pic"]),
            matricule: entry.maybe_text(&["matricule"]),
            ministere: entry.maybe_text(&["ministere"]),
            sexe: entry.maybe_text(&["sexe"]),
            updated_at: entry.time(&["updatedAt"]),
        })
    }

    /// An entry with a name and nothing we know to do with it.
    fn unknown(&self, name: Cow<'_, str>) -> Unknown {
        let key = self
            .any(&["conversationId", "roomId", "userId", "fileId", "messageId"])
            .unwrap_or(&name)
            .to_owned();
        let data =
            self.fields.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        Unknown::new(name.into_owned(), 0, key, Value::Object(data))
    }

    /// Text that may be empty, or say `null`.
    fn raw(&self, names: &[&str]) -> String {
        names.iter().find_map(|name| self.fields.get(*name)).cloned().unwrap_or_default()
    }

    /// Who received or read. The services name the author instead, so the one other participant is meant.
    fn reader(&self) -> Result<UserId, Undecodable> {
        if let Some(reader) = self.maybe_id(&["readerId"])? {
            return Ok(reader);
        }
        let author: UserId = self.id(&["userId"])?;
        let mut others = self.users("participants").into_iter().filter(|user| *user != author);
        Ok(match (others.next(), others.next()) {
            (Some(other), None) => other,
            _ => author,
        })
    }

    /// The messages a receipt covers: a list, `ALL`, a single one; a bulk receipt names none and covers all.
    fn covered(&self) -> Result<CoveredIds, Undecodable> {
        if self.get("messageIds") == Some("ALL") {
            return Ok(CoveredIds::All);
        }
        match self.json("messageIds") {
            Value::Array(ids) => ids
                .iter()
                .filter_map(Value::as_str)
                .map(|id| {
                    MessageId::new(id)
                        .map_err(|_| Undecodable::new("messageIds holds something that is no id"))
                })
                .collect::<Result<_, _>>(),
            Value::String(all) if all == "ALL" => Ok(CoveredIds::All),
            _ => Ok(match self.maybe_id(&["messageId"])? {
                Some(id) => CoveredIds::Ids(vec![id]),
                None => CoveredIds::All,
            }),
        }
    }

    /// Users in a JSON list, of ids or of objects that have one.
    fn users(&self, name: &str) -> Vec<UserId> {
        let Value::Array(users) = self.json(name) else { return Vec::new() };
        let id = |user: Value| match user {
            Value::Object(mut members) => {
                ["userId", "id", "_id"].iter().find_map(|name| members.remove(*name))
            }
            plain => Some(plain),
        };
        users.into_iter().filter_map(id).filter_map(|id| UserId::new(flat(id)).ok()).collect()
    }

    fn total_participants(&self) -> u64 {
        self.number(&["totalParticipants"]).max(u64::try_from(self.users("participants").len()).unwrap_or(0))
    }

    fn conversation_kind(&self) -> Option<ConversationKind> {
        serde_json::from_value(self.get("type")?.into()).ok()
    }

    fn role(&self, name: &str) -> RoomRole {
        self.get(name)
            .and_then(|role| serde_json::from_value(role.to_ascii_lowercase().into()).ok())
            .unwrap_or_default()
    }
}

/// A time in milliseconds, of at most 14 digits (the year 5138), or in ISO 8601.
fn time(text: &str) -> Option<Timestamp> {
    match text.parse() {
        Ok(millis) if text.len() <= 14 => Some(Timestamp::from_millis(millis)),
        _ => text.parse().ok(),
    }
}
