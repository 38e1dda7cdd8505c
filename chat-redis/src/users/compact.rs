//! [`ProfileLayout::Compact`](super::ProfileLayout::Compact).

use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Error, Result};
use redis::Value;

use super::{BATCH, GET, PUT, REMOVE, RedisUsers, SHORT, STATS, removed, rubbish, ttl_millis};
use crate::batch::rounds;
use crate::connection::Command;
use crate::error::corrupt;
use crate::keys::{Key, Shard};
use crate::script::{Script, scripts};

scripts! {
    PUT_SCRIPT = "users", "users_put";
    REMOVE_SCRIPT = "users", "users_remove";
}

/// The version of a record: see `scripts/users.lua`.
const VERSION: u8 = 1;

/// How many bytes of profiles one command carries at most, unless one profile is larger.
const LARGEST_COMMAND: usize = 512 * 1024;

/// One change: whose, when, and what beside that.
struct Change<'a> {
    user: &'a UserId,
    at: u64,
    profile: Option<Vec<u8>>,
}

impl RedisUsers {
    pub(super) async fn get_compact(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let commands = users.chunks(BATCH).filter_map(|chunk| {
            let (first, others) = chunk.split_first()?;
            let others: Vec<Key> = others.iter().map(|user| self.place(user)).collect();
            Some(Command::new("MGET", &self.place(first)).arg(others))
        });
        let operation = if users.len() > SHORT { GET.bulk() } else { GET };
        let replies: Vec<Vec<Value>> = self.store.call(operation, commands.collect()).await?;
        let now = self.store.now();
        let records = replies.into_iter().flatten();
        let found: Vec<_> = users
            .iter()
            .zip(records)
            .map(|(user, record)| read(user, &record, now))
            .collect::<Result<_>>()?;
        if found.len() == users.len() { Ok(found) } else { Err(corrupt(GET, "too short an answer")) }
    }

    pub(super) async fn put_compact(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        let change = |profile| {
            let json = serde_json::to_vec(profile)
                .map_err(|error| Error::new(Code::Internal).during(PUT.name).caused_by(error))?;
            let UserProfile { id, updated_at, .. } = profile;
            Ok(Change { user: id, at: updated_at.as_millis(), profile: Some(json) })
        };
        let changes = profiles.iter().map(change).collect::<Result<Vec<_>>>()?;
        let mut kept = vec![false; profiles.len()];
        for round in cut(&changes) {
            let answers: Vec<Vec<bool>> =
                self.store.call(PUT, self.commands(&PUT_SCRIPT, &changes, &round)).await?;
            for ((_, batch), answers) in round.iter().zip(answers) {
                for (nth, answer) in batch.iter().zip(answers) {
                    if let Some(kept) = kept.get_mut(*nth) {
                        *kept = answer;
                    }
                }
            }
        }
        Ok(kept)
    }

    pub(super) async fn remove_compact(&self, users: &[(UserId, Timestamp)]) -> Result<()> {
        let change = |(user, at): &'_ (UserId, Timestamp)| (user.clone(), removed(*at));
        let users: Vec<_> = users.iter().map(change).collect();
        let changes: Vec<_> =
            users.iter().map(|(user, at)| Change { user, at: *at, profile: None }).collect();
        for round in cut(&changes) {
            let _gone: Vec<u64> =
                self.store.call(REMOVE, self.commands(&REMOVE_SCRIPT, &changes, &round)).await?;
        }
        Ok(())
    }

    pub(super) async fn count_compact(&self) -> Result<u64> {
        let now = format!("({}", self.store.now().as_millis());
        let count = |shard| Command::new("ZCOUNT", &self.index(shard)).arg(&now).arg("+inf");
        let counts: Vec<u64> = self.store.call(STATS, Shard::all().map(count).collect()).await?;
        Ok(counts.into_iter().sum())
    }

    /// One script call per shard of a round.
    fn commands(
        &self,
        script: &'static Script,
        changes: &[Change<'_>],
        round: &[(Shard, Vec<usize>)],
    ) -> Vec<Command> {
        let command = |(shard, batch): &(Shard, Vec<usize>)| {
            let batch = batch.iter().filter_map(|nth| changes.get(*nth));
            let mut keys = vec![self.index(*shard)];
            keys.extend(batch.clone().map(|change| self.place(change.user)));
            let command = self.store.script(script, &keys).arg(rubbish(&self.store)).arg(ttl_millis());
            batch.fold(command, |command, change| {
                let command = command.arg(change.user.as_str()).arg(change.at);
                match &change.profile {
                    Some(profile) => command.arg(&profile[..]),
                    None => command,
                }
            })
        };
        round.iter().map(command).collect()
    }

    fn place(&self, user: &UserId) -> Key {
        self.store.keys.sharded("m", Shard::of(user.as_str()), &["p", user.as_str()])
    }

    fn index(&self, shard: Shard) -> Key {
        self.store.keys.sharded("m", shard, &["i"])
    }
}

fn cut(changes: &[Change<'_>]) -> Vec<Vec<(Shard, Vec<usize>)>> {
    let size = |change: &Change<'_>| change.profile.as_ref().map_or(0, Vec::len);
    let items = changes.iter().map(|change| (Shard::of(change.user.as_str()), size(change)));
    rounds(items, BATCH, LARGEST_COMMAND)
}

/// Reads a record: a profile, unless it is over or a removal.
fn read(user: &UserId, record: &Value, now: Timestamp) -> Result<Option<UserProfile>> {
    let record = match record {
        Value::Nil => return Ok(None),
        Value::BulkString(record) => record,
        _ => return Err(corrupt(GET, "a profile that is no string")),
    };
    parse(user, record, now).map_err(|reason| corrupt(GET, reason))
}

fn parse(
    user: &UserId,
    record: &[u8],
    now: Timestamp,
) -> std::result::Result<Option<UserProfile>, &'static str> {
    let rest = match record.split_first() {
        Some((&VERSION, rest)) => rest,
        _ => return Err("a version of a profile that is not known"),
    };
    let head = rest.split_at_checked(8).and_then(|(_updated, rest)| rest.split_first_chunk::<8>());
    let (until, rest) = head.ok_or("too short a profile")?;
    if u64::from_be_bytes(*until) <= now.as_millis() {
        return Ok(None);
    }
    let (_removed, json) = rest.split_at_checked(8).ok_or("too short a profile")?;
    let profile: UserProfile =
        serde_json::from_slice(json).map_err(|_| "a profile that is no JSON of one")?;
    if profile.id == *user { Ok(Some(profile)) } else { Err("somebody else's profile") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_profile_is_told_apart_from_a_miss() {
        let (ada, now) = (UserId::new("ada").unwrap(), Timestamp::from_millis(100));
        let profile = UserProfile::new(ada.clone(), "Ada", now);
        let record = |version: u8, until: u64, json: &[u8]| {
            [&[version][..], &[0; 8], &until.to_be_bytes(), &[0; 8], json].concat()
        };
        let json = serde_json::to_vec(&profile).unwrap();
        assert_eq!(parse(&ada, &record(1, 101, &json), now), Ok(Some(profile.clone())));
        assert_eq!(parse(&ada, &record(1, 100, &json), now), Ok(None), "over");
        assert_eq!(parse(&ada, &record(1, 0, b""), now), Ok(None), "removed");
        let eve = UserId::new("eve").unwrap();
        let garbage = [record(2, 101, &json), record(1, 101, b"{}"), Vec::new(), vec![1, 0, 0]];
        for record in garbage {
            assert!(parse(&ada, &record, now).is_err(), "{record:?}");
        }
        assert!(parse(&eve, &record(1, 101, &json), now).is_err());
    }
}
