//! What happened to the connections of a service, in numbers: as values, and as metrics.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `chat_redis_connections_total`, `chat_redis_reconnections_total`, `chat_redis_lost_total` | counter | `service` |
//! | `chat_redis_dials_total`, `chat_redis_errors_total`, `chat_redis_repeats_total` | counter | `service` |
//! | `chat_redis_connected` | gauge: connections that are up, of two | `service` |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chat_core::clock::{Clock, Timestamp};

/// What happened to the connections of a service since it began (seed 001's `getMetrics`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionStats {
    /// Connections made.
    pub connected: u64,
    /// Of those, connections that replaced another.
    pub reconnected: u64,
    /// Connections lost.
    pub lost: u64,
    /// Attempts to connect, failed ones included.
    pub dialled: u64,
    /// Attempts to connect, and operations, that failed.
    pub errors: u64,
    /// Operations sent again because a reply was lost or the server asked for patience.
    pub repeated: u64,
    /// When a connection was last made, by this machine's clock.
    pub last_connected_at: Option<Timestamp>,
    /// When anything last failed, by this machine's clock.
    pub last_error_at: Option<Timestamp>,
}

pub(super) struct Counters {
    service: Arc<str>,
    clock: Arc<dyn Clock>,
    connected: AtomicU64,
    reconnected: AtomicU64,
    lost: AtomicU64,
    dialled: AtomicU64,
    errors: AtomicU64,
    repeated: AtomicU64,
    /// Zero is never.
    last_connected_at: AtomicU64,
    last_error_at: AtomicU64,
}

impl Counters {
    pub(super) fn new(service: Arc<str>, clock: Arc<dyn Clock>) -> Self {
        let zero = AtomicU64::default;
        Self {
            service,
            clock,
            connected: zero(),
            reconnected: zero(),
            lost: zero(),
            dialled: zero(),
            errors: zero(),
            repeated: zero(),
            last_connected_at: zero(),
            last_error_at: zero(),
        }
    }

    pub(super) fn dialled(&self) {
        self.dialled.fetch_add(1, Relaxed);
        metrics::counter!("chat_redis_dials_total", "service" => Arc::clone(&self.service)).increment(1);
    }

    pub(super) fn connected(&self, again: bool) {
        self.connected.fetch_add(1, Relaxed);
        self.last_connected_at.store(self.clock.now().as_millis(), Relaxed);
        metrics::counter!("chat_redis_connections_total", "service" => Arc::clone(&self.service))
            .increment(1);
        if again {
            self.reconnected.fetch_add(1, Relaxed);
            metrics::counter!("chat_redis_reconnections_total", "service" => Arc::clone(&self.service))
                .increment(1);
        }
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
        metrics::counter!("chat_redis_lost_total", "service" => Arc::clone(&self.service)).increment(1);
    }

    /// One connection more is up, or one less.
    pub(super) fn up(&self, more: bool) {
        let gauge = metrics::gauge!("chat_redis_connected", "service" => Arc::clone(&self.service));
        if more { gauge.increment(1.0) } else { gauge.decrement(1.0) }
    }

    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
        self.last_error_at.store(self.clock.now().as_millis(), Relaxed);
        metrics::counter!("chat_redis_errors_total", "service" => Arc::clone(&self.service)).increment(1);
    }

    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
        metrics::counter!("chat_redis_repeats_total", "service" => Arc::clone(&self.service)).increment(1);
    }

    pub(super) fn stats(&self) -> ConnectionStats {
        let at = |millis: u64| (millis > 0).then(|| Timestamp::from_millis(millis));
        ConnectionStats {
            connected: self.connected.load(Relaxed),
            reconnected: self.reconnected.load(Relaxed),
            lost: self.lost.load(Relaxed),
            dialled: self.dialled.load(Relaxed),
            errors: self.errors.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            last_connected_at: at(self.last_connected_at.load(Relaxed)),
            last_error_at: at(self.last_error_at.load(Relaxed)),
        }
    }
}
