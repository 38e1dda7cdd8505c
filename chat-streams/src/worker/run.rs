//! The work itself: one task that holds everything, one for each key being worked on, one for each exchange with the log.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chat_core::error::{Code, Effect, Error, Result};
use chat_core::event::Envelope;
use chat_core::store::events::{Delivery, Lag, Receipt};
use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::lanes::{LaneId, Lanes};
use super::{Handler, Next, Source, WorkerOptions, WorkerStats};

/// How long to rest after the log could not be asked.
const REST: Duration = Duration::from_millis(500);

/// What an exchange with the log brought.
#[derive(Debug)]
enum Brought {
    /// New entries, after these were acknowledged.
    Fetched(Vec<Receipt>, Result<Vec<Delivery>>),
    /// These were acknowledged.
    Acked(Vec<Receipt>, Result<()>),
    /// Entries of other members, and how far behind the group is.
    Reclaimed(Result<(Vec<Delivery>, Option<Lag>)>),
    /// What is held was renewed.
    Renewed(Result<bool>),
    /// Nothing: it was time to rest.
    Rested,
}

/// What became of a delivery.
#[derive(Debug)]
struct Finished {
    lane: LaneId,
    receipt: Receipt,
    end: End,
    failed: u64,
}

#[derive(Debug)]
enum End {
    Handled,
    Buried,
}

pub(super) struct Run {
    source: Arc<dyn Source>,
    handler: Arc<dyn Handler>,
    options: Arc<WorkerOptions>,
    name: Arc<str>,
    report: watch::Sender<WorkerStats>,
    stopped: watch::Receiver<bool>,
    stats: WorkerStats,
    lanes: Lanes,
    /// Handled, and not yet acknowledged.
    done: Vec<Receipt>,
    /// What this worker is through with and may yet be given by an exchange under way: it is not done again.
    through: HashSet<Receipt>,
    /// Of these, what the log knows to be done, too, but a reclaim under way may not.
    late: Vec<Receipt>,
    work: JoinSet<Finished>,
    exchanges: JoinSet<Brought>,
    is_fetching: bool,
    is_acking: bool,
    is_reclaiming: bool,
    is_reclaim_due: bool,
    is_resting: bool,
    /// How many fetches began, and how many had when it was last asked what lingers.
    fetches: (u64, u64),
}

impl Run {
    pub(super) fn new(
        source: Arc<dyn Source>,
        handler: Arc<dyn Handler>,
        options: WorkerOptions,
        report: watch::Sender<WorkerStats>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            source,
            handler,
            name: Arc::from(options.name.as_str()),
            options: Arc::new(options),
            report,
            stopped,
            stats: WorkerStats::default(),
            lanes: Lanes::default(),
            done: Vec::new(),
            through: HashSet::new(),
            late: Vec::new(),
            work: JoinSet::new(),
            exchanges: JoinSet::new(),
            is_fetching: false,
            is_acking: false,
            is_reclaiming: false,
            is_reclaim_due: true,
            is_resting: false,
            fetches: (0, 0),
        }
    }

    pub(super) async fn run(mut self) {
        let mut reclaim = every(self.options.reclaim_every);
        let mut renew = every(self.options.idle / 3);
        let mut linger = every(self.options.linger);
        let mut stopped = self.stopped.clone();
        reclaim.reset();
        loop {
            self.begin_work();
            self.begin_reclaim();
            self.begin_fetch();
            self.tell();
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(finished) = self.work.join_next() => self.finished(finished),
                Some(brought) = self.exchanges.join_next() => self.brought(brought),
                _ = linger.tick() => self.ack_what_lingers(),
                _ = reclaim.tick() => self.is_reclaim_due = true,
                _ = renew.tick() => self.begin_renew(),
            }
        }
        if timeout(self.options.drain, self.drain()).await.is_err() {
            tracing::warn!(worker = &*self.name, held = self.lanes.len(), "stopped before all was done");
        }
        self.tell();
    }

    /// Finishes what is held. What is fetched at this moment is awaited and finished too: nobody else would get it for a
    /// while.
    async fn drain(&mut self) {
        let mut renew = every(self.options.idle / 3);
        loop {
            self.begin_work();
            if !self.is_acking && !self.done.is_empty() {
                self.begin_ack();
            }
            self.tell();
            let is_asking = self.is_fetching || self.is_acking || self.is_reclaiming;
            if self.lanes.len() == 0 && self.done.is_empty() && !is_asking {
                return;
            }
            tokio::select! {
                Some(finished) = self.work.join_next() => self.finished(finished),
                Some(brought) = self.exchanges.join_next() => self.brought(brought),
                _ = renew.tick() => self.begin_renew(),
            }
        }
    }

    fn begin_work(&mut self) {
        while self.work.len() < self.options.concurrency.max(1) {
            let Some((lane, delivery)) = self.lanes.next() else { return };
            let (source, handler) = (Arc::clone(&self.source), Arc::clone(&self.handler));
            let (options, name) = (Arc::clone(&self.options), Arc::clone(&self.name));
            self.work.spawn(async move { work(&*source, &*handler, &options, &name, lane, delivery).await });
        }
    }

    /// Fetches as soon as there is room for a batch, and acknowledges along with it what was handled until then.
    fn begin_fetch(&mut self) {
        let batch = self.options.batch.max(1);
        let is_taking_over = self.is_reclaiming || self.is_reclaim_due;
        if self.is_fetching || is_taking_over || self.is_resting || self.lanes.len() > batch {
            return;
        }
        self.is_fetching = true;
        self.fetches.0 += 1;
        let (source, wait) = (Arc::clone(&self.source), self.options.wait);
        let done = std::mem::take(&mut self.done);
        self.exchanges.spawn(async move {
            let fetched = source.ack_and_fetch(&done, batch, wait).await;
            Brought::Fetched(done, fetched)
        });
    }

    /// Acknowledges what no fetch took along for a while.
    fn ack_what_lingers(&mut self) {
        let (began, before) = self.fetches;
        if began == before && !self.done.is_empty() {
            self.begin_ack();
        }
        self.fetches.1 = began;
    }

    /// Acknowledges on its own.
    fn begin_ack(&mut self) {
        if self.is_acking || self.is_resting {
            return;
        }
        self.is_acking = true;
        let (source, done) = (Arc::clone(&self.source), std::mem::take(&mut self.done));
        self.exchanges.spawn(async move {
            let acked = source.ack(&done).await;
            Brought::Acked(done, acked)
        });
    }

    /// Takes over what others forgot. Never beside a fetch, which may bring what comes after it: of two answers nobody knows
    /// which was given first.
    fn begin_reclaim(&mut self) {
        if !self.is_reclaim_due || self.is_reclaiming || self.is_fetching || self.is_resting {
            return;
        }
        self.is_reclaiming = true;
        self.is_reclaim_due = false;
        let (source, options) = (Arc::clone(&self.source), Arc::clone(&self.options));
        let room = (2 * options.batch.max(1)).saturating_sub(self.lanes.len());
        self.exchanges.spawn(async move {
            let look = async {
                let taken = if room > 0 { source.reclaim(options.idle, room).await? } else { Vec::new() };
                // What was taken over must not be lost with an answer that is only for people.
                Ok((taken, source.lag().await.ok()))
            };
            Brought::Reclaimed(look.await)
        });
    }

    fn begin_renew(&mut self) {
        let (source, held) = (Arc::clone(&self.source), self.lanes.receipts());
        if !held.is_empty() {
            self.exchanges.spawn(async move { Brought::Renewed(source.renew(&held).await) });
        }
    }

    fn rest(&mut self, error: &Error) {
        metrics::counter!("chat_worker_log_failures_total", "worker" => Arc::clone(&self.name)).increment(1);
        tracing::warn!(worker = &*self.name, code = %error.code(), "the log of events could not be asked");
        if !self.is_resting {
            self.is_resting = true;
            self.exchanges.spawn(async {
                sleep(REST).await;
                Brought::Rested
            });
        }
    }

    fn brought(&mut self, brought: std::result::Result<Brought, JoinError>) {
        match brought {
            Ok(Brought::Fetched(acked, fetched)) => {
                self.is_fetching = false;
                match fetched {
                    Ok(deliveries) => {
                        self.acknowledged(acked);
                        self.take(deliveries);
                    }
                    Err(error) => {
                        // Acknowledging again changes nothing.
                        self.done.extend(acked);
                        self.rest(&error);
                    }
                }
            }
            Ok(Brought::Acked(acked, outcome)) => {
                self.is_acking = false;
                match outcome {
                    Ok(()) => self.acknowledged(acked),
                    Err(error) => {
                        self.done.extend(acked);
                        self.rest(&error);
                    }
                }
            }
            Ok(Brought::Reclaimed(Ok((deliveries, lag)))) => {
                self.is_reclaiming = false;
                self.stats.lag = lag.unwrap_or(self.stats.lag);
                let count = u64::try_from(self.take(deliveries)).unwrap_or_default();
                self.forget_late();
                self.stats.reclaimed += count;
                metrics::counter!("chat_worker_reclaimed_total", "worker" => Arc::clone(&self.name))
                    .increment(count);
                self.measure();
            }
            Ok(Brought::Reclaimed(Err(error))) => {
                // It may have taken over what comes before anything there is to fetch: its answer comes with the next one.
                let is_open = error.is_transient() && error.effect() == Effect::Unknown;
                (self.is_reclaiming, self.is_reclaim_due) = (false, is_open);
                self.rest(&error);
            }
            Ok(Brought::Renewed(Err(error))) => self.rest(&error),
            Ok(Brought::Renewed(Ok(_))) => {}
            Ok(Brought::Rested) => self.is_resting = false,
            // An exchange that panicked said nothing: whatever it was about is asked again.
            Err(_) => {
                (self.is_fetching, self.is_acking) = (false, false);
                (self.is_reclaiming, self.is_resting) = (false, false);
            }
        }
    }

    /// Takes deliveries in; says how many were new.
    fn take(&mut self, deliveries: Vec<Delivery>) -> usize {
        let mut count = 0;
        for delivery in deliveries {
            let is_new = !self.through.contains(&delivery.receipt) && self.lanes.push(delivery);
            count += usize::from(is_new);
        }
        count
    }

    /// The log knows that these are done.
    fn acknowledged(&mut self, receipts: Vec<Receipt>) {
        self.late.extend(receipts);
        if !self.is_reclaiming {
            self.forget_late();
        }
    }

    fn forget_late(&mut self) {
        for receipt in self.late.drain(..) {
            self.through.remove(&receipt);
        }
    }

    fn finished(&mut self, finished: std::result::Result<Finished, JoinError>) {
        // The tasks catch their panics and are aborted only with this one.
        let Ok(Finished { lane, receipt, end, failed }) = finished else { return };
        self.stats.failed += failed;
        self.lanes.done(lane, &receipt);
        match end {
            End::Handled => {
                self.stats.handled += 1;
                self.through.insert(receipt.clone());
                self.done.push(receipt);
            }
            End::Buried => {
                self.stats.buried += 1;
                self.through.insert(receipt.clone());
                self.acknowledged(vec![receipt]);
            }
        }
    }

    fn tell(&mut self) {
        self.stats.held = self.lanes.len();
        let stats = self.stats;
        self.report.send_if_modified(|told| std::mem::replace(told, stats) != stats);
    }

    fn measure(&self) {
        let gauge = |name: &'static str, value: u64| {
            metrics::gauge!(name, "worker" => Arc::clone(&self.name)).set(value as f64);
        };
        gauge("chat_worker_held", self.lanes.len() as u64);
        gauge("chat_worker_waiting", self.stats.lag.waiting);
        gauge("chat_worker_pending", self.stats.lag.pending);
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Works on one delivery until it is handled or set aside.
async fn work(
    source: &dyn Source,
    handler: &dyn Handler,
    options: &WorkerOptions,
    name: &Arc<str>,
    lane: LaneId,
    delivery: Delivery,
) -> Finished {
    let receipt = delivery.receipt.clone();
    let (mut attempt, mut failed, mut pause) = (delivery.attempt, 0, options.first_pause);
    let cause = loop {
        let failure = match &delivery.event {
            Err(undecodable) => break Error::from(undecodable.clone()),
            Ok(_) if attempt > options.attempts.max(1) => {
                break Error::new(Code::Internal)
                    .during("events.handle")
                    .with("reason", "whoever had it did not finish, too often");
            }
            Ok(envelope) => match attempted(handler, envelope, attempt, name).await {
                Ok(()) => return Finished { lane, receipt, end: End::Handled, failed },
                Err(failure) => failure,
            },
        };
        failed += 1;
        match Next::after(&failure) {
            Next::Bury => break failure,
            Next::Again if attempt >= options.attempts => break failure,
            Next::Again => attempt += 1,
            Next::Wait => {}
        }
        sleep(failure.retry_after().unwrap_or(pause).max(pause)).await;
        pause = (pause * 2).min(options.longest_pause);
    };
    tracing::warn!(worker = &**name, code = %cause.code(), receipt = %receipt.position, "an event is set aside");
    let mut pause = options.first_pause;
    while let Err(error) = source.bury(&delivery, &cause).await {
        tracing::warn!(worker = &**name, code = %error.code(), "an event could not be set aside yet");
        sleep(pause).await;
        pause = (pause * 2).min(options.longest_pause);
    }
    metrics::counter!("chat_worker_buried_total", "worker" => Arc::clone(name)).increment(1);
    Finished { lane, receipt, end: End::Buried, failed }
}

/// Tries once; a panic is a failure like others.
async fn attempted(handler: &dyn Handler, envelope: &Envelope, attempt: u32, name: &Arc<str>) -> Result<()> {
    let outcome = match AssertUnwindSafe(handler.handle(envelope, attempt)).catch_unwind().await {
        Ok(outcome) => outcome,
        // What it said is on the error stream; it may hold what no error may.
        Err(_) => Err(Error::new(Code::Internal).during("events.handle").with("reason", "a panic")),
    };
    let said = outcome.as_ref().err().map_or("ok", |error| error.code().as_str());
    metrics::counter!("chat_worker_attempts_total", "worker" => Arc::clone(name), "outcome" => said)
        .increment(1);
    if let Err(error) = &outcome {
        tracing::warn!(worker = &**name, event = %envelope.id, attempt, %error, "an event was not handled");
    }
    outcome
}
