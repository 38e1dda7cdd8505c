//! The crate from outside, on a real server: one binary, a file for each topic.

#![allow(
    clippy::future_not_send,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

mod it {
    pub(crate) mod audit;
    pub(crate) mod clocks;
    pub(crate) mod conversations;
    pub(crate) mod count;
    pub(crate) mod desk;
    pub(crate) mod limits;
    pub(crate) mod messages;
    pub(crate) mod plans;
    pub(crate) mod positions;
    pub(crate) mod rooms;
    pub(crate) mod schema;
    pub(crate) mod shape;
    pub(crate) mod source;
    pub(crate) mod wake;
}

use std::process::ExitCode;

use chat_testkit::run_trials;

fn main() -> ExitCode {
    let topics = [
        it::audit::trials(),
        it::clocks::trials(),
        it::conversations::trials(),
        it::limits::trials(),
        it::messages::trials(),
        it::plans::trials(),
        it::positions::trials(),
        it::rooms::trials(),
        it::schema::trials(),
        it::source::trials(),
        it::wake::trials(),
    ];
    run_trials(topics.into_iter().flatten().collect())
}
