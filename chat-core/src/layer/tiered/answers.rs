//! The answers of one lookup, as they come in.

use std::time::Duration;

use bytes::Bytes;

use super::segment::Found;
use crate::clock::Timestamp;
use crate::store::cache::{Generation, Lookup};

/// Answers, of which some may be missing.
pub(super) struct Answers {
    values: Vec<Option<Bytes>>,
    left: Vec<Duration>,
    generation: Option<Generation>,
    is_mixed: bool,
}

impl Answers {
    pub(super) fn new(count: usize) -> Self {
        Self {
            values: vec![None; count],
            left: vec![Duration::ZERO; count],
            generation: None,
            is_mixed: false,
        }
    }

    pub(super) fn take(&mut self, nth: usize, found: &Found, now: Timestamp) {
        if let (Some(value), Some(left)) = (self.values.get_mut(nth), self.left.get_mut(nth)) {
            *value = found.value.clone();
            *left = if value.is_some() { found.ends.since(now) } else { Duration::ZERO };
        }
        self.is_mixed |= *self.generation.get_or_insert(found.generation) != found.generation;
    }

    /// Whether they belong to more than one life of their scope.
    pub(super) fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    pub(super) fn into_lookup(self) -> Lookup {
        let generation = self.generation.unwrap_or(Generation(0));
        Lookup { generation, values: self.values, left: self.left }
    }
}
