//! The memory backend keeps every promise, and so does every decorator over it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat_core::layer::{Breaker, BreakerOptions, BreakerUserSource};
use chat_testkit::{Offer, promises, run_trials};

fn main() -> ExitCode {
    let mut trials = promises("memory", |_namespace| async { Ok(Offer::memory()) });
    let breaker = promises("breaker", |_namespace| async {
        let Offer { clock, source, outbox, outage, .. } = Offer::memory();
        // Without a rest it lets the next call see whether an outage is over.
        let options = BreakerOptions { rest: Duration::ZERO, ..BreakerOptions::default() };
        let breaker = Breaker::new("users", options, Arc::new(clock.clone()));
        let mut offer = Offer::new(clock);
        offer.source = source.map(|source| Arc::new(BreakerUserSource::new(source, breaker)) as _);
        (offer.outbox, offer.outage) = (outbox, outage);
        Ok(offer)
    });
    trials.extend(breaker.into_iter().filter(|trial| trial.name().starts_with("breaker::source::")));
    run_trials(trials)
}
