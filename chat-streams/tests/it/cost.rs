//! What publishing, consuming and reading cost: counted, not timed.

use std::time::Duration;

use chat_core::event::{Envelope, Topic};
use chat_core::store::events::Receipt;
use chat_core::store::{EventConsumer, EventPublisher, EventTail};
use chat_streams::{Start, Streams, StreamsOptions};
use chat_testkit::proxy::{Counts, Protocol, Proxy};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, sample, trials};

use super::log::{TOPIC, connect};

trials! { needs "redis":
    every_operation_is_one_round_trip,
    an_event_costs_less_than_three_hundredths_of_a_command,
    a_quiet_topic_costs_a_busy_one_little,
}

const BATCH: usize = 128;

struct Meter {
    _server: Redis,
    proxy: Proxy,
    streams: Streams,
}

impl Meter {
    async fn new() -> Result<Self, Absent> {
        let server = Redis::spawn()?;
        let proxy = Proxy::start(server.address(), Protocol::Redis).await;
        let streams = connect(&server.url_at(proxy.address()), None, StreamsOptions::default()).await;
        Ok(Self { _server: server, proxy, streams })
    }

    /// What the second run costs: the first one loads the scripts.
    async fn second<T, F: Future<Output = T>>(&self, run: impl Fn(usize) -> F) -> (T, Counts) {
        run(0).await;
        self.proxy.counting(run(1)).await
    }
}

fn events(from: usize) -> Vec<Envelope> {
    (from..from + BATCH).map(|nth| sample::notice(&format!("user {}", nth % 20), nth)).collect()
}

fn receipts(deliveries: &[chat_core::store::events::Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt.clone()).collect()
}

async fn every_operation_is_one_round_trip() -> Result<(), Absent> {
    let meter = Meter::new().await?;
    let publisher = meter.streams.publisher();
    let cost = |counts: Counts| (counts.requests, counts.turns);
    let one = meter.streams.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
    let tail = meter.streams.tail();
    let ends = tail.ends(&[TOPIC]).await.unwrap();

    let (_, published) = meter
        .second(|run| {
            let (publisher, batch) = (&publisher, events(run * BATCH));
            async move { publisher.publish_many(&batch).await.unwrap() }
        })
        .await;
    assert_eq!(cost(published), (1, 1), "a batch");
    let (_, fetched) = meter.second(|_| one.fetch(10, Duration::ZERO)).await;
    assert_eq!(cost(fetched), (1, 1), "a fetch");
    let held = receipts(&one.fetch(10, Duration::ZERO).await.unwrap());
    let (_, acked) = meter.second(|_| one.ack(&held)).await;
    assert_eq!(cost(acked), (1, 1), "an acknowledgement");
    let (_, both) = meter.second(|_| one.ack_and_fetch(&held, 10)).await;
    assert_eq!(cost(both), (2, 1), "an acknowledgement with a fetch");
    let (_, renewed) = meter.second(|_| one.renew(&held)).await;
    assert_eq!(cost(renewed), (1, 1), "renewing");
    let (_, reclaimed) = meter.second(|_| one.reclaim(Duration::from_secs(60), 10)).await;
    assert_eq!(cost(reclaimed), (1, 1), "a reclaim");
    let (_, lag) = meter.second(|_| one.lag()).await;
    assert_eq!(cost(lag), (1, 1), "a lag");
    let (found, read) = meter.second(|_| tail.read_since(&ends, 10, Duration::ZERO)).await;
    assert_eq!(cost(read).1, 2, "a place before everything is looked at by a script");
    let chat_core::store::events::TailRead::Events { next, .. } = found.unwrap().remove(0) else { panic!() };
    let cursors = [next.clone(), next];
    let (_, read) = meter.second(|_| tail.read_since(&cursors, 10, Duration::ZERO)).await;
    assert_eq!(cost(read), (4, 1), "two commands a cursor");
    let (_, ends) = meter.second(|_| tail.ends(Topic::ALL)).await;
    assert_eq!(cost(ends), (Topic::ALL.len() as u64, 1));
    Ok(())
}

async fn an_event_costs_less_than_three_hundredths_of_a_command() -> Result<(), Absent> {
    const BATCHES: usize = 20;
    let meter = Meter::new().await?;
    let one = meter.streams.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
    let publisher = meter.streams.publisher();
    publisher.publish_many(&events(0)).await.unwrap();
    one.ack(&receipts(&one.fetch(BATCH, Duration::ZERO).await.unwrap())).await.unwrap();
    let ((), published) = meter
        .proxy
        .counting(async {
            for nth in 1..=BATCHES {
                publisher.publish_many(&events(nth * BATCH)).await.unwrap();
            }
        })
        .await;
    let (count, consumed) = meter
        .proxy
        .counting(async {
            let (mut held, mut count) = (Vec::new(), 0);
            loop {
                held = receipts(&one.ack_and_fetch(&held, BATCH).await.unwrap());
                count += held.len();
                if held.is_empty() {
                    return count;
                }
            }
        })
        .await;
    assert_eq!(count, BATCHES * BATCH);
    let each = |counts: Counts| counts.requests as f64 / count as f64;
    assert!(each(published) <= 0.01 && each(consumed) <= 0.03, "{} {}", each(published), each(consumed));
    assert!(consumed.turns <= BATCHES as u64 + 2, "{consumed:?}");
    Ok(())
}

async fn a_quiet_topic_costs_a_busy_one_little() -> Result<(), Absent> {
    const BATCHES: usize = 20;
    let meter = Meter::new().await?;
    let one = meter.streams.consumer("g", "one", Topic::ALL, Start::Now).await.unwrap();
    let publisher = meter.streams.publisher();
    for nth in 0..BATCHES {
        publisher.publish_many(&events(nth * BATCH)).await.unwrap();
    }
    let (mut held, mut count) = (Vec::new(), 0);
    held = receipts(&one.ack_and_fetch(&held, BATCH).await.unwrap());
    let ((), consumed) = meter
        .proxy
        .counting(async {
            while count < (BATCHES - 3) * BATCH {
                held = receipts(&one.ack_and_fetch(&held, BATCH).await.unwrap());
                count += held.len();
            }
        })
        .await;
    assert!(consumed.requests as f64 / count as f64 <= 0.03, "{consumed:?} for {count}");
    Ok(())
}
