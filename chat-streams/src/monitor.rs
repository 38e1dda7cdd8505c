//! [`Monitor`]: what an operator has to know about streams, groups and dead letters.

use chat_core::error::Result;
use chat_core::event::Topic;
use chat_redis::driver::Operation;

use crate::reply::Counted;
use crate::script::REPORT;
use crate::streams::Streams;

const LOOKING: Operation = Operation::read("events.monitor");

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// There is something to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to look at it now.
    Critical,
}

/// From how many dead letters on it is how bad: more than this many. Those of the seeds by default: 10 and 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// [`Severity::Warning`] above it.
    pub warning: u64,
    /// [`Severity::Critical`] above it.
    pub critical: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { warning: 10, critical: 100 }
    }
}

impl Thresholds {
    /// How bad so many dead letters are; nothing when there are none.
    pub const fn severity(self, letters: u64) -> Option<Severity> {
        match letters {
            0 => None,
            many if many > self.critical => Some(Severity::Critical),
            some if some > self.warning => Some(Severity::Warning),
            _ => Some(Severity::Info),
        }
    }
}

/// A group as the server sees it, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Members it has had lately.
    pub members: u64,
    /// Entries no member has read; unknown where entries were deleted one by one.
    pub unread: Option<u64>,
    /// Entries read and not acknowledged; those that wait for their key are among them.
    pub pending: u64,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// The topic.
    pub topic: Topic,
    /// Entries kept.
    pub length: u64,
    /// About how many entries it keeps: more than this only while a group lags behind.
    pub max_len: u64,
    /// Whether it holds more than half as much again: some group lags far behind.
    pub is_overflowing: bool,
    /// Its groups.
    pub groups: Vec<GroupReport>,
    /// Its dead letters.
    pub dead_letters: u64,
}

/// Everything as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The topics that have anything.
    pub topics: Vec<TopicReport>,
    /// All dead letters.
    pub dead_letters: u64,
    /// How bad that is.
    pub severity: Option<Severity>,
}

impl Report {
    /// The same as gauges: `chat_stream_length`, `chat_stream_unread` and `chat_stream_pending` by topic and group, and
    /// `chat_dead_letters` by topic.
    pub fn measure(&self) {
        for topic in &self.topics {
            let name = topic.topic.as_str();
            metrics::gauge!("chat_stream_length", "topic" => name).set(topic.length as f64);
            metrics::gauge!("chat_dead_letters", "topic" => name).set(topic.dead_letters as f64);
            for group in &topic.groups {
                let gauge = |metric: &'static str, value: u64| {
                    metrics::gauge!(metric, "topic" => name, "group" => group.name.clone()).set(value as f64);
                };
                gauge("chat_stream_unread", group.unread.unwrap_or(topic.length));
                gauge("chat_stream_pending", group.pending);
            }
        }
    }
}

/// Looks at everything, with 1 command per topic in one round trip: seed 001's monitors of dead letters and of streams.
///
/// ```no_run
/// # async fn example(streams: chat_streams::Streams) -> chat_core::error::Result<()> {
/// use chat_streams::{Monitor, Severity};
///
/// let report = Monitor::new(&streams).look().await?;
/// report.measure();
/// if report.severity >= Some(Severity::Warning) {
///     eprintln!("{} dead letters", report.dead_letters);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Monitor {
    streams: Streams,
    thresholds: Thresholds,
}

impl Monitor {
    /// A monitor of all topics.
    pub fn new(streams: &Streams) -> Self {
        Self { streams: streams.clone(), thresholds: Thresholds::default() }
    }

    /// The same with other thresholds.
    #[must_use]
    pub fn with(self, thresholds: Thresholds) -> Self {
        Self { thresholds, ..self }
    }

    /// How everything is.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn look(&self) -> Result<Report> {
        let commands = self.streams.places().map(|place| self.streams.script(&REPORT, place)).collect();
        let counted: Vec<Counted> = self.streams.store().call(LOOKING, commands).await?;
        let topics: Vec<_> = self
            .streams
            .places()
            .zip(counted)
            .map(|(place, counted)| {
                let max_len = self.streams.options().max_len(place.topic);
                TopicReport {
                    topic: place.topic,
                    length: counted.length,
                    max_len,
                    is_overflowing: counted.length > max_len + max_len / 2,
                    groups: counted.groups,
                    dead_letters: counted.letters,
                }
            })
            .filter(|topic| topic.length > 0 || topic.dead_letters > 0 || !topic.groups.is_empty())
            .collect();
        let dead_letters = topics.iter().map(|topic| topic.dead_letters).sum();
        Ok(Report { topics, dead_letters, severity: self.thresholds.severity(dead_letters) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thresholds_are_those_of_the_seeds() {
        let severity = |letters| Thresholds::default().severity(letters);
        assert_eq!([0, 1, 10].map(severity), [None, Some(Severity::Info), Some(Severity::Info)]);
        assert_eq!(
            [11, 100, 101].map(severity),
            [Severity::Warning, Severity::Warning, Severity::Critical].map(Some)
        );
    }
}
