//! The one right order, seen from what it does.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::error::{Code, Effect};
use chat_core::layer::{
    BreakerOptions, BreakerState, Policy, Resilient, ResilientOptions, RetryOptions, TimeoutOptions,
};
use chat_testkit::played::played;
use futures::FutureExt;

use super::script::{ONCE, Play, READ, Script, WRITE, away, lost};

fn resilient(options: ResilientOptions) -> (Resilient, ManualClock) {
    let clock = ManualClock::default();
    let options = ResilientOptions { seed: Some(7), ..options };
    (Resilient::new("test", options, Arc::new(clock.clone())), clock)
}

#[tokio::test]
async fn the_breaker_counts_attempts_and_ends_their_retries() {
    let (resilient, clock) = resilient(ResilientOptions::default());
    let script = Script::new(&clock, |_| away());
    let (first, _) = played(&clock, script.run(&resilient, READ)).await;
    assert_eq!(first.unwrap_err().detail("attempts"), Some("3"));
    assert_eq!((script.attempts(), resilient.breaker().state()), (3, BreakerState::Closed));
    let (second, _) = played(&clock, script.run(&resilient, READ)).await;
    assert_eq!(second.unwrap_err().detail("breaker"), Some("test"), "the third attempt was refused");
    assert_eq!((script.attempts(), resilient.breaker().state()), (5, BreakerState::Open));
    for _ in 0..100 {
        let refused = script.run(&resilient, ONCE).now_or_never().unwrap().unwrap_err();
        assert_eq!((refused.code(), refused.effect()), (Code::Unavailable, Effect::None));
    }
    assert_eq!(script.attempts(), 5);
    clock.advance(BreakerOptions::default().rest);
    let (third, _) = played(&clock, script.run(&resilient, READ)).await;
    assert!(third.is_err());
    assert_eq!(script.attempts(), 6, "one attempt looked");
}

#[tokio::test]
async fn a_backend_that_hangs_is_away() {
    let (resilient, clock) = resilient(ResilientOptions::default());
    let script = Script::new(&clock, |_| Play::Hang);
    let (outcome, took) = played(&clock, script.run(&resilient, READ)).await;
    let error = outcome.unwrap_err();
    // Six seconds of silence opened it.
    assert_eq!((script.attempts(), resilient.breaker().state()), (2, BreakerState::Open));
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    let read = TimeoutOptions::default().read;
    assert!((2 * read..3 * read).contains(&took), "{took:?}");
    assert!(resilient.run(READ.into(), &script).now_or_never().unwrap().is_err(), "at once");
}

#[tokio::test]
async fn a_lost_write_is_tried_again_and_what_is_handed_out_once_is_not() {
    let (resilient, clock) = resilient(ResilientOptions::default());
    let replies = |nth| if nth == 0 { lost() } else { Play::Fine };
    let write = Script::new(&clock, replies);
    assert_eq!(played(&clock, write.run(&resilient, WRITE)).await.0.unwrap(), 1);
    let once = Script::new(&clock, replies);
    let error = played(&clock, once.run(&resilient, ONCE)).await.0.unwrap_err();
    assert_eq!((once.attempts(), error.code(), error.effect()), (1, Code::Timeout, Effect::Unknown));
}

#[tokio::test]
async fn clones_share_what_they_know() {
    let (resilient, clock) = resilient(ResilientOptions {
        breaker: BreakerOptions { failures: 1, ..BreakerOptions::default() },
        retry: RetryOptions { attempts: 2, pause: Duration::ZERO, ..RetryOptions::default() },
        ..ResilientOptions::default()
    });
    let script = Script::new(&clock, |_| away());
    script.run(&resilient.clone(), READ).await.unwrap_err();
    assert_eq!((resilient.breaker().state(), resilient.retry().budget()), (BreakerState::Open, 99));
    assert!(resilient.chaos().is_none(), "off by default");
}

#[tokio::test]
async fn who_goes_away_while_probing_leaves_the_probe_to_the_next() {
    let (resilient, clock) = resilient(ResilientOptions {
        breaker: BreakerOptions { failures: 1, ..BreakerOptions::default() },
        ..ResilientOptions::default()
    });
    let away = Script::new(&clock, |_| away());
    played(&clock, away.run(&resilient, READ)).await.0.unwrap_err();
    clock.advance(BreakerOptions::default().rest);
    let hung = Script::new(&clock, |_| Play::Hang);
    assert!(hung.run(&resilient, READ).now_or_never().is_none());
    let fine = Script::new(&clock, |_| Play::Fine);
    fine.run(&resilient, READ).await.unwrap();
    assert_eq!(resilient.breaker().state(), BreakerState::Closed);
}
