//! Decorators: ports around ports, whatever the backend.

mod breaker;
mod limits;
mod users;

pub use breaker::{Breaker, BreakerOptions, BreakerState, BreakerStats};
pub use limits::FallbackRateLimiter;
pub use users::BreakerUserSource;
