//! Events as they are written, and the script that appends them.

use std::borrow::Cow;
use std::fmt;

use chat_core::domain::EventId;
use chat_core::error::Result;
use chat_core::event::{Envelope, Topic, wire};
use chat_core::store::events::REPEAT_WINDOW;
use chat_redis::driver::Command;
use uuid::Uuid;

use crate::options::Encoding;
use crate::script::PUBLISH;
use crate::streams::Streams;

/// How many events one script appends: what it does to the server's other clients is bounded.
pub(super) const EVENTS_AT_ONCE: usize = 256;

/// How many flat fields an event may have; one with more, read from somebody else, is written as its envelope alone. A
/// command of a script takes no more.
const MOST_FIELDS: usize = 2_000;

/// An event as it is written.
struct Written {
    id: EventId,
    fields: Vec<(Cow<'static, str>, String)>,
}

impl Written {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_ref())
    }
}

/// What one caller appends to one stream at once; at most [`EVENTS_AT_ONCE`].
pub(super) struct Part {
    events: Vec<Written>,
    /// How many events the caller appends from here on, or zero when they were let in before.
    coming: usize,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("events", &self.events.len()).field("coming", &self.coming).finish()
    }
}

impl Part {
    pub(super) fn new<'a>(
        encoding: Encoding,
        events: impl Iterator<Item = &'a Envelope>,
        coming: usize,
    ) -> Self {
        let written = |envelope: &Envelope| {
            let flat = match encoding {
                Encoding::Flat => {
                    Some(wire::encode_flat(envelope)).filter(|fields| fields.len() <= MOST_FIELDS)
                }
                Encoding::Payload => None,
            };
            let fields = flat.unwrap_or_else(|| vec![("payload".into(), wire::encode_payload(envelope))]);
            Written { id: envelope.id.clone(), fields }
        };
        Self { events: events.map(written).collect(), coming }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn coming(&self) -> usize {
        self.coming
    }

    /// Whether it is all that its caller appends, so that it is let in together with others.
    pub(super) fn is_whole(&self) -> bool {
        self.coming == self.events.len()
    }
}

/// Appends parts to a stream; `coming` is how many events are to go there from here on, or zero when they were let in
/// before.
pub(super) fn script(streams: &Streams, topic: Topic, parts: &[&Part], coming: usize) -> Result<Command> {
    let options = streams.options();
    let events: Vec<&Written> = parts.iter().flat_map(|part| &part.events).collect();
    let mut command = streams
        .script(&PUBLISH, streams.place(topic)?)
        .arg(format!("{:08x}", rand::random::<u32>()))
        .arg(options.max_len(topic))
        .arg(options.most(topic))
        .arg(coming)
        .arg(u8::from(options.ignore_foreign_groups))
        .arg(streams.store().kept_for(REPEAT_WINDOW * 2))
        .arg(events.len());
    for event in &events {
        command = match packed(&event.id) {
            Some(bytes) => command.arg(bytes.as_slice()),
            None => command.arg(event.id.as_str()),
        };
    }
    for run in events.chunk_by(|one, next| one.names().eq(next.names())) {
        let names = || run.first().into_iter().flat_map(|event| event.names());
        command = command.arg(run.len()).arg(names().count());
        for name in names() {
            command = command.arg(name);
        }
        for (_, value) in run.iter().flat_map(|event| &event.fields) {
            command = command.arg(value.as_str());
        }
    }
    Ok(command)
}

/// A UUID, as which it is remembered: its bytes after one that no id holds.
fn packed(id: &EventId) -> Option<[u8; 17]> {
    let uuid = Uuid::try_parse(id.as_str()).ok()?;
    // Written in another way it is another id.
    if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) != id.as_str() {
        return None;
    }
    let mut bytes = [1; 17];
    bytes.iter_mut().skip(1).zip(uuid.into_bytes()).for_each(|(place, byte)| *place = byte);
    Some(bytes)
}
