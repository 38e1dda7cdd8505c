//! A line: one shared connection that is made anew for as long as anybody holds the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::watch;
use tokio::time::timeout;

use super::command::Command;
use super::counters::Counters;
use super::dial::{Connection, Dial};
use super::timing::Timing;
use crate::clock::{ServerClock, Stopwatch};

/// Cheap to clone; the last clone ends the reconnecting.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Wire>);

#[derive(Debug)]
struct Wire {
    dial: Arc<dyn Dial>,
    timing: Timing,
    counters: Arc<Counters>,
    clock: Arc<ServerClock>,
    watch: Stopwatch,
    /// When anything was last heard, in milliseconds of the stopwatch.
    heard_at: AtomicU64,
    state: watch::Sender<State>,
}

/// How a line is.
#[derive(Debug, Clone)]
enum State {
    /// Nobody has asked for it yet.
    Idle,
    /// Being made, since when on the stopwatch, and why the last attempt failed.
    Down {
        since: Duration,
        cause: Option<RedisError>,
    },
    Up(Live),
}

/// A connection and which one it is.
#[derive(Debug, Clone)]
pub(super) struct Live {
    epoch: u64,
    pub(super) connection: Connection,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(super) struct Down(pub(super) Option<RedisError>);

impl Line {
    pub(super) fn new(
        dial: Arc<dyn Dial>,
        timing: Timing,
        counters: Arc<Counters>,
        clock: Arc<ServerClock>,
        watch: Stopwatch,
    ) -> Self {
        let state = watch::Sender::new(State::Idle);
        Self(Arc::new(Wire { dial, timing, counters, clock, watch, heard_at: AtomicU64::new(0), state }))
    }

    /// The connection; waits for it until `deadline` on the stopwatch. A line that has been down for longer than
    /// `hope` is not waited for.
    pub(super) async fn up(&self, deadline: Duration, hope: Duration) -> Result<Live, Down> {
        if let State::Up(live) = &*self.0.state.borrow() {
            return Ok(live.clone());
        }
        self.redial(None);
        let mut states = self.0.state.subscribe();
        loop {
            let now = self.0.watch.elapsed();
            let down = match &*states.borrow_and_update() {
                State::Up(live) => return Ok(live.clone()),
                State::Down { since, cause } if now.saturating_sub(*since) > hope => {
                    return Err(Down(cause.clone()));
                }
                State::Down { cause, .. } => Down(cause.clone()),
                State::Idle => Down(None),
            };
            if timeout(deadline.saturating_sub(now), states.changed()).await.is_err() {
                return Err(down);
            }
        }
    }

    /// Notes that a reply came.
    pub(super) fn heard(&self) {
        self.0.heard_at.store(millis(self.0.watch.elapsed()), Ordering::Relaxed);
    }

    /// A reply did not come in time: unless others were heard since, nobody is there any more.
    pub(super) fn silent(&self, live: &Live, since: Duration) {
        if self.0.heard_at.load(Ordering::Relaxed) <= millis(since) {
            self.redial(Some(live));
        }
    }

    /// This connection is of no use any more.
    pub(super) fn broken(&self, live: &Live) {
        self.redial(Some(live));
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.0.state.borrow(), State::Up(_))
    }

    /// Begins to make a connection, unless that is under way or somebody else has replaced `worn` already.
    fn redial(&self, worn: Option<&Live>) {
        let since = self.0.watch.elapsed();
        let begins = self.0.state.send_if_modified(|state| {
            let worn_out = match (&*state, worn) {
                (State::Idle, _) => true,
                (State::Up(live), Some(worn)) => live.epoch == worn.epoch,
                _ => false,
            };
            if worn_out {
                *state = State::Down { since, cause: None };
            }
            worn_out
        });
        if begins {
            if worn.is_some() {
                self.0.counters.lost();
            }
            let (epoch, line) = (worn.map_or(0, |live| live.epoch + 1), Arc::downgrade(&self.0));
            tokio::spawn(async move {
                let mut pause = FIRST_PAUSE;
                loop {
                    let Some(wire) = line.upgrade() else { return };
                    if wire.connect(epoch).await {
                        return;
                    }
                    let longest = wire.timing.longest_pause;
                    drop(wire);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            });
        }
    }
}

/// The pause after a first failed attempt; it doubles up to [`Timing::longest_pause`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl Wire {
    /// Tries once; `true` when the line is up. A connection counts only once it has told the time.
    async fn connect(&self, epoch: u64) -> bool {
        self.counters.dialled();
        let attempt = async {
            let connection = self.dial.dial().await?;
            let asked = self.watch.elapsed();
            let time = Command::keyless("TIME");
            let answer = connection.send(&[&time]).await.pop().unwrap_or(Ok(redis::Value::Nil))?;
            self.clock.learn(&answer, asked)?;
            Ok::<_, RedisError>(connection)
        };
        let failure = match timeout(self.timing.connect, attempt).await {
            Ok(Ok(connection)) => {
                self.counters.connected(epoch > 0);
                self.state.send_replace(State::Up(Live { epoch, connection }));
                return true;
            }
            Ok(Err(error)) => error,
            Err(_) => std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
        };
        self.counters.failed();
        tracing::debug!(error = failure.category(), "no connection to Redis yet");
        self.state.send_modify(|state| {
            if let State::Down { cause, .. } = state {
                *cause = Some(failure);
            }
        });
        false
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
