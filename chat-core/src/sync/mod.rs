//! Keeping states in step: what is derived with the truth, after either was away.

pub mod recovery;

pub use recovery::{Recovery, RecoveryState, Resync, Resynced, Told};
