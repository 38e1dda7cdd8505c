//! [`Guarded`]: a port behind a [`Policy`]. Forwarded once per port, by `port!`; decided once per policy.

use std::fmt;
use std::future::Future;

use super::operation::Call;
use crate::error::Result;

/// A call that may be made any number of times, one after the other: arguments are borrowed, so nothing is copied.
///
/// Any `Fn` that answers a future of a [`Result`] is one.
pub trait Attempt: Sync {
    /// What it answers when all goes well.
    type Answer: Send;

    /// Makes the call.
    fn start(&self) -> impl Future<Output = Result<Self::Answer>> + Send;
}

impl<T, F, Start> Attempt for Start
where
    T: Send,
    F: Future<Output = Result<T>> + Send,
    Start: Fn() -> F + Sync,
{
    type Answer = T;

    fn start(&self) -> impl Future<Output = Result<T>> + Send {
        self()
    }
}

/// Decides about calls: whether, when and how often they are made, and what is told of them.
///
/// It sees the [`Call`], never arguments nor answers. What it remembers lives in its own value, so one policy may guard
/// many ports. Whoever asked may stop waiting at any time: the future is dropped then, and must leave nothing behind.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// Makes the call, or does not.
    ///
    /// Fails as the attempt does, or as the policy has it.
    fn run<A: Attempt>(&self, call: Call, attempt: &A) -> impl Future<Output = Result<A::Answer>> + Send;
}

/// A port behind a policy: it implements every port that `S` implements, and each method goes through the policy.
///
/// ```
/// use std::time::Duration;
/// use chat_core::layer::{Guarded, Timeout};
/// use chat_core::memory::MemoryCache;
/// use chat_core::store::{CacheExt, cache::CacheScope};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
/// let cache = Guarded::new(MemoryCache::default(), Timeout::default());
/// let names = CacheScope::new("names")?;
/// cache.put(&names, "7", "Ada", Duration::from_secs(60)).await?;
/// assert_eq!(cache.get(&names, "7").await?.as_deref(), Some(&b"Ada"[..]));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Guarded<S, P> {
    pub(super) port: S,
    pub(super) policy: P,
}

impl<S, P: Policy> Guarded<S, P> {
    /// This port behind this policy. An `Arc<dyn Port>` is a port, too.
    pub const fn new(port: S, policy: P) -> Self {
        Self { port, policy }
    }

    /// What is guarded; what is asked of it directly goes past the policy.
    pub const fn port(&self) -> &S {
        &self.port
    }

    /// What decides.
    pub const fn policy(&self) -> &P {
        &self.policy
    }
}
