//! The near tier: a segment for each scope, and whether it may be trusted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::policies::CachePolicies;
use super::segment::{Boarding, Entry, Found, Lead, Segment};
use crate::clock::{Clock, Timestamp};
use crate::store::cache::{CacheScope, Lookup};

/// How many scopes are remembered; those that come later are passed by.
const MOST_SCOPES: usize = 1_000;
/// How many answers are asked for again beside their readers, at a time.
const REFRESHES: usize = 16;

/// How answers may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nobody brings news.
    Unheard,
    /// News are heard.
    Heard,
    /// News should be heard, and are not.
    Lost,
}

pub(super) struct Near {
    pub(super) counts: Counts,
    policies: CachePolicies,
    stale_for: Duration,
    clock: Arc<dyn Clock>,
    segments: RwLock<HashMap<CacheScope, Arc<Segment>>>,
    refreshes: Arc<Semaphore>,
    lease: Lease,
    /// Until when the far tier was asked to list: what was over then is over.
    swept: AtomicU64,
}

/// Who brings news, by number, 0 for nobody; and from when until when they may be trusted, in milliseconds.
#[derive(Default)]
struct Lease {
    holders: AtomicU64,
    holder: AtomicU64,
    from: AtomicU64,
    until: AtomicU64,
    /// Who changes it, one after the other.
    turn: Mutex<()>,
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Near {
    pub(super) fn new(policies: CachePolicies, stale_for: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            counts: Counts::default(),
            policies,
            stale_for,
            clock,
            segments: RwLock::default(),
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            lease: Lease::default(),
            swept: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The segment of a scope; nothing while it must be passed by.
    pub(super) fn open(&self, scope: &CacheScope, now: Timestamp) -> Option<Arc<Segment>> {
        if self.trust(now) == Trust::Lost {
            return None;
        }
        if let Some(segment) = self.segment(scope) {
            return Some(segment);
        }
        let mut segments = self.segments.write();
        if segments.len() >= MOST_SCOPES && !segments.contains_key(scope) {
            return None;
        }
        let segment = segments.entry(scope.clone());
        Some(Arc::clone(segment.or_insert_with(|| Arc::new(Segment::new(self.policies.of(scope))))))
    }

    /// What is remembered under a key.
    pub(super) fn find(&self, segment: &Segment, key: &str, now: Timestamp) -> Option<Entry> {
        segment.find(key).filter(|entry| {
            let swept = self.swept.load(Ordering::Relaxed);
            entry.asked <= now && now < entry.until && entry.found.ends.as_millis() > swept
        })
    }

    /// Takes tickets for keys, or joins those who have some; nothing where the near tier must be passed by.
    pub(super) fn board(
        &self,
        segment: &Arc<Segment>,
        keys: &[String],
        places: &[usize],
        now: Timestamp,
        known: impl Fn(&str) -> Option<Found>,
    ) -> Option<Boarding> {
        // Asked within the lock: news that are lost take tickets away there.
        let patience = || match self.trust(now) {
            Trust::Unheard => Some(self.stale_for),
            Trust::Heard => Some(Duration::MAX),
            Trust::Lost => None,
        };
        segment.board(keys, places, now, patience, known)
    }

    /// Keeps what came, where that is allowed, and hands it to all who wait.
    pub(super) fn land(&self, lead: Lead, lookup: Lookup) -> Arc<Vec<Found>> {
        let hold = match self.lease.holder.load(Ordering::Acquire) {
            0 => self.stale_for,
            _ => Duration::MAX,
        };
        let (found, refused) = lead.land(lookup, hold);
        self.counts.refused(refused);
        found
    }

    /// Leave to ask for something again, if not too many do.
    pub(super) fn refresh(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refreshes).try_acquire_owned().ok()
    }

    pub(super) fn sweep(&self) {
        self.swept.fetch_max(self.now().as_millis(), Ordering::Relaxed);
    }

    pub(super) fn forget<'a>(&self, scope: &CacheScope, keys: impl Iterator<Item = &'a str>) {
        if let Some(segment) = self.segment(scope) {
            segment.forget(keys);
        }
    }

    pub(super) fn forget_scope(&self, scope: &CacheScope) {
        if let Some(segment) = self.segment(scope) {
            segment.forget_all();
        }
    }

    pub(super) fn forget_all(&self) {
        self.segments.read().values().for_each(|segment| segment.forget_all());
    }

    fn segment(&self, scope: &CacheScope) -> Option<Arc<Segment>> {
        self.segments.read().get(scope).cloned()
    }

    fn trust(&self, now: Timestamp) -> Trust {
        if self.lease.holder.load(Ordering::Acquire) == 0 {
            return Trust::Unheard;
        }
        let from = self.lease.from.load(Ordering::Acquire);
        let is_heard = (from..self.lease.until.load(Ordering::Acquire)).contains(&now.as_millis());
        if is_heard { Trust::Heard } else { Trust::Lost }
    }

    /// A new holder, who has said nothing yet.
    pub(super) fn hold_news(&self) -> u64 {
        let _turn = self.lease.turn.lock();
        let holder = self.lease.holders.fetch_add(1, Ordering::Relaxed) + 1;
        self.change(holder);
        holder
    }

    pub(super) fn release_news(&self, holder: u64) {
        let _turn = self.lease.turn.lock();
        if self.is_held_by(holder) {
            self.change(0);
        }
    }

    pub(super) fn heard(&self, holder: u64, until: Timestamp, lease: Duration) {
        let _turn = self.lease.turn.lock();
        if self.is_held_by(holder) {
            self.lease.from.store(until.as_millis(), Ordering::Release);
            self.lease.until.store(until.after(lease).as_millis(), Ordering::Release);
        }
    }

    pub(super) fn lost(&self, holder: u64) {
        let _turn = self.lease.turn.lock();
        if self.is_held_by(holder) {
            self.change(holder);
        }
    }

    fn is_held_by(&self, holder: u64) -> bool {
        self.lease.holder.load(Ordering::Acquire) == holder
    }

    /// Ends what was trusted: first for readers, then for what is kept and what is on its way.
    fn change(&self, holder: u64) {
        self.lease.until.store(0, Ordering::Release);
        self.lease.holder.store(holder, Ordering::Release);
        self.forget_all();
    }

    pub(super) fn stats(&self) -> TieredStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { hits, misses, bypassed, refused, refreshed } = &self.counts;
        TieredStats {
            hits: count(hits),
            misses: count(misses),
            bypassed: count(bypassed),
            refused: count(refused),
            refreshed: count(refreshed),
            entries: self.segments.read().values().map(|segment| segment.len()).sum(),
        }
    }
}

/// What became of lookups in a [`Tiered`](super::Tiered) cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TieredStats {
    /// Keys answered by the near tier.
    pub hits: u64,
    /// Keys it did not know.
    pub misses: u64,
    /// Keys for which it was passed by: it may not be trusted now, or somebody else's question failed.
    pub bypassed: u64,
    /// Answers not kept, because of a change since they were asked for.
    pub refused: u64,
    /// Answers asked for again beside their readers.
    pub refreshed: u64,
    /// Answers remembered.
    pub entries: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    bypassed: AtomicU64,
    refused: AtomicU64,
    refreshed: AtomicU64,
}

impl Counts {
    pub(super) fn hit(&self, keys: usize) {
        self.hits.fetch_add(keys as u64, Ordering::Relaxed);
        metrics::counter!("chat_near_keys_total", "outcome" => "hit").increment(keys as u64);
    }

    pub(super) fn missed(&self, keys: usize) {
        self.misses.fetch_add(keys as u64, Ordering::Relaxed);
        metrics::counter!("chat_near_keys_total", "outcome" => "miss").increment(keys as u64);
    }

    pub(super) fn bypassed(&self, keys: usize) {
        self.bypassed.fetch_add(keys as u64, Ordering::Relaxed);
        metrics::counter!("chat_near_keys_total", "outcome" => "bypassed").increment(keys as u64);
    }

    fn refused(&self, keys: u64) {
        if keys > 0 {
            self.refused.fetch_add(keys, Ordering::Relaxed);
            metrics::counter!("chat_near_refused_total").increment(keys);
        }
    }

    pub(super) fn refreshed(&self) {
        self.refreshed.fetch_add(1, Ordering::Relaxed);
    }
}
