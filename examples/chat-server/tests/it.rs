//! The server from outside: the real program, over real sockets. Every promise of `PROTOCOL.md` that a well-behaved
//! client library cannot test is a named trial.
//!
//! `support` knows how to start a server and to talk to it. The trials are in a file for each topic. What is about time,
//! about an event log that fails, or about the inside at the very end, runs on a server in this process
//! ([`Host`](it::support::host::Host)).
#![allow(
    clippy::future_not_send,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

mod it {
    pub(crate) mod support {
        pub(crate) mod client;
        pub(crate) mod host;
        pub(crate) mod http;
        pub(crate) mod run;
        pub(crate) mod server;
        pub(crate) mod token;
        pub(crate) mod wire;
    }

    pub(crate) mod bad_input;
    pub(crate) mod command_line;
    pub(crate) mod conformance;
    pub(crate) mod limits;
    pub(crate) mod node;
    pub(crate) mod nodes;
    pub(crate) mod ops;
    pub(crate) mod order;
    pub(crate) mod presence;
    pub(crate) mod prewarm;
    pub(crate) mod privacy;
    pub(crate) mod redis;
    pub(crate) mod restart;
    pub(crate) mod routes;
    pub(crate) mod sign_in;
    pub(crate) mod slow_peers;
    pub(crate) mod traps;
}

use std::process::ExitCode;

use chat_testkit::run_trials;
use it::support::{host, server};

fn main() -> ExitCode {
    host::watch_for_panics();
    let topics = [
        it::node::trials(),
        it::traps::trials(),
        it::slow_peers::trials(),
        it::order::trials(),
        it::sign_in::trials(),
        it::bad_input::trials(),
        it::limits::trials(),
        it::privacy::trials(),
        it::presence::trials(),
        it::routes::trials(),
        it::command_line::trials(),
        it::restart::trials(),
        it::redis::trials(),
        it::nodes::trials(),
        it::prewarm::trials(),
        it::ops::trials(),
        it::conformance::trials(),
    ];
    let outcome = run_trials(topics.into_iter().flatten().collect());
    // Whatever the trials were about: no server panicked, showed a token, or ended badly.
    let ends = [server::end_of_all(), host::end_of_all()];
    for problem in ends.iter().filter_map(|end| end.as_ref().err()) {
        eprintln!("{problem}");
    }
    if ends.iter().all(Result::is_ok) { outcome } else { ExitCode::FAILURE }
}
