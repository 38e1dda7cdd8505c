//! [`UserStore`] in memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use super::cache::Expiring;
use crate::clock::{Clock, Timestamp};
use crate::domain::{UserId, UserProfile};
use crate::error::Result;
use crate::store::UserStore;
use crate::store::users::{PROFILE_TTL, UserStoreStats};

/// How many profiles are kept unless told otherwise.
const DEFAULT_CAPACITY: usize = 100_000;
/// How many removals are remembered: those that were deleted last.
const MAX_REMOVALS: usize = 100_000;

/// A cache of profiles in this process; a restart loses it.
///
/// It keeps up to 100 000 profiles unless told otherwise: those put longest ago leave first. Of the users removed, the
/// 100 000 deleted last are remembered.
pub struct MemoryUsers {
    clock: Arc<dyn Clock>,
    capacity: usize,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    profiles: Expiring<UserId, UserProfile>,
    removals: Removals,
}

impl MemoryUsers {
    /// An empty cache of 100 000 profiles.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, capacity: DEFAULT_CAPACITY, known: RwLock::default() }
    }

    /// The same cache with room for this many profiles, one at least.
    #[must_use]
    pub fn with_capacity(mut self, profiles: usize) -> Self {
        self.capacity = profiles.max(1);
        self
    }
}

impl fmt::Debug for MemoryUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profiles = self.known.read().profiles.len();
        f.debug_struct("MemoryUsers").field("capacity", &self.capacity).field("profiles", &profiles).finish()
    }
}

#[async_trait]
impl UserStore for MemoryUsers {
    async fn get_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let known = self.known.read();
        let now = self.clock.now();
        Ok(users.iter().map(|user| known.profiles.get(user, now).cloned()).collect())
    }

    async fn put_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        let mut known = self.known.write();
        let now = self.clock.now();
        Ok(profiles.iter().map(|profile| known.put(profile, now, self.capacity)).collect())
    }

    async fn remove_many(&self, users: &[(UserId, Timestamp)]) -> Result<()> {
        let mut known = self.known.write();
        let now = self.clock.now();
        for (user, at) in users {
            known.remove(user, *at, now);
        }
        Ok(())
    }

    async fn stats(&self) -> Result<UserStoreStats> {
        let mut known = self.known.write();
        known.profiles.purge(self.clock.now());
        Ok(UserStoreStats { cached: known.profiles.len() as u64, ttl_seconds: PROFILE_TTL.as_secs() })
    }
}

impl Known {
    fn put(&mut self, profile: &UserProfile, now: Timestamp, capacity: usize) -> bool {
        let newer = |known: &UserProfile| known.updated_at > profile.updated_at;
        if self.removals.cover(profile) || self.profiles.get(&profile.id, now).is_some_and(newer) {
            return false;
        }
        self.profiles.purge(now);
        self.profiles.remove(&profile.id);
        while self.profiles.len() >= capacity {
            self.profiles.pop_first();
        }
        self.profiles.insert(profile.id.clone(), profile.clone(), now.after(PROFILE_TTL), now);
        true
    }

    fn remove(&mut self, user: &UserId, at: Timestamp, now: Timestamp) {
        self.removals.add(user, at);
        if self.profiles.get(user, now).is_some_and(|profile| profile.updated_at <= at) {
            self.profiles.remove(user);
        }
    }
}

/// When users were deleted.
#[derive(Default)]
struct Removals {
    at: HashMap<UserId, Timestamp>,
    oldest_first: BTreeSet<(Timestamp, UserId)>,
}

impl Removals {
    /// Whether this profile is from before its user's deletion; one of the same millisecond is.
    fn cover(&self, profile: &UserProfile) -> bool {
        self.at.get(&profile.id).is_some_and(|at| profile.updated_at <= *at)
    }

    fn add(&mut self, user: &UserId, at: Timestamp) {
        if self.at.get(user).is_some_and(|known| *known >= at) {
            return;
        }
        if let Some(before) = self.at.insert(user.clone(), at) {
            self.oldest_first.remove(&(before, user.clone()));
        }
        self.oldest_first.insert((at, user.clone()));
        if self.at.len() > MAX_REMOVALS
            && let Some((_, oldest)) = self.oldest_first.pop_first()
        {
            self.at.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::UserStoreExt;
    use std::time::Duration;

    fn profile(n: usize, clock: &ManualClock) -> UserProfile {
        UserProfile::new(UserId::new(n.to_string()).unwrap(), "Ada", clock.now())
    }

    #[tokio::test]
    async fn profiles_stay_within_the_capacity() {
        let clock = ManualClock::default();
        let users = MemoryUsers::new(Arc::new(clock.clone())).with_capacity(10);
        for n in 0..25 {
            clock.advance(Duration::from_secs(1));
            assert!(users.put(&profile(n, &clock)).await.unwrap());
        }
        assert_eq!(users.stats().await.unwrap().cached, 10);
        assert!(users.get(&profile(15, &clock).id).await.unwrap().is_some());
        assert!(users.get(&profile(14, &clock).id).await.unwrap().is_none());
        clock.advance(PROFILE_TTL);
        assert_eq!(users.stats().await.unwrap().cached, 0);
        assert_eq!(users.known.read().profiles.len(), 0);
    }

    #[tokio::test]
    async fn removals_are_bounded() {
        let clock = ManualClock::default();
        let users = MemoryUsers::new(Arc::new(clock.clone()));
        for n in 0..MAX_REMOVALS + 5 {
            clock.advance(Duration::from_millis(1));
            users.remove_many(&[(profile(n, &clock).id, clock.now())]).await.unwrap();
        }
        let known = users.known.read();
        assert_eq!(
            (known.removals.at.len(), known.removals.oldest_first.len()),
            (MAX_REMOVALS, MAX_REMOVALS)
        );
    }
}
