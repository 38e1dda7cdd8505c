//! One operation: sent, repeated where that is harmless, and answered before its deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_core::error::Result;
use redis::{FromRedisValue, RedisError, Value};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::line::{Down, Line, Live};
use super::{Command, Connection, Lane, Operation, RedisService};
use crate::config::Node;
use crate::error::{Failure, Remedy, corrupt, error, remedy};

/// The pause before an operation is repeated; it doubles up to [`Timing::longest_pause`](super::Timing::longest_pause).
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl RedisService {
    /// Sends commands at once and takes each answer apart; one answer per command, in their order.
    ///
    /// # Errors
    /// The first failure that remains at the deadline, or that repeating does not remedy. Of the other commands of the
    /// batch some may have happened.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        operation: Operation,
        commands: Vec<Command>,
    ) -> Result<Vec<T>> {
        let began = self.inner.watch.elapsed();
        let span = tracing::debug_span!("redis", operation = operation.name, outcome = tracing::field::Empty);
        let answer = self.attempt(operation, commands, began).instrument(span.clone()).await;
        let outcome = answer.as_ref().err().map_or("ok", |failure| failure.code().as_str());
        span.record("outcome", outcome);
        metrics::histogram!("chat_operation_seconds",
            "backend" => "redis", "operation" => operation.name, "outcome" => outcome)
        .record(self.inner.watch.elapsed().saturating_sub(began).as_secs_f64());
        if answer.is_err() {
            self.inner.counters.failed();
        }
        let take = |value| T::from_redis_value(value).map_err(|error| corrupt(operation, error));
        answer?.into_iter().map(take).collect()
    }

    /// Sends one command.
    pub(crate) async fn call_one<T: FromRedisValue>(
        &self,
        operation: Operation,
        command: Command,
    ) -> Result<T> {
        let answer = self.call(operation, vec![command]).await?;
        answer.into_iter().next().ok_or_else(|| corrupt(operation, "no answer"))
    }

    /// The servers that hold the data: the masters of a cluster by name, or the one without a name.
    pub(crate) async fn nodes(&self, operation: Operation) -> Result<Vec<Option<Node>>> {
        let deadline = self.inner.watch.elapsed() + self.inner.timing.operation;
        let up = self.inner.main.up(deadline, self.inner.timing.operation).await;
        let live = up.map_err(|Down(cause)| error(operation, &Failure::Down(cause.as_ref()), false))?;
        if !matches!(live.connection, Connection::Cluster(_)) {
            return Ok(vec![None]);
        }
        let slots = Command::keyless("CLUSTER").arg("SLOTS");
        let ranges: Vec<Vec<Value>> = self.call_one(operation, slots).await?;
        let mut nodes = BTreeSet::<(String, u16)>::new();
        for range in ranges {
            // What follows the first server are its replicas.
            let range = Value::Array(range.into_iter().take(3).collect());
            let (_, _, master): (u64, u64, Vec<Value>) =
                redis::from_redis_value(range).map_err(|error| corrupt(operation, error))?;
            let master = Value::Array(master.into_iter().take(2).collect());
            nodes.insert(redis::from_redis_value(master).map_err(|error| corrupt(operation, error))?);
        }
        Ok(nodes.into_iter().map(|(host, port)| Some(Node { host, port })).collect())
    }

    /// Waits for a connection.
    pub(super) async fn wait(&self, operation: Operation, patience: Duration) -> Result<()> {
        let deadline = self.inner.watch.elapsed() + patience;
        let up = self.inner.main.up(deadline, Duration::MAX).await;
        up.map(drop).map_err(|Down(cause)| error(operation, &Failure::Down(cause.as_ref()), false))
    }

    async fn attempt(
        &self,
        operation: Operation,
        commands: Vec<Command>,
        began: Duration,
    ) -> Result<Vec<Value>> {
        let timing = &self.inner.timing;
        let line = match operation.lane {
            Lane::Main => &self.inner.main,
            Lane::Bulk => &self.inner.bulk,
        };
        let mut work = Work::new(commands);
        let mut pause = FIRST_PAUSE;
        let deadline = began + timing.operation;
        loop {
            let live = match line.up(deadline, timing.operation).await {
                Ok(live) => live,
                Err(Down(cause)) => return Err(work.failed(operation, cause)),
            };
            self.refresh_clock(&live);
            let sent = self.inner.watch.elapsed();
            let patience = timing.response.min(deadline.saturating_sub(sent));
            let open = work.open();
            match timeout(patience, live.connection.send(&open)).await {
                Ok(answers) => {
                    work.take(answers);
                    if work.heard {
                        line.heard();
                    }
                }
                Err(_) => {
                    work.silent();
                    line.silent(&live, sent);
                }
            }
            match work.next_step(line, &live, sent) {
                Step::Done => return Ok(work.into_answers()),
                Step::Fail => return Err(work.failed(operation, None)),
                Step::Again { wait } => {
                    let left = deadline.saturating_sub(self.inner.watch.elapsed());
                    let pause_now = if wait { pause } else { Duration::ZERO };
                    if left <= pause_now {
                        return Err(work.failed(operation, None));
                    }
                    self.inner.counters.repeated();
                    if wait {
                        sleep(pause).await;
                        pause = (pause * 2).min(timing.longest_pause);
                    }
                }
            }
        }
    }

    /// Asks for the server's time, beside the operations, when what is known of it grows old.
    fn refresh_clock(&self, live: &Live) {
        let clock = &self.inner.clock;
        if clock.is_stale() && clock.begin_refresh() {
            let (clock, watch, connection) = (clock.clone(), self.inner.watch, live.connection.clone());
            let patience = self.inner.timing.response;
            tokio::spawn(async move {
                let asked = watch.elapsed();
                let time = Command::keyless("TIME");
                if let Ok(mut answers) = timeout(patience, connection.send(&[&time])).await
                    && let Some(Ok(answer)) = answers.pop()
                    && clock.learn(&answer, asked).is_err()
                {
                    tracing::warn!("the server did not tell the time");
                }
                clock.end_refresh();
            });
        }
    }
}

/// The commands of one operation and what became of them.
struct Work {
    commands: Vec<Command>,
    answers: Vec<Answer>,
    /// Whether anything may have happened.
    begun: bool,
    /// Whether the server said anything in the last attempt.
    heard: bool,
}

enum Answer {
    Open,
    Good(Value),
    Bad(RedisError),
    Silent,
}

enum Step {
    Done,
    Fail,
    Again { wait: bool },
}

impl Work {
    fn new(commands: Vec<Command>) -> Self {
        let answers = commands.iter().map(|_| Answer::Open).collect();
        Self { commands, answers, begun: false, heard: false }
    }

    /// The commands that have no good answer yet.
    fn open(&self) -> Vec<&Command> {
        let open = self.commands.iter().zip(&self.answers);
        open.filter(|(_, answer)| !matches!(answer, Answer::Good(_))).map(|(command, _)| command).collect()
    }

    fn take(&mut self, new: Vec<Result<Value, RedisError>>) {
        let mut new = new.into_iter();
        self.heard = false;
        for answer in self.answers.iter_mut().filter(|answer| !matches!(answer, Answer::Good(_))) {
            *answer = match new.next() {
                Some(Ok(value)) => {
                    (self.heard, self.begun) = (true, true);
                    Answer::Good(value)
                }
                Some(Err(error)) => {
                    let lost = remedy(&error) == Remedy::Lost;
                    self.begun |= lost && !error.is_connection_refusal();
                    self.heard |= !lost;
                    Answer::Bad(error)
                }
                None => Answer::Silent,
            };
        }
    }

    fn silent(&mut self) {
        (self.heard, self.begun) = (false, true);
        for answer in self.answers.iter_mut().filter(|answer| !matches!(answer, Answer::Good(_))) {
            *answer = Answer::Silent;
        }
    }

    /// Looks at every command that has no good answer, and prepares to send it again if that may help.
    fn next_step(&mut self, line: &Line, live: &Live, sent: Duration) -> Step {
        let (mut done, mut wait) = (true, false);
        for (command, answer) in self.commands.iter_mut().zip(&self.answers) {
            match answer {
                Answer::Good(_) => continue,
                Answer::Open | Answer::Silent => {}
                Answer::Bad(error) => match remedy(error) {
                    Remedy::SendSource if command.send_source() => {}
                    Remedy::SendSource | Remedy::None => return Step::Fail,
                    Remedy::Wait => wait = true,
                    Remedy::Lost if live.connection.heals() => {
                        wait = true;
                        line.silent(live, sent);
                    }
                    Remedy::Redial | Remedy::Lost => {
                        wait = true;
                        line.broken(live);
                    }
                },
            }
            done = false;
        }
        if done { Step::Done } else { Step::Again { wait } }
    }

    fn failed(&self, operation: Operation, down: Option<RedisError>) -> chat_core::error::Error {
        let lasting = |answer: &&Answer| matches!(answer, Answer::Bad(e) if remedy(e) == Remedy::None);
        let last =
            self.answers.iter().find(lasting).or_else(|| {
                self.answers.iter().find(|answer| matches!(answer, Answer::Bad(_) | Answer::Silent))
            });
        let failure = match last {
            Some(Answer::Bad(said)) => Failure::Said(said),
            Some(Answer::Silent) => Failure::Silent,
            _ => Failure::Down(down.as_ref()),
        };
        error(operation, &failure, self.begun)
    }

    fn into_answers(self) -> Vec<Value> {
        let good = |answer| if let Answer::Good(value) = answer { Some(value) } else { None };
        self.answers.into_iter().filter_map(good).collect()
    }
}
