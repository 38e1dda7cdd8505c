//! What is told of a run.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Names and numbers, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    /// The same with one number more.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, number: f64) -> Self {
        // Three digits behind the point: no clock here is better.
        self.0.insert(name.to_owned(), json!((number * 1_000.0).round() / 1_000.0));
        self
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}

/// The latency so many hundredths of all stay within, in milliseconds.
pub(crate) fn within(latencies: &mut [Duration], hundredths: usize) -> f64 {
    let at = (latencies.len() * hundredths / 100).min(latencies.len().saturating_sub(1));
    latencies.sort_unstable();
    latencies.get(at).map_or(0.0, Duration::as_secs_f64) * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_counted_from_below() {
        let mut latencies: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!([50, 99, 100].map(|part| within(&mut latencies, part)), [51.0, 100.0, 100.0]);
        assert_eq!(within(&mut [], 50), 0.0);
    }

    #[test]
    fn a_report_is_one_line_of_json() {
        assert_eq!(
            Report::default().with("a", 1.234_56).with("b", 2.0).to_string(),
            r#"{"a":1.235,"b":2.0}"#
        );
    }
}
