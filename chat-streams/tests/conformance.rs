//! Redis Streams keep every promise of the event log, on one server and on a cluster.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chat_core::clock::ManualClock;
use chat_core::event::StreamNames;
use chat_core::store::EventConsumer;
use chat_redis::{RedisConfig, RedisService};
use chat_streams::{Start, Streams, StreamsOptions};
use chat_testkit::server::{Redis, RedisCluster};
use chat_testkit::{Absent, Consumers, Namespace, Offer, promises, run_trials};

static SERVER: LazyLock<Result<Redis, Absent>> = LazyLock::new(Redis::find_or_spawn);
static CLUSTER: LazyLock<Result<RedisCluster, Absent>> = LazyLock::new(|| RedisCluster::spawn(3));

fn main() -> ExitCode {
    let mut trials = promises("redis-streams", |namespace| async move {
        offer(&SERVER.as_ref().map_err(Clone::clone)?.url(), &namespace).await
    });
    trials.extend(promises("redis-streams-cluster", |namespace| async move {
        offer(&cluster_url(CLUSTER.as_ref().map_err(Clone::clone)?), &namespace).await
    }));
    // The services on real streams, everything else in memory.
    let services = promises("redis-streams-events", |namespace| async move {
        let url = SERVER.as_ref().map_err(Clone::clone)?.url();
        let mut memory = Offer::memory();
        memory.outage = None;
        events(memory, &url, &namespace).await
    });
    trials.extend(services.into_iter().filter(|trial| trial.name().contains("::service::")));
    run_trials(trials)
}

async fn offer(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    events(Offer::new(ManualClock::default()), url, namespace).await
}

/// The same offer with its events on streams.
async fn events(offer: Offer, url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let config = RedisConfig::from_url(url).expect("a good URL").with_clock(Arc::new(offer.clock.clone()));
    let service = RedisService::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    let names = StreamNames::seed().with_prefix(format!("{}:", namespace.0));
    let streams =
        Streams::new(&service, StreamsOptions { names, ..StreamsOptions::default() }).expect("good names");
    let offer = offer
        .publisher(Arc::new(streams.publisher()))
        .tail(Arc::new(streams.tail()))
        .dead_letters(Arc::new(streams.dead_letters()));
    let consumers: Consumers = Arc::new(move |group, member, topics, from_beginning| {
        let (streams, group, member) = (streams.clone(), group.to_owned(), member.to_owned());
        let (topics, start) = (topics.to_vec(), if from_beginning { Start::Beginning } else { Start::Now });
        Box::pin(async move {
            let consumer = streams.consumer(&group, &member, &topics, start).await?;
            Ok(Arc::new(consumer) as Arc<dyn EventConsumer>)
        })
    });
    Ok(offer.consumers(consumers))
}

fn cluster_url(cluster: &RedisCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    format!("redis+cluster://{}", nodes.join(","))
}
