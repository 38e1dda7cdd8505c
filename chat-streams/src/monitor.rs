//! [`Monitor`]: what an operator has to know about streams, groups and dead letters.

use std::fmt;
use std::time::Duration;

use chat_core::error::Result;
use chat_core::event::Topic;
use chat_redis::driver::Operation;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

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

/// From where on it is how bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// [`Severity::Warning`] above so many dead letters; 10 by default, as in the seeds.
    pub warning: u64,
    /// [`Severity::Critical`] above so many dead letters; 100 by default, as in the seeds.
    pub critical: u64,
    /// A stream is a concern when it is longer than so many times what it keeps; 1.5 by default, as in seed 001.
    pub growth: f64,
    /// A group is a concern when something has waited for it for longer; 1 minute by default.
    pub behind: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { warning: 10, critical: 100, growth: 1.5, behind: Duration::from_secs(60) }
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
    /// How old the oldest entry is that it has not acknowledged; nothing when it has acknowledged all.
    pub oldest: Option<Duration>,
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
    /// About how many bytes its entries take.
    pub bytes: u64,
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
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// So many events were given up.
    DeadLetters(u64, Severity),
    /// A stream holds many more entries than it keeps, because some group lags behind; at ten times as many it takes no
    /// more.
    Growing {
        /// Of which topic.
        topic: Topic,
        /// How many it holds.
        length: u64,
        /// How many it keeps.
        max_len: u64,
    },
    /// Something has waited for a group for so long.
    Behind {
        /// Of which topic.
        topic: Topic,
        /// Which group.
        group: String,
        /// For how long.
        age: Duration,
    },
}

impl Concern {
    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::DeadLetters(_, severity) => *severity,
            Self::Growing { .. } | Self::Behind { .. } => Severity::Warning,
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetters(1, _) => f.write_str("an event was given up"),
            Self::DeadLetters(many, _) => write!(f, "{many} events were given up"),
            Self::Growing { topic, length, max_len } => {
                write!(f, "{topic} holds {length} events and should keep {max_len}")
            }
            Self::Behind { topic, group, age } => {
                write!(f, "{group} is {} s behind on {topic}", age.as_secs())
            }
        }
    }
}

/// How the streams are.
pub type Health = chat_core::observe::Health<Concern>;

impl Severity {
    /// The worst of what is wrong; nothing when nothing is.
    pub fn of(health: &Health) -> Option<Self> {
        match health {
            Health::Ok => None,
            Health::Degraded(concerns) => concerns.iter().map(Concern::severity).max(),
            _ => Some(Self::Critical),
        }
    }
}

impl Report {
    /// What is wrong by these thresholds.
    pub fn health(&self, thresholds: &Thresholds) -> Health {
        let letters = thresholds
            .severity(self.dead_letters)
            .map(|worst| Concern::DeadLetters(self.dead_letters, worst));
        let mut concerns: Vec<_> = letters.into_iter().collect();
        for TopicReport { topic, length, max_len, groups, .. } in &self.topics {
            let (topic, length, max_len) = (*topic, *length, *max_len);
            if length as f64 > max_len as f64 * thresholds.growth {
                concerns.push(Concern::Growing { topic, length, max_len });
            }
            let late = |group: &GroupReport| {
                let age = group.oldest.filter(|age| *age > thresholds.behind)?;
                Some(Concern::Behind { topic, group: group.name.clone(), age })
            };
            concerns.extend(groups.iter().filter_map(late));
        }
        Health::answering(concerns.into_iter().map(|concern| (true, concern)))
    }

    /// The same as gauges: `chat_stream_length`, `chat_stream_bytes` and `chat_dead_letters` by topic, and
    /// `chat_stream_unread`, `chat_stream_pending` and `chat_stream_oldest_seconds` by topic and group.
    pub fn measure(&self) {
        for topic in &self.topics {
            let name = topic.topic.as_str();
            metrics::gauge!("chat_stream_length", "topic" => name).set(topic.length as f64);
            metrics::gauge!("chat_stream_bytes", "topic" => name).set(topic.bytes as f64);
            metrics::gauge!("chat_dead_letters", "topic" => name).set(topic.dead_letters as f64);
            for group in &topic.groups {
                let gauge = |metric: &'static str, value: f64| {
                    metrics::gauge!(metric, "topic" => name, "group" => group.name.clone()).set(value);
                };
                gauge("chat_stream_unread", group.unread.unwrap_or(topic.length) as f64);
                gauge("chat_stream_pending", group.pending as f64);
                gauge("chat_stream_oldest_seconds", group.oldest.unwrap_or_default().as_secs_f64());
            }
        }
    }
}

/// Looks at everything, with 1 command per topic in one round trip: seed 001's monitors of dead letters and of streams.
///
/// ```no_run
/// # async fn example(streams: chat_streams::Streams) -> chat_core::error::Result<()> {
/// use std::time::Duration;
///
/// use chat_streams::{Monitor, Severity};
///
/// let monitor = Monitor::new(&streams);
/// for topic in monitor.look().await?.topics {
///     println!("{}: {} events, {} bytes", topic.topic, topic.length, topic.bytes);
/// }
///
/// // Keeps the metrics, and says when what is wrong becomes better or worse.
/// let watching = monitor.start(Duration::from_secs(5), |health| {
///     if Severity::of(health) >= Some(Severity::Warning) {
///         eprintln!("{health:?}");
///     }
/// });
/// # drop(watching);
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
            .map(|(place, counted)| TopicReport {
                topic: place.topic,
                length: counted.length,
                max_len: self.streams.options().max_len(place.topic),
                bytes: counted.bytes,
                groups: counted.groups,
                dead_letters: counted.letters,
            })
            .filter(|topic| topic.length > 0 || topic.dead_letters > 0 || !topic.groups.is_empty())
            .collect();
        let dead_letters = topics.iter().map(|topic| topic.dead_letters).sum();
        Ok(Report { topics, dead_letters })
    }

    /// What is wrong.
    pub async fn health(&self) -> Health {
        self.look().await.map_or(Health::Disconnected, |report| report.health(&self.thresholds))
    }

    /// Looks every so often, keeps the metrics, and says how the streams are at first and whenever the worst of what is
    /// wrong changes: an alert is not repeated while it lasts. Needs a Tokio runtime.
    pub fn start(self, every: Duration, said: impl Fn(&Health) + Send + 'static) -> Watching {
        Watching(tokio::spawn(async move {
            let mut ticks = interval(every.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut before = None;
            loop {
                ticks.tick().await;
                let health = match self.look().await {
                    Ok(report) => {
                        report.measure();
                        report.health(&self.thresholds)
                    }
                    Err(_) => Health::Disconnected,
                };
                let now = (Severity::of(&health), health == Health::Disconnected);
                if before.replace(now) != Some(now) {
                    said(&health);
                }
            }
        }))
    }
}

/// A monitor at work; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
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

    #[test]
    fn what_is_wrong_is_said_with_the_worst() {
        let group = |oldest| GroupReport {
            name: "search".to_owned(),
            members: 1,
            unread: Some(0),
            pending: 1,
            oldest: Some(Duration::from_secs(oldest)),
        };
        let topic = |length, oldest| TopicReport {
            topic: Topic::Files,
            length,
            max_len: 100,
            bytes: 1,
            groups: vec![group(oldest)],
            dead_letters: 0,
        };
        let health =
            |topic, dead_letters| Report { topics: vec![topic], dead_letters }.health(&Thresholds::default());
        assert_eq!(health(topic(150, 60), 0), Health::Ok);
        let growing = health(topic(151, 0), 0);
        assert_eq!(Severity::of(&growing), Some(Severity::Warning));
        assert_eq!(Severity::of(&health(topic(1, 0), 1)), Some(Severity::Info));
        let Health::Degraded(all) = health(topic(151, 61), 101) else { panic!("it is fine") };
        let said: Vec<_> = all.iter().map(ToString::to_string).collect();
        let files = Topic::Files;
        assert_eq!(
            said,
            [
                "101 events were given up".to_owned(),
                format!("{files} holds 151 events and should keep 100"),
                format!("search is 61 s behind on {files}"),
            ]
        );
        assert_eq!(Severity::of(&health(topic(151, 61), 101)), Some(Severity::Critical));
    }
}
