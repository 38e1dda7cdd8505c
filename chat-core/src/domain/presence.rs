//! Presence: who is here, on which devices, and who may know.

use serde::{Deserialize, Serialize};

use super::freshness::Freshness;
use super::id::{DeviceId, SessionId, UserId};
use crate::clock::Timestamp;

/// How a user appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceStatus {
    /// Here and active.
    Online,
    /// Here but idle, or says so.
    Away,
    /// Here, not to be disturbed.
    Dnd,
    /// Here, but shown as offline to everybody else.
    Invisible,
    /// Not here.
    #[default]
    Offline,
}

impl PresenceStatus {
    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Dnd => "dnd",
            Self::Invisible => "invisible",
            Self::Offline => "offline",
        }
    }
}

/// A status a user has chosen; it overrides what is observed until cleared or over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenStatus {
    /// Away, do not disturb or invisible. Choosing online or offline is the same as choosing nothing.
    pub status: PresenceStatus,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl ChosenStatus {
    /// The status, if it still holds and overrides anything.
    pub fn holds(&self, now: Timestamp) -> Option<PresenceStatus> {
        let over = self.until.is_some_and(|until| until <= now);
        let overrides = !matches!(self.status, PresenceStatus::Online | PresenceStatus::Offline);
        (!over && overrides).then_some(self.status)
    }
}

/// Who may know when a user was last active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Anybody.
    #[default]
    Everyone,
    /// People who share a conversation.
    Contacts,
    /// Nobody.
    Nobody,
}

/// The machine behind a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id, chosen by the client.
    pub id: DeviceId,
    /// What it calls itself, up to 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it runs: `web`, `android`, `ios`, `desktop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// One connection of one user, held by a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The connection.
    pub id: SessionId,
    /// Its device, if it named one.
    pub device: Option<Device>,
    /// Since when.
    pub connected_at: Timestamp,
    /// Until when, unless renewed.
    pub lease_until: Timestamp,
}

/// All there is to know about one user's presence; see [`Presence::seen_by`] for what others may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// The live sessions.
    pub sessions: Vec<Session>,
    /// Observed idle: connected, but no activity for a while.
    pub idle: bool,
    /// What the user has chosen to show.
    pub chosen: Option<ChosenStatus>,
    /// The last sign of activity.
    pub last_active: Option<Timestamp>,
    /// Who may know about `last_active`.
    pub last_seen_visibility: Visibility,
}

impl Presence {
    /// The presence of somebody never seen.
    pub fn unknown(user: UserId) -> Self {
        Self {
            user,
            sessions: Vec::new(),
            idle: false,
            chosen: None,
            last_active: None,
            last_seen_visibility: Visibility::default(),
        }
    }

    /// Whether at least one session lives.
    pub fn is_online(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// What the user itself sees.
    pub fn status(&self, now: Timestamp) -> PresenceStatus {
        if !self.is_online() {
            return PresenceStatus::Offline;
        }
        match self.chosen.and_then(|chosen| chosen.holds(now)) {
            Some(status) => status,
            None if self.idle => PresenceStatus::Away,
            None => PresenceStatus::Online,
        }
    }

    /// What `viewer` may know: an invisible user looks offline, also once gone, so that what it did meanwhile stays
    /// unknown; the last activity is told only to those the user lets know. `contact` says whether both share a
    /// conversation.
    pub fn seen_by(&self, viewer: &UserId, contact: bool, now: Timestamp) -> VisiblePresence {
        let own = *viewer == self.user;
        let status = self.status(now);
        let invisible = self.chosen.and_then(|chosen| chosen.holds(now)) == Some(PresenceStatus::Invisible);
        let hidden = invisible && !own;
        let may_know = match self.last_seen_visibility {
            Visibility::Everyone => true,
            Visibility::Contacts => contact,
            Visibility::Nobody => false,
        };
        VisiblePresence {
            user_id: self.user.clone(),
            status: if hidden { PresenceStatus::Offline } else { status },
            devices: if hidden { 0 } else { self.sessions.len() },
            last_active: self.last_active.filter(|_| own || (may_know && !hidden)),
            freshness: Freshness::default(),
        }
    }
}

/// What somebody else may know of a user's presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisiblePresence {
    /// Who.
    pub user_id: UserId,
    /// As they appear.
    pub status: PresenceStatus,
    /// How many sessions they have.
    pub devices: usize,
    /// The last sign of activity, if the viewer may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<Timestamp>,
    /// Of this process alone while the store is away: then its own sessions are counted, and the status is what it was
    /// last told.
    #[serde(skip_serializing_if = "Freshness::is_current")]
    pub freshness: Freshness,
}

/// What a connect or disconnect did to a user's being online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Nothing others would notice.
    None,
    /// The first session: the user went online.
    WentOnline,
    /// The last session ended: the user went offline.
    WentOffline,
    /// Every earlier session had lapsed at that time without anybody noticing, and this is a new one: the user went
    /// offline then and online now, and both edges are the caller's to announce.
    CameBack {
        /// When the last lease had run out.
        lapsed_at: Timestamp,
    },
}

/// A user whose last lease ran out, handed to exactly one sweeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapse {
    /// Who went offline.
    pub user: UserId,
    /// When the last lease ran out.
    pub at: Timestamp,
}

/// Presence in numbers (seed 001's `getPresenceStats`). Everything but the history equals a recount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceStats {
    /// Users with a live session.
    pub users: u64,
    /// Live sessions.
    pub sessions: u64,
    /// The most users online at once.
    pub peak_users: u64,
    /// When that was.
    pub peak_at: Option<Timestamp>,
    /// Sessions begun within the last hour, exact to a minute.
    pub connected_last_hour: u64,
    /// How long closed sessions lasted on average, in milliseconds.
    pub average_session_ms: u64,
    /// Closed sessions the average is taken over.
    pub closed_sessions: u64,
    /// Users online by what they appear as to themselves; sums up to `users`.
    pub by_status: std::collections::BTreeMap<PresenceStatus, u64>,
}
