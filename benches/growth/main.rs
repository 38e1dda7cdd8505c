//! How costs grow: with the members of a room, the rooms of a user, the users online, the messages of a conversation.
//!
//! `cargo bench -p chat-benches --bench growth -- --write` writes `docs/GROWTH.md` and its pictures; `--quick` leaves out the
//! largest sizes and most turns. Nothing here asserts a time. Needs `redis-server`; without a server for MongoDB its part is
//! missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench says what went wrong by failing"
)]

mod check;
mod costs;
mod field;
mod members;
mod memory;
mod messages;
mod mongo;
mod online;
mod page;
mod plot;

use chat_benches::{Ring, measure_growth};

use crate::field::Field;
use crate::page::Found;

/// How many turns each operation has at each size.
const TURNS: usize = 5;

fn main() {
    let asks = |word: &str| std::env::args().any(|argument| argument == word);
    if asks("--test") || asks("--list") {
        return;
    }
    let (turns, sizes) = if asks("--quick") { (1, &online::SIZES[..2]) } else { (TURNS, &online::SIZES[..]) };
    let (ring, began) = (Ring::alone(), load());
    let Some(field) = Field::set(&ring) else { return };
    let memory = memory::measure(&ring);
    let check = check::measure(&ring).unwrap_or_default();
    let mongo = mongo::measure(&ring);
    members::fill(&ring, &field);
    messages::fill(&ring, &field);
    let crowds = online::crowds(&ring, sizes);
    let mut curves = members::members(&field);
    curves.extend(members::rooms(&field));
    curves.extend(online::curves(&crowds));
    curves.extend(messages::curves(&field));
    curves.extend(costs::curves(&ring, &field));
    let curves = measure_growth(&ring, &curves, turns);
    let costs = costs::told(&curves);
    let found = Found { curves, crowds: &crowds, memory, costs, check, mongo, load: (began, load()) };
    println!("{}", found.text());
    println!("grows without need: {:?}", found.grows());
    if asks("--write") {
        found.write();
    }
}

/// How many processes wanted a processor during the last minute.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
