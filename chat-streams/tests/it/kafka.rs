//! What the tests of the bridge to Kafka share: a broker, topics, records, and a log in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::Seq;
use chat_core::domain::message::Mentions;
use chat_core::event::{Envelope, Event, EventKind, MessageEdited, Topic};
use chat_core::memory::MemoryEvents;
use chat_core::store::EventTail;
use chat_core::store::events::{TailCursor, TailRead};
use chat_streams::kafka::{KafkaConfig, KafkaRoutes, SourceOptions};
use chat_streams::{Streams, StreamsOptions, WorkerOptions};
use chat_testkit::server::Kafka;
use chat_testkit::{Absent, sample};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// The broker that trials share which do not break it.
pub(crate) fn broker() -> Result<&'static Kafka, Absent> {
    static BROKER: OnceLock<Result<Kafka, Absent>> = OnceLock::new();
    BROKER.get_or_init(Kafka::find_or_spawn).as_ref().map_err(Absent::clone)
}

/// A name nobody else has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}.{:016x}", rand::random::<u64>())
}

/// A topic of so many partitions that nobody else has.
pub(crate) async fn topic(brokers: &str, partitions: i32) -> String {
    let name = unique("test");
    let client: AdminClient<DefaultClientContext> = client(brokers).create().unwrap();
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let made = client.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    name
}

pub(crate) fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", unique("reader"));
    config
}

/// A record as anybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> String {
        String::from_utf8(self.headers.get(name).cloned().unwrap_or_default()).unwrap()
    }

    pub(crate) fn key(&self) -> String {
        String::from_utf8(self.key.clone().unwrap()).unwrap()
    }
}

/// Reads a topic from its beginning, beside every group.
pub(crate) struct Onlooker {
    consumer: BaseConsumer,
    pub(crate) seen: Vec<Seen>,
}

impl Onlooker {
    pub(crate) fn new(brokers: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = client(brokers).create().unwrap();
        let mut count = 0;
        chat_testkit::wait::until("the topic", || {
            let known = consumer.fetch_metadata(Some(topic), Duration::from_secs(10));
            count = known.map_or(0, |known| known.topics()[0].partitions().len());
            count > 0
        });
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(count).unwrap() {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        Self { consumer, seen: Vec::new() }
    }

    /// Looks once, for a short while.
    pub(crate) fn look(&mut self) {
        while let Some(polled) = self.consumer.poll(Duration::from_millis(20)) {
            // A broker that is away is asked again.
            let Ok(message) = polled else { continue };
            let headers = message.headers().map(|headers| {
                headers
                    .iter()
                    .map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec()))
                    .collect()
            });
            self.seen.push(Seen {
                partition: message.partition(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
            });
        }
    }

    /// Looks until there is enough.
    pub(crate) fn until(&mut self, what: &str, enough: impl Fn(&[Seen]) -> bool) -> &[Seen] {
        chat_testkit::wait::until(what, || {
            self.look();
            enough(&self.seen)
        });
        &self.seen
    }
}

/// All of a topic, once there are so many records in it.
pub(crate) fn records(brokers: &str, topic: &str, count: usize) -> Vec<Seen> {
    let mut onlooker = Onlooker::new(brokers, topic);
    onlooker.until("the records", |seen| seen.len() >= count);
    onlooker.seen
}

/// A key and a value.
pub(crate) type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Writes records as any other program does.
pub(crate) async fn write(brokers: &str, topic: &str, records: &[Pair<'_>]) {
    let producer: FutureProducer = client(brokers).create().unwrap();
    for (key, value) in records {
        let headers = OwnedHeaders::new().insert(Header { key: "theirs", value: Some("kept") });
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        (record.key, record.payload) = (*key, *value);
        producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error).unwrap();
    }
}

/// The text of this message was changed for the nth time.
pub(crate) fn edit(conversation: &str, nth: u32) -> Envelope {
    let nth_text = nth.to_string();
    let at = sample::notice("x", 0).at;
    let edited = MessageEdited {
        message_id: sample::message("m1"),
        conversation_id: sample::conversation(conversation),
        seq: Seq(1),
        editor_id: sample::user("ann"),
        new_content: format!("« Voilà n° {nth} » \u{1f600}\n\"\\"),
        mentions: Mentions::default(),
        revision: nth,
        edited_at: at,
    };
    Envelope::new(&["edit", conversation, &nth_text], at, edited).with_trace("trace")
}

/// Which edit of which conversation.
pub(crate) fn nth(envelope: &Envelope) -> (String, u32) {
    match &envelope.event {
        Event::MessageEdited(edited) => (edited.conversation_id.to_string(), edited.revision),
        other => panic!("{other:?}"),
    }
}

/// Edits of some conversations, mixed, each conversation in order.
pub(crate) fn edits(conversations: usize, each: u32) -> Vec<Envelope> {
    (1..=each).flat_map(|nth| (0..conversations).map(move |c| edit(&format!("c{c}"), nth))).collect()
}

/// What sends edits of the log `a` to a topic.
pub(crate) fn sending(brokers: &str, topic: &str) -> KafkaConfig {
    KafkaConfig::new(brokers, KafkaRoutes::new("a").send([EventKind::MessageEdited], topic))
}

/// What lets everything of a topic into the log `b`, in a group of its own.
pub(crate) fn receiving(brokers: &str, topic: &str) -> KafkaConfig {
    let mut config = KafkaConfig::new(brokers, KafkaRoutes::new("b").receive_all(topic));
    config.group = unique("group");
    // A member that was killed is missed soon.
    config.set("session.timeout.ms", "6000").unwrap()
}

pub(crate) fn memory() -> Arc<MemoryEvents> {
    Arc::new(MemoryEvents::new(Arc::new(ManualClock::default())))
}

/// Every event of a topic of a log, in order.
pub(crate) async fn all(log: &dyn EventTail, topic: Topic) -> Vec<Envelope> {
    let (mut cursor, mut found) = (TailCursor { topic, after: None }, Vec::new());
    loop {
        let reads = log.read_since(&[cursor.clone()], 1_000, Duration::ZERO).await.unwrap();
        match reads.into_iter().next() {
            Some(TailRead::Events { events, next }) if !events.is_empty() => {
                found.extend(events.into_iter().map(Result::unwrap));
                cursor = next;
            }
            Some(TailRead::Discontinuity { oldest }) => cursor = oldest,
            _ => return found,
        }
    }
}

/// The revisions of each conversation, in the order they were found; repeats of an id are left out.
pub(crate) fn revisions<'a>(events: impl IntoIterator<Item = &'a Envelope>) -> BTreeMap<String, Vec<u32>> {
    let (mut known, mut found) = (std::collections::BTreeSet::new(), BTreeMap::<_, Vec<u32>>::new());
    for event in events {
        if known.insert(event.id.clone()) {
            let (conversation, nth) = nth(event);
            found.entry(conversation).or_default().push(nth);
        }
    }
    found
}

/// What [`revisions`] are when nothing is missing and nothing is out of order.
pub(crate) fn in_order(conversations: usize, each: u32) -> BTreeMap<String, Vec<u32>> {
    (0..conversations).map(|c| (format!("c{c}"), (1..=each).collect())).collect()
}

/// The events in records, by our own decoder.
pub(crate) fn events(seen: &[Seen]) -> Vec<Envelope> {
    let origin = chat_core::event::wire::Origin { stream: "s", entry: "0-0" };
    seen.iter()
        .map(|one| chat_core::event::wire::decode_payload(one.value.as_ref().unwrap(), origin).unwrap())
        .collect()
}

pub(crate) async fn streams(url: &str, prefix: &str) -> Streams {
    let names = chat_core::event::StreamNames::seed().with_prefix(prefix);
    super::log::connect(url, None, StreamsOptions { names, ..StreamsOptions::default() }).await
}

/// A worker that does not wait long.
pub(crate) fn quick() -> WorkerOptions {
    WorkerOptions {
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(100),
        wait: Duration::from_millis(50),
        linger: Duration::from_millis(5),
        ..WorkerOptions::default()
    }
}

/// A source that does not wait long.
pub(crate) fn eager() -> SourceOptions {
    SourceOptions {
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(100),
        ..SourceOptions::default()
    }
}
