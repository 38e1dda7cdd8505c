//! How long anything may take.

use std::time::Duration;

/// How long anything may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Making one connection, sign-in included. 5 s by default (seed 001's `REDIS_CONNECTION_TIMEOUT`).
    pub connect: Duration,
    /// Waiting for one reply. 1 s by default. On a cluster, a node that lets half of it pass is given up, and so is an
    /// attempt to connect to one, so that there is time left to find another.
    pub response: Duration,
    /// One operation of a port, with everything it waits for and repeats: no call takes longer. 2 s by default.
    pub operation: Duration,
    /// The longest pause between two attempts to connect, also while an earlier one hangs, or to ask again: so late may a
    /// server's return be noticed. 250 ms by default. Attempts to connect never end.
    pub longest_pause: Duration,
    /// How long a connection may be silent before it is asked whether anybody is there. 15 s by default.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(1),
            operation: Duration::from_secs(2),
            longest_pause: Duration::from_millis(250),
            idle: Duration::from_secs(15),
        }
    }
}
