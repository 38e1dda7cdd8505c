//! Typing and presence: volatile, healing by themselves.

use crate::domain::{ConversationId, MessageId, UserId};

payloads! {
    /// A user began or goes on to type.
    TypingStarted and
    /// A user stopped typing.
    TypingStopped has {
        /// Where.
        pub conversation_id: ConversationId,
        /// Who.
        pub user_id: UserId,
        /// In the thread of this message.
        pub thread: Option<MessageId>,
    }

    /// A user's first session began.
    PresenceOnline and
    /// A user's last session ended.
    PresenceOffline and
    /// A user is connected but inactive.
    PresenceIdle has {
        /// Who.
        pub user_id: UserId,
        /// Why, such as `connected`, `disconnected` or `lapsed`.
        #[serde(default)]
        pub reason: String,
        /// The conversations to announce it to.
        #[serde(default)]
        pub conversations: Vec<ConversationId>,
    }
}
