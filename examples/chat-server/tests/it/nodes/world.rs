//! Servers, the Redis and the MongoDB they share, and ways to harm them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_testkit::Absent;
use chat_testkit::server::{Mongo, Redis, RedisOptions, fresh_database};
use libtest_mimic::{Completion, Failed, Trial};
use tokio::time::sleep;

use crate::it::support::run::{ignorable, on_a_runtime, within, without};
use crate::it::support::server::Server;

/// How long a lease lasts in these trials, in seconds.
pub(crate) const LEASE: &str = "4";
/// Longer than that.
pub(crate) const LONG: Duration = Duration::from_secs(6);

/// Where servers are, or were.
pub(crate) type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// Backends, and the servers on them.
#[derive(Debug)]
pub(crate) struct World {
    /// What is volatile and derived, and the log of events; of a single server.
    pub(crate) redis: Option<Redis>,
    /// The truth.
    pub(crate) mongo: Mongo,
    /// The servers, in the order they were started.
    pub(crate) nodes: Vec<Server>,
    /// Where they are.
    pub(crate) addresses: Addresses,
    redis_url: String,
    database: String,
}

impl World {
    /// No server yet, and backends of their own.
    pub(crate) fn empty() -> Result<Self, Absent> {
        let redis = Redis::spawn_with(&RedisOptions::default().append_only())?;
        let world = Self::on(&redis.url())?;
        Ok(Self { redis: Some(redis), ..world })
    }

    /// Two servers on backends of their own.
    pub(crate) fn of_two() -> Result<Self, Absent> {
        let mut world = Self::empty()?;
        for _ in 0..2 {
            world.start();
        }
        Ok(world)
    }

    /// No server yet, and this Redis.
    pub(crate) fn on(redis_url: &str) -> Result<Self, Absent> {
        let (nodes, addresses) = (Vec::new(), Addresses::default());
        let (redis_url, database) = (redis_url.to_owned(), fresh_database());
        Ok(Self { redis: None, mongo: Mongo::spawn()?, nodes, addresses, redis_url, database })
    }

    /// The Redis of its own.
    pub(crate) fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("a Redis of its own")
    }

    /// Starts one more server; its place among the others.
    pub(crate) fn start(&mut self) -> usize {
        let redis = self.redis_url.clone();
        self.start_at(&redis)
    }

    /// Starts one more server, which reaches Redis at this URL.
    pub(crate) fn start_at(&mut self, redis: &str) -> usize {
        let mongo = self.mongo_url();
        let arguments = ["--dev", "--redis", redis, "--mongo", &mongo, "--presence-lease-seconds", LEASE];
        let node = Server::with(&arguments);
        self.addresses.lock().unwrap().push(node.address);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// A new server takes the place of one that has ended.
    pub(crate) fn replace(&mut self, nth: usize) {
        self.start();
        self.nodes.swap_remove(nth);
        self.addresses.lock().unwrap().swap_remove(nth);
    }

    /// Where the truth is, with the database of this world.
    pub(crate) fn mongo_url(&self) -> String {
        let url = self.mongo.url();
        let (start, query) = url.split_once('?').unwrap_or((url, ""));
        format!("{}/{}?{query}", start.trim_end_matches('/'), self.database)
    }

    /// A server stops for longer than a lease, and goes on.
    pub(crate) async fn server_hangs(&self, nth: usize) {
        self.nodes[nth].signal("STOP");
        sleep(LONG).await;
        self.nodes[nth].signal("CONT");
    }

    /// Redis stops for longer than a lease, and goes on.
    pub(crate) async fn redis_hangs(&self) {
        self.redis().hang();
        sleep(LONG).await;
        self.redis().resume();
    }

    /// MongoDB is killed, and comes back after a while.
    pub(crate) async fn mongo_is_away(&self) {
        self.mongo.kill();
        sleep(Duration::from_secs(2)).await;
        self.mongo.restart();
    }

    /// Ends what is left in order: the servers first.
    pub(crate) async fn end(self) {
        for node in self.nodes {
            if !node.has_ended() {
                node.stop().await;
            }
        }
    }
}

/// One trial in a world of two servers.
pub(crate) fn trial<F: Future<Output = ()> + 'static>(name: &str, body: fn(World) -> F) -> Trial {
    ignorable("nodes", name, move || match World::of_two() {
        Ok(world) => run(body(world)),
        Err(Absent(why)) => without("redis,mongo", &why),
    })
}

/// Runs a trial to its end.
pub(crate) fn run(body: impl Future<Output = ()>) -> Result<Completion, Failed> {
    on_a_runtime(body);
    Ok(Completion::Completed)
}

/// Asks until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let asking = async {
        while !is_so().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, asking).await;
}
