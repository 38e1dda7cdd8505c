//! A host's own rooms, as seeds 003 and 004 know them. Every payload is an absolute state, so applying one
//! twice is harmless.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::domain::{RoomId, UserId};

/// Declares payloads that begin with what every change to a room says.
macro_rules! room_payloads {
    ($($(#[$doc:meta])* $name:ident { $($fields:tt)* })*) => {
        payloads! {$(
            $(#[$doc])* $name has {
                /// The room.
                pub room_id: RoomId,
                /// The room's version: one more with every change to it.
                pub version: u64,
                /// The service that made the change, so that it can pass over its own; none for an unnamed
                /// host.
                pub source: Option<String>,
                /// Who did it; none for the host or a rule.
                pub actor: Option<UserId>,
                $($fields)*
            }
        )*}
    };
}

room_payloads! {
    /// A room came into being.
    RoomCreated {
        /// Its name.
        pub name: String,
        /// Its name in addresses.
        pub slug: Option<String>,
        /// The event it belongs to.
        pub event_id: Option<String>,
        /// What kind of room: `event`, `meeting`, `webinar` or the host's own.
        #[serde(rename = "type")]
        pub kind: String,
        /// Its settings.
        #[serde(default)]
        pub settings: BTreeMap<String, Value>,
    }

    /// A room has another name.
    RoomRenamed {
        /// Its name from now on.
        pub name: String,
        /// Its name in addresses from now on.
        pub slug: Option<String>,
    }

    /// A room moved on in its life.
    RoomStatusChanged {
        /// What it was.
        pub old: RoomStatus,
        /// What it is from now on.
        pub new: RoomStatus,
        /// When.
        pub changed_at: Timestamp,
    }

    /// Settings of a room changed.
    RoomSettingsChanged {
        /// The new values, by name; settings not named are as before.
        pub changes: BTreeMap<String, Value>,
    }

    /// What one participant may do changed.
    RoomPermissionsUpdated {
        /// Who.
        pub user_id: UserId,
        /// The actions allowed from now on.
        #[serde(default)]
        pub granted: Vec<String>,
        /// The actions no longer allowed.
        #[serde(default)]
        pub revoked: Vec<String>,
        /// When the grant ends by itself.
        pub expires_at: Option<Timestamp>,
    }

    /// Somebody came into a room.
    RoomParticipantAdded {
        /// Who.
        pub user_id: UserId,
        /// As what, in the host's words.
        pub role: String,
        /// When.
        pub joined_at: Timestamp,
        /// On which way.
        #[serde(default)]
        pub via: JoinedVia,
    }

    /// Somebody is no longer in a room.
    RoomParticipantRemoved {
        /// Who.
        pub user_id: UserId,
        /// Why.
        pub cause: RemovalCause,
        /// When.
        pub removed_at: Timestamp,
    }

    /// Somebody was given another role.
    RoomParticipantRoleChanged {
        /// Who.
        pub user_id: UserId,
        /// As what before, in the host's words.
        pub old_role: Option<String>,
        /// As what from now on, in the host's words.
        pub new_role: String,
    }

    /// Somebody was shut out of a room.
    RoomParticipantBanned {
        /// Who.
        pub user_id: UserId,
        /// The sanction.
        pub sanction_id: String,
        /// Until when; none for until it is lifted.
        pub until: Option<Timestamp>,
        /// Why, as a code.
        pub reason_code: Option<String>,
        /// How far it reaches, such as `room` or `platform`.
        pub scope: Option<String>,
    }

    /// Somebody may come in again.
    RoomParticipantUnbanned {
        /// Who.
        pub user_id: UserId,
        /// The sanction lifted.
        pub sanction_id: String,
    }

    /// Somebody may not speak in a room: a sanction, not a notification setting.
    RoomParticipantMuted {
        /// Who.
        pub user_id: UserId,
        /// The sanction.
        pub sanction_id: String,
        /// Until when; none for until it is lifted.
        pub until: Option<Timestamp>,
    }

    /// Somebody may speak again.
    RoomParticipantUnmuted {
        /// Who.
        pub user_id: UserId,
        /// The sanction lifted.
        pub sanction_id: String,
    }

    /// Nothing has happened in a room for a while.
    RoomIdle {
        /// When.
        pub at: Timestamp,
    }

    /// A room was put away: it can be read, not written to.
    RoomArchived {
        /// When.
        pub at: Timestamp,
    }

    /// A room is in use again.
    RoomUnarchived {
        /// When.
        pub at: Timestamp,
    }

    /// A room is no more.
    RoomDeleted {
        /// When.
        pub at: Timestamp,
    }
}

/// Where a host's room stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStatus {
    /// Not begun.
    Upcoming,
    /// Going on.
    Live,
    /// Held up.
    Paused,
    /// Over.
    Ended,
    /// Called off.
    Cancelled,
}

/// On which way somebody came into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinedVia {
    /// By itself.
    Join,
    /// Invited.
    Invite,
    /// Found missing by a comparison with the host.
    Sync,
    /// Put there by the host.
    #[default]
    Host,
}

/// Why somebody is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalCause {
    /// Left.
    Left,
    /// Put out.
    Removed,
    /// Shut out.
    Banned,
    /// The room is no more.
    RoomDeleted,
}
