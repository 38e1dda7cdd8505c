//! [`UserStreamConsumer`]: keeps a cache of profiles in step with the events of users.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Error, ErrorKind, Result};
use chat_core::event::{Envelope, Event, Topic};
use chat_core::store::{UserStore, UserStoreExt};
use parking_lot::Mutex;

use super::NOBODY;
use crate::consumer::Start;
use crate::streams::Streams;
use crate::worker::{Handler, Source, Worker, WorkerOptions, WorkerStats, Working};

/// How a [`UserStreamConsumer`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserStreamOptions {
    /// The consumer group: one for each cache, `profiles` by default. Nodes that share a cache share its group, too, and
    /// each event is applied by one of them; a node with a cache of its own needs a group of its own.
    pub group: String,
    /// This member of the group: one name for each process, the same after a restart where that is known.
    pub member: String,
    /// Where a new group begins; with everything still kept by default, as in seed 002.
    pub start: Start,
    /// Whether a deletion also forgets what is kept under the user's staff number, by which some of the Node services know
    /// profiles. Off by default: where users choose their number themselves, they could choose somebody else's id.
    pub forget_matricule: bool,
    /// How the work is done; called `profiles`, 256 events at once and 64 users at the same time by default.
    pub worker: WorkerOptions,
}

impl UserStreamOptions {
    /// The defaults, for this member.
    pub fn new(member: impl Into<String>) -> Self {
        let worker = WorkerOptions {
            name: "profiles".to_owned(),
            batch: 256,
            concurrency: 64,
            ..WorkerOptions::default()
        };
        Self {
            group: "profiles".to_owned(),
            member: member.into(),
            start: Start::Beginning,
            forget_matricule: false,
            worker,
        }
    }
}

/// What a [`UserStreamConsumer`] did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserStreamStats {
    /// Profiles brought into the cache.
    pub kept: u64,
    /// Profiles taken out of it.
    pub removed: u64,
    /// Profiles that were older than what the cache knew, and changed nothing.
    pub old: u64,
    /// Events of users that are about no profile.
    pub skipped: u64,
    /// When the newest event seen so far happened.
    pub last_event: Option<Timestamp>,
    /// The work itself: handled, failed, set aside, how far behind.
    pub worker: WorkerStats,
}

/// Keeps a cache of profiles in step with the events of users: seed 002's `UserStreamConsumer`. Kind of state: none of its
/// own; the cache is **derived**.
///
/// `user.profile.created` and `user.profile.updated` bring a profile in, unless the cache knows a newer one or that the
/// user is gone; `user.profile.deleted` takes it out, and no older event brings it back. Events of the Node services are
/// applied the same way. One without a name makes the cache forget what is older, so that the truth is asked. What cannot be
/// read, or not be kept, is a dead letter and holds up nobody; while the cache cannot be reached, events wait.
///
/// # Idempotency
/// Every event repeats harmlessly: what was handled and not acknowledged, because a process was killed, is handled again
/// by another member and changes nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use chat_core::clock::SystemClock;
/// use chat_core::event::Topic;
/// use chat_core::memory::{MemoryEvents, MemoryUsers};
/// use chat_streams::users::{UserStreamConsumer, UserStreamOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let log = Arc::new(MemoryEvents::new(Arc::new(SystemClock)));
/// let cache = Arc::new(MemoryUsers::new(Arc::new(SystemClock)));
/// let options = UserStreamOptions::new("node-1");
/// let member = log.consumer(&options.group, &options.member, &[Topic::Users], true);
/// let syncing = UserStreamConsumer::over(member, cache, options);
/// assert_eq!(syncing.stop().await.kept, 0);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the work"]
pub struct UserStreamConsumer {
    working: Working,
    seen: Arc<Mutex<UserStreamStats>>,
}

impl UserStreamConsumer {
    /// Begins to follow the users of these streams. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Those of [`Streams::consumer`].
    pub async fn start(
        streams: &Streams,
        users: Arc<dyn UserStore>,
        options: UserStreamOptions,
    ) -> Result<Self> {
        let UserStreamOptions { group, member, start, .. } = &options;
        let consumer = streams.consumer(group, member, &[Topic::Users], *start).await?;
        Ok(Self::over(consumer, users, options))
    }

    /// The same over any consumer of [`Topic::Users`], whose group and start are its own. Needs a Tokio runtime.
    pub fn over(
        source: impl Source + 'static,
        users: Arc<dyn UserStore>,
        options: UserStreamOptions,
    ) -> Self {
        let seen = Arc::<Mutex<UserStreamStats>>::default();
        let handler = Applied { users, forget_matricule: options.forget_matricule, seen: Arc::clone(&seen) };
        Self { working: Worker::new(source, handler).with(options.worker).start(), seen }
    }

    /// What it did so far.
    pub fn stats(&self) -> UserStreamStats {
        UserStreamStats { worker: self.working.stats(), ..*self.seen.lock() }
    }

    /// Finishes what it has, within [`WorkerOptions::drain`], and acknowledges it.
    pub async fn stop(self) -> UserStreamStats {
        let worker = self.working.stop().await;
        UserStreamStats { worker, ..*self.seen.lock() }
    }
}

/// Brings events into a cache.
#[derive(Debug)]
struct Applied {
    users: Arc<dyn UserStore>,
    forget_matricule: bool,
    seen: Arc<Mutex<UserStreamStats>>,
}

/// What an event did to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Keep,
    Remove,
    Nothing,
    Skip,
}

impl Did {
    const fn name(self) -> &'static str {
        match self {
            Self::Keep => "kept",
            Self::Remove => "removed",
            Self::Nothing => "old",
            Self::Skip => "skipped",
        }
    }
}

impl Applied {
    async fn keep(&self, profile: UserProfile) -> Result<Did> {
        if profile.full_name == NOBODY || profile.full_name.is_empty() {
            // Of the version itself nothing is known, so it may come from the truth.
            let Some(older) = profile.updated_at.as_millis().checked_sub(1) else { return Ok(Did::Skip) };
            self.users.remove_many(&[(profile.id, Timestamp::from_millis(older))]).await?;
            return Ok(Did::Remove);
        }
        Ok(if self.users.put(&profile).await? { Did::Keep } else { Did::Nothing })
    }

    async fn apply(&self, envelope: &Envelope) -> Result<Did> {
        match &envelope.event {
            Event::UserProfileCreated(made) => self.keep(made.clone().into()).await,
            Event::UserProfileUpdated(changed) => self.keep(changed.clone().into()).await,
            Event::UserProfileDeleted(gone) => {
                let mut names = vec![(gone.user_id.clone(), envelope.at)];
                let number = gone.matricule.as_ref().filter(|_| self.forget_matricule);
                if let Some(number) = number.and_then(|number| UserId::new(number).ok())
                    && number != gone.user_id
                {
                    names.push((number, envelope.at));
                }
                self.users.remove_many(&names).await?;
                Ok(Did::Remove)
            }
            _ => Ok(Did::Skip),
        }
    }
}

#[async_trait]
impl Handler for Applied {
    async fn handle(&self, envelope: &Envelope, _attempt: u32) -> Result<()> {
        let did = self.apply(envelope).await.map_err(|error| match error.kind() {
            // A cache that is slow is no fault of the event.
            ErrorKind::Timeout | ErrorKind::RateLimited => Error::new(Code::Unavailable).caused_by(error),
            _ => error,
        })?;
        let mut seen = self.seen.lock();
        match did {
            Did::Keep => seen.kept += 1,
            Did::Remove => seen.removed += 1,
            Did::Nothing => seen.old += 1,
            Did::Skip => seen.skipped += 1,
        }
        seen.last_event = seen.last_event.max(Some(envelope.at));
        drop(seen);
        metrics::counter!("chat_user_events_total", "outcome" => did.name()).increment(1);
        Ok(())
    }
}
