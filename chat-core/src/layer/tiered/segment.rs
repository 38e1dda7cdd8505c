//! A segment: what is remembered of one scope, and who is asking for what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::policies::CachePolicy;
use crate::clock::Timestamp;
use crate::store::cache::{Generation, Lookup};

/// The largest value that is remembered, in bytes. Seed 003, 3.21.
const LARGEST: usize = 256 * 1024;

/// Later than any time.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

/// What the far tier said of a key.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: Option<Bytes>,
    /// When it ends there; what is absent does not.
    pub(super) ends: Timestamp,
    pub(super) generation: Generation,
}

impl Found {
    pub(super) const NOTHING: Self = Self { value: None, ends: Timestamp::EPOCH, generation: Generation(0) };
}

/// What is remembered of a key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) found: Found,
    pub(super) asked: Timestamp,
    pub(super) until: Timestamp,
    pub(super) refresh_at: Timestamp,
    life: u64,
}

/// What became of a question.
#[derive(Debug, Clone)]
pub(super) enum Landed {
    Flying,
    Found(Arc<Vec<Found>>),
    Failed,
}

/// Somebody asks for a key: the holder of this ticket, as its nth.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    ticket: u64,
    nth: usize,
    asked: Timestamp,
    landed: watch::Receiver<Landed>,
}

impl Flight {
    pub(super) fn nth(&self) -> usize {
        self.nth
    }

    /// What came of it; nothing if whoever asked was dropped.
    pub(super) async fn landed(&self) -> Option<Landed> {
        let mut landed = self.landed.clone();
        let there = landed.wait_for(|landed| !matches!(landed, Landed::Flying)).await;
        there.ok().map(|landed| landed.clone())
    }
}

pub(super) struct Segment {
    policy: CachePolicy,
    entries: moka::sync::Cache<Arc<str>, Entry>,
    /// An entry of another life is none.
    life: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    flights: HashMap<Arc<str>, Flight>,
    tickets: u64,
    /// That of all entries.
    generation: Option<Generation>,
}

impl Segment {
    pub(super) fn new(policy: CachePolicy) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(policy.most)
            // What was forgotten as a whole is never read again, so it goes first.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { policy, entries, life: AtomicU64::new(0), table: Mutex::default() }
    }

    pub(super) fn find(&self, key: &str) -> Option<Entry> {
        let life = self.life.load(Ordering::Acquire);
        self.entries.get(key).filter(|entry| entry.life == life)
    }

    pub(super) fn len(&self) -> u64 {
        let life = self.life.load(Ordering::Acquire);
        self.entries.iter().filter(|(_, entry)| entry.life == life).count() as u64
    }

    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut table = self.table.lock();
        for key in keys {
            table.flights.remove(key);
            self.entries.invalidate(key);
        }
    }

    pub(super) fn forget_all(&self) {
        let mut table = self.table.lock();
        table.flights.clear();
        self.begin_life(&mut table, None);
    }

    fn begin_life(&self, table: &mut Table, generation: Option<Generation>) {
        table.generation = generation;
        self.life.fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate_all();
    }

    /// Joins those who ask for a key already, if they do not for longer than `patience`, and takes a ticket for the others;
    /// what is known by now needs neither.
    pub(super) fn board(
        self: &Arc<Self>,
        keys: &[String],
        places: &[usize],
        now: Timestamp,
        patience: impl FnOnce() -> Option<Duration>,
        known: impl Fn(&str) -> Option<Found>,
    ) -> Option<Boarding> {
        let mut table = self.table.lock();
        let patience = patience()?;
        let (landing, landed) = watch::channel(Landed::Flying);
        table.tickets += 1;
        let ticket = table.tickets;
        let mut lead = Lead {
            segment: Arc::clone(self),
            ticket,
            asked: now,
            places: Vec::new(),
            keys: Vec::new(),
            landing,
        };
        let (mut joined, mut answered) = (Vec::new(), Vec::new());
        for (place, key) in places.iter().filter_map(|place| Some((*place, keys.get(*place)?))) {
            if let Some(found) = known(key) {
                answered.push((place, found));
                continue;
            }
            if let Some(flight) = table.flights.get(key.as_str())
                && flight.asked <= now
                && now < flight.asked.after(patience)
            {
                joined.push((place, flight.clone()));
                continue;
            }
            let flight = Flight { ticket, nth: lead.keys.len(), asked: now, landed: landed.clone() };
            table.flights.insert(Arc::from(key.as_str()), flight);
            lead.places.push(place);
            lead.keys.push(key.clone());
        }
        drop(table);
        let lead = if lead.keys.is_empty() { None } else { Some(lead) };
        Some(Boarding { lead, joined, answered })
    }
}

/// Who asks for which keys, by their places in the question.
pub(super) struct Boarding {
    /// Those to ask the far tier for.
    pub(super) lead: Option<Lead>,
    /// Those that somebody asks it for already.
    pub(super) joined: Vec<(usize, Flight)>,
    /// Those that somebody has brought meanwhile.
    pub(super) answered: Vec<(usize, Found)>,
}

/// Asks the far tier for some keys, also for others. Dropped without an answer, the others know it.
pub(super) struct Lead {
    segment: Arc<Segment>,
    ticket: u64,
    asked: Timestamp,
    places: Vec<usize>,
    keys: Vec<String>,
    landing: watch::Sender<Landed>,
}

impl Lead {
    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Keeps what may be kept, for `hold` at most, and hands all of it out. Answers how much was refused, too.
    pub(super) fn land(self, lookup: Lookup, hold: Duration) -> (Arc<Vec<Found>>, u64) {
        let Lookup { generation, values, left } = lookup;
        let found = values.into_iter().zip(left).map(|(value, left)| {
            let ends = if value.is_some() { self.asked.after(left) } else { NEVER };
            Found { value, ends, generation }
        });
        let found: Arc<Vec<Found>> = Arc::new(found.collect());
        let refused = self.keep(&found, hold);
        self.segment.entries.run_pending_tasks();
        self.landing.send_replace(Landed::Found(Arc::clone(&found)));
        (found, refused)
    }

    pub(super) fn fail(self) {
        self.landing.send_replace(Landed::Failed);
    }

    fn keep(&self, found: &[Found], hold: Duration) -> u64 {
        let (segment, policy) = (&self.segment, self.segment.policy);
        let mut refused = 0;
        let mut table = segment.table.lock();
        for (key, found) in self.keys.iter().zip(found) {
            let Some((key, _)) = table.take(key, self.ticket) else {
                refused += 1;
                continue;
            };
            if table.generation != Some(found.generation) {
                segment.begin_life(&mut table, Some(found.generation));
            }
            let hold = hold.min(if found.value.is_some() { policy.ttl } else { policy.absent });
            if hold.is_zero() || found.value.as_ref().is_some_and(|value| value.len() > LARGEST) {
                segment.entries.invalidate(&key);
                continue;
            }
            let own_end = self.asked.after(hold);
            let entry = Entry {
                asked: self.asked,
                until: own_end.min(found.ends),
                // What ends there as well is no younger when it is asked for again.
                refresh_at: if own_end < found.ends { self.asked.after(hold / 2) } else { NEVER },
                life: segment.life.load(Ordering::Acquire),
                found: found.clone(),
            };
            segment.entries.insert(key, entry);
        }
        refused
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut table = self.segment.table.lock();
        for key in &self.keys {
            table.take(key, self.ticket);
        }
    }
}

impl Table {
    /// Gives a ticket back, if it is still good.
    fn take(&mut self, key: &str, ticket: u64) -> Option<(Arc<str>, Flight)> {
        if self.flights.get(key).is_some_and(|flight| flight.ticket == ticket) {
            self.flights.remove_entry(key)
        } else {
            None
        }
    }
}
