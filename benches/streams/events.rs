//! Events through Redis Streams beside the raw driver and `redis-benchmark XADD`.
//!
//! What `redis-benchmark` does is adding one entry with the fields ours has, by 64 clients which each send 16 at once: as fast
//! as the server takes any. A ratio is between events of ours and entries of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench says what went wrong by failing"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, Contender, Goal, Reference, Row, Stage, acting, measure};
use chat_core::domain::EventId;
use chat_core::event::{Envelope, StreamNames, Topic, wire};
use chat_core::store::events::Receipt;
use chat_core::store::{EventConsumer, EventPublisher};
use chat_streams::{Encoding, Start, Streams, StreamsOptions};
use chat_testkit::sample;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use tokio::sync::Mutex;

const TOPIC: Topic = Topic::Notifications;
/// How many events wait to be consumed, of how many keys.
const BACKLOG: usize = 20_000;
const KEYS: usize = 500;

fn main() {
    let Some(stage) = Stage::set() else { return };
    let mut rows = Vec::new();
    for (encoding, batch) in
        [(Encoding::Flat, 1), (Encoding::Flat, 16), (Encoding::Flat, 128), (Encoding::Payload, 128)]
    {
        rows.push(publish(&stage, encoding, batch));
    }
    for (encoding, count) in [
        (Encoding::Flat, 1),
        (Encoding::Flat, 10),
        (Encoding::Flat, 100),
        (Encoding::Flat, 1_000),
        (Encoding::Payload, 100),
    ] {
        rows.push(consume(&stage, encoding, count));
    }
    rows.push(end_to_end(&stage));
    measure(&stage, &rows);
}

fn streams(stage: &Stage, encoding: Encoding, name: &str, length: u64) -> Streams {
    let names = StreamNames::seed().with_prefix(format!("{name}:"));
    let options = StreamsOptions {
        names,
        encoding,
        lengths: BTreeMap::from([(TOPIC, length)]),
        ..StreamsOptions::default()
    };
    Streams::new(&stage.redis.service, options).unwrap()
}

fn said(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Flat => "flat fields and payload",
        Encoding::Payload => "payload alone",
    }
}

/// `redis-benchmark` adding entries like this event's, of which `worth` are one operation of ours.
fn reference(encoding: Encoding, event: &Envelope, worth: usize) -> Reference {
    let mut words: Vec<String> = ["XADD", "bench", "MAXLEN", "~", "10000", "*"].map(str::to_owned).into();
    match encoding {
        Encoding::Flat => {
            for (name, value) in wire::encode_flat(event) {
                words.extend([name.into_owned(), value]);
            }
        }
        Encoding::Payload => words.extend(["payload".to_owned(), wire::encode_payload(event)]),
    }
    Reference::new("XADD", words, 16).clients(64).worth(worth as f64)
}

fn publish(stage: &Stage, encoding: Encoding, batch: usize) -> Row {
    let name = format!("publish {batch}, {}", said(encoding));
    let publisher = Arc::new(streams(stage, encoding, &name.replace(' ', "-"), 10_000).publisher());
    let sample: Arc<Vec<Envelope>> =
        Arc::new((0..batch).map(|nth| sample::notice(&format!("user{:03}", nth % KEYS), nth)).collect());
    let event = sample[0].clone();
    let ours = acting(move |task, nth| {
        let (publisher, sample) = (Arc::clone(&publisher), Arc::clone(&sample));
        async move {
            let event = |(n, event): (usize, &Envelope)| {
                // Ids are UUIDs, as derived ones are.
                let id = EventId::new(format!("{task:08x}-{n:04x}-5000-8000-{nth:012x}")).unwrap();
                Envelope { id, ..event.clone() }
            };
            let events: Vec<_> = sample.iter().enumerate().map(event).collect();
            publisher.publish_many(&events).await.unwrap();
        }
    });
    let mut row = stage.row(&name, ours);
    if batch == 1 {
        row.raw.push(Contender {
            name: "what it replaces: XADD, EXPIRE, XTRIM",
            act: seed_publish(stage, &event),
        });
    }
    row.elements = batch as u64;
    row.references = vec![reference(encoding, &event, batch)];
    let beside = "redis-benchmark XADD";
    row.goals = vec![Goal { tasks: 1, beside, at_least: 0.6 }, Goal { tasks: 16, beside, at_least: 0.6 }];
    row.goals.retain(|_| batch == 128);
    row
}

/// How seed 001 publishes: three commands; here in one write.
fn seed_publish(stage: &Stage, event: &Envelope) -> Act {
    let (raw, payload) = (stage.raw.clone(), wire::encode_payload(event));
    acting(move |_, _| {
        let (mut raw, payload) = (raw.clone(), payload.clone());
        async move {
            let mut add = redis::cmd("XADD");
            add.arg("seed").arg("*").arg("payload").arg(payload);
            let mut expire = redis::cmd("EXPIRE");
            expire.arg("seed").arg(86_400);
            let mut trim = redis::cmd("XTRIM");
            trim.arg("seed").arg("MAXLEN").arg("~").arg(10_000);
            let mut pipeline = Pipeline::with_capacity(3);
            for command in [add, expire, trim] {
                pipeline.add_command(command);
            }
            let _: Vec<Value> = pipeline.query_async(&mut raw).await.unwrap();
        }
    })
}

/// How seed 001 consumes: ten entries at a time, each acknowledged and awaited on its own.
fn seed_consume(
    stage: &Stage,
    prefix: &str,
) -> impl Fn(usize, usize) -> BoxFuture<'static, ()> + Send + Sync + use<> {
    let (raw, stream) = (stage.raw.clone(), format!("{prefix}:events:notifications"));
    let made: RedisResult<Value> = stage.prepare(async {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&stream).arg("seed").arg("0").query_async(&mut raw.clone()).await
    });
    made.unwrap();
    move |_, _| {
        let (mut raw, stream) = (raw.clone(), stream.clone());
        Box::pin(async move {
            let mut read = redis::cmd("XREADGROUP");
            read.arg("GROUP")
                .arg("seed")
                .arg("one")
                .arg("COUNT")
                .arg(10)
                .arg("STREAMS")
                .arg(&stream)
                .arg(">");
            let mut found: Value = read.query_async(&mut raw).await.unwrap();
            if found == Value::Nil {
                rewind(&mut raw, &stream, "seed").await;
                found = read.query_async(&mut raw).await.unwrap();
            }
            for id in ids(&found) {
                let mut ack = redis::cmd("XACK");
                let _: Value = ack.arg(&stream).arg("seed").arg(id).query_async(&mut raw).await.unwrap();
            }
        })
    }
}

/// Everything in the stream is new to the group again.
async fn rewind(raw: &mut MultiplexedConnection, stream: &str, group: &str) {
    let rewound: RedisResult<Value> =
        redis::cmd("XGROUP").arg("SETID").arg(stream).arg(group).arg("0").query_async(raw).await;
    rewound.unwrap();
}

fn consume(stage: &Stage, encoding: Encoding, count: usize) -> Row {
    let name = format!("consume and acknowledge {count}, {}", said(encoding));
    let prefix = name.replace([' ', ','], "-");
    let streams = streams(stage, encoding, &prefix, 1_000_000);
    let stream = format!("{prefix}:events:notifications");
    let member = stage.prepare(async {
        let events: Vec<_> =
            (0..BACKLOG).map(|nth| sample::notice(&format!("user{:03}", nth * 7 % KEYS), nth)).collect();
        streams.publisher().publish_many(&events).await.unwrap();
        let _: () = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(&stream)
            .arg("raw")
            .arg("0")
            .query_async(&mut stage.raw.clone())
            .await
            .unwrap();
        Arc::new(streams.consumer("ours", "one", &[TOPIC], Start::Beginning).await.unwrap())
    });
    let held: Arc<Mutex<Vec<Receipt>>> = Arc::default();
    let ours = acting({
        let (raw, stream) = (stage.raw.clone(), stream.clone());
        move |_, _| {
            let (member, held, mut raw, stream) =
                (Arc::clone(&member), Arc::clone(&held), raw.clone(), stream.clone());
            async move {
                let mut held = held.lock().await;
                let mut found = member.ack_and_fetch(&held, count).await.unwrap();
                if found.is_empty() {
                    rewind(&mut raw, &stream, "ours").await;
                    found = member.ack_and_fetch(&[], count).await.unwrap();
                }
                assert!(found.len() == count && found.iter().all(|delivery| delivery.event.is_ok()));
                *held = found.into_iter().map(|delivery| delivery.receipt).collect();
            }
        }
    });
    let native = acting(native(stage, stream, count));
    let mut row = Row::new(&name, ours);
    row.raw = vec![Contender { name: "raw driver, XACK and XREADGROUP, not decoded", act: native }];
    if count == 10 {
        let seed = acting(seed_consume(stage, &prefix));
        row.raw.push(Contender { name: "what it replaces: COUNT 10, XACK each, not decoded", act: seed });
    }
    row.elements = count as u64;
    row.tasks = &[1];
    row.references = vec![reference(encoding, &sample::notice("user001", 1), count)];
    row.goals = vec![Goal { tasks: 1, beside: "redis-benchmark XADD", at_least: 0.45 }];
    row.goals.retain(|_| count >= 100);
    row
}

/// What `XREADGROUP` and `XACK` alone can do: without order per key across members.
fn native(
    stage: &Stage,
    stream: String,
    count: usize,
) -> impl Fn(usize, usize) -> BoxFuture<'static, ()> + Send + Sync + use<> {
    let (raw, held) = (stage.raw.clone(), Arc::new(Mutex::new(Vec::<Vec<u8>>::new())));
    move |_, _| {
        let (mut raw, held, stream) = (raw.clone(), Arc::clone(&held), stream.clone());
        Box::pin(async move {
            let mut held = held.lock().await;
            let read = |pipeline: &mut Pipeline| {
                pipeline.cmd("XREADGROUP").arg("GROUP").arg("raw").arg("one").arg("COUNT").arg(count);
                pipeline.arg("STREAMS").arg(&stream).arg(">");
            };
            let mut pipeline = Pipeline::new();
            if !held.is_empty() {
                pipeline.cmd("XACK").arg(&stream).arg("raw").arg(&held[..]).ignore();
            }
            read(&mut pipeline);
            let (mut found,): (Value,) = pipeline.query_async(&mut raw).await.unwrap();
            if found == Value::Nil {
                rewind(&mut raw, &stream, "raw").await;
                let mut pipeline = Pipeline::new();
                read(&mut pipeline);
                (found,) = pipeline.query_async(&mut raw).await.unwrap();
            }
            *held = ids(&found);
            assert_eq!(held.len(), count);
        })
    }
}

fn ids(read: &Value) -> Vec<Vec<u8>> {
    let list = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        Value::Map(pairs) => pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect(),
        _ => Vec::new(),
    };
    let stream = list(read);
    let entries = if let [Value::Array(one)] = stream.as_slice() { list(&one[1]) } else { list(&stream[1]) };
    let id = |entry: &Value| match list(entry).first() {
        Some(Value::BulkString(id)) => id.clone(),
        other => panic!("no entry: {other:?}"),
    };
    entries.iter().map(id).collect()
}

fn end_to_end(stage: &Stage) -> Row {
    const WAIT: Duration = Duration::from_secs(5);
    let streams = streams(stage, Encoding::Flat, "latency", 10_000);
    let publisher = Arc::new(streams.publisher());
    let member = stage
        .prepare(async { Arc::new(streams.consumer("ours", "one", &[TOPIC], Start::Now).await.unwrap()) });
    let ours = acting(move |_, nth| {
        let (publisher, member) = (Arc::clone(&publisher), Arc::clone(&member));
        async move {
            let events = [sample::notice("user", nth)];
            let receive = async {
                let found = member.fetch(1, WAIT).await.unwrap();
                member.ack(&[found[0].receipt.clone()]).await.unwrap();
            };
            let (published, ()) = futures::join!(publisher.publish_many(&events), receive);
            published.unwrap();
        }
    });
    Row { tasks: &[1], ..Row::new("from publishing to acknowledged, one at a time", ours) }
}
