//! How rooms and members are written down.

use std::collections::BTreeMap;
use std::str::FromStr;

use chat_core::clock::Timestamp;
use chat_core::domain::{RoomId, RoomRole, UserId};
use chat_core::error::Result;
use chat_core::store::rooms::{Room, RoomMember, RoomState};

use crate::connection::Operation;
use crate::error::corrupt;

/// A role as a seat holds it: its rank.
pub(super) fn rank(role: RoomRole) -> &'static str {
    match role {
        RoomRole::Member => "0",
        RoomRole::Moderator => "1",
        RoomRole::Admin => "2",
    }
}

fn role(operation: Operation, rank: &str) -> Result<RoomRole> {
    match rank {
        "0" => Ok(RoomRole::Member),
        "1" => Ok(RoomRole::Moderator),
        "2" => Ok(RoomRole::Admin),
        _ => Err(corrupt(operation, "not a role")),
    }
}

/// The role in a seat: `role version joined_at`.
pub(super) fn seated(operation: Operation, seat: &str) -> Result<RoomRole> {
    role(operation, seat.split(' ').next().unwrap_or_default())
}

/// The member in a seat.
pub(super) fn member(operation: Operation, user: &str, seat: Option<&str>) -> Result<RoomMember> {
    let mut parts = seat.unwrap_or_default().split(' ');
    let role = role(operation, parts.next().unwrap_or_default())?;
    let joined_at = time(operation, parts.nth(1))?;
    Ok(RoomMember { user: user_id(operation, user)?, role, joined_at })
}

/// A room out of what `rooms_get` says of it; `None` if there is none.
pub(super) fn room(operation: Operation, id: &RoomId, found: &[Option<String>]) -> Result<Option<Room>> {
    let [kind, name, limit, created, state, last, roles @ ..] = found else {
        return Err(corrupt(operation, "not a room"));
    };
    let Some(kind) = kind else { return Ok(None) };
    let mut members = 0;
    for count in roles {
        members += number::<u64>(operation, count.as_deref())?;
    }
    let limit = limit.as_deref().filter(|limit| !limit.is_empty());
    Ok(Some(Room {
        id: id.clone(),
        kind: kind.clone(),
        name: name.clone(),
        max_members: limit.map(|limit| number(operation, Some(limit))).transpose()?,
        members,
        state: self::state(operation, state.as_deref())?,
        created_at: time(operation, created.as_deref())?,
        last_activity: time(operation, last.as_deref())?,
    }))
}

/// A state as the room holds it: how many steps it has taken.
pub(super) fn state(operation: Operation, steps: Option<&str>) -> Result<RoomState> {
    match steps {
        Some("0") => Ok(RoomState::Active),
        Some("1") => Ok(RoomState::Idle),
        Some("2") => Ok(RoomState::Archived),
        _ => Err(corrupt(operation, "not a state")),
    }
}

/// How many members have each role: those that anybody has.
pub(super) fn roles(counts: [u64; 3]) -> BTreeMap<RoomRole, u64> {
    RoomRole::ALL.into_iter().zip(counts).filter(|(_, members)| *members > 0).collect()
}

pub(super) fn user_id(operation: Operation, text: &str) -> Result<UserId> {
    UserId::new(text).map_err(|_| corrupt(operation, "not a user's id"))
}

pub(super) fn room_id(operation: Operation, text: &str) -> Result<RoomId> {
    RoomId::new(text).map_err(|_| corrupt(operation, "not a room's id"))
}

fn time(operation: Operation, text: Option<&str>) -> Result<Timestamp> {
    number(operation, text).map(Timestamp::from_millis)
}

pub(super) fn number<T: FromStr>(operation: Operation, text: Option<&str>) -> Result<T> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| corrupt(operation, "not a number"))
}
