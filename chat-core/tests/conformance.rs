//! The memory backend keeps every promise, and so does every port of it behind its layers, also when they have work to do.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{ManualClock, Timestamp};
use chat_core::layer::{
    BreakerOptions, ChaosOptions, Operation, Repeat, Resilient, ResilientOptions, RetryOptions, Tiered,
    TieredOptions,
};
use chat_testkit::faulty::Outage;
use chat_testkit::guarded::guarded;
use chat_testkit::{Offer, promises, run_trials};

/// How many random histories each port is played behind layers: the bare one is played thousands.
const HISTORIES: usize = 50;

fn main() -> ExitCode {
    let given = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("calls are refused and replies lost by the seed {seed}: CHAT_TEST_SEED repeats it");
    let mut trials = promises("memory", |_namespace| async { Ok(Offer::memory()) });
    trials.extend(promises("resilient", |_namespace| async { Ok(behind(Resilient::default())) }));
    trials.extend(promises("refused", move |_namespace| async move {
        Ok(behind(tried_again(ChaosOptions { refuse: 0.2, seed: Some(seed), ..ChaosOptions::default() })))
    }));
    trials.extend(promises("lost", move |_namespace| async move {
        let only = Some(answers_the_same as fn(Operation) -> bool);
        Ok(behind(tried_again(ChaosOptions { lose: 0.2, only, seed: Some(seed), ..ChaosOptions::default() })))
    }));
    trials.extend(promises("tiered", |_namespace| async { Ok(tiered(false)) }));
    trials.extend(promises("trusted", |_namespace| async { Ok(tiered(true)) }));
    // Only the cache of it is another.
    trials.retain(|trial| {
        let name = trial.name();
        name.contains("::cache::") || !(name.starts_with("tiered::") || name.starts_with("trusted::"))
    });
    // What services make of ports that fail again and again is no promise of a port.
    trials.retain(|trial| {
        let name = trial.name();
        !name.contains("::service::") || !(name.starts_with("refused::") || name.starts_with("lost::"))
    });
    run_trials(trials)
}

/// Of these nobody notices that a reply was lost.
fn answers_the_same(operation: Operation) -> bool {
    matches!(operation.repeat, Repeat::Read | Repeat::Write)
}

/// The memory backend behind these layers. Whoever ends an outage closes the breaker.
fn behind(resilient: Resilient) -> Offer {
    let offer = guarded(Offer::memory().histories(HISTORIES), &resilient);
    match offer.outage.clone() {
        Some(outage) => offer.outage(Arc::new(Closing { outage, resilient })),
        None => offer,
    }
}

/// The cache of the memory backend behind a near tier, without news or with those one can always trust.
fn tiered(trusted: bool) -> Offer {
    let offer = Offer::memory().histories(HISTORIES);
    let Some(far) = offer.cache.clone() else { return offer };
    let cache = Tiered::new(far, TieredOptions::default(), Arc::new(offer.clock.clone()));
    if trusted {
        let news = cache.news();
        news.heard(Timestamp::EPOCH, Duration::MAX);
        std::mem::forget(news);
    }
    offer.cache(Arc::new(cache))
}

/// Layers that give up only what twenty attempts could not do, without a pause: a manual clock stands still.
fn tried_again(chaos: ChaosOptions) -> Resilient {
    let options = ResilientOptions {
        retry: RetryOptions {
            attempts: 20,
            pause: Duration::ZERO,
            saved: u32::MAX,
            ..RetryOptions::default()
        },
        breaker: BreakerOptions { failures: u32::MAX, silence: Duration::MAX, ..BreakerOptions::default() },
        chaos: Some(chaos),
        ..ResilientOptions::default()
    };
    Resilient::new("memory", options, Arc::new(ManualClock::default()))
}

struct Closing {
    outage: Arc<dyn Outage>,
    resilient: Resilient,
}

impl Outage for Closing {
    fn begin(&self) {
        self.outage.begin();
    }
    fn end(&self) {
        self.outage.end();
        self.resilient.breaker().reset();
    }
}
