//! The event log in memory: [`EventPublisher`], [`EventTail`], [`EventConsumer`] and [`DeadLetters`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::domain::EventId;
use crate::domain::page::{Page, Paged};
use crate::error::{Code, Error, Result};
use crate::event::{Envelope, Topic};
use crate::store::events::{
    DeadLetter, Delivery, Lag, Position, Published, REPEAT_WINDOW, Receipt, TailCursor, TailRead,
};
use crate::store::{DeadLetters, EventConsumer, EventPublisher, EventTail};

/// How many times its nominal length a topic may grow while a group lags behind; then it takes no more.
const MAX_STRETCH: usize = 10;
/// How many dead letters are kept; then no more can be buried.
const MAX_DEAD_LETTERS: usize = 100_000;

/// The event log of one process. Topics are bounded: see [`Topic::max_len`].
#[derive(Debug)]
pub struct MemoryEvents {
    clock: Arc<dyn Clock>,
    life: String,
    state: Arc<Mutex<State>>,
    published: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Topic, TopicLog>,
    groups: HashMap<String, Group>,
    recent: HashMap<EventId, (Topic, u64)>,
    recent_order: VecDeque<(Timestamp, EventId)>,
    letters: BTreeMap<u64, DeadLetter>,
    buried: u64,
}

/// The entries of one topic; the entry at `offset` stands at `offset - first`.
#[derive(Debug, Default)]
struct TopicLog {
    first: u64,
    entries: VecDeque<Envelope>,
}

impl TopicLog {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn get(&self, offset: u64) -> Option<&Envelope> {
        self.entries.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }
}

#[derive(Debug, Default)]
struct Group {
    topics: BTreeMap<Topic, GroupTopic>,
    replays: VecDeque<(Receipt, Envelope, u32)>,
    pending: BTreeMap<(Topic, u64), Pending>,
    holders: HashMap<(Topic, String), Holder>,
}

/// Where a group stands in a topic: everything below `next` was handed out, but for what was `skipped`.
#[derive(Debug, Default)]
struct GroupTopic {
    next: u64,
    skipped: BTreeSet<u64>,
}

#[derive(Debug)]
struct Pending {
    member: String,
    attempt: u32,
    since: Timestamp,
    envelope: Envelope,
}

/// The member that has entries of a key, and how many.
#[derive(Debug)]
struct Holder {
    member: String,
    entries: usize,
}

impl Group {
    /// The oldest entry of a topic this group is not done with.
    fn needs(&self, topic: Topic) -> Option<u64> {
        let here = self.topics.get(&topic)?;
        let pending =
            self.pending.range((topic, 0)..=(topic, u64::MAX)).next().map(|((_, offset), _)| *offset);
        here.skipped.first().copied().into_iter().chain(pending).chain([here.next]).min()
    }

    /// Gives an entry to `member`, unless another one has entries of the same key.
    fn hold(&mut self, topic: Topic, key: String, member: &str) -> bool {
        let holder = self
            .holders
            .entry((topic, key))
            .or_insert_with(|| Holder { member: member.to_owned(), entries: 0 });
        let free = holder.member == member;
        holder.entries += usize::from(free);
        free
    }

    fn release(&mut self, topic: Topic, key: String) {
        let place = (topic, key);
        if let Some(holder) = self.holders.get_mut(&place) {
            holder.entries = holder.entries.saturating_sub(1);
            if holder.entries == 0 {
                self.holders.remove(&place);
            }
        }
    }

    /// A member is made again: what it had of a topic is with its former life, which never asks for more.
    fn retire(&mut self, topic: Topic, member: &str) {
        let former = format!("{member}\u{1}former");
        for ((of, _), pending) in &mut self.pending {
            if *of == topic && pending.member == member {
                pending.member.clone_from(&former);
            }
        }
        for ((of, _), holder) in &mut self.holders {
            if *of == topic && holder.member == member {
                holder.member.clone_from(&former);
            }
        }
    }

    fn done(&mut self, topic: Topic, offset: u64) -> Option<Pending> {
        let pending = self.pending.remove(&(topic, offset))?;
        self.release(topic, pending.envelope.key());
        Some(pending)
    }
}

impl State {
    fn topic(&mut self, topic: Topic) -> &mut TopicLog {
        self.topics.entry(topic).or_default()
    }

    /// Drops the oldest entries above the topic's length that no group needs any more.
    fn trim(&mut self, topic: Topic) {
        let needed = self.groups.values().filter_map(|group| group.needs(topic)).min().unwrap_or(u64::MAX);
        let keep = max_len(topic);
        let log = self.topic(topic);
        while log.entries.len() > keep && log.first < needed {
            log.entries.pop_front();
            log.first += 1;
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.recent_order.front()
            && now.since(*at) > REPEAT_WINDOW
        {
            self.recent.remove(id);
            self.recent_order.pop_front();
        }
    }
}

fn max_len(topic: Topic) -> usize {
    usize::try_from(topic.max_len()).unwrap_or(usize::MAX).max(1)
}

impl MemoryEvents {
    /// An empty log.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let life = uuid::Uuid::new_v4().simple().to_string();
        Self { clock, life, state: Arc::default(), published: Arc::default() }
    }

    /// A member of a consumer group. The group is registered with its first member: it receives what is published from
    /// then on, or everything still kept when `from_beginning`.
    pub fn consumer(
        self: &Arc<Self>,
        group: &str,
        member: &str,
        topics: &[Topic],
        from_beginning: bool,
    ) -> MemoryConsumer {
        let mut state = self.state.lock();
        for topic in topics {
            let log = state.topic(*topic);
            let next = if from_beginning { log.first } else { log.end() };
            let group = state.groups.entry(group.to_owned()).or_default();
            group.topics.entry(*topic).or_insert(GroupTopic { next, skipped: BTreeSet::new() });
            group.retire(*topic, member);
        }
        MemoryConsumer { log: Arc::clone(self), group: group.to_owned(), member: member.to_owned() }
    }

    /// The position behind so many entries of a topic.
    fn behind(&self, entries: u64) -> Position {
        Position(format!("{}-{entries:020}", self.life))
    }

    /// How many entries a position of this life is behind.
    fn entries_before(&self, position: &Position) -> Option<u64> {
        position.0.strip_prefix(&self.life)?.strip_prefix('-')?.parse().ok()
    }

    /// The position of the entry at an offset.
    fn position(&self, offset: u64) -> Position {
        self.behind(offset + 1)
    }

    /// The offset of the entry at a position of this life.
    fn offset(&self, position: &Position) -> Option<u64> {
        self.entries_before(position)?.checked_sub(1)
    }

    fn receipt(&self, topic: Topic, offset: u64) -> Receipt {
        Receipt { topic, position: self.position(offset) }
    }

    /// What `look` finds now, or within `wait` when something is published.
    async fn wait_for<T>(
        &self,
        wait: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let search = async {
            loop {
                let published = self.published.notified();
                tokio::pin!(published);
                published.as_mut().enable();
                if let Some(found) = look()? {
                    return Ok(Some(found));
                }
                if wait.is_zero() {
                    return Ok(None);
                }
                published.await;
            }
        };
        within(wait, search).await
    }

    fn read(&self, state: &State, cursor: &TailCursor, max: usize) -> Option<TailRead> {
        let empty = TopicLog::default();
        let log = state.topics.get(&cursor.topic).unwrap_or(&empty);
        let start = match &cursor.after {
            None => log.first,
            Some(position) => match self.entries_before(position) {
                Some(next) if (log.first..=log.end()).contains(&next) => next,
                _ => return Some(TailRead::Discontinuity { oldest: self.before(cursor.topic, log.first) }),
            },
        };
        let skip = usize::try_from(start - log.first).unwrap_or(usize::MAX);
        let events: Vec<_> = log.entries.iter().skip(skip).take(max).cloned().map(Ok).collect();
        let next = self.before(cursor.topic, start + events.len() as u64);
        (!events.is_empty()).then_some(TailRead::Events { events, next })
    }

    /// The cursor just before an offset.
    fn before(&self, topic: Topic, offset: u64) -> TailCursor {
        TailCursor { topic, after: Some(self.behind(offset)) }
    }
}

/// The answer of `search`, or nothing when it takes longer than `wait`.
async fn within<T>(wait: Duration, search: impl Future<Output = Result<Option<T>>>) -> Result<Option<T>> {
    if wait.is_zero() {
        return search.await;
    }
    tokio::time::timeout(wait, search).await.unwrap_or(Ok(None))
}

#[async_trait]
impl EventPublisher for MemoryEvents {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.forget_old(now);
        let fresh = events.iter().filter(|envelope| !state.recent.contains_key(&envelope.id)).count();
        let full = fresh > 0
            && events.iter().any(|envelope| {
                let topic = envelope.topic();
                state
                    .topics
                    .get(&topic)
                    .is_some_and(|log| log.entries.len() + fresh > max_len(topic) * MAX_STRETCH)
            });
        if full {
            return Err(Error::new(Code::QueueFull).during("events.publish"));
        }
        let mut answers = Vec::with_capacity(events.len());
        for envelope in events {
            if let Some((_, offset)) = state.recent.get(&envelope.id) {
                answers.push(Published::Suppressed(self.position(*offset)));
                continue;
            }
            let topic = envelope.topic();
            let log = state.topic(topic);
            let offset = log.end();
            log.entries.push_back(envelope.clone());
            state.recent.insert(envelope.id.clone(), (topic, offset));
            state.recent_order.push_back((now, envelope.id.clone()));
            state.trim(topic);
            answers.push(Published::Durable(self.position(offset)));
        }
        drop(state);
        self.published.notify_waiters();
        Ok(answers)
    }
}

#[async_trait]
impl EventTail for MemoryEvents {
    async fn read_since(&self, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>> {
        let found = self
            .wait_for(wait, || {
                let state = self.state.lock();
                let reads: Vec<_> =
                    cursors.iter().filter_map(|cursor| self.read(&state, cursor, max)).collect();
                Ok((!reads.is_empty()).then_some(reads))
            })
            .await?;
        Ok(found.unwrap_or_default())
    }

    async fn ends(&self, topics: &[Topic]) -> Result<Vec<TailCursor>> {
        let mut state = self.state.lock();
        Ok(topics.iter().map(|topic| self.before(*topic, state.topic(*topic).end())).collect())
    }
}

/// One member of a consumer group of a [`MemoryEvents`].
#[derive(Debug, Clone)]
pub struct MemoryConsumer {
    log: Arc<MemoryEvents>,
    group: String,
    member: String,
}

impl MemoryConsumer {
    fn take(&self, max: usize) -> Vec<Delivery> {
        let now = self.log.clock.now();
        let mut state = self.log.state.lock();
        let State { topics, groups, .. } = &mut *state;
        let Some(group) = groups.get_mut(&self.group) else { return Vec::new() };
        let mut taken = self.take_replays(group, max, now);
        let names: Vec<Topic> = group.topics.keys().copied().collect();
        for topic in names {
            let Some(log) = topics.get(&topic) else { continue };
            let Some(place) = group.topics.get(&topic) else { continue };
            let candidates: Vec<u64> = place.skipped.iter().copied().chain(place.next..log.end()).collect();
            for offset in candidates {
                if taken.len() >= max {
                    break;
                }
                let Some(envelope) = log.get(offset) else { continue };
                let mine = group.hold(topic, envelope.key(), &self.member);
                if let Some(place) = group.topics.get_mut(&topic) {
                    place.next = place.next.max(offset + 1);
                    if mine {
                        place.skipped.remove(&offset);
                    } else {
                        place.skipped.insert(offset);
                    }
                }
                if mine {
                    taken.push(self.hand_out(group, topic, offset, envelope.clone(), 1, now));
                }
            }
        }
        taken
    }

    /// Replayed letters come first; one whose key another member holds waits.
    fn take_replays(&self, group: &mut Group, max: usize, now: Timestamp) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut waiting = VecDeque::new();
        while let Some((receipt, envelope, attempts)) = group.replays.pop_front() {
            let Some(offset) = self.log.offset(&receipt.position) else { continue };
            if taken.len() < max && group.hold(receipt.topic, envelope.key(), &self.member) {
                taken.push(self.hand_out(group, receipt.topic, offset, envelope, attempts + 1, now));
            } else {
                waiting.push_back((receipt, envelope, attempts));
            }
        }
        group.replays = waiting;
        taken
    }

    fn hand_out(
        &self,
        group: &mut Group,
        topic: Topic,
        offset: u64,
        envelope: Envelope,
        attempt: u32,
        now: Timestamp,
    ) -> Delivery {
        let pending =
            Pending { member: self.member.clone(), attempt, since: now, envelope: envelope.clone() };
        group.pending.insert((topic, offset), pending);
        Delivery { receipt: self.log.receipt(topic, offset), attempt, event: Ok(envelope) }
    }
}

#[async_trait]
impl EventConsumer for MemoryConsumer {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let found = self
            .log
            .wait_for(wait, || {
                let taken = self.take(max);
                Ok((!taken.is_empty()).then_some(taken))
            })
            .await?;
        Ok(found.unwrap_or_default())
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        let mut state = self.log.state.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            for receipt in receipts {
                if let Some(offset) = self.log.offset(&receipt.position) {
                    group.done(receipt.topic, offset);
                }
            }
        }
        for topic in receipts.iter().map(|receipt| receipt.topic).collect::<BTreeSet<_>>() {
            state.trim(topic);
        }
        drop(state);
        // What was skipped for the sake of order may be free now.
        self.log.published.notify_waiters();
        Ok(())
    }

    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        let now = self.log.clock.now();
        let mut state = self.log.state.lock();
        let Some(group) = state.groups.get_mut(&self.group) else { return Ok(Vec::new()) };
        let idle_keys: BTreeSet<(Topic, String, String)> = group
            .pending
            .iter()
            .filter(|(_, pending)| now.since(pending.since) >= idle)
            .map(|((topic, _), pending)| (*topic, pending.envelope.key(), pending.member.clone()))
            .collect();
        let mut taken = Vec::new();
        let mut taken_keys = BTreeSet::new();
        for ((topic, offset), pending) in &mut group.pending {
            let key = pending.envelope.key();
            let held = (*topic, key.clone(), pending.member.clone());
            if !idle_keys.contains(&held) || (taken.len() >= max && !taken_keys.contains(&held)) {
                continue;
            }
            taken_keys.insert(held);
            pending.member.clone_from(&self.member);
            pending.attempt = pending.attempt.saturating_add(1);
            pending.since = now;
            if let Some(holder) = group.holders.get_mut(&(*topic, key)) {
                holder.member.clone_from(&self.member);
            }
            taken.push(Delivery {
                receipt: self.log.receipt(*topic, *offset),
                attempt: pending.attempt,
                event: Ok(pending.envelope.clone()),
            });
        }
        Ok(taken)
    }

    async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()> {
        let now = self.log.clock.now();
        let mut state = self.log.state.lock();
        if state.letters.len() >= MAX_DEAD_LETTERS {
            return Err(Error::new(Code::QueueFull).during("events.bury"));
        }
        let offset = self.log.offset(&delivery.receipt.position);
        let group = state.groups.get_mut(&self.group);
        let pending =
            group.zip(offset).and_then(|(group, offset)| group.done(delivery.receipt.topic, offset));
        // Buried or acknowledged before: a repeat changes nothing.
        let Some(pending) = pending else { return Ok(()) };
        let number = state.buried;
        state.buried += 1;
        let letter = DeadLetter {
            id: format!("{number:020}"),
            group: self.group.clone(),
            receipt: delivery.receipt.clone(),
            event: Ok(pending.envelope),
            attempts: pending.attempt,
            cause: cause.to_string(),
            at: now,
        };
        state.letters.insert(number, letter);
        state.trim(delivery.receipt.topic);
        drop(state);
        self.log.published.notify_waiters();
        Ok(())
    }

    async fn lag(&self) -> Result<Lag> {
        let state = self.log.state.lock();
        let Some(group) = state.groups.get(&self.group) else { return Ok(Lag::default()) };
        let behind = group.topics.iter().map(|(topic, place)| {
            let end = state.topics.get(topic).map_or(0, TopicLog::end);
            end.saturating_sub(place.next) + place.skipped.len() as u64
        });
        let waiting = behind.sum::<u64>() + group.replays.len() as u64;
        Ok(Lag { waiting, pending: group.pending.len() as u64 })
    }
}

#[async_trait]
impl DeadLetters for MemoryEvents {
    async fn list(&self, page: &Page<String>) -> Result<Paged<DeadLetter, String>> {
        page.check()?;
        let from = match &page.after {
            None => 0,
            Some(id) => id.parse::<u64>().map_err(|e| Error::new(Code::CursorInvalid).caused_by(e))? + 1,
        };
        let state = self.state.lock();
        let found =
            state.letters.range(from..).take(page.limit + 1).map(|(_, letter)| letter.clone()).collect();
        Ok(Paged::from_surplus(found, page.limit, |letter: &DeadLetter| letter.id.clone()))
    }

    async fn replay(&self, ids: &[String]) -> Result<u64> {
        let mut state = self.state.lock();
        let mut replayed = 0;
        for number in ids.iter().filter_map(|id| id.parse::<u64>().ok()) {
            if state.letters.get(&number).is_none_or(|letter| letter.event.is_err()) {
                continue;
            }
            let Some(letter) = state.letters.remove(&number) else { continue };
            let Ok(envelope) = letter.event else { continue };
            let group = state.groups.entry(letter.group).or_default();
            group.replays.push_back((letter.receipt, envelope, letter.attempts));
            replayed += 1;
        }
        drop(state);
        self.published.notify_waiters();
        Ok(replayed)
    }

    async fn purge(&self, ids: &[String]) -> Result<u64> {
        let mut state = self.state.lock();
        let purged = ids
            .iter()
            .filter_map(|id| id.parse::<u64>().ok())
            .filter(|id| state.letters.remove(id).is_some());
        Ok(purged.count() as u64)
    }
}
