//! Rooms come into being together with their first members.

use std::collections::BTreeMap;

use chat_core::domain::{RoomRole, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::store::rooms::{NewRoom, RoomChange};

use super::record::rank;
use super::{PART, RedisRooms, shard};
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Key;
use crate::once::OperationId;
use crate::script::scripts;

const CREATE: Operation = Operation::write("rooms.create");

scripts! {
    MAKE = "rooms", "rooms_create";
    STAGE = "rooms", "rooms_stage";
}

/// Who, as what, at which version.
type Seated<'a> = (&'a UserId, (RoomRole, u64));

impl RedisRooms {
    pub(super) async fn create_room(&self, new: &NewRoom) -> Result<bool> {
        let members = first_members(&new.members);
        if new.max_members.is_some_and(|max| members.len() > max as usize) {
            return Err(Error::new(Code::RoomFull).during(CREATE.name).with("room", &new.id));
        }
        let operation = OperationId::new().to_string();
        let staged = if members.len() > PART { self.stage(new, &operation, &members).await? } else { 0 };
        let seated = if staged == 0 { members.as_slice() } else { &[] };
        let mut command = self
            .store
            .script(&MAKE, &self.keys_to_make(new, &operation, seated))
            .arg(&operation)
            .arg(new.id.as_str())
            .arg(&new.kind)
            .arg(u8::from(new.name.is_some()))
            .arg(new.name.as_deref().unwrap_or_default())
            .arg(new.max_members.map(|max| max.to_string()).unwrap_or_default());
        for role in RoomRole::ALL {
            command = command.arg(members.iter().filter(|(_, (of, _))| *of == role).count());
        }
        match self.store.call_one::<i64>(CREATE, seats(command.arg(staged), seated)).await? {
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

    fn keys_to_make(&self, new: &NewRoom, operation: &str, seated: &[Seated<'_>]) -> Vec<Key> {
        let shard = shard(&new.id);
        let mut keys = vec![
            self.of_room("h", &new.id),
            self.of_room("o", &new.id),
            self.at(shard, &["q", operation]),
            self.at(shard, &["a", "active"]),
            self.at(shard, &["z"]),
            self.at(shard, &["n", operation, "h"]),
            self.at(shard, &["n", operation, "o"]),
            self.at(shard, &["t", operation]),
        ];
        keys.extend(seated.iter().map(|(user, _)| self.at(shard, &["u", user.as_str()])));
        keys
    }

    /// Puts many first members where nobody sees them until the room is there.
    async fn stage(&self, new: &NewRoom, operation: &str, members: &[Seated<'_>]) -> Result<usize> {
        let stage = ["h", "o"].map(|kind| self.at(shard(&new.id), &["n", operation, kind]));
        for part in members.chunks(PART) {
            let command = seats(self.store.script(&STAGE, &stage), part);
            self.store.call_one::<u64>(CREATE, command).await?;
        }
        Ok(members.len())
    }
}

fn seats(command: Command, members: &[Seated<'_>]) -> Command {
    members.iter().fold(command, |command, (user, (role, version))| {
        command.arg(user.as_str()).arg(rank(*role)).arg(*version)
    })
}

/// What becomes of these changes in an empty room.
fn first_members(changes: &[RoomChange]) -> Vec<Seated<'_>> {
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
