//! What a user's keys hold, as values of the domain.

use chat_core::clock::Timestamp;
use chat_core::domain::presence::{ChosenStatus, Session};
use chat_core::domain::{Device, Presence, PresenceStatus, SessionId, UserId, Visibility};
use chat_core::error::Result;
use redis::{FromRedisValue, ParsingError, Value};

use super::GET;
use crate::error::corrupt;

/// Fields of a record that are not of a session.
const FIELDS: usize = 5;

/// A user's live sessions by deadline, and the fields of its record.
pub(super) struct Found {
    sessions: Vec<(String, u64)>,
    values: Vec<Option<String>>,
}

impl FromRedisValue for Found {
    fn from_redis_value(value: Value) -> std::result::Result<Self, ParsingError> {
        let (sessions, values) = redis::from_redis_value(value)?;
        Ok(Self { sessions, values })
    }
}

impl Found {
    pub(super) fn presence(mut self, user: &UserId, now: Timestamp) -> Result<Presence> {
        let of_sessions = self.values.split_off(FIELDS.min(self.values.len()));
        let Ok([active, idle, chosen, until, visibility]) = <[_; FIELDS]>::try_from(self.values) else {
            return Err(corrupt(GET, "a record without its fields"));
        };
        if of_sessions.len() != 2 * self.sessions.len() {
            return Err(corrupt(GET, "a record without its sessions"));
        }
        let chosen = match chosen {
            Some(status) => Some(ChosenStatus {
                status: status_of(&status)?,
                until: until.as_deref().map(at).transpose()?,
            }),
            None => None,
        };
        let sessions = self.sessions.into_iter().zip(of_sessions.chunks(2));
        let sessions = sessions.map(|((id, until), begun)| session(&id, until, begun));
        let sessions = sessions.collect::<Result<Vec<_>>>()?;
        Ok(Presence {
            user: user.clone(),
            idle: idle.is_some() && !sessions.is_empty(),
            sessions,
            chosen: chosen.filter(|chosen| chosen.holds(now).is_some()),
            last_active: active.as_deref().map(at).transpose()?,
            last_seen_visibility: visibility.map_or(Ok(Visibility::Everyone), |text| visibility_of(&text))?,
        })
    }
}

/// A record says of a session when it began, by which operation and what that answered, and its device.
fn session(id: &str, until: u64, kept: &[Option<String>]) -> Result<Session> {
    let [Some(begun), device] = kept else { return Err(corrupt(GET, "a session without a beginning")) };
    let connected_at = begun.split(' ').next().map(at).transpose()?.unwrap_or_default();
    let device = device.as_deref().map(device_of).transpose()?;
    let id = SessionId::new(id).map_err(|error| corrupt(GET, error))?;
    Ok(Session { id, device, connected_at, lease_until: Timestamp::from_millis(until) })
}

/// As a record has it: short, because Redis packs a hash whose values have up to 64 bytes.
pub(super) fn device_text(device: &Device) -> serde_json::Result<String> {
    serde_json::to_string(&(&device.id, &device.name, &device.platform))
}

fn device_of(text: &str) -> Result<Device> {
    let (id, name, platform) = serde_json::from_str(text).map_err(|error| corrupt(GET, error))?;
    Ok(Device { id, name, platform })
}

fn at(millis: &str) -> Result<Timestamp> {
    millis.parse().map(Timestamp::from_millis).map_err(|error| corrupt(GET, error))
}

fn status_of(text: &str) -> Result<PresenceStatus> {
    use PresenceStatus::{Away, Dnd, Invisible};
    let known = [Away, Dnd, Invisible].into_iter().find(|status| status.as_str() == text);
    known.ok_or_else(|| corrupt(GET, "an unknown status"))
}

fn visibility_of(text: &str) -> Result<Visibility> {
    let mut kept = [Visibility::Contacts, Visibility::Nobody].into_iter();
    kept.find(|visibility| visibility_text(*visibility) == text)
        .ok_or_else(|| corrupt(GET, "an unknown visibility"))
}

/// As a record has it: nothing when everybody may know.
pub(super) fn visibility_text(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Everyone => "",
        Visibility::Contacts => "contacts",
        Visibility::Nobody => "nobody",
    }
}
