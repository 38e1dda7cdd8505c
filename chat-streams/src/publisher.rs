//! [`StreamPublisher`]: facts into streams, each once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, Topic, wire};
use chat_core::store::EventPublisher;
use chat_core::store::events::{Published, REPEAT_WINDOW};
use chat_redis::driver::{Command, Operation};
use parking_lot::Mutex;

use crate::options::Encoding;
use crate::position::position;
use crate::reply::Appended;
use crate::script::PUBLISH;
use crate::streams::Streams;

const OPERATION: Operation = Operation::write("events.publish");

/// How many events one script appends: what it does to the server's other clients is bounded.
const EVENTS_AT_ONCE: usize = 256;

/// How many flat fields an event may have; one with more, read from somebody else, is written as its envelope alone. A
/// command of a script takes no more.
const MOST_FIELDS: usize = 2_000;

/// Publishes to the streams: one script per stream and 256 events, all streams at once.
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | events of one topic | 1 per 256 | 1 per 256 |
/// | events of several topics | 1 per topic and 256; 1 more per topic that may be full | 1, or 2 |
#[derive(Debug)]
pub struct StreamPublisher {
    streams: Streams,
    /// How many more entries each stream may have had when it last answered.
    room: Mutex<HashMap<Topic, u64>>,
}

/// An event as it is written.
#[derive(Debug)]
struct Written<'a> {
    /// Where it is in the caller's batch.
    nth: usize,
    id: &'a str,
    fields: Vec<(Cow<'static, str>, String)>,
}

impl StreamPublisher {
    pub(crate) fn new(streams: Streams) -> Self {
        Self { streams, room: Mutex::default() }
    }

    fn written<'a>(&self, nth: usize, envelope: &'a Envelope) -> Written<'a> {
        let flat = match self.streams.options().encoding {
            Encoding::Flat => Some(wire::encode_flat(envelope)).filter(|fields| fields.len() <= MOST_FIELDS),
            Encoding::Payload => None,
        };
        let fields = flat.unwrap_or_else(|| vec![("payload".into(), wire::encode_payload(envelope))]);
        Written { nth, id: envelope.id.as_str(), fields }
    }

    /// Appends a part of a batch to one stream; `coming` is how many events of the batch are to go there from here on, or
    /// zero when they were let in before.
    fn append(&self, topic: Topic, events: &[Written<'_>], coming: usize) -> Result<Command> {
        let options = self.streams.options();
        let mut command = self
            .streams
            .script(&PUBLISH, self.streams.place(topic)?)
            .arg(format!("{:08x}", rand::random::<u32>()))
            .arg(options.max_len(topic))
            .arg(options.most(topic))
            .arg(coming)
            .arg(u8::from(options.ignore_foreign_groups))
            .arg(self.streams.store().kept_for(REPEAT_WINDOW * 2))
            .arg(events.len());
        for event in events {
            command = command.arg(event.id).arg(event.fields.len() * 2);
            for (name, value) in &event.fields {
                command = command.arg(name.as_ref()).arg(value.as_str());
            }
        }
        Ok(command)
    }

    /// Asks streams that may be full before anything is appended to any of them.
    async fn ask_for_room(&self, batches: &BTreeMap<Topic, Vec<Written<'_>>>) -> Result<()> {
        let unsure: Vec<_> = {
            let room = self.room.lock();
            let may_be_full = |topic: &Topic, events: &[_]| {
                room.get(topic).is_none_or(|room| *room < 2 * events.len() as u64)
            };
            batches.iter().filter(|(topic, events)| may_be_full(topic, events)).collect()
        };
        let questions = unsure.iter().map(|(topic, events)| self.append(**topic, &[], events.len()));
        let answers: Vec<Appended> =
            self.streams.store().call(OPERATION, questions.collect::<Result<_>>()?).await?;
        let topics = unsure.iter().map(|(topic, _)| **topic);
        topics.zip(&answers).try_for_each(|(topic, answer)| self.note_room(topic, answer))
    }

    /// # Errors
    /// [`Code::QueueFull`] when there is none.
    fn note_room(&self, topic: Topic, answer: &Appended) -> Result<()> {
        self.room.lock().insert(topic, answer.room.unwrap_or(0));
        match answer.room {
            Some(_) => Ok(()),
            None => Err(Error::new(Code::QueueFull).during(OPERATION.name()).with("topic", topic)),
        }
    }
}

#[async_trait]
impl EventPublisher for StreamPublisher {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        let mut batches: BTreeMap<Topic, Vec<Written<'_>>> = BTreeMap::new();
        for (nth, envelope) in events.iter().enumerate() {
            batches.entry(envelope.topic()).or_default().push(self.written(nth, envelope));
        }
        if batches.len() > 1 {
            self.ask_for_room(&batches).await?;
        }
        let mut answers: Vec<Option<Published>> = vec![None; events.len()];
        let mut parts: Vec<_> = batches
            .iter()
            .map(|(topic, events)| (*topic, events.chunks(EVENTS_AT_ONCE), events.len()))
            .collect();
        // The parts of one stream follow each other, so that order is kept whatever happens to a connection.
        loop {
            let round: Vec<_> = parts
                .iter_mut()
                .filter_map(|(topic, parts, coming)| Some((*topic, parts.next()?, std::mem::take(coming))))
                .collect();
            if round.is_empty() {
                break;
            }
            let commands = round.iter().map(|(topic, events, coming)| self.append(*topic, events, *coming));
            let appended: Vec<Appended> =
                self.streams.store().call(OPERATION, commands.collect::<Result<_>>()?).await?;
            let mut full = None;
            for ((topic, events, _), appended) in round.iter().zip(&appended) {
                full = full.or(self.note_room(*topic, appended).err());
                for (event, (entry, is_new)) in events.iter().zip(&appended.entries) {
                    let at = position(&appended.life, *entry);
                    let answer = if *is_new { Published::Durable(at) } else { Published::Suppressed(at) };
                    if let Some(place) = answers.get_mut(event.nth) {
                        *place = Some(answer);
                    }
                }
            }
            if let Some(full) = full {
                let is_nothing_there = answers.iter().all(Option::is_none);
                return Err(if is_nothing_there { full } else { full.effect_unknown() });
            }
        }
        let short =
            || Error::new(Code::DataCorrupt).during(OPERATION.name()).with("reason", "too few answers");
        answers.into_iter().collect::<Option<_>>().ok_or_else(short)
    }
}
