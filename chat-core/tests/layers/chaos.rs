//! What breaks on purpose breaks as told, and again by its seed.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::error::{Code, Effect, Result};
use chat_core::layer::{Chaos, ChaosOptions, Operation, Stack, Timeout, TimeoutOptions};
use chat_testkit::played::played;

use super::script::{ONCE, Play, READ, Script, WRITE};

fn chaos(options: ChaosOptions) -> (Chaos, ManualClock) {
    let clock = ManualClock::default();
    (Chaos::new(ChaosOptions { seed: options.seed.or(Some(7)), ..options }, Arc::new(clock.clone())), clock)
}

/// For what hangs.
const PATIENCE: Duration = Duration::from_millis(100);

/// What becomes of a call, and how long it took.
type Fate = (Option<Code>, Duration);

/// What becomes of so many calls, and how long they took.
async fn fates(options: ChaosOptions, calls: usize) -> Vec<Fate> {
    let (chaos, clock) = chaos(options);
    let patience = TimeoutOptions { read: PATIENCE, ..TimeoutOptions::default() };
    let policy = Stack(Timeout::new(patience, Arc::new(clock.clone())), chaos);
    let script = Script::new(&clock, |_| Play::Fine);
    let mut fates = Vec::new();
    for _ in 0..calls {
        let (outcome, took) = played(&clock, script.run(&policy, READ)).await;
        fates.push((outcome.err().map(|error| error.code()), took));
    }
    fates
}

#[tokio::test]
async fn by_default_nothing_breaks() {
    let fates = fates(ChaosOptions::default(), 1_000).await;
    assert!(fates.iter().all(|fate| *fate == (None, Duration::ZERO)));
}

#[tokio::test]
async fn each_kind_has_its_share_and_a_seed_repeats_them() {
    let longest_delay = Duration::from_millis(20);
    let all = ChaosOptions {
        refuse: 0.2,
        lose: 0.1,
        hang: 0.1,
        delay: 0.3,
        longest_delay,
        ..ChaosOptions::default()
    };
    let met = fates(all, 1_000).await;
    let share = |is: &dyn Fn(&Fate) -> bool| met.iter().filter(|fate| is(fate)).count();
    assert!((160..240).contains(&share(&|fate| fate.0 == Some(Code::Unavailable))), "refused");
    let hung = |fate: &Fate| fate.1 >= PATIENCE;
    assert!((70..130).contains(&share(&hung)));
    assert!((70..130).contains(&share(&|fate| fate.0 == Some(Code::Timeout) && !hung(fate))), "lost");
    let late = |fate: &Fate| !fate.1.is_zero() && !hung(fate);
    assert!((220..320).contains(&share(&late)), "of those that did not hang");
    assert!(met.iter().all(|fate| hung(fate) || fate.1 <= longest_delay));
    assert_eq!(met, fates(all, 1_000).await);
    assert_ne!(met, fates(ChaosOptions { seed: Some(8), ..all }, 1_000).await);
}

#[tokio::test]
async fn what_is_refused_never_happens_and_what_is_lost_did() {
    let (refuses, clock) = chaos(ChaosOptions { refuse: 1.0, ..ChaosOptions::default() });
    let script = Script::new(&clock, |_| Play::Fine);
    let error = script.run(&refuses, WRITE).await.unwrap_err();
    assert_eq!((error.code(), error.effect(), script.attempts()), (Code::Unavailable, Effect::None, 0));
    assert_eq!(error.detail("chaos"), Some("7"), "it says who it was");

    let (loses, clock) = chaos(ChaosOptions { lose: 1.0, ..ChaosOptions::default() });
    for (operation, effect) in [(READ, Effect::None), (WRITE, Effect::Unknown), (ONCE, Effect::Unknown)] {
        let script = Script::new(&clock, |_| Play::Fine);
        let error = script.run(&loses, operation).await.unwrap_err();
        assert_eq!((error.code(), error.effect(), script.attempts()), (Code::Timeout, effect, 1));
    }
    let bad = Script::new(&clock, |_| Play::Fail(Code::UserInvalid.into()));
    assert_eq!(bad.run(&loses, WRITE).await.unwrap_err().code(), Code::UserInvalid, "an error gets through");
}

#[tokio::test]
async fn only_what_it_concerns_is_concerned() -> Result<()> {
    let only = Some(Operation::is_read as fn(Operation) -> bool);
    let (chaos, clock) = chaos(ChaosOptions { refuse: 1.0, only, ..ChaosOptions::default() });
    let script = Script::new(&clock, |_| Play::Fine);
    script.run(&chaos, WRITE).await?;
    assert!(script.run(&chaos, READ).await.is_err());
    Ok(())
}
