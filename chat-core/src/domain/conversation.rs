//! A conversation: who talks where, and what it is called.

use serde::{Deserialize, Serialize};

use super::id::{ConversationId, MessageId, Seq, UserId};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

/// The most members a group has unless configured otherwise (seed 001).
pub const DEFAULT_MAX_MEMBERS: u32 = 200;

/// What kind of conversation it is; decides who may do what by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConversationKind {
    /// Exactly two people; the same two always share one.
    #[serde(rename = "PRIVATE")]
    Direct,
    /// A named group in which every member talks.
    Group,
    /// Moderators talk, members read and react.
    Channel,
    /// Admins talk to recipients, who read.
    Broadcast,
    /// The chat of a host's room (event, meeting, webinar).
    EventRoom,
}

impl ConversationKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Direct, Self::Group, Self::Channel, Self::Broadcast, Self::EventRoom];

    /// The wire form, that of the seeds.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "PRIVATE",
            Self::Group => "GROUP",
            Self::Channel => "CHANNEL",
            Self::Broadcast => "BROADCAST",
            Self::EventRoom => "EVENT_ROOM",
        }
    }
}

impl std::fmt::Display for ConversationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One conversation, without its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: ConversationKind,
    /// Its name; direct conversations have none.
    pub name: Option<String>,
    /// Address of its picture.
    pub avatar: Option<String>,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// How many members it has.
    pub member_count: u32,
    /// How many it may have.
    pub max_members: u32,
    /// Grows by one with every change to the conversation or its members.
    pub version: u64,
    /// What happened last, for lists; may lag behind the messages for a moment.
    pub last_activity: LastActivity,
}

/// The newest thing that happened in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastActivity {
    /// When: a message, or the making of the conversation.
    pub at: Timestamp,
    /// The newest message's place.
    pub seq: Seq,
    /// The newest message.
    pub message_id: Option<MessageId>,
}

/// The key under which two people always find the same direct conversation, whoever asks.
///
/// # Errors
/// [`Code::ConversationInvalid`] when both are the same user.
pub fn direct_id(one: &UserId, other: &UserId) -> Result<ConversationId> {
    if one == other {
        return Err(Error::invalid(Code::ConversationInvalid, "a direct conversation needs two people"));
    }
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    Ok(ConversationId::derived(&["direct", low.as_str(), high.as_str()]))
}

/// # Errors
/// [`Code::ConversationInvalid`] unless the name has 1 to 100 characters, not all blank.
pub fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.chars().count() > 100 {
        return Err(Error::invalid(Code::ConversationInvalid, "a name must have 1 to 100 characters"));
    }
    Ok(())
}

/// # Errors
/// [`Code::ConversationInvalid`] unless the address has 1 to 2 048 characters.
pub fn check_avatar(avatar: &str) -> Result<()> {
    if avatar.trim().is_empty() || avatar.chars().count() > 2_048 {
        return Err(Error::invalid(
            Code::ConversationInvalid,
            "a picture's address must have 1 to 2048 characters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_people_share_one_direct_conversation() -> Result<()> {
        let (a, b) = (UserId::new("a")?, UserId::new("b")?);
        assert_eq!(direct_id(&a, &b)?, direct_id(&b, &a)?);
        assert_ne!(direct_id(&a, &b)?, direct_id(&UserId::new("a:b")?, &UserId::new("b:a")?)?);
        assert!(direct_id(&a, &a).is_err());
        Ok(())
    }
}
