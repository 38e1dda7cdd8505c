//! Rooms come into being together with their first members.

use std::collections::BTreeMap;

use chat_core::domain::{RoomRole, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::store::rooms::{NewRoom, RoomChange};

use super::record::rank;
use super::{PART, RedisRooms, operation_id, room_scripts, shard};
use crate::connection::{Command, Operation};
use crate::error::corrupt;

const CREATE: Operation = Operation::write("rooms.create");

room_scripts! {
    MAKE = "rooms_create";
    STAGE = "rooms_stage";
}

/// The first members, each once.
type Members<'a> = Vec<(&'a UserId, (RoomRole, u64))>;

impl RedisRooms {
    pub(super) async fn create_room(&self, new: &NewRoom) -> Result<bool> {
        let members = first_members(&new.members);
        if new.max_members.is_some_and(|max| members.len() > max as usize) {
            return Err(Error::new(Code::RoomFull).during(CREATE.name).with("room", &new.id));
        }
        let operation = operation_id();
        let staged = if members.len() > PART { self.stage(new, &operation, &members).await? } else { 0 };
        let mut make = self.script(&MAKE, shard(&new.id)).arg(&operation).arg(new.id.as_str()).arg(&new.kind);
        make = match &new.name {
            Some(name) => make.arg("1").arg(name),
            None => make.arg("0").arg(""),
        };
        make = make.arg(new.max_members.map(|max| max.to_string()).unwrap_or_default());
        for role in RoomRole::ALL {
            make = make.arg(members.iter().filter(|(_, (of, _))| *of == role).count());
        }
        make = make.arg(staged);
        if staged == 0 {
            make = seats(make, &members);
        }
        match self.store.call_one::<i64>(CREATE, make).await? {
            1 => {
                if staged > 0 {
                    self.finish(shard(&new.id), &format!("+{}", new.id)).await;
                }
                Ok(true)
            }
            0 => Ok(false),
            -1 => Err(Error::new(Code::Conflict).during(CREATE.name).with("room", &new.id)),
            -2 => Err(Error::new(Code::Unavailable).during(CREATE.name)),
            _ => Err(corrupt(CREATE, "not an outcome")),
        }
    }

    /// Puts many first members where nobody sees them until the room is there.
    async fn stage(&self, new: &NewRoom, operation: &str, members: &Members<'_>) -> Result<usize> {
        for part in members.chunks(PART) {
            let stage = self.script(&STAGE, shard(&new.id)).arg(operation);
            self.store.call_one::<u64>(CREATE, seats(stage, part)).await?;
        }
        Ok(members.len())
    }
}

fn seats(command: Command, members: &[(&UserId, (RoomRole, u64))]) -> Command {
    members.iter().fold(command, |command, (user, (role, version))| {
        command.arg(user.as_str()).arg(rank(*role)).arg(*version)
    })
}

/// What becomes of these changes in an empty room.
fn first_members(changes: &[RoomChange]) -> Members<'_> {
    let mut members = BTreeMap::<&UserId, (RoomRole, u64)>::new();
    for change in changes {
        let Some(role) = change.role else { continue };
        let known = members.get(&change.user).map_or(0, |(_, version)| *version);
        if change.version == 0 || change.version >= known {
            members.insert(&change.user, (role, change.version.max(known)));
        }
    }
    members.into_iter().collect()
}
