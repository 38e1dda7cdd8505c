//! The crate from outside, on real servers: one binary, a file for each topic.

#![allow(
    clippy::future_not_send,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

mod it {
    pub(crate) mod batches;
    pub(crate) mod cost;
    pub(crate) mod faults_clock;
    pub(crate) mod faults_members;
    pub(crate) mod faults_memory;
    pub(crate) mod faults_server;
    pub(crate) mod golden;
    #[cfg(feature = "kafka")]
    pub(crate) mod kafka;
    #[cfg(feature = "kafka")]
    pub(crate) mod kafka_bridge;
    #[cfg(feature = "kafka")]
    pub(crate) mod kafka_faults;
    #[cfg(feature = "kafka")]
    pub(crate) mod kafka_kill;
    pub(crate) mod keys;
    pub(crate) mod kill;
    pub(crate) mod kill_life;
    pub(crate) mod kinds;
    pub(crate) mod ledger;
    pub(crate) mod log;
    pub(crate) mod lost_replies;
    pub(crate) mod monitor;
    pub(crate) mod neighbours;
    pub(crate) mod publishing;
    pub(crate) mod restarts;
    pub(crate) mod sole;
    pub(crate) mod together;
    pub(crate) mod traffic;
    pub(crate) mod trim;
    pub(crate) mod users;
    #[cfg(feature = "http")]
    pub(crate) mod users_http;
    pub(crate) mod wal;
    pub(crate) mod worker;
}

use std::process::ExitCode;

use chat_testkit::run_trials;

fn main() -> ExitCode {
    if let Some(code) = it::kill_life::child() {
        return code;
    }
    #[cfg(feature = "kafka")]
    if let Some(code) = it::kafka_kill::child() {
        return code;
    }
    let topics = [
        it::batches::trials(),
        it::cost::trials(),
        it::faults_clock::trials(),
        it::faults_members::trials(),
        it::faults_memory::trials(),
        it::faults_server::trials(),
        it::golden::trials(),
        it::keys::trials(),
        it::kinds::trials(),
        it::kill::trials(),
        it::lost_replies::trials(),
        it::monitor::trials(),
        it::neighbours::trials(),
        it::publishing::trials(),
        it::restarts::trials(),
        it::sole::trials(),
        it::together::trials(),
        it::trim::trials(),
        it::users::trials(),
        #[cfg(feature = "http")]
        it::users_http::trials(),
        it::wal::trials(),
        it::worker::trials(),
        #[cfg(feature = "kafka")]
        it::kafka_bridge::trials(),
        #[cfg(feature = "kafka")]
        it::kafka_faults::trials(),
        #[cfg(feature = "kafka")]
        it::kafka_kill::trials(),
    ];
    run_trials(topics.into_iter().flatten().collect())
}
