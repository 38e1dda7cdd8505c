//! chat-core (docs to come)
pub mod clock;
pub mod domain;
pub mod error;
