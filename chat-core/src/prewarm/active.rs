//! Whose profiles are asked for next: the people of conversations in which something was said lately.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use serde::{Deserialize, Serialize};

use super::{Pace, Prewarmed, Prewarmer};
use crate::clock::{ClockExt, Timestamp};
use crate::domain::page::{Page, Paged};
use crate::domain::{Member, UserId};
use crate::error::{Code, Result};
use crate::store::ConversationStore;
use crate::store::conversations::ActivityCursor;

/// How long ago something was said in a conversation that is active: 7 days (seed 002).
pub const ACTIVE_WITHIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many conversations are looked at together.
const CONVERSATIONS: usize = 100;

/// How many members of each come with them; of larger ones the others follow, page by page.
const FIRST_MEMBERS: usize = 100;
const MEMBERS: usize = 1_000;

/// Where a warming over conversations stands, to be kept by the caller and handed back: it goes on there. Small, whatever the
/// number of people; a few lines of JSON.
///
/// Who is in the cache costs the truth nothing, so any older place will do, too. Somebody in conversations on both sides of
/// a place is counted again after going on from it, as one who was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrewarmProgress {
    /// What was done so far, by all runs since the first.
    pub done: Prewarmed,
    place: Place,
}

/// How far the walk has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    /// Since when a conversation has to be active.
    since: Timestamp,
    /// Which conversation was the first one when the walk began.
    newest: Option<ActivityCursor>,
    /// Whether this is the second walk, over what has moved up during the first.
    again: bool,
    /// The last conversation of which nobody is left.
    after: Option<ActivityCursor>,
    /// In one after it, the last person that was taken.
    within: Option<Within>,
}

/// Somebody in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Within {
    conversation: ActivityCursor,
    user: UserId,
}

impl PrewarmProgress {
    /// Nobody yet, of the conversations active since then.
    pub fn since(since: Timestamp) -> Self {
        let place = Place { since, newest: None, again: false, after: None, within: None };
        Self { done: Prewarmed::default(), place }
    }
}

/// How a warming over conversations came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PrewarmEnd {
    /// Nobody is left.
    Finished,
    /// As many people as it may look at were looked at, and others are left.
    Budget,
    /// It was told to stop.
    Stopped,
    /// Too many questions in a row failed.
    Failed,
}

/// What a warming over conversations did. In JSON: `processed`, `cached`, `errors`, `duration`, and the others of
/// [`Prewarmed`], `end`, and `next`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrewarmReport {
    /// What was done, by all runs since the first.
    #[serde(flatten)]
    pub done: Prewarmed,
    /// How it came to its end.
    pub end: PrewarmEnd,
    /// Where to go on, unless nobody is left: behind the last batch that went well, so that those after it are asked for
    /// again.
    pub next: Option<PrewarmProgress>,
}

impl Prewarmer {
    /// Nobody yet, of the conversations active within this time: [`ACTIVE_WITHIN`], say.
    pub fn lately(&self, within: Duration) -> PrewarmProgress {
        PrewarmProgress::since(self.clock.now().before(within))
    }

    /// Brings the people of active conversations into the cache: those of the most recent one first, each once, in
    /// batches with pauses between, until nobody is left or as many were looked at as it may. Holds no more people than
    /// that at any time. What moves up meanwhile is looked at in the end.
    ///
    /// What fails is counted, and left to whoever asks; so many failures in a row end it.
    ///
    /// `told` hears of every batch, and what it hears is good to go on from, also after this process was killed. `stop`
    /// ends it at once, wherever it is; so does dropping it. It is meant to run beside everything else.
    ///
    /// ```
    /// use std::future::pending;
    /// use chat_core::memory::Memory;
    /// use chat_core::prewarm::{ACTIVE_WITHIN, PrewarmEnd, PrewarmOptions, Prewarmer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> chat_core::error::Result<()> {
    /// let memory = Memory::default();
    /// let prewarmer = Prewarmer::new(memory.users, memory.source, PrewarmOptions::default());
    /// let from = prewarmer.lately(ACTIVE_WITHIN);
    /// let report = prewarmer.warm_active(&*memory.conversations, from, |_| {}, pending()).await;
    /// assert_eq!((report.end, report.done.processed), (PrewarmEnd::Finished, 0));
    /// # Ok(()) }
    /// ```
    pub async fn warm_active(
        &self,
        conversations: &dyn ConversationStore,
        from: PrewarmProgress,
        told: impl FnMut(&PrewarmProgress) + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> PrewarmReport {
        let mut walk = Walk::new(self, conversations, from, told);
        let end = {
            let (stop, walking) = (pin!(stop), pin!(walk.run()));
            match select(stop, walking).await {
                Either::Left(((), _)) => PrewarmEnd::Stopped,
                Either::Right((end, _)) => end,
            }
        };
        let report = walk.report(end);
        tracing::info!(done = ?report.done, ?end, "profiles of active conversations are prewarmed");
        report
    }

    /// What the truth about conversations answers; asked again after a pause when it fails, so many times.
    async fn answer<T: Send, F: Future<Output = Result<T>> + Send>(
        &self,
        question: impl Fn() -> F + Send,
    ) -> Result<T, PrewarmEnd> {
        let mut in_a_row = 0;
        loop {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::warn!(code = %error.code(), "active conversations could not be looked at");
                    in_a_row += 1;
                }
            }
            if self.is_enough(in_a_row) {
                return Err(PrewarmEnd::Failed);
            }
            self.clock.sleep(self.options.pause).await;
        }
    }
}

/// A walk under way. Wherever it is dropped, `at` and `safe` are whole.
struct Walk<'a, Told> {
    prewarmer: &'a Prewarmer,
    conversations: &'a dyn ConversationStore,
    told: Told,
    /// After the last batch.
    at: PrewarmProgress,
    /// After the last batch that went well.
    safe: PrewarmProgress,
    /// After the last person that was taken.
    here: Place,
    waiting: Vec<UserId>,
    seen: HashSet<UserId>,
    pace: Pace,
    began: Timestamp,
    before: Duration,
}

impl<'a, Told: FnMut(&PrewarmProgress) + Send> Walk<'a, Told> {
    fn new(
        prewarmer: &'a Prewarmer,
        conversations: &'a dyn ConversationStore,
        from: PrewarmProgress,
        told: Told,
    ) -> Self {
        Self {
            prewarmer,
            conversations,
            told,
            safe: from.clone(),
            here: from.place.clone(),
            waiting: Vec::new(),
            seen: HashSet::new(),
            pace: Pace::default(),
            began: prewarmer.clock.now(),
            before: from.done.duration,
            at: from,
        }
    }

    async fn run(&mut self) -> PrewarmEnd {
        match self.walk().await {
            Ok(()) => PrewarmEnd::Finished,
            Err(end) => end,
        }
    }

    async fn walk(&mut self) -> Result<(), PrewarmEnd> {
        loop {
            let (store, since) = (self.conversations, self.here.since);
            let page = Page { after: self.here.after.clone(), limit: CONVERSATIONS };
            let found = self.prewarmer.answer(|| store.active(since, &page)).await?;
            let ids: Vec<_> = found.items.iter().map(|one| one.id.clone()).collect();
            let members = self.prewarmer.answer(|| store.first_members(&ids, FIRST_MEMBERS)).await?;
            for (one, members) in found.items.into_iter().zip(members) {
                let stands = ActivityCursor { at: one.last_activity.at, id: one.id };
                match &self.here {
                    // What was there when the first walk began was in it.
                    Place { again: true, newest: Some(newest), .. } if stands >= *newest => {
                        return self.flush().await;
                    }
                    // It has moved up since another run was here: that is for the second walk.
                    Place { within: Some(within), .. } if stands < within.conversation => {}
                    _ => {
                        let newest = self.here.newest.take();
                        self.here.newest = newest.or_else(|| Some(stands.clone()));
                        self.conversation(&stands, members).await?;
                        self.here.within = None;
                    }
                }
                self.here.after = Some(stands);
            }
            if found.next.is_some() {
                continue;
            }
            match self.here.newest.take() {
                Some(newest) if !self.here.again => {
                    let (since, newest) = (newest.at, Some(newest));
                    self.here = Place { since, newest, again: true, after: None, within: None };
                }
                _ => return self.flush().await,
            }
        }
    }

    /// Takes the people of one conversation, of which these are the first.
    async fn conversation(&mut self, stands: &ActivityCursor, first: Vec<Member>) -> Result<(), PrewarmEnd> {
        let mut after = match &self.here.within {
            Some(within) if within.conversation == *stands => Some(within.user.clone()),
            _ => {
                let last = first.get(FIRST_MEMBERS - 1).map(|member| member.user_id.clone());
                self.take_all(stands, first).await?;
                last
            }
        };
        while let Some(user) = after {
            let (store, page) = (self.conversations, Page { after: Some(user), limit: MEMBERS });
            let more = self.prewarmer.answer(|| async {
                match store.members(&stands.id, &page).await {
                    // It went away meanwhile.
                    Err(error) if error.code() == Code::ConversationNotFound => Ok(Paged::last(Vec::new())),
                    answer => answer,
                }
            });
            let Paged { items, next } = more.await?;
            self.take_all(stands, items).await?;
            after = next;
        }
        Ok(())
    }

    async fn take_all(&mut self, stands: &ActivityCursor, members: Vec<Member>) -> Result<(), PrewarmEnd> {
        for Member { user_id: user, .. } in members {
            if !self.seen.contains(&user) {
                let taken = self.at.done.processed.saturating_add(self.waiting.len() as u64);
                if taken >= self.prewarmer.options.most as u64 {
                    self.flush().await?;
                    return Err(PrewarmEnd::Budget);
                }
                self.seen.insert(user.clone());
                self.waiting.push(user.clone());
            }
            self.here.within = Some(Within { conversation: stands.clone(), user });
            if self.waiting.len() >= self.prewarmer.options.batch.max(1) {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Brings those who wait into the cache.
    async fn flush(&mut self) -> Result<(), PrewarmEnd> {
        let batch = self.prewarmer.batch(&self.waiting, &mut self.pace).await;
        self.waiting.clear();
        self.at.done.add(batch);
        self.at.done.duration = self.took();
        self.at.place = self.here.clone();
        if self.pace.in_a_row == 0 {
            self.safe = self.at.clone();
        }
        (self.told)(&self.at);
        if self.prewarmer.is_enough(self.pace.in_a_row) { Err(PrewarmEnd::Failed) } else { Ok(()) }
    }

    fn took(&self) -> Duration {
        self.before.saturating_add(self.prewarmer.clock.now().since(self.began))
    }

    fn report(mut self, end: PrewarmEnd) -> PrewarmReport {
        let duration = self.took();
        self.at.done.duration = duration;
        self.safe.done.duration = duration;
        let next = (end != PrewarmEnd::Finished).then_some(self.safe);
        PrewarmReport { done: self.at.done, end, next }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use futures::FutureExt;
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::domain::user::ProfileUpdate;
    use crate::domain::{ConversationId, ConversationKind, LastActivity, RoomRole, Seq, UserProfile};
    use crate::memory::Memory;
    use crate::prewarm::PrewarmOptions;
    use crate::store::conversations::{Change, NewConversation, NewMember};
    use crate::store::{Attempt, Call, Guarded, Policy, UserSource, UserStore};

    const PAUSE: Duration = Duration::from_millis(1_500);

    /// The truth about users: knows everybody but `nobody…`, remembers whom it was asked for and when, and is away as often
    /// as it is told to be.
    #[derive(Debug)]
    struct Truth {
        clock: ManualClock,
        asked: Mutex<Vec<(Timestamp, Vec<String>)>>,
        away: AtomicU32,
    }

    #[async_trait]
    impl UserSource for Truth {
        async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
            let names = users.iter().map(ToString::to_string).collect();
            self.asked.lock().push((self.clock.now(), names));
            let fewer = |times: u32| times.checked_sub(1);
            if self.away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
                return Err(Code::Unavailable.into());
            }
            let known = |user: &UserId| {
                (!user.as_str().starts_with("nobody"))
                    .then(|| UserProfile::new(user.clone(), "Ada", Timestamp::EPOCH))
            };
            Ok(users.iter().map(known).collect())
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

    /// Refuses so many calls.
    #[derive(Debug)]
    struct Away(AtomicU32);

    impl Policy for Away {
        async fn run<A: Attempt>(&self, _: Call, attempt: &A) -> Result<A::Answer> {
            let fewer = |times: u32| times.checked_sub(1);
            if self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
                return Err(Code::Unavailable.into());
            }
            attempt.start().await
        }
    }

    struct Desk {
        clock: ManualClock,
        memory: Memory,
        truth: Arc<Truth>,
        told: Mutex<Vec<PrewarmProgress>>,
    }

    impl Desk {
        /// Groups of these people, the most recent first; one second between.
        async fn with(groups: &[(&str, &[&str])]) -> Self {
            let clock = ManualClock::default();
            let memory = Memory::new(Arc::new(clock.clone()));
            let truth = Truth { clock: clock.clone(), asked: Mutex::default(), away: AtomicU32::new(0) };
            let desk = Self { clock, memory, truth: Arc::new(truth), told: Mutex::default() };
            for (name, people) in groups.iter().rev() {
                desk.group(name, people.iter().map(ToString::to_string)).await;
                desk.says(name, 1).await;
            }
            desk
        }

        async fn group(&self, name: &str, people: impl Iterator<Item = String>) {
            let members = people.map(|name| NewMember {
                user: UserId::new(name).unwrap(),
                role: RoomRole::Member,
                name: None,
            });
            let new = NewConversation {
                id: ConversationId::new(name).unwrap(),
                kind: ConversationKind::Group,
                name: None,
                avatar: None,
                created_by: UserId::new("maker").unwrap(),
                members: members.collect(),
                max_members: u32::MAX,
            };
            self.memory.conversations.create(&new).await.unwrap();
        }

        /// Somebody says something, a second later.
        async fn says(&self, name: &str, seq: u64) {
            self.clock.advance(Duration::from_secs(1));
            let activity = LastActivity { at: self.clock.now(), seq: Seq(seq), message_id: None };
            let touched = [(ConversationId::new(name).unwrap(), activity)];
            self.memory.conversations.touch_many(&touched).await.unwrap();
        }

        fn prewarmer(&self, batch: usize, most: usize) -> Prewarmer {
            let options = PrewarmOptions { batch, most, ..PrewarmOptions::default() };
            let (users, source) = (Arc::clone(&self.memory.users), Arc::clone(&self.truth));
            Prewarmer::new(users, source, options).with_clock(Arc::new(self.clock.clone()))
        }

        /// Warms, with the clock moved whenever nothing else goes on, until it ends or was told of so many batches.
        async fn warm(&self, prewarmer: &Prewarmer, from: PrewarmProgress, batches: usize) -> PrewarmReport {
            self.warm_by(&self.memory.conversations, prewarmer, from, batches).await
        }

        async fn warm_by(
            &self,
            conversations: &dyn ConversationStore,
            prewarmer: &Prewarmer,
            from: PrewarmProgress,
            batches: usize,
        ) -> PrewarmReport {
            let (stop, stopped) = futures::channel::oneshot::channel::<()>();
            let (mut stop, mut left) = (Some(stop), batches);
            let told = |progress: &PrewarmProgress| {
                self.told.lock().push(progress.clone());
                left = left.saturating_sub(1);
                if left == 0 {
                    stop.take();
                }
            };
            let mut warming = Box::pin(prewarmer.warm_active(conversations, from, told, stopped.map(drop)));
            loop {
                match warming.as_mut().now_or_never() {
                    Some(report) => return report,
                    None => self.clock.advance(PAUSE),
                }
            }
        }

        /// Whom the truth was asked for, question by question.
        fn asked(&self) -> Vec<Vec<String>> {
            self.truth.asked.lock().iter().map(|(_, names)| names.clone()).collect()
        }
    }

    fn names(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|nth| format!("{prefix}{nth:04}")).collect()
    }

    const GROUPS: &[(&str, &[&str])] = &[
        ("now", &["eve", "ann"]),
        ("lately", &["ben", "ann", "kim", "nobody"]),
        ("before", &["zoe", "eve", "max"]),
    ];

    #[tokio::test]
    async fn the_people_of_the_most_recent_conversations_come_first_each_once() {
        let desk = Desk::with(GROUPS).await;
        desk.group("silent", ["sam".to_owned()].into_iter()).await;
        let prewarmer = desk.prewarmer(3, 100);
        let report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), usize::MAX).await;
        assert_eq!(desk.asked(), [vec!["ann", "eve", "ben"], vec!["kim", "nobody", "max"], vec!["zoe"]]);
        let at: Vec<_> = desk.truth.asked.lock().iter().map(|(at, _)| *at).collect();
        assert_eq!([at[1].since(at[0]), at[2].since(at[1])], [PAUSE, PAUSE], "peace between");
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "processed": 7, "there": 0, "cached": 6, "missing": 1, "errors": 0, "leftOut": 0,
            "duration": "3.00s", "end": "finished", "next": null,
        });
        assert_eq!(json, expected);
        let again = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), usize::MAX).await;
        assert_eq!((again.done.processed, again.done.there, again.done.missing), (7, 6, 1));
        let late = desk.warm(&prewarmer, prewarmer.lately(Duration::from_millis(1)), usize::MAX).await;
        assert_eq!(late.done.processed, 0, "nobody said anything in the last millisecond");
    }

    #[tokio::test]
    async fn the_people_of_large_conversations_are_many_pages() {
        let desk = Desk::with(&[]).await;
        for (name, count) in [("a", 99), ("b", 100), ("c", 101), ("d", 2_500)] {
            desk.group(name, names(name, count).into_iter()).await;
            desk.says(name, 1).await;
        }
        for nth in 0..250 {
            desk.group(&format!("small {nth}"), names(&format!("s{nth}"), 2).into_iter()).await;
            desk.says(&format!("small {nth}"), 1).await;
        }
        let prewarmer = desk.prewarmer(70, 10_000);
        let report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), usize::MAX).await;
        assert_eq!((report.end, report.done.cached), (PrewarmEnd::Finished, 2_800 + 500));
        let mut asked = desk.asked().concat();
        assert_eq!(asked.len(), 3_300);
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 3_300, "each once");
    }

    #[tokio::test]
    async fn wherever_it_is_stopped_or_killed_it_goes_on_and_counts_everybody_once() {
        for batch in [1, 3, 40] {
            for batches in 1..=5 {
                for is_killed in [false, true] {
                    let desk = Desk::with(&[("b", &["x1", "x2", "x3"]), ("c", &["y1"])]).await;
                    desk.group("a", names("a", 130).into_iter()).await;
                    desk.says("a", 1).await;
                    let prewarmer = desk.prewarmer(batch, 1_000);
                    let mut report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), batches).await;
                    while report.end == PrewarmEnd::Stopped {
                        let kept = if is_killed {
                            desk.told.lock().last().cloned().unwrap()
                        } else {
                            report.next.unwrap()
                        };
                        assert_eq!(kept.done.processed, report.done.processed);
                        let kept = serde_json::to_string(&kept).unwrap();
                        assert!(kept.len() < 1_000, "{kept}");
                        let other = desk.prewarmer(batch, 1_000);
                        let kept = serde_json::from_str(&kept).unwrap();
                        report = desk.warm(&other, kept, batches).await;
                    }
                    let expected = Prewarmed { processed: 134, cached: 134, ..Prewarmed::default() };
                    let done = Prewarmed { duration: Duration::ZERO, ..report.done };
                    assert_eq!(done, expected, "{batches} of {batch}, killed: {is_killed}");
                    assert_eq!((report.end, report.next), (PrewarmEnd::Finished, None));
                    assert_eq!(desk.asked().concat().len(), 134, "nobody is asked for twice");
                }
            }
        }
    }

    #[tokio::test]
    async fn it_stops_at_once_while_the_truth_has_its_peace_or_does_not_answer() {
        let desk = Desk::with(GROUPS).await;
        let prewarmer = desk.prewarmer(3, 100);
        let (stop, stopped) = futures::channel::oneshot::channel::<()>();
        let mut warming = Box::pin(prewarmer.warm_active(
            &desk.memory.conversations,
            prewarmer.lately(ACTIVE_WITHIN),
            |_| {},
            stopped.map(drop),
        ));
        assert!(warming.as_mut().now_or_never().is_none(), "it waits for the second batch");
        drop(stop);
        let report = warming.as_mut().now_or_never().expect("no time passes");
        assert_eq!((report.end, report.done.processed), (PrewarmEnd::Stopped, 3));
        let report = desk.warm(&prewarmer, report.next.unwrap(), usize::MAX).await;
        assert_eq!((report.end, report.done.cached, report.done.missing), (PrewarmEnd::Finished, 6, 1));
        assert_eq!(report.done.there, 1, "Eve, in conversations on both sides");
    }

    #[tokio::test]
    async fn it_looks_at_no_more_people_than_it_may_all_runs_together() {
        let desk = Desk::with(GROUPS).await;
        let prewarmer = desk.prewarmer(3, 4);
        let report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), usize::MAX).await;
        assert_eq!((report.end, report.done.processed), (PrewarmEnd::Budget, 4));
        let next = report.next.unwrap();
        let again = desk.warm(&prewarmer, next.clone(), usize::MAX).await;
        assert_eq!(
            (again.end, again.done.processed, again.next.as_ref()),
            (PrewarmEnd::Budget, 4, Some(&next))
        );
        // Eve is in conversations on both sides.
        let exact = desk.warm(&desk.prewarmer(3, 8), next, usize::MAX).await;
        assert_eq!((exact.end, exact.next), (PrewarmEnd::Finished, None));
        assert_eq!(desk.asked().concat(), ["ann", "eve", "ben", "kim", "nobody", "max", "zoe"]);
    }

    #[tokio::test]
    async fn a_failure_is_counted_and_three_in_a_row_end_it_before_them() {
        let desk = Desk::with(&[]).await;
        desk.group("a", names("a", 80).into_iter()).await;
        desk.says("a", 1).await;
        let prewarmer = desk.prewarmer(10, 1_000);
        desk.truth.away.store(2, Ordering::SeqCst);
        let report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), 4).await;
        assert_eq!((report.done.errors, report.done.cached), (20, 20), "two failed, and it went on");
        desk.truth.away.store(3, Ordering::SeqCst);
        let report = desk.warm(&prewarmer, report.next.unwrap(), usize::MAX).await;
        assert_eq!((report.end, report.done.errors, report.done.processed), (PrewarmEnd::Failed, 50, 70));
        let next = report.next.unwrap();
        assert_eq!((next.done.errors, next.done.processed), (20, 40), "those of the end are asked for again");
        let report = desk.warm(&prewarmer, next, usize::MAX).await;
        let expected = Prewarmed { processed: 80, cached: 60, errors: 20, ..Prewarmed::default() };
        assert_eq!(Prewarmed { duration: Duration::ZERO, ..report.done }, expected);
        assert_eq!(report.end, PrewarmEnd::Finished);
    }

    #[tokio::test]
    async fn conversations_that_cannot_be_looked_at_are_asked_for_again() {
        let desk = Desk::with(GROUPS).await;
        let prewarmer = desk.prewarmer(3, 100);
        let store = Guarded::new(Arc::clone(&desk.memory.conversations), Away(AtomicU32::new(2)));
        let from = prewarmer.lately(ACTIVE_WITHIN);
        let report = desk.warm_by(&store, &prewarmer, from.clone(), usize::MAX).await;
        assert_eq!((report.end, report.done.processed), (PrewarmEnd::Finished, 7));
        store.policy().0.store(3, Ordering::SeqCst);
        let report = desk.warm_by(&store, &prewarmer, from, usize::MAX).await;
        assert_eq!((report.end, report.done.processed), (PrewarmEnd::Failed, 0));
        let report = desk.warm_by(&store, &prewarmer, report.next.unwrap(), usize::MAX).await;
        assert_eq!((report.end, report.done.processed), (PrewarmEnd::Finished, 7));
    }

    #[tokio::test]
    async fn what_moves_up_meanwhile_is_looked_at_in_the_end() {
        let desk =
            Desk::with(&[("now", &["a1", "a2", "a3"]), ("lately", &["b1"]), ("before", &["c1"])]).await;
        let prewarmer = desk.prewarmer(3, 100);
        // The first page holds all: what moves up has to do so between two runs.
        let report = desk.warm(&prewarmer, prewarmer.lately(ACTIVE_WITHIN), 1).await;
        assert_eq!(report.done.processed, 3);
        desk.says("before", 2).await;
        desk.group("new", ["d1".to_owned()].into_iter()).await;
        desk.says("new", 1).await;
        let report = desk.warm(&prewarmer, report.next.unwrap(), usize::MAX).await;
        assert_eq!((report.end, report.done.cached), (PrewarmEnd::Finished, 6));
        assert_eq!(desk.asked().concat(), ["a1", "a2", "a3", "b1", "d1", "c1"]);
    }

    #[tokio::test]
    async fn a_conversation_that_ends_while_it_is_read_is_left() {
        let desk = Desk::with(&[("c", &["x1"])]).await;
        desk.group("a", names("a", 150).into_iter()).await;
        desk.says("a", 1).await;
        let prewarmer = desk.prewarmer(50, 1_000);
        let mut warming = Box::pin(prewarmer.warm_active(
            &desk.memory.conversations,
            prewarmer.lately(ACTIVE_WITHIN),
            |_| {},
            pending(),
        ));
        assert!(warming.as_mut().now_or_never().is_none());
        let (by, a) = (UserId::new("maker").unwrap(), ConversationId::new("a").unwrap());
        for name in names("a", 150) {
            let gone = Change::Remove { user: UserId::new(name).unwrap(), name: None };
            desk.memory.conversations.change(&a, &by, &gone).await.unwrap();
        }
        desk.clock.advance(PAUSE);
        assert!(warming.as_mut().now_or_never().is_none());
        desk.clock.advance(PAUSE);
        let report = warming.as_mut().now_or_never().expect("the end");
        assert_eq!((report.end, report.done.cached), (PrewarmEnd::Finished, 101));
        let everybody: Vec<_> =
            names("a", 100).iter().map(|name| UserId::new(name.as_str()).unwrap()).collect();
        assert!(desk.memory.users.get_many(&everybody).await.unwrap().iter().all(Option::is_some));
    }
}
