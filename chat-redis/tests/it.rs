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
    pub(crate) mod cache;
    pub(crate) mod connection;
    pub(crate) mod cost;
    pub(crate) mod faults;
    pub(crate) mod limits;
    pub(crate) mod lost;
    pub(crate) mod presence;
    pub(crate) mod rooms;
    pub(crate) mod tracking;
    pub(crate) mod unread;
    pub(crate) mod users;
}

use std::process::ExitCode;

use chat_testkit::run_trials;

fn main() -> ExitCode {
    let topics = [
        it::cache::trials(),
        it::connection::trials(),
        it::cost::trials(),
        it::faults::trials(),
        it::limits::trials(),
        it::presence::trials(),
        it::rooms::trials(),
        it::tracking::trials(),
        it::unread::trials(),
        it::users::trials(),
    ];
    run_trials(topics.into_iter().flatten().collect())
}
