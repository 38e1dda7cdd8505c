//! Conversations: who is in them, what they are called, and what each member keeps for itself.

use crate::clock::Timestamp;
use crate::domain::{Conversation, ConversationId, ConversationKind, RoomRole, UserId};

/// The most participants [`ConversationCreated`] names.
pub const MAX_NAMED_PARTICIPANTS: usize = 200;

payloads! {
    /// A conversation was made.
    ConversationCreated has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Its kind.
        #[serde(rename = "type")]
        pub kind: ConversationKind,
        /// Who made it.
        pub created_by: UserId,
        /// Who is in it: the first [`MAX_NAMED_PARTICIPANTS`].
        #[serde(default)]
        pub participants: Vec<UserId>,
        /// How many are in it.
        #[serde(default)]
        pub participant_count: u64,
        /// Its name.
        pub name: Option<String>,
    }

    /// Somebody was taken into a conversation.
    ParticipantAdded has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who.
        pub participant_id: UserId,
        /// Their name as shown, if known.
        pub participant_name: Option<String>,
        /// Who took them in; the participant itself when they joined.
        pub added_by: UserId,
        /// As what.
        #[serde(default)]
        pub role: RoomRole,
        /// When.
        pub added_at: Timestamp,
        /// How many are in it from now on.
        #[serde(default)]
        pub total_participants: u64,
        /// The conversation's version from now on; zero when the writer did not say.
        #[serde(default)]
        pub version: u64,
    }

    /// Somebody was put out of a conversation.
    ParticipantRemoved has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who.
        pub participant_id: UserId,
        /// Their name as shown, if known.
        pub participant_name: Option<String>,
        /// Who put them out.
        pub removed_by: UserId,
        /// When.
        pub removed_at: Timestamp,
        /// How many are in it from now on.
        #[serde(default)]
        pub total_participants: u64,
        /// The conversation's version from now on; zero when the writer did not say.
        #[serde(default)]
        pub version: u64,
    }

    /// Somebody left a conversation.
    ParticipantLeft has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who.
        pub participant_id: UserId,
        /// Their name as shown, if known.
        pub participant_name: Option<String>,
        /// When.
        pub left_at: Timestamp,
        /// How many are in it from now on.
        #[serde(default)]
        pub total_participants: u64,
        /// The conversation's version from now on; zero when the writer did not say.
        #[serde(default)]
        pub version: u64,
    }

    /// Somebody was given another role.
    ParticipantRoleChanged has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who.
        pub participant_id: UserId,
        /// As what from now on.
        pub role: RoomRole,
        /// Who gave it.
        pub changed_by: UserId,
        /// The conversation's version from now on.
        #[serde(default)]
        pub version: u64,
    }

    /// A conversation was renamed.
    ConversationNameUpdated has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Its name from now on.
        pub name: String,
        /// Who renamed it.
        pub updated_by: UserId,
        /// The conversation's version from now on; zero when the writer did not say.
        #[serde(default)]
        pub version: u64,
    }

    /// A conversation's picture was changed.
    ConversationAvatarUpdated has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// The picture's address from now on; none when it was taken away.
        pub avatar: Option<String>,
        /// Who changed it.
        pub updated_by: UserId,
        /// The conversation's version from now on; zero when the writer did not say.
        #[serde(default)]
        pub version: u64,
    }

    /// A conversation was deleted for everyone.
    ConversationDeleted has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who deleted it; none when the host or retention did.
        pub deleted_by: Option<UserId>,
        /// When.
        pub deleted_at: Timestamp,
    }

    /// A user put a conversation away, for itself.
    ConversationArchived and
    /// A user took a conversation out again, for itself.
    ConversationUnarchived and
    /// A user lets a conversation notify again.
    ConversationUnmuted and
    /// A user put a conversation on top of its list.
    ConversationPinned and
    /// A user no longer keeps a conversation on top of its list.
    ConversationUnpinned has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who; nobody else feels it.
        pub user_id: UserId,
    }

    /// A user silenced a conversation's notifications, for itself.
    ConversationMuted has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Who; nobody else feels it.
        pub user_id: UserId,
        /// Until when; none for until it is undone.
        pub until: Option<Timestamp>,
    }

    /// What a user has not read changed; for that user's own devices.
    ConversationUnread has {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Whose count.
        pub user_id: UserId,
        /// Messages not read there.
        pub unread_count: u64,
        /// How many of those mention the user.
        #[serde(default)]
        pub mentions: u64,
        /// Messages not read anywhere, if known.
        pub total_unread: Option<u64>,
    }
}

impl ConversationCreated {
    /// The making of `conversation` with these members.
    pub fn new(conversation: &Conversation, members: impl IntoIterator<Item = UserId>) -> Self {
        Self {
            conversation_id: conversation.id.clone(),
            kind: conversation.kind,
            created_by: conversation.created_by.clone(),
            participants: members.into_iter().take(MAX_NAMED_PARTICIPANTS).collect(),
            participant_count: u64::from(conversation.member_count),
            name: conversation.name.clone(),
        }
    }
}
