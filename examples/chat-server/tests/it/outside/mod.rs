//! The real program, over real sockets: every promise of `PROTOCOL.md` that a well-behaved client library cannot test is
//! a named trial.
//!
//! `support` knows how to start a server and to talk to it. The trials are in a file for each topic.

mod support {
    pub(super) mod client;
    pub(super) mod http;
    pub(super) mod run;
    pub(super) mod server;
    pub(super) mod token;
    pub(super) mod wire;
}

mod bad_input;
mod command_line;
mod conformance;
mod limits;
mod node;
mod privacy;
mod restart;
mod routes;
mod sign_in;
mod traps;

use libtest_mimic::Trial;

/// Every trial.
pub(crate) fn trials() -> Vec<Trial> {
    let topics = [
        traps::trials(),
        sign_in::trials(),
        bad_input::trials(),
        limits::trials(),
        privacy::trials(),
        routes::trials(),
        command_line::trials(),
        restart::trials(),
        conformance::trials(),
        node::trials(),
    ];
    topics.into_iter().flatten().collect()
}

/// Whatever the trials were about: no server panicked, showed a token, or ended badly.
pub(crate) fn end() -> Result<(), String> {
    support::server::end_of_all()
}
