//! [`StreamConsumer`]: one member of one consumer group.

mod call;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::id::Id;
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Topic, wire};
use chat_core::store::EventConsumer;
use chat_core::store::events::{Delivery, Lag, Receipt};
use chat_redis::driver::{Command, Operation, Script, Stopwatch};
use redis::Value;

use crate::dead_letters::MAX_DEAD_LETTERS;
use crate::place::Place;
use crate::position::{EntryId, parts, position};
use crate::reply::{Answer, Content, Entry, Given};
use crate::script::{ACK, BURY, FETCH, JOIN, LAG, NOTE, RECLAIM, RENEW};
use crate::streams::Streams;
use crate::wake::{Wake, Watch};
use call::{Call, Sort, Spell};

const JOINING: Operation = Operation::write("events.join");
const FETCHING: Operation = Operation::write("events.fetch").bulk();
/// A native read takes something each time: it is not repeated, but what it took is asked for.
const READING: Operation = Operation::once("events.fetch").bulk();
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
/// Kind of state: what the group has and what waits is volatile beside truth: if Redis forgets it, or another program deletes
/// the group, a member or the stream, entries are delivered again; and of what a member still has at that moment, what comes
/// later may be handled first by another.
///
/// What a member holds is also in the native list of pending entries, so `XPENDING` tells the truth; what waits for its key
/// is there with a consumer called `\x01parked`. Entries which members of other programs read natively in the same group
/// and forgot are taken over by [`reclaim`](EventConsumer::reclaim).
///
/// A member is its group's sole one while nobody else asked for half a minute, nothing waits, and nobody else has anything. It
/// reads natively then, and what it has is in the native list alone, until somebody else asks, a letter is replayed, or it
/// takes over from itself: that call writes it down first, at most 11 000 entries, about 10 µs each.
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
/// | the first `fetch` of one that was the sole member until then | as many again | 1 more |
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

/// What is asked of one stream.
struct Question<'a> {
    call: Call<'a>,
    take: Take,
    place: &'a Place,
    share: usize,
}

/// What one look at the streams found.
#[derive(Debug, Default)]
struct Found {
    deliveries: Vec<Delivery>,
    /// Whether looking again at once makes sense, though there was nothing.
    again: bool,
    /// Whether anything was read natively.
    is_native: bool,
    /// Behind what the next thing will be.
    watches: Vec<Watch>,
}

impl StreamConsumer {
    /// A member that nobody has heard of yet.
    pub(crate) fn new(streams: Streams, group: &str, member: &str, topics: &[Topic]) -> Result<Self> {
        for name in [group, member] {
            Id::<Self>::new(name)?;
        }
        let topics: BTreeSet<_> = topics.iter().copied().collect();
        let places = topics.into_iter().map(|topic| streams.place(topic).cloned()).collect::<Result<_>>()?;
        let (group, member, wake) = (group.to_owned(), member.to_owned(), Wake::new(&streams));
        let (new, idle) = Default::default();
        Ok(Self { streams, group, member, places, new, idle, wake })
    }

    /// Registers the group where it is new, and a member of it.
    pub(crate) async fn join(
        streams: Streams,
        group: &str,
        member: &str,
        topics: &[Topic],
        start: Start,
    ) -> Result<Self> {
        let consumer = Self::new(streams, group, member, topics)?;
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
        if max == 0 {
            self.ack(receipts).await?;
            return Ok(Vec::new());
        }
        Ok(self.look(FETCHING, Take::New, max, receipts).await?.deliveries)
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

    /// Asks the streams in turn until one has something or all were asked; with the first question, `done` is acknowledged.
    async fn look(
        &self,
        operation: Operation,
        take: Take,
        max: usize,
        mut done: &[Receipt],
    ) -> Result<Found> {
        let mut asked = BTreeSet::new();
        let mut found = Found::default();
        let sort = match take {
            Take::New => &self.new,
            Take::Idle(_) => &self.idle,
        };
        let surplus = sort.surplus(max);
        if !surplus.is_empty() {
            self.streams.store().call::<Value>(operation, self.each(&ACK, done)?).await?;
            return Ok(Found { deliveries: surplus.was_heard(), ..Found::default() });
        }
        loop {
            let shares = sort.turn.lock().next(self.places.len(), max, &asked);
            if shares.is_empty() && done.is_empty() {
                return Ok(found);
            }
            let mut calls = Vec::with_capacity(shares.len());
            for (nth, share) in shares {
                let Some(place) = self.places.get(nth) else { continue };
                let share = share.min(ENTRIES_AT_ONCE);
                // What was reclaimed and not heard comes before anything there is to fetch.
                let is_owed = matches!(take, Take::New) && self.idle.is_owed(nth);
                let (sort, take) =
                    if is_owed { (&self.idle, Take::Idle(LONGEST_IDLE)) } else { (sort, take) };
                calls.push(Question { call: Call::new(sort, nth), take, place, share });
                asked.insert(nth);
            }
            found.is_native |= calls.iter().any(|question| question.call.is_native);
            let given = self.ask(operation, done, &mut calls).await?;
            done = &[];
            let mut heard = Vec::with_capacity(calls.len());
            for (question, answer) in calls.into_iter().zip(given) {
                let Question { mut call, place, share, .. } = question;
                let (count, more, begins) = match answer {
                    Answer::Done => continue,
                    Answer::Read(entries) => {
                        let Some(spell) = &mut call.spell else { continue };
                        spell.heard = entries.last().map(|entry| entry.id).or(spell.heard);
                        self.watch(&mut found, place, &(spell.end(), spell.behind.1.clone()));
                        let count = entries.len();
                        spell.count += count;
                        let first = |entry: Entry| (entry.id, 1, entry.content);
                        self.take(&mut found, place, &spell.life, entries.into_iter().map(first)).await?;
                        (count, true, None)
                    }
                    Answer::Given(Given { life, more, entries, behind, spell }) => {
                        let count = entries.len();
                        found.again |= more && entries.is_empty();
                        if let Some(behind) = &behind {
                            self.watch(&mut found, place, behind);
                        }
                        self.take(&mut found, place, &life, entries.into_iter()).await?;
                        let begins = spell.zip(behind);
                        (
                            count,
                            more,
                            begins.map(|(name, behind)| Spell { name, life, heard: None, count: 0, behind }),
                        )
                    }
                };
                sort.turn.lock().note(call.nth, more && count >= share);
                heard.push((call, begins));
            }
            heard.into_iter().for_each(|(call, begins)| call.was_heard(begins));
            if !found.deliveries.is_empty() {
                if matches!(take, Take::New) && found.deliveries.len() > max {
                    sort.keep(found.deliveries.drain(max..));
                }
                return Ok(found);
            }
        }
    }

    /// Acknowledges and asks, in one round trip; answers the questions. What cannot be read natively, or was and is not
    /// known, is asked for by scripts.
    async fn ask(
        &self,
        operation: Operation,
        done: &[Receipt],
        calls: &mut [Question<'_>],
    ) -> Result<Vec<Answer>> {
        let store = self.streams.store();
        let only_questions = |answers: Vec<Answer>| {
            answers.into_iter().filter(|answer| !matches!(answer, Answer::Done)).collect()
        };
        if calls.iter().any(|question| question.call.is_native) {
            match store.call(READING, self.round(done, calls)?).await {
                Ok(answers) => return Ok(only_questions(answers)),
                // Nothing happened, and nothing else would.
                Err(refused) if matches!(refused.code(), Code::Unavailable | Code::ConfigInvalid) => {
                    return Err(refused);
                }
                Err(_) => calls.iter_mut().for_each(|question| question.call.is_native = false),
            }
        }
        store.call(operation, self.round(done, calls)?).await.map(only_questions)
    }

    /// The commands of one round trip.
    fn round(&self, done: &[Receipt], calls: &[Question<'_>]) -> Result<Vec<Command>> {
        let mut commands = self.each(&ACK, done)?;
        for Question { call, take, place, share } in calls {
            // Sent also when it means nothing any more, so that the server has the script by the next time.
            let note = call.spell.as_ref().filter(|_| self.streams.store().is_injected());
            match (take, &call.spell) {
                (Take::New, Some(spell)) if call.is_native => {
                    let read = Command::keyless("XREADGROUP").arg("GROUP").arg(&self.group).arg(&self.member);
                    let read = read.arg("COUNT").arg(*share).arg("STREAMS").arg(place.stream_key());
                    commands.push(read.arg(place.spell(&self.group, &spell.name)).arg(">").arg(">"));
                }
                (Take::New, spell) => {
                    let (name, heard) = match spell {
                        Some(spell) => (spell.name.as_str(), spell.heard.map(|heard| heard.to_string())),
                        None => ("", None),
                    };
                    let fetch = self.script(&FETCH, place).arg(*share).arg(call.name);
                    let fetch = fetch.arg(name).arg(heard.unwrap_or_default());
                    commands.push(fetch.arg(i32::from(call.is_alone())));
                }
                (Take::Idle(idle), _) => {
                    let idle = (*idle).min(LONGEST_IDLE).as_millis().to_string();
                    commands.push(self.script(&RECLAIM, place).arg(idle).arg(*share).arg(call.name));
                }
            }
            commands.extend(note.map(|spell| self.script(&NOTE, place).arg(&spell.name)));
        }
        Ok(commands)
    }

    fn watch(&self, found: &mut Found, place: &Place, behind: &(String, String)) {
        let watches = [(place.stream_key(), &behind.0), (place.wake(&self.group), &behind.1)];
        found.watches.extend(watches.map(|(key, after)| Watch {
            stream: place.stream.clone(),
            key,
            after: after.clone(),
        }));
    }

    /// Makes deliveries of entries.
    async fn take(
        &self,
        found: &mut Found,
        place: &Place,
        life: &str,
        entries: impl ExactSizeIterator<Item = (EntryId, u32, Content)>,
    ) -> Result<()> {
        found.deliveries.reserve(entries.len());
        for (id, attempt, content) in entries {
            let mut event = content.decode(&place.stream, id);
            if content.is_part(&event) {
                let whole =
                    Command::new("XRANGE", &place.stream_key()).arg(id.to_string()).arg(id.to_string());
                let entry: Vec<Entry> = self.streams.store().call_one(FETCHING, whole).await?;
                if let Some(entry) = entry.into_iter().next() {
                    event = entry.content.decode(&place.stream, id);
                }
            }
            let receipt = Receipt { topic: place.topic, position: position(life, id) };
            found.deliveries.push(Delivery { receipt, attempt, event });
        }
        Ok(())
    }
}

#[async_trait]
impl EventConsumer for StreamConsumer {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let began = Stopwatch::start();
        if max == 0 || self.places.is_empty() {
            return Ok(Vec::new());
        }
        let mut has_waited = false;
        loop {
            let found = self.look(FETCHING, Take::New, max, &[]).await?;
            if !found.deliveries.is_empty() {
                return Ok(found.deliveries);
            }
            // Nothing to read natively, though there was reason to look: it is asked whether the spell lasts.
            if has_waited && found.is_native {
                has_waited = false;
                self.new.forget_spells();
                continue;
            }
            if found.again {
                continue;
            }
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            self.wake.wait(&found.watches, left).await;
            has_waited = true;
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        self.streams.store().call::<Value>(ACKING, self.each(&ACK, receipts)?).await.map(drop)
    }

    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        if max == 0 || self.places.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.look(RECLAIMING, Take::Idle(idle), max, &[]).await?.deliveries)
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
