//! Every port in memory: how long an operation takes with 1, 16 and 64 tasks on two threads, and how often it allocates.
//!
//! `cargo xtask bench memory presence` measures one port. What is allocated is counted in one thread after a warm-up, without
//! what the bench itself needs; values that an operation takes are made before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench says what went wrong by failing"
)]

mod field;

mod audit;
mod cache;
mod conversations;
mod events;
mod files;
mod limits;
mod messages;
mod outbox;
mod positions;
mod presence;
mod rooms;
mod source;
mod unread;
mod users;

use crate::field::Field;

fn main() {
    let mut field = Field::new();
    audit::rows(&mut field);
    cache::rows(&mut field);
    conversations::rows(&mut field);
    events::rows(&mut field);
    files::rows(&mut field);
    limits::rows(&mut field);
    messages::rows(&mut field);
    outbox::rows(&mut field);
    positions::rows(&mut field);
    presence::rows(&mut field);
    rooms::rows(&mut field);
    source::rows(&mut field);
    unread::rows(&mut field);
    users::rows(&mut field);
    field.end();
}
