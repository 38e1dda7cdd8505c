//! Ids: opaque checked text, and the sequence number that orders messages.
//!
//! An id is 1 to 128 bytes of UTF-8 without control characters. Everything else (`:`, `*`, `{}`, spaces) is
//! allowed, because no backend ever uses an id as a pattern or joins it to a key without escaping.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Code, Error, Result};

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// An opaque checked id. `K` keeps a user's id from being used as a conversation's.
pub struct Id<K> {
    text: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// [`Code::IdInvalid`] when empty, longer than [`MAX_ID_BYTES`] or holding a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(Error::invalid(Code::IdInvalid, "empty"));
        }
        if text.len() > MAX_ID_BYTES {
            return Err(Error::invalid(Code::IdInvalid, "longer than 128 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid(Code::IdInvalid, "holds a control character"));
        }
        Ok(Self { text: Arc::from(text), kind: PhantomData })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same text as an id of another kind.
    pub fn cast<T>(&self) -> Id<T> {
        Id { text: Arc::clone(&self.text), kind: PhantomData }
    }

    /// An id made from a UUID, which is always valid.
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self { text: Arc::from(uuid.hyphenated().to_string()), kind: PhantomData }
    }

    /// The id that follows from `cause`: the same cause always gives the same id.
    pub fn derived(cause: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(64);
        for part in cause {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self::from_uuid(uuid::Uuid::new_v5(&NAMESPACE, &bytes))
    }
}

/// The UUID namespace of derived ids; part of the wire contract, never changed.
const NAMESPACE: uuid::Uuid = uuid::uuid!("6c1c3f0e-52a4-4f2b-9d53-8f3f7a1f0c11");

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        self.cast()
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl<K> FromStr for Id<K> {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}
impl<K> TryFrom<String> for Id<K> {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<std::borrow::Cow<'de, str>>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

macro_rules! ids {
    ($($name:ident, $kind:ident, $doc:literal;)*) => {
        /// The kinds that keep ids apart; never constructed.
        pub mod kind {
            $(#[doc = $doc] #[derive(Debug)] pub enum $kind {})*
        }
        $(#[doc = $doc] pub type $name = Id<kind::$kind>;)*
    };
}

ids! {
    UserId, User, "Who: always from the host's authentication, never from a payload.";
    SessionId, Session, "One connection of one user.";
    DeviceId, Device, "One device of one user.";
    ConversationId, Conversation, "A conversation.";
    RoomId, Room, "A live room; a conversation's room has the conversation's id.";
    MessageId, Message, "A message. Identity only: order comes from `Seq`.";
    FileId, File, "A file's metadata.";
    EventId, Event, "An event, derived from its cause: the same change always has the same id.";
    AuditId, Audit, "A deed in the audit log.";
    ClientKey, Client, "What a client calls its own request, so that a repeat is recognised.";
}

impl From<&ConversationId> for RoomId {
    fn from(conversation: &ConversationId) -> Self {
        conversation.cast()
    }
}

/// The place of a message in its conversation: 1, 2, 3, … without gaps. Zero stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first message.
    pub const ZERO: Self = Self(0);

    /// The next place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before, not below zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_ids_are_either_refused_or_harmless() {
        for fine in [":", "*", "{}", "a b", "é", &"x".repeat(128)] {
            assert!(UserId::new(fine).is_ok(), "{fine}");
        }
        for bad in ["", "a\nb", "\0", "\u{7f}", "\u{85}", &"x".repeat(129), &"é".repeat(65)] {
            assert_eq!(UserId::new(bad).map_err(|e| e.code()), Err(Code::IdInvalid), "{bad:?}");
            assert!(serde_json::from_value::<UserId>(bad.into()).is_err());
        }
    }

    #[test]
    fn derived_ids_depend_on_every_part_and_its_border() {
        let of = |parts: &[&str]| EventId::derived(parts);
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "bc"]), of(&["ab", "c"]));
    }
}
