//! [`Prewarmer`]: fills the profile cache before anybody asks, within a budget (seed 002).

mod active;
mod seconds;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use active::{ACTIVE_WITHIN, PrewarmEnd, PrewarmProgress, PrewarmReport};

use crate::clock::{Clock, ClockExt, SystemClock};
use crate::domain::{UserId, UserProfile};
use crate::store::{UserSource, UserStore};

/// How much a warming may do; the defaults are seed 002's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrewarmOptions {
    /// How many users are asked for at once: 500 by default.
    pub batch: usize,
    /// How long the truth has peace between two batches: 1.5 s by default.
    pub pause: Duration,
    /// How many users are looked at, at most: 10 000 by default.
    pub most: usize,
    /// After how many failures in a row it gives up: 3 by default.
    pub failures: u32,
}

impl Default for PrewarmOptions {
    fn default() -> Self {
        Self { batch: 500, pause: Duration::from_millis(1_500), most: 10_000, failures: 3 }
    }
}

/// What a warming did. Every user it was given is counted once, as processed or as left out.
///
/// ```
/// # use chat_core::prewarm::Prewarmed;
/// let json = serde_json::to_value(Prewarmed::default()).unwrap();
/// assert_eq!(json["duration"], "0.00s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prewarmed {
    /// Users it was done with: those there, cached, missing and errors together.
    pub processed: u64,
    /// Users who were in the cache already.
    pub there: u64,
    /// Users brought into it, or for whom it had something newer by then.
    pub cached: u64,
    /// Users the truth does not know.
    pub missing: u64,
    /// Users who could not be asked for, or not be kept.
    pub errors: u64,
    /// Users left out, beyond the budget. Who takes part in conversations that were not looked at is not counted.
    pub left_out: u64,
    /// How long it took, pauses included; in JSON in seconds, as in seed 002: `"47.32s"`.
    #[serde(with = "seconds")]
    pub duration: Duration,
}

impl Prewarmed {
    /// Takes in what one batch came to.
    fn add(&mut self, batch: Self) {
        self.there += batch.there;
        self.cached += batch.cached;
        self.missing += batch.missing;
        self.errors += batch.errors;
        self.processed = self.there + self.cached + self.missing + self.errors;
    }
}

/// What is remembered from one batch to the next.
#[derive(Debug, Default)]
struct Pace {
    /// Whether the truth was asked already.
    asked: bool,
    /// How many failures there were since it last went well.
    in_a_row: u32,
}

/// Fills the profile cache before anybody asks: seed 002's `SmartCachePrewarmer`. Whose profiles those are is the host's to say
/// ([`warm`](Self::warm)), or they are those of the people of conversations of late ([`warm_active`](Self::warm_active)).
///
/// ```
/// use std::sync::Arc;
/// use chat_core::domain::UserId;
/// use chat_core::memory::Memory;
/// use chat_core::prewarm::{PrewarmOptions, Prewarmer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> chat_core::error::Result<()> {
/// let memory = Memory::default();
/// let prewarmer = Prewarmer::new(memory.users, memory.source, PrewarmOptions::default());
/// let warmed = prewarmer.warm([UserId::new("ada")?]).await;
/// assert_eq!(warmed.missing, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Prewarmer {
    users: Arc<dyn UserStore>,
    source: Arc<dyn UserSource>,
    options: PrewarmOptions,
    clock: Arc<dyn Clock>,
}

impl Prewarmer {
    /// From this truth into this cache.
    pub fn new(users: Arc<dyn UserStore>, source: Arc<dyn UserSource>, options: PrewarmOptions) -> Self {
        Self { users, source, options, clock: Arc::new(SystemClock) }
    }

    /// The same by another clock: pauses and durations.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Brings these users into the cache, in order, each once. What is in it already costs the truth nothing; what fails is
    /// counted and left to whoever asks.
    ///
    /// Dropping it ends it. It is meant to run beside everything else.
    pub async fn warm(&self, users: impl IntoIterator<Item = UserId>) -> Prewarmed {
        let began = self.clock.now();
        let (mut seen, mut chosen, mut done) = (HashSet::new(), Vec::new(), Prewarmed::default());
        // What is left out is counted, not kept.
        for user in users {
            if chosen.len() >= self.options.most {
                done.left_out += u64::from(!seen.contains(&user));
            } else if seen.insert(user.clone()) {
                chosen.push(user);
            }
        }
        drop(seen);
        let mut pace = Pace::default();
        let mut batches = chosen.chunks(self.options.batch.max(1));
        for batch in batches.by_ref() {
            done.add(self.batch(batch, &mut pace).await);
            if self.is_enough(pace.in_a_row) {
                break;
            }
        }
        let errors = batches.map(<[_]>::len).sum::<usize>() as u64;
        done.add(Prewarmed { errors, ..Prewarmed::default() });
        done.duration = self.clock.now().since(began);
        tracing::info!(?done, "profiles are prewarmed");
        done
    }

    /// Whether so many failures in a row end it.
    fn is_enough(&self, in_a_row: u32) -> bool {
        in_a_row >= self.options.failures.max(1)
    }

    /// Brings one batch into the cache, as soon as the truth had its peace. Dropped, it counts nobody.
    async fn batch(&self, batch: &[UserId], pace: &mut Pace) -> Prewarmed {
        let missing = self.not_there(batch).await;
        let mut done = Prewarmed { there: (batch.len() - missing.len()) as u64, ..Prewarmed::default() };
        if missing.is_empty() {
            return done;
        }
        if pace.asked {
            self.clock.sleep(self.options.pause).await;
        }
        pace.asked = true;
        match self.fill(&missing, &mut done).await {
            Ok(()) => pace.in_a_row = 0,
            Err(()) => pace.in_a_row += 1,
        }
        metrics::counter!("chat_prewarmed_total").increment(done.cached);
        done
    }

    /// Who is not in the cache; all, if it cannot say.
    async fn not_there(&self, batch: &[UserId]) -> Vec<UserId> {
        match self.users.get_many(batch).await {
            Ok(found) => {
                let missing = batch.iter().zip(&found).filter(|(_, profile)| profile.is_none());
                missing.map(|(user, _)| user.clone()).collect()
            }
            Err(_) => batch.to_vec(),
        }
    }

    async fn fill(&self, missing: &[UserId], done: &mut Prewarmed) -> Result<(), ()> {
        let count = missing.len() as u64;
        let failed = |error: crate::error::Error| {
            tracing::warn!(code = %error.code(), "a batch of profiles could not be prewarmed");
        };
        let fetched = match self.source.fetch_many(missing).await {
            Ok(fetched) => fetched,
            Err(error) => {
                failed(error);
                done.errors += count;
                return Err(());
            }
        };
        let known: Vec<UserProfile> = fetched.into_iter().flatten().collect();
        done.missing += count.saturating_sub(known.len() as u64);
        if let Err(error) = self.users.put_many(&known).await {
            failed(error);
            done.errors += known.len() as u64;
            return Err(());
        }
        done.cached += known.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::domain::user::ProfileUpdate;
    use crate::error::{Code, Result};
    use crate::memory::Memory;
    use async_trait::async_trait;
    use futures::FutureExt;
    use parking_lot::Mutex;

    /// A source that fails at some of its batches.
    #[derive(Debug)]
    struct Shaky(Mutex<Vec<bool>>);

    #[async_trait]
    impl UserSource for Shaky {
        async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
            match self.0.lock().pop() {
                Some(true) => Ok(users
                    .iter()
                    .map(|user| Some(UserProfile::new(user.clone(), "Ada", Timestamp::EPOCH)))
                    .collect()),
                _ => Err(Code::Unavailable.into()),
            }
        }

        async fn create_many(&self, _: &[UserProfile]) -> Result<Vec<bool>> {
            Err(Code::Unsupported.into())
        }

        async fn update(&self, _: &UserId, _: &ProfileUpdate) -> Result<UserProfile> {
            Err(Code::Unsupported.into())
        }

        async fn delete(&self, _: &UserId) -> Result<Option<Timestamp>> {
            Err(Code::Unsupported.into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_and_three_in_a_row_end_it() {
        let memory = memory(0, &ManualClock::default()).await;
        let shaky = Shaky(Mutex::new(vec![true, false, false, false, true, false, false, true]));
        let options = PrewarmOptions { batch: 10, ..PrewarmOptions::default() };
        let prewarmer = Prewarmer::new(Arc::clone(&memory.users) as _, Arc::new(shaky), options);
        let done = prewarmer.warm((0..100).map(user)).await;
        let expected = Prewarmed { processed: 100, cached: 20, errors: 80, ..Prewarmed::default() };
        assert_eq!(
            Prewarmed { duration: Duration::ZERO, ..done },
            expected,
            "two batches of ten came; the last two were not asked for"
        );
    }

    fn user(n: usize) -> UserId {
        UserId::new(format!("u{n}")).unwrap()
    }

    async fn memory(known: usize, clock: &ManualClock) -> Memory {
        let memory = Memory::new(Arc::new(clock.clone()));
        let profiles: Vec<_> =
            (0..known).map(|n| UserProfile::new(user(n), "Ada", Timestamp::EPOCH)).collect();
        memory.source.create_many(&profiles).await.unwrap();
        memory
    }

    #[tokio::test]
    async fn everybody_is_counted_once_within_the_budget() {
        let clock = ManualClock::default();
        let memory = memory(1_200, &clock).await;
        memory.users.put_many(&[UserProfile::new(user(7), "Ada", Timestamp::EPOCH)]).await.unwrap();
        let options = PrewarmOptions { most: 2_000, pause: Duration::ZERO, ..PrewarmOptions::default() };
        let prewarmer = |options| {
            Prewarmer::new(Arc::clone(&memory.users) as _, Arc::clone(&memory.source) as _, options)
                .with_clock(Arc::new(clock.clone()))
        };
        let everybody = || (0..2_500).map(user).chain((0..10).map(user));
        let done = prewarmer(options).warm(everybody()).await;
        let expected = Prewarmed {
            processed: 2_000,
            there: 1,
            cached: 1_199,
            missing: 800,
            left_out: 500,
            ..Prewarmed::default()
        };
        assert_eq!(done, expected);
        let known: Vec<_> = (0..1_200).map(user).collect();
        assert!(memory.users.get_many(&known).await.unwrap().iter().all(Option::is_some));
        let options = PrewarmOptions::default();
        let prewarmer = prewarmer(options);
        let mut again = Box::pin(prewarmer.warm((0..1_000).map(user)));
        let again = again.as_mut().now_or_never().expect("what is there costs nothing, nor any time");
        assert_eq!(again.there, 1_000);
        let mut new = Box::pin(prewarmer.warm((2_000..3_100).map(user)));
        assert!(new.as_mut().now_or_never().is_none(), "the truth has peace after the first batch");
        clock.advance(options.pause);
        assert!(new.as_mut().now_or_never().is_none(), "and after the second");
        clock.advance(options.pause);
        let done = new.as_mut().now_or_never().expect("three batches");
        assert_eq!((done.missing, done.duration), (1_100, Duration::from_secs(3)));
    }
}
