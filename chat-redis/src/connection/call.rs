//! One operation: sent, repeated where that is harmless, and answered before its deadline.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use chat_core::error::Result;
use chat_core::observe::took;
use redis::{FromRedisValue, Value};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::dial::Answers;
use super::line::{Line, Live};
use super::work::{Step, Work};
use super::{Command, Lane, Operation, RedisService};
use crate::error::corrupt;

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
        mut commands: Vec<Command>,
    ) -> Result<Vec<T>> {
        // The way almost all operations go.
        if commands.len() == 1
            && let Some(command) = commands.pop()
        {
            return Ok(vec![self.call_one(operation, command).await?]);
        }
        let began = self.inner.watch.elapsed();
        let work = Box::pin(self.work(operation, Work::new(commands), None, began));
        let answers = self.observed(operation, began, work).await?;
        answers.into_iter().map(|value| take(operation, value)).collect()
    }

    /// Sends commands of one slot as a transaction; one answer per command, in their order.
    ///
    /// # Errors
    /// As [`call`](Self::call), but of the commands all have happened, or none; where one failed, the others have.
    pub(crate) async fn transaction<T: FromRedisValue>(
        &self,
        operation: Operation,
        commands: Vec<Command>,
    ) -> Result<Vec<T>> {
        let began = self.inner.watch.elapsed();
        let work = Box::pin(self.work(operation, Work::transaction(commands), None, began));
        let answers = self.observed(operation, began, work).await?;
        answers.into_iter().map(|value| take(operation, value)).collect()
    }

    /// Sends one command.
    pub(crate) async fn call_one<T: FromRedisValue>(
        &self,
        operation: Operation,
        command: Command,
    ) -> Result<T> {
        let began = self.inner.watch.elapsed();
        let work = pin!(self.one(operation, command, began));
        take(operation, self.observed(operation, began, work).await?)
    }

    /// Measures an operation that began at `began`. What does it had better be small, or somewhere else: it is moved.
    async fn observed<V>(
        &self,
        operation: Operation,
        began: Duration,
        work: impl Future<Output = Result<V>>,
    ) -> Result<V> {
        let span = tracing::debug_span!(
            "redis",
            backend = "redis",
            operation = operation.name,
            outcome = tracing::field::Empty
        );
        let answer = if span.is_disabled() { work.await } else { work.instrument(span.clone()).await };
        let outcome = answer.as_ref().err().map_or("ok", |failure| failure.code().as_str());
        span.record("outcome", outcome);
        took("redis", operation.name, outcome, self.inner.watch.elapsed().saturating_sub(began));
        if answer.is_err() {
            self.inner.counters.failed();
        }
        answer
    }

    /// One command: the way almost all of them go, without a list of anything.
    async fn one(&self, operation: Operation, command: Command, began: Duration) -> Result<Value> {
        let line = self.line(operation.lane);
        let (work, tried) = match line.now() {
            None => (Work::new(vec![command]), None),
            Some(live) => {
                let patience = self.patience(&live, began, began);
                match timeout(patience, live.one(&command)).await {
                    Ok(Ok(value)) => {
                        live.heard(self.inner.watch.elapsed());
                        return Ok(value);
                    }
                    Ok(Err(error)) => (Work::refused(command, error), Some(live)),
                    Err(_) => {
                        line.silent(&live, began);
                        (Work::unanswered(command), Some(live))
                    }
                }
            }
        };
        // Rare and large: elsewhere, so that every operation is small.
        let answers = Box::pin(self.work(operation, work, tried, began)).await?;
        answers.into_iter().next().ok_or_else(|| corrupt(operation, "no answer"))
    }

    /// Sends what has no good answer yet, until everything has one. `tried` is where that was done just now.
    async fn work(
        &self,
        operation: Operation,
        mut work: Work,
        mut tried: Option<Live>,
        began: Duration,
    ) -> Result<Vec<Value>> {
        let line = self.line(operation.lane);
        let mut pause = FIRST_PAUSE;
        let deadline = began + self.inner.timing.operation;
        loop {
            let live = match tried.take() {
                Some(live) => live,
                None => {
                    let live = match line.up(deadline).await {
                        Ok(live) => live,
                        Err(down) => return Err(work.failed(operation, &down)),
                    };
                    self.send(line, &live, &mut work, began).await;
                    live
                }
            };
            match work.next_step(operation, line, &live) {
                Step::Done => return Ok(work.into_answers()),
                Step::Fail => return Err(work.failed(operation, &Default::default())),
                Step::Again { wait } => {
                    let left = deadline.saturating_sub(self.inner.watch.elapsed());
                    let now = if wait { pause } else { Duration::ZERO };
                    // What can no longer be answered is better not begun.
                    if left <= now + FIRST_PAUSE {
                        return Err(work.failed(operation, &Default::default()));
                    }
                    self.inner.counters.repeated();
                    sleep(now).await;
                    pause = (pause * 2).min(self.inner.timing.longest_pause);
                }
            }
        }
    }

    async fn send(&self, line: &Line, live: &Live, work: &mut Work, began: Duration) {
        let sent = self.inner.watch.elapsed();
        let patience = self.patience(live, began, sent);
        let open = work.open();
        let answers = async {
            if work.is_transaction() {
                live.connection().transaction(&open).await
            } else {
                Answers::Each(live.connection().send(&open).await)
            }
        };
        match timeout(patience, answers).await {
            Ok(answers) => {
                if work.take(answers) {
                    live.heard(self.inner.watch.elapsed());
                }
            }
            Err(_) => {
                work.silent();
                line.silent(live, sent);
            }
        }
    }

    /// How long the reply to what is sent `now` is waited for.
    fn patience(&self, live: &Live, began: Duration, now: Duration) -> Duration {
        let left = self.inner.timing.operation.saturating_sub(now.saturating_sub(began));
        if live.connection().heals() { left } else { left.min(self.inner.timing.response) }
    }

    fn line(&self, lane: Lane) -> &Line {
        match lane {
            Lane::Main => &self.inner.main,
            Lane::Bulk => &self.inner.bulk,
        }
    }
}

fn take<T: FromRedisValue>(operation: Operation, value: Value) -> Result<T> {
    // The driver's words hold the reply.
    T::from_redis_value(value).map_err(|_| corrupt(operation, "a reply has another shape"))
}
