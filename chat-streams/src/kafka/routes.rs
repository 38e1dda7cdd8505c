//! [`KafkaRoutes`]: which events go to which topics of Kafka, and which come from there.

use std::collections::{BTreeMap, BTreeSet};

use chat_core::error::{Code, Error, Result};
use chat_core::event::{EventKind, Topic};

/// Which events of a topic of Kafka are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything, also what this version does not know.
    All,
    /// These kinds; others are skipped.
    These(BTreeSet<EventKind>),
}

impl Wanted {
    /// Whether an event of this wire name is let in.
    pub(super) fn lets_in(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(kinds) => EventKind::from_wire(name).is_some_and(|kind| kinds.contains(&kind)),
        }
    }
}

/// Which events of a log go to which topics of Kafka, and which come from there.
///
/// One value describes both directions of one log, and every process of the host uses the same: so a circle is seen
/// before anything moves.
///
/// ```
/// use chat_core::event::EventKind;
/// use chat_streams::kafka::KafkaRoutes;
///
/// let routes = KafkaRoutes::seed("blue")
///     .send([EventKind::FileDeleted], "chat.files")
///     .receive([EventKind::UserProfileUpdated], "user-service.topic");
/// assert!(routes.check().is_ok());
/// assert!(routes.receive([EventKind::FileDeleted], "elsewhere").check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRoutes {
    log: String,
    sent: BTreeMap<EventKind, String>,
    received: BTreeMap<String, Wanted>,
}

impl KafkaRoutes {
    /// The topic of seed 000.
    pub const SEED_TOPIC: &'static str = "message-service.topic";

    /// No routes yet, for the log of this name. Logs that meet in Kafka must have different names: records that carry the
    /// log's own name are not let in again.
    pub fn new(log: impl Into<String>) -> Self {
        Self { log: log.into(), sent: BTreeMap::new(), received: BTreeMap::new() }
    }

    /// What seed 000 sends: `message.edited` and `file.uploaded`, to [`SEED_TOPIC`](Self::SEED_TOPIC).
    pub fn seed(log: impl Into<String>) -> Self {
        Self::new(log).send([EventKind::MessageEdited, EventKind::FileUploaded], Self::SEED_TOPIC)
    }

    /// Sends these kinds to a topic of Kafka, and nowhere else.
    #[must_use]
    pub fn send(mut self, kinds: impl IntoIterator<Item = EventKind>, topic: &str) -> Self {
        self.sent.extend(kinds.into_iter().map(|kind| (kind, topic.to_owned())));
        self
    }

    /// Lets these kinds in from a topic of Kafka.
    #[must_use]
    pub fn receive(mut self, kinds: impl IntoIterator<Item = EventKind>, topic: &str) -> Self {
        let wanted = self.received.entry(topic.to_owned()).or_insert_with(|| Wanted::These(BTreeSet::new()));
        if let Wanted::These(known) = wanted {
            known.extend(kinds);
        }
        self
    }

    /// Lets everything in from a topic of Kafka: for a log that sends nothing.
    #[must_use]
    pub fn receive_all(mut self, topic: &str) -> Self {
        self.received.insert(topic.to_owned(), Wanted::All);
        self
    }

    /// The name of the log.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The topic of Kafka for an event of this wire name, if it is sent. A newer version of a known kind is sent, too.
    pub fn topic_for(&self, name: &str) -> Option<&str> {
        self.sent.get(&EventKind::from_wire(name)?).map(String::as_str)
    }

    /// The topics of the log that a group has to follow to send everything.
    pub fn log_topics(&self) -> Vec<Topic> {
        const TEXTS: [Topic; 3] = [Topic::MessagesPrivate, Topic::MessagesGroup, Topic::MessagesSystem];
        let of = |kind: &EventKind| {
            if *kind == EventKind::MessageSent { TEXTS.to_vec() } else { vec![kind.topic()] }
        };
        self.sent.keys().flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The topics of Kafka that are written to.
    pub fn sent_to(&self) -> BTreeSet<&str> {
        self.sent.values().map(String::as_str).collect()
    }

    /// The topics of Kafka that are read, and what of them.
    pub fn received_from(&self) -> impl Iterator<Item = (&str, &Wanted)> {
        self.received.iter().map(|(topic, wanted)| (topic.as_str(), wanted))
    }

    pub(super) fn wanted(&self, topic: &str) -> Option<&Wanted> {
        self.received.get(topic)
    }

    /// # Errors
    /// [`Code::ConfigInvalid`] when the log has no name, a topic is none, or a kind goes both ways: it would go round for
    /// ever.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::invalid(Code::ConfigInvalid, format!("Kafka: {reason}")));
        if self.log.is_empty() || self.log.chars().any(char::is_control) {
            return refuse("the log needs a name".to_owned());
        }
        if let Some(topic) = self.sent.values().chain(self.received.keys()).find(|topic| !is_topic(topic)) {
            return refuse(format!("{topic:?} is no name of a topic"));
        }
        for (topic, wanted) in &self.received {
            let circle = self.sent.keys().find(|kind| wanted.lets_in(kind.as_str()));
            if let Some(kind) = circle {
                return refuse(format!(
                    "{kind} is sent, and let in from {topic}: it would go round for ever"
                ));
            }
        }
        Ok(())
    }
}

/// Kafka's own rule.
fn is_topic(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(is_fine) && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(routes: &KafkaRoutes) -> String {
        routes.check().unwrap_err().detail("reason").unwrap().to_owned()
    }

    #[test]
    fn the_seed_sends_two_kinds_to_one_topic() {
        let routes = KafkaRoutes::seed("chat");
        assert_eq!(routes.topic_for("message.edited"), Some("message-service.topic"));
        assert_eq!(routes.topic_for("file.uploaded"), Some("message-service.topic"));
        assert_eq!((routes.topic_for("message.sent"), routes.topic_for("unheard.of")), (None, None));
        assert_eq!(routes.log_topics(), [Topic::Messages, Topic::Files]);
        assert!(routes.check().is_ok());
    }

    #[test]
    fn a_message_comes_over_three_topics() {
        let routes = KafkaRoutes::new("chat").send([EventKind::MessageSent], "texts");
        assert_eq!(
            routes.log_topics(),
            [Topic::MessagesPrivate, Topic::MessagesGroup, Topic::MessagesSystem]
        );
    }

    #[test]
    fn what_goes_round_is_refused() {
        let seed = || KafkaRoutes::seed("chat");
        assert!(
            reason(&seed().receive([EventKind::FileUploaded], "other")).contains("file.uploaded is sent")
        );
        assert!(reason(&seed().receive_all("other")).contains("for ever"));
        assert!(seed().receive([EventKind::FileDeleted], KafkaRoutes::SEED_TOPIC).check().is_ok());
        assert!(KafkaRoutes::new("chat").receive_all("other").check().is_ok());
    }

    #[test]
    fn names_are_names() {
        for topic in ["", "a b", "..", "é", &"x".repeat(250)] {
            assert!(reason(&KafkaRoutes::new("chat").receive_all(topic)).contains("no name of a topic"));
        }
        assert!(reason(&KafkaRoutes::new("")).contains("needs a name"));
    }

    #[test]
    fn what_is_not_wanted_is_not_let_in() {
        let wanted = Wanted::These(BTreeSet::from([EventKind::FileDeleted]));
        assert!(wanted.lets_in("file.deleted") && !wanted.lets_in("file.uploaded"));
        assert!(!wanted.lets_in("unheard.of") && Wanted::All.lets_in("unheard.of"));
    }
}
