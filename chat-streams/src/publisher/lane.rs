//! The way to one stream: what many tasks publish at a time goes out together.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use chat_core::error::{Code, Error, Result};
use chat_core::event::Topic;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::OPERATION;
use super::append::{EVENTS_AT_ONCE, Part, script};
use crate::reply::Appended;
use crate::streams::Streams;

/// How many events may wait for one stream: more than it takes in the time that anybody waits.
const MOST_WAITING: usize = 32_768;

/// The way to one stream.
///
/// Who finds it free goes at once. Others wait for a task that sends all that waits by one script, and again until nothing
/// does; it answers to nobody, so that a caller that is dropped, or not polled, holds nobody up.
pub(super) struct Lane {
    streams: Streams,
    topic: Topic,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a caller sends on its own.
    alone: bool,
    /// Whether a task sends what waits.
    drained: bool,
    waiting: VecDeque<Waiting>,
    /// How many events these are.
    events: usize,
    /// How many groups were sent.
    begun: u64,
    /// How many more entries the stream may have had when it last answered.
    room: u64,
}

/// A part that waits, since so many groups were sent.
#[derive(Debug)]
struct Waiting {
    part: Part,
    since: u64,
    answer: oneshot::Sender<Result<Appended>>,
}

/// Who goes, and who waits.
enum Way {
    Alone(Part),
    Waits { answer: oneshot::Receiver<Result<Appended>>, drains: bool },
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("topic", &self.topic).field("state", &self.state).finish_non_exhaustive()
    }
}

impl State {
    fn take(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front()?;
        self.events -= next.part.len();
        Some(next)
    }
}

impl Lane {
    pub(super) fn new(streams: Streams, topic: Topic) -> Self {
        Self { streams, topic, state: Mutex::default() }
    }

    /// How many more entries the stream may have had when it last answered.
    pub(super) fn room(&self) -> u64 {
        self.state.lock().room
    }

    /// # Errors
    /// [`Code::QueueFull`] when there is none.
    pub(super) fn note_room(&self, answer: &Appended) -> Result<()> {
        self.state.lock().room = answer.room.unwrap_or(0);
        match answer.room {
            Some(_) => Ok(()),
            None => Err(self.full()),
        }
    }

    fn full(&self) -> Error {
        Error::new(Code::QueueFull).during(OPERATION.name()).with("topic", self.topic)
    }

    /// Appends a part.
    ///
    /// # Errors
    /// Those of the script; [`Code::QueueFull`] when too many wait.
    pub(super) async fn append(self: &Arc<Self>, part: Part) -> Result<Appended> {
        match self.way(part)? {
            Way::Alone(part) => {
                let _alone = Alone(self);
                let command = script(&self.streams, self.topic, &[&part], part.coming())?;
                self.streams.store().call_one(OPERATION, command).await
            }
            Way::Waits { answer, drains } => {
                if drains {
                    tokio::spawn(Draining { lane: Arc::clone(self), is_over: false }.run());
                }
                // Nobody answers when the runtime of the task that sends has ended.
                let lost = |_| Err(Error::new(Code::Timeout).during(OPERATION.name()).effect_unknown());
                answer.await.unwrap_or_else(lost)
            }
        }
    }

    fn way(&self, part: Part) -> Result<Way> {
        let mut state = self.state.lock();
        if !state.alone && !state.drained {
            state.alone = true;
            return Ok(Way::Alone(part));
        }
        if state.events + part.len() > MOST_WAITING {
            return Err(self.full().with("waiting", state.events));
        }
        state.events += part.len();
        let (sender, answer) = oneshot::channel();
        let since = state.begun;
        state.waiting.push_back(Waiting { part, since, answer: sender });
        Ok(Way::Waits { answer, drains: !std::mem::replace(&mut state.drained, true) })
    }

    /// The next that go together, in their order; whoever was dropped meanwhile does not.
    fn next_group(&self) -> Option<(u64, Vec<Waiting>)> {
        let mut state = self.state.lock();
        let (mut group, mut events) = (Vec::<Waiting>::new(), 0);
        while let Some(next) = state.take() {
            if next.answer.is_closed() {
                continue;
            }
            let fits = events + next.part.len() <= EVENTS_AT_ONCE
                && next.part.is_whole()
                && group.iter().all(|one| one.part.is_whole());
            if !group.is_empty() && !fits {
                state.events += next.part.len();
                state.waiting.push_front(next);
                break;
            }
            events += next.part.len();
            group.push(next);
        }
        if group.is_empty() {
            state.drained = false;
            return None;
        }
        state.begun += 1;
        Some((state.begun, group))
    }

    async fn send(&self, nth: u64, group: Vec<Waiting>) {
        let parts: Vec<_> = group.iter().map(|one| &one.part).collect();
        match self.append_together(&parts).await {
            Ok(answers) => {
                for (one, answer) in group.into_iter().zip(answers) {
                    let _ = one.answer.send(Ok(answer));
                }
            }
            Err(error) => {
                if error.is_transient() {
                    self.give_up(nth);
                }
                let error = Arc::new(error);
                for one in group {
                    let _ = one.answer.send(Err(Error::again(&error)));
                }
            }
        }
    }

    /// Fails those who waited for the whole of an operation that found no server: nobody waits for more than two.
    fn give_up(&self, nth: u64) {
        let is_old = |one: &Waiting| one.since < nth;
        let mut state = self.state.lock();
        let (old, rest): (VecDeque<_>, VecDeque<_>) = state.waiting.drain(..).partition(is_old);
        state.waiting = rest;
        state.events -= old.iter().map(|one| one.part.len()).sum::<usize>();
        drop(state);
        for one in old {
            let _ = one.answer.send(Err(Error::new(Code::Unavailable).during(OPERATION.name())));
        }
    }

    /// Appends parts by one script; each is answered for its own. Those that have no room together are judged one by one.
    async fn append_together(&self, parts: &[&Part]) -> Result<Vec<Appended>> {
        let (store, each) = (self.streams.store(), |part: &&Part| part.coming());
        let command = script(&self.streams, self.topic, parts, parts.iter().map(each).sum())?;
        let together: Appended = store.call_one(OPERATION, command).await?;
        if together.room.is_none() && parts.len() > 1 {
            let alone = |part: &&Part| script(&self.streams, self.topic, &[part], part.coming());
            return store.call(OPERATION, parts.iter().map(alone).collect::<Result<_>>()?).await;
        }
        let mut entries = together.entries.into_iter();
        let own = |part: &&Part| Appended {
            life: together.life.clone(),
            room: together.room,
            entries: entries.by_ref().take(part.len()).collect(),
        };
        Ok(parts.iter().map(own).collect())
    }
}

/// A caller that sends on its own.
struct Alone<'a>(&'a Lane);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.state.lock().alone = false;
    }
}

/// The task that sends what waits.
struct Draining {
    lane: Arc<Lane>,
    is_over: bool,
}

impl Draining {
    /// Sends what waits, until nothing does.
    async fn run(mut self) {
        while let Some((nth, group)) = self.lane.next_group() {
            self.lane.send(nth, group).await;
            // Those who were answered may have more.
            tokio::task::yield_now().await;
        }
        self.is_over = true;
    }
}

impl Drop for Draining {
    /// Ended by the end of its runtime: nobody is left waiting for it.
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.lane.state.lock();
            (state.drained, state.events) = (false, 0);
            state.waiting.clear();
        }
    }
}
