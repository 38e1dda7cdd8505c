//! A log to test with: private, on a server of its own.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::page::Page;
use chat_core::event::{Envelope, Event, Topic};
use chat_core::store::events::{DeadLetter, Delivery, Published, TailCursor, TailRead};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher, EventTail};
use chat_redis::{RedisConfig, RedisService};
use chat_streams::{Start, StreamConsumer, Streams, StreamsOptions};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, sample};

pub(crate) const TOPIC: Topic = Topic::Notifications;
/// Its stream.
pub(crate) const STREAM: &str = "events:notifications";
pub(crate) const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Log {
    pub(crate) streams: Streams,
    pub(crate) clock: ManualClock,
    pub(crate) server: Redis,
}

impl Log {
    pub(crate) async fn new() -> Result<Self, Absent> {
        Self::with(StreamsOptions::default()).await
    }

    pub(crate) async fn with(options: StreamsOptions) -> Result<Self, Absent> {
        let server = Redis::spawn()?;
        let clock = ManualClock::default();
        let streams = connect(&server.url(), Some(&clock), options).await;
        Ok(Self { streams, clock, server })
    }

    /// A log that gives up soon.
    pub(crate) async fn with_patience(patience: Duration) -> Result<Self, Absent> {
        let log = Self::new().await?;
        let mut config =
            RedisConfig::from_url(&log.server.url()).unwrap().with_clock(Arc::new(log.clock.clone()));
        (config.timing.operation, config.timing.response) = (patience, patience / 2);
        let service = RedisService::connect(&config).await.unwrap();
        Ok(Self { streams: Streams::new(&service, StreamsOptions::default()).unwrap(), ..log })
    }

    /// Publishes events named by key and number, such as `a1`.
    pub(crate) async fn publish(&self, names: &[&str]) -> Vec<Published> {
        let events: Vec<_> = names.iter().map(|name| notice(name)).collect();
        self.streams.publisher().publish_many(&events).await.unwrap()
    }

    pub(crate) async fn consumer(&self, group: &str, member: &str) -> StreamConsumer {
        self.streams.consumer(group, member, &[TOPIC], Start::Now).await.unwrap()
    }

    /// A member of the group `g`.
    pub(crate) async fn member(&self, name: &str) -> StreamConsumer {
        self.consumer("g", name).await
    }

    pub(crate) async fn end(&self) -> TailCursor {
        self.streams.tail().ends(&[TOPIC]).await.unwrap().remove(0)
    }

    pub(crate) async fn read(&self, cursor: &TailCursor, max: usize) -> Option<TailRead> {
        let cursors = std::slice::from_ref(cursor);
        self.streams.tail().read_since(cursors, max, Duration::ZERO).await.unwrap().pop()
    }

    pub(crate) async fn letters(&self) -> Vec<DeadLetter> {
        self.streams.dead_letters().list(&Page::first(1_000)).await.unwrap().items
    }

    /// Adds an entry as any other program does.
    pub(crate) fn add(&self, stream: &str, fields: &[(&str, &str)]) -> String {
        let fields = fields.iter().flat_map(|(name, value)| [*name, *value]);
        let words: Vec<_> = ["XADD", stream, "*"].into_iter().chain(fields).collect();
        self.server.command(&words).text()
    }

    /// The native list of pending entries: each entry's number of deliveries, and with whom it is.
    pub(crate) fn native(&self, group: &str) -> Vec<(String, i64)> {
        let pending = self.server.command(&["XPENDING", STREAM, group, "-", "+", "1000"]);
        pending.list().iter().map(|one| (one.list()[1].text(), one.list()[3].int())).collect()
    }
}

pub(crate) async fn connect(url: &str, clock: Option<&ManualClock>, options: StreamsOptions) -> Streams {
    let mut config = RedisConfig::from_url(url).unwrap();
    // A busy machine may need a while to restart a server.
    (config.timing.operation, config.timing.response) = (Duration::from_secs(30), Duration::from_secs(10));
    if let Some(clock) = clock {
        config = config.with_clock(Arc::new(clock.clone()));
    }
    Streams::new(&RedisService::connect(&config).await.unwrap(), options).unwrap()
}

/// The event of this name: everything but its last digits is its key.
pub(crate) fn notice(name: &str) -> Envelope {
    let key = name.trim_end_matches(|c: char| c.is_ascii_digit());
    sample::notice(key, &name[key.len()..])
}

pub(crate) fn name(envelope: &Envelope) -> String {
    match &envelope.event {
        Event::ChatNotificationCreated(notice) => format!("{}{}", notice.user_id, notice.notification_id),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn named(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| name(delivery.event.as_ref().expect("an event"))).collect()
}

pub(crate) async fn fetch(member: &StreamConsumer, max: usize) -> Vec<Delivery> {
    member.fetch(max, Duration::ZERO).await.unwrap()
}

pub(crate) async fn ack(member: &StreamConsumer, deliveries: &[Delivery]) {
    let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
    member.ack(&receipts).await.unwrap();
}

pub(crate) async fn lag(member: &StreamConsumer) -> (u64, u64) {
    let lag = member.lag().await.unwrap();
    (lag.waiting, lag.pending)
}
