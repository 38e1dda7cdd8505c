//! [`Tiered`]: what is asked for again and again, remembered in this process.
//!
//! Two tiers: the **far** one is any [`Cache`], shared by all processes; the **near** one is a bounded cache in this
//! process, one for each scope. Kind of state: **derived**, twice. A lookup that the near tier answers costs less than a
//! microsecond and no round trip.
//!
//! # How old an answer may be
//! An answer is never older than a bound, whatever happens to the network, to the far tier or to other processes. What is
//! written or removed through it is read by this process at once, by whoever begins to read after the write was
//! answered. For what others write there are two bounds, and which one holds is a matter of **news**:
//!
//! | news | an answer is older than what others wrote by at most |
//! |---|---|
//! | nobody brings any | [`TieredOptions::stale_for`], 1 s by default, 60 s at most |
//! | somebody brings them, and may be trusted | what [`News::heard`] was told: the bound of whoever brings them |
//! | somebody brings them, and may not be trusted now | nothing: the near tier is passed by |
//!
//! The bound counts from the moment the far tier was *asked*, not from its answer, and trust is a lease which every reader
//! compares with the clock: a task that hangs prolongs nothing. With trusted news an answer stays for the time of its
//! type ([`CachePolicies`]), because a change takes it away. It never outlives its time in the far tier: [`Lookup::left`].
//!
//! # No old value is kept
//! Whoever asks the far tier takes a ticket for each key *before* asking. A change of the key, of its scope or of the
//! trust takes the ticket away, and what arrives without one is answered to those who asked before the change, and not
//! kept. Tickets, changes and fills of a scope pass through one lock; hits pass it by.
//!
//! A write takes the tickets away once, when it has ended, be it well, badly or by being dropped: who asked before may
//! have seen the old value, and who asks afterwards does not find it. A write that takes hold later still, because its
//! answer was lost, is a write of somebody else: the bound holds.
//!
//! # One question at a time
//! Readers that miss the same key wait for the first of them; if that one is dropped, the next takes over; if it fails,
//! each asks for itself, so that one's failure is nobody else's. That there is nothing under a key is remembered as well,
//! for a shorter time ([`CachePolicy::absent`]). From half of its time on, an answer is given at once and asked for again
//! beside that, once a key and up to 16 at a time.
//!
//! # Generations
//! An answer of the near tier carries the generation of the lookup it came from. So a fill after it is refused by the far
//! tier at least wherever it would have been otherwise. All answers of a scope are of one generation: a lookup that
//! brings another one shows that the scope was invalidated, and what was there before goes.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use chat_core::clock::{Clock, ManualClock};
//! use chat_core::layer::{CachePolicies, Tiered, TieredOptions};
//! use chat_core::memory::MemoryCache;
//! use chat_core::store::{CacheExt, cache::CacheScope};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
//! let clock = Arc::new(ManualClock::default());
//! let far = Arc::new(MemoryCache::new(clock.clone()));
//! let cache = Arc::new(Tiered::new(far.clone(), TieredOptions::default(), clock.clone()));
//! let (users, day) = (CacheScope::new("users")?, Duration::from_secs(86_400));
//!
//! far.put(&users, "ada", "Ada", day).await?;
//! assert_eq!(cache.get(&users, "ada").await?.as_deref(), Some(&b"Ada"[..]));
//!
//! // Somebody else writes, and nobody tells: this may be seen a second later.
//! far.put(&users, "ada", "Lady Lovelace", day).await?;
//! clock.advance(Duration::from_secs(1));
//! assert_eq!(cache.get(&users, "ada").await?.as_deref(), Some(&b"Lady Lovelace"[..]));
//!
//! // An event of the host tells: seen at once.
//! far.put(&users, "ada", "Ada", day).await?;
//! cache.forget(&users, &["ada"]);
//! assert_eq!(cache.get(&users, "ada").await?.as_deref(), Some(&b"Ada"[..]));
//!
//! // The times of seed 003, for values of one type.
//! let names = CachePolicies::sl3().typed::<String, _>(cache, &users);
//! let name = names.get_or_load("grace", || async { Ok(Some("Grace".to_owned())) }).await?;
//! assert_eq!(name.as_deref(), Some("Grace"));
//! # Ok(()) }
//! ```

mod answers;
mod near;
mod news;
mod policies;
mod segment;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::domain::page::{Page, Paged};
use crate::error::Result;
use crate::store::Cache;
use crate::store::cache::{CacheEntry, CacheScope, Generation, Lookup, Put};
use answers::Answers;
use near::Near;
use segment::{Found, Landed, Lead, Segment};

pub use near::TieredStats;
pub use news::News;
pub use policies::{CachePolicies, CachePolicy};

/// The longest time without news, in seconds. Seed 003, 3.19: stale reads ≤ 60 s.
const LONGEST_STALE: Duration = Duration::from_secs(60);

/// What a tiered cache is told.
#[derive(Debug, Clone)]
pub struct TieredOptions {
    /// How many answers of each type are remembered, and for how long at most. Those of seed 003 by default.
    pub policies: CachePolicies,
    /// For how long an answer is given while nobody brings news: 1 s by default, 60 s at most. Zero remembers nothing.
    pub stale_for: Duration,
}

impl Default for TieredOptions {
    fn default() -> Self {
        Self { policies: CachePolicies::default(), stale_for: Duration::from_secs(1) }
    }
}

/// A [`Cache`] with a near tier in front of it: see [the module](self) for what it promises. Clones share everything.
#[derive(Clone)]
pub struct Tiered {
    near: Arc<Near>,
    far: Arc<dyn Cache>,
    /// Whoever brings news waits for the end of the last clone.
    alive: Arc<watch::Sender<()>>,
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Tiered {
    /// `far`, with an empty near tier in front of it. Its time is that of `clock`.
    pub fn new(far: Arc<dyn Cache>, options: TieredOptions, clock: Arc<dyn Clock>) -> Self {
        let stale_for = options.stale_for.min(LONGEST_STALE);
        let near = Arc::new(Near::new(options.policies, stale_for, clock));
        Self { near, far, alive: Arc::new(watch::Sender::new(())) }
    }

    /// These keys were changed by somebody else: for events of the host. It is done when this returns.
    pub fn forget<K: AsRef<str>>(&self, scope: &CacheScope, keys: &[K]) {
        self.near.forget(scope, keys.iter().map(AsRef::as_ref));
    }

    /// Anything in this scope may have been changed by somebody else.
    pub fn forget_scope(&self, scope: &CacheScope) {
        self.near.forget_scope(scope);
    }

    /// Anything may have been changed by somebody else.
    pub fn forget_all(&self) {
        self.near.forget_all();
    }

    /// From now on somebody brings news, for as long as this is held; nothing is served before they may be trusted. Of
    /// several, the last one counts.
    pub fn news(&self) -> News {
        News::new(Arc::clone(&self.near), self.alive.subscribe())
    }

    /// What became of lookups so far, key by key, and how many answers are remembered.
    pub fn stats(&self) -> TieredStats {
        self.near.stats()
    }

    /// The far tier alone.
    async fn pass_by(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        self.near.counts.bypassed(keys.len());
        self.far.get_many(scope, keys).await
    }

    /// Answers what the near tier did not.
    async fn look_far(
        &self,
        scope: &CacheScope,
        segment: &Arc<Segment>,
        keys: &[String],
        mut missing: Vec<usize>,
        mut answers: Answers,
    ) -> Result<Lookup> {
        self.near.counts.missed(missing.len());
        while !missing.is_empty() {
            let now = self.near.now();
            let known = |key: &str| Some(self.near.find(segment, key, now)?.found);
            let Some(boarding) = self.near.board(segment, keys, &missing, now, known) else {
                return self.pass_by(scope, keys).await;
            };
            missing.clear();
            for (nth, found) in &boarding.answered {
                answers.take(*nth, found, now);
            }
            if let Some(lead) = boarding.lead {
                let places = lead.places().to_vec();
                for (nth, found) in
                    places.into_iter().zip(look_up(&*self.far, &self.near, scope, lead).await?.iter())
                {
                    answers.take(nth, found, now);
                }
            }
            for (nth, flight) in boarding.joined {
                match flight.landed().await {
                    Some(Landed::Found(found)) => {
                        let found = found.get(flight.nth()).unwrap_or(&Found::NOTHING);
                        answers.take(nth, found, now);
                    }
                    Some(Landed::Failed | Landed::Flying) => return self.pass_by(scope, keys).await,
                    None => missing.push(nth),
                }
            }
        }
        // Answers of two lives of the scope are no answer.
        if answers.is_mixed() { self.pass_by(scope, keys).await } else { Ok(answers.into_lookup()) }
    }

    /// Asks for keys again beside their readers.
    fn refresh(
        &self,
        scope: &CacheScope,
        segment: &Arc<Segment>,
        keys: &[String],
        tired: &[usize],
        now: Timestamp,
    ) {
        let (Some(turn), Ok(runtime)) = (self.near.refresh(), Handle::try_current()) else { return };
        let boarding = self.near.board(segment, keys, tired, now, |_| None);
        let Some(lead) = boarding.and_then(|boarding| boarding.lead) else { return };
        self.near.counts.refreshed();
        let (far, near, scope) = (Arc::clone(&self.far), Arc::clone(&self.near), scope.clone());
        runtime.spawn(async move {
            let _turn = turn;
            if let Err(error) = look_up(&*far, &near, &scope, lead).await {
                tracing::debug!(code = %error.code(), "an answer could not be asked for again");
            }
        });
    }
}

/// Asks the far tier, for all who wait.
async fn look_up(far: &dyn Cache, near: &Near, scope: &CacheScope, lead: Lead) -> Result<Arc<Vec<Found>>> {
    match far.get_many(scope, lead.keys()).await {
        Ok(lookup) => Ok(near.land(lead, lookup)),
        Err(error) => {
            lead.fail();
            Err(error)
        }
    }
}

/// Does something when it ends, however that is.
struct After<F: FnMut()>(F);

impl<F: FnMut()> Drop for After<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[async_trait]
impl Cache for Tiered {
    async fn get_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        let now = self.near.now();
        // No key asks for the generation as it is.
        let segment = if keys.is_empty() { None } else { self.near.open(scope, now) };
        let Some(segment) = segment else { return self.pass_by(scope, keys).await };
        let mut answers = Answers::new(keys.len());
        let (mut missing, mut tired) = (Vec::new(), Vec::new());
        for (nth, key) in keys.iter().enumerate() {
            match self.near.find(&segment, key, now) {
                Some(entry) => {
                    answers.take(nth, &entry.found, now);
                    if entry.refresh_at <= now {
                        tired.push(nth);
                    }
                }
                None => missing.push(nth),
            }
        }
        self.near.counts.hit(keys.len() - missing.len());
        if !tired.is_empty() {
            self.refresh(scope, &segment, keys, &tired, now);
        }
        if missing.is_empty() && !answers.is_mixed() {
            return Ok(answers.into_lookup());
        }
        self.look_far(scope, &segment, keys, missing, answers).await
    }

    async fn put_many(&self, scope: &CacheScope, entries: &[CacheEntry], put: Put) -> Result<Vec<bool>> {
        let _after = After(|| self.near.forget(scope, entries.iter().map(|entry| entry.key.as_str())));
        self.far.put_many(scope, entries, put).await
    }

    async fn renew_many(&self, scope: &CacheScope, keys: &[String], ttl: Duration) -> Result<Vec<bool>> {
        let _after = After(|| self.forget(scope, keys));
        self.far.renew_many(scope, keys, ttl).await
    }

    async fn remove_many(&self, scope: &CacheScope, keys: &[String]) -> Result<Vec<bool>> {
        let _after = After(|| self.forget(scope, keys));
        self.far.remove_many(scope, keys).await
    }

    async fn invalidate(&self, scope: &CacheScope) -> Result<Generation> {
        let _after = After(|| self.forget_scope(scope));
        self.far.invalidate(scope).await
    }

    async fn keys(
        &self,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        // Whoever lists buries what is over; that stays so if the clock is set back.
        self.near.sweep();
        self.far.keys(scope, prefix, page).await
    }

    async fn claim(&self, scope: &CacheScope, name: &str, owner: &str, ttl: Duration) -> Result<bool> {
        self.far.claim(scope, name, owner, ttl).await
    }

    async fn release(&self, scope: &CacheScope, name: &str, owner: &str) -> Result<bool> {
        self.far.release(scope, name, owner).await
    }
}
