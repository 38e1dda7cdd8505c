//! [`Envelope`]: an event with its id and its time.

use super::kind::{Event, EventKind};
use super::topic::Topic;
use crate::clock::Timestamp;
use crate::domain::EventId;

/// An event as it is published: what happened, when, and an id by which a repeat is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its id; the same cause always gives the same one.
    pub id: EventId,
    /// When it happened; never used to order events.
    pub at: Timestamp,
    /// What to find it by in logs and traces.
    pub trace: Option<String>,
    /// What happened.
    pub event: Event,
}

impl Envelope {
    /// An event with the id that follows from its cause and its kind. Name the cause so that no other change
    /// shares it: the message's id for a message sent, the id and the revision for an edit.
    pub fn new(cause: &[&str], at: Timestamp, event: impl Into<Event>) -> Self {
        let event = event.into();
        let mut parts = cause.to_vec();
        parts.push(event.name());
        let id = EventId::derived(&parts);
        Self { id, at, trace: None, event }
    }

    /// The same envelope with a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// The kind; `None` when unknown.
    pub fn kind(&self) -> Option<EventKind> {
        self.event.kind()
    }

    /// The wire name.
    pub fn name(&self) -> &str {
        self.event.name()
    }

    /// The version of the payload.
    pub fn version(&self) -> u32 {
        self.event.version()
    }

    /// The ordering key: the id of the conversation, user, room or file it is about.
    pub fn key(&self) -> String {
        self.event.key()
    }

    /// The topic it belongs to.
    pub fn topic(&self) -> Topic {
        self.event.topic()
    }
}
