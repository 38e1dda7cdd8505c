//! Rate limits of ten thousand users.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, acting};
use chat_core::domain::ClientKey;
use chat_core::memory::MemoryRateLimiter;
use chat_core::store::RateLimiter;
use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
use chat_testkit::sample;

use crate::field::{Field, MANY};

/// So short that what is remembered of a user stays small, and so many that nobody is refused.
const FREE: Limit = Limit { max: 10_000, window: Duration::from_millis(100) };

pub(crate) fn rows(field: &mut Field) {
    let one: &[Rule] = &[Rule::new("messages", FREE)];
    let three = &[Rule::new("messages", FREE), Rule::new("links", FREE), Rule::new("reactions", FREE)];
    field.row("limits check under one rule", 1, |_, memory| checking(memory.limits, one, 1));
    field.row("limits check under three rules", 1, |_, memory| checking(memory.limits, three, 1));
    field.row("limits check of 128 users", 128, |_, memory| checking(memory.limits, one, 128));
}

/// The attempts are made here, and so count among what is allocated: each has a name of its own.
fn checking(limits: Arc<MemoryRateLimiter>, rules: &[Rule], count: usize) -> Act {
    let subjects: Arc<Vec<_>> =
        Arc::new((0..MANY).map(|nth| Subject::user(&sample::user(&format!("user{nth:06}")))).collect());
    let rules: Arc<[Rule]> = rules.into();
    acting(move |task, nth| {
        let (limits, subjects, rules) = (Arc::clone(&limits), Arc::clone(&subjects), Arc::clone(&rules));
        async move {
            let attempt = |of: usize| Attempt {
                subject: subjects[(nth * count + of) % MANY].clone(),
                op: ClientKey::new(format!("{task}-{nth}")).unwrap(),
                rules: rules.to_vec(),
            };
            let attempts: Vec<_> = (0..count).map(attempt).collect();
            assert!(limits.check_many(&attempts).await.unwrap().iter().all(|decision| decision.is_allowed()));
        }
    })
}
