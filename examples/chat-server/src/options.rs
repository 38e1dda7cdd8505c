//! The numbers a gateway runs by; the defaults are those of the wire contract.

use std::time::Duration;

use chat_core::prewarm::PrewarmOptions;
use chat_core::store::limits::Limit;

/// The largest event, in bytes of JSON.
pub const MAX_EVENT: usize = 64 * 1024;
/// The largest frame and the largest polling body, in bytes. A larger one ends its socket.
pub const MAX_FRAME: usize = 256 * 1024;

/// Whose profiles are brought into the cache before anybody asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prewarm {
    /// Those of the people in conversations with a message within this time.
    pub within: Duration,
    /// How much it may do.
    pub options: PrewarmOptions,
}

/// The numbers a gateway runs by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether anybody signs in by name, at `POST /dev/token`.
    pub dev: bool,
    /// How often a socket is asked whether it lives: 25 s.
    pub ping_interval: Duration,
    /// How long it may take to answer: 20 s.
    pub ping_timeout: Duration,
    /// For how long a peer may leave bytes unacknowledged: 20 s.
    pub user_timeout: Duration,
    /// Messages of one user: 3 000 in any minute.
    pub messages: Limit,
    /// Events of one socket: 6 000 in any minute.
    pub events: Limit,
    /// How many events of one socket wait: 256.
    pub queue: usize,
    /// How many packets wait for one socket's peer: 16 384. More end the socket.
    pub out_packets: usize,
    /// How many bytes wait for one socket's peer: 8 MiB. More end the socket.
    pub out_bytes: u64,
    /// How long one request may take: 30 s.
    pub request_timeout: Duration,
    /// How often presence leases are renewed: 15 s, or a quarter of a lease where that is less.
    pub heartbeat_every: Duration,
    /// How often expiry and activity are looked at: 1 s.
    pub tick: Duration,
    /// How long clients have between being told and being closed: 300 ms.
    pub drain_grace: Duration,
    /// How long a user stays online without a socket while another server of the same chat may take over: 10 s.
    pub handover: Duration,
    /// Whose profiles are brought into the cache once it serves: nobody's.
    pub prewarm: Option<Prewarm>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dev: false,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            user_timeout: Duration::from_secs(20),
            messages: Limit::per_minute(3_000),
            events: Limit::per_minute(6_000),
            queue: 256,
            out_packets: 16_384,
            out_bytes: 8 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            heartbeat_every: Duration::from_secs(15),
            tick: Duration::from_secs(1),
            drain_grace: Duration::from_millis(300),
            handover: Duration::from_secs(10),
            prewarm: None,
        }
    }
}

impl Options {
    /// The same, with or without signing in by name.
    #[must_use]
    pub fn with_dev(mut self, dev: bool) -> Self {
        self.dev = dev;
        self
    }

    /// The same, with the profiles of these people in the cache, or with nobody's.
    #[must_use]
    pub fn with_prewarm(mut self, prewarm: Option<Prewarm>) -> Self {
        self.prewarm = prewarm;
        self
    }
}
