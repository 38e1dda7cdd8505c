//! Connections that the host brings: each kind, and none pays for a check-out.

use std::sync::Arc;

use chat_core::error::Code;
use chat_redis::RedisService;
use chat_redis::connection::{Connection, Dial, Timing};
use chat_testkit::server::{Redis, RedisCluster};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};
use redis::aio::ConnectionManagerConfig;

use super::{ask, command, ms};

trials! { needs "redis":
    a_client,
    a_deadpool_pool,
    a_bb8_pool,
    a_connection_manager,
    a_cluster_connection,
}

fn over(dial: Arc<dyn Dial>) -> RedisService {
    RedisService::over("brought", dial, Timing::default(), None)
}

/// A hundred operations are a hundred commands; and the service survives its server.
async fn serves(server: &Redis, service: &RedisService) {
    ask::<i64>(service, &["INCR", "n"]).await.unwrap();
    let ((), calls) = server
        .counting(async {
            for _ in 0..100 {
                ask::<i64>(service, &["INCR", "n"]).await.unwrap();
            }
        })
        .await;
    assert_eq!(calls, [("incr".to_owned(), 100)].into());

    server.kill();
    assert!(ask::<i64>(service, &["INCR", "n"]).await.is_err());
    server.restart();
    eventually("a success", async || ask::<i64>(service, &["INCR", "n"]).await.ok()).await;
}

async fn lends(service: &RedisService) {
    let mut own = service.dedicated().await.unwrap();
    // Longer than the driver waits by default.
    let nothing: Option<(String, String)> =
        own.query(&command(&["BLPOP", "q", "0.7"]), ms(700)).await.unwrap();
    assert_eq!(nothing, None);
}

async fn a_client() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = over(Arc::new(redis::Client::open(server.url()).unwrap()));
    serves(&server, &service).await;
    lends(&service).await;
    service.subscribe(["c"]).await.unwrap();
    Ok(())
}

async fn a_deadpool_pool() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let pool = deadpool_redis::Config::from_url(server.url());
    let pool = pool.create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
    let service = over(Arc::new(pool.clone()));
    serves(&server, &service).await;
    lends(&service).await;
    assert_eq!(pool.status().size, 1, "the lent one was given back; the shared one is the service's");
    let none = service.subscribe(["c"]).await.unwrap_err();
    assert_eq!(none.code(), Code::ConfigInvalid);
    Ok(())
}

#[cfg(feature = "bb8")]
async fn a_bb8_pool() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let pool =
        bb8::Pool::builder().max_size(2).build(redis::Client::open(server.url()).unwrap()).await.unwrap();
    let service = over(Arc::new(pool));
    serves(&server, &service).await;
    lends(&service).await;
    Ok(())
}

#[cfg(not(feature = "bb8"))]
async fn a_bb8_pool() -> Result<(), Absent> {
    Err(Absent("the feature `bb8` is off".to_owned()))
}

async fn a_connection_manager() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let config = ConnectionManagerConfig::new().set_min_delay(ms(20)).set_max_delay(ms(250));
    let client = redis::Client::open(server.url()).unwrap();
    let manager = client.get_connection_manager_with_config(config).await.unwrap();
    let service = over(Arc::new(Connection::Managed(manager)));
    serves(&server, &service).await;
    assert_eq!(service.dedicated().await.unwrap_err().code(), Code::ConfigInvalid);
    Ok(())
}

async fn a_cluster_connection() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let client = redis::cluster::ClusterClient::new(cluster.urls()).unwrap();
    let service = over(Arc::new(Connection::Cluster(client.get_async_connection().await.unwrap())));
    for key in 0..50 {
        assert_eq!(ask::<i64>(&service, &["INCR", &format!("k{key}")]).await.unwrap(), 1);
    }
    assert_eq!(service.dedicated_for(b"k1").await.unwrap_err().code(), Code::ConfigInvalid);
    Ok(())
}
