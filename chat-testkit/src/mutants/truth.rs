//! Bugs of the truth.

use super::Mutant;

/// Bugs of messages, positions, conversations, files, the outbox and the event log.
pub const MUTANTS: &[Mutant] = &[];
