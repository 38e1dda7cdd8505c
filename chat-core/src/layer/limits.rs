//! [`RateLimiter`] that goes on while its store is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;

use crate::error::{ErrorKind, Result};
use crate::store::RateLimiter;
use crate::store::limits::{Attempt, Decision, Limit};

/// A rate limiter shared by many nodes, with one of this node's own for the time the shared one cannot be reached: a
/// limit is never open and never without a decision. Seed 003.
///
/// While the store is away each node admits its share: `max` by the number of known nodes, at least one, and none
/// under a limit of zero. Nodes do not know of each other then, and the store does not learn afterwards what they
/// admitted. Failures that are no outage are handed on.
#[derive(Debug)]
pub struct FallbackRateLimiter {
    shared: Arc<dyn RateLimiter>,
    own: Arc<dyn RateLimiter>,
    nodes: AtomicU32,
    degraded: AtomicBool,
}

impl FallbackRateLimiter {
    /// Asks `shared`, and `own` while that one is away. One node is known.
    pub fn new(shared: Arc<dyn RateLimiter>, own: Arc<dyn RateLimiter>) -> Self {
        Self { shared, own, nodes: AtomicU32::new(1), degraded: AtomicBool::new(false) }
    }

    /// Takes note of how many nodes share the store; none counts as one.
    pub fn set_nodes(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    /// Whether the last decision was this node's own, for want of the store.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    fn note(&self, degraded: bool) {
        if self.degraded.swap(degraded, Ordering::Relaxed) != degraded {
            metrics::gauge!("chat_limits_degraded").set(f64::from(u8::from(degraded)));
            tracing::warn!(degraded, "the store of rate limits went or came back");
        }
    }

    /// The same attempts, each under this node's share of its limits.
    fn shares(&self, attempts: &[Attempt]) -> Vec<Attempt> {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let mut shares = attempts.to_vec();
        for rule in shares.iter_mut().flat_map(|attempt| &mut attempt.rules) {
            let Limit { max, window } = rule.limit;
            rule.limit = Limit { max: (max / nodes).max(max.min(1)), window };
        }
        shares
    }
}

#[async_trait]
impl RateLimiter for FallbackRateLimiter {
    async fn check_many(&self, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        match self.shared.check_many(attempts).await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                self.note(true);
                metrics::counter!("chat_limits_own_total").increment(attempts.len() as u64);
                self.own.check_many(&self.shares(attempts)).await
            }
            outcome => {
                self.note(outcome.is_err() && self.is_degraded());
                outcome
            }
        }
    }
}
