//! Tracking: a server tells what others change, on a connection of its own, for as long as that may be believed.
//!
//! `CLIENT TRACKING ON BCAST PREFIX …` makes a server tell of every change of a key with that prefix, whoever made it and
//! by whatever command, script, expiry or eviction, and of a flush. It is told on the connection that asked, before
//! anything the server answers there later. So the answer to a `PING` means: all that was changed before the `PING`
//! was sent has been told. That is the law everything here rests on.
//!
//! | what happens | what is done |
//! |---|---|
//! | the connection ends | all is lost at once |
//! | a `PING` is not answered within [`Tracking::patience`] | all is lost; a connection that hangs is given up |
//! | the server says something that cannot be understood | everything may have changed |
//! | requests go over another connection than when it began | all is lost: they may go to another server, a new master |
//! | the server was restarted, or is another one | its connection ended; names of servers (`run_id`) are compared at the start |
//!
//! What is lost is begun anew, for ever, after [`Timing::longest_pause`](super::Timing::longest_pause) at most, and is
//! trusted again when tracking is on and a `PING` was answered.
//!
//! On a cluster each node would have to be listened to, while slots move; connections that heal by themselves may lead to
//! another server unseen: neither is tracked. Nor is a server that refuses `CLIENT TRACKING`. `SWAPDB` is told by no server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, Stopwatch, Timestamp};
use chat_core::error::{Code, Error};
use futures::future::{join, join_all};
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Cmd, FromRedisValue, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::RedisService;
use super::command::{Command, Operation};
use super::health::field;
use super::subscription::{Pause, Refusal};
use crate::error::{Failure, Remedy, error, remedy};

const TRACK: Operation = Operation::read("redis.track");

/// How closely a server that tells of changes is watched. What it tells may be believed for `beat` and `patience` together
/// after it was asked: 2 s by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// How often it is asked whether it is there. 1 s by default.
    pub beat: Duration,
    /// How long the answer may take. 1 s by default.
    pub patience: Duration,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { beat: Duration::from_secs(1), patience: Duration::from_secs(1) }
    }
}

/// Who is told what changes.
pub(crate) trait Tracked: Send + Sync + 'static {
    /// A key with the prefix was changed.
    fn changed(&self, key: &[u8]);

    /// Everything was changed, or may have been.
    fn everything_changed(&self);

    /// All that was changed up to `until` has been told; so much may be trusted for `lease`.
    fn heard(&self, until: Timestamp, lease: Duration);

    /// Changes may be missed from here on.
    fn lost(&self);
}

impl RedisService {
    /// Tells `tracked` what is changed under a prefix, until the service is closed. It ends earlier where that cannot be:
    /// see [the module](self).
    pub(crate) async fn track<T: Tracked>(&self, prefix: String, tracking: Tracking, tracked: Arc<T>) {
        let ear = Ear { service: self, prefix, tracking, tracked };
        tokio::select! {
            () = self.closed() => {}
            why = ear.listen() => tracing::info!(code = %why.code(), "changes in Redis are not tracked"),
        }
    }

    /// Which connections carry requests now: of each line its number.
    fn wires(&self) -> [Option<u64>; 2] {
        [&self.inner.main, &self.inner.bulk].map(|line| line.now().map(|live| live.epoch()))
    }
}

struct Ear<'a, T> {
    service: &'a RedisService,
    prefix: String,
    tracking: Tracking,
    tracked: Arc<T>,
}

/// A connection on which changes are told.
struct Told {
    connection: MultiplexedConnection,
    gone: Arc<Gone>,
    wires: [Option<u64>; 2],
}

impl<T: Tracked> Ear<'_, T> {
    /// Until it cannot be.
    async fn listen(&self) -> Error {
        let timing = self.service.inner.timing;
        loop {
            let mut pause = Pause::new(timing);
            let told = loop {
                match timeout(timing.connect, self.begin()).await {
                    Ok(Ok(told)) => break told,
                    Ok(Err(Refusal::ForGood(why))) => return why,
                    Ok(Err(Refusal::ForNow)) | Err(_) => pause.wait().await,
                }
            };
            self.believe(told).await;
            self.tracked.lost();
            tracing::warn!("changes in Redis may be missed");
        }
    }

    async fn begin(&self) -> Result<Told, Refusal> {
        if self.service.live(TRACK).await?.connection().heals() {
            let why = Error::invalid(
                Code::ConfigInvalid,
                "connections to this Redis may change their server unseen",
            );
            return Err(Refusal::ForGood(why));
        }
        let gone = Arc::new(Gone::default());
        let inlet = Inlet { tracked: Arc::clone(&self.tracked), gone: Arc::clone(&gone) };
        let connection = self.service.hearing(TRACK, inlet).await?;
        let mut begin = Cmd::new();
        begin.arg("CLIENT").arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(&self.prefix);
        ask(&connection, &begin).await?;
        let mut info = Cmd::new();
        info.arg("INFO").arg("server");
        let here = run_id(&ask(&connection, &info).await?);
        let there = |operation| self.service.call_one(operation, Command::keyless("INFO").arg("server"));
        let wires = self.service.wires();
        let is_same = here.is_some()
            && here == run_id(&there(TRACK).await?)
            && here == run_id(&there(TRACK.bulk()).await?)
            // A line that was connected just now is looked at again.
            && wires == self.service.wires()
            && wires.iter().all(Option::is_some);
        if is_same { Ok(Told { connection, gone, wires }) } else { Err(Refusal::ForNow) }
    }

    /// What is broken is noticed by those who use it, and whoever reads near uses nothing. A line that is slow is not broken.
    async fn use_lines(&self) {
        let used = [TRACK, TRACK.bulk()];
        let used = used.map(|operation| self.service.call_one::<Value>(operation, Command::keyless("PING")));
        join_all(used).await;
    }

    /// As long as it may be believed.
    async fn believe(&self, told: Told) {
        let (mut ping, Tracking { beat, patience }) = (Cmd::new(), self.tracking);
        ping.arg("PING");
        let mut was_heard = false;
        loop {
            let begun = Stopwatch::start();
            let asked = self.service.clock().now();
            let answer = timeout(patience, ask(&told.connection, &ping)).await;
            let is_same = told.wires == self.service.wires();
            if !matches!(answer, Ok(Ok(_))) || !is_same || told.gone.is.load(Ordering::Acquire) {
                return;
            }
            self.tracked.heard(asked, beat + patience);
            if !std::mem::replace(&mut was_heard, true) {
                tracing::info!("changes in Redis are tracked");
            }
            let rest = beat.saturating_sub(begun.elapsed());
            tokio::select! {
                () = told.gone.told.notified() => return,
                _ = join(sleep(rest), timeout(rest, self.use_lines())) => {}
            }
        }
    }
}

/// Sends a command. What the server does not do will not be done later either, unless it says so.
async fn ask(connection: &MultiplexedConnection, command: &Cmd) -> Result<Value, Refusal> {
    let answer: RedisResult<Value> = connection.clone().send_packed_command(command).await;
    match answer.and_then(Value::extract_error) {
        Ok(answer) => Ok(answer),
        Err(failure) if remedy(&failure) == Remedy::None => {
            Err(Refusal::ForGood(error(TRACK, &Failure::Said(&failure), false)))
        }
        Err(_) => Err(Refusal::ForNow),
    }
}

/// The name of the life of a server.
fn run_id(info: &Value) -> Option<String> {
    field(&String::from_redis_value(info.clone()).ok()?, "run_id").map(str::to_owned)
}

/// Whether the connection has ended.
#[derive(Default)]
struct Gone {
    is: AtomicBool,
    told: Notify,
}

/// What one connection hears. It is heard before anything that is answered later.
struct Inlet<T> {
    tracked: Arc<T>,
    gone: Arc<Gone>,
}

impl<T: Tracked> AsyncPushSender for Inlet<T> {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => keys.iter().for_each(|key| match key {
                    Value::BulkString(key) => self.tracked.changed(key),
                    _ => self.tracked.everything_changed(),
                }),
                _ => self.tracked.everything_changed(),
            },
            PushKind::Disconnection => {
                self.gone.is.store(true, Ordering::Release);
                self.tracked.lost();
                self.gone.told.notify_one();
            }
            _ => {}
        }
        Ok(())
    }
}
