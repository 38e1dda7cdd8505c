//! [`Resilient`]: all of it, in the one right order.

use std::sync::Arc;

use super::{
    Breaker, BreakerOptions, Chaos, ChaosOptions, Metered, Retry, RetryOptions, Stack, Timeout,
    TimeoutOptions, Traced,
};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::store::{Attempt, Call, Guarded, Policy};

/// What the layers are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResilientOptions {
    /// When to try again.
    pub retry: RetryOptions,
    /// When not to ask.
    pub breaker: BreakerOptions,
    /// When to stop waiting.
    pub timeout: TimeoutOptions,
    /// What to break on purpose; nothing by default.
    pub chaos: Option<ChaosOptions>,
    /// Where the chance of pauses and rests begins; by chance when not given.
    pub seed: Option<u64>,
}

type Layers = Stack<Traced, Stack<Metered, Stack<Retry, Stack<Breaker, Stack<Timeout, Option<Chaos>>>>>>;

/// One backend's layers, in the order that [the module](super) explains:
/// `trace(meter(retry(breaker(timeout(store)))))`.
///
/// Clones share their breaker and their budget, so clone it for every port of a backend, and make another one for every
/// other backend.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use chat_core::clock::SystemClock;
/// use chat_core::layer::{BreakerState, Resilient};
/// use chat_core::memory::{MemoryCache, MemoryRateLimiter};
/// use chat_core::store::{Cache, CacheExt, RateLimiter, cache::CacheScope};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
/// let clock = Arc::new(SystemClock);
/// let resilient = Resilient::default();
/// let cache: Arc<dyn Cache> = Arc::new(resilient.guard(MemoryCache::default()));
/// let limits: Arc<dyn RateLimiter> = Arc::new(resilient.guard(MemoryRateLimiter::new(clock)));
///
/// let names = CacheScope::new("names")?;
/// cache.put(&names, "7", "Ada", Duration::from_secs(60)).await?;
/// assert_eq!(resilient.breaker().state(), BreakerState::Closed);
/// assert_eq!(resilient.breaker().stats().calls, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Resilient(Arc<Layers>);

impl Resilient {
    /// The layers of a backend of this name, by this clock.
    pub fn new(backend: &'static str, options: ResilientOptions, clock: Arc<dyn Clock>) -> Self {
        let ResilientOptions { retry, breaker, timeout, chaos, seed } = options;
        let mut retry = Retry::new(backend, retry, Arc::clone(&clock));
        let mut breaker = Breaker::new(backend, breaker, Arc::clone(&clock));
        if let Some(seed) = seed {
            (retry, breaker) = (retry.seeded(seed), breaker.seeded(!seed));
        }
        let chaos = chaos.map(|chaos| Chaos::new(chaos, Arc::clone(&clock)));
        let inner = Stack(breaker, Stack(Timeout::new(timeout, clock), chaos));
        Self(Arc::new(Stack(Traced::new(backend), Stack(Metered::new(backend), Stack(retry, inner)))))
    }

    /// This port behind these layers.
    pub fn guard<S>(&self, port: S) -> Guarded<S, Self> {
        Guarded::new(port, self.clone())
    }

    /// The breaker, to look at or to reset.
    pub fn breaker(&self) -> &Breaker {
        let Stack(_, Stack(_, Stack(_, Stack(breaker, _)))) = &*self.0;
        breaker
    }

    /// What tries again.
    pub fn retry(&self) -> &Retry {
        let Stack(_, Stack(_, Stack(retry, _))) = &*self.0;
        retry
    }

    /// What breaks things on purpose, if anything does.
    pub fn chaos(&self) -> Option<&Chaos> {
        let Stack(_, Stack(_, Stack(_, Stack(_, Stack(_, chaos))))) = &*self.0;
        chaos.as_ref()
    }
}

impl Default for Resilient {
    /// A backend named `store`, by this machine's clock.
    fn default() -> Self {
        Self::new("store", ResilientOptions::default(), Arc::new(SystemClock))
    }
}

impl Policy for Resilient {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        self.0.run(call, attempt).await
    }
}
