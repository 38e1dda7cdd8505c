//! Nobody waits for ever.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::error::{Code, Effect};
use chat_core::layer::{Call, Timeout, TimeoutOptions};
use chat_testkit::played::played;

use super::script::{ONCE, Play, READ, Script, WRITE};

const OPTIONS: TimeoutOptions =
    TimeoutOptions { read: Duration::from_millis(300), write: Duration::from_millis(500) };

#[tokio::test]
async fn what_hangs_ends_at_its_deadline_and_says_what_may_have_changed() {
    let clock = ManualClock::default();
    let timeout = Timeout::new(OPTIONS, Arc::new(clock.clone()));
    for (operation, time, effect) in [
        (READ, OPTIONS.read, Effect::None),
        (WRITE, OPTIONS.write, Effect::Unknown),
        (ONCE, OPTIONS.write, Effect::Unknown),
    ] {
        let hung = Script::new(&clock, |_| Play::Hang);
        let (outcome, took) = played(&clock, hung.run(&timeout, operation)).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.code(), error.effect(), took), (Code::Timeout, effect, time), "{operation:?}");
        assert_eq!(error.operation(), Some(operation.name));
    }
}

#[tokio::test]
async fn what_is_done_in_time_is_let_through_as_it_is() {
    let clock = ManualClock::default();
    let timeout = Timeout::new(OPTIONS, Arc::new(clock.clone()));
    let just_in_time = Script::new(&clock, |_| Play::After(OPTIONS.read - Duration::from_millis(1)));
    assert!(played(&clock, just_in_time.run(&timeout, READ)).await.0.is_ok());
    let refused = Script::new(&clock, |_| Play::Fail(Code::UserInvalid.into()));
    let error = refused.run(&timeout, WRITE).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::UserInvalid, Effect::None));
}

#[tokio::test]
async fn what_was_told_to_wait_may_wait() {
    let clock = ManualClock::default();
    let timeout = Timeout::new(OPTIONS, Arc::new(clock.clone()));
    let waits = Duration::from_secs(20);
    let waiting = Call { operation: READ, waits };
    let patient = Script::new(&clock, |_| Play::After(waits));
    assert!(played(&clock, patient.run(&timeout, waiting)).await.0.is_ok());
    let hung = Script::new(&clock, |_| Play::Hang);
    let (outcome, took) = played(&clock, hung.run(&timeout, waiting)).await;
    assert_eq!((outcome.unwrap_err().code(), took), (Code::Timeout, waits + OPTIONS.read));
}
