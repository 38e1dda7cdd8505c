//! Members come, go and change their roles.

use chat_core::domain::{RoomId, RoomRole, UserId};
use chat_core::error::Result;
use chat_core::store::rooms::{REMOVAL_MEMORY, RoomChange, RoomChanged};

use super::record::{rank, seated};
use super::{RedisRooms, operation_id, room_scripts, shard, sized, unknown};
use crate::connection::{Command, Operation};
use crate::error::corrupt;

const CHANGE: Operation = Operation::write("rooms.change_members");
const ROLES: Operation = Operation::read("rooms.roles");

/// How many changes one script makes at most.
const CHANGES: usize = 500;

room_scripts! { CHANGE_MEMBERS = "rooms_change"; }

impl RedisRooms {
    pub(super) async fn change(&self, room: &RoomId, changes: &[RoomChange]) -> Result<Vec<RoomChanged>> {
        let mut outcomes = Vec::with_capacity(changes.len());
        let remembered = u64::try_from(REMOVAL_MEMORY.as_millis()).unwrap_or(u64::MAX);
        for part in changes.chunks(CHANGES) {
            let mut command = self
                .script(&CHANGE_MEMBERS, shard(room))
                .arg(operation_id())
                .arg(room.as_str())
                .arg(remembered)
                .arg(self.store.kept_for(REMOVAL_MEMORY));
            for change in part {
                let role = change.role.map_or("", rank);
                command = command.arg(change.user.as_str()).arg(role).arg(change.version);
            }
            let answer: Option<String> = self.store.call_one(CHANGE, command).await?;
            let answer = answer.ok_or_else(|| unknown(CHANGE, room))?;
            if answer.len() != part.len() {
                return Err(corrupt(CHANGE, "not an outcome for each change"));
            }
            for letter in answer.chars() {
                outcomes.push(outcome(letter)?);
            }
        }
        Ok(outcomes)
    }

    pub(super) async fn roles_of(
        &self,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Option<Vec<Option<RoomRole>>>> {
        let mut command = Command::new("HMGET", &self.key(shard(room), &["h", room.as_str()])).arg("\u{1}i");
        for user in users {
            command = command.arg(user.as_str());
        }
        let seats: Vec<Option<String>> = self.store.call_one(sized(ROLES, users.len()), command).await?;
        let Some((Some(_), seats)) = seats.split_first() else { return Ok(None) };
        let role = |seat: &Option<String>| seat.as_deref().map(|seat| seated(ROLES, seat)).transpose();
        seats.iter().map(role).collect::<Result<_>>().map(Some)
    }
}

fn outcome(letter: char) -> Result<RoomChanged> {
    match letter {
        'C' => Ok(RoomChanged::Changed),
        'U' => Ok(RoomChanged::Unchanged),
        'O' => Ok(RoomChanged::Outdated),
        'F' => Ok(RoomChanged::Full),
        _ => Err(corrupt(CHANGE, "not an outcome")),
    }
}
