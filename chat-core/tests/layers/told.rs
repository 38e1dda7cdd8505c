//! What is told of calls: outcomes by name, never whom they are about.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::layer::{BreakerOptions, ChaosOptions, Policy, Resilient, ResilientOptions, RetryOptions};
use chat_core::memory::MemoryPresence;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_testkit::sample;
use futures::FutureExt;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::script::{Play, READ, Script, away};

/// Metrics by name and labels: how often one was recorded, or what a gauge shows.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Recorder, String);

impl Recorder {
    fn cell(&self, key: &metrics::Key) -> Arc<Cell> {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            write!(name, " {}={}", label.key(), label.value()).unwrap();
        }
        Arc::new(Cell(self.clone(), name))
    }

    fn shows(&self, name: &str) -> f64 {
        self.0.lock().get(name).copied().unwrap_or_default()
    }
}

impl Cell {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut all = self.0.0.lock();
        let shown = all.entry(self.1.clone()).or_default();
        *shown = change(*shown);
    }
}

impl metrics::HistogramFn for Cell {
    fn record(&self, seconds: f64) {
        assert!((0.0..10.0).contains(&seconds));
        self.change(|count| count + 1.0);
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.change(|count| count + by as f64);
    }
    fn absolute(&self, _: u64) {}
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.cell(key))
    }
}

/// Runs something on this thread, where the recorder is.
fn recorded(work: impl Future<Output = ()>) -> Recorder {
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    recorder
}

/// Layers that do not pause.
fn resilient(chaos: Option<ChaosOptions>) -> (Resilient, ManualClock) {
    let clock = ManualClock::default();
    let options = ResilientOptions {
        retry: RetryOptions { pause: Duration::ZERO, saved: 2, share: 0.0, ..RetryOptions::default() },
        breaker: BreakerOptions { failures: 4, ..BreakerOptions::default() },
        chaos,
        ..ResilientOptions::default()
    };
    (Resilient::new("orders", options, Arc::new(clock.clone())), clock)
}

#[test]
fn calls_are_measured_by_operation_and_outcome() {
    let told = recorded(async {
        let (resilient, clock) = resilient(None);
        let (ann, phone) = (sample::user("ann"), sample::session("phone"));
        let presence = resilient.guard(MemoryPresence::new(Arc::new(clock.clone())));
        for _ in 0..3 {
            assert!(!presence.is_online(&ann).await.unwrap());
        }
        presence.disconnect(&ann, &phone).await.unwrap();
        let failing = Script::new(&clock, |_| away());
        for _ in 0..3 {
            failing.run(&resilient, READ).await.unwrap_err();
        }
        let hung = Script::new(&clock, |_| Play::Hang);
        resilient.breaker().reset();
        assert!(resilient.run(READ.into(), &hung).now_or_never().is_none());
    });
    let call = |of: &str| told.shows(&format!("chat_call_seconds backend=orders operation={of}"));
    assert_eq!(call("presence.are_online outcome=ok"), 3.0);
    assert_eq!(call("presence.disconnect outcome=ok"), 1.0);
    assert_eq!(call("test.read outcome=chat.unavailable"), 3.0);
    assert_eq!(call("test.read outcome=cancelled"), 1.0, "whoever asked went away");
    // Two retries were saved up, the third call was refused by the breaker that the second one opened.
    assert_eq!(told.shows("chat_retries_total backend=orders operation=test.read"), 2.0);
    assert_eq!(told.shows("chat_retries_denied_total backend=orders"), 1.0);
    assert_eq!(told.shows("chat_breaker_refused_total breaker=orders"), 1.0);
    assert_eq!(told.shows("chat_breaker_open breaker=orders"), 0.0);
    let names = told.0.lock().keys().cloned().collect::<Vec<_>>();
    assert!(names.iter().all(|name| !name.contains("ann") && !name.contains("phone")), "{names:?}");
}

/// Everything anybody logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0.lock(), "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        write!(self.0.lock(), "{} ", span.metadata().name()).unwrap();
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_call_has_a_span_with_its_outcome_and_no_argument() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let (fine, clock) = resilient(None);
    let ann = sample::user("ann");
    let presence = fine.guard(MemoryPresence::new(Arc::new(clock.clone())));
    presence.is_online(&ann).await.unwrap();
    let shown = std::mem::take(&mut *log.0.lock());
    assert_eq!(shown, "call backend=\"orders\" operation=\"presence.are_online\" outcome=\"ok\" ");

    let (refusing, _) =
        resilient(Some(ChaosOptions { refuse: 1.0, seed: Some(42), ..ChaosOptions::default() }));
    assert!(log.0.lock().contains("seed=42"), "chaos tells its seed");
    let presence = refusing.guard(MemoryPresence::new(Arc::new(clock)));
    presence.is_online(&ann).await.unwrap_err();
    let shown = std::mem::take(&mut *log.0.lock());
    assert!(shown.contains("outcome=\"chat.unavailable\""), "{shown}");
    assert!(!shown.contains("ann"), "{shown}");
}
