#![doc = include_str!("../README.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check fails by panicking"
)]
#![allow(
    clippy::future_not_send,
    clippy::needless_range_loop,
    reason = "a history is played on the thread that made it, over people by number"
)]

pub mod checks;
pub mod expect;
pub mod faulty;
pub mod guarded;
pub mod model;
pub mod mutants;
mod offer;
pub mod played;
mod ports;
#[cfg(unix)]
pub mod proxy;
mod run;
pub mod sample;
#[cfg(unix)]
pub mod server;
pub mod stage;
pub mod wait;
pub mod walk;

pub use libtest_mimic::Trial;
pub use offer::{Absent, Consumers, HISTORIES, Offer};
pub use run::{Check, Namespace, Verdict, promises, prove, run, run_trials, trial};
