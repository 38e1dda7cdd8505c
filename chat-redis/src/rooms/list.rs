//! Rooms by id, the members of a room, the rooms of a user.

use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{RoomId, UserId};
use chat_core::error::Result;
use chat_core::store::rooms::{Room, RoomMember};

use super::{PART, RedisRooms, begin, by_shard, record, sized, unknown};
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Shard;
use crate::script::scripts;

const GET: Operation = Operation::read("rooms.get_many");
const MEMBERS: Operation = Operation::read("rooms.members");
const ROOMS_OF: Operation = Operation::read("rooms.rooms_of");

scripts! {
    LOOK = "rooms", "rooms_get";
    PAGE = "rooms", "rooms_members";
}

impl RedisRooms {
    pub(super) async fn look_up(&self, rooms: &[RoomId]) -> Result<Vec<Option<Room>>> {
        let (mut commands, mut places) = (Vec::new(), Vec::new());
        for all in by_shard(rooms).into_values() {
            for part in all.chunks(PART) {
                let asked = part.iter().filter_map(|place| rooms.get(*place));
                let keys: Vec<_> = asked.map(|room| self.of_room("h", room)).collect();
                commands.push(self.store.script(&LOOK, &keys));
                places.push(part.to_vec());
            }
        }
        let answers: Vec<Vec<Vec<Option<String>>>> =
            self.store.call(sized(GET, rooms.len()), commands).await?;
        let mut found = vec![None; rooms.len()];
        for (places, answer) in places.into_iter().zip(answers) {
            if places.len() != answer.len() {
                return Err(corrupt(GET, "not an answer for each room"));
            }
            for (place, fields) in places.into_iter().zip(answer) {
                if let (Some(found), Some(id)) = (found.get_mut(place), rooms.get(place)) {
                    *found = record::room(GET, id, &fields)?;
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn list_members(
        &self,
        room: &RoomId,
        page: &Page<UserId>,
    ) -> Result<Paged<RoomMember, UserId>> {
        let after = begin(page.after.as_ref().map(UserId::as_str));
        let command = self
            .store
            .script(&PAGE, &[self.of_room("h", room), self.of_room("o", room)])
            .arg(after)
            .arg(page.limit + 1);
        let found: Option<(Vec<String>, Vec<Option<String>>)> =
            self.store.call_one(sized(MEMBERS, page.limit), command).await?;
        let (users, seats) = found.ok_or_else(|| unknown(MEMBERS, room))?;
        let members =
            users.iter().zip(&seats).map(|(user, seat)| record::member(MEMBERS, user, seat.as_deref()));
        let members = members.collect::<Result<Vec<_>>>()?;
        Ok(Paged::from_surplus(members, page.limit, |member| member.user.clone()))
    }

    pub(super) async fn list_rooms(
        &self,
        user: &UserId,
        page: &Page<RoomId>,
    ) -> Result<Paged<RoomId, RoomId>> {
        let after = begin(page.after.as_ref().map(RoomId::as_str));
        let part = |shard| {
            Command::new("ZRANGEBYLEX", &self.at(shard, &["u", user.as_str()]))
                .arg(after.as_str())
                .arg(&["+", "LIMIT", "0"])
                .arg(page.limit + 1)
        };
        let parts: Vec<Vec<String>> =
            self.store.call(sized(ROOMS_OF, page.limit), Shard::all().map(part).collect()).await?;
        let mut rooms = parts.concat();
        rooms.sort_unstable();
        rooms.truncate(page.limit + 1);
        let rooms = rooms.iter().map(|room| record::room_id(ROOMS_OF, room)).collect::<Result<Vec<_>>>()?;
        Ok(Paged::from_surplus(rooms, page.limit, RoomId::clone))
    }
}
