//! What streams are called, how events are written, how much is kept.

use std::collections::BTreeMap;

use chat_core::event::{StreamNames, Topic};

/// How events are written; either is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// The flat fields the Node services read, and the envelope beside them.
    #[default]
    Flat,
    /// The envelope alone: less to store, less to read.
    Payload,
}

/// What streams are called, how events are written, how much is kept.
///
/// ```
/// use chat_core::event::{StreamNames, Topic};
/// use chat_streams::{Encoding, StreamsOptions};
///
/// let options = StreamsOptions { encoding: Encoding::Payload, ..StreamsOptions::default() };
/// assert_eq!(options.names.name(Topic::Messages), "events:messages");
/// assert_eq!(options.max_len(Topic::Messages), 10_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsOptions {
    /// The names of the streams; those of the seeds by default.
    pub names: StreamNames,
    /// How events are written; [`Encoding::Flat`] by default.
    pub encoding: Encoding,
    /// About how many entries a topic keeps, where that is not [`Topic::max_len`].
    pub lengths: BTreeMap<Topic, u64>,
    /// How many times its length a topic may grow while a group lags behind; then it takes no more. 10 by default.
    pub stretch: u64,
    /// Whether only groups registered through this crate keep entries from being trimmed. By default every group of a
    /// stream does, whoever made it.
    pub ignore_foreign_groups: bool,
}

impl Default for StreamsOptions {
    fn default() -> Self {
        Self {
            names: StreamNames::default(),
            encoding: Encoding::default(),
            lengths: BTreeMap::new(),
            stretch: 10,
            ignore_foreign_groups: false,
        }
    }
}

impl StreamsOptions {
    /// About how many entries a topic keeps.
    pub fn max_len(&self, topic: Topic) -> u64 {
        self.lengths.get(&topic).copied().unwrap_or(topic.max_len()).max(1)
    }

    /// How many entries a topic takes while a group lags behind.
    pub(crate) fn most(&self, topic: Topic) -> u64 {
        self.max_len(topic).saturating_mul(self.stretch.max(1))
    }
}
