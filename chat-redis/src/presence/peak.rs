//! The most users that were online at once, noticed by a node as it works: see the page of the port.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::{Stopwatch, Timestamp};
use parking_lot::Mutex;

use super::RedisPresence;
use crate::keys::{SHARDS, Shard};

/// How long what was seen of a shard is good for: other nodes work on it too.
const FRESH: Duration = Duration::from_secs(10);

/// What a node has seen.
#[derive(Debug)]
pub(super) struct Peak {
    watch: Stopwatch,
    seen: Mutex<Seen>,
    censuses: AtomicU64,
    census: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seen {
    shards: [Option<Tally>; SHARDS as usize],
    most: u64,
    at: Option<Timestamp>,
    /// Whether Redis may not know yet.
    is_news: bool,
}

/// What was last seen of a shard.
#[derive(Debug, Clone, Copy)]
struct Tally {
    announced: u64,
    /// Until then, nobody of them runs out.
    sure_until: Timestamp,
    seen_at: Duration,
}

impl Peak {
    pub(super) fn new() -> Self {
        Self {
            watch: Stopwatch::start(),
            seen: Mutex::default(),
            censuses: AtomicU64::new(0),
            census: tokio::sync::Mutex::default(),
        }
    }

    /// A script has counted and looked at bounds.
    pub(super) fn looked_at(&self, shard: Shard, announced: u64, lowest: Option<Timestamp>) {
        let sure_until = lowest.unwrap_or(Timestamp::from_millis(u64::MAX));
        let tally = Tally { announced, sure_until, seen_at: self.watch.elapsed() };
        if let Some(known) = self.seen.lock().shards.get_mut(shard.index()) {
            *known = Some(tally);
        }
    }

    /// An edge was handed out, after which so many are announced.
    pub(super) fn changed(&self, shard: Shard, announced: Option<u64>) {
        let seen_at = self.watch.elapsed();
        if let Some(announced) = announced
            && let Some(Some(tally)) = self.seen.lock().shards.get_mut(shard.index())
        {
            (tally.announced, tally.seen_at) = (announced, seen_at);
        }
    }

    /// Some lease of the shard may end this early.
    pub(super) fn may_end(&self, shard: Shard, until: Timestamp) {
        if let Some(Some(tally)) = self.seen.lock().shards.get_mut(shard.index()) {
            tally.sure_until = tally.sure_until.min(until);
        }
    }

    /// Adds up what was seen. A new peak that is sure is noticed; of one that may be, this answers `true`.
    pub(super) fn is_in_doubt(&self, now: Timestamp) -> bool {
        let elapsed = self.watch.elapsed();
        let seen = &mut *self.seen.lock();
        let (mut total, mut sure) = (0, true);
        for tally in &seen.shards {
            let Some(tally) = tally else { return true };
            total += tally.announced;
            sure &= tally.sure_until > now && elapsed.saturating_sub(tally.seen_at) < FRESH;
        }
        if sure {
            seen.raise(total, now, true);
        }
        total > seen.most
    }

    /// So many were online.
    pub(super) fn counted(&self, online: u64, now: Timestamp) {
        self.seen.lock().raise(online, now, true);
    }

    /// Redis knows of this one.
    pub(super) fn saved(&self, most: u64, at: Timestamp) {
        let seen = &mut *self.seen.lock();
        seen.is_news &= seen.most > most;
        seen.raise(most, at, false);
    }

    pub(super) fn most(&self) -> (u64, Option<Timestamp>) {
        let seen = self.seen.lock();
        (seen.most, seen.at)
    }

    /// Whether this node noticed a peak that Redis may not know yet.
    pub(super) fn is_news(&self) -> bool {
        self.seen.lock().is_news
    }
}

impl Seen {
    fn raise(&mut self, most: u64, at: Timestamp, is_news: bool) {
        if most > self.most {
            (self.most, self.at, self.is_news) = (most, Some(at), is_news);
        }
    }
}

impl RedisPresence {
    /// Counts everybody, unless somebody else begins to while this waits. What cannot be counted is not noticed: the
    /// connect that asks has happened all the same.
    pub(super) async fn take_census(&self) {
        let begun_before = self.peak.censuses.load(Ordering::SeqCst);
        let _turn = self.peak.census.lock().await;
        if self.peak.censuses.load(Ordering::SeqCst) > begun_before {
            return;
        }
        self.peak.censuses.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.count().await {
            tracing::debug!(code = error.code().as_str(), "users online could not be counted");
        }
    }
}
