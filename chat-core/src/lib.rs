//! chat-core (docs to come)
// lets doctests, examples and unit tests name the crate the same way
extern crate self as chat_core;

pub mod clock;
pub mod domain;
pub mod error;
pub mod event;
pub mod memory;
pub mod store;
