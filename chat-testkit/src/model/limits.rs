//! The model of the `limits` port: per subject and rule a list of what counts, looked through from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::store::RateLimiter;
use chat_core::store::limits::{Attempt, Decision, Limit, Rule, Subject};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, Tick, one_of, play_histories, same, tick};
use crate::Offer;
use crate::sample::{key, room, user};

const SUBJECTS: usize = 3;
const RULES: usize = 4;
const OPS: usize = 5;
const SECOND: Duration = Duration::from_secs(1);
const WINDOWS: [Duration; 3] = [SECOND, Duration::from_secs(10), Duration::from_secs(30)];
const BORDERS: &[Duration] = &WINDOWS;

#[derive(Debug, Clone)]
struct Try {
    subject: usize,
    op: usize,
    rules: BTreeMap<usize, Limit>,
}

#[derive(Debug, Clone)]
enum Operation {
    Check(Vec<Try>),
    Time(Tick),
}

fn subject(nth: usize) -> Subject {
    match nth {
        0 => Subject::user(&user("ann")),
        1 => Subject::user(&user("ann:a")),
        _ => Subject::new("session", "ann").expect("a subject"),
    }
}

fn rule(nth: usize, limit: Limit) -> Rule {
    match nth {
        0 => Rule::new("a", limit),
        1 => Rule::new("a", limit).within(&room("x")),
        2 => Rule::new("a", limit).within(&room("x:a")),
        _ => Rule::new("a.x", limit),
    }
}

/// Mostly the limit a rule always has.
fn limit(rule: usize) -> impl Strategy<Value = Limit> {
    let usual = Limit::new(rule as u32 + 1, WINDOWS[rule % WINDOWS.len()]);
    let other = (0_u32..5, select(&WINDOWS[..])).prop_map(|(max, window)| Limit { max, window });
    prop_oneof![4 => Just(usual), 1 => other]
}

fn operation() -> impl Strategy<Value = Operation> {
    let rules = vec(one_of(RULES).prop_flat_map(|rule| (Just(rule), limit(rule))), 0..4)
        .prop_map(BTreeMap::from_iter);
    let tries =
        (one_of(SUBJECTS), one_of(OPS), rules).prop_map(|(subject, op, rules)| Try { subject, op, rules });
    prop_oneof![
        5 => vec(tries, 1..4).prop_map(Operation::Check),
        2 => tick(Duration::from_secs(35), BORDERS).prop_map(Operation::Time),
    ]
}

/// What an attempt is known by: its name and the rules it stood under.
type Known = (usize, BTreeSet<usize>);

#[derive(Debug, Default)]
struct Window {
    length: Duration,
    admitted: Vec<(Timestamp, Known)>,
}

impl Window {
    fn look(&mut self, length: Duration, now: Timestamp) {
        for (at, _) in &mut self.admitted {
            *at = now.min(*at);
        }
        let shorter = if self.admitted.is_empty() { length } else { length.min(self.length) };
        self.admitted.retain(|(at, _)| at.after(shorter) > now);
        self.length = length;
    }

    /// How long until one more fits, and `None` if never.
    fn wait(&self, limit: Limit, now: Timestamp) -> Option<Duration> {
        let fits_at = |at: Timestamp| {
            self.admitted.iter().filter(|(admitted, _)| admitted.after(limit.window) > at).count()
                < limit.max as usize
        };
        let moments = self.admitted.iter().map(|(at, _)| at.after(limit.window)).chain([now]);
        moments.filter(|at| *at >= now && fits_at(*at)).min().map(|at| at.since(now))
    }
}

struct Game {
    limits: Arc<dyn RateLimiter>,
    clock: ManualClock,
    windows: BTreeMap<(usize, usize), Window>,
}

impl Game {
    async fn step(&mut self, operation: &Operation) -> Agreement {
        match operation {
            Operation::Time(tick) => tick.apply(&self.clock),
            Operation::Check(tries) => {
                let attempts: Vec<Attempt> = tries.iter().map(named).collect();
                let expected: Vec<Decision> = tries.iter().map(|one| self.decide(one)).collect();
                let found = self.limits.check_many(&attempts).await.unwrap();
                same(operation, &found, &expected)?;
            }
        }
        Ok(())
    }

    fn decide(&mut self, one: &Try) -> Decision {
        let now = self.clock.now();
        let known: Known = (one.op, one.rules.keys().copied().collect());
        let mut is_known = false;
        let mut refused: Option<(usize, Option<Duration>)> = None;
        for (nth, limit) in &one.rules {
            let window = self.windows.entry((one.subject, *nth)).or_default();
            window.look(limit.window, now);
            is_known |= window.admitted.iter().any(|(_, admitted)| *admitted == known);
            let wait = window.wait(*limit, now);
            let lasts = |wait: Option<Duration>| wait.unwrap_or(Duration::MAX);
            if wait != Some(Duration::ZERO) && refused.is_none_or(|(_, longest)| lasts(wait) > lasts(longest))
            {
                refused = Some((*nth, wait));
            }
        }
        if let (false, Some((nth, retry_after))) = (is_known, refused) {
            return Decision::Deny { rule: rule(nth, one.rules[&nth]).key, retry_after };
        }
        let mut remaining = u32::MAX;
        for (nth, limit) in &one.rules {
            let window = self.windows.entry((one.subject, *nth)).or_default();
            if !is_known {
                window.admitted.push((now, known.clone()));
            }
            remaining = remaining.min(limit.max.saturating_sub(window.admitted.len() as u32));
        }
        Decision::Allow { remaining }
    }
}

fn named(one: &Try) -> Attempt {
    let attempt = Attempt::new(subject(one.subject), key(&one.op.to_string()));
    one.rules.iter().fold(attempt, |attempt, (nth, limit)| attempt.under(rule(*nth, *limit)))
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let limits = offer.limits.clone().expect("rate limits");
    let mut game = Game { limits, clock: offer.clock.clone(), windows: BTreeMap::new() };
    for operation in &history {
        game.step(operation).await?;
    }
    Ok(())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
