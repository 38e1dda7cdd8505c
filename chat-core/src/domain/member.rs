//! A member of a conversation, and what the member keeps for itself.

use serde::{Deserialize, Serialize};

use super::id::{Seq, UserId};
use super::role::RoomRole;
use crate::clock::Timestamp;

/// One member of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: RoomRole,
    /// Since when.
    pub joined_at: Timestamp,
    /// The head of the conversation then: earlier messages are readable but were never unread.
    pub joined_seq: Seq,
    /// The version of the conversation that last changed this membership.
    pub version: u64,
}

/// What one member keeps for itself about one conversation; nobody else sees or feels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSettings {
    /// Put away: not in the default list, not in the total.
    pub archived: bool,
    /// No badge in the total.
    pub muted: Option<Mute>,
    /// On top of the list.
    pub pinned: bool,
}

impl MemberSettings {
    /// Whether the mute holds at `now`.
    pub fn is_muted(&self, now: Timestamp) -> bool {
        match self.muted {
            None => false,
            Some(Mute::Always) => true,
            Some(Mute::Until(until)) => now < until,
        }
    }

    /// Whether its unread messages count in the user's total.
    pub fn counts_in_total(&self, now: Timestamp) -> bool {
        !self.archived && !self.is_muted(now)
    }
}

/// For how long a conversation is muted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mute {
    /// Until unmuted.
    Always,
    /// Until this moment.
    Until(Timestamp),
}
