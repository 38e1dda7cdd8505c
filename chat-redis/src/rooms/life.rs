//! Rooms grow older and go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_core::domain::RoomId;
use chat_core::error::Result;
use chat_core::store::rooms::RoomAged;
use futures::future::join_all;

use super::{PART, RedisRooms, by_shard, record, shard};
use crate::connection::Operation;
use crate::error::corrupt;
use crate::keys::Shard;
use crate::once::OperationId;
use crate::script::scripts;

const TOUCH: Operation = Operation::write("rooms.touch_many");
const AGE: Operation = Operation::write("rooms.age");
const DELETE: Operation = Operation::write("rooms.delete");
const CHORE: Operation = Operation::write("rooms.chore");

/// How many steps one script takes at most, and how many rooms it looks at for that.
const STEPS: usize = 100;
const LOOK: usize = 200;
/// The longest time without activity that a script can tell from for ever: 69 000 years.
const FOR_EVER: u64 = 1 << 51;

scripts! {
    WAKE = "rooms", "rooms_touch";
    STEP = "rooms", "rooms_age";
    FORGET = "rooms", "rooms_delete";
    DO_CHORE = "rooms", "rooms_chore";
}

/// What one script did for the rooms of a shard.
struct Stepped {
    /// Whether more may be due.
    more: bool,
    chores: bool,
    aged: Vec<RoomAged>,
}

impl RedisRooms {
    pub(super) async fn touch(&self, rooms: &[RoomId]) -> Result<()> {
        let mut commands = Vec::new();
        for (shard, places) in by_shard(rooms) {
            for part in places.chunks(PART) {
                let touched: Vec<_> = part.iter().filter_map(|place| rooms.get(*place)).collect();
                let mut keys = vec![self.at(shard, &["a", "active"]), self.at(shard, &["a", "idle"])];
                keys.extend(touched.iter().map(|room| self.of_room("h", room)));
                let ids: Vec<_> = touched.into_iter().map(RoomId::as_str).collect();
                commands.push(self.store.script(&WAKE, &keys).arg(ids));
            }
        }
        self.store.call::<u8>(TOUCH, commands).await.map(drop)
    }

    /// Asks all shards at once, each for its part of `limit`, and again those where more may be due. What was handed out
    /// is answered also when a shard cannot be reached: nobody else will get it.
    pub(super) async fn age_rooms(
        &self,
        idle: Duration,
        archive: Duration,
        limit: usize,
    ) -> Result<Vec<RoomAged>> {
        let (mut aged, mut failure) = (Vec::new(), None);
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % Shard::all().len();
        let mut open: Vec<_> = Shard::all().cycle().skip(first).take(Shard::all().len()).collect();
        let mut tidied = false;
        while aged.len() < limit && !open.is_empty() {
            let shares = shares(limit - aged.len(), open.len());
            let asked = open.iter().zip(shares).map(|(shard, share)| self.step(*shard, idle, archive, share));
            let answers = join_all(asked).await;
            let mut again = Vec::new();
            let mut chores = Vec::new();
            for (shard, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(stepped) => {
                        aged.extend(stepped.aged);
                        if stepped.more {
                            again.push(shard);
                        }
                        if stepped.chores && !tidied {
                            chores.push(self.chore(shard, ""));
                        }
                    }
                    Err(error) => failure = Some(error),
                }
            }
            join_all(chores).await;
            (tidied, open) = (true, again);
        }
        match failure {
            Some(error) if aged.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, "some rooms could not be aged");
                Ok(aged)
            }
            None => Ok(aged),
        }
    }

    async fn step(&self, shard: Shard, idle: Duration, archive: Duration, limit: usize) -> Result<Stepped> {
        let keys = [
            self.at(shard, &["a", "active"]),
            self.at(shard, &["a", "idle"]),
            self.at(shard, &["q", &OperationId::new().to_string()]),
            self.at(shard, &["z"]),
        ];
        let command = self
            .store
            .script(&STEP, &keys)
            .arg(self.prefix(shard))
            .arg(limit)
            .arg(LOOK)
            .arg(millis(idle))
            .arg(millis(archive));
        let answer: Vec<String> = self.store.call_one(AGE, command).await?;
        let [more, chores, steps @ ..] = answer.as_slice() else {
            return Err(corrupt(AGE, "not an answer"));
        };
        let mut aged = Vec::new();
        for step in steps.chunks(2) {
            let [room, state] = step else { return Err(corrupt(AGE, "not a step")) };
            let room = record::room_id(AGE, room)?;
            aged.push(RoomAged { room, state: record::state(AGE, Some(state))? });
        }
        Ok(Stepped { more: more == "1", chores: chores == "1", aged })
    }

    pub(super) async fn forget(&self, room: &RoomId) -> Result<bool> {
        let (operation, shard) = (OperationId::new().to_string(), shard(room));
        let keys = [
            self.of_room("h", room),
            self.of_room("o", room),
            self.at(shard, &["q", &operation]),
            self.at(shard, &["a", "active"]),
            self.at(shard, &["a", "idle"]),
            self.at(shard, &["z"]),
            self.at(shard, &["t", &operation]),
        ];
        let command = self
            .store
            .script(&FORGET, &keys)
            .arg(self.prefix(shard))
            .arg(&operation)
            .arg(room.as_str())
            .arg(PART);
        let outcome: u8 = self.store.call_one(DELETE, command).await?;
        if outcome == 2 {
            self.finish(shard, &format!("-{operation}")).await;
        }
        Ok(outcome > 0)
    }

    /// Does a chore whole. What fails is left to [`age`](chat_core::store::RoomStore::age).
    pub(super) async fn finish(&self, shard: Shard, chore: &str) {
        while self.chore(shard, chore).await {}
    }

    /// Does a part of a chore, any if it has no name; whether there is more of it to do.
    async fn chore(&self, shard: Shard, chore: &str) -> bool {
        let command = self
            .store
            .script(&DO_CHORE, &[self.at(shard, &["z"])])
            .arg(self.prefix(shard))
            .arg(chore)
            .arg(PART);
        match self.store.call_one::<bool>(CHORE, command).await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "the lists of a room's members follow later");
                false
            }
        }
    }
}

/// `limit` in `parts` parts, each as large as one script can take; the larger ones first.
fn shares(limit: usize, parts: usize) -> impl Iterator<Item = usize> {
    let (each, over) = (limit / parts.max(1), limit % parts.max(1));
    (0..parts).map(move |nth| (each + usize::from(nth < over)).min(STEPS))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).map_or(FOR_EVER, |millis| millis.min(FOR_EVER))
}
