//! A line: one shared connection that is made anew for as long as anybody holds the line.
//!
//! Each connection has a number, its epoch, and a keeper: the task that makes it, asks whether anybody is there when it
//! is silent or under suspicion, and gives it up for the next. A keeper that ends in any other way (its runtime was
//! shut down, and the connection with it) leaves the line idle, so that the next operation begins anew.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chat_core::clock::{ServerClock, Stopwatch};
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::cluster;
use super::command::Command;
use super::counters::Counters;
use super::dial::{Connection, Dial};
use super::timing::Timing;
use super::together::Together;
use crate::clock::time;
use crate::error::is_sign_in;

/// The pause after a first failed attempt; it doubles up to [`Timing::longest_pause`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How long a keeper leaves a suspected connection alone after it answered.
const CALM: Duration = Duration::from_millis(100);

/// Cheap to clone; the last clone ends the reconnecting.
#[derive(Clone)]
pub(super) struct Line {
    kit: Arc<Kit>,
    state: Arc<watch::Sender<State>>,
}

/// What it takes to make connections.
pub(super) struct Kit {
    pub(super) source: Arc<dyn Dial>,
    pub(super) timing: Timing,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Arc<ServerClock>,
    pub(super) watch: Stopwatch,
    /// How many connections were begun.
    pub(super) epochs: AtomicU64,
}

/// How a line is.
#[derive(Debug, Clone)]
enum State {
    /// Nobody keeps it.
    Idle,
    /// Being made.
    Down {
        epoch: u64,
        /// Since when, on the stopwatch.
        since: Duration,
        down: Down,
        /// How many attempts failed.
        failures: u32,
    },
    Up(Live),
    /// For good.
    Closed,
}

impl State {
    fn epoch(&self) -> Option<u64> {
        match self {
            Self::Down { epoch, .. } => Some(*epoch),
            Self::Up(live) => Some(live.0.epoch),
            Self::Idle | Self::Closed => None,
        }
    }
}

/// A connection and which one it is.
#[derive(Clone)]
pub(super) struct Live(Arc<Wire>);

struct Wire {
    epoch: u64,
    connection: Connection,
    /// The same, where what many ask for goes in one write.
    together: Option<Together>,
    /// Who serves which slots, as it was when this connection was made; of a cluster.
    map: Option<u64>,
    /// When anything was last heard, in milliseconds of the stopwatch.
    heard_at: AtomicU64,
    suspected: Notify,
    counters: Arc<Counters>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.counters.up(false);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.0.epoch).field(&self.0.connection).finish()
    }
}

impl Live {
    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Sends one command, with others if there are any.
    pub(super) async fn one(&self, command: &Command) -> RedisResult<Value> {
        match &self.0.together {
            Some(together) => together.send(command.cmd()).await?.extract_error(),
            None => self.0.connection.one(command).await,
        }
    }

    /// Which of its line's connections it is.
    pub(super) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Notes that a reply came.
    pub(super) fn heard(&self, now: Duration) {
        let now = millis(now);
        if self.0.heard_at.load(Relaxed) != now {
            self.0.heard_at.store(now, Relaxed);
        }
    }

    fn heard_at(&self) -> Duration {
        Duration::from_millis(self.0.heard_at.load(Relaxed))
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Down {
    pub(crate) cause: Option<RedisError>,
    /// The service was closed.
    pub(crate) closed: bool,
}

impl Line {
    pub(super) fn new(kit: Kit) -> Self {
        Self { kit: Arc::new(kit), state: Arc::new(watch::Sender::new(State::Idle)) }
    }

    /// The connection, if there is one now.
    pub(super) fn now(&self) -> Option<Live> {
        match &*self.state.borrow() {
            State::Up(live) => Some(live.clone()),
            _ => None,
        }
    }

    /// The connection; waits for it until `deadline` on the stopwatch. A line that has been down for longer than an
    /// operation may take is not waited for.
    pub(super) async fn up(&self, deadline: Duration) -> Result<Live, Down> {
        let patience = self.kit.timing.operation;
        self.wait(deadline, |now, since, _, _| now.saturating_sub(since) > patience).await
    }

    /// The first connection; waits until `deadline`, and not beyond a sign-in that was refused, or `attempts`.
    pub(super) async fn first(&self, deadline: Duration, attempts: Option<u32>) -> Result<Live, Down> {
        let enough = attempts.unwrap_or(u32::MAX);
        let refused = |down: &Down| down.cause.as_ref().is_some_and(is_sign_in);
        self.wait(deadline, |_, _, down, failures| refused(down) || failures >= enough).await
    }

    async fn wait(
        &self,
        deadline: Duration,
        is_hopeless: impl Fn(Duration, Duration, &Down, u32) -> bool + Send,
    ) -> Result<Live, Down> {
        let mut states = self.state.subscribe();
        loop {
            let now = self.kit.watch.elapsed();
            let (begin, why) = match &*states.borrow_and_update() {
                State::Up(live) => return Ok(live.clone()),
                State::Closed => return Err(Down { cause: None, closed: true }),
                State::Down { since, down, failures, .. } if is_hopeless(now, *since, down, *failures) => {
                    return Err(down.clone());
                }
                State::Down { down, .. } => (false, down.clone()),
                State::Idle => (true, Down::default()),
            };
            if begin {
                self.begin(None);
                // In a runtime that is ending nothing begins.
                if matches!(&*self.state.borrow(), State::Idle) {
                    return Err(why);
                }
            } else if timeout(deadline.saturating_sub(now), states.changed()).await.is_err() {
                return Err(why);
            }
        }
    }

    /// A reply did not come in time, which was asked for at `since`. A connection to one server is given up unless
    /// others were heard since; one that heals is looked after.
    pub(super) fn silent(&self, live: &Live, since: Duration) {
        if live.0.connection.heals() {
            live.0.suspected.notify_one();
        } else if millis(live.heard_at()) <= millis(since) {
            self.begin(Some(live));
        }
    }

    /// This connection is of no use any more. One that heals itself is looked after instead.
    pub(super) fn broken(&self, live: &Live) {
        if live.0.connection.heals() {
            live.0.suspected.notify_one();
        } else {
            self.begin(Some(live));
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }

    /// Ends it for all its clones. What is under way ends by itself.
    pub(super) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// Begins to make a connection, unless that is under way or somebody else has replaced `worn` already.
    fn begin(&self, worn: Option<&Live>) {
        let since = self.kit.watch.elapsed();
        let mut begun = None;
        self.state.send_if_modified(|state| {
            let begins = match (&*state, worn) {
                (State::Idle, _) => true,
                (State::Up(live), Some(worn)) => live.0.epoch == worn.0.epoch,
                _ => false,
            };
            if begins {
                // Of many who ask at once, one takes a number: the first connection is the first.
                let epoch = self.kit.next_epoch();
                *state = State::Down { epoch, since, down: Down::default(), failures: 0 };
                begun = Some(epoch);
            }
            begins
        });
        if let Some(epoch) = begun {
            if worn.is_some() {
                self.kit.counters.lost();
            }
            self.keep(epoch, None);
        }
    }

    fn keep(&self, epoch: u64, live: Option<Live>) {
        let keeper = Keeper { kit: Arc::clone(&self.kit), state: Arc::downgrade(&self.state), epoch };
        let states = self.state.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = keeper.relieved(states) => {}
                () = keeper.work(live) => {}
            }
        });
    }
}

/// Looks after the connection of one epoch.
struct Keeper {
    kit: Arc<Kit>,
    state: Weak<watch::Sender<State>>,
    epoch: u64,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.send_if_modified(|state| {
                let mine = state.epoch() == Some(self.epoch);
                if mine {
                    *state = State::Idle;
                }
                mine
            });
        }
    }
}

/// What became of the question whether anybody is there.
enum Sign {
    Alive,
    /// A cluster answers, and other nodes serve its slots now.
    Moved,
    Dead,
}

impl Keeper {
    /// Waits until the line is at another epoch, or nobody holds it any more.
    async fn relieved(&self, mut states: watch::Receiver<State>) {
        while states.borrow_and_update().epoch() == Some(self.epoch) {
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    async fn work(&self, live: Option<Live>) {
        let live = match live {
            Some(live) => live,
            None => self.connect().await,
        };
        loop {
            let suspected = tokio::select! {
                () = live.0.suspected.notified() => true,
                () = sleep(self.kit.timing.idle) => false,
            };
            let quiet = self.kit.watch.elapsed().saturating_sub(live.heard_at()) >= self.kit.timing.idle;
            if !suspected && !quiet && !self.kit.clock.is_stale() {
                continue;
            }
            match self.ask(&live, suspected).await {
                Sign::Alive => {}
                Sign::Moved => self.renew(&live).await,
                Sign::Dead => {
                    if let Some(state) = self.state.upgrade() {
                        Line { kit: Arc::clone(&self.kit), state }.begin(Some(&live));
                    }
                    return;
                }
            }
            if suspected {
                sleep(CALM).await;
            }
        }
    }

    /// Makes the connection, however long it takes.
    async fn connect(&self) -> Live {
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.kit.persist(self.epoch).await {
                Ok(live) => {
                    self.kit.counters.connected(self.epoch > 0);
                    self.put(|state| *state = State::Up(live.clone()));
                    return live;
                }
                Err(failure) => failure,
            };
            self.put(|state| {
                if let State::Down { down, failures, .. } = state {
                    down.cause = Some(failure);
                    *failures = failures.saturating_add(1);
                }
            });
            sleep(pause).await;
            pause = (pause * 2).min(self.kit.timing.longest_pause);
        }
    }

    /// Changes the state of the line, if it is still at this epoch.
    fn put(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.state.upgrade() {
            state.send_if_modified(|state| {
                let mine = state.epoch() == Some(self.epoch);
                if mine {
                    change(state);
                }
                mine
            });
        }
    }

    /// Asks for the time, and on a suspicion a cluster for its map.
    async fn ask(&self, live: &Live, suspected: bool) -> Sign {
        let question = async {
            self.kit.learn_time(&live.0.connection).await?;
            if suspected && live.0.connection.is_cluster() {
                map_of(&live.0.connection).await
            } else {
                Ok(live.0.map)
            }
        };
        match timeout(self.kit.patience(&live.0.connection), question).await {
            Ok(Ok(map)) => {
                live.heard(self.kit.watch.elapsed());
                if map == live.0.map { Sign::Alive } else { Sign::Moved }
            }
            _ => Sign::Dead,
        }
    }

    /// Puts a new connection in the place of one that knows an old map: without a gap, and only if it can be made.
    async fn renew(&self, live: &Live) {
        let epoch = self.kit.next_epoch();
        let Ok(Ok(new)) = timeout(self.kit.timing.connect, self.kit.dial(epoch)).await else { return };
        let Some(state) = self.state.upgrade() else { return };
        let line = Line { kit: Arc::clone(&self.kit), state };
        let replaced = line.state.send_if_modified(|state| {
            let mine = state.epoch() == Some(live.0.epoch);
            if mine {
                *state = State::Up(new.clone());
            }
            mine
        });
        if replaced {
            self.kit.counters.connected(true);
            line.keep(epoch, Some(new));
        }
    }
}

impl Kit {
    /// Tries to connect for as long as one attempt may take. While it hangs, others are begun: the first may hang on a
    /// server that is back since.
    async fn persist(&self, epoch: u64) -> RedisResult<Live> {
        let attempt = async {
            let too_late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            timeout(self.timing.connect, self.dial(epoch)).await.map_err(too_late)?
        };
        let others = async {
            let step = self.timing.longest_pause;
            sleep(step).await;
            loop {
                let pause = sleep(step);
                if let Ok(Ok(live)) = timeout(step, self.dial(epoch)).await {
                    return live;
                }
                pause.await;
            }
        };
        tokio::select! {
            made = attempt => {
                if let Err(failure) = &made {
                    self.counters.failed();
                    tracing::debug!(error = failure.category(), "no connection to Redis yet");
                }
                made
            }
            live = others => Ok(live),
        }
    }

    /// Makes a connection. It counts only once it has told the time.
    async fn dial(&self, epoch: u64) -> RedisResult<Live> {
        self.counters.dialled();
        let connection = self.source.dial().await?;
        self.learn_time(&connection).await?;
        let map = if connection.is_cluster() { map_of(&connection).await? } else { None };
        let (counters, heard_at) = (Arc::clone(&self.counters), AtomicU64::new(millis(self.watch.elapsed())));
        counters.up(true);
        let together = match &connection {
            Connection::Single(one) => Some(Together::new(one.clone())),
            _ => None,
        };
        Ok(Live(Arc::new(Wire {
            epoch,
            connection,
            together,
            map,
            heard_at,
            suspected: Notify::new(),
            counters,
        })))
    }

    fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Relaxed)
    }

    async fn learn_time(&self, connection: &Connection) -> RedisResult<()> {
        let asked = self.watch.elapsed();
        let answer = connection.any(&Command::keyless("TIME")).await?;
        self.clock.learn(time(&answer)?, asked);
        Ok(())
    }

    /// How long one reply is waited for. A connection that heals itself is given time to do so.
    pub(super) fn patience(&self, connection: &Connection) -> Duration {
        if connection.heals() { self.timing.operation } else { self.timing.response }
    }
}

/// A number for who serves which slots of a cluster; none where that is not told.
async fn map_of(connection: &Connection) -> RedisResult<Option<u64>> {
    match connection.any(&cluster::slots()).await {
        Ok(answer) => Ok(cluster::fingerprint(&answer)),
        Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
