//! What an operator does to streams and groups, and never happens by itself.

use chat_core::error::Result;
use chat_core::event::Topic;
use chat_redis::driver::Operation;

use crate::script::{CUT, LEAVE};
use crate::streams::Streams;

const TRIMMING: Operation = Operation::write("events.trim");
const REMOVING: Operation = Operation::write("events.remove_group");

/// What a forced trim did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Entries that are gone.
    pub removed: u64,
    /// Of these, entries that some group had not acknowledged.
    pub unacknowledged: u64,
}

impl Streams {
    /// Drops all but the newest `keep` entries of a topic, whoever still needs them. A member that holds one of them is
    /// given it once more when it is reclaimed, as one that cannot be read; the others are lost to their groups. Readers
    /// that stood before are told of a discontinuity.
    ///
    /// # Idempotency
    /// Repeated: it goes on where it was. What a lost answer said is not in the sum.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn force_trim(&self, topic: Topic, keep: u64) -> Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        loop {
            let command = self.script(&CUT, self.place(topic)?).arg(keep);
            let (removed, lost, left): (u64, u64, u64) = self.store().call_one(TRIMMING, command).await?;
            trimmed.removed += removed;
            trimmed.unacknowledged += lost;
            if left == 0 {
                return Ok(trimmed);
            }
        }
    }

    /// Forgets a group of these topics, and with it what it had not acknowledged; says whether any knew it. Its dead letters
    /// stay. A group nobody serves any more has to be removed: it keeps entries from being trimmed until its topics take no
    /// more.
    ///
    /// # Idempotency
    /// Repeated: it is gone.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn remove_group(&self, group: &str, topics: &[Topic]) -> Result<bool> {
        let mut commands = Vec::with_capacity(topics.len());
        for topic in topics {
            commands.push(self.script(&LEAVE, self.place(*topic)?).arg(group));
        }
        Ok(self.store().call::<u64>(REMOVING, commands).await?.into_iter().sum::<u64>() > 0)
    }
}
