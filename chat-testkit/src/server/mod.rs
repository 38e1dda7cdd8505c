//! Real servers for tests: found in the environment, or spawned on a free loopback port and ended with the test.
//!
//! A server is a process; no driver is needed here. Readiness and everything a test does to a server goes over plain
//! sockets ([`resp`], [`op_msg`]), so that what a test sees is not what the client under test believes.
//!
//! Spawning takes some hundredths of a second. Where hundreds of trials can share one server, keep it in a `OnceLock`
//! of the test binary and give each trial a namespace; where a trial breaks its server, it spawns its own:
//!
//! ```no_run
//! use std::sync::OnceLock;
//! use chat_testkit::Absent;
//! use chat_testkit::server::Redis;
//!
//! /// The server every trial of this binary shares.
//! fn shared() -> Result<&'static Redis, Absent> {
//!     static SHARED: OnceLock<Result<Redis, Absent>> = OnceLock::new();
//!     SHARED.get_or_init(Redis::find_or_spawn).as_ref().map_err(Absent::clone)
//! }
//! ```
//!
//! What a test process spawned is ended when it is dropped, and when the process ends, in whatever way: also by
//! `SIGKILL`, and also what stands in a `static`. See [`Process`].

mod cluster;
mod kafka;
mod mongo;
pub mod op_msg;
mod process;
mod redis;
pub mod resp;
mod sentinel;

pub use cluster::{Migration, RedisCluster, SLOTS};
pub use kafka::Kafka;
pub use mongo::{FailPoint, Failure, Mongo, fresh_database};
pub use process::{Process, Program, free_port, installed};
pub use redis::{Redis, RedisOptions};
pub use resp::Reply;
pub use sentinel::RedisSentinel;
