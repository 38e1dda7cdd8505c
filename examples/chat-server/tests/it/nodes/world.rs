//! Servers, the Redis and the MongoDB they share, and ways to harm them.

use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use chat_testkit::Absent;
use chat_testkit::server::{Mongo, Redis, fresh_database};
use libtest_mimic::{Completion, Failed, Trial};

use crate::it::support::run::{ignorable, on_a_runtime, within, without};
use crate::it::support::server::Server;

/// How long a lease lasts in these trials, in seconds.
pub(super) const LEASE: &str = "4";

/// Where servers are, or were.
pub(super) type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// Backends, and the servers on them.
#[derive(Debug)]
pub(super) struct World {
    /// What is volatile and derived, and the log of events.
    pub(super) redis: Arc<Redis>,
    /// The truth.
    pub(super) mongo: Arc<Mongo>,
    /// The servers, in the order they were started.
    pub(super) nodes: Vec<Server>,
    /// Where they are.
    pub(super) addresses: Addresses,
    database: String,
}

impl World {
    /// Two servers on backends of their own.
    pub(super) fn of_two() -> Result<Self, Absent> {
        let redis = Redis::spawn_with(&chat_testkit::server::RedisOptions::default().append_only())?;
        let mut world = Self::on(Arc::new(redis))?;
        for _ in 0..2 {
            world.start();
        }
        Ok(world)
    }

    /// No server yet.
    pub(super) fn on(redis: Arc<Redis>) -> Result<Self, Absent> {
        let mongo = Arc::new(Mongo::spawn()?);
        let (nodes, addresses, database) = (Vec::new(), Addresses::default(), fresh_database());
        Ok(Self { redis, mongo, nodes, addresses, database })
    }

    /// Starts one more server; its place among the others.
    pub(super) fn start(&mut self) -> usize {
        let redis = self.redis.url();
        self.start_at(&redis)
    }

    /// Starts one more server, which reaches Redis at this URL.
    pub(super) fn start_at(&mut self, redis: &str) -> usize {
        let mongo = self.mongo_url();
        let arguments = ["--dev", "--redis", redis, "--mongo", &mongo, "--presence-lease-seconds", LEASE];
        let node = Server::with(&arguments);
        self.addresses.lock().unwrap().push(node.address);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Where the truth is, with the database of this world.
    pub(super) fn mongo_url(&self) -> String {
        let url = self.mongo.url();
        let (start, query) = url.split_once('?').unwrap_or((url, ""));
        format!("{}/{}?{query}", start.trim_end_matches('/'), self.database)
    }

    /// Sends a signal to a server.
    pub(super) fn signal(&self, nth: usize, signal: &str) {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.nodes[nth].pid())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} could not be sent");
    }

    /// Ends what is left in order: the servers first.
    pub(super) async fn end(self) {
        for node in self.nodes {
            if !node.has_ended() {
                node.stop().await;
            }
        }
    }
}

/// One trial in a world of two servers.
pub(super) fn trial<F: Future<Output = ()> + 'static>(name: &str, body: fn(World) -> F) -> Trial {
    ignorable("nodes", name, move || match World::of_two() {
        Ok(world) => run(body(world)),
        Err(Absent(why)) => without("redis,mongo", &why),
    })
}

/// Runs a trial to its end.
pub(super) fn run(body: impl Future<Output = ()>) -> Result<Completion, Failed> {
    on_a_runtime(body);
    Ok(Completion::Completed)
}

/// Asks until it is so.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(what, asking).await;
}
