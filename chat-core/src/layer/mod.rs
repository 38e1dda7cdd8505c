//! Decorators: ports around ports, whatever the backend.

mod limits;

pub use limits::FallbackRateLimiter;
