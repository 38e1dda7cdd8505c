//! [`Outbox`] in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::domain::EventId;
use crate::domain::page::{Page, Paged};
use crate::error::{Code, Error, Result};
use crate::event::{Envelope, Event};
use crate::store::Outbox;
use crate::store::outbox::OutboxStats;

/// The outbox the memory stores write to, within their own critical sections. It grows while nobody relays it.
#[derive(Debug)]
pub struct MemoryOutbox {
    clock: Arc<dyn Clock>,
    life: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    entries: BTreeMap<u64, Envelope>,
    places: HashMap<EventId, u64>,
    keys: HashMap<String, Key>,
}

#[derive(Debug, Default)]
struct Key {
    waiting: usize,
    claim: Option<(String, Timestamp)>,
}

impl MemoryOutbox {
    /// An empty outbox.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, life: uuid::Uuid::new_v4().to_string(), state: Mutex::default() }
    }

    /// Writes an event whose cause is unique by itself.
    pub(super) fn write(&self, cause: &[&str], at: Timestamp, event: impl Into<Event>) {
        self.state.lock().push(Envelope::new(cause, at, event));
    }

    /// Writes an event of a change that may happen to `subject` again and again.
    pub(super) fn write_change(&self, subject: &str, at: Timestamp, event: impl Into<Event>) {
        let mut state = self.state.lock();
        let nth = state.written.to_string();
        // The life keeps ids apart from those of the process before: a log may remember them.
        let envelope = Envelope::new(&[subject, &self.life, &nth], at, event);
        state.push(envelope);
    }
}

impl State {
    fn push(&mut self, envelope: Envelope) {
        let place = self.written;
        self.written += 1;
        self.keys.entry(envelope.key()).or_default().waiting += 1;
        self.places.insert(envelope.id.clone(), place);
        self.entries.insert(place, envelope);
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn claim(&self, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let State { entries, keys, .. } = &mut *state;
        let mut claimed = Vec::new();
        for envelope in entries.values() {
            if claimed.len() >= limit {
                break;
            }
            let Some(key) = keys.get_mut(&envelope.key()) else { continue };
            let free = match &key.claim {
                Some((holder, until)) => holder == owner || *until <= now,
                None => true,
            };
            if free {
                key.claim = Some((owner.to_owned(), now.after(lease)));
                claimed.push(envelope.clone());
            }
        }
        Ok(claimed)
    }

    async fn clear(&self, owner: &str, events: &[EventId]) -> Result<()> {
        let mut state = self.state.lock();
        let State { entries, places, keys, .. } = &mut *state;
        for id in events {
            let Some(envelope) = places.remove(id).and_then(|place| entries.remove(&place)) else { continue };
            let name = envelope.key();
            if let Some(key) = keys.get_mut(&name) {
                key.waiting = key.waiting.saturating_sub(1);
                if key.waiting == 0 {
                    keys.remove(&name);
                }
            }
        }
        tracing::trace!(owner, cleared = events.len(), "outbox");
        Ok(())
    }

    async fn list(&self, page: &Page<String>) -> Result<Paged<Envelope, String>> {
        page.check()?;
        let from = match &page.after {
            None => 0,
            Some(place) => place
                .parse::<u64>()
                .map_err(|e| Error::new(Code::CursorInvalid).caused_by(e))?
                .saturating_add(1),
        };
        let state = self.state.lock();
        let found: Vec<_> = state.entries.range(from..).take(page.limit.saturating_add(1)).collect();
        let found = Paged::from_surplus(found, page.limit, |(place, _)| place.to_string());
        Ok(found.map(|(_, envelope)| envelope.clone()))
    }

    async fn stats(&self) -> Result<OutboxStats> {
        Ok(OutboxStats { pending: self.state.lock().entries.len() as u64 })
    }
}
