//! Moderation: what filters and moderators did, reports, and what users are told. The `chat.*` names are seed
//! 004's.

use serde::{Deserialize, Serialize};

use crate::domain::{MessageId, RoomId, UserId};

payloads! {
    /// A filter found something in a message.
    ChatModerationContentFlagged has {
        /// The message.
        pub message_id: MessageId,
        /// Where.
        pub room_id: RoomId,
        /// Who wrote it.
        pub user_id: UserId,
        /// What the filters found, by name.
        #[serde(default)]
        pub violations: Vec<String>,
    }

    /// A moderator or a rule acted.
    ChatModerationAction has {
        /// What was done: `ban`, `unban`, `mute`, `unmute`, `delete_message`, `warn`, `flag` or the host's
        /// own.
        pub action: String,
        /// Where.
        pub room_id: RoomId,
        /// To whom.
        pub target_user_id: Option<UserId>,
        /// Who did it; none for a rule.
        pub moderator_id: Option<UserId>,
        /// Why.
        pub reason: Option<String>,
        /// For how many minutes; none for until it is undone.
        pub duration: Option<u64>,
        /// The message it is about.
        pub message_id: Option<MessageId>,
    }

    /// A message was deleted by moderation.
    ChatMessageDeleted has {
        /// The message.
        pub message_id: MessageId,
        /// Where.
        pub room_id: RoomId,
        /// Why.
        pub reason: Option<String>,
    }

    /// There is something to tell a user.
    ChatNotificationCreated has {
        /// The notification.
        pub notification_id: String,
        /// Whom to tell.
        pub user_id: UserId,
        /// What about: `mention`, `reply`, `moderation`, `system`, `room_update` or the host's own.
        #[serde(rename = "type")]
        pub kind: String,
        /// How urgent it is.
        #[serde(default)]
        pub priority: Priority,
        /// A headline.
        pub title: Option<String>,
        /// The text.
        pub content: Option<String>,
        /// The room it is about.
        pub room_id: Option<RoomId>,
        /// The message it is about.
        pub message_id: Option<MessageId>,
    }

    /// Something was reported.
    ModerationReportOpened and
    /// Somebody looks into a report.
    ModerationReportAssigned and
    /// A report was decided.
    ModerationReportResolved and
    /// A report was set aside.
    ModerationReportDismissed has {
        /// The report; who made it is never told.
        pub report_id: String,
        /// Where.
        pub room_id: RoomId,
        /// The message reported.
        pub message_id: Option<MessageId>,
        /// Its state from now on.
        pub state: String,
        /// What was decided.
        pub resolution: Option<String>,
    }
}

/// How urgent a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Any time.
    Low,
    /// Soon.
    #[default]
    Medium,
    /// Now.
    High,
}
