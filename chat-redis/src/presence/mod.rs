//! [`PresenceStore`] on Redis: one native command for a heartbeat, one script for an edge.
//!
//! # Layout
//!
//! Everything of a user lives in the shard of its id. A user's **leases** are a set of sessions by deadline; its
//! **record** is a hash of what else is known. The shard's **index** holds everybody announced online by a *bound*: no
//! lease of that user ends before it, nor does a timed status. Whoever has a bound in the future is online with all
//! sessions; only those whose bound has passed are looked at. A heartbeat leaves the index alone, because it only ever
//! makes a deadline later (`ZADD XX GT`): bounds stay true, and a sweep raises them once per lease instead of once per
//! heartbeat. A lease is shortened by a script, which lowers the bound with it. None of this depends on what time it is,
//! so a clock that is set back does no harm.
//!
//! Measured against an index that every heartbeat keeps exact, in a script: 1.1 instead of 5.6 µs of the server per
//! heartbeat with 10 000 users online, 1.4 instead of 9.1 with 200 000.
//!
//! Counts are of everybody announced: what is over but not swept yet is subtracted when somebody asks.
//!
//! An edge is handed out once, also when its reply is lost: each call has a name, a script remembers what it answered
//! under that name for 30 seconds (in the record, or beside the index when it is about several users), and gives it again.
//!
//! # Cost
//!
//! | operation | commands | round trips |
//! |---|---|---|
//! | `connect`, `disconnect` | 1 script | 1 (see the peak below) |
//! | `renew_many` | 1 `ZADD` a session; for those that were not made later, 1 script a shard and 256 of them more | 1, or 2 |
//! | `are_online` of one | 1 `ZCOUNT` | 1 |
//! | `are_online`, `get_many`, `touch_many`, `idle_many` | 1 script a shard and 256 users | 1 |
//! | `choose`, `set_visibility` | 1 script | 1 |
//! | `sweep` | 1 script a shard, repeated where more than 256 bounds have passed | 1 a turn |
//! | `online` | 1 script when the page ends in one shard, else up to 1 a shard | 1 to 5 |
//! | `stats` | 1 script a shard and 1 for the peak, repeated where more than 256 bounds have passed | 1 a turn |
//!
//! # The peak
//!
//! Shards cannot be counted together in one command. Every `connect` answers how many are announced in its shard, so a
//! node adds up what it has seen of all shards, and asks them only when that could be a new peak and it is not sure of
//! it: at its first connect, when it has not looked at some shard for ten seconds, or while bounds have passed that
//! nobody has looked at. Alone on its Redis a node never misses a peak; what other nodes do is known to it with the next
//! sweep. What it noticed is saved with its next `sweep` or `stats`.
//!
//! # Kind of state
//!
//! Volatile. Records of users who went offline are forgotten after 30 days, except what they have chosen. Needs Redis
//! 6.2.

mod listing;
mod peak;
mod record;
mod stats;
mod sweep;

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::presence::{ChosenStatus, Lapse, PresenceStats};
use chat_core::domain::{Presence, SessionId, Transition, UserId, Visibility};
use chat_core::error::Result;
use chat_core::store::PresenceStore;
use chat_core::store::presence::{Connect, Renewal};
use redis::{FromRedisValue, ParsingError, Value};

use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::{Key, Shard};
use crate::once::OperationId;
use crate::script::{Script, scripts};
use crate::store::Store;
use peak::Peak;
use record::Found;
use sweep::Unheard;

scripts! {
    CONNECT_SCRIPT = "presence", "presence_ends", "presence_connect";
    DISCONNECT_SCRIPT = "presence", "presence_ends", "presence_disconnect";
    RENEW_SCRIPT = "presence", "presence_renew";
    ONLINE_SCRIPT = "presence", "presence_online";
    GET_SCRIPT = "presence", "presence_get";
    TOUCH_SCRIPT = "presence", "presence_once", "presence_touch";
    IDLE_SCRIPT = "presence", "presence_once", "presence_idle";
    CHOOSE_SCRIPT = "presence", "presence_once", "presence_choose";
    SHOW_SCRIPT = "presence", "presence_once", "presence_show";
}

const CONNECT: Operation = Operation::write("presence.connect");
const DISCONNECT: Operation = Operation::write("presence.disconnect");
const RENEW: Operation = Operation::write("presence.renew_many");
const ARE_ONLINE: Operation = Operation::read("presence.are_online");
const GET: Operation = Operation::read("presence.get_many");
const TOUCH: Operation = Operation::write("presence.touch_many");
const IDLE: Operation = Operation::write("presence.idle_many");
const CHOOSE: Operation = Operation::write("presence.choose");
const SHOW: Operation = Operation::write("presence.set_visibility");

/// How many users or sessions one script looks at: a fraction of a millisecond of the server.
const PART: usize = 256;

/// Who is here, on Redis.
#[derive(Debug)]
pub struct RedisPresence {
    store: Store,
    peak: Peak,
    unheard: Unheard,
    /// At which shard the next sweep begins, so that a small limit is not always spent on the same ones.
    first: AtomicUsize,
}

impl RedisPresence {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, peak: Peak::new(), unheard: Unheard::default(), first: AtomicUsize::new(0) }
    }

    /// A script of a shard that has no answer to remember.
    fn script(&self, script: &'static Script, shard: Shard) -> Command {
        self.store.script(script, &[self.index(shard), self.no_answer(shard)])
    }

    /// A script of a shard that remembers its answer to this call.
    fn script_once(&self, script: &'static Script, shard: Shard, call: OperationId) -> Command {
        self.store.script(script, &[self.index(shard), self.answer(shard, call)])
    }

    /// A script about a user's sessions, which remembers its answer in the user's record.
    fn script_of(&self, script: &'static Script, user: &UserId) -> Command {
        let shard = shard_of(user);
        let keys = [self.index(shard), self.no_answer(shard), self.leases(user), self.record(user)];
        self.store.script(script, &keys)
    }

    /// A script about what a user has chosen.
    fn script_of_record(&self, script: &'static Script, user: &UserId) -> Command {
        let shard = shard_of(user);
        let keys = [self.index(shard), self.answer(shard, OperationId::new()), self.record(user)];
        self.store.script(script, &keys).arg(user.as_str())
    }

    fn index(&self, shard: Shard) -> Key {
        self.store.keys.sharded("p", shard, &["i"])
    }

    fn answer(&self, shard: Shard, call: OperationId) -> Key {
        self.store.keys.sharded("p", shard, &["o", &call.to_string()])
    }

    /// A key that never is: see `presence.lua`.
    fn no_answer(&self, shard: Shard) -> Key {
        self.store.keys.sharded("p", shard, &["o", "-"])
    }

    fn leases(&self, user: &UserId) -> Key {
        self.store.keys.sharded("p", shard_of(user), &["u", user.as_str()])
    }

    fn record(&self, user: &UserId) -> Key {
        self.store.keys.sharded("p", shard_of(user), &["h", user.as_str()])
    }

    /// Asks every shard about its part of the items, at once; one answer per item, in their order.
    async fn scattered<I: Sync, T: FromRedisValue>(
        &self,
        operation: Operation,
        items: &[I],
        user: impl Fn(&I) -> &UserId,
        command: impl Fn(Shard, Vec<&I>) -> Command,
    ) -> Result<Vec<T>> {
        let parts = parts(items.iter().map(user));
        let of_part = |(shard, part): &(Shard, Vec<usize>)| {
            command(*shard, part.iter().filter_map(|at| items.get(*at)).collect())
        };
        let commands: Vec<Command> = parts.iter().map(of_part).collect();
        let answers = self.store.call::<Vec<T>>(operation, commands).await?;
        let mut placed: Vec<(usize, T)> =
            parts.into_iter().flat_map(|(_, part)| part).zip(answers.into_iter().flatten()).collect();
        if placed.len() != items.len() {
            return Err(corrupt(operation, "not one answer per question"));
        }
        placed.sort_unstable_by_key(|(at, _)| *at);
        Ok(placed.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Finds out what became of leases that could not be made later.
    async fn renew_by_script(
        &self,
        sessions: &[(UserId, SessionId)],
        lease: Duration,
    ) -> Result<Vec<Renewal>> {
        let until = deadline(self.store.now(), lease);
        let command = |shard, part: Vec<&(UserId, SessionId)>| {
            self.peak.may_end(shard, until);
            let command = self.script(&RENEW_SCRIPT, shard).arg(millis(lease));
            part.into_iter()
                .fold(command, |command, (user, session)| command.arg(user.as_str()).arg(session.as_str()))
        };
        let alive: Vec<bool> = self.scattered(RENEW, sessions, |(user, _)| user, command).await?;
        Ok(alive.into_iter().map(|alive| if alive { Renewal::Alive } else { Renewal::Lost }).collect())
    }

    /// Makes the lease end later; says no where it is gone, was renewed in this very millisecond, or ends later already.
    fn later(&self, user: &UserId, session: &SessionId, until: Timestamp) -> Command {
        let command = Command::new("ZADD", &self.leases(user)).arg("XX").arg("GT").arg("CH");
        command.arg(until.as_millis()).arg(session.as_str())
    }
}

#[async_trait]
impl PresenceStore for RedisPresence {
    async fn connect(&self, connect: &Connect) -> Result<Transition> {
        let device = match &connect.device {
            Some(device) => record::device_text(device).map_err(|error| corrupt(CONNECT, error))?,
            None => String::new(),
        };
        let shard = shard_of(&connect.user);
        let command = self
            .script_of(&CONNECT_SCRIPT, &connect.user)
            .arg(connect.user.as_str())
            .arg(connect.session.as_str())
            .arg(millis(connect.lease))
            .arg(OperationId::new())
            .arg(device);
        let edge: Edge = self.store.call_one(CONNECT, command).await?;
        let now = self.store.now();
        self.peak.changed(shard, edge.announced);
        self.peak.may_end(shard, deadline(now, connect.lease));
        if self.peak.is_in_doubt(now) {
            self.take_census().await;
        }
        edge.transition(CONNECT)
    }

    async fn renew_many(&self, sessions: &[(UserId, SessionId)], lease: Duration) -> Result<Vec<Renewal>> {
        let until = deadline(self.store.now(), lease);
        let commands = sessions.iter().map(|(user, session)| self.later(user, session, until));
        let is_later: Vec<bool> = self.store.call(RENEW, commands.collect()).await?;
        let mut renewals = vec![Renewal::Alive; sessions.len()];
        let rest = sessions.iter().enumerate().zip(is_later).filter(|(_, is_later)| !is_later);
        let (places, rest): (Vec<usize>, Vec<_>) =
            rest.map(|((nth, session), _)| (nth, session.clone())).unzip();
        if !rest.is_empty() {
            for (nth, renewal) in places.into_iter().zip(self.renew_by_script(&rest, lease).await?) {
                if let Some(place) = renewals.get_mut(nth) {
                    *place = renewal;
                }
            }
        }
        Ok(renewals)
    }

    async fn disconnect(&self, user: &UserId, session: &SessionId) -> Result<Transition> {
        let command = self.script_of(&DISCONNECT_SCRIPT, user);
        let command = command.arg(user.as_str()).arg(session.as_str()).arg(OperationId::new());
        let edge: Edge = self.store.call_one(DISCONNECT, command).await?;
        self.peak.changed(shard_of(user), edge.announced);
        edge.transition(DISCONNECT)
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Lapse>> {
        self.sweep_shards(limit).await
    }

    async fn get_many(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        let command = |shard, part: Vec<&UserId>| with_users(self.script(&GET_SCRIPT, shard), part);
        let operation = if users.len() > PART { GET.bulk() } else { GET };
        let found: Vec<Found> = self.scattered(operation, users, |user| user, command).await?;
        let now = self.store.now();
        users.iter().zip(found).map(|(user, found)| found.presence(user, now)).collect()
    }

    async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>> {
        if let [user] = users {
            let after = format!("({}", self.store.now().as_millis());
            let live = Command::new("ZCOUNT", &self.leases(user)).arg(after).arg("+inf");
            return Ok(vec![self.store.call_one::<u64>(ARE_ONLINE, live).await? > 0]);
        }
        let command = |shard, part: Vec<&UserId>| with_users(self.script(&ONLINE_SCRIPT, shard), part);
        self.scattered(ARE_ONLINE, users, |user| user, command).await
    }

    async fn touch_many(&self, users: &[UserId]) -> Result<Vec<bool>> {
        let command = |shard, part: Vec<&UserId>| {
            with_users(self.script_once(&TOUCH_SCRIPT, shard, OperationId::new()), part)
        };
        self.scattered(TOUCH, users, |user| user, command).await
    }

    async fn idle_many(&self, users: &[UserId], after: Duration) -> Result<Vec<bool>> {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let command = |shard, part: Vec<&UserId>| {
            with_users(self.script_once(&IDLE_SCRIPT, shard, OperationId::new()).arg(after), part)
        };
        self.scattered(IDLE, users, |user| user, command).await
    }

    async fn choose(&self, user: &UserId, chosen: Option<&ChosenStatus>) -> Result<()> {
        let now = self.store.now();
        let chosen = chosen.and_then(|chosen| Some((chosen.holds(now)?.as_str(), chosen.until)));
        let (status, until) = chosen.unwrap_or(("", None));
        let until = until.map(|until| until.as_millis().to_string()).unwrap_or_default();
        let command = self.script_of_record(&CHOOSE_SCRIPT, user).arg(status).arg(until);
        self.store.call_one::<i64>(CHOOSE, command).await.map(drop)
    }

    async fn set_visibility(&self, user: &UserId, visibility: Visibility) -> Result<()> {
        let command = self.script_of_record(&SHOW_SCRIPT, user).arg(record::visibility_text(visibility));
        self.store.call_one::<i64>(SHOW, command).await.map(drop)
    }

    async fn online(&self, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        self.list(page).await
    }

    async fn stats(&self) -> Result<PresenceStats> {
        self.count().await
    }
}

fn shard_of(user: &UserId) -> Shard {
    Shard::of(user.as_str())
}

fn with_users(command: Command, users: Vec<&UserId>) -> Command {
    users.into_iter().fold(command, |command, user| command.arg(user.as_str()))
}

/// Positions by the shard of their user, no more than [`PART`] together.
fn parts<'a>(users: impl Iterator<Item = &'a UserId>) -> Vec<(Shard, Vec<usize>)> {
    let mut open: Vec<(Shard, Vec<usize>)> = Shard::all().map(|shard| (shard, Vec::new())).collect();
    let mut full = Vec::new();
    for (at, user) in users.enumerate() {
        let shard = shard_of(user);
        if let Some((_, part)) = open.get_mut(shard.index()) {
            part.push(at);
            if part.len() == PART {
                full.push((shard, std::mem::take(part)));
            }
        }
    }
    full.extend(open.into_iter().filter(|(_, part)| !part.is_empty()));
    full
}

/// A lease below a millisecond lasts one.
fn millis(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn deadline(now: Timestamp, lease: Duration) -> Timestamp {
    now.after(Duration::from_millis(millis(lease)))
}

/// An edge as the scripts say it: `-` for none, `on`, `off`, or when the last lease had run out; and how many users are
/// announced in the shard when it is one.
struct Edge {
    said: String,
    announced: Option<u64>,
}

impl FromRedisValue for Edge {
    fn from_redis_value(value: Value) -> std::result::Result<Self, ParsingError> {
        let Value::Array(parts) = value else { return Err("an edge is an array".into()) };
        let mut parts = parts.into_iter();
        let said = redis::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        Ok(Self { said, announced: redis::from_redis_value(parts.next().unwrap_or(Value::Nil))? })
    }
}

impl Edge {
    fn transition(&self, operation: Operation) -> Result<Transition> {
        match self.said.as_str() {
            "-" => Ok(Transition::None),
            "on" => Ok(Transition::WentOnline),
            "off" => Ok(Transition::WentOffline),
            lapsed_at => {
                let lapsed_at = lapsed_at.parse().map_err(|error| corrupt(operation, error))?;
                Ok(Transition::CameBack { lapsed_at: Timestamp::from_millis(lapsed_at) })
            }
        }
    }
}
