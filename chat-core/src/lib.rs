//! chat-core (docs to come)

// Doctests, examples and unit tests name the crate as its users do.
extern crate self as chat_core;

pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod event;
pub mod memory;
pub mod moderation;
pub mod service;
pub mod store;
