//! One order out of many topics.
//!
//! The log keeps order per key and topic. Sockets are told things in the order they happened, across topics too, as far
//! as that can be known: within a topic as the log has it, between topics by the time of the event, and always what
//! makes a thing before what is said about it.

use std::collections::{HashMap, VecDeque};

use chat_core::domain::{ConversationId, MessageId};
use chat_core::event::{ConversationNameUpdated, Envelope, Event, Topic};
use chat_core::store::events::{TailCursor, TailRead};

/// The topics sockets are told about, and what comes first of the same moment.
const TOPICS: &[(Topic, u8)] = &[
    (Topic::Conversations, 0),
    (Topic::Messages, 1),
    (Topic::Delivered, 1),
    (Topic::Read, 1),
    (Topic::Files, 1),
    (Topic::Typing, 1),
    (Topic::Presence, 1),
    (Topic::MessagesPrivate, 2),
    (Topic::MessagesGroup, 2),
    (Topic::MessagesSystem, 2),
];

/// How many events of one topic are read at once.
pub(super) const READ: usize = 256;

/// The topics that are followed.
pub(super) fn topics() -> Vec<Topic> {
    TOPICS.iter().map(|(topic, _)| *topic).collect()
}

/// What was read of every topic and not passed on yet.
#[derive(Debug)]
pub(super) struct Merge {
    lanes: Vec<Lane>,
    /// Messages and conversations whose beginning was read and not passed on yet.
    sent: HashMap<MessageId, usize>,
    created: HashMap<ConversationId, usize>,
}

/// One topic.
#[derive(Debug)]
struct Lane {
    rank: u8,
    cursor: TailCursor,
    events: VecDeque<Envelope>,
    /// There is more of it in the log than was read, so nothing later of another topic may be passed on without it.
    more: bool,
}

impl Merge {
    /// Goes on after these cursors.
    pub(super) fn new(cursors: Vec<TailCursor>) -> Self {
        let lane = |cursor: TailCursor| {
            let rank = TOPICS.iter().find(|(topic, _)| *topic == cursor.topic).map_or(1, |(_, rank)| *rank);
            Lane { rank, cursor, events: VecDeque::new(), more: false }
        };
        let lanes = cursors.into_iter().map(lane).collect();
        Self { lanes, sent: HashMap::new(), created: HashMap::new() }
    }

    /// Where to read on. A topic of which much waits is not read further.
    pub(super) fn cursors(&self) -> Vec<TailCursor> {
        self.lanes.iter().filter(|lane| lane.events.len() < READ).map(|lane| lane.cursor.clone()).collect()
    }

    /// Whether something waits that has to be read on before it can be passed on.
    pub(super) fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.events.is_empty() || lane.more)
    }

    /// Takes what was read; answers the topics of which something is gone. What cannot be decoded is passed over.
    pub(super) fn take(&mut self, reads: Vec<TailRead>) -> Vec<Topic> {
        let mut gone = Vec::new();
        for lane in &mut self.lanes {
            // What is not mentioned has nothing more.
            if lane.events.len() < READ {
                lane.more = false;
            }
        }
        for read in reads {
            match read {
                TailRead::Discontinuity { oldest } => gone.push(oldest.topic),
                TailRead::Events { events, next } => self.append(events, next),
            }
        }
        gone
    }

    fn append(&mut self, events: Vec<Result<Envelope, chat_core::event::Undecodable>>, next: TailCursor) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.cursor.topic == next.topic) else { return };
        lane.more = events.len() >= READ;
        lane.cursor = next;
        for event in events {
            match event {
                Ok(envelope) => {
                    match &envelope.event {
                        Event::MessageSent(sent) => {
                            *self.sent.entry(sent.message_id.clone()).or_default() += 1
                        }
                        Event::ConversationCreated(new) => {
                            *self.created.entry(new.conversation_id.clone()).or_default() += 1;
                        }
                        _ => {}
                    }
                    lane.events.push_back(envelope);
                }
                Err(error) => tracing::warn!(?error, "an event could not be read"),
            }
        }
    }

    /// Goes on after this cursor; what was read of its topic is passed on first.
    pub(super) fn jump(&mut self, to: TailCursor) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.cursor.topic == to.topic) {
            lane.cursor = to;
            lane.more = false;
        }
    }

    /// The next event, unless more has to be read first.
    pub(super) fn next(&mut self) -> Option<Envelope> {
        if self.lanes.iter().any(|lane| lane.more && lane.events.is_empty()) {
            return None;
        }
        let ready = self.lanes.iter().enumerate().filter_map(|(place, lane)| {
            let head = lane.events.front()?;
            self.is_ready(head).then_some((head.at, lane.rank, place))
        });
        let (_, _, place) = ready.min()?;
        let envelope = self.lanes.get_mut(place)?.events.pop_front()?;
        match &envelope.event {
            Event::MessageSent(sent) => done(&mut self.sent, &sent.message_id),
            Event::ConversationCreated(new) => done(&mut self.created, &new.conversation_id),
            _ => {}
        }
        Some(envelope)
    }

    /// The change of picture that came with a change of name, if it is next in the same topic: both are told as one.
    pub(super) fn picture_with(&mut self, name: &ConversationNameUpdated) -> Option<Option<String>> {
        let lane = self.lanes.iter_mut().find(|lane| lane.cursor.topic == Topic::Conversations)?;
        match &lane.events.front()?.event {
            Event::ConversationAvatarUpdated(picture)
                if picture.conversation_id == name.conversation_id
                    && picture.updated_by == name.updated_by =>
            {
                let avatar = picture.avatar.clone();
                lane.events.pop_front();
                Some(avatar)
            }
            _ => None,
        }
    }

    /// Whether what an event is about has been passed on.
    fn is_ready(&self, envelope: &Envelope) -> bool {
        match &envelope.event {
            Event::MessageSent(sent) => !self.created.contains_key(&sent.conversation_id),
            event => about(event).is_none_or(|message| !self.sent.contains_key(message)),
        }
    }
}

/// The message an event says something about.
fn about(event: &Event) -> Option<&MessageId> {
    match event {
        Event::MessageEdited(event) => Some(&event.message_id),
        Event::MessageDeleted(event) => Some(&event.message_id),
        Event::MessageReactionAdded(event) => Some(&event.message_id),
        Event::MessageReactionRemoved(event) => Some(&event.message_id),
        Event::MessagePinned(event) => Some(&event.message_id),
        Event::MessageUnpinned(event) => Some(&event.message_id),
        _ => None,
    }
}

fn done<K: std::hash::Hash + Eq>(waiting: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = waiting.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            waiting.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::clock::Timestamp;
    use chat_core::domain::{ConversationKind, MessageKind, Seq, UserId};
    use chat_core::event::{ConversationCreated, MessageReactionAdded, MessageSent, TypingStarted};
    use chat_core::store::events::Position;

    fn id<K>(text: &str) -> chat_core::domain::id::Id<K> {
        chat_core::domain::id::Id::new(text).unwrap()
    }

    fn envelope(at: u64, event: impl Into<Event>) -> Envelope {
        Envelope::new(&[&at.to_string()], Timestamp::from_millis(at), event)
    }

    fn sent(at: u64, message: &str, kind: MessageKind) -> Envelope {
        envelope(
            at,
            MessageSent {
                message_id: id(message),
                conversation_id: id("c"),
                conversation_kind: ConversationKind::Group,
                seq: Seq(at),
                sender_id: None,
                receiver_id: None,
                kind,
                content: String::new(),
                attachments: Vec::new(),
                reply_to: None,
                thread: None,
                mentions: Default::default(),
                silent: false,
                metadata: Default::default(),
                client_key: None,
                timestamp: Timestamp::from_millis(at),
            },
        )
    }

    fn reaction(at: u64, message: &str) -> Envelope {
        let user_id: UserId = id("u");
        let (message_id, conversation_id, emoji) = (id(message), id("c"), "👍".to_owned());
        envelope(
            at,
            MessageReactionAdded { message_id, conversation_id, seq: Seq(1), user_id, emoji, count: 1 },
        )
    }

    fn typing(at: u64) -> Envelope {
        envelope(at, TypingStarted { conversation_id: id("c"), user_id: id("u"), thread: None })
    }

    fn created(at: u64) -> Envelope {
        envelope(
            at,
            ConversationCreated {
                conversation_id: id("c"),
                kind: ConversationKind::Group,
                created_by: id("u"),
                participants: Vec::new(),
                participant_count: 0,
                name: None,
            },
        )
    }

    /// One read of everything, as the log would answer it.
    fn reads(events: Vec<Envelope>) -> Vec<TailRead> {
        topics()
            .into_iter()
            .filter_map(|topic| {
                let events: Vec<_> =
                    events.iter().filter(|event| event.topic() == topic).cloned().map(Ok).collect();
                let next = TailCursor { topic, after: Some(Position("x".to_owned())) };
                (!events.is_empty()).then_some(TailRead::Events { events, next })
            })
            .collect()
    }

    fn merge() -> Merge {
        Merge::new(topics().into_iter().map(|topic| TailCursor { topic, after: None }).collect())
    }

    fn order(merge: &mut Merge) -> Vec<(u64, String)> {
        std::iter::from_fn(|| merge.next())
            .map(|envelope| (envelope.at.as_millis(), envelope.name().to_owned()))
            .collect()
    }

    #[test]
    fn topics_are_told_by_time() {
        let mut merge = merge();
        let text = MessageKind::Text;
        merge.take(reads(vec![
            sent(5, "b", text),
            reaction(3, "a"),
            typing(4),
            sent(6, "s", MessageKind::System),
        ]));
        assert_eq!(order(&mut merge).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 4, 5, 6]);
    }

    #[test]
    fn a_thing_comes_before_what_is_said_about_it_whatever_the_clocks_say() {
        let mut merge = merge();
        merge.take(reads(vec![
            created(9),
            sent(5, "m", MessageKind::Text),
            reaction(3, "m"),
            reaction(4, "older"),
        ]));
        let told: Vec<_> = order(&mut merge).into_iter().map(|(at, _)| at).collect();
        assert_eq!(told, [9, 5, 3, 4]);
    }

    #[test]
    fn within_a_topic_the_log_is_right_even_when_a_clock_went_back() {
        let mut merge = merge();
        merge.take(reads(vec![sent(8, "a", MessageKind::Text), sent(2, "b", MessageKind::Text)]));
        assert_eq!(order(&mut merge).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [8, 2]);
    }

    #[test]
    fn nothing_passes_a_topic_of_which_more_is_to_be_read() {
        let mut merge = merge();
        let many: Vec<_> = (0..READ as u64).map(|n| sent(n, &format!("m{n}"), MessageKind::Text)).collect();
        merge.take(reads(many.into_iter().chain([typing(READ as u64 + 1)]).collect()));
        assert_eq!(order(&mut merge).len(), READ, "the typing waits");
        assert!(merge.is_waiting());
        merge.take(reads(vec![sent(READ as u64, "last", MessageKind::Text)]));
        let rest: Vec<_> = order(&mut merge).into_iter().map(|(_, name)| name).collect();
        assert_eq!(rest, ["message.sent", "typing.started"]);
        assert!(!merge.is_waiting());
    }
}
