//! [`RateLimiter`] in memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::store::RateLimiter;
use crate::store::limits::{Attempt, Decision, Limit, Rule, RuleKey, Subject};

/// Below this many subjects, and rules of one subject, there is nothing to gain by tidying up.
const TIDY_SUBJECTS: usize = 1_024;
const TIDY_RULES: usize = 32;

/// Exact sliding windows in this process; a restart forgets them.
///
/// What counts takes some 60 bytes for each admission. Subjects and rules that nothing counts for are dropped whenever their
/// number has doubled.
pub struct MemoryRateLimiter {
    clock: Arc<dyn Clock>,
    subjects: DashMap<Subject, Windows>,
    tidy_at: AtomicUsize,
}

impl MemoryRateLimiter {
    /// Nothing was admitted yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, subjects: DashMap::new(), tidy_at: AtomicUsize::new(TIDY_SUBJECTS) }
    }

    fn decide(&self, attempt: &Attempt) -> Decision {
        if !self.subjects.contains_key(&attempt.subject) {
            self.tidy();
        }
        let mut windows = self.subjects.entry(attempt.subject.clone()).or_default();
        // Within the lock, so that time does not run backwards from one attempt to the next.
        let decision = windows.decide(attempt, self.clock.now());
        drop(windows);
        if !decision.is_allowed() || attempt.rules.is_empty() {
            self.subjects.remove_if(&attempt.subject, |_, windows| windows.rules.is_empty());
        }
        decision
    }

    fn tidy(&self) {
        if self.subjects.len() < self.tidy_at.load(Ordering::Relaxed) {
            return;
        }
        let now = self.clock.now();
        self.subjects.retain(|_, windows| {
            windows.tidy(now);
            !windows.rules.is_empty()
        });
        self.tidy_at.store((self.subjects.len() * 2).max(TIDY_SUBJECTS), Ordering::Relaxed);
    }
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter").field("subjects", &self.subjects.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn check_many(&self, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        attempts.iter().try_for_each(Attempt::check)?;
        Ok(attempts.iter().map(|attempt| self.decide(attempt)).collect())
    }
}

/// What counts for one subject.
#[derive(Default)]
struct Windows {
    rules: HashMap<RuleKey, Window>,
    tidy_at: usize,
}

impl Windows {
    fn decide(&mut self, attempt: &Attempt, now: Timestamp) -> Decision {
        for rule in &attempt.rules {
            if let Some(window) = self.rules.get_mut(&rule.key) {
                window.look(rule.limit.window_millis(), now);
                if window.admitted.is_empty() {
                    self.rules.remove(&rule.key);
                }
            }
        }
        let token = attempt.token();
        let known =
            |rule: &Rule| self.rules.get(&rule.key).is_some_and(|window| window.tokens.contains(&token));
        if !attempt.rules.iter().any(known) {
            if let Some(refused) = self.refused(attempt, now) {
                return refused;
            }
            for rule in &attempt.rules {
                self.admit(rule, token, now);
            }
        }
        let remaining = attempt.rules.iter().map(|rule| rule.limit.max.saturating_sub(self.count(rule)));
        Decision::Allow { remaining: remaining.min().unwrap_or(u32::MAX) }
    }

    fn count(&self, rule: &Rule) -> u32 {
        let count = self.rules.get(&rule.key).map_or(0, |window| window.admitted.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The refusal that lasts longest, if there is one; one that lasts for ever comes first.
    fn refused(&self, attempt: &Attempt, now: Timestamp) -> Option<Decision> {
        let mut longest: Option<(&RuleKey, Option<Duration>)> = None;
        for rule in attempt.rules.iter().filter(|rule| self.count(rule) >= rule.limit.max) {
            let wait = self.rules.get(&rule.key).and_then(|window| window.wait(rule.limit, now));
            let wait = wait.filter(|_| rule.limit.max > 0);
            let is_longer = longest.is_none_or(|(_, longest)| match (wait, longest) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(wait), Some(longest)) => wait > longest,
            });
            if is_longer {
                longest = Some((&rule.key, wait));
            }
        }
        longest.map(|(rule, retry_after)| Decision::Deny { rule: rule.clone(), retry_after })
    }

    fn admit(&mut self, rule: &Rule, token: Uuid, now: Timestamp) {
        if !self.rules.contains_key(&rule.key) && self.rules.len() >= self.tidy_at.max(TIDY_RULES) {
            self.tidy(now);
            self.tidy_at = self.rules.len() * 2;
        }
        let window = self.rules.entry(rule.key.clone()).or_default();
        window.length = rule.limit.window_millis();
        window.admitted.push_back((now, token));
        window.tokens.insert(token);
    }

    fn tidy(&mut self, now: Timestamp) {
        self.rules.retain(|_, window| window.counts_at(now));
    }
}

/// What counts for one rule: never empty between two attempts.
#[derive(Default)]
struct Window {
    /// In milliseconds, as last asked.
    length: u64,
    /// Oldest first.
    admitted: VecDeque<(Timestamp, Uuid)>,
    tokens: HashSet<Uuid>,
}

impl Window {
    /// Forgets what is outside of this window or of the one before.
    fn look(&mut self, length: u64, now: Timestamp) {
        for later in self.admitted.iter_mut().rev().take_while(|admission| admission.0 > now) {
            later.0 = now;
        }
        let shorter = self.length.min(length);
        while let Some((at, token)) = self.admitted.front()
            && now.as_millis() - at.as_millis() >= shorter
        {
            self.tokens.remove(token);
            self.admitted.pop_front();
        }
        self.length = length;
    }

    /// After how long one more fits.
    fn wait(&self, limit: Limit, now: Timestamp) -> Option<Duration> {
        let too_many = self.admitted.len().checked_sub(limit.max as usize)?;
        let (last_to_leave, _) = self.admitted.get(too_many)?;
        let room = last_to_leave.as_millis() + limit.window_millis();
        Some(Duration::from_millis(room.saturating_sub(now.as_millis())))
    }

    fn counts_at(&self, now: Timestamp) -> bool {
        self.admitted.back().is_some_and(|(at, _)| now.as_millis() < at.as_millis() + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::{ClientKey, RoomId};
    use crate::store::RateLimiterExt;

    fn attempt(subject: usize, rule: Rule) -> Attempt {
        let subject = Subject::new("ip", &subject.to_string()).unwrap();
        Attempt::new(subject, ClientKey::from_uuid(Uuid::new_v4())).under(rule)
    }

    #[tokio::test]
    async fn what_nothing_counts_for_takes_no_room() {
        let clock = ManualClock::default();
        let limiter = MemoryRateLimiter::new(Arc::new(clock.clone()));
        let rule = || Rule::new("r", Limit::per_minute(3));
        for n in 0..TIDY_SUBJECTS * 4 {
            assert!(limiter.check(&attempt(n, rule())).await.unwrap().is_allowed());
            clock.advance(Duration::from_secs(1));
        }
        assert!(limiter.subjects.len() <= TIDY_SUBJECTS);
        for n in 0..TIDY_RULES * 40 {
            let room = RoomId::new(n.to_string()).unwrap();
            assert!(limiter.check(&attempt(0, rule().within(&room))).await.unwrap().is_allowed());
            clock.advance(Duration::from_secs(10));
        }
        let one = Subject::new("ip", "0").unwrap();
        assert!(limiter.subjects.get(&one).unwrap().rules.len() <= TIDY_RULES);
        for n in 0..10 {
            let refused = attempt(usize::MAX - n, Rule::new("r", Limit::per_minute(0)));
            assert!(!limiter.check(&refused).await.unwrap().is_allowed());
            assert!(!limiter.subjects.contains_key(&refused.subject), "a refusal is not remembered");
        }
    }

    #[tokio::test]
    async fn a_window_holds_as_many_as_its_limit_and_no_more() {
        let clock = ManualClock::default();
        let limiter = MemoryRateLimiter::new(Arc::new(clock.clone()));
        for _ in 0..10_000 {
            limiter.check(&attempt(1, Rule::new("r", Limit::per_minute(20)))).await.unwrap();
            clock.advance(Duration::from_millis(100));
            let windows = limiter.subjects.get(&Subject::new("ip", "1").unwrap()).unwrap();
            let window = windows.rules.values().next().unwrap();
            assert!(window.admitted.len() <= 20 && window.tokens.len() == window.admitted.len());
        }
    }
}
