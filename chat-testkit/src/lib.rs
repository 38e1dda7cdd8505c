//! chat-testkit: proves that a backend keeps the promises of `chat-core`'s ports.
//!
//! A backend's author writes one test binary without a harness:
//!
//! ```no_run
//! use chat_testkit::{Offer, run};
//!
//! fn main() -> std::process::ExitCode {
//!     run("memory", |_namespace| async { Ok(Offer::memory()) })
//! }
//! ```
//!
//! Every promise of every port offered becomes one named trial, such as `memory::presence::expiry_is_one_edge`. What an
//! offer leaves out is *ignored*, with the reason; a backend named in `CHAT_TEST_REQUIRE` may not be absent.
//!
//! * [`checks`]: one file per port, one function per promise.
//! * [`model`]: reference models; random histories of operations must agree with them.
//! * [`mutants`]: known bugs of other systems, each of which a named check must find.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check fails by panicking"
)]

pub mod checks;
pub mod expect;
pub mod faulty;
pub mod model;
pub mod mutants;
mod offer;
mod ports;
mod run;
pub mod sample;
pub mod stage;
pub mod walk;

pub use offer::{Absent, Consumers, HISTORIES, Offer};
pub use run::{Check, Namespace, Verdict, prove, run};
