//! Profiles that stay right: a cache in step with the events of users, and their truth at another service (seed 002).
//!
//! ```text
//! the truth about users ─► events:users ─► UserStreamConsumer ─► UserStore, which everybody reads
//!          └──── HttpUserSource (feature `http`), for what is not in the cache ─────┘
//! ```

mod consumer;
#[cfg(feature = "http")]
pub mod http;

pub use consumer::{UserStreamConsumer, UserStreamOptions, UserStreamStats};
#[cfg(feature = "http")]
pub use http::{HttpUserOptions, HttpUserSource};

/// What the Node services call somebody whose name they do not know: no name.
const NOBODY: &str = "Utilisateur inconnu";
