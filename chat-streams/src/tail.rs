//! [`StreamTail`]: every node reads everything, by its own cursors.

use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result;
use chat_core::event::{Envelope, Topic, Undecodable};
use chat_core::store::EventTail;
use chat_core::store::events::{TailCursor, TailRead};
use chat_redis::driver::{Command, Operation, Stopwatch};
use redis::{FromRedisValue, ParsingError, Value};

use crate::place::Place;
use crate::position::{EntryId, parts, position};
use crate::reply::{End, Entry, Look};
use crate::script::{ENDS, LOOK};
use crate::streams::Streams;
use crate::wake::{Wake, Watch};

const READ: Operation = Operation::read("events.read").bulk();
const END: Operation = Operation::write("events.ends");

/// Reads the streams. A cursor is good while the entry it stands on is there; then two native commands read what comes after
/// it. Else a script looks at once at everything that tells a gap from the end.
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | `read_since`, a cursor on an entry that is kept | 2 per cursor | 1 |
/// | `read_since`, any other cursor | 1 to 3 per cursor | 1 or 2 |
/// | waiting | 1 blocking read for each server | |
/// | `ends` | 1 per topic | 1 |
#[derive(Debug)]
pub struct StreamTail {
    streams: Streams,
    wake: Wake,
}

/// A cursor, understood.
#[derive(Debug)]
struct Reader<'a> {
    place: &'a Place,
    cursor: &'a TailCursor,
    /// The life and the entry it stands behind; nothing when it stands at the beginning, or no stream gave it.
    stands: Option<(&'a str, EntryId)>,
}

/// What native commands answer about a cursor.
#[derive(Debug)]
enum Native {
    Life(Option<String>),
    Entries(Vec<Entry>),
}

impl FromRedisValue for Native {
    fn from_redis_value(value: Value) -> std::result::Result<Self, ParsingError> {
        match value {
            Value::Array(_) => Vec::from_redis_value(value).map(Self::Entries),
            _ => Option::from_redis_value(value).map(Self::Life),
        }
    }
}

/// What a script found for a cursor; nothing where there is no stream yet.
type Looked = Option<Look>;

impl StreamTail {
    pub(crate) fn new(streams: Streams) -> Self {
        Self { wake: Wake::new(&streams), streams }
    }

    /// One answer per reader that has anything.
    async fn pass(&self, readers: &[Reader<'_>], max: usize) -> Result<Vec<Option<TailRead>>> {
        let mut commands: Vec<Command> = Vec::with_capacity(readers.len() * 2);
        for reader in readers {
            if let Some((_, entry)) = reader.stands {
                commands.push(Command::new("GET", &reader.place.side("life")));
                commands.push(range(reader.place, entry, max));
            }
        }
        let mut native = self.streams.store().call::<Native>(READ, commands).await?.into_iter();
        let mut reads: Vec<Option<TailRead>> = Vec::with_capacity(readers.len());
        let mut unsure = Vec::new();
        for (nth, reader) in readers.iter().enumerate() {
            let known = reader.stands.and_then(|stands| match (native.next(), native.next()) {
                (Some(Native::Life(Some(life))), Some(Native::Entries(entries))) => {
                    reader.after_its_entry(stands, &life, entries)
                }
                _ => None,
            });
            if known.is_none() {
                unsure.push(nth);
            }
            reads.push(known.flatten());
        }
        let doubtful: Vec<&Reader<'_>> = unsure.iter().filter_map(|nth| readers.get(*nth)).collect();
        let looks = doubtful.iter().map(|reader| {
            let from = reader.stands.map(|(_, entry)| entry.to_string()).unwrap_or_default();
            self.streams.script(&LOOK, reader.place).arg(from).arg(max)
        });
        let looked: Vec<Looked> = self.streams.store().call(READ, looks.collect()).await?;
        for ((nth, reader), look) in unsure.into_iter().zip(doubtful).zip(looked) {
            if let (Some(place), Some(look)) = (reads.get_mut(nth), look) {
                *place = reader.judge(look, max);
            }
        }
        Ok(reads)
    }
}

/// Reads entries from one on, that one included.
fn range(place: &Place, from: EntryId, max: usize) -> Command {
    let command = Command::new("XRANGE", &place.stream_key()).arg(from.to_string()).arg("+");
    command.arg("COUNT").arg(max.saturating_add(1))
}

impl<'a> Reader<'a> {
    fn new(streams: &'a Streams, cursor: &'a TailCursor) -> Result<Self> {
        let stands = cursor.after.as_ref().and_then(parts);
        Ok(Self { place: streams.place(cursor.topic)?, cursor, stands })
    }

    /// What follows the entry it stands on, if that is there: then nothing is missing in between.
    fn after_its_entry(
        &self,
        (life, stands): (&str, EntryId),
        life_now: &str,
        entries: Vec<Entry>,
    ) -> Option<Option<TailRead>> {
        let mut entries = entries.into_iter();
        let is_good = life == life_now && entries.next().is_some_and(|entry| entry.id == stands);
        is_good.then(|| self.events(life, entries.collect()))
    }

    /// What a place is worth when its entry may be gone.
    fn judge(&self, look: Look, max: usize) -> Option<TailRead> {
        let mut entries = look.entries;
        if self.cursor.after.is_none() {
            entries.truncate(max);
            return self.events(&look.life, entries);
        }
        let oldest = look.oldest.map_or(look.newest, EntryId::before);
        let gap = || TailRead::Discontinuity { oldest: self.cursor_at(&look.life, oldest) };
        let Some((life, stands)) = self.stands else { return Some(gap()) };
        let is_on_an_entry = entries.first().is_some_and(|entry| entry.id == stands);
        let is_whole = life == look.life
            && (stands == look.newest
                || is_on_an_entry
                // Right before what is kept, as a discontinuity puts its reader.
                || look.oldest.is_some_and(|oldest| oldest.before() == stands)
                // At the beginning of a stream that lost nothing.
                || (stands == EntryId::ZERO && look.added == look.length)
                // Its entry, and it alone, was deleted.
                || look.oldest.is_some_and(|oldest| oldest < stands && stands <= look.deleted));
        if !is_whole || stands > look.newest {
            return Some(gap());
        }
        if is_on_an_entry {
            entries.remove(0);
        }
        entries.truncate(max);
        self.events(&look.life, entries)
    }

    fn cursor_at(&self, life: &str, entry: EntryId) -> TailCursor {
        TailCursor { topic: self.cursor.topic, after: Some(position(life, entry)) }
    }

    fn events(&self, life: &str, entries: Vec<Entry>) -> Option<TailRead> {
        let next = self.cursor_at(life, entries.last()?.id);
        let decode = |entry: &Entry| entry.content.decode(&self.place.stream, entry.id);
        let events: Vec<Result<Envelope, Undecodable>> = entries.iter().map(decode).collect();
        Some(TailRead::Events { events, next })
    }

    /// What has to come for it to have anything.
    fn watch(&self) -> Watch {
        let after = self.stands.map_or(EntryId::ZERO, |(_, entry)| entry);
        Watch { stream: self.place.stream.clone(), key: self.place.stream_key(), after: after.to_string() }
    }
}

#[async_trait]
impl EventTail for StreamTail {
    async fn read_since(&self, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>> {
        let began = Stopwatch::start();
        let readers: Vec<_> =
            cursors.iter().map(|cursor| Reader::new(&self.streams, cursor)).collect::<Result<_>>()?;
        if readers.is_empty() || max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let found: Vec<_> = self.pass(&readers, max).await?.into_iter().flatten().collect();
            let left = wait.saturating_sub(began.elapsed());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            self.wake.wait(&readers.iter().map(Reader::watch).collect::<Vec<_>>(), left).await;
        }
    }

    async fn ends(&self, topics: &[Topic]) -> Result<Vec<TailCursor>> {
        let places = topics.iter().map(|topic| self.streams.place(*topic)).collect::<Result<Vec<_>>>()?;
        let commands = places.iter().map(|place| self.streams.script(&ENDS, place)).collect();
        let ends: Vec<End> = self.streams.store().call(END, commands).await?;
        let cursor = |(topic, end): (&Topic, End)| TailCursor {
            topic: *topic,
            after: Some(position(&end.life, end.newest)),
        };
        Ok(topics.iter().zip(ends).map(cursor).collect())
    }
}
