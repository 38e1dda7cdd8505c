//! Bugs of rate limits.

use std::collections::HashMap;

use chat_core::clock::{Clock, ManualClock};
use chat_core::error::Code;
use chat_core::store::RateLimiterExt;
use chat_core::store::limits::{Limit, Rule, RuleKey, Subject};
use parking_lot::Mutex;
use tokio::task::yield_now;

use super::*;
use crate::sample::key;

macro_rules! mutants {
    ($offer:ident: $($name:literal, $origin:literal: $bug:expr => $killed_by:literal;)*) => {
        /// Bugs of rate limits.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            name: $name,
            origin: $origin,
            killed_by: $killed_by,
            apply: |$offer| {
                let bug = $bug;
                plant!($offer, limits, bug)
            },
        },)*];
    };
}

mutants! { offer:
    "a token bucket", "GCRA with a burst: 59 messages in the first minute of 30 a minute":
        Counter::new(&offer, Count::TokenBucket) => "limits::no_window_ever_holds_more_than_the_limit";
    "a count per calendar minute", "INCR of a key that is named after the minute":
        Counter::new(&offer, Count::Calendar) => "limits::no_window_ever_holds_more_than_the_limit";
    "a refusal is charged", "ZADD before ZCARD: whoever keeps trying is locked out":
        Counter::new(&offer, Count::RefusalsToo) => "limits::what_is_refused_is_not_charged";
    "a clock set back opens", "ZCOUNT up to now: what lies in the future does not count":
        Counter::new(&offer, Count::UpToNow) => "limits::a_clock_set_back_opens_nothing";
    "ask, then note", "ZCARD, compare, ZADD in three commands":
        Counter::new(&offer, Count::AskThenNote)
            => "limits::of_racing_attempts_as_many_are_admitted_as_there_is_room_for";
    "a window lasts a millisecond too long", "ZREMRANGEBYSCORE with an exclusive border":
        WindowLastsLonger => "limits::room_comes_back_at_the_end_of_the_window_and_not_before";
    "refused by one, charged by the others", "a limiter per rule, asked one after the other":
        EachRuleForItself => "limits::what_one_rule_refuses_is_charged_to_none";
    "a retry is charged", "a limiter that knows of no operations":
        RetryIsCharged => "limits::a_repeat_is_admitted_for_nothing";
    "one name is good for every room", "an operation known by what its client calls it":
        NameIsEnough::default() => "limits::one_name_under_other_rules_is_another_attempt";
    "an outage is open", "an error handler that lets everything pass":
        OutageIsOpen => "limits::an_outage_is_never_a_decision";
}

/// How a limiter of its own counts, under the first rule only and without knowing repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    TokenBucket,
    Calendar,
    RefusalsToo,
    UpToNow,
    AskThenNote,
}

#[derive(Debug)]
struct Counter {
    clock: ManualClock,
    count: Count,
    noted: Mutex<HashMap<(Subject, RuleKey), Vec<Timestamp>>>,
}

impl Counter {
    fn new(offer: &Offer, count: Count) -> Self {
        Self { clock: offer.clock.clone(), count, noted: Mutex::default() }
    }

    fn counts(&self, noted: &[Timestamp], limit: Limit, now: Timestamp) -> usize {
        let millis = |at: Timestamp| at.as_millis();
        let window = limit.window_millis();
        match self.count {
            Count::TokenBucket => {
                // Each token taken comes back after a part of the window, one after the other.
                let part = window / u64::from(limit.max.max(1));
                let full_at = noted.iter().fold(0, |full_at, at| millis(*at).max(full_at) + part);
                full_at.saturating_sub(millis(now)).div_ceil(part.max(1)) as usize
            }
            Count::Calendar => {
                noted.iter().filter(|at| millis(**at) / window == millis(now) / window).count()
            }
            Count::UpToNow => {
                noted.iter().filter(|at| **at <= now && millis(**at) + window > millis(now)).count()
            }
            Count::RefusalsToo | Count::AskThenNote => {
                noted.iter().filter(|at| millis(**at) + window > millis(now)).count()
            }
        }
    }
}

#[async_trait]
impl LimitBug for Counter {
    async fn check_many(&self, _: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for attempt in attempts {
            attempt.check()?;
            let Some(Rule { key, limit }) = attempt.rules.first().cloned() else {
                decisions.push(Decision::Allow { remaining: u32::MAX });
                continue;
            };
            let now = self.clock.now();
            let place = (attempt.subject.clone(), key.clone());
            let noted = self.noted.lock().get(&place).cloned().unwrap_or_default();
            if self.count == Count::AskThenNote {
                yield_now().await;
            }
            let counted = self.counts(&noted, limit, now);
            let fits = counted < limit.max as usize;
            if fits || self.count == Count::RefusalsToo {
                self.noted.lock().entry(place).or_default().push(now);
            }
            decisions.push(if fits {
                Decision::Allow { remaining: limit.max - 1 - counted as u32 }
            } else {
                let oldest = noted.iter().find(|at| at.after(limit.window) > now).copied().unwrap_or(now);
                Decision::Deny { rule: key, retry_after: Some(oldest.after(limit.window).since(now)) }
            });
        }
        Ok(decisions)
    }
}

#[derive(Debug)]
struct WindowLastsLonger;

#[async_trait]
impl LimitBug for WindowLastsLonger {
    async fn check_many(&self, port: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        let mut attempts = attempts.to_vec();
        for rule in attempts.iter_mut().flat_map(|attempt| &mut attempt.rules) {
            rule.limit.window += Duration::from_millis(1);
        }
        port.check_many(&attempts).await
    }
}

#[derive(Debug)]
struct EachRuleForItself;

#[async_trait]
impl LimitBug for EachRuleForItself {
    async fn check_many(&self, port: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for attempt in attempts {
            let mut whole = Decision::Allow { remaining: u32::MAX };
            for rule in &attempt.rules {
                let one = port.check(&Attempt { rules: vec![rule.clone()], ..attempt.clone() }).await?;
                whole = match (whole, one) {
                    (Decision::Allow { remaining: a }, Decision::Allow { remaining: b }) => {
                        Decision::Allow { remaining: a.min(b) }
                    }
                    (Decision::Allow { .. }, denied) => denied,
                    (denied, _) => denied,
                };
            }
            decisions.push(whole);
        }
        Ok(decisions)
    }
}

#[derive(Debug)]
struct RetryIsCharged;

#[async_trait]
impl LimitBug for RetryIsCharged {
    async fn check_many(&self, port: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        let mut attempts = attempts.to_vec();
        for attempt in &mut attempts {
            attempt.op = key(&format!("{:032x}", rand::random::<u128>()));
        }
        port.check_many(&attempts).await
    }
}

#[derive(Debug, Default)]
struct NameIsEnough {
    admitted: Mutex<HashMap<(Subject, ClientKey), Decision>>,
}

#[async_trait]
impl LimitBug for NameIsEnough {
    async fn check_many(&self, port: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for attempt in attempts {
            let name = (attempt.subject.clone(), attempt.op.clone());
            let before = self.admitted.lock().get(&name).cloned();
            let decision = match before {
                Some(decision) => decision,
                None => port.check(attempt).await?,
            };
            if decision.is_allowed() {
                self.admitted.lock().insert(name, decision.clone());
            }
            decisions.push(decision);
        }
        Ok(decisions)
    }
}

#[derive(Debug)]
struct OutageIsOpen;

#[async_trait]
impl LimitBug for OutageIsOpen {
    async fn check_many(&self, port: &dyn RateLimiter, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        match port.check_many(attempts).await {
            Err(error) if error.code() == Code::Unavailable => {
                Ok(vec![Decision::Allow { remaining: 0 }; attempts.len()])
            }
            outcome => outcome,
        }
    }
}
