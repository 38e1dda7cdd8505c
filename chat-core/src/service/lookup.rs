//! Looking profiles up in the truth: many askers, one question.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared, join_all};
use parking_lot::Mutex;

use crate::domain::{UserId, UserProfile};
use crate::error::{Error, Result};
use crate::store::UserSource;

type Found = std::result::Result<Arc<HashMap<UserId, UserProfile>>, Arc<Error>>;
type Asking = Shared<BoxFuture<'static, Found>>;

/// Questions to the truth that are under way; kind of state: volatile.
///
/// Whoever asks for somebody while that question is under way waits for its answer; if the one who asked first is
/// cancelled, another carries on. Nothing is remembered. Who asks after a change asks anew, so that nobody is answered from
/// before it.
#[derive(Default)]
pub(super) struct Lookups {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    next: u64,
    flights: HashMap<UserId, Flight>,
}

/// A question under way, by number. It ends with the last who waits for it.
#[derive(Clone)]
struct Flight {
    nth: u64,
    asking: WeakShared<BoxFuture<'static, Found>>,
}

/// A question somebody waits for.
struct Waiting<'a> {
    lookups: &'a Lookups,
    nth: u64,
    users: Vec<UserId>,
    asking: Option<Asking>,
}

impl Lookups {
    /// What the truth knows of these users.
    ///
    /// # Errors
    /// Those of the source.
    pub(super) async fn fetch(
        &self,
        source: &Arc<dyn UserSource>,
        users: &[UserId],
    ) -> Result<HashMap<UserId, UserProfile>> {
        let waiting = self.begin(source, users);
        let answers = join_all(waiting.iter().filter_map(|waiting| waiting.asking.clone())).await;
        let mut found = HashMap::new();
        for (waiting, answer) in waiting.iter().zip(answers) {
            let answer = answer.map_err(|error| Error::again(&error))?;
            let theirs =
                waiting.users.iter().filter_map(|user| Some((user.clone(), answer.get(user)?.clone())));
            found.extend(theirs);
        }
        Ok(found)
    }

    /// The truth about somebody has changed.
    pub(super) fn forget(&self, user: &UserId) {
        self.known.lock().flights.remove(user);
    }

    fn begin<'a>(&'a self, source: &Arc<dyn UserSource>, users: &[UserId]) -> Vec<Waiting<'a>> {
        let mut known = self.known.lock();
        let (mut joined, mut new) = (BTreeMap::<u64, Waiting<'a>>::new(), Vec::new());
        let mut seen = HashSet::new();
        for user in users {
            if !seen.insert(user) {
                continue;
            }
            let under_way = known.flights.get(user).and_then(|flight| {
                let asking = flight.asking.upgrade()?;
                asking.peek().is_none().then_some((flight.nth, asking))
            });
            match under_way {
                Some((nth, asking)) => {
                    let waiting = || Waiting { lookups: self, nth, users: Vec::new(), asking: Some(asking) };
                    joined.entry(nth).or_insert_with(waiting).users.push(user.clone());
                }
                None => new.push(user.clone()),
            }
        }
        let mut waiting: Vec<_> = joined.into_values().collect();
        if !new.is_empty() {
            known.next += 1;
            let (source, ids) = (Arc::clone(source), new.clone());
            let asking = async move {
                let fetched = source.fetch_many(&ids).await.map_err(Arc::new)?;
                let found = ids.into_iter().zip(fetched);
                Ok(Arc::new(found.filter_map(|(user, profile)| Some((user, profile?))).collect()))
            };
            let asking: Asking = asking.boxed().shared();
            if let Some(weak) = asking.downgrade() {
                for user in &new {
                    let flight = Flight { nth: known.next, asking: weak.clone() };
                    known.flights.insert(user.clone(), flight);
                }
            }
            waiting.push(Waiting { lookups: self, nth: known.next, users: new, asking: Some(asking) });
        }
        waiting
    }
}

impl Drop for Waiting<'_> {
    /// Forgets a question that is answered, or that nobody waits for any more.
    fn drop(&mut self) {
        self.asking = None;
        let mut known = self.lookups.known.lock();
        for user in &self.users {
            let is_over = known.flights.get(user).is_some_and(|flight| {
                flight.nth == self.nth && flight.asking.upgrade().is_none_or(|asking| asking.peek().is_some())
            });
            if is_over {
                known.flights.remove(user);
            }
        }
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("under_way", &self.known.lock().flights.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::user::ProfileUpdate;
    use crate::error::Code;

    /// A source that answers when it is told to, and only knows whoever's name begins with `a`.
    #[derive(Debug)]
    struct Slow {
        asked: AtomicUsize,
        answers: Semaphore,
        fails: bool,
    }

    #[async_trait]
    impl UserSource for Slow {
        async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
            let nth = self.asked.fetch_add(1, Ordering::SeqCst);
            self.answers.acquire().await.unwrap().forget();
            if self.fails {
                return Err(Error::new(Code::Unavailable).during("users.fetch").with("nth", nth));
            }
            let profile = |user: &UserId| UserProfile::new(user.clone(), format!("{nth}"), Timestamp::EPOCH);
            Ok(users.iter().map(|user| user.as_str().starts_with('a').then(|| profile(user))).collect())
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

    fn slow(answers: usize, fails: bool) -> (Arc<Slow>, Arc<dyn UserSource>) {
        let slow = Arc::new(Slow { asked: AtomicUsize::new(0), answers: Semaphore::new(answers), fails });
        (Arc::clone(&slow), slow)
    }

    fn users(ids: &[&str]) -> Vec<UserId> {
        ids.iter().map(|id| UserId::new(*id).unwrap()).collect()
    }

    #[tokio::test]
    async fn many_askers_are_one_question() {
        let (slow, source) = slow(0, false);
        let lookups = Lookups::default();
        let (ann, both) = (users(&["ann"]), users(&["ann", "abe", "bob"]));
        let mut first = Box::pin(lookups.fetch(&source, &ann));
        assert!(first.as_mut().now_or_never().is_none());
        let asking = (0..100).map(|_| lookups.fetch(&source, &both));
        let mut all = Box::pin(futures::future::join_all(asking));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2, "what is under way is waited for");
        slow.answers.add_permits(2);
        assert_eq!(first.await.unwrap().len(), 1);
        for found in all.await {
            let found = found.unwrap();
            assert_eq!((found.len(), found[&ann[0]].full_name.as_str()), (2, "0"));
        }
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2, "one for each user at most");
        assert!(lookups.known.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn others_carry_on_when_the_first_is_cancelled() {
        let (slow, source) = slow(0, false);
        let (lookups, ann) = (Lookups::default(), users(&["ann"]));
        let mut first = Box::pin(lookups.fetch(&source, &ann));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(lookups.fetch(&source, &ann));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        slow.answers.add_permits(1);
        assert_eq!(second.await.unwrap().len(), 1);
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
        // And one that everybody left is not taken up again.
        let mut left = Box::pin(lookups.fetch(&source, &ann));
        assert!(left.as_mut().now_or_never().is_none());
        drop(left);
        assert!(lookups.known.lock().flights.is_empty());
        slow.answers.add_permits(1);
        assert_eq!(lookups.fetch(&source, &ann).await.unwrap()[&ann[0]].full_name, "2");
    }

    #[tokio::test]
    async fn a_change_is_seen_by_whoever_asks_after_it() {
        let (slow, source) = slow(0, false);
        let (lookups, both) = (Lookups::default(), users(&["ann", "bob"]));
        let mut before = Box::pin(lookups.fetch(&source, &both));
        assert!(before.as_mut().now_or_never().is_none());
        both.iter().for_each(|user| lookups.forget(user));
        let mut after = Box::pin(lookups.fetch(&source, &both));
        assert!(after.as_mut().now_or_never().is_none());
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
        slow.answers.add_permits(1);
        before.await.unwrap();
        slow.answers.add_permits(1);
        assert_eq!(after.await.unwrap()[&both[0]].full_name, "1");
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_and_not_remembered() {
        let (slow, source) = slow(0, true);
        let (lookups, ann) = (Lookups::default(), users(&["ann"]));
        let mut both =
            Box::pin(futures::future::join(lookups.fetch(&source, &ann), lookups.fetch(&source, &ann)));
        assert!(both.as_mut().now_or_never().is_none());
        slow.answers.add_permits(2);
        let (first, second) = both.await;
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!((error.code(), error.operation()), (Code::Unavailable, Some("users.fetch")));
            assert_eq!(error.detail("nth"), Some("0"));
        }
        lookups.fetch(&source, &ann).await.unwrap_err();
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
    }
}
