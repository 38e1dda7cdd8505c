//! [`StreamPublisher`]: facts into streams, each once.

mod append;
mod lane;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::error::{Code, Effect, Error, Result};
use chat_core::event::{Envelope, Topic};
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use chat_redis::driver::Operation;
use futures::future::join_all;

use crate::position::position;
use crate::reply::Appended;
use crate::streams::Streams;
use append::{EVENTS_AT_ONCE, Part};
use lane::Lane;

const OPERATION: Operation = Operation::write("events.publish");

/// Publishes to the streams: one script per stream and 256 events, all streams at once.
///
/// What several tasks publish to one stream at a time goes out together: while a script is under way, others gather and
/// are the next one. A publish that meets no other goes at once. Each caller is answered for its own events, and refused
/// for its own; one that is dropped before its events were sent may take them along. When more wait than can be sent in time,
/// what comes is refused: [`Code::QueueFull`].
///
/// # Cost
/// | operation | commands | round trips |
/// |---|---|---|
/// | events of one topic | 1 per 256 | 1 per 256 |
/// | events of several topics | 1 per topic and 256; 1 more per topic that may be full | 1, or 2 |
/// | events of many tasks at a time | 1 per topic and 256; 1 per task when they are too many for the stream together | 1, after that of those before |
#[derive(Debug)]
pub struct StreamPublisher {
    streams: Streams,
    lanes: BTreeMap<Topic, Arc<Lane>>,
}

/// The events of a call that go to one topic, and where each is in the call.
type Batch<'a> = Vec<(usize, &'a Envelope)>;

/// What became of a batch: the events that are in the stream, and why the others are not.
struct Outcome {
    published: Vec<(usize, Published)>,
    failure: Option<Error>,
}

impl StreamPublisher {
    pub(crate) fn new(streams: Streams) -> Self {
        let lane = |topic: &Topic| (*topic, Arc::new(Lane::new(streams.clone(), *topic)));
        Self { lanes: Topic::ALL.iter().map(lane).collect(), streams }
    }

    fn lane(&self, topic: Topic) -> Result<&Arc<Lane>> {
        let unknown = || Error::new(Code::Internal).with("reason", "a topic that is not in the table");
        self.lanes.get(&topic).ok_or_else(unknown)
    }

    /// Asks streams that may be full before anything is appended to any of them.
    async fn ask_for_room(&self, batches: &BTreeMap<Topic, Batch<'_>>) -> Result<()> {
        let (mut unsure, mut questions) = (Vec::new(), Vec::new());
        for (topic, batch) in batches {
            let lane = self.lane(*topic)?;
            if lane.room() < 2 * batch.len() as u64 {
                unsure.push(lane);
                questions.push(append::script(&self.streams, *topic, &[], batch.len())?);
            }
        }
        let answers: Vec<Appended> = self.streams.store().call(OPERATION, questions).await?;
        unsure.into_iter().zip(&answers).try_for_each(|(lane, answer)| lane.note_room(answer))
    }

    async fn publish(&self, topic: Topic, batch: &[(usize, &Envelope)]) -> Outcome {
        let mut published = Vec::with_capacity(batch.len());
        let failure = self.append(topic, batch, &mut published).await.err();
        Outcome { published, failure }
    }

    /// Appends one part after the other, so that order is kept whatever happens to a connection.
    async fn append(
        &self,
        topic: Topic,
        batch: &[(usize, &Envelope)],
        published: &mut Vec<(usize, Published)>,
    ) -> Result<()> {
        let (lane, mut coming) = (self.lane(topic)?, batch.len());
        for events in batch.chunks(EVENTS_AT_ONCE) {
            let envelopes = events.iter().map(|(_, envelope)| *envelope);
            let part = Part::new(self.streams.options().encoding, envelopes, std::mem::take(&mut coming));
            let appended = lane.append(part).await?;
            lane.note_room(&appended)?;
            let answers = appended.entries.into_iter().map(|(entry, is_new)| {
                let at = position(&appended.life, entry);
                if is_new { Published::Durable(at) } else { Published::Suppressed(at) }
            });
            published.extend(events.iter().map(|(nth, _)| *nth).zip(answers));
        }
        Ok(())
    }
}

#[async_trait]
impl EventPublisher for StreamPublisher {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        let mut batches: BTreeMap<Topic, Batch<'_>> = BTreeMap::new();
        for (nth, envelope) in events.iter().enumerate() {
            batches.entry(envelope.topic()).or_default().push((nth, envelope));
        }
        if batches.len() > 1 {
            self.ask_for_room(&batches).await?;
        }
        let publishing: Vec<_> = batches.iter().map(|(topic, batch)| self.publish(*topic, batch)).collect();
        let mut answers: Vec<Option<Published>> = vec![None; events.len()];
        let mut failures = Vec::new();
        for outcome in join_all(publishing).await {
            for (nth, answer) in outcome.published {
                if let Some(place) = answers.get_mut(nth) {
                    *place = Some(answer);
                }
            }
            failures.extend(outcome.failure);
        }
        let may_be_there =
            answers.iter().any(Option::is_some) || failures.iter().any(|f| f.effect() == Effect::Unknown);
        if let Some(failure) = failures.into_iter().next() {
            return Err(if may_be_there { failure.effect_unknown() } else { failure });
        }
        let short =
            || Error::new(Code::DataCorrupt).during(OPERATION.name()).with("reason", "too few answers");
        answers.into_iter().collect::<Option<_>>().ok_or_else(short)
    }
}
