//! What is counted. Labels are names and codes from fixed lists: never an id, never text.

mod table;

use std::sync::OnceLock;
use std::time::Duration;

use chat_core::error::Code;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use table::{ALL, Kind, Metric, describe};

/// Upper bounds of the buckets of everything measured in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The recorder of this process, installed when first asked for; `None` when the host has one of its own.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER.get_or_init(install).as_ref()
}

fn install() -> Option<PrometheusHandle> {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS);
    let handle = builder.and_then(PrometheusBuilder::install_recorder).ok()?;
    describe();
    begin();
    Some(handle)
}

/// A metric that is not there yet looks like one that was forgotten, and a counter that begins at one has not risen.
fn begin() {
    gauge!("chat_sockets").increment(0.0);
    gauge!("chat_users_online").increment(0.0);
    counter!("chat_messages_sent_total").increment(0);
    counter!("chat_relay_failures_total").increment(0);
    for cause in ["overflow", "expired", "gap"] {
        counter!("chat_sockets_cut_total", "cause" => cause).increment(0);
    }
}

/// A socket came (`1`) or went (`-1`).
pub(crate) fn sockets(change: f64) {
    gauge!("chat_sockets").increment(change);
}

pub(crate) fn users_online(users: u64) {
    gauge!("chat_users_online").set(users as f64);
}

/// How many servers are this chat.
pub(crate) fn nodes(count: usize) {
    gauge!("chat_nodes").set(count as f64);
}

/// How a check of the server's health came out: 0 well, 1 degraded, 2 down.
pub(crate) fn health(check: &'static str, level: u8) {
    gauge!("chat_health", "check" => check).set(f64::from(level));
}

pub(crate) fn outbox_pending(events: u64) {
    gauge!("chat_outbox_pending").set(events as f64);
}

pub(crate) fn uptime(time: Duration) {
    gauge!("chat_uptime_seconds").set(time.as_secs_f64());
}

pub(crate) fn refused(code: Code) {
    counter!("chat_connects_refused_total", "code" => code.as_str()).increment(1);
}

/// A socket was ended by the server: `overflow`, `expired`, `gap`.
pub(crate) fn cut(cause: &'static str) {
    counter!("chat_sockets_cut_total", "cause" => cause).increment(1);
}

/// An event was answered; `event` is one of the known names, or `unknown`.
pub(crate) fn answered(event: &'static str, code: Option<Code>, took: Option<Duration>) {
    counter!("chat_events_total", "event" => event, "code" => code.map_or("ok", Code::as_str)).increment(1);
    if let Some(took) = took {
        histogram!("chat_event_seconds", "event" => event).record(took);
    }
}

pub(crate) fn message_sent() {
    counter!("chat_messages_sent_total").increment(1);
}

pub(crate) fn fanned_out(events: usize) {
    counter!("chat_fanout_events_total").increment(events as u64);
}

/// Measures how long something takes. It decides nothing, so it may look at the system's clock.
#[derive(Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a measurement, not a rule: no deadline depends on it")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The value of a counter without labels, as it is rendered; zero when nothing was counted.
pub(crate) fn counted(rendered: &str, name: &str) -> u64 {
    let value = rendered.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_among_others() {
        let rendered = "# TYPE a counter\na_total 7\nab_total 8\nb_total{x=\"y\"} 9\n";
        let found = ["a_total", "ab_total", "b_total", "c_total"].map(|name| counted(rendered, name));
        assert_eq!(found, [7, 8, 0, 0]);
    }

    #[test]
    fn everything_promised_is_there_from_the_beginning() {
        let rendered = recorder().unwrap().render();
        for name in ["chat_sockets", "chat_users_online", "chat_messages_sent_total"] {
            assert!(rendered.contains(&format!("\n{name} ")), "{name}: {rendered}");
        }
    }
}
