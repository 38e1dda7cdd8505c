//! [`StreamConsumer`]: one member of one consumer group.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::id::Id;
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Topic, wire};
use chat_core::store::EventConsumer;
use chat_core::store::events::{Delivery, Lag, Receipt};
use chat_redis::driver::{Command, Operation, OperationId, Script, Stopwatch};
use parking_lot::Mutex;
use redis::{FromRedisValue, ParsingError, Value};

use crate::dead_letters::MAX_DEAD_LETTERS;
use crate::place::Place;
use crate::position::{EntryId, parts, position};
use crate::reply::{Entry, Given};
use crate::script::{ACK, BURY, FETCH, JOIN, LAG, RECLAIM, RENEW};
use crate::streams::Streams;
use crate::turn::Turn;
use crate::wake::{Wake, Watch};

const JOINING: Operation = Operation::write("events.join");
const FETCHING: Operation = Operation::write("events.fetch").bulk();
const ACKING: Operation = Operation::write("events.ack");
const RECLAIMING: Operation = Operation::write("events.reclaim").bulk();
const BURYING: Operation = Operation::write("events.bury");
const RENEWING: Operation = Operation::write("events.renew");
const LAGGING: Operation = Operation::read("events.lag");

/// How many entries one script hands out, and how many it acknowledges.
const ENTRIES_AT_ONCE: usize = 1_000;

/// Longer than anybody had anything: a script counts so far.
const LONGEST_IDLE: Duration = Duration::from_millis(1 << 52);

/// Where a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// With what is published from now on.
    Now,
    /// With everything that is still kept.
    Beginning,
}

/// A member of a group, over any number of topics.
///
/// Kind of state: what the group has and what waits is volatile beside truth: if Redis forgets it, entries are delivered
/// again.
///
/// What a member holds is also in the native list of pending entries, so `XPENDING` tells the truth; what waits for its key
/// is there with a consumer called `\x01parked`. Entries which members of other programs read natively in the same group
/// and forgot are taken over by [`reclaim`](EventConsumer::reclaim).
///
/// What a call was given that did not hear of it, because it failed or was dropped, is given again to the next of its sort;
/// what a reclaim was given, to a fetch, too, because it comes before what is new. That holds for one fetch and one reclaim at
/// a time, and the one should not run beside the other: of two answers nobody knows which was given first. What several at
/// once miss is reclaimed like anybody's.
///
/// A member is one process at a time. One that joins under a name in use took its place: what the other one had stays with
/// its former life until it is acknowledged or was idle for long enough, and nothing of its keys is handed out before.
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | `fetch`, `reclaim` | 1 per topic with something and 1 other; 1 per topic when there is nothing | 1, or 2 |
/// | `ack`, [`renew`](Self::renew) | 1 per topic and 1 000 entries | 1 |
/// | [`ack_and_fetch`](Self::ack_and_fetch) | both | 1 |
/// | `bury` | 1 | 1 |
/// | `lag` | 1 per topic | 1 |
#[derive(Debug)]
pub struct StreamConsumer {
    streams: Streams,
    group: String,
    member: String,
    places: Vec<Place>,
    new: Sort,
    idle: Sort,
    wake: Wake,
}

/// What is handed out.
#[derive(Debug, Clone, Copy)]
enum Take {
    New,
    Idle(Duration),
}

/// What calls of one sort share.
#[derive(Debug, Default)]
struct Sort {
    turn: Mutex<Turn>,
    /// By place, the name of the call whose answer was not heard.
    unheard: Mutex<HashMap<usize, OperationId>>,
    /// What an unheard call had asked for beyond what the one that heard it did: it comes next.
    surplus: Mutex<VecDeque<Delivery>>,
}

impl Sort {
    fn surplus(&self, max: usize) -> Vec<Delivery> {
        let mut surplus = self.surplus.lock();
        let count = max.min(surplus.len());
        surplus.drain(..count).collect()
    }
}

/// A question under way. If its answer is not heard, the next question has the same name, and is given the same answer.
struct Call<'a> {
    sort: &'a Sort,
    nth: usize,
    name: OperationId,
    is_heard: bool,
}

impl<'a> Call<'a> {
    fn new(sort: &'a Sort, nth: usize) -> Self {
        let unheard = sort.unheard.lock().remove(&nth);
        Self { sort, nth, name: unheard.unwrap_or_else(OperationId::new), is_heard: false }
    }

    fn was_heard(mut self) {
        self.is_heard = true;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_heard {
            self.sort.unheard.lock().insert(self.nth, self.name);
        }
    }
}

/// Surplus on its way out. It stays, in its place, if whoever asked for it is gone.
struct Surplus<'a> {
    sort: &'a Sort,
    deliveries: Vec<Delivery>,
}

impl Surplus<'_> {
    fn was_heard(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Surplus<'_> {
    fn drop(&mut self) {
        let mut surplus = self.sort.surplus.lock();
        self.deliveries.drain(..).rev().for_each(|delivery| surplus.push_front(delivery));
    }
}

/// What one look at the streams found.
#[derive(Debug, Default)]
struct Found {
    deliveries: Vec<Delivery>,
    /// Whether looking again at once makes sense, though there was nothing.
    again: bool,
    /// Behind what the next thing will be.
    watches: Vec<Watch>,
}

/// What a script of a round answers.
#[derive(Debug)]
enum Answer {
    Acked,
    Given(Given),
}

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> std::result::Result<Self, ParsingError> {
        match value {
            Value::Int(_) => Ok(Self::Acked),
            list => Given::from_redis_value(list).map(Self::Given),
        }
    }
}

impl StreamConsumer {
    /// Registers the group where it is new, and a member of it.
    pub(crate) async fn join(
        streams: Streams,
        group: &str,
        member: &str,
        topics: &[Topic],
        start: Start,
    ) -> Result<Self> {
        for name in [group, member] {
            Id::<Self>::new(name)?;
        }
        let topics: BTreeSet<_> = topics.iter().copied().collect();
        let places = topics.into_iter().map(|topic| streams.place(topic).cloned()).collect::<Result<_>>()?;
        let (group, member, wake) = (group.to_owned(), member.to_owned(), Wake::new(&streams));
        let (new, idle) = Default::default();
        let consumer = Self { streams, group, member, places, new, idle, wake };
        let from = match start {
            Start::Now => "$",
            Start::Beginning => "0",
        };
        let joins = consumer.places.iter().map(|place| consumer.script(&JOIN, place).arg(from));
        consumer.streams.store().call::<Value>(JOINING, joins.collect()).await?;
        Ok(consumer)
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The member.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Acknowledges entries and fetches others in one round trip, without waiting.
    ///
    /// # Errors
    /// Those of [`EventConsumer::ack`] and [`EventConsumer::fetch`]; either may have happened then.
    pub async fn ack_and_fetch(&self, receipts: &[Receipt], max: usize) -> Result<Vec<Delivery>> {
        let acks = self.each(&ACK, receipts)?;
        if max == 0 {
            self.streams.store().call::<Value>(ACKING, acks).await?;
            return Ok(Vec::new());
        }
        Ok(self.look(FETCHING, Take::New, max, acks).await?.deliveries)
    }

    /// A script about this member; its arguments follow.
    fn script(&self, script: &'static Script, place: &Place) -> Command {
        self.streams.script(script, place).arg(&self.group).arg(&self.member).arg(place.ordering())
    }

    /// Says that this member still works on entries it has, so that nobody takes them over for another while.
    ///
    /// # Idempotency
    /// Repeated: they are renewed again.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn renew(&self, receipts: &[Receipt]) -> Result<()> {
        self.streams.store().call::<Value>(RENEWING, self.each(&RENEW, receipts)?).await.map(drop)
    }

    /// A script over receipts: one command per topic and 1 000 of them.
    fn each(&self, script: &'static Script, receipts: &[Receipt]) -> Result<Vec<Command>> {
        let mut batches: BTreeMap<(Topic, &str), Vec<EntryId>> = BTreeMap::new();
        for receipt in receipts {
            // A position no stream gave is a receipt for nothing.
            if let Some((life, entry)) = parts(&receipt.position) {
                batches.entry((receipt.topic, life)).or_default().push(entry);
            }
        }
        let mut commands = Vec::new();
        for ((topic, life), entries) in batches {
            let place = self.streams.place(topic)?;
            for entries in entries.chunks(ENTRIES_AT_ONCE) {
                let ids: Vec<_> = entries.iter().map(EntryId::to_string).collect();
                commands.push(self.script(script, place).arg(life).arg(ids));
            }
        }
        Ok(commands)
    }

    /// Asks the streams in turn until one has something or all were asked; `before` goes out with the first question.
    async fn look(
        &self,
        operation: Operation,
        take: Take,
        max: usize,
        before: Vec<Command>,
    ) -> Result<Found> {
        let mut before = Some(before);
        let mut asked = BTreeSet::new();
        let mut found = Found::default();
        let sort = match take {
            Take::New => &self.new,
            Take::Idle(_) => &self.idle,
        };
        found.deliveries = sort.surplus(max);
        if !found.deliveries.is_empty() {
            let surplus = Surplus { sort, deliveries: found.deliveries };
            self.streams.store().call::<Value>(operation, before.unwrap_or_default()).await?;
            return Ok(Found { deliveries: surplus.was_heard(), ..Found::default() });
        }
        loop {
            let shares = sort.turn.lock().next(self.places.len(), max, &asked);
            let mut commands = before.take().unwrap_or_default();
            if shares.is_empty() && commands.is_empty() {
                return Ok(found);
            }
            let mut calls = Vec::with_capacity(shares.len());
            for (nth, share) in shares {
                let Some(place) = self.places.get(nth) else { continue };
                let share = share.min(ENTRIES_AT_ONCE);
                // What was reclaimed and not heard comes before anything there is to fetch.
                let is_owed = matches!(take, Take::New) && self.idle.unheard.lock().contains_key(&nth);
                let (sort, take) =
                    if is_owed { (&self.idle, Take::Idle(LONGEST_IDLE)) } else { (sort, take) };
                let call = Call::new(sort, nth);
                commands.push(self.question(take, place, share, call.name));
                calls.push((call, place, share));
                asked.insert(nth);
            }
            let answers: Vec<Answer> = self.streams.store().call(operation, commands).await?;
            let given = answers.into_iter().filter_map(|answer| match answer {
                Answer::Given(given) => Some(given),
                Answer::Acked => None,
            });
            let mut heard = Vec::with_capacity(calls.len());
            for ((call, place, share), given) in calls.into_iter().zip(given) {
                sort.turn.lock().note(call.nth, given.more && given.entries.len() >= share);
                found.again |= given.more && given.entries.is_empty();
                if let Some((stream, wake)) = &given.behind {
                    for (key, after) in [(place.stream_key(), stream), (place.wake(&self.group), wake)] {
                        found.watches.push(Watch { stream: place.stream.clone(), key, after: after.clone() });
                    }
                }
                found.deliveries.extend(self.deliveries(place, given).await?);
                heard.push(call);
            }
            heard.into_iter().for_each(Call::was_heard);
            if !found.deliveries.is_empty() {
                if matches!(take, Take::New) && found.deliveries.len() > max {
                    sort.surplus.lock().extend(found.deliveries.drain(max..));
                }
                return Ok(found);
            }
        }
    }

    fn question(&self, take: Take, place: &Place, max: usize, call: OperationId) -> Command {
        match take {
            Take::New => self.script(&FETCH, place).arg(max).arg(call),
            Take::Idle(idle) => {
                let idle = idle.min(LONGEST_IDLE).as_millis();
                self.script(&RECLAIM, place).arg(idle.to_string()).arg(max).arg(call)
            }
        }
    }

    async fn deliveries(&self, place: &Place, given: Given) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::with_capacity(given.entries.len());
        for (id, attempt, content) in given.entries {
            let mut event = content.decode(&place.stream, id);
            if content.is_part(&event) {
                let whole =
                    Command::new("XRANGE", &place.stream_key()).arg(id.to_string()).arg(id.to_string());
                let found: Vec<Entry> = self.streams.store().call_one(FETCHING, whole).await?;
                if let Some(entry) = found.into_iter().next() {
                    event = entry.content.decode(&place.stream, id);
                }
            }
            let receipt = Receipt { topic: place.topic, position: position(&given.life, id) };
            deliveries.push(Delivery { receipt, attempt, event });
        }
        Ok(deliveries)
    }
}

#[async_trait]
impl EventConsumer for StreamConsumer {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let began = Stopwatch::start();
        if max == 0 || self.places.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let found = self.look(FETCHING, Take::New, max, Vec::new()).await?;
            if !found.deliveries.is_empty() {
                return Ok(found.deliveries);
            }
            if found.again {
                continue;
            }
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            self.wake.wait(&found.watches, left).await;
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        self.streams.store().call::<Value>(ACKING, self.each(&ACK, receipts)?).await.map(drop)
    }

    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        if max == 0 || self.places.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.look(RECLAIMING, Take::Idle(idle), max, Vec::new()).await?.deliveries)
    }

    async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()> {
        let Receipt { topic, position } = &delivery.receipt;
        let Some((life, entry)) = parts(position) else { return Ok(()) };
        let fields = delivery.event.as_ref().map(wire::encode_flat).unwrap_or_default();
        let mut command = self
            .script(&BURY, self.streams.place(*topic)?)
            .arg(life)
            .arg(entry.to_string())
            .arg(MAX_DEAD_LETTERS)
            .arg(&position.0)
            .arg(cause.to_string());
        for (name, value) in &fields {
            command = command.arg(name.as_ref()).arg(value.as_str());
        }
        match self.streams.store().call_one::<i64>(BURYING, command).await? {
            -1 => Err(Error::new(Code::QueueFull).during(BURYING.name()).with("max", MAX_DEAD_LETTERS)),
            _ => Ok(()),
        }
    }

    async fn lag(&self) -> Result<Lag> {
        let lags = self.places.iter().map(|place| self.script(&LAG, place));
        let lags: Vec<(u64, u64)> = self.streams.store().call(LAGGING, lags.collect()).await?;
        let sum = |lag: Lag, (waiting, pending)| Lag {
            waiting: lag.waiting + waiting,
            pending: lag.pending + pending,
        };
        Ok(lags.into_iter().fold(Lag::default(), sum))
    }
}
