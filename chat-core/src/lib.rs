#![doc = include_str!("../README.md")]

// Doctests, examples and unit tests name the crate as its users do.
extern crate self as chat_core;

pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod event;
pub mod layer;
pub mod memory;
pub mod moderation;
pub mod observe;
pub mod prewarm;
pub mod service;
pub mod store;
pub mod sync;

pub use error::{Error, Result};
pub use service::Chat;

/// The repository's front page, so that its code is tested too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
