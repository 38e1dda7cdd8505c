//! How a service is, in words, values and metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chat_redis::connection::{Concern, Health, Role};
use chat_redis::{RedisConfig, RedisService, RedisServices};
use chat_testkit::server::{Redis, RedisCluster, RedisOptions};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

use super::{ask, config, connect, ms};

trials! { needs "redis":
    a_sound_server_is_ok,
    what_is_wrong_is_said,
    a_replica_takes_no_writes,
    a_cluster_that_lost_slots_is_degraded,
    every_operation_is_measured_without_ids,
    services_have_names,
}

async fn a_sound_server_is_ok() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    ask::<String>(&service, &["SET", "k", "v"]).await.unwrap();
    let health = service.health().await;
    assert_eq!((&health, health.to_string().as_str()), (&Health::Ok, "OK"));
    let info = service.server_info().await.unwrap();
    assert!(
        info.used_memory > 0 && info.connected_clients >= 1 && info.version.starts_with(char::is_numeric)
    );
    assert_eq!((info.keys, info.max_memory, info.evicted_keys), (1, 0, 0));
    server.kill();
    let health = service.health().await;
    assert_eq!((&health, health.to_string().as_str()), (&Health::Disconnected, "Disconnected"));
    Ok(())
}

async fn what_is_wrong_is_said() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    server.command(&["CONFIG", "SET", "maxmemory", "3mb", "maxmemory-policy", "allkeys-lru"]);
    for key in 0..40 {
        ask::<String>(&service, &["SET", &format!("k{key}"), &"x".repeat(100_000)]).await.unwrap();
    }
    let Health::Degraded(concerns) = service.health().await else { panic!("keys were evicted") };
    assert!(concerns.iter().any(|concern| matches!(concern, Concern::Memory { .. })), "{concerns:?}");
    assert!(
        concerns.iter().any(|concern| matches!(concern, Concern::Evicting(keys) if *keys > 0)),
        "{concerns:?}"
    );
    // Only what is new since the last time.
    let again = service.health().await;
    assert!(
        !matches!(&again, Health::Degraded(c) if c.iter().any(|c| matches!(c, Concern::Evicting(_)))),
        "{again:?}"
    );

    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(service.health().await, Health::Ok);
    server.stall(ms(600));
    eventually("a slow answer", async || {
        matches!(service.health().await, Health::Degraded(c) if matches!(c[..], [Concern::Slow(_)]))
            .then_some(())
    })
    .await;
    Ok(())
}

async fn a_replica_takes_no_writes() -> Result<(), Absent> {
    let (master, server) = (Redis::spawn()?, Redis::spawn()?);
    let service = connect(&server).await;
    server.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let health = service.health().await;
    assert!(matches!(&health, Health::Degraded(c) if c.contains(&Concern::Replica)), "{health:?}");
    let error = ask::<i64>(&service, &["INCR", "n"]).await.unwrap_err();
    assert_eq!(error.detail("redis"), Some("READONLY"));
    Ok(())
}

async fn a_cluster_that_lost_slots_is_degraded() -> Result<(), Absent> {
    let options = RedisOptions::default().set("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::spawn_with(3, &options)?;
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_owned()).collect();
    let config = RedisConfig::from_url(&format!("redis+cluster://{}", nodes.join(","))).unwrap();
    let service = RedisService::connect(&config).await.unwrap();
    assert_eq!(service.health().await, Health::Ok);
    assert_eq!(service.server_info().await.unwrap().keys, 0);
    cluster.nodes()[2].kill();
    eventually("the cluster to notice", async || {
        let health = service.health().await;
        matches!(health, Health::Degraded(c) if c.iter().any(|c| matches!(c, Concern::Slots(_))))
            .then_some(())
    })
    .await;
    Ok(())
}

/// Names of metrics, with their labels, and how often each was recorded.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, u64>>>);

struct Cell(Recorder, String);

impl Recorder {
    fn cell(&self, key: &metrics::Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }
}

impl Cell {
    fn count(&self) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += 1;
    }
}

impl metrics::HistogramFn for Cell {
    fn record(&self, seconds: f64) {
        assert!((0.0..10.0).contains(&seconds));
        self.count();
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, _: u64) {
        self.count();
    }
    fn absolute(&self, _: u64) {}
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, _: f64) {
        self.count();
    }
    fn decrement(&self, _: f64) {}
    fn set(&self, _: f64) {}
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.cell(key))
    }
}

async fn every_operation_is_measured_without_ids() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let recorder = Recorder::default();
    // All of it on this thread, where the recorder is.
    let work = || {
        metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let service = RedisService::connect(&config(&server).named("orders")).await.unwrap();
                let client = service.client(Role::Main).named("t.visit");
                for user in ["ada", "ben", "cyd"] {
                    client.query::<i64>(super::command(&["INCR", user])).await.unwrap();
                }
                client.query::<i64>(super::command(&["LPUSH", "ada", "x"])).await.unwrap_err();
            });
        });
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    let seen = recorder.0.lock().unwrap().clone();
    let count = |name: &str| seen.get(name).copied().unwrap_or_default();
    assert_eq!(count("chat_operation_seconds backend=redis operation=t.visit outcome=ok"), 3, "{seen:?}");
    assert_eq!(count("chat_operation_seconds backend=redis operation=t.visit outcome=chat.data.corrupt"), 1);
    assert_eq!(count("chat_redis_connections_total service=orders"), 1);
    assert_eq!(count("chat_redis_dials_total service=orders"), 1);
    assert_eq!(count("chat_redis_errors_total service=orders"), 1);
    assert_eq!(count("chat_redis_connected service=orders"), 1);
    assert!(!seen.keys().any(|name| name.contains("ada")), "{seen:?}");
    Ok(())
}

async fn services_have_names() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let services = Arc::new(RedisServices::new(config(&server)));
    // Everybody at once gets the same one, with one connection.
    let all = (0..20).map(|_| {
        let services = Arc::clone(&services);
        tokio::spawn(async move {
            let service = services.service("chat").unwrap();
            service.ready().await.unwrap();
            service
        })
    });
    for service in futures::future::join_all(all).await {
        assert_eq!(service.unwrap().stats().connected, 1);
    }
    let other = RedisConfig { db: 1, ..config(&server) };
    assert!(services.create(&other.clone().named("chat")).is_err());
    services.create(&other.named("auth")).unwrap();
    assert_eq!(services.stats().keys().collect::<Vec<_>>(), ["auth", "chat"]);

    let chat = services.get("chat").unwrap();
    services.disconnect_all();
    assert_eq!(chat.health().await, Health::Disconnected);
    assert!(services.get("chat").is_none());
    Ok(())
}
