//! Promises of the `limits` port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::{ClientKey, UserId};
use chat_core::error::Code;
use chat_core::store::limits::{
    Attempt, Decision, Limit, MAX_ADMITTED, MAX_RULES, MAX_WINDOW, Rule, Subject,
};
use chat_core::store::{RateLimiter, RateLimiterExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::model::limits::agrees_with_the_model_on_random_histories;
use crate::run::checks;
use crate::sample::{conversation, hostile_ids, key, room, session, user};

checks! { "limits" needs [limits]:
    as_many_are_admitted_as_the_limit_says,
    room_comes_back_at_the_end_of_the_window_and_not_before,
    no_window_ever_holds_more_than_the_limit,
    the_wait_that_is_named_is_exact,
    the_wait_under_several_rules_is_exact,
    the_rule_that_lasts_longest_is_named,
    what_one_rule_refuses_is_charged_to_none,
    what_is_refused_is_not_charged,
    a_repeat_is_admitted_for_nothing,
    a_repeat_lasts_no_longer_than_the_first,
    a_repeat_is_known_while_one_rule_counts_it,
    a_refused_attempt_is_not_remembered,
    one_name_under_other_rules_is_another_attempt,
    a_limit_of_zero_admits_nothing,
    no_rule_limits_nothing,
    another_maximum_holds_at_once,
    a_shorter_window_forgets_at_once,
    a_longer_window_counts_what_is_left,
    slow_mode_is_one_at_a_time,
    a_fraction_of_a_millisecond_counts_as_one,
    the_largest_limit_is_kept_exactly,
    of_racing_attempts_as_many_are_admitted_as_there_is_room_for,
    racing_attempts_under_several_rules_are_charged_whole,
    racing_repeats_are_charged_once,
    a_clock_set_back_opens_nothing,
    a_clock_set_back_holds_nobody_longer_than_the_window,
    a_batch_is_decided_in_order,
    an_empty_batch_is_an_empty_answer,
    what_is_not_a_limit_decides_nothing,
    subjects_and_rules_share_nothing,
    hostile_ids_reach_nobody_else,
    an_outage_is_never_a_decision + outage,
    agrees_with_the_model_on_random_histories,
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn limits(offer: &Offer) -> Arc<dyn RateLimiter> {
    offer.limits.clone().expect("rate limits")
}

/// An attempt of its own, never a repeat.
fn attempt(who: &str) -> Attempt {
    Attempt::new(Subject::user(&user(who)), key(&format!("o{:032x}", rand::random::<u128>())))
}

fn rule(max: u32, window: Duration) -> Rule {
    Rule::new("r", Limit { max, window })
}

fn called(name: &'static str, max: u32, window: Duration) -> Rule {
    Rule::new(name, Limit { max, window })
}

/// Somebody tries something new under one rule.
async fn one(limits: &dyn RateLimiter, who: &str, rule: &Rule) -> Decision {
    limits.check(&attempt(who).under(rule.clone())).await.unwrap()
}

/// How many more are admitted right now.
async fn room_for(limits: &dyn RateLimiter, who: &str, rule: &Rule) -> usize {
    let mut admitted = 0;
    while one(limits, who, rule).await.is_allowed() {
        admitted += 1;
        assert!(admitted <= rule.limit.max, "there is no end to it");
    }
    admitted as usize
}

fn wait(decision: &Decision) -> Duration {
    match decision {
        Decision::Deny { retry_after: Some(after), .. } => *after,
        other => panic!("a refusal with a wait, not {other:?}"),
    }
}

fn refused_by(decision: &Decision) -> &'static str {
    match decision {
        Decision::Deny { rule, .. } => rule.name(),
        allowed @ Decision::Allow { .. } => panic!("a refusal, not {allowed:?}"),
    }
}

async fn as_many_are_admitted_as_the_limit_says(offer: Offer) {
    let limits = limits(&offer);
    for max in [1, 2, 30] {
        let (who, rule) = (format!("u{max}"), rule(max, MINUTE));
        for nth in 1..=max {
            assert_eq!(one(&*limits, &who, &rule).await, Decision::Allow { remaining: max - nth });
        }
        for _ in 0..3 {
            let refused = one(&*limits, &who, &rule).await;
            assert_eq!(refused, Decision::Deny { rule: rule.key.clone(), retry_after: Some(MINUTE) });
        }
    }
}

async fn room_comes_back_at_the_end_of_the_window_and_not_before(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(3, MINUTE));
    for _ in 0..3 {
        assert!(one(&*limits, "ann", &rule).await.is_allowed());
        offer.clock.advance(SECOND);
    }
    offer.clock.advance(MINUTE - SECOND * 3 - MILLI);
    for _ in 0..3 {
        assert_eq!(room_for(&*limits, "ann", &rule).await, 0, "a millisecond before");
        offer.clock.advance(MILLI);
        assert_eq!(room_for(&*limits, "ann", &rule).await, 1, "at the end, one place and no more");
        offer.clock.advance(SECOND - MILLI);
    }
}

/// Whoever counts differently lets too many through somewhere: 59 in the first minute of 30 a minute, or twice as many
/// around the turn of a window.
async fn no_window_ever_holds_more_than_the_limit(offer: Offer) {
    let limits = limits(&offer);
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    for (nth, (max, window)) in [(1, SECOND), (4, SECOND), (30, MINUTE)].into_iter().enumerate() {
        let (who, rule) = (format!("u{nth}"), rule(max, window));
        let window_millis = u64::try_from(window.as_millis()).expect("a short window");
        let mut counted: VecDeque<Timestamp> = VecDeque::new();
        for _ in 0..1_500 {
            let pause = match random.random_range(0..8) {
                0..4 => 0,
                4 | 5 => random.random_range(0..=window_millis / u64::from(max)),
                6 => random.random_range(0..=window_millis),
                _ => window_millis - 1,
            };
            offer.clock.advance(Duration::from_millis(pause));
            let now = offer.clock.now();
            while counted.front().is_some_and(|at| at.after(window) <= now) {
                counted.pop_front();
            }
            let decision = one(&*limits, &who, &rule).await;
            let fits = counted.len() < max as usize;
            assert_eq!(decision.is_allowed(), fits, "{counted:?} count at {now}, seed {seed}");
            if fits {
                counted.push_back(now);
            } else {
                assert_eq!(wait(&decision), counted[0].after(window).since(now), "seed {seed}");
            }
        }
    }
}

async fn the_wait_that_is_named_is_exact(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(3, MINUTE));
    for pause in [SECOND, MILLI * 7, SECOND * 20] {
        assert!(one(&*limits, "ann", &rule).await.is_allowed());
        offer.clock.advance(pause);
    }
    for _ in 0..10 {
        let wait = wait(&one(&*limits, "ann", &rule).await);
        assert!(wait > Duration::ZERO && wait <= MINUTE, "{wait:?}");
        offer.clock.advance(wait - MILLI);
        assert_eq!(
            self::wait(&one(&*limits, "ann", &rule).await),
            MILLI,
            "after {wait:?} less a millisecond"
        );
        offer.clock.advance(MILLI);
        assert_eq!(room_for(&*limits, "ann", &rule).await, 1, "after {wait:?}");
    }
}

async fn the_wait_under_several_rules_is_exact(offer: Offer) {
    let limits = limits(&offer);
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    let rules = [called("a", 1, SECOND * 2), called("b", 3, SECOND * 10), called("c", 5, SECOND * 30)];
    let new = || rules.iter().fold(attempt("ann"), |attempt, rule| attempt.under(rule.clone()));
    for _ in 0..300 {
        offer.clock.advance(Duration::from_millis(random.random_range(0..3_000)));
        let decision = limits.check(&new()).await.unwrap();
        if decision.is_allowed() {
            continue;
        }
        let wait = wait(&decision);
        offer.clock.advance(wait - MILLI);
        assert_eq!(self::wait(&limits.check(&new()).await.unwrap()), MILLI, "seed {seed}");
        offer.clock.advance(MILLI);
        assert!(limits.check(&new()).await.unwrap().is_allowed(), "after {wait:?}, seed {seed}");
    }
}

async fn the_rule_that_lasts_longest_is_named(offer: Offer) {
    let limits = limits(&offer);
    let (short, long, never) = (called("a", 1, SECOND), called("b", 1, MINUTE), called("c", 0, SECOND));
    let under =
        |rules: &[&Rule]| rules.iter().fold(attempt("ann"), |attempt, rule| attempt.under((*rule).clone()));
    assert!(limits.check(&under(&[&short, &long])).await.unwrap().is_allowed());
    for rules in [[&short, &long], [&long, &short]] {
        let refused = limits.check(&under(&rules)).await.unwrap();
        assert_eq!((refused_by(&refused), wait(&refused)), ("b", MINUTE));
    }
    for rules in [[&long, &never], [&never, &long]] {
        let refused = limits.check(&under(&rules)).await.unwrap();
        assert_eq!(refused, Decision::Deny { rule: never.key.clone(), retry_after: None });
    }
    let alike = [called("x", 0, SECOND), called("w", 0, MINUTE)];
    let refused = limits.check(&under(&[&alike[0], &alike[1]])).await.unwrap();
    assert_eq!(refused_by(&refused), "x", "the first of those that last as long");
}

async fn what_one_rule_refuses_is_charged_to_none(offer: Offer) {
    let limits = limits(&offer);
    let (wide, tight) = (called("wide", 10, MINUTE), called("tight", 1, MINUTE));
    let both = |turned: bool| {
        let (first, second) = if turned { (&tight, &wide) } else { (&wide, &tight) };
        attempt("ann").under(first.clone()).under(second.clone())
    };
    assert_eq!(limits.check(&both(false)).await.unwrap(), Decision::Allow { remaining: 0 });
    for nth in 0..20 {
        let refused = limits.check(&both(nth % 2 == 0)).await.unwrap();
        assert_eq!(refused_by(&refused), "tight");
    }
    assert_eq!(room_for(&*limits, "ann", &wide).await, 9, "only the one that was admitted is charged");
    for _ in 0..5 {
        let refused = limits.check(&both(false)).await.unwrap();
        assert_eq!(wait(&refused), MINUTE, "{refused:?}");
    }
}

async fn what_is_refused_is_not_charged(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(2, MINUTE));
    assert_eq!(room_for(&*limits, "ann", &rule).await, 2);
    for _ in 0..59 {
        offer.clock.advance(SECOND);
        assert!(!one(&*limits, "ann", &rule).await.is_allowed());
    }
    offer.clock.advance(SECOND);
    assert_eq!(room_for(&*limits, "ann", &rule).await, 2, "whoever keeps trying is not punished for it");
}

async fn a_repeat_is_admitted_for_nothing(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(3, MINUTE));
    let first = attempt("ann").under(rule.clone());
    for _ in 0..10 {
        assert_eq!(limits.check(&first).await.unwrap(), Decision::Allow { remaining: 2 });
        offer.clock.advance(SECOND);
    }
    assert_eq!(room_for(&*limits, "ann", &rule).await, 2);
    assert_eq!(limits.check(&first).await.unwrap(), Decision::Allow { remaining: 0 }, "also when it is full");
    let another = Attempt { subject: Subject::user(&user("ben")), ..first.clone() };
    assert_eq!(limits.check(&another).await.unwrap(), Decision::Allow { remaining: 2 });
    assert_eq!(room_for(&*limits, "ben", &rule).await, 2, "another's attempt of the same name is charged");
    let lowered = Attempt { rules: vec![self::rule(1, MINUTE)], ..first };
    assert_eq!(limits.check(&lowered).await.unwrap(), Decision::Allow { remaining: 0 });
}

async fn a_repeat_lasts_no_longer_than_the_first(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(1, MINUTE));
    let first = attempt("ann").under(rule.clone());
    assert!(limits.check(&first).await.unwrap().is_allowed());
    for _ in 0..59 {
        offer.clock.advance(SECOND);
        assert!(limits.check(&first).await.unwrap().is_allowed());
    }
    assert_eq!(wait(&one(&*limits, "ann", &rule).await), SECOND);
    offer.clock.advance(SECOND);
    assert_eq!(room_for(&*limits, "ann", &rule).await, 1);
    assert!(!limits.check(&first).await.unwrap().is_allowed(), "it is forgotten with its window");
}

async fn a_repeat_is_known_while_one_rule_counts_it(offer: Offer) {
    let limits = limits(&offer);
    let (short, long) = (called("short", 1, SECOND), called("long", 2, MINUTE));
    let first = attempt("ann").under(short.clone()).under(long.clone());
    assert!(limits.check(&first).await.unwrap().is_allowed());
    offer.clock.advance(SECOND);
    assert_eq!(limits.check(&first).await.unwrap(), Decision::Allow { remaining: 1 });
    assert_eq!(
        room_for(&*limits, "ann", &short).await,
        1,
        "and is not charged again to the one that forgot it"
    );
    assert!(limits.check(&first).await.unwrap().is_allowed(), "also when that one is full");
    let turned = Attempt { rules: first.rules.iter().rev().cloned().collect(), ..first.clone() };
    assert!(limits.check(&turned).await.unwrap().is_allowed(), "the order of rules means nothing");
    offer.clock.advance(MINUTE - SECOND);
    assert_eq!(limits.check(&first).await.unwrap(), Decision::Allow { remaining: 0 });
    assert_eq!(room_for(&*limits, "ann", &long).await, 1);
}

async fn a_refused_attempt_is_not_remembered(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(1, SECOND));
    assert!(one(&*limits, "ann", &rule).await.is_allowed());
    let refused = attempt("ann").under(rule.clone());
    for _ in 0..3 {
        assert!(!limits.check(&refused).await.unwrap().is_allowed());
    }
    offer.clock.advance(SECOND);
    assert!(limits.check(&refused).await.unwrap().is_allowed());
    assert_eq!(room_for(&*limits, "ann", &rule).await, 0, "it is charged like any other");
}

/// Or one name would be good for a message in every room.
async fn one_name_under_other_rules_is_another_attempt(offer: Offer) {
    let limits = limits(&offer);
    let (all, each) = (called("messages", 3, MINUTE), called("messages", 1, MINUTE));
    let name = attempt("ann").op;
    let within = |name: &ClientKey, nth: usize| {
        let attempt = Attempt::new(Subject::user(&user("ann")), name.clone());
        attempt.under(all.clone()).under(each.clone().within(&room(&format!("r{nth}"))))
    };
    for nth in 0..3 {
        assert!(limits.check(&within(&name, nth)).await.unwrap().is_allowed());
    }
    assert!(!limits.check(&within(&name, 3)).await.unwrap().is_allowed(), "three rooms took three of three");
    assert!(limits.check(&within(&name, 0)).await.unwrap().is_allowed(), "a true repeat is still known");
}

async fn a_limit_of_zero_admits_nothing(offer: Offer) {
    let limits = limits(&offer);
    let (zero, other) = (called("zero", 0, SECOND), called("other", 1, MINUTE));
    let never = Decision::Deny { rule: zero.key.clone(), retry_after: None };
    for _ in 0..3 {
        assert_eq!(one(&*limits, "ann", &zero).await, never);
        let both = attempt("ann").under(other.clone()).under(zero.clone());
        assert_eq!(limits.check(&both).await.unwrap(), never);
        offer.clock.advance(SECOND);
    }
    assert_eq!(room_for(&*limits, "ann", &other).await, 1);
    let (full, closed) = (called("zero", 1, MINUTE), called("zero", 0, MINUTE));
    assert_eq!(room_for(&*limits, "ann", &full).await, 1);
    assert_eq!(one(&*limits, "ann", &closed).await, never, "closed while something counts");
    refused(limits.admit(&attempt("ann").under(zero)).await, Code::Forbidden);
}

async fn no_rule_limits_nothing(offer: Offer) {
    let limits = limits(&offer);
    for _ in 0..3 {
        let decision = limits.check(&attempt("ann")).await.unwrap();
        assert_eq!(decision, Decision::Allow { remaining: u32::MAX });
    }
}

async fn another_maximum_holds_at_once(offer: Offer) {
    let limits = limits(&offer);
    for _ in 0..6 {
        assert!(one(&*limits, "ann", &rule(6, MINUTE)).await.is_allowed());
        offer.clock.advance(SECOND);
    }
    // Six count, the first for 54 s more; under two, five of them have to leave.
    assert_eq!(wait(&one(&*limits, "ann", &rule(2, MINUTE)).await), SECOND * 58);
    assert_eq!(room_for(&*limits, "ann", &rule(8, MINUTE)).await, 2);
    offer.clock.advance(SECOND * 58 - MILLI);
    assert_eq!(room_for(&*limits, "ann", &rule(3, MINUTE)).await, 0);
    offer.clock.advance(MILLI);
    assert_eq!(room_for(&*limits, "ann", &rule(4, MINUTE)).await, 1);
}

async fn a_shorter_window_forgets_at_once(offer: Offer) {
    let limits = limits(&offer);
    assert_eq!(room_for(&*limits, "ann", &rule(2, MINUTE)).await, 2);
    offer.clock.advance(SECOND * 9);
    assert!(!one(&*limits, "ann", &rule(2, SECOND * 10)).await.is_allowed(), "inside the shorter one, too");
    offer.clock.advance(SECOND);
    assert_eq!(room_for(&*limits, "ann", &rule(2, SECOND * 10)).await, 2);
    offer.clock.advance(SECOND * 5);
    let again = one(&*limits, "ann", &rule(3, MINUTE)).await;
    assert_eq!(again, Decision::Allow { remaining: 0 }, "what was forgotten does not come back");
}

async fn a_longer_window_counts_what_is_left(offer: Offer) {
    let limits = limits(&offer);
    assert!(one(&*limits, "ann", &rule(2, SECOND * 10)).await.is_allowed());
    offer.clock.advance(SECOND * 5);
    assert!(one(&*limits, "ann", &rule(2, SECOND * 10)).await.is_allowed());
    offer.clock.advance(SECOND * 5);
    // The first is forgotten, the second counts for the longer window now.
    assert_eq!(room_for(&*limits, "ann", &rule(2, MINUTE)).await, 1);
    assert_eq!(wait(&one(&*limits, "ann", &rule(2, MINUTE)).await), SECOND * 55);
    // A refusal asked last: its window is what is remembered for.
    assert!(one(&*limits, "ben", &rule(1, SECOND)).await.is_allowed());
    assert_eq!(wait(&one(&*limits, "ben", &rule(1, MINUTE)).await), MINUTE);
    offer.clock.advance(SECOND * 30);
    assert_eq!(wait(&one(&*limits, "ben", &rule(1, MINUTE)).await), SECOND * 30);
}

async fn slow_mode_is_one_at_a_time(offer: Offer) {
    let limits = limits(&offer);
    for pause in [SECOND, SECOND * 30, SECOND * 300] {
        let slow = Rule::new("slow-mode", Limit::slow_mode(pause)).within(&room(&format!("{pause:?}")));
        for _ in 0..3 {
            assert_eq!(one(&*limits, "ann", &slow).await, Decision::Allow { remaining: 0 });
            assert!(one(&*limits, "ben", &slow).await.is_allowed(), "everybody waits for oneself");
            assert_eq!(wait(&one(&*limits, "ann", &slow).await), pause);
            offer.clock.advance(pause - MILLI);
            assert_eq!(wait(&one(&*limits, "ann", &slow).await), MILLI);
            offer.clock.advance(MILLI);
        }
    }
}

async fn a_fraction_of_a_millisecond_counts_as_one(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(1, MILLI + Duration::from_nanos(1)));
    assert!(one(&*limits, "ann", &rule).await.is_allowed());
    assert_eq!(wait(&one(&*limits, "ann", &rule).await), MILLI * 2);
    offer.clock.advance(MILLI);
    assert!(!one(&*limits, "ann", &rule).await.is_allowed());
    offer.clock.advance(MILLI);
    assert!(one(&*limits, "ann", &rule).await.is_allowed());
}

async fn the_largest_limit_is_kept_exactly(offer: Offer) {
    const BATCH: usize = 1_000;
    let (limits, rule) = (limits(&offer), rule(MAX_ADMITTED, MAX_WINDOW));
    for _ in 0..MAX_ADMITTED as usize / BATCH {
        let batch: Vec<Attempt> = (0..BATCH).map(|_| attempt("ann").under(rule.clone())).collect();
        assert!(limits.check_many(&batch).await.unwrap().iter().all(Decision::is_allowed));
        offer.clock.advance(SECOND);
    }
    let full = MAX_WINDOW - SECOND * (MAX_ADMITTED / BATCH as u32);
    assert_eq!(wait(&one(&*limits, "ann", &rule).await), full);
    offer.clock.advance(full);
    let batch: Vec<Attempt> = (0..=BATCH).map(|_| attempt("ann").under(rule.clone())).collect();
    let decided = limits.check_many(&batch).await.unwrap();
    assert_eq!(decided.iter().filter(|decision| decision.is_allowed()).count(), BATCH);
}

async fn of_racing_attempts_as_many_are_admitted_as_there_is_room_for(offer: Offer) {
    const RACERS: usize = 16;
    let (limits, rule) = (limits(&offer), rule(30, MINUTE));
    for round in 0..10 {
        let who = format!("u{round}");
        let admitted = at_once(RACERS, |_| {
            let (limits, who, rule) = (Arc::clone(&limits), who.clone(), rule.clone());
            async move {
                let mut admitted = 0;
                for _ in 0..5 {
                    admitted += usize::from(one(&*limits, &who, &rule).await.is_allowed());
                }
                admitted
            }
        });
        assert_eq!(admitted.await.into_iter().sum::<usize>(), 30);
    }
}

async fn racing_attempts_under_several_rules_are_charged_whole(offer: Offer) {
    const RACERS: usize = 16;
    let limits = limits(&offer);
    let (total, each) = (called("total", 20, MINUTE), called("each", 6, MINUTE));
    for round in 0..10 {
        let who = format!("u{round}");
        let admitted = at_once(RACERS, |nth| {
            let (limits, room) = (Arc::clone(&limits), room(&format!("r{}", nth % 4)));
            let mine = || attempt(&who).under(total.clone()).under(each.clone().within(&room));
            let attempts: Vec<Attempt> = (0..3).map(|_| mine()).collect();
            async move {
                let mut admitted = 0;
                for attempt in attempts {
                    admitted += usize::from(limits.check(&attempt).await.unwrap().is_allowed());
                }
                admitted
            }
        });
        assert_eq!(admitted.await.into_iter().sum::<usize>(), 20, "six in each of four rooms, twenty in all");
        let mut left = 0;
        for nth in 0..4 {
            left += room_for(&*limits, &who, &each.clone().within(&room(&format!("r{nth}")))).await;
        }
        assert_eq!(left, 4, "no room was charged for what the whole refused");
    }
}

async fn racing_repeats_are_charged_once(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(3, MINUTE));
    for round in 0..20 {
        let who = format!("u{round}");
        let same = attempt(&who).under(rule.clone());
        let decided = at_once(8, |_| {
            let (limits, same) = (Arc::clone(&limits), same.clone());
            async move { limits.check(&same).await.unwrap() }
        });
        assert_eq!(decided.await, vec![Decision::Allow { remaining: 2 }; 8]);
        assert_eq!(room_for(&*limits, &who, &rule).await, 2);
    }
}

async fn a_clock_set_back_opens_nothing(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(3, MINUTE));
    for back in [MILLI, SECOND, MINUTE, MINUTE * 2, MINUTE * 60 * 24 * 365, MINUTE * 60 * 24 * 365 * 100] {
        let who = format!("{back:?}");
        let first = attempt(&who).under(rule.clone());
        assert!(limits.check(&first).await.unwrap().is_allowed());
        offer.clock.advance(SECOND);
        assert_eq!(room_for(&*limits, &who, &rule).await, 2);
        offer.clock.set(offer.clock.now().before(back));
        assert_eq!(room_for(&*limits, &who, &rule).await, 0, "{back:?} earlier");
        assert!(limits.check(&first).await.unwrap().is_allowed(), "what was admitted is still known");
        offer.clock.advance(MINUTE - SECOND - MILLI);
        assert_eq!(room_for(&*limits, &who, &rule).await, 0, "{back:?} earlier, almost a window later");
        offer.clock.advance(SECOND + MILLI);
        assert_eq!(room_for(&*limits, &who, &rule).await, 3, "{back:?} earlier, a window later");
    }
}

async fn a_clock_set_back_holds_nobody_longer_than_the_window(offer: Offer) {
    let (limits, rule) = (limits(&offer), rule(2, MINUTE));
    assert!(one(&*limits, "ann", &rule).await.is_allowed());
    offer.clock.advance(SECOND * 30);
    assert!(one(&*limits, "ann", &rule).await.is_allowed());
    offer.clock.set(offer.clock.now().before(SECOND * 10));
    // The second counts as admitted now; the first was admitted 20 s ago, as before.
    assert_eq!(wait(&one(&*limits, "ann", &rule).await), SECOND * 40);
    offer.clock.set(offer.clock.now().before(MINUTE * 60));
    assert_eq!(wait(&one(&*limits, "ann", &rule).await), MINUTE);
    offer.clock.advance(MINUTE);
    assert_eq!(room_for(&*limits, "ann", &rule).await, 2);
}

async fn a_batch_is_decided_in_order(offer: Offer) {
    let limits = limits(&offer);
    let (one, two) = (called("a", 1, MINUTE), called("b", 2, MINUTE));
    let (first, second) = (attempt("ann").under(one.clone()), attempt("ann").under(one.clone()));
    let batch = [
        first.clone(),
        attempt("ben").under(one.clone()),
        second.clone(),
        first.clone(),
        attempt("ann").under(two.clone()).under(one.clone()),
        attempt("ann").under(two),
    ];
    let decided = limits.check_many(&batch).await.unwrap();
    let allow = |remaining| Decision::Allow { remaining };
    let deny = Decision::Deny { rule: one.key, retry_after: Some(MINUTE) };
    assert_eq!(decided, [allow(0), allow(0), deny.clone(), allow(0), deny, allow(1)]);
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    assert_eq!(limits(&offer).check_many(&[]).await.unwrap(), []);
}

async fn what_is_not_a_limit_decides_nothing(offer: Offer) {
    let (limits, fine) = (limits(&offer), rule(2, MINUTE));
    let (long, many) = ("x".repeat(65).leak(), MAX_ADMITTED + 1);
    let bad = [
        attempt("ann").under(rule(1, Duration::ZERO)),
        attempt("ann").under(rule(1, MAX_WINDOW + Duration::from_nanos(1))),
        attempt("ann").under(rule(many, MINUTE)),
        attempt("ann").under(fine.clone()).under(rule(1, SECOND)),
        attempt("ann").under(called("", 1, SECOND)),
        attempt("ann").under(called("A", 1, SECOND)),
        attempt("ann").under(called("a:b", 1, SECOND)),
        attempt("ann").under(called(long, 1, SECOND)),
        Attempt::new(Subject::new("a b", "ann").unwrap(), key("o")).under(fine.clone()),
        (0..=MAX_RULES)
            .fold(attempt("ann"), |attempt, nth| attempt.under(fine.clone().within(&room(&nth.to_string())))),
    ];
    for bad in bad {
        refused(limits.check(&bad).await, Code::RequestInvalid);
        let batch = [attempt("ann").under(fine.clone()), bad, attempt("ann").under(fine.clone())];
        refused(limits.check_many(&batch).await, Code::RequestInvalid);
    }
    assert_eq!(room_for(&*limits, "ann", &fine).await, 2);
    let many = (0..MAX_RULES)
        .fold(attempt("eve"), |attempt, nth| attempt.under(fine.clone().within(&room(&nth.to_string()))));
    assert_eq!(limits.check(&many).await.unwrap(), Decision::Allow { remaining: 1 });
}

async fn subjects_and_rules_share_nothing(offer: Offer) {
    let (limits, once) = (limits(&offer), rule(1, MINUTE));
    let subjects = [
        Subject::user(&user("x")),
        Subject::session(&session("x")),
        Subject::conversation(&conversation("x")),
        Subject::new("ip", "x").unwrap(),
        Subject::new("i", "px").unwrap(),
    ];
    for subject in &subjects {
        let rules = [
            once.clone(),
            once.clone().within(&room("x")),
            once.clone().within(&room("r")),
            called("r.x", 1, MINUTE),
            called("rx", 1, MINUTE),
        ];
        for rule in rules {
            let of = |op: &str| Attempt::new(subject.clone(), key(op)).under(rule.clone());
            assert!(limits.check(&of("same")).await.unwrap().is_allowed(), "{subject:?} {rule:?}");
            assert!(!limits.check(&of("other")).await.unwrap().is_allowed(), "{subject:?} {rule:?}");
        }
    }
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let limits = limits(&offer);
    let once = rule(1, MINUTE);
    let ids = hostile_ids();
    let named = |who: &str, place: &str, op: &str| {
        let subject = Subject::user(&UserId::new(who).unwrap());
        Attempt::new(subject, key(op)).under(once.clone().within(&room(place)))
    };
    for who in &ids {
        for place in &ids {
            let first = limits.check(&named(who, place, who)).await.unwrap();
            assert!(first.is_allowed(), "{who:?} in {place:?}");
            let second = limits.check(&named(who, place, "another")).await.unwrap();
            assert!(!second.is_allowed(), "{who:?} in {place:?}");
        }
    }
}

async fn an_outage_is_never_a_decision(offer: Offer) {
    let (limits, outage, rule) = (limits(&offer), offer.outage.clone().expect("an outage"), rule(2, MINUTE));
    let known = attempt("ann").under(rule.clone());
    assert!(limits.check(&known).await.unwrap().is_allowed());
    outage.begin();
    unavailable(limits.check(&known).await);
    unavailable(limits.check(&attempt("ann").under(rule.clone())).await);
    unavailable(limits.check(&attempt("ann").under(self::rule(0, MINUTE))).await);
    outage.end();
    assert_eq!(limits.check(&known).await.unwrap(), Decision::Allow { remaining: 1 });
    assert_eq!(room_for(&*limits, "ann", &rule).await, 1, "nothing was charged meanwhile");
}
