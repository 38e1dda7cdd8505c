//! Bugs of volatile and derived state.

use super::Mutant;

/// Bugs of caches, presence, rooms, unread counts and profiles.
pub const MUTANTS: &[Mutant] = &[];
