//! The servers of the kit do what the tests of the backends build on: real processes, real faults.

#![allow(
    clippy::future_not_send,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

mod servers {
    pub(crate) mod cluster;
    pub(crate) mod kafka;
    pub(crate) mod mongo;
    pub(crate) mod process;
    pub(crate) mod proxy;
    pub(crate) mod redis;
    pub(crate) mod sentinel;
}

use std::process::ExitCode;

use chat_testkit::run_trials;

fn main() -> ExitCode {
    if let Some(end) = servers::process::child().or_else(servers::kafka::child).or_else(servers::mongo::child)
    {
        return end;
    }
    let topics = [
        servers::process::trials(),
        servers::redis::trials(),
        servers::proxy::trials(),
        servers::cluster::trials(),
        servers::sentinel::trials(),
        servers::kafka::trials(),
        servers::mongo::trials(),
    ];
    run_trials(topics.into_iter().flatten().collect())
}
