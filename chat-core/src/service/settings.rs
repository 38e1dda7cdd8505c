//! The rules of a chat.

use std::time::Duration;

use crate::config::Env;
use crate::domain::conversation::DEFAULT_MAX_MEMBERS;
use crate::error::Result;
use crate::store::presence::DEFAULT_LEASE;

/// The rules of a chat; the defaults are those of the seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatSettings {
    /// For how long a sender may delete a message for everyone: 48 h.
    pub delete_window: Duration,
    /// How many members a new group may have: 200.
    pub max_members: u32,
    /// How long typing lasts unless renewed: 6 s.
    pub typing_timeout: Duration,
    /// Renewals of typing within this time are ignored: 2 s.
    pub typing_debounce: Duration,
    /// How long a presence lease lasts unless renewed: 60 s.
    pub presence_lease: Duration,
    /// After how long without activity a user is idle: 5 min.
    pub idle_after: Duration,
    /// Presence and receipts are announced to conversations of at most this many members: 500.
    pub announce_max: u32,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            delete_window: Duration::from_secs(48 * 60 * 60),
            max_members: DEFAULT_MAX_MEMBERS,
            typing_timeout: Duration::from_secs(6),
            typing_debounce: Duration::from_secs(2),
            presence_lease: DEFAULT_LEASE,
            idle_after: Duration::from_secs(5 * 60),
            announce_max: 500,
        }
    }
}

impl ChatSettings {
    /// Reads `CHAT_DELETE_WINDOW_SECONDS`, `CHAT_MAX_MEMBERS`, `CHAT_TYPING_TIMEOUT_SECONDS`,
    /// `CHAT_TYPING_DEBOUNCE_SECONDS`, `CHAT_PRESENCE_LEASE_SECONDS`, `CHAT_IDLE_AFTER_SECONDS` and
    /// `CHAT_ANNOUNCE_MAX`. Problems are collected in `env`.
    pub fn read(env: &mut Env) -> Self {
        let default = Self::default();
        Self {
            delete_window: env.seconds("DELETE_WINDOW_SECONDS", default.delete_window),
            max_members: env.get("MAX_MEMBERS", default.max_members),
            typing_timeout: env.seconds("TYPING_TIMEOUT_SECONDS", default.typing_timeout),
            typing_debounce: env.seconds("TYPING_DEBOUNCE_SECONDS", default.typing_debounce),
            presence_lease: env.seconds("PRESENCE_LEASE_SECONDS", default.presence_lease),
            idle_after: env.seconds("IDLE_AFTER_SECONDS", default.idle_after),
            announce_max: env.get("ANNOUNCE_MAX", default.announce_max),
        }
    }

    /// Reads the settings of this process.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](crate::error::Code::ConfigInvalid) with every problem; unknown `CHAT_*` variables are
    /// one, so a host with variables of its own calls [`read`](Self::read).
    pub fn from_env() -> Result<Self> {
        let mut env = Env::from_process("CHAT");
        let settings = Self::read(&mut env);
        env.finish().map(|()| settings)
    }

    /// The same rules with another time to delete for everyone.
    #[must_use]
    pub fn with_delete_window(mut self, window: Duration) -> Self {
        self.delete_window = window;
        self
    }

    /// The same rules with another member limit for new groups.
    #[must_use]
    pub fn with_max_members(mut self, max: u32) -> Self {
        self.max_members = max;
        self
    }

    /// The same rules with another presence lease.
    #[must_use]
    pub fn with_presence_lease(mut self, lease: Duration) -> Self {
        self.presence_lease = lease;
        self
    }

    /// The same rules with another time to become idle.
    #[must_use]
    pub fn with_idle_after(mut self, after: Duration) -> Self {
        self.idle_after = after;
        self
    }

    /// The same rules with another limit for announcements.
    #[must_use]
    pub fn with_announce_max(mut self, members: u32) -> Self {
        self.announce_max = members;
        self
    }
}
