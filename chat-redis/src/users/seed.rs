//! [`ProfileLayout::SeedHash`](super::ProfileLayout::SeedHash).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::Result;
use redis::Value;

use super::{BATCH, GET, PUT, REMOVE, RedisUsers, SHORT, STATS, removed, rubbish, ttl_millis};
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Key;
use crate::script::{Script, scripts};

scripts! {
    PUT_SCRIPT = "users_seed", "users_seed_put";
    REMOVE_SCRIPT = "users_seed", "users_seed_remove";
}

/// How old a count may be.
const COUNT_AGE: Duration = Duration::from_secs(60);

/// The last count, and when it was made.
pub(super) type Counted = tokio::sync::Mutex<Option<(Timestamp, u64)>>;

impl RedisUsers {
    pub(super) async fn get_hashes(
        &self,
        prefix: &str,
        users: &[UserId],
    ) -> Result<Vec<Option<UserProfile>>> {
        let is_injected = self.store.is_injected();
        let mut found = Vec::with_capacity(users.len());
        for chunk in users.chunks(BATCH) {
            let mut commands: Vec<_> = chunk
                .iter()
                .map(|user| {
                    let fields = Field::ALL.map(Field::name);
                    Command::new("HMGET", &hash(prefix, user)).arg(&fields)
                })
                .collect();
            // Only an injected time needs it: otherwise Redis knows when a hash is over.
            if is_injected {
                let beside = chunk.iter().map(|user| Command::new("GET", &self.beside(prefix, user)));
                commands.extend(beside);
            }
            let operation = if users.len() > SHORT { GET.bulk() } else { GET };
            let mut replies: Vec<Value> = self.store.call(operation, commands).await?;
            let beside = replies.split_off(chunk.len().min(replies.len()));
            let now = self.store.now();
            for (nth, (user, fields)) in chunk.iter().zip(replies).enumerate() {
                let profile = read(user, fields)?;
                let ends = beside.get(nth).map(ends).transpose()?.flatten();
                found.push(profile.filter(|profile| {
                    ends.is_none_or(|(ours, until)| profile.updated_at != ours || until > now)
                }));
            }
        }
        Ok(found)
    }

    pub(super) async fn put_hashes(&self, prefix: &str, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        let changes: Vec<_> = profiles
            .iter()
            .map(|profile| {
                let updated = profile.updated_at.as_millis();
                let command = self.change(&PUT_SCRIPT, prefix, &profile.id).arg(updated);
                let fields = Field::WRITTEN.iter();
                (
                    &profile.id,
                    fields.fold(command, |command, field| {
                        command.arg(field.name()).arg(field.of(profile).as_ref())
                    }),
                )
            })
            .collect();
        self.change_all(PUT, changes).await
    }

    pub(super) async fn remove_hashes(&self, prefix: &str, users: &[(UserId, Timestamp)]) -> Result<()> {
        let change =
            |(user, at): &'_ (UserId, Timestamp)| self.change(&REMOVE_SCRIPT, prefix, user).arg(removed(*at));
        let changes = users.iter().map(|one| (&one.0, change(one))).collect();
        self.change_all(REMOVE, changes).await.map(drop)
    }

    /// Counts the hashes there are, whoever wrote them, unless that was done within the last minute.
    pub(super) async fn count_hashes(&self, prefix: &str) -> Result<u64> {
        let mut last = self.counted.lock().await;
        let now = self.store.now();
        if let Some((at, count)) = *last
            && at <= now
            && now.since(at) < COUNT_AGE
        {
            return Ok(count);
        }
        // A walk may meet a key twice.
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        let mut scan = self.store.scan(STATS, prefix, "hash").await?;
        while let Some(keys) = scan.next().await? {
            if self.store.is_injected() {
                let users: Vec<_> = keys.iter().filter_map(|key| whose(prefix, key)).collect();
                let found = self.get_hashes(prefix, &users).await?;
                seen.extend(found.iter().flatten().map(|profile| hasher.hash_one(profile.id.as_str())));
            } else {
                seen.extend(keys.iter().map(|key| hasher.hash_one(key)));
            }
        }
        let count = seen.len() as u64;
        *last = Some((now, count));
        Ok(count)
    }

    fn change(&self, script: &'static Script, prefix: &str, user: &UserId) -> Command {
        let keys = [hash(prefix, user), self.beside(prefix, user)];
        self.store.script(script, &keys).arg(rubbish(&self.store)).arg(ttl_millis())
    }

    /// One round trip, unless a user comes twice: then one after the other.
    async fn change_all(&self, operation: Operation, changes: Vec<(&UserId, Command)>) -> Result<Vec<bool>> {
        let mut answers = vec![false; changes.len()];
        let (mut times, mut rounds) = (HashMap::new(), Vec::<Vec<(usize, Command)>>::new());
        for (nth, (user, command)) in changes.into_iter().enumerate() {
            let before: &mut usize = times.entry(user).or_default();
            match rounds.get_mut(*before) {
                Some(round) => round.push((nth, command)),
                None => rounds.push(vec![(nth, command)]),
            }
            *before += 1;
        }
        for round in rounds {
            let mut round = round.into_iter().peekable();
            while round.peek().is_some() {
                let (places, commands): (Vec<_>, Vec<_>) = round.by_ref().take(BATCH).unzip();
                let done: Vec<bool> = self.store.call(operation, commands).await?;
                for (place, done) in places.into_iter().zip(done) {
                    if let Some(answer) = answers.get_mut(place) {
                        *answer = done;
                    }
                }
            }
        }
        Ok(answers)
    }

    fn beside(&self, prefix: &str, user: &UserId) -> Key {
        self.store.keys.beside("m", &hash(prefix, user), &["s", prefix, user.as_str()])
    }
}

fn hash(prefix: &str, user: &UserId) -> Key {
    Key::foreign(format!("{prefix}{user}"))
}

fn whose(prefix: &str, key: &[u8]) -> Option<UserId> {
    UserId::new(std::str::from_utf8(key).ok()?.strip_prefix(prefix)?).ok()
}

/// A field of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    FullName,
    Avatar,
    Matricule,
    Ministere,
    Sexe,
    UpdatedAt,
    /// Last name: other services write it.
    Nom,
    /// First name: the same.
    Prenom,
}

impl Field {
    const WRITTEN: [Self; 6] =
        [Self::FullName, Self::Avatar, Self::Matricule, Self::Ministere, Self::Sexe, Self::UpdatedAt];
    const ALL: [Self; 8] = [
        Self::FullName,
        Self::Avatar,
        Self::Matricule,
        Self::Ministere,
        Self::Sexe,
        Self::UpdatedAt,
        Self::Nom,
        Self::Prenom,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::FullName => "fullName",
            Self::Avatar => "avatar",
            Self::Matricule => "matricule",
            Self::Ministere => "ministere",
            Self::Sexe => "sexe",
            Self::UpdatedAt => "updatedAt",
            Self::Nom => "nom",
            Self::Prenom => "prenom",
        }
    }

    fn of(self, profile: &UserProfile) -> Cow<'_, str> {
        let text = match self {
            Self::FullName => Some(&profile.full_name),
            Self::Avatar => profile.avatar.as_ref(),
            Self::Matricule => profile.matricule.as_ref(),
            Self::Ministere => profile.ministere.as_ref(),
            Self::Sexe => profile.sexe.as_ref(),
            Self::UpdatedAt => return profile.updated_at.as_millis().to_string().into(),
            Self::Nom | Self::Prenom => None,
        };
        text.map_or("", String::as_str).into()
    }
}

/// Reads the fields of a hash: a profile, if there is a name.
fn read(user: &UserId, fields: Value) -> Result<Option<UserProfile>> {
    let fields: [Option<String>; Field::ALL.len()] = redis::from_redis_value::<Vec<Option<String>>>(fields)
        .map_err(|error| corrupt(GET, error))?
        .try_into()
        .map_err(|_| corrupt(GET, "too short an answer"))?;
    let [full_name, avatar, matricule, ministere, sexe, updated_at, nom, prenom] =
        fields.map(|field| field.filter(|text| !text.is_empty()));
    let parts = || [prenom, nom].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let full_name = full_name.unwrap_or_else(parts);
    if full_name.is_empty() {
        return Ok(None);
    }
    let updated_at = updated_at.as_deref().map_or(Timestamp::EPOCH, time_in);
    Ok(Some(UserProfile { id: user.clone(), full_name, avatar, matricule, ministere, sexe, updated_at }))
}

/// A time that others wrote; what is none is the oldest.
fn time_in(text: &str) -> Timestamp {
    let millis = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let time = millis.map(Timestamp::from_millis);
    time.filter(|time| Some(time.as_millis()) == millis).unwrap_or(Timestamp::EPOCH)
}

/// What stands beside a hash: when the profile we wrote was updated, and its end.
fn ends(beside: &Value) -> Result<Option<(Timestamp, Timestamp)>> {
    let text = match beside {
        Value::Nil => return Ok(None),
        Value::BulkString(text) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let mut numbers = text.into_iter().flat_map(|text| text.split(' ')).map(|text| text.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(updated), Some(ends)) => {
            Ok(Some((Timestamp::from_millis(updated), Timestamp::from_millis(ends))))
        }
        _ => Err(corrupt(GET, "not what stands beside a profile")),
    }
}
