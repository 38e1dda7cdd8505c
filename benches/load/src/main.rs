//! The client side of the load harness: many real WebSockets, on one thread, against a server of the wire contract in
//! another process. `cargo xtask load` runs it against chat-server and its peer by turns; by hand:
//!
//! ```text
//! CHAT_JWT_SECRET=… chat-load fanout --address 127.0.0.1:3000 --pid PID [--members 100 --messages 2000 --senders 1]
//! ```
//!
//! It prints one line of JSON and ends by itself: everything is counted, and all of it has to be done within two minutes.
//! What the server has spent is read from `/proc/PID`, so the server has to be on this machine, and the machine a Linux.
#![allow(clippy::future_not_send, reason = "one thread: the server is to have the rest of the machine")]

mod arguments;
mod clock;
mod frame;
mod process;
mod report;
mod scenario;
mod socket;
mod token;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::LocalSet;

use arguments::Arguments;

/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("chat-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String> {
    let arguments = Arguments::read(arguments)?;
    process::open_files(arguments.sockets() + 64)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async { tokio::time::timeout(PATIENCE, scenario::run(&arguments)).await };
    let report = LocalSet::new().block_on(&runtime, work).context("not done within two minutes")??;
    // Whatever is left of the sockets ends with the process.
    runtime.shutdown_background();
    Ok(report.to_string())
}
