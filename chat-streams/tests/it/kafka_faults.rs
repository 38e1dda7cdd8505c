//! Brokers that fail: the driver's mock cluster, which does so when it is told, and a real one that forgets everything.

use std::sync::Arc;
use std::time::Duration;

use chat_core::event::{Envelope, Topic, wire};
use chat_core::memory::MemoryEvents;
use chat_core::store::EventPublisher;
use chat_streams::Worker;
use chat_streams::kafka::{KafkaSink, KafkaSource};
use chat_streams::worker::Working;
use chat_testkit::server::Kafka;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Answer};

use super::kafka::{
    Onlooker, all, eager, edit, edits, events, in_order, memory, quick, receiving, revisions, sending, topic,
    write,
};

trials! { needs "kafka":
    a_broker_that_is_away_is_waited_for,
    errors_of_brokers_lose_nothing_and_keep_the_order,
    a_producer_that_broke_for_good_is_replaced,
    what_is_too_large_in_company_is_sent_alone,
    offsets_that_cannot_be_committed_lose_nothing,
    a_broker_that_forgot_everything_is_sent_the_rest,
    a_source_outlives_its_brokers,
}

const TOPIC: &str = "edits";

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A cluster that fails when it is told, and its topic.
fn mock(brokers: i32) -> Mock {
    let mock = MockCluster::new(brokers).unwrap();
    mock.create_topic(TOPIC, 2, brokers).unwrap();
    mock
}

/// A log whose edits a worker sends.
struct Sending {
    log: Arc<MemoryEvents>,
    sink: KafkaSink,
    worker: Working,
}

impl Sending {
    fn new(brokers: &str, topic: &str) -> Self {
        // One request at a time: the mock takes a later one though it refused an earlier one, which no broker does (it
        // checks the sequence), and then the driver counts the earlier one as written.
        let config = sending(brokers, topic).set("max.in.flight.requests.per.connection", "1");
        let mut config = config.unwrap();
        config.delivery_timeout = Duration::from_millis(1_000);
        let (log, sink) = (memory(), KafkaSink::new(&config).unwrap());
        let group = log.consumer("kafka", "one", &sink.topics(), false);
        let worker = Worker::new(group, sink.clone()).with(quick()).start();
        Self { log, sink, worker }
    }

    async fn handled(&self, count: u64) {
        let worker = &self.worker;
        eventually("the events to be sent", || async { (worker.stats().handled >= count).then_some(()) })
            .await;
    }
}

async fn a_broker_that_is_away_is_waited_for() -> Result<(), Absent> {
    let mock = mock(1);
    let sending = Sending::new(&mock.bootstrap_servers(), TOPIC);
    let events_sent = edits(4, 30);
    let (early, late) = events_sent.split_at(40);
    sending.log.publish_many(early).await.unwrap();
    sending.handled(40).await;
    mock.broker_down(-1).unwrap();
    sending.log.publish_many(late).await.unwrap();
    eventually("it to fail", || async { (sending.sink.stats().failed >= 8).then_some(()) }).await;
    let stats = sending.worker.stats();
    assert_eq!((stats.buried, stats.handled), (0, 40), "an outage is no fault of the events");
    mock.broker_up(-1).unwrap();
    sending.handled(events_sent.len() as u64).await;
    assert_eq!(sending.worker.stop().await.buried, 0);
    let mut onlooker = Onlooker::new(&mock.bootstrap_servers(), TOPIC);
    let seen = onlooker.until("all of it", |seen| revisions(&events(seen)) == in_order(4, 30));
    assert!(seen.len() >= events_sent.len());
    Ok(())
}

async fn errors_of_brokers_lose_nothing_and_keep_the_order() -> Result<(), Absent> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mock = mock(3);
    let sending = Sending::new(&mock.bootstrap_servers(), TOPIC);
    let sent = edits(8, 40);
    const ERRORS: [Answer; 6] = [
        Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Answer::RD_KAFKA_RESP_ERR__TRANSPORT,
        Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ];
    for batch in sent.chunks(40) {
        let errors: Vec<_> = (0..rng.random_range(0..8)).map(|_| ERRORS[rng.random_range(0..6)]).collect();
        mock.request_errors(RDKafkaApiKey::Produce, &errors);
        mock.partition_leader(TOPIC, rng.random_range(0..2), Some(rng.random_range(1..=3))).unwrap();
        sending.log.publish_many(batch).await.unwrap();
    }
    sending.handled(sent.len() as u64).await;
    assert_eq!(sending.worker.stop().await.buried, 0, "seed {seed}");
    let mut onlooker = Onlooker::new(&mock.bootstrap_servers(), TOPIC);
    onlooker.until("all of it", |seen| revisions(&events(seen)) == in_order(8, 40));
    Ok(())
}

async fn a_producer_that_broke_for_good_is_replaced() -> Result<(), Absent> {
    let mock = mock(1);
    let sending = Sending::new(&mock.bootstrap_servers(), TOPIC);
    sending.log.publish_many(&edits(1, 3)).await.unwrap();
    sending.handled(3).await;
    // The brokers miss a record of this producer: it can promise nothing any more.
    mock.request_errors(RDKafkaApiKey::Produce, &[Answer::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    sending.log.publish_many(&[edit("c0", 4), edit("c0", 5)]).await.unwrap();
    sending.handled(5).await;
    let failed = sending.sink.stats().failed;
    let stats = sending.worker.stop().await;
    assert!(stats.buried == 0 && failed > 0, "{stats:?}, {failed} failed");
    let mut onlooker = Onlooker::new(&mock.bootstrap_servers(), TOPIC);
    onlooker.until("all of it", |seen| revisions(&events(seen)) == in_order(1, 5));
    Ok(())
}

async fn what_is_too_large_in_company_is_sent_alone() -> Result<(), Absent> {
    let mock = mock(1);
    let sending = Sending::new(&mock.bootstrap_servers(), TOPIC);
    mock.request_errors(RDKafkaApiKey::Produce, &[Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    sending.log.publish_many(&edits(6, 1)).await.unwrap();
    sending.handled(6).await;
    assert_eq!(sending.worker.stats().buried, 0);
    // Refused alone, too, it is at fault.
    let refusal = [Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 2];
    mock.request_errors(RDKafkaApiKey::Produce, &refusal);
    sending.log.publish_many(&[edit("c0", 2)]).await.unwrap();
    let worker = &sending.worker;
    eventually("it to be buried", || async { (worker.stats().buried == 1).then_some(()) }).await;
    sending.worker.stop().await;
    Ok(())
}

/// Writes events as a sink does, one after the other.
async fn send(brokers: &str, events: &[Envelope]) {
    for event in events {
        let value = wire::encode_payload(event);
        write(brokers, TOPIC, &[(Some(event.key().as_bytes()), Some(value.as_bytes()))]).await;
    }
}

async fn offsets_that_cannot_be_committed_lose_nothing() -> Result<(), Absent> {
    let mock = mock(1);
    let (brokers, log) = (mock.bootstrap_servers(), memory());
    let send = async |events: &[Envelope]| send(&brokers, events).await;
    send(&edits(2, 3)).await;
    mock.request_errors(RDKafkaApiKey::OffsetCommit, &[Answer::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let source = KafkaSource::new(&receiving(&brokers, TOPIC), log.clone()).unwrap();
    let source = source.with(eager()).start().unwrap();
    eventually("the first", || async { (source.stats().published == 6).then_some(()) }).await;
    send(&[edit("c0", 4), edit("c1", 4)]).await;
    eventually("the rest", || async { (source.stats().published == 8).then_some(()) }).await;
    assert_eq!(source.stop().await.dead, 0);
    assert_eq!(revisions(&all(&*log, Topic::Messages).await), in_order(2, 4));
    Ok(())
}

async fn a_broker_that_forgot_everything_is_sent_the_rest() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    let name = topic(kafka.brokers(), 1).await;
    let sending = Sending::new(kafka.brokers(), &name);
    sending.log.publish_many(&edits(2, 5)).await.unwrap();
    sending.handled(10).await;
    kafka.restart();
    let later: Vec<_> = (6..=9).flat_map(|nth| [edit("c0", nth), edit("c1", nth)]).collect();
    sending.log.publish_many(&later).await.unwrap();
    sending.handled(18).await;
    assert_eq!(sending.worker.stop().await.buried, 0);
    let mut onlooker = Onlooker::new(kafka.brokers(), &name);
    onlooker.until("the rest", |seen| {
        let found = revisions(&events(seen));
        found.len() == 2 && found.values().all(|found| *found == [6, 7, 8, 9])
    });
    Ok(())
}

async fn a_source_outlives_its_brokers() -> Result<(), Absent> {
    let mock = mock(1);
    let (brokers, log) = (mock.bootstrap_servers(), memory());
    let send = async |events: &[Envelope]| send(&brokers, events).await;
    let source = KafkaSource::new(&receiving(&brokers, TOPIC), log.clone()).unwrap();
    let source = source.with(eager()).start().unwrap();
    for round in 0..3 {
        send(&[edit("c0", 2 * round + 1), edit("c0", 2 * round + 2)]).await;
        let published = u64::from(2 * round + 2);
        eventually("the events", || async { (source.stats().published >= published).then_some(()) }).await;
        mock.broker_down(-1).unwrap();
        eventually("it to notice", || async { source.check(Duration::from_millis(100)).await.err() }).await;
        mock.broker_up(-1).unwrap();
        mock.request_errors(RDKafkaApiKey::Fetch, &[Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    }
    send(&[edit("c0", 7)]).await;
    eventually("the last", || async { (source.stats().published == 7).then_some(()) }).await;
    assert_eq!(source.stop().await.dead, 0);
    assert_eq!(revisions(&all(&*log, Topic::Messages).await), in_order(1, 7));
    Ok(())
}
