//! [`StreamDeadLetters`]: events set aside, each beside the stream it came from.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged};
use chat_core::error::{Code, Error, Result};
use chat_core::event::Topic;
use chat_core::store::DeadLetters;
use chat_core::store::events::{DeadLetter, Position, Receipt};
use chat_redis::driver::{Command, Operation, OperationId};

use crate::place::Place;
use crate::position::{EntryId, parts};
use crate::reply::{Content, Entry};
use crate::script::{PURGE, REPLAY};
use crate::streams::Streams;

const LISTING: Operation = Operation::read("events.letters").bulk();
const REPLAYING: Operation = Operation::write("events.replay");
const PURGING: Operation = Operation::write("events.purge");

/// How many dead letters are kept for each topic; then no more can be buried.
pub(crate) const MAX_DEAD_LETTERS: u64 = 100_000;
/// For how long the answer to a call is remembered, should it be repeated.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many letters one script moves.
const LETTERS_AT_ONCE: usize = 256;

/// The dead letters of all topics. Those of one topic are a stream beside its own, called `{…}:dead`, so that they can be
/// looked at with `XRANGE`; they stay until they are replayed or purged.
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | `list` | 1 per topic there is | 1 |
/// | `replay` | 1 per letter, 1 per topic and 256 letters | 2 |
/// | `purge` | 1 per topic and 256 letters | 1 |
#[derive(Debug)]
pub struct StreamDeadLetters {
    streams: Streams,
}

/// The name of a dead letter. Letters are ordered by it: by when they were buried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LetterId {
    at: EntryId,
    topic: Topic,
}

impl LetterId {
    fn order(&self) -> (EntryId, &'static str) {
        (self.at, self.topic.as_str())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let at = EntryId { ms: parts.next()?.parse().ok()?, seq: parts.next()?.parse().ok()? };
        let name = parts.next()?;
        let topic = Topic::ALL.iter().copied().find(|topic| topic.as_str() == name)?;
        // Each letter has one name only.
        let id = Self { at, topic };
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:015}-{:06}-{}", self.at.ms, self.at.seq, self.topic)
    }
}

impl StreamDeadLetters {
    pub(crate) fn new(streams: Streams) -> Self {
        Self { streams }
    }

    /// How many dead letters there are, by topic.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn count(&self) -> Result<BTreeMap<Topic, u64>> {
        let lengths = self.streams.places().map(|place| Command::new("XLEN", &place.side("dead")));
        let lengths: Vec<u64> = self.streams.store().call(LISTING, lengths.collect()).await?;
        Ok(self
            .streams
            .places()
            .map(|place| place.topic)
            .zip(lengths)
            .filter(|(_, count)| *count > 0)
            .collect())
    }

    /// The letters of these names that are there, by topic, each once and in the order of the names.
    fn by_topic(ids: &[String]) -> BTreeMap<Topic, Vec<EntryId>> {
        let mut seen = HashSet::new();
        let mut letters: BTreeMap<Topic, Vec<EntryId>> = BTreeMap::new();
        for id in ids.iter().filter_map(|id| LetterId::parse(id)).filter(|id| seen.insert(*id)) {
            letters.entry(id.topic).or_default().push(id.at);
        }
        letters
    }

    /// Runs a script over letters; says how many it moved.
    async fn each(
        &self,
        operation: Operation,
        letters: &BTreeMap<Topic, Vec<EntryId>>,
        command: impl Fn(&Place) -> Command + Send + Sync,
    ) -> Result<u64> {
        let mut commands = Vec::new();
        for (topic, letters) in letters {
            let place = self.streams.place(*topic)?;
            for letters in letters.chunks(LETTERS_AT_ONCE) {
                let ids: Vec<_> = letters.iter().map(EntryId::to_string).collect();
                let kept = self.streams.store().kept_for(REMEMBERED);
                commands.push(command(place).arg(OperationId::new()).arg(kept).arg(ids));
            }
        }
        Ok(self.streams.store().call::<u64>(operation, commands).await?.into_iter().sum())
    }
}

/// A letter as it is kept.
fn letter(place: &Place, entry: &Entry) -> Result<DeadLetter> {
    let corrupt = |what: &str| Error::new(Code::DataCorrupt).during(LISTING.name()).with("field", what);
    let Content::Fields(kept) = &entry.content else { return Err(corrupt("all")) };
    let said = |name: &str| {
        let found = kept.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        found.and_then(|value| std::str::from_utf8(value).ok()).ok_or_else(|| corrupt(name))
    };
    let position = Position(said("position")?.to_owned());
    let (_, id) = parts(&position).ok_or_else(|| corrupt("position"))?;
    let of_entry =
        |(name, value): &(String, Vec<u8>)| Some((name.strip_prefix(':')?.to_owned(), value.clone()));
    let fields = match kept.iter().find(|(known, _)| known == "fields") {
        Some((_, many)) => fields_of(many).ok_or_else(|| corrupt("fields"))?,
        None => kept.iter().filter_map(of_entry).collect(),
    };
    let fields = Content::Fields(fields);
    Ok(DeadLetter {
        id: LetterId { at: entry.id, topic: place.topic }.to_string(),
        group: said("group")?.to_owned(),
        event: fields.decode(&place.stream, id),
        receipt: Receipt { topic: place.topic, position },
        attempts: said("attempts")?.parse().map_err(|_| corrupt("attempts"))?,
        cause: said("cause")?.to_owned(),
        at: Timestamp::from_millis(said("at")?.parse().map_err(|_| corrupt("at"))?),
    })
}

/// The fields of an entry that had more than a command takes: names and values, each after its length and a colon.
fn fields_of(mut many: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut texts = Vec::new();
    while !many.is_empty() {
        let colon = many.iter().position(|byte| *byte == b':')?;
        let (length, rest) = many.split_at_checked(colon)?;
        let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
        let (text, rest) = rest.get(1..)?.split_at_checked(length)?;
        texts.push(text.to_vec());
        many = rest;
    }
    let mut texts = texts.into_iter();
    let mut fields = Vec::with_capacity(texts.len() / 2);
    while let Some(name) = texts.next() {
        fields.push((String::from_utf8_lossy(&name).into_owned(), texts.next()?));
    }
    Some(fields)
}

#[async_trait]
impl DeadLetters for StreamDeadLetters {
    async fn list(&self, page: &Page<String>) -> Result<Paged<DeadLetter, String>> {
        page.check()?;
        let after = match &page.after {
            None => None,
            Some(id) => Some(LetterId::parse(id).ok_or_else(|| Error::new(Code::CursorInvalid))?),
        };
        let ranges = self.streams.places().map(|place| {
            // Of letters of one instant, those of later topics come later.
            let from = match after {
                None => "-".to_owned(),
                Some(after) if place.topic.as_str() > after.topic.as_str() => after.at.to_string(),
                Some(after) => format!("({}", after.at),
            };
            let range = Command::new("XRANGE", &place.side("dead")).arg(from);
            range.arg("+").arg("COUNT").arg(page.limit + 1)
        });
        let found: Vec<Vec<Entry>> = self.streams.store().call(LISTING, ranges.collect()).await?;
        let mut entries: Vec<(LetterId, &Place, Entry)> = Vec::new();
        for (place, of_topic) in self.streams.places().zip(found) {
            let topic = place.topic;
            entries
                .extend(of_topic.into_iter().map(|entry| (LetterId { at: entry.id, topic }, place, entry)));
        }
        entries.sort_by_key(|(id, ..)| id.order());
        entries.truncate(page.limit + 1);
        let letters = entries.iter().map(|(_, place, entry)| letter(place, entry)).collect::<Result<_>>()?;
        Ok(Paged::from_surplus(letters, page.limit, |letter: &DeadLetter| letter.id.clone()))
    }

    async fn replay(&self, ids: &[String]) -> Result<u64> {
        let mut readable = BTreeMap::new();
        for (topic, ids) in Self::by_topic(ids) {
            let place = self.streams.place(topic)?;
            let each = ids.iter().map(|id| {
                let letters = Command::new("XRANGE", &place.side("dead"));
                letters.arg(id.to_string()).arg(id.to_string())
            });
            let found: Vec<Vec<Entry>> = self.streams.store().call(LISTING, each.collect()).await?;
            let is_readable = |entry: &&Entry| letter(place, entry).is_ok_and(|letter| letter.event.is_ok());
            let ids: Vec<_> = found.iter().flatten().filter(is_readable).map(|entry| entry.id).collect();
            readable.insert(topic, ids);
        }
        let nobody = "";
        let script =
            |place: &Place| self.streams.script(&REPLAY, place).arg(nobody).arg(nobody).arg(place.ordering());
        self.each(REPLAYING, &readable, script).await
    }

    async fn purge(&self, ids: &[String]) -> Result<u64> {
        self.each(PURGING, &Self::by_topic(ids), |place| self.streams.script(&PURGE, place)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for topic in Topic::ALL {
            let id = LetterId { at: EntryId { ms: 1_735_689_600_000, seq: 12 }, topic: *topic };
            assert_eq!(LetterId::parse(&id.to_string()), Some(id));
        }
        for bad in ["", "nobody", "1-1", "1-1-Files", "001735689600000-000012-Nothing", "--Files"] {
            assert_eq!(LetterId::parse(bad), None, "{bad:?}");
        }
    }
}
