//! What the sockets do.

mod connect;
mod rooms;

use anyhow::Result;

use crate::arguments::{Arguments, Scenario};
use crate::process::Process;
use crate::report::Report;

/// Does what is to be done.
///
/// # Errors
/// Whatever keeps it from being done: a run is whole or it is nothing.
pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let server = Process(arguments.pid);
    match arguments.scenario {
        Scenario::Rooms { rooms, members, messages, senders } => {
            let plan = rooms::Plan { rooms, members, messages, senders };
            rooms::run(arguments.address, server, plan).await
        }
        Scenario::Storm { sockets, at_once } => {
            connect::storm(arguments.address, server, sockets, at_once).await
        }
        Scenario::Idle { sockets, seconds } => {
            connect::idle(arguments.address, server, sockets, seconds).await
        }
    }
}
