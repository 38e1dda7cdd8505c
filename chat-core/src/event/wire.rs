//! How events are written on streams, and read from them.
//!
//! [`encode_flat`] writes the flat fields the Node services read, plus one field `payload` with the versioned
//! envelope `{id, name, v, at, key, trace?, data}`; [`encode_payload`] writes the envelope alone. [`decode`]
//! reads either, and entries the Node services wrote themselves.
//!
//! Flat values are text: arrays and objects as JSON, `timestamp` in milliseconds. Some kinds are written as the
//! services do: `message.sent` is called `NEW_MESSAGE` and has its `timestamp` in ISO 8601; `typing.started` and
//! `typing.stopped` are called `typing:start` and `typing:stop`; `user.profile.*` has the one field `payload`,
//! in which the envelope stands under `envelope` beside seed 002's members.
//!
//! # Foreign entries
//! What a Node service wrote becomes the nearest event. Its id follows from where the entry stands
//! ([`Origin`]), so reading it again gives the same id; a `message.sent` takes its id from the message,
//! because the services copy and repeat it. What they do not say is filled in:
//!
//! | missing | becomes |
//! |---|---|
//! | sequence numbers, versions, revisions, counts | zero |
//! | any time | the entry's `timestamp`, else the time in the entry's id |
//! | a message's kind of conversation | direct with a receiver, unless from a group's stream; else group |
//! | who received or read: the services name the author | the one other participant, else the author |
//! | who edited | the user named |
//! | who deleted | nobody |
//! | how it was deleted | for everyone |
//! | a full name | `prenom nom`, else `name`, else `Utilisateur inconnu`, as in seed 002 |
//!
//! An entry with a name but no such mapping becomes [`Event::Unknown`] of version 0, and so do reactions and
//! replies without a conversation.

mod foreign;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::envelope::Envelope;
use super::kind::{Event, EventKind, Unknown};
use super::payload::MessageSent;
use crate::clock::Timestamp;
use crate::domain::{EventId, MessageKind};
use crate::error::{Code, Error};

/// The field that holds the envelope.
const PAYLOAD: &str = "payload";
/// The member of seed 002's payload that holds it.
const ENVELOPE: &str = "envelope";

/// The fields of an entry, in order.
type Entry = Vec<(Cow<'static, str>, String)>;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The entry's id there, such as `1736862000123-0`.
    pub entry: &'a str,
}

/// An entry that is no event. The reason holds names and places, never message text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Why it could not be read, in plain English.
    pub reason: String,
}

impl Undecodable {
    /// An entry that could not be read, and why.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an event: {}", self.reason)
    }
}

impl std::error::Error for Undecodable {}

impl From<Undecodable> for Error {
    fn from(undecodable: Undecodable) -> Self {
        Self::new(Code::DataCorrupt).caused_by(undecodable)
    }
}

/// The envelope as written; its `data`, which comes last, may be added as text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    id: &'a EventId,
    name: &'a str,
    v: u32,
    at: Timestamp,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Event>,
}

/// The envelope as read, but for its `data`.
#[derive(Deserialize)]
struct Header {
    id: EventId,
    name: String,
    v: u32,
    at: Timestamp,
    key: String,
    trace: Option<String>,
}

/// The versioned envelope, as JSON. An unknown event comes out as it was read.
pub fn encode_payload(envelope: &Envelope) -> String {
    match &envelope.event {
        Event::Unknown(Unknown { envelope: Some(read), .. }) => read.clone(),
        _ => written(envelope),
    }
}

/// The flat fields, in order, the last being the envelope. An unknown event comes out as it was read.
pub fn encode_flat(envelope: &Envelope) -> Vec<(Cow<'static, str>, String)> {
    let event = &envelope.event;
    let mut fields: Entry = Vec::new();
    match event {
        Event::Unknown(unknown) if !unknown.entry.is_empty() => return unknown.entry.clone(),
        Event::Unknown(unknown) => fields.push(("event".into(), unknown.name.clone())),
        Event::UserProfileCreated(_) | Event::UserProfileUpdated(_) | Event::UserProfileDeleted(_) => {
            return vec![(PAYLOAD.into(), profile_payload(envelope))];
        }
        Event::MessageSent(sent) => fields.extend(message_fields(sent)),
        known => {
            let (names, data) = (known.kind().map(columns).unwrap_or_default(), json(known));
            fields.reserve_exact(names.len() + 3);
            fields.push(("event".into(), seed_name(known).to_owned()));
            let values = Columns(names).deserialize(&mut serde_json::Deserializer::from_str(&data));
            let names = names.iter().map(|name| Cow::Borrowed(*name));
            fields.extend(names.zip(values.unwrap_or_default()));
            fields.push(("timestamp".into(), envelope.at.as_millis().to_string()));
            fields.push((PAYLOAD.into(), around(envelope, &data)));
            return fields;
        }
    }
    fields.push((PAYLOAD.into(), written(envelope)));
    fields
}

/// Some members of a JSON object as they are written flat, in this order; the others are passed over.
struct Columns(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Columns {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Columns {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<String>, A::Error> {
        let mut values = vec![String::new(); self.0.len()];
        while let Some(name) = members.next_key::<&str>()? {
            match self.0.iter().position(|column| *column == name).and_then(|nth| values.get_mut(nth)) {
                Some(value) => *value = flat(members.next_value()?),
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// Reads an entry of a stream: ours in either encoding, or one the Node services wrote.
///
/// # Errors
/// [`Undecodable`] when it is no event, or a known one with a payload that does not fit. Unknown kinds and
/// newer versions are no error: they become [`Event::Unknown`].
pub fn decode(
    fields: &[(impl AsRef<str>, impl AsRef<[u8]>)],
    origin: Origin<'_>,
) -> Result<Envelope, Undecodable> {
    let entry = || {
        let owned = |(name, value): &(_, _)| {
            Ok((Cow::Owned(AsRef::<str>::as_ref(name).to_owned()), text(value)?.to_owned()))
        };
        fields.iter().map(owned).collect::<Result<Entry, _>>()
    };
    let Some((_, payload)) = fields.iter().find(|(name, _)| name.as_ref() == PAYLOAD) else {
        return foreign::decode(entry()?, Map::new(), origin);
    };
    let payload = text(payload)?;
    if let Ok(header) = serde_json::from_str(payload) {
        return ours(header, payload, entry);
    }
    let Ok(Value::Object(mut object)) = serde_json::from_str(payload) else {
        return Err(Undecodable::new("payload is not a JSON object"));
    };
    if let Some(envelope) = object.remove(ENVELOPE) {
        let envelope = envelope.to_string();
        let header = serde_json::from_str(&envelope).map_err(|e| misfit("the envelope", &e))?;
        return ours(header, &envelope, entry);
    }
    if ["name", "v", "data"].iter().all(|member| object.contains_key(*member)) {
        return Err(Undecodable::new("an envelope with a member missing or damaged"));
    }
    foreign::decode(entry()?, object, origin)
}

/// Reads a payload that stands alone, such as the value of a Kafka record.
///
/// # Errors
/// As [`decode`].
pub fn decode_payload(payload: impl AsRef<[u8]>, origin: Origin<'_>) -> Result<Envelope, Undecodable> {
    decode(&[(PAYLOAD, payload)], origin)
}

fn text(value: &impl AsRef<[u8]>) -> Result<&str, Undecodable> {
    std::str::from_utf8(value.as_ref()).map_err(|_| Undecodable::new("not UTF-8"))
}

/// The event in `envelope`, which was read from `entry`.
fn ours(
    header: Header,
    envelope: &str,
    entry: impl FnOnce() -> Result<Entry, Undecodable>,
) -> Result<Envelope, Undecodable> {
    let Header { id, name, v: version, at, key, trace } = header;
    let event = match EventKind::from_wire(&name) {
        Some(kind) if kind.version() == version => {
            Event::from_json(kind, envelope).map_err(|e| misfit(kind.as_str(), &e))?
        }
        _ => {
            let data = Event::data_from_json(envelope).map_err(|e| misfit("the envelope", &e))?;
            Event::Unknown(Unknown {
                name,
                version,
                key,
                data,
                entry: entry()?,
                envelope: Some(envelope.to_owned()),
            })
        }
    };
    Ok(Envelope { id, at, trace, event })
}

/// Why JSON did not fit, without what it held.
fn misfit(what: &str, error: &serde_json::Error) -> Undecodable {
    let said = error.to_string();
    let reason = match said.split(" at line ").next() {
        Some(missing) if missing.starts_with("missing field") => missing,
        _ => "a value does not fit",
    };
    Undecodable::new(format!("{what}: {reason} at byte {}", error.column()))
}

fn written(envelope: &Envelope) -> String {
    json(&with(envelope, Some(&envelope.event)))
}

/// The envelope around the JSON of its event.
fn around(envelope: &Envelope, data: &str) -> String {
    let mut text = json(&with(envelope, None));
    text.pop();
    text.reserve_exact(data.len() + 9);
    text.extend([",\"data\":", data, "}"]);
    text
}

fn with<'a>(envelope: &'a Envelope, data: Option<&'a Event>) -> Written<'a> {
    Written {
        id: &envelope.id,
        name: envelope.name(),
        v: envelope.version(),
        at: envelope.at,
        key: envelope.key(),
        trace: envelope.trace.as_deref(),
        data,
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The members of an event's payload.
fn members(event: &Event) -> Map<String, Value> {
    match serde_json::to_value(event) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// A value as the Node services write it: null is empty, text as it is, everything else JSON.
fn flat(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What the Node services call an event in the field `event`.
fn seed_name(event: &Event) -> &str {
    match event {
        Event::TypingStarted(_) => "typing:start",
        Event::TypingStopped(_) => "typing:stop",
        other => other.name(),
    }
}

/// The payload fields written flat: those of seed 000's audit; everything where it names none; for other
/// kinds the key.
fn columns(kind: EventKind) -> &'static [&'static str] {
    match kind {
        EventKind::MessageDelivered => &["conversationId", "messageIds", "userId"],
        EventKind::MessageRead => &["conversationId", "messageIds", "readerId", "readAt", "modifiedCount"],
        EventKind::MessageEdited => &["messageId", "conversationId", "editorId", "newContent", "editedAt"],
        EventKind::MessageDeleted => &["messageId", "conversationId", "deleterId", "deleteType", "deletedAt"],
        EventKind::ConversationCreated => {
            &["conversationId", "type", "createdBy", "participants", "name", "participantCount"]
        }
        EventKind::ParticipantAdded => {
            &["conversationId", "addedBy", "participantId", "participantName", "addedAt", "totalParticipants"]
        }
        EventKind::ParticipantRemoved => &[
            "conversationId",
            "removedBy",
            "participantId",
            "participantName",
            "removedAt",
            "totalParticipants",
        ],
        EventKind::ParticipantLeft => {
            &["conversationId", "participantId", "participantName", "leftAt", "totalParticipants"]
        }
        EventKind::TypingStarted | EventKind::TypingStopped => &["conversationId", "userId"],
        EventKind::FileDownloaded => &["fileId", "fileName", "fileSize", "userId"],
        numbered if numbered.number().is_some() => numbered.fields(),
        other => match other.key_of().field() {
            Some("conversationId") => &["conversationId"],
            Some("userId") => &["userId"],
            Some("roomId") => &["roomId"],
            Some("fileId") => &["fileId"],
            _ => &[],
        },
    }
}

/// `message.sent` as the delivery workers read it.
fn message_fields(sent: &MessageSent) -> Entry {
    let id = |id: Option<&str>| id.unwrap_or_default().to_owned();
    let mut fields: Entry = vec![
        ("event".into(), "NEW_MESSAGE".to_owned()),
        ("messageId".into(), sent.message_id.to_string()),
        ("conversationId".into(), sent.conversation_id.to_string()),
        ("senderId".into(), id(sent.sender_id.as_ref().map(|sender| sender.as_str()))),
        ("receiverId".into(), id(sent.receiver_id.as_ref().map(|receiver| receiver.as_str()))),
        ("content".into(), sent.content.clone()),
        ("type".into(), sent.kind.as_str().to_owned()),
        ("status".into(), "SENT".to_owned()),
        ("timestamp".into(), sent.timestamp.to_string()),
    ];
    if sent.kind == MessageKind::System
        && let Some(sub_type) = sent.metadata.get("subType")
    {
        fields.push(("subType".into(), sub_type.clone()));
    }
    fields
}

/// Seed 002's `payload` of `user.profile.*`, with the envelope beside its members.
fn profile_payload(envelope: &Envelope) -> String {
    let mut members = members(&envelope.event);
    members.remove("updatedAt");
    members.insert("event".to_owned(), envelope.name().into());
    members.insert("timestamp".to_owned(), envelope.at.as_millis().into());
    members.insert(ENVELOPE.to_owned(), serde_json::from_str(&written(envelope)).unwrap_or_default());
    Value::Object(members).to_string()
}
