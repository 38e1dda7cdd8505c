//! A server for all tests of this binary, and a fresh database on it for each.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::Absent;
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Mongo as Server;

static SERVER: LazyLock<Result<Server, Absent>> = LazyLock::new(Server::find_or_spawn);

/// The server that tests share. Whoever kills or hangs one spawns its own.
pub(crate) fn server() -> Result<&'static Server, Absent> {
    SERVER.as_ref().map_err(Clone::clone)
}

/// A database nobody has used.
pub(crate) fn fresh(url: &str) -> MongoConfig {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("it-{}-{nth}", std::process::id());
    MongoConfig::from_url(url).unwrap().with_database(&name).unwrap()
}

/// Every port, on a fresh database of the shared server.
pub(crate) async fn mongo() -> Result<Mongo, Absent> {
    let mongo = Mongo::connect(&fresh(server()?.url())).await.unwrap();
    mongo.ensure().await.unwrap();
    Ok(mongo)
}

/// With time enough on a machine that is busy: for tests that are not about time.
pub(crate) fn patient(mut config: MongoConfig) -> MongoConfig {
    config.operation = std::time::Duration::from_secs(60);
    config
}

/// Two nodes of one chat, on a fresh database of the shared server.
pub(crate) async fn nodes() -> Result<[Mongo; 2], Absent> {
    let config = patient(fresh(server()?.url()));
    let nodes = [Mongo::connect(&config).await.unwrap(), Mongo::connect(&config).await.unwrap()];
    nodes[0].ensure().await.unwrap();
    Ok(nodes)
}

/// A node behind a proxy, and one that goes straight to the same database.
pub(crate) async fn behind_a_proxy() -> Result<(Proxy, Mongo, Mongo), Absent> {
    let server = server()?;
    let proxy = Proxy::start(server.address(), Protocol::Mongo).await;
    let config = patient(fresh(server.url()));
    let straight = Mongo::connect(&config).await.unwrap();
    straight.ensure().await.unwrap();
    let behind = MongoConfig::from_url(&server.url_at(proxy.address())).unwrap();
    let behind = Mongo::connect(&patient(behind.with_database(&config.database).unwrap())).await.unwrap();
    Ok((proxy, behind, straight))
}
