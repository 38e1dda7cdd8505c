//! Who acts, and as what. Platform roles and room roles are different types on purpose.

use serde::{Deserialize, Serialize};

use super::id::{SessionId, UserId};

/// A role in one conversation: the `member`, `moderator`, `admin` of seed 001. Ordered by rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomRole {
    /// Reads and takes part.
    #[default]
    Member,
    /// Also keeps order.
    Moderator,
    /// Also decides who is in and what it is called.
    Admin,
}

impl RoomRole {
    /// All roles, lowest first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Moderator, Self::Admin];

    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for RoomRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role on the whole platform, given by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlatformRole {
    /// Anybody who is signed in.
    #[default]
    User,
    /// May act in every conversation.
    Admin,
}

/// Who acts: built by the host from its authentication, the only source of "who".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user signed in.
    pub user: UserId,
    /// The connection it came by, if any.
    pub session: Option<SessionId>,
    /// The role on the platform.
    pub role: PlatformRole,
}

impl Actor {
    /// A plain user without a connection.
    pub fn user(user: UserId) -> Self {
        Self { user, session: None, role: PlatformRole::User }
    }

    /// The same actor on this connection.
    #[must_use]
    pub fn on(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// The same actor with this platform role.
    #[must_use]
    pub fn with_role(mut self, role: PlatformRole) -> Self {
        self.role = role;
        self
    }
}
