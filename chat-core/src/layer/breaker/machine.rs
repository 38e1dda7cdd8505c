//! What a breaker remembers and decides: no lock, no clock, no chance of its own.

use std::time::Duration;

use super::{BreakerOptions, BreakerState, BreakerStats};
use crate::clock::Timestamp;

/// What whoever is refused by a half-open breaker is told to wait at most: the others will soon know more.
const SOON: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Machine {
    options: BreakerOptions,
    stands: Stands,
    /// Grows with every change, so that a call knows whether it is from before.
    era: u64,
    stats: BreakerStats,
}

#[derive(Debug, Clone, Copy)]
enum Stands {
    /// With so many outages in a row, and when the first call of that row began.
    Closed { outages: u32, since: Option<Timestamp> },
    /// For so long from then.
    Open { since: Timestamp, rest: Duration },
    /// With so many probes on their way and so many answered.
    HalfOpen { since: Timestamp, out: u32, answered: u32 },
}

const CLOSED: Stands = Stands::Closed { outages: 0, since: None };

/// A call that was let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    era: u64,
    began: Timestamp,
}

/// What became of a call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Answer,
    Outage,
    /// Whoever asked went away.
    Dropped,
}

impl Machine {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self { options, stands: CLOSED, era: 0, stats: BreakerStats::default() }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.stands {
            Stands::Closed { .. } => BreakerState::Closed,
            Stands::Open { .. } => BreakerState::Open,
            Stands::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn stats(&self) -> BreakerStats {
        self.stats
    }

    /// Closes it, whatever was.
    pub(super) fn reset(&mut self) {
        self.change(CLOSED);
    }

    /// Lets a call through, or says when to ask again.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<Ticket, Duration> {
        // A clock that went back says nothing about the backend.
        let over = |since, rest| now < since || now.since(since) >= rest;
        let probes = self.options.probes.max(1);
        match self.stands {
            Stands::Open { since, rest } if !over(since, rest) => {
                return self.refuse(rest.saturating_sub(now.since(since)));
            }
            // Probes that are out for a whole rest are not waited for.
            Stands::HalfOpen { since, out, answered }
                if out + answered >= probes && !over(since, self.options.rest) =>
            {
                return self.refuse(SOON.min(self.options.rest));
            }
            Stands::Closed { .. } => {}
            Stands::HalfOpen { since, out, answered } if out + answered < probes => {
                self.stands = Stands::HalfOpen { since, out: out + 1, answered };
            }
            Stands::Open { .. } | Stands::HalfOpen { .. } => {
                self.change(Stands::HalfOpen { since: now, out: 1, answered: 0 });
            }
        }
        self.stats.calls += 1;
        Ok(Ticket { era: self.era, began: now })
    }

    /// Takes note of what became of a call. `jitter` is how much of its rest an opening breaker takes.
    pub(super) fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: Timestamp, jitter: f64) {
        self.stats.failures += u64::from(outcome == Outcome::Outage);
        if ticket.era != self.era {
            return;
        }
        match (self.stands, outcome) {
            (Stands::Closed { outages, since }, Outcome::Outage) => {
                let (outages, first) = (outages.saturating_add(1), since.unwrap_or(ticket.began));
                let first = first.min(ticket.began);
                let is_silent = outages > 1 && now.since(first) >= self.options.silence;
                if outages >= self.options.failures || is_silent {
                    self.open(now, jitter);
                } else {
                    self.stands = Stands::Closed { outages, since: Some(first) };
                }
            }
            (Stands::HalfOpen { .. }, Outcome::Outage) => self.open(now, jitter),
            (Stands::Closed { .. }, Outcome::Answer) => self.stands = CLOSED,
            (Stands::HalfOpen { since, out, answered }, Outcome::Answer) => {
                if answered + 1 >= self.options.probes {
                    self.change(CLOSED);
                } else {
                    self.stands =
                        Stands::HalfOpen { since, out: out.saturating_sub(1), answered: answered + 1 };
                }
            }
            // The next one sees.
            (Stands::HalfOpen { since, out, answered }, Outcome::Dropped) => {
                self.stands = Stands::HalfOpen { since, out: out.saturating_sub(1), answered };
            }
            (Stands::Closed { .. }, Outcome::Dropped) | (Stands::Open { .. }, _) => {}
        }
    }

    fn refuse(&mut self, again_in: Duration) -> Result<Ticket, Duration> {
        self.stats.refused += 1;
        Err(again_in)
    }

    fn open(&mut self, now: Timestamp, jitter: f64) {
        self.stats.opened += 1;
        self.change(Stands::Open { since: now, rest: self.options.rest.mul_f64(jitter) });
    }

    fn change(&mut self, to: Stands) {
        self.stands = to;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions {
        failures: 4,
        silence: Duration::from_secs(2),
        rest: Duration::from_secs(10),
        jitter: 0.5,
        probes: 3,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Call,
        /// The nth call on its way ends so.
        End(usize, Outcome),
        Pass(u64),
        Back(u64),
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        let outcome =
            prop_oneof![3 => Just(Outcome::Outage), 1 => Just(Outcome::Answer), 1 => Just(Outcome::Dropped)];
        prop_oneof![
            8 => Just(Step::Call),
            8 => (any::<usize>(), outcome).prop_map(|(nth, outcome)| Step::End(nth, outcome)),
            4 => (0_u64..6_000).prop_map(Step::Pass),
            1 => (0_u64..20_000).prop_map(Step::Back),
            1 => Just(Step::Reset),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order.
        #[test]
        fn it_opens_for_a_reason_rests_and_probes_within_bounds(
            steps in proptest::collection::vec(step(), 1..200),
            jitter in 0.5_f64..=1.0,
        ) {
            let mut machine = Machine::new(OPTIONS);
            let mut now = Timestamp::from_millis(1_000_000_000);
            let mut out: Vec<Ticket> = Vec::new();
            let mut row = 0;
            let mut opened = None;
            for step in steps {
                let (before, era) = (machine.state(), machine.era);
                match step {
                    Step::Pass(millis) => now = now.after(Duration::from_millis(millis)),
                    Step::Back(millis) => {
                        now = now.before(Duration::from_millis(millis));
                        opened = None;
                    }
                    Step::Reset => {
                        machine.reset();
                        prop_assert_eq!(machine.state(), BreakerState::Closed);
                        row = 0;
                    }
                    Step::Call => match machine.admit(now) {
                        Ok(ticket) => {
                            if let (BreakerState::Open, Some(at)) = (before, opened) {
                                prop_assert!(now.since(at) >= OPTIONS.rest.mul_f64(jitter), "it rests");
                            }
                            out.push(ticket);
                        }
                        Err(again_in) => {
                            prop_assert_ne!(before, BreakerState::Closed);
                            prop_assert!(again_in <= OPTIONS.rest);
                        }
                    },
                    Step::End(nth, outcome) if !out.is_empty() => {
                        let ticket = out.swap_remove(nth % out.len());
                        machine.settle(ticket, outcome, now, jitter);
                        if ticket.era != era {
                            prop_assert_eq!(machine.era, era, "answers from before count for nothing");
                            continue;
                        }
                        row = match outcome {
                            Outcome::Outage => row + 1,
                            Outcome::Answer => 0,
                            Outcome::Dropped => row,
                        };
                        let opens = machine.state() == BreakerState::Open && before != BreakerState::Open;
                        if opens {
                            prop_assert_eq!(outcome, Outcome::Outage);
                            prop_assert!(before == BreakerState::HalfOpen || row >= 2);
                            opened = Some(now);
                            row = 0;
                        } else if before == BreakerState::Closed {
                            prop_assert!(row < OPTIONS.failures);
                        }
                    }
                    Step::End(..) => {}
                }
                if let Stands::HalfOpen { out: probing, answered, .. } = machine.stands {
                    let probes = out.iter().filter(|ticket| ticket.era == machine.era).count();
                    prop_assert_eq!(probes, probing as usize);
                    prop_assert!(probing + answered <= OPTIONS.probes);
                }
            }
        }
    }
}
