//! What is tried again, when, how often, and what is said in the end.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{ClockExt, ManualClock};
use chat_core::error::{Code, Effect, Error};
use chat_core::layer::{Breaker, BreakerOptions, Operation, Policy, Retry, RetryOptions, Stack};
use chat_testkit::played::played;
use futures::FutureExt;

use super::script::{ALREADY, ONCE, Play, READ, Script, WRITE, away, lost};

const MILLI: Duration = Duration::from_millis(1);

fn retry(options: RetryOptions) -> (Retry, ManualClock) {
    let clock = ManualClock::default();
    (Retry::new("test", options, Arc::new(clock.clone())).seeded(7), clock)
}

/// How many attempts a call has whose attempts all go like this.
async fn attempts(operation: Operation, play: fn() -> Play) -> (usize, Error) {
    let (retry, clock) = retry(RetryOptions::default());
    let script = Script::new(&clock, |_| play());
    let error = played(&clock, script.run(&retry, operation)).await.0.unwrap_err();
    (script.attempts(), error)
}

#[tokio::test]
async fn only_outages_are_tried_again_and_only_where_it_cannot_harm() {
    for operation in [READ, WRITE, ALREADY, ONCE] {
        assert_eq!(attempts(operation, away).await.0, 3, "nothing happened: {operation:?}");
        for code in [Code::Forbidden, Code::Conflict, Code::UserInvalid, Code::DataCorrupt, Code::Internal] {
            let (retry, clock) = retry(RetryOptions::default());
            let script = Script::new(&clock, |_| Play::Fail(code.into()));
            assert_eq!(script.run(&retry, operation).await.unwrap_err().code(), code);
            assert_eq!(script.attempts(), 1, "{code} {operation:?}");
        }
        assert_eq!(attempts(operation, || Play::Fail(Code::QueueFull.into())).await.0, 1, "backpressure");
        assert_eq!(attempts(operation, || Play::Fail(Code::RateLimited.into())).await.0, 1);
    }
    assert_eq!(attempts(WRITE, lost).await.0, 3);
    assert_eq!(attempts(ALREADY, lost).await.0, 3);
    let (made, error) = attempts(ONCE, lost).await;
    assert_eq!((made, error.code(), error.effect()), (1, Code::Timeout, Effect::Unknown), "handed out once");
}

#[tokio::test]
async fn the_first_good_answer_ends_it() {
    let (retry, clock) = retry(RetryOptions::default());
    let script = Script::new(&clock, |nth| if nth < 2 { lost() } else { Play::Fine });
    assert_eq!(played(&clock, script.run(&retry, WRITE)).await.0.unwrap(), 2);
    let fine = Script::new(&clock, |_| Play::Fine);
    let (outcome, took) = played(&clock, fine.run(&retry, WRITE)).await;
    assert_eq!((outcome.unwrap(), took), (0, Duration::ZERO));
}

#[tokio::test]
async fn whatever_may_have_held_is_said_in_the_end() {
    let (retry, clock) = retry(RetryOptions::default());
    // The first attempt may have been what the second one met.
    let script = Script::new(&clock, |nth| if nth == 0 { lost() } else { Play::Fail(Code::Conflict.into()) });
    let error = played(&clock, script.run(&retry, WRITE)).await.0.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Conflict, Effect::Unknown));
    assert_eq!(error.detail("attempts"), Some("2"));
    let script = Script::new(&clock, |nth| if nth == 0 { lost() } else { away() });
    assert_eq!(played(&clock, script.run(&retry, ALREADY)).await.0.unwrap_err().effect(), Effect::Unknown);
    let script = Script::new(&clock, |nth| if nth == 0 { away() } else { lost() });
    assert_eq!(played(&clock, script.run(&retry, ONCE)).await.0.unwrap_err().effect(), Effect::Unknown);
    assert_eq!(script.attempts(), 2, "the first one surely did not happen");
    let script = Script::new(&clock, |_| away());
    assert_eq!(played(&clock, script.run(&retry, WRITE)).await.0.unwrap_err().effect(), Effect::None);
}

#[tokio::test]
async fn pauses_are_by_chance_below_a_bound_that_doubles() {
    let options = RetryOptions {
        attempts: 8,
        pause: 100 * MILLI,
        longest_pause: 1_000 * MILLI,
        deadline: Duration::from_secs(600),
        saved: u32::MAX,
        ..RetryOptions::default()
    };
    let bounds = [100, 200, 400, 800, 1_000, 1_000, 1_000].map(|bound| bound * MILLI);
    let pauses = |seed| async move {
        let clock = ManualClock::default();
        let retry = Retry::new("test", options, Arc::new(clock.clone())).seeded(seed);
        let mut all = Vec::new();
        for _ in 0..50 {
            let script = Script::new(&clock, |_| away());
            played(&clock, script.run(&retry, READ)).await.0.unwrap_err();
            all.push(script.pauses());
        }
        all
    };
    let all = pauses(7).await;
    for (nth, bound) in bounds.into_iter().enumerate() {
        let nths: Vec<Duration> = all.iter().map(|pauses| pauses[nth]).collect();
        let (least, most) = (nths.iter().min().unwrap(), nths.iter().max().unwrap());
        // Pauses are rounded up to what the clock can tell.
        assert!(*most <= bound && *most > bound.mul_f64(0.85), "{nth}: {most:?} of {bound:?}");
        assert!(*least < bound.mul_f64(0.15), "from nothing on: {least:?} of {bound:?}");
    }
    assert_eq!(all, pauses(7).await, "a seed repeats them");
    assert_ne!(all, pauses(8).await);
}

#[tokio::test]
async fn all_attempts_together_end_at_the_deadline() {
    let options = RetryOptions {
        attempts: 1_000,
        deadline: Duration::from_secs(2),
        saved: u32::MAX,
        ..RetryOptions::default()
    };
    for slow in [Duration::from_millis(1), Duration::from_millis(700), Duration::from_secs(3_600)] {
        let (retry, clock) = retry(options);
        let attempt = || async {
            clock.sleep(slow).await;
            Err::<(), _>(Error::new(Code::Unavailable))
        };
        let (outcome, took) = played(&clock, retry.run(WRITE.into(), &attempt)).await;
        assert!(took <= options.deadline, "{slow:?}: {took:?}");
        if slow > options.deadline {
            let error = outcome.unwrap_err();
            assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown), "nobody knows");
            assert_eq!(took, options.deadline);
        }
    }
}

#[tokio::test]
async fn nobody_comes_back_before_the_time_that_was_said() {
    let (retry, clock) = retry(RetryOptions::default());
    let busy = |after| move |_| Play::Fail(Error::new(Code::RateLimited).retry_in(after));
    let script = Script::new(&clock, busy(Duration::from_secs(4)));
    let (outcome, took) = played(&clock, script.run(&retry, READ)).await;
    assert_eq!((outcome.unwrap_err().code(), script.attempts()), (Code::RateLimited, 3));
    assert_eq!(took, Duration::from_secs(8));
    let script = Script::new(&clock, busy(Duration::from_secs(11)));
    let (_, took) = played(&clock, script.run(&retry, READ)).await;
    assert_eq!((script.attempts(), took), (1, Duration::ZERO), "that would be after the deadline");
}

#[tokio::test]
async fn what_an_open_breaker_refuses_fails_at_once() {
    let clock = ManualClock::default();
    let shared = || Arc::new(clock.clone());
    let breaker = Breaker::new("test", BreakerOptions { failures: 1, ..BreakerOptions::default() }, shared());
    let options = RetryOptions { share: 0.0, ..RetryOptions::default() };
    let both = Stack(Retry::new("test", options, shared()), breaker);
    let script = Script::new(&clock, |_| away());
    let (outcome, took) = played(&clock, script.run(&both, READ)).await;
    let error = outcome.unwrap_err();
    assert_eq!((script.attempts(), error.detail("attempts")), (1, Some("2")), "the second one was refused");
    assert!(took <= 50 * MILLI);
    for _ in 0..100 {
        let error = script.run(&both, READ).now_or_never().unwrap().unwrap_err();
        assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
        assert!(error.retry_after().unwrap() > Duration::from_secs(20));
    }
    assert_eq!((script.attempts(), both.0.budget()), (1, 99), "refusals cost nothing");
}

#[tokio::test]
async fn retries_never_multiply_an_outage() {
    let options = RetryOptions { attempts: 10, pause: Duration::ZERO, saved: 30, ..RetryOptions::default() };
    let (retry, clock) = retry(options);
    let script = Script::new(&clock, |_| away());
    for _ in 0..1_000 {
        script.run(&retry, READ).await.unwrap_err();
    }
    let retries = script.attempts() - 1_000;
    assert!((100..=130).contains(&retries), "a tenth, and what was saved: {retries}");
    assert_eq!(retry.budget(), 0);
    let fine = Script::new(&clock, |_| Play::Fine);
    for _ in 0..10_000 {
        fine.run(&retry, READ).await.unwrap();
    }
    assert_eq!(retry.budget(), 30, "no more than can be saved");
    let none =
        Retry::new("test", RetryOptions { share: f64::NAN, saved: 0, ..options }, Arc::new(clock.clone()));
    let script = Script::new(&clock, |_| away());
    script.run(&none, READ).await.unwrap_err();
    assert_eq!(script.attempts(), 1);
}

#[tokio::test]
async fn whoever_stops_waiting_stops_trying() {
    let (retry, clock) = retry(RetryOptions::default());
    let script = Script::new(&clock, |_| away());
    for waited in 1..=20 {
        assert!(script.run(&retry, READ).now_or_never().is_none(), "it pauses");
        clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
        assert_eq!(script.attempts(), waited);
    }
}
