//! Rate limits beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, Goal, Row, Stage, acting, measure};
use chat_core::domain::{ClientKey, UserId};
use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
use chat_core::store::{RateLimiter, RateLimiterExt};

/// How many users try.
const USERS: usize = 10_000;
/// So short that what is remembered of a user stays small, and so many that nobody is refused.
const FREE: Limit = Limit { max: 10_000, window: Duration::from_secs(1) };
/// Of which there is never any room.
const NONE: Limit = Limit { max: 1, window: Duration::from_secs(60 * 60) };

fn main() {
    let Some(stage) = Stage::set() else { return };
    let one: &[Rule] = &[Rule::new("messages", FREE)];
    let three = &[Rule::new("messages", FREE), Rule::new("links", FREE), Rule::new("reactions", FREE)];
    let rows = [
        check(&stage, "limits check under one rule", one),
        check(&stage, "limits check under three rules", three),
        refused(&stage),
        check_many(&stage),
    ];
    measure(&stage, &rows);
}

fn attempt(user: usize, nth: usize, rules: &[Rule]) -> Attempt {
    let user = UserId::new(format!("user{:06}", user % USERS)).unwrap();
    let mut attempt = Attempt::new(Subject::user(&user), ClientKey::new(format!("{nth:012}")).unwrap());
    attempt.rules = rules.to_vec();
    attempt
}

fn check(stage: &Stage, name: &str, rules: &[Rule]) -> Row {
    let rules: Arc<[Rule]> = rules.into();
    let limits = Arc::clone(&stage.redis.limits);
    let ours: Act = acting(move |_, nth| {
        let (limits, rules) = (Arc::clone(&limits), Arc::clone(&rules));
        async move { assert!(limits.check(&attempt(nth, nth, &rules)).await.unwrap().is_allowed()) }
    });
    let mut row = stage.row(name, Arc::clone(&ours));
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}

fn refused(stage: &Stage) -> Row {
    let limits = Arc::clone(&stage.redis.limits);
    let rules: Arc<[Rule]> = [Rule::new("slow", NONE)].into();
    let taken = attempt(1, 0, &rules);
    assert!(stage.prepare(async { limits.check(&taken).await.unwrap() }).is_allowed());
    let ours: Act = acting(move |_, nth| {
        let (limits, rules) = (Arc::clone(&limits), Arc::clone(&rules));
        async move { assert!(!limits.check(&attempt(1, 1 + nth, &rules)).await.unwrap().is_allowed()) }
    });
    let mut row = stage.row("limits refused", Arc::clone(&ours));
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}

fn check_many(stage: &Stage) -> Row {
    const BATCH: usize = 128;
    let limits = Arc::clone(&stage.redis.limits);
    let rules: Arc<[Rule]> = [Rule::new("messages", FREE)].into();
    let ours = acting(move |_, nth| {
        let (limits, rules) = (Arc::clone(&limits), Arc::clone(&rules));
        async move {
            let attempts: Vec<_> = (0..BATCH).map(|user| attempt(user, nth, &rules)).collect();
            assert_eq!(limits.check_many(&attempts).await.unwrap().len(), BATCH);
        }
    });
    let mut row = stage.row("limits check 128 users", ours);
    row.elements = BATCH as u64;
    row
}
