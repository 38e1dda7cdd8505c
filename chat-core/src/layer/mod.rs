//! Decorators: ports around ports, whatever the backend.
//!
//! [`Guarded`] forwards every method of every port through a [`Policy`]. It is written by the declaration of the port, so
//! that no method is forgotten; a policy decides once, for all of them. [`Resilient`] is all policies in the one right
//! order:
//!
//! ```text
//! trace( meter( retry( breaker( timeout( store ) ) ) ) )
//! ```
//!
//! - **[`Traced`] and [`Metered`] outermost:** they tell what the caller saw, all attempts and pauses together. What single
//!   attempts did is in the backend's own histogram, and in `chat_retries_total`.
//! - **[`Retry`] around [`Breaker`]:** the breaker counts attempts, so three calls with two attempts each are six outages
//!   and not three, and a retry is refused as soon as the breaker opens. The other way round a call of ten seconds would be
//!   one failure, and the breaker would let every retry of it through.
//! - **[`Breaker`] around [`Timeout`]:** a backend that hangs is away. Without a timeout inside, its calls would never be
//!   counted.
//! - **[`Timeout`] innermost:** each attempt has its own time, and [`RetryOptions::deadline`] is that of all of them.
//! - **[`Chaos`], where it is wanted, is inside of everything**, in the store's place, so that all of it is put to the test.
//!
//! [`Tiered`] is no policy but a cache in front of a cache: what is asked for again and again is answered by this process,
//! with a stated bound on how old that may be.
//!
//! Order is by nesting, so it shows in the type: `Stack(Retry, Stack(Breaker, Timeout))`. Policies alone will do, too, such
//! as a [`Breaker`] around a source of users.
//!
//! # What a retry may repeat
//! The declaration of a port says of each method what a [`Repeat`] is after a lost reply. What reads, or answers the same
//! again, or answers that it was so already, is tried again; what is handed out once, or could undo another's change, is
//! tried again only where it surely did not happen.
//!
//! # Cost
//! A guarded call allocates once more than a bare one, for its future; policies allocate nothing while all goes well. All
//! layers together took about a microsecond around a lookup in the memory cache that takes half of one (release, two busy
//! cores).
//!
//! # Time
//! By the injected clock: with a [`ManualClock`](crate::clock::ManualClock) nothing passes unless it is moved.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use chat_core::error::Code;
//! use chat_core::layer::{BreakerState, ChaosOptions, Resilient, ResilientOptions, RetryOptions};
//! use chat_core::clock::ManualClock;
//! use chat_core::memory::MemoryPresence;
//! use chat_core::store::PresenceStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> chat_core::error::Result<()> {
//! // As it comes.
//! let clock = Arc::new(ManualClock::default());
//! let store = MemoryPresence::new(clock.clone());
//! let presence: Arc<dyn PresenceStore> = Arc::new(Resilient::default().guard(store));
//! assert!(presence.sweep(10).await?.is_empty());
//!
//! // A backend that refuses every call: tried again, then spared.
//! let options = ResilientOptions {
//!     retry: RetryOptions { pause: Duration::ZERO, ..RetryOptions::default() },
//!     chaos: Some(ChaosOptions { refuse: 1.0, ..ChaosOptions::default() }),
//!     ..ResilientOptions::default()
//! };
//! let away = Resilient::new("presence", options, clock.clone());
//! let presence = away.guard(MemoryPresence::new(clock));
//! for _ in 0..2 {
//!     assert_eq!(presence.sweep(10).await.unwrap_err().code(), Code::Unavailable);
//! }
//! assert_eq!(away.breaker().state(), BreakerState::Open, "five attempts");
//! # Ok(()) }
//! ```

mod breaker;
mod chaos;
mod dice;
mod limits;
mod metered;
mod resilient;
mod retry;
mod stack;
pub mod tiered;
mod timeout;
mod traced;

pub use crate::store::{Attempt, Call, Guarded, Operation, Policy, Repeat};
pub use breaker::{Breaker, BreakerOptions, BreakerState, BreakerStats};
pub use chaos::{Chaos, ChaosOptions};
pub use limits::FallbackRateLimiter;
pub use metered::Metered;
pub use resilient::{Resilient, ResilientOptions};
pub use retry::{Retry, RetryOptions};
pub use stack::Stack;
pub use tiered::{CachePolicies, CachePolicy, News, Tiered, TieredOptions, TieredStats};
pub use timeout::{Timeout, TimeoutOptions};
pub use traced::Traced;
