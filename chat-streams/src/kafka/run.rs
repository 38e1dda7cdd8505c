//! The reading itself: one task, one batch at a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::error::{Code, Error, ErrorKind, Result};
use chat_core::event::Envelope;
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use futures::FutureExt;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::LOG;
use super::client::{Aside, Voice};
use super::config::KafkaConfig;
use super::record::{DeadRecords, KafkaRecord};
use super::source::{Decode, SourceOptions, SourceStats, connect};

/// After how long without a record it looks whether a commit failed.
const QUIET: Duration = Duration::from_secs(5);

const VOICE: Voice = Voice("source");

pub(super) type Link = StreamConsumer<Reader>;

/// What the driver tells a source.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    partitions: Arc<AtomicUsize>,
}

impl Reader {
    pub(super) fn new(partitions: &Arc<AtomicUsize>) -> Self {
        Self { partitions: Arc::clone(partitions) }
    }
}

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        VOICE.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        VOICE.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        VOICE.error(error, reason);
    }
}

impl ConsumerContext for Reader {
    /// Whoever gets the partitions next begins where we ended: they are given up when the commit is through.
    fn pre_rebalance(&self, link: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Revoke(_)) {
            let _ = link.commit_consumer_state(CommitMode::Async);
        }
    }

    fn post_rebalance(&self, link: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        let count = link.assignment().map_or(0, |partitions| partitions.count());
        self.partitions.store(count, Ordering::Relaxed);
    }

    fn commit_callback(&self, outcome: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(failure) = outcome {
            commit_failed(&failure);
        }
    }
}

/// That there was nothing to commit is no failure.
fn commit_failed(failure: &KafkaError) {
    if failure.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset) {
        metrics::counter!("chat_kafka_failures_total", "client" => VOICE.0).increment(1);
        tracing::warn!(?failure, "an offset was not committed");
    }
}

/// What a record turned out to be.
enum Sorted {
    Event(Box<Envelope>),
    Dead(Error),
    Skipped,
    Own,
}

pub(super) struct Run {
    config: KafkaConfig,
    link: Aside<Link>,
    partitions: Arc<AtomicUsize>,
    publisher: Arc<dyn EventPublisher>,
    dead: Arc<dyn DeadRecords>,
    decode: Arc<Decode>,
    options: SourceOptions,
    report: watch::Sender<SourceStats>,
    stopped: watch::Receiver<bool>,
    stats: SourceStats,
    /// Read while the log was away.
    beyond: Vec<KafkaRecord>,
    is_paused: bool,
    is_broken: bool,
}

/// What a source hands over to its task.
pub(super) struct Parts {
    pub(super) config: KafkaConfig,
    pub(super) publisher: Arc<dyn EventPublisher>,
    pub(super) dead: Arc<dyn DeadRecords>,
    pub(super) decode: Arc<Decode>,
    pub(super) options: SourceOptions,
    pub(super) partitions: Arc<AtomicUsize>,
}

impl Run {
    /// # Errors
    /// Those of a client that cannot be made.
    pub(super) fn new(
        parts: Parts,
        report: watch::Sender<SourceStats>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self> {
        let Parts { config, publisher, dead, decode, options, partitions } = parts;
        Ok(Self {
            link: connect(&config, options.start, &partitions)?,
            config,
            partitions,
            publisher,
            dead,
            decode,
            options,
            report,
            stopped,
            stats: SourceStats::default(),
            beyond: Vec::new(),
            is_paused: false,
            is_broken: false,
        })
    }

    pub(super) async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        loop {
            let batch = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                batch = self.gather() => batch,
            };
            if batch.is_empty() {
                continue;
            }
            let too_late = too_late(self.stopped.clone(), self.options.drain);
            tokio::select! {
                () = self.settle(batch) => {}
                () = too_late => {
                    tracing::warn!(held = self.stats.held, "stopped before all was published");
                    break;
                }
            }
        }
        self.tell();
        self.leave().await;
    }

    /// The next records, as many as there are at once.
    async fn gather(&mut self) -> Vec<KafkaRecord> {
        if self.is_broken {
            self.reconnect().await;
        }
        let mut batch = std::mem::take(&mut self.beyond);
        if batch.is_empty() {
            match timeout(QUIET, receive(&self.link)).await {
                Ok(Ok(record)) => batch.push(record),
                Ok(Err(failure)) => {
                    self.complain(&failure);
                    sleep(self.options.first_pause).await;
                }
                Err(_) => self.commit(),
            }
        }
        while !batch.is_empty() && batch.len() < self.options.batch.max(1) {
            match receive(&self.link).now_or_never() {
                Some(Ok(record)) => batch.push(record),
                Some(Err(failure)) => {
                    self.complain(&failure);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    /// Sees to all of it, however long that takes; then its offsets are committed.
    async fn settle(&mut self, batch: Vec<KafkaRecord>) {
        self.stats.read += batch.len() as u64;
        self.stats.held = batch.len();
        self.tell();
        let (mut records, mut events, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for record in &batch {
            match self.sort(record) {
                Sorted::Event(event) => {
                    records.push(record);
                    events.push(*event);
                }
                Sorted::Dead(cause) => dead.push((record, cause)),
                Sorted::Skipped => self.count(record, "skipped"),
                Sorted::Own => self.count(record, "own"),
            }
        }
        dead.extend(self.publish(&records, &events).await);
        for (record, cause) in &dead {
            self.bury(record, cause).await;
        }
        self.resume();
        self.store(&batch);
        self.commit();
        self.stats.held = 0;
        self.tell();
    }

    fn sort(&self, record: &KafkaRecord) -> Sorted {
        let routes = &self.config.routes;
        if record.header(LOG) == Some(routes.log().as_bytes()) {
            return Sorted::Own;
        }
        match catch_unwind(AssertUnwindSafe(|| (self.decode)(record))) {
            Ok(Ok(Some(event))) => match routes.wanted(&record.topic) {
                Some(wanted) if wanted.lets_in(event.name()) => Sorted::Event(Box::new(event)),
                _ => Sorted::Skipped,
            },
            Ok(Ok(None)) => Sorted::Skipped,
            Ok(Err(undecodable)) => Sorted::Dead(undecodable.into()),
            Err(_) => Sorted::Dead(
                Error::new(Code::DataCorrupt).during("kafka.read").with("reason", "the decoder panicked"),
            ),
        }
    }

    /// Publishes events, in order, for as long as that takes. Answers those the log refuses.
    async fn publish<'a>(
        &mut self,
        records: &[&'a KafkaRecord],
        events: &[Envelope],
    ) -> Vec<(&'a KafkaRecord, Error)> {
        let mut pause = self.options.first_pause;
        while !events.is_empty() {
            match self.publisher.publish_many(events).await {
                Ok(answers) => {
                    records.iter().zip(&answers).for_each(|(record, answer)| self.published(record, answer));
                    return Vec::new();
                }
                Err(error) if error.is_transient() => pause = self.again(&error, pause).await,
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        // One of them is at fault, and its neighbours are not.
        let mut refused = Vec::new();
        for (record, event) in records.iter().zip(events) {
            if let Err(cause) = self.publish_alone(record, event).await {
                refused.push((*record, cause));
            }
        }
        refused
    }

    async fn publish_alone(&mut self, record: &KafkaRecord, event: &Envelope) -> Result<()> {
        let (mut attempt, mut pause) = (1, self.options.first_pause);
        loop {
            let error = match self.publisher.publish_many(std::slice::from_ref(event)).await {
                Ok(answers) => {
                    answers.iter().for_each(|answer| self.published(record, answer));
                    return Ok(());
                }
                Err(error) => error,
            };
            let is_for_good =
                matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Corrupt | ErrorKind::Unsupported);
            if !error.is_transient() {
                if is_for_good || attempt >= self.options.attempts {
                    self.failed(&error);
                    return Err(error);
                }
                attempt += 1;
            }
            pause = self.again(&error, pause).await;
        }
    }

    async fn bury(&mut self, record: &KafkaRecord, cause: &Error) {
        tracing::warn!(
            topic = record.topic, partition = record.partition, offset = record.offset,
            code = %cause.code(), "a record is set aside"
        );
        let mut pause = self.options.first_pause;
        while let Err(error) = self.dead.bury(record, cause).await {
            pause = self.again(&error, pause).await;
        }
        self.count(record, "dead");
    }

    /// Notes a failure and waits; says how long to wait next time.
    async fn again(&mut self, error: &Error, pause: Duration) -> Duration {
        self.failed(error);
        self.tell();
        self.hold(error.retry_after().unwrap_or(pause).max(pause)).await;
        (pause * 2).min(self.options.longest_pause)
    }

    /// Waits, and stays a member of the group meanwhile: nothing new is read, but the driver is listened to.
    async fn hold(&mut self, pause: Duration) {
        self.pause();
        let slept = sleep(pause);
        tokio::pin!(slept);
        while !self.is_broken {
            tokio::select! {
                () = &mut slept => return,
                received = receive(&self.link) => match received {
                    // It was on its way, or its partition is new.
                    Ok(record) => {
                        self.beyond.push(record);
                        self.stats.held += 1;
                        self.tell();
                        self.pause();
                    }
                    Err(failure) => self.complain(&failure),
                },
            }
        }
        slept.await;
    }

    fn pause(&mut self) {
        self.is_paused = true;
        if let Some(link) = self.link.get()
            && let Ok(partitions) = link.assignment()
        {
            let _ = link.pause(&partitions);
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused)
            && let Some(link) = self.link.get()
            && let Ok(partitions) = link.assignment()
            && let Err(failure) = link.resume(&partitions)
        {
            tracing::warn!(?failure, "reading did not go on");
            self.is_broken = true;
        }
    }

    /// Notes how far it got. What is not ours any more is somebody else's to note.
    fn store(&self, batch: &[KafkaRecord]) {
        let mut ends = BTreeMap::new();
        for record in batch {
            let end = ends.entry((record.topic.as_str(), record.partition)).or_insert(0);
            *end = record.offset.saturating_add(1).max(*end);
        }
        let mut list = TopicPartitionList::with_capacity(ends.len());
        for ((topic, partition), end) in ends {
            let _ = list.add_partition_offset(topic, partition, Offset::Offset(end));
        }
        if let Some(link) = self.link.get()
            && let Err(failure) = link.store_offsets(&list)
        {
            tracing::debug!(?failure, "partitions went to another member meanwhile");
        }
    }

    fn commit(&self) {
        if let Some(link) = self.link.get()
            && let Err(failure) = link.commit_consumer_state(CommitMode::Async)
        {
            commit_failed(&failure);
        }
    }

    /// A client that broke for good is replaced; what it had not committed is read again.
    async fn reconnect(&mut self) {
        match connect(&self.config, self.options.start, &self.partitions) {
            Ok(link) => {
                (self.link, self.is_broken, self.is_paused) = (link, false, false);
                self.beyond.clear();
            }
            Err(error) => {
                tracing::error!(%error, "the consumer broke, and cannot be replaced yet");
                sleep(self.options.longest_pause).await;
            }
        }
    }

    async fn leave(self) {
        let Some(link) = self.link.into_inner() else { return };
        let leaving = tokio::task::spawn_blocking(move || {
            if let Err(failure) = link.commit_consumer_state(CommitMode::Sync) {
                commit_failed(&failure);
            }
            drop(link);
        });
        if timeout(self.options.drain, leaving).await.is_err() {
            tracing::warn!("the brokers did not say good-bye in time");
        }
    }

    fn complain(&mut self, failure: &KafkaError) {
        self.is_broken |= matches!(failure, KafkaError::MessageConsumptionFatal(_));
        metrics::counter!("chat_kafka_failures_total", "client" => VOICE.0).increment(1);
        tracing::warn!(?failure, "reading failed");
    }

    fn failed(&mut self, error: &Error) {
        self.stats.failed += 1;
        tracing::warn!(%error, "what was read is not passed on yet");
    }

    fn published(&mut self, record: &KafkaRecord, answer: &Published) {
        let outcome = match answer {
            Published::Durable(_) => "published",
            Published::Buffered => "buffered",
            Published::Suppressed(_) => "suppressed",
        };
        self.count(record, outcome);
    }

    fn count(&mut self, record: &KafkaRecord, outcome: &'static str) {
        let stats = &mut self.stats;
        let counter = match outcome {
            "published" => &mut stats.published,
            "buffered" => &mut stats.buffered,
            "suppressed" => &mut stats.suppressed,
            "own" => &mut stats.own,
            "dead" => &mut stats.dead,
            _ => &mut stats.skipped,
        };
        *counter += 1;
        let topic = record.topic.clone();
        metrics::counter!("chat_kafka_received_total", "topic" => topic, "outcome" => outcome).increment(1);
    }

    fn tell(&self) {
        self.report.send_replace(self.stats);
    }
}

async fn receive(link: &Aside<Link>) -> KafkaResult<KafkaRecord> {
    match link.get() {
        Some(link) => link.recv().await.map(|message| KafkaRecord::new(&message)),
        None => std::future::pending().await,
    }
}

/// When whoever was stopped has had its time.
async fn too_late(mut stopped: watch::Receiver<bool>, drain: Duration) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
    sleep(drain).await;
}
