//! Members come, go and change their roles.

use std::collections::HashMap;

use chat_core::domain::{RoomId, RoomRole, UserId};
use chat_core::error::Result;
use chat_core::store::rooms::{REMOVAL_MEMORY, RoomChange, RoomChanged};

use super::record::{rank, seated};
use super::{PART, RedisRooms, shard, sized, unknown};
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::once::OperationId;
use crate::script::scripts;

const CHANGE: Operation = Operation::write("rooms.change_members");
const ROLES: Operation = Operation::read("rooms.roles");

/// The field that every room has.
const LIFE: &str = "\u{1}i";

scripts! { CHANGE_MEMBERS = "rooms", "rooms_change"; }

impl RedisRooms {
    pub(super) async fn change(&self, room: &RoomId, changes: &[RoomChange]) -> Result<Vec<RoomChanged>> {
        let mut outcomes = Vec::with_capacity(changes.len());
        for part in changes.chunks(PART) {
            let answer: Option<String> = self.store.call_one(CHANGE, self.change_part(room, part)).await?;
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

    fn change_part(&self, room: &RoomId, changes: &[RoomChange]) -> Command {
        let shard = shard(room);
        let mut keys = vec![
            self.of_room("h", room),
            self.of_room("o", room),
            self.at(shard, &["q", &OperationId::new().to_string()]),
            self.at(shard, &["a", "active"]),
            self.at(shard, &["a", "idle"]),
        ];
        let (mut users, mut places) = (Vec::new(), HashMap::new());
        for change in changes {
            let user = change.user.as_str();
            places.entry(user).or_insert_with(|| {
                keys.push(self.at(shard, &["u", user]));
                keys.push(self.at(shard, &["x", room.as_str(), user]));
                users.push(user);
                users.len()
            });
        }
        let remembered = u64::try_from(REMOVAL_MEMORY.as_millis()).unwrap_or(u64::MAX);
        let mut command = self
            .store
            .script(&CHANGE_MEMBERS, &keys)
            .arg(room.as_str())
            .arg(remembered)
            .arg(self.store.kept_for(REMOVAL_MEMORY))
            .arg(users.len())
            .arg(users);
        for change in changes {
            let place = places.get(change.user.as_str()).copied().unwrap_or_default();
            command = command.arg(place).arg(change.role.map_or("", rank)).arg(change.version);
        }
        command
    }

    pub(super) async fn roles_of(
        &self,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Option<Vec<Option<RoomRole>>>> {
        let mut command = Command::new("HMGET", &self.of_room("h", room)).arg(LIFE);
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
