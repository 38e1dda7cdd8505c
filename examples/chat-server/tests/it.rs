//! The reference server from outside: every trap of the Socket.IO library, sign-in, bad input, drain, and the suites
//! that drive it with the real client and a real browser. See PROTOCOL.md for what is promised.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "it/bad_input.rs"]
mod bad_input;
#[path = "it/client.rs"]
mod client;
#[path = "it/drain.rs"]
mod drain;
#[path = "it/host.rs"]
mod host;
#[path = "it/log.rs"]
mod log;
#[path = "it/node.rs"]
mod node;
#[path = "it/outside/mod.rs"]
mod outside;
#[path = "it/presence.rs"]
mod presence;
#[path = "it/program.rs"]
mod program;
#[path = "it/sign_in.rs"]
mod sign_in;
#[path = "it/slow_peers.rs"]
mod slow_peers;
#[path = "it/traps.rs"]
mod traps;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Declares the trials of a file, named after it: each is an `async fn()` in scope.
macro_rules! trials {
    ($file:literal: $($trial:ident,)*) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::trial(concat!($file, "::", stringify!($trial)), $trial),)*]
        }
    };
}
pub(crate) use trials;

/// One trial on a runtime of its own.
fn trial<F: Future<Output = ()>>(name: &str, run: fn() -> F) -> Trial
where
    F: 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(run());
        Ok(())
    })
}

fn main() -> ExitCode {
    log::capture();
    let trials = [
        traps::trials(),
        slow_peers::trials(),
        sign_in::trials(),
        bad_input::trials(),
        presence::trials(),
        log::trials(),
        drain::trials(),
        program::trials(),
        outside::trials(),
    ];
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect());
    match outside::end() {
        Ok(()) => conclusion.exit_code(),
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}
