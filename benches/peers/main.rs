//! Ours beside what it replaces: the managers of seeds 001 and 002 on node-redis, and the raw `redis` crate.
//!
//! One Redis, filled alike: ours in its first database, the seeds' in its second, so that nobody's keys are in the way of
//! anybody's `SCAN`. Before anything is measured, `check` makes sure that the peer sends what the seeds send and leaves what
//! they leave. With a path in `CHAT_PEERS_REPORT` the tables are written there, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench says what went wrong by failing"
)]

mod check;
mod data;
mod field;
mod fixed;
mod report;

mod cache;
mod events;
mod presence;
mod rooms;
mod unread;
mod users;

use chat_benches::{NodePeer, Stage};

use crate::field::Field;

/// The database of the peer.
const DATABASE: u32 = 1;

fn main() {
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let Some(stage) = Stage::set() else { return };
    let node = match NodePeer::start(stage.server.port(), DATABASE) {
        Ok(node) => node,
        Err(missing) => {
            println!("nothing is measured: {missing}");
            return;
        }
    };
    let keys = node.fill();
    let mut field = Field::new(&stage, node);
    // Who leaves keys behind comes last.
    presence::rows(&mut field);
    unread::rows(&mut field);
    cache::rows(&mut field);
    users::rows(&mut field);
    events::rows(&mut field);
    rooms::rows(&mut field);
    check::peer(&field);
    let own = stage.server.command(&["DBSIZE"]).int();
    println!("{keys} keys of the peer, {own} of ours; every operation sends what it is said to");
    report::tell(&field, &keys);
}
