//! What other systems send for the same, where they do the same: commands / round trips, and in brackets what scripts call.
//!
//! - centrifuge (Go): its scripts run on Redis 7.0.15 and counted there; presence with its map of users. It renews, reads and
//!   removes channel by channel, member by member; what many do at once, its client writes together.
//! - stoat (Rust, `stoatchat/stoatchat` at 99b3ea1): counted in `crates/core/presence`. It has no leases, so nothing to renew, and keeps
//!   what is unread in MongoDB: there a command is one of MongoDB's.

use super::NOTHING;

/// Operation, centrifuge, stoat.
const OTHERS: &[(&str, &str, &str)] = &[
    ("presence: connect, going online", "1 (9) / 1", "4 / 4"),
    ("presence: connect another device", "1 (9) / 1", "4 / 4"),
    ("presence: heartbeat", "1 (8) / 1", NOTHING),
    ("presence: 128 heartbeats", "128 (1024) / 1", NOTHING),
    ("presence: disconnect one of two", "1 (6) / 1", "3 / 3"),
    ("presence: disconnect, going offline", "1 (6) / 1", "4 / 4"),
    ("presence: is one online", NOTHING, "1 / 1"),
    ("presence: are 100 online", NOTHING, "1 / 1, all N are read"),
    ("presence: statistics", "1 (4) / 1", NOTHING),
    ("rooms: online of 10", "1 (2) / 1", "1 / 1, all N are read"),
    ("rooms: statistics of 10", "1 (4) / 1", NOTHING),
    ("unread: record a message for N users", NOTHING, "N / N, in direct and group chats"),
    ("unread: advance, one of N users", NOTHING, "2 / 2"),
    ("unread: record a message that mentions 10", NOTHING, "10 / 10"),
    ("unread: count 100 conversations", NOTHING, "1 / 1"),
    ("unread: rebuild 100 conversations", NOTHING, "2 / 2"),
];

/// What centrifuge and stoat send for it.
pub(super) fn others(operation: &str) -> (&'static str, &'static str) {
    let known = OTHERS.iter().find(|(name, ..)| *name == operation);
    known.map_or((NOTHING, NOTHING), |(_, centrifuge, stoat)| (centrifuge, stoat))
}

/// Operations told of here that nobody measures.
pub(super) fn unmeasured(measured: impl Fn(&str) -> bool) -> Vec<&'static str> {
    OTHERS.iter().map(|(name, ..)| *name).filter(|name| !measured(name)).collect()
}
