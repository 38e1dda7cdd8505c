//! Profiles that stay right: a cache in step with the events of users (seed 002).

mod consumer;

pub use consumer::{UserStreamConsumer, UserStreamOptions, UserStreamStats};

/// What the Node services call somebody whose name they do not know: no name.
const NOBODY: &str = "Utilisateur inconnu";
