//! The bridge between real logs over a real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::page::Page;
use chat_core::error::{Code, Error, ErrorKind, Result as Outcome};
use chat_core::event::{Envelope, EventKind, FileUploaded, Topic, wire};
use chat_core::store::events::{Lag, Published};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher};
use chat_streams::kafka::{DeadRecords, EVENT, ID, KafkaConfig, KafkaRecord, KafkaRoutes, KafkaSink};
use chat_streams::kafka::{KafkaSource, LOG, SourceOptions, Sourcing, VERSION};
use chat_streams::{Start, Worker};
use chat_testkit::server::{Kafka, Redis, RedisOptions};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use parking_lot::Mutex;

use super::kafka::{
    Pair, all, broker, eager, edit, edits, events, in_order, memory, quick, receiving, records, revisions,
    sending, streams, topic, unique, write,
};

trials! { needs "kafka":
    what_the_seed_sends_goes_through_kafka_byte_for_byte,
    each_key_keeps_its_order_over_partitions,
    what_is_read_again_is_suppressed,
    poison_is_kept_and_holds_up_nobody,
    a_record_the_log_refuses_is_dead_and_its_neighbours_are_not,
    own_records_and_other_kinds_are_left_alone,
    records_of_others_are_read_by_a_function,
    while_the_log_is_away_the_source_waits_and_loses_nothing,
    dead_records_that_cannot_be_kept_are_not_passed_over,
    two_sources_share_a_topic_and_one_takes_over,
    partitions_that_move_while_the_log_is_away_lose_nothing,
    stopping_has_a_deadline_and_what_was_not_published_is_read_again,
    stopping_commits_what_was_published,
    what_is_too_large_is_a_dead_letter_and_its_key_goes_on,
    health_tells_whether_the_brokers_answer,
    circles_and_bad_properties_are_refused,
}

async fn settled(what: &str, source: &Sourcing, count: u64) {
    eventually(what.to_owned(), || async {
        let stats = source.stats();
        let done = stats.published + stats.suppressed + stats.skipped + stats.own + stats.dead;
        (done >= count && stats.held == 0).then_some(())
    })
    .await;
}

async fn what_the_seed_sends_goes_through_kafka_byte_for_byte() -> Result<(), Absent> {
    let (kafka, redis) = (broker()?, Redis::spawn()?);
    let (a, b) = (streams(&redis.url(), "a:").await, streams(&redis.url(), "b:").await);
    let mut config = KafkaConfig::new(kafka.brokers(), KafkaRoutes::seed("a"));
    config.group = unique("sink");
    // The seed's own topic, under a name of this trial.
    let shared = topic(kafka.brokers(), 1).await;
    config.routes = KafkaRoutes::new("a").send([EventKind::MessageEdited, EventKind::FileUploaded], &shared);
    assert_eq!(config.routes.log_topics(), KafkaRoutes::seed("a").log_topics());
    let sink = KafkaSink::new(&config).unwrap();
    let group = a.consumer("kafka", "one", &sink.topics(), Start::Beginning).await.unwrap();
    let file = FileUploaded::from(&sample::file(&sample::conversation("c1"), "photo"));
    let file = Envelope::new(&["photo"], sample::notice("x", 0).at, file);
    let sent = [edit("c1", 1), file, edit("c2", 1), edit("c1", 2)];
    let unsent = sample::notice("ann", 1);
    let mut published = sent.to_vec();
    published.push(unsent);
    a.publisher().publish_many(&published).await.unwrap();
    let worker = Worker::new(group, sink.clone()).with(quick()).start();

    let seen = records(kafka.brokers(), &shared, sent.len());
    for event in &sent {
        let record = seen.iter().find(|record| record.header(ID) == event.id.as_str()).unwrap();
        assert_eq!(record.value.as_deref(), Some(wire::encode_payload(event).as_bytes()));
        assert_eq!(record.key(), event.key());
        assert_eq!((record.header(EVENT), record.header(VERSION)), (event.name().to_owned(), "1".to_owned()));
        assert_eq!(record.header(LOG), "a");
    }

    let source = KafkaSource::new(&receiving(kafka.brokers(), &shared), Arc::new(b.publisher())).unwrap();
    let source = source.with(eager()).start().unwrap();
    settled("all of it to be in the other log", &source, 4).await;
    let stats = source.stop().await;
    assert_eq!((stats.published, stats.read, stats.dead), (4, 4, 0));
    let bytes = |events: Vec<Envelope>| events.iter().map(wire::encode_payload).collect::<Vec<_>>();
    for of in [Topic::Messages, Topic::Files] {
        let (there, here) = (all(&b.tail(), of).await, all(&a.tail(), of).await);
        assert_eq!(revisions(there.iter().filter(|event| event.topic() == Topic::Messages)), {
            revisions(here.iter().filter(|event| event.topic() == Topic::Messages))
        });
        let sorted = |events| {
            let mut bytes = bytes(events);
            bytes.sort();
            bytes
        };
        assert_eq!(sorted(there), sorted(here));
    }
    assert!(all(&b.tail(), Topic::Notifications).await.is_empty());
    let stats = worker.stop().await;
    assert_eq!((stats.handled, stats.buried, sink.stats().sent), (4, 0, 4));
    let last = a.consumer("kafka", "last", &sink.topics(), Start::Now).await.unwrap();
    assert_eq!(last.lag().await.unwrap(), Lag::default());
    Ok(())
}

async fn each_key_keeps_its_order_over_partitions() -> Result<(), Absent> {
    const KEYS: usize = 20;
    const EACH: u32 = 30;
    let (kafka, a, b) = (broker()?, memory(), memory());
    let name = topic(kafka.brokers(), 3).await;
    let sink = KafkaSink::new(&sending(kafka.brokers(), &name)).unwrap();
    let worker = Worker::new(a.consumer("kafka", "one", &sink.topics(), false), sink).with(quick()).start();
    a.publish_many(&edits(KEYS, EACH)).await.unwrap();
    let source = KafkaSource::new(&receiving(kafka.brokers(), &name), b.clone()).unwrap();
    let source = source.with(eager()).start().unwrap();
    settled("all of it", &source, u64::from(EACH) * KEYS as u64).await;
    assert_eq!(revisions(&all(&*b, Topic::Messages).await), in_order(KEYS, EACH));
    let seen = records(kafka.brokers(), &name, KEYS * EACH as usize);
    assert_eq!(revisions(&events(&seen)), in_order(KEYS, EACH));
    assert!((0..3).all(|partition| seen.iter().any(|record| record.partition == partition)));
    source.stop().await;
    worker.stop().await;
    Ok(())
}

async fn what_is_read_again_is_suppressed() -> Result<(), Absent> {
    let (kafka, log) = (broker()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    for event in edits(2, 5) {
        let value = wire::encode_payload(&event);
        write(kafka.brokers(), &name, &[(Some(event.key().as_bytes()), Some(value.as_bytes()))]).await;
    }
    for expected in [(10, 0), (0, 10)] {
        let source = KafkaSource::new(&receiving(kafka.brokers(), &name), log.clone()).unwrap();
        let source = source.with(eager()).start().unwrap();
        settled("all of it", &source, 10).await;
        let stats = source.stop().await;
        assert_eq!((stats.published, stats.suppressed), expected);
    }
    assert_eq!(revisions(&all(&*log, Topic::Messages).await), in_order(2, 5));
    Ok(())
}

async fn poison_is_kept_and_holds_up_nobody() -> Result<(), Absent> {
    let (kafka, log) = (broker()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    let good = |nth| wire::encode_payload(&edit("c0", nth));
    let damaged = good(9).replacen("\"v\":1", "\"v\":\"one\"", 1);
    let poison: [Pair<'_>; 5] = [
        (Some(b"k"), Some(b"\xff\x00 no text")),
        (None, Some(b"[1, 2]")),
        (Some(b"tombstone"), None),
        (Some(b"k"), Some(b"")),
        (Some(b"c0"), Some(damaged.as_bytes())),
    ];
    write(kafka.brokers(), &name, &[(Some(b"c0"), Some(good(1).as_bytes()))]).await;
    write(kafka.brokers(), &name, &poison).await;
    write(kafka.brokers(), &name, &[(Some(b"c0"), Some(good(2).as_bytes()))]).await;
    let config = receiving(kafka.brokers(), &name);
    let source = KafkaSource::new(&config, log.clone()).unwrap().with(eager()).start().unwrap();
    settled("all of it", &source, 7).await;
    let stats = source.stop().await;
    assert_eq!((stats.read, stats.published, stats.dead), (7, 2, 5));
    assert_eq!(revisions(&all(&*log, Topic::Messages).await), in_order(1, 2));

    let dead = records(kafka.brokers(), &format!("{name}.dead"), 5);
    assert_eq!(dead.len(), 5);
    for (nth, (key, value)) in poison.iter().enumerate() {
        let is_it = |record: &&super::kafka::Seen| record.header("chat-dead-offset") == (nth + 1).to_string();
        let record = dead.iter().find(is_it).unwrap();
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (*key, *value));
        assert_eq!(
            (record.header("theirs"), record.header("chat-dead-topic")),
            ("kept".into(), name.clone())
        );
        assert_eq!(record.header("chat-dead-partition"), "0");
        assert!(record.header("chat-dead-cause").starts_with("chat.data.corrupt"), "{record:?}");
    }

    // All of it is committed: the next member of the group finds what comes later, and nothing else.
    write(kafka.brokers(), &name, &[(Some(b"c0"), Some(good(3).as_bytes()))]).await;
    let source = KafkaSource::new(&config, log.clone()).unwrap().with(eager()).start().unwrap();
    settled("the next", &source, 1).await;
    assert_eq!(source.stop().await.read, 1);
    Ok(())
}

/// A log that refuses one event.
#[derive(Debug)]
struct Picky(Arc<chat_core::memory::MemoryEvents>, u32, Code);

#[async_trait]
impl EventPublisher for Picky {
    async fn publish_many(&self, events: &[Envelope]) -> Outcome<Vec<Published>> {
        if events.iter().any(|event| super::kafka::nth(event).1 == self.1) {
            return Err(Error::new(self.2));
        }
        self.0.publish_many(events).await
    }
}

async fn a_record_the_log_refuses_is_dead_and_its_neighbours_are_not() -> Result<(), Absent> {
    let kafka = broker()?;
    for (code, attempts) in [(Code::PayloadTooLarge, 2), (Code::Internal, 1 + u64::from(eager().attempts))] {
        let (log, name) = (memory(), topic(kafka.brokers(), 1).await);
        for nth in 1..=5 {
            let value = wire::encode_payload(&edit("c0", nth));
            write(kafka.brokers(), &name, &[(Some(b"c0"), Some(value.as_bytes()))]).await;
        }
        let picky = Arc::new(Picky(log.clone(), 3, code));
        let source = KafkaSource::new(&receiving(kafka.brokers(), &name), picky).unwrap();
        // All of them at once, or those there are.
        let source = source.with(eager()).start().unwrap();
        settled("all of it", &source, 5).await;
        let stats = source.stop().await;
        assert_eq!((stats.published, stats.dead), (4, 1), "{code}");
        assert!(stats.failed == attempts, "{code}: {stats:?}");
        assert_eq!(revisions(&all(&*log, Topic::Messages).await)["c0"], [1, 2, 4, 5]);
        let dead = records(kafka.brokers(), &format!("{name}.dead"), 1);
        assert!(dead[0].header("chat-dead-cause").starts_with(code.as_str()));
        assert_eq!(events(&dead), [edit("c0", 3)]);
    }
    Ok(())
}

async fn own_records_and_other_kinds_are_left_alone() -> Result<(), Absent> {
    let (kafka, a, log) = (broker()?, memory(), memory());
    let name = topic(kafka.brokers(), 1).await;
    let sink = KafkaSink::new(&sending(kafka.brokers(), &name)).unwrap();
    let worker = Worker::new(a.consumer("kafka", "one", &sink.topics(), false), sink).with(quick()).start();
    a.publish_many(&edits(1, 3)).await.unwrap();
    records(kafka.brokers(), &name, 3);
    worker.stop().await;
    let (other, wanted) =
        (wire::encode_payload(&sample::notice("ann", 1)), wire::encode_payload(&edit("c0", 4)));
    write(kafka.brokers(), &name, &[(None, Some(other.as_bytes())), (None, Some(wanted.as_bytes()))]).await;

    let mut config = receiving(kafka.brokers(), &name);
    config.routes = KafkaRoutes::new("a").receive([EventKind::MessageEdited], &name);
    let source = KafkaSource::new(&config, log.clone()).unwrap().with(eager()).start().unwrap();
    settled("all of it", &source, 5).await;
    let stats = source.stop().await;
    assert_eq!((stats.own, stats.skipped, stats.published, stats.dead), (3, 1, 1, 0));
    assert_eq!(revisions(&all(&*log, Topic::Messages).await)["c0"], [4]);
    Ok(())
}

async fn records_of_others_are_read_by_a_function() -> Result<(), Absent> {
    let (kafka, log) = (broker()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    let lines: [&[u8]; 4] = [b"edit 1", b"noise", b"edit 2", b"panic"];
    for line in lines {
        write(kafka.brokers(), &name, &[(None, Some(line))]).await;
    }
    let source = KafkaSource::new(&receiving(kafka.brokers(), &name), log.clone()).unwrap();
    let source = source.decoding(|record: &KafkaRecord| {
        let line = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
        assert_ne!(line, "panic", "quite so");
        Ok(line.strip_prefix("edit ").map(|nth| edit("c0", nth.parse().unwrap())))
    });
    let source = source.with(eager()).start().unwrap();
    settled("all of it", &source, 4).await;
    let stats = source.stop().await;
    assert_eq!((stats.published, stats.skipped, stats.dead), (2, 1, 1));
    assert_eq!(revisions(&all(&*log, Topic::Messages).await), in_order(1, 2));
    Ok(())
}

async fn while_the_log_is_away_the_source_waits_and_loses_nothing() -> Result<(), Absent> {
    let (kafka, redis) = (broker()?, Redis::spawn_with(&RedisOptions::default().append_only())?);
    let name = topic(kafka.brokers(), 1).await;
    let log = streams(&redis.url(), "b:").await;
    let send = async |nth| {
        let value = wire::encode_payload(&edit("c0", nth));
        write(kafka.brokers(), &name, &[(Some(b"c0"), Some(value.as_bytes()))]).await;
    };
    send(1).await;
    let patient = chat_redis::RedisConfig::from_url(&redis.url()).unwrap();
    let short = chat_redis::RedisService::connect(&patient).await.unwrap();
    let options = chat_streams::StreamsOptions {
        names: chat_core::event::StreamNames::seed().with_prefix("b:"),
        ..chat_streams::StreamsOptions::default()
    };
    let publisher = chat_streams::Streams::new(&short, options).unwrap().publisher();
    let source = KafkaSource::new(&receiving(kafka.brokers(), &name), Arc::new(publisher)).unwrap();
    let source = source.with(eager()).start().unwrap();
    settled("the first", &source, 1).await;
    redis.kill();
    for nth in 2..=6 {
        send(nth).await;
    }
    eventually("it to try in vain", || async { (source.stats().failed >= 3).then_some(()) }).await;
    let stats = source.stats();
    assert!(stats.held > 0 && stats.published == 1 && stats.dead == 0 && stats.partitions == 1, "{stats:?}");
    redis.restart();
    settled("the rest", &source, 6).await;
    assert_eq!(source.stop().await.dead, 0);
    assert_eq!(revisions(&all(&log.tail(), Topic::Messages).await), in_order(1, 6));
    Ok(())
}

/// Dead records that are kept only after so many attempts.
#[derive(Debug, Default)]
struct Reluctant(Mutex<(u32, Vec<KafkaRecord>)>);

#[async_trait]
impl DeadRecords for Reluctant {
    async fn bury(&self, record: &KafkaRecord, cause: &Error) -> Outcome<()> {
        assert_eq!(cause.kind(), ErrorKind::Corrupt);
        let mut state = self.0.lock();
        state.0 += 1;
        if state.0 < 4 {
            return Err(Code::Unavailable.into());
        }
        state.1.push(record.clone());
        Ok(())
    }
}

async fn dead_records_that_cannot_be_kept_are_not_passed_over() -> Result<(), Absent> {
    let (kafka, log, dead) = (broker()?, memory(), Arc::new(Reluctant::default()));
    let name = topic(kafka.brokers(), 1).await;
    write(kafka.brokers(), &name, &[(None, Some(b"poison"))]).await;
    let source = KafkaSource::new(&receiving(kafka.brokers(), &name), log).unwrap();
    let source = source.burying(Arc::clone(&dead)).with(eager()).start().unwrap();
    settled("it to be kept", &source, 1).await;
    let stats = source.stop().await;
    assert_eq!((stats.dead, stats.failed), (1, 3));
    let kept = dead.0.lock().1.clone();
    assert_eq!((kept.len(), kept[0].value.as_deref(), kept[0].offset), (1, Some(b"poison".as_slice()), 0));
    assert_eq!(kept[0].header("theirs"), Some(b"kept".as_slice()));
    Ok(())
}

async fn two_sources_share_a_topic_and_one_takes_over() -> Result<(), Absent> {
    const KEYS: usize = 12;
    let (kafka, a, b) = (broker()?, memory(), memory());
    let name = topic(kafka.brokers(), 4).await;
    let sink = KafkaSink::new(&sending(kafka.brokers(), &name)).unwrap();
    let worker = Worker::new(a.consumer("kafka", "one", &sink.topics(), false), sink).with(quick()).start();
    let config = receiving(kafka.brokers(), &name);
    let source = || KafkaSource::new(&config, b.clone()).unwrap().with(eager()).start().unwrap();
    let events = edits(KEYS, 40);
    let (early, late) = events.split_at(KEYS * 20);

    let one = source();
    eventually("one to have all", || async { (one.stats().partitions == 4).then_some(()) }).await;
    a.publish_many(early).await.unwrap();
    let other = source();
    eventually("both to have some", || async {
        (one.stats().partitions == 2 && other.stats().partitions == 2).then_some(())
    })
    .await;
    a.publish_many(late).await.unwrap();
    let done = async |stats: &dyn Fn() -> u64, count: u64| {
        eventually("the events", || async { (stats() >= count).then_some(()) }).await;
    };
    done(&|| one.stats().published + other.stats().published, events.len() as u64).await;
    assert!(other.stats().published > 0, "it has its share");
    let left = one.stop().await;
    eventually("the other to have all", || async { (other.stats().partitions == 4).then_some(()) }).await;
    a.publish_many(&[edit("c0", 41), edit("c1", 41)]).await.unwrap();
    done(&|| left.published + other.stats().published, events.len() as u64 + 2).await;
    let stats = other.stop().await;
    worker.stop().await;
    assert_eq!(left.suppressed + stats.suppressed, 0, "what was handed over was committed");
    let mut expected = in_order(KEYS, 40);
    expected.get_mut("c0").unwrap().push(41);
    expected.get_mut("c1").unwrap().push(41);
    assert_eq!(revisions(&all(&*b, Topic::Messages).await), expected);
    Ok(())
}

/// A log that is away when it is told.
#[derive(Debug)]
struct Gate(Arc<chat_core::memory::MemoryEvents>, AtomicBool);

#[async_trait]
impl EventPublisher for Gate {
    async fn publish_many(&self, events: &[Envelope]) -> Outcome<Vec<Published>> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Code::Unavailable.into());
        }
        self.0.publish_many(events).await
    }
}

async fn partitions_that_move_while_the_log_is_away_lose_nothing() -> Result<(), Absent> {
    const KEYS: usize = 12;
    const EACH: u32 = 20;
    let (kafka, log) = (broker()?, memory());
    let gate = Arc::new(Gate(log.clone(), AtomicBool::new(true)));
    let name = topic(kafka.brokers(), 4).await;
    let send = async |events: &[Envelope]| {
        let lines: Vec<_> = events.iter().map(|event| (event.key(), wire::encode_payload(event))).collect();
        let pairs: Vec<Pair<'_>> =
            lines.iter().map(|(key, value)| (Some(key.as_bytes()), Some(value.as_bytes()))).collect();
        write(kafka.brokers(), &name, &pairs).await;
    };
    let events = edits(KEYS, EACH);
    let (early, late) = events.split_at(KEYS * 10);
    send(early).await;
    let config = receiving(kafka.brokers(), &name);
    // Pauses long enough for new partitions to be heard of in the middle of one.
    let (first_pause, drain) = (Duration::from_secs(2), Duration::from_millis(200));
    let options = SourceOptions { batch: 16, first_pause, longest_pause: first_pause, drain, ..eager() };
    let source = || KafkaSource::new(&config, gate.clone()).unwrap().with(options.clone()).start().unwrap();
    let one = source();
    eventually("one to hold something", || async { (one.stats().held > 0).then_some(()) }).await;
    let other = source();
    eventually("both to have some", || async {
        (one.stats().partitions == 2 && other.stats().partitions == 2 && other.stats().held > 0).then_some(())
    })
    .await;
    assert!(one.stats().held <= 16 && other.stats().held <= 16, "it holds no more than a batch");
    assert!(all(&*log, Topic::Messages).await.is_empty());
    send(late).await;
    assert!(one.stop().await.held > 0);
    // Partitions the other never had: what comes from them during a pause is kept, too. Between two pauses nothing does.
    let before = eventually("the other to have all", || async {
        Some(other.stats()).filter(|stats| stats.partitions == 4)
    })
    .await;
    eventually("more to come, or not", || async {
        let now = other.stats();
        (now.held > before.held || now.failed >= before.failed + 2).then_some(())
    })
    .await;
    gate.1.store(false, Ordering::SeqCst);
    eventually("all of it", || async {
        (revisions(&all(&*log, Topic::Messages).await) == in_order(KEYS, EACH)).then_some(())
    })
    .await;
    assert_eq!(all(&*log, Topic::Messages).await.len(), events.len(), "each once");
    assert_eq!(other.stop().await.dead, 0);
    Ok(())
}

async fn stopping_has_a_deadline_and_what_was_not_published_is_read_again() -> Result<(), Absent> {
    let (kafka, log) = (broker()?, memory());
    let gate = Arc::new(Gate(log.clone(), AtomicBool::new(true)));
    let name = topic(kafka.brokers(), 1).await;
    let value = wire::encode_payload(&edit("c0", 1));
    write(kafka.brokers(), &name, &[(Some(b"c0"), Some(value.as_bytes()))]).await;
    let config = receiving(kafka.brokers(), &name);
    let options = SourceOptions { drain: Duration::from_millis(200), ..eager() };
    let source = KafkaSource::new(&config, gate.clone()).unwrap().with(options).start().unwrap();
    eventually("it to hold it", || async { (source.stats().held == 1).then_some(()) }).await;
    let stats = source.stop().await;
    assert_eq!((stats.held, stats.published), (1, 0));
    gate.1.store(false, Ordering::SeqCst);
    let source = KafkaSource::new(&config, gate).unwrap().with(eager()).start().unwrap();
    settled("it", &source, 1).await;
    assert_eq!(source.stop().await.published, 1);
    Ok(())
}

async fn stopping_commits_what_was_published() -> Result<(), Absent> {
    let (kafka, log) = (broker()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    let config = receiving(kafka.brokers(), &name);
    for round in 1..=3 {
        let value = wire::encode_payload(&edit("c0", round));
        write(kafka.brokers(), &name, &[(Some(b"c0"), Some(value.as_bytes()))]).await;
        let source = KafkaSource::new(&config, log.clone()).unwrap().with(eager()).start().unwrap();
        settled("it", &source, 1).await;
        let stats = source.stop().await;
        assert_eq!((stats.read, stats.published), (1, 1), "round {round}");
    }
    Ok(())
}

async fn what_is_too_large_is_a_dead_letter_and_its_key_goes_on() -> Result<(), Absent> {
    let (kafka, a) = (broker()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    let config = sending(kafka.brokers(), &name).set("message.max.bytes", "2000").unwrap();
    let sink = KafkaSink::new(&config).unwrap();
    let group = a.consumer("kafka", "one", &sink.topics(), false);
    let worker = Worker::new(group, sink.clone()).with(quick()).start();
    let mut large = edit("c0", 2);
    if let chat_core::event::Event::MessageEdited(edited) = &mut large.event {
        edited.new_content = "x".repeat(4_000);
    }
    a.publish_many(&[edit("c0", 1), large.clone(), edit("c0", 3)]).await.unwrap();
    let seen = records(kafka.brokers(), &name, 2);
    assert_eq!(revisions(&events(&seen))["c0"], [1, 3]);
    let stats = worker.stop().await;
    assert_eq!((stats.handled, stats.buried, stats.failed), (2, 1, 1));
    let letters = a.list(&Page::first(10)).await.unwrap().items;
    assert!(letters[0].cause.contains("chat.payload.too_large"), "{letters:?}");
    assert_eq!(letters[0].event.as_ref().unwrap().id, large.id);
    Ok(())
}

async fn health_tells_whether_the_brokers_answer() -> Result<(), Absent> {
    let (kafka, log) = (Kafka::spawn()?, memory());
    let name = topic(kafka.brokers(), 1).await;
    let sink = KafkaSink::new(&sending(kafka.brokers(), &name)).unwrap();
    let source = KafkaSource::new(&receiving(kafka.brokers(), &name), log).unwrap();
    let source = source.start().unwrap();
    sink.check(Duration::from_secs(30)).await.unwrap();
    source.check(Duration::from_secs(30)).await.unwrap();
    kafka.kill();
    for error in [
        sink.check(Duration::from_millis(300)).await.unwrap_err(),
        source.check(Duration::from_millis(300)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    drop(source);
    Ok(())
}

async fn circles_and_bad_properties_are_refused() -> Result<(), Absent> {
    let circle = KafkaRoutes::seed("a").receive([EventKind::FileUploaded], "back");
    let config = KafkaConfig::new("127.0.0.1:1", circle);
    for refused in [KafkaSink::new(&config).map(drop), KafkaSource::new(&config, memory()).map(drop)] {
        assert_eq!(refused.unwrap_err().code(), Code::ConfigInvalid);
    }
    let config = KafkaConfig::new("127.0.0.1:1", KafkaRoutes::seed("a"));
    assert_eq!(
        KafkaSource::new(&config, memory()).unwrap_err().code(),
        Code::ConfigInvalid,
        "nothing to read"
    );
    for (property, value) in [("no.such.property", "s3cret"), ("compression.type", "s3cret")] {
        let config = config.clone().set(property, value).unwrap();
        let error = KafkaSink::new(&config).unwrap_err();
        assert!(error.code() == Code::ConfigInvalid && error.to_string().contains(property), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    Ok(())
}
