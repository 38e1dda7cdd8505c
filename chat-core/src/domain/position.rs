//! How far somebody has read, and what that leaves unread. Positions, never counters.

use serde::{Deserialize, Serialize};

use super::id::Seq;

/// How far one user has read one conversation.
///
/// Positions merge into the larger one, so that repeated, reordered and concurrent updates always end in the same
/// place. Marking as read raises `seq`; marking as unread begins a new `epoch` at a lower `seq`, which beats every
/// position of an older epoch, however late that arrives. What the user writes itself counts as read, unless it was
/// written before the rewind: see [`ReadPosition::reached`].
///
/// ```
/// use chat_core::domain::{ReadPosition, Seq};
///
/// let read = ReadPosition::at(Seq(10));
/// let rewound = read.rewound_to(Seq(3), Seq(12));
/// assert_eq!(rewound.merge(read), rewound, "a late \"read up to 10\" does not undo the rewind");
/// assert_eq!(rewound.merge(rewound.read_up_to(Seq(7))).seq, Seq(7));
/// assert_eq!(rewound.reached(Seq(9)), Seq(3), "own message 9 is older than the rewind");
/// assert_eq!(rewound.reached(Seq(13)), Seq(13), "own message 13 is newer");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadPosition {
    /// How often the user marked this conversation as unread.
    pub epoch: u32,
    /// The last message read in this epoch.
    pub seq: Seq,
    /// The head of the conversation when this epoch began.
    pub rewound_at: Seq,
}

impl ReadPosition {
    /// Nothing read.
    pub const START: Self = Self::at(Seq::ZERO);

    /// Read up to `seq`, never rewound.
    pub const fn at(seq: Seq) -> Self {
        Self { epoch: 0, seq, rewound_at: Seq::ZERO }
    }

    /// The larger of the two: associative, commutative, idempotent.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match self.epoch.cmp(&other.epoch) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                epoch: self.epoch,
                seq: self.seq.max(other.seq),
                rewound_at: self.rewound_at.max(other.rewound_at),
            },
        }
    }

    /// Read up to `seq` within this epoch; never lower than before.
    #[must_use]
    pub fn read_up_to(self, seq: Seq) -> Self {
        Self { seq: self.seq.max(seq), ..self }
    }

    /// The next epoch, with everything after `seq` unread again. `head` is the newest message now.
    #[must_use]
    pub fn rewound_to(self, seq: Seq, head: Seq) -> Self {
        Self { epoch: self.epoch.saturating_add(1), seq, rewound_at: head }
    }

    /// The last message that is not unread, given the last one the user wrote.
    pub fn reached(self, own: Seq) -> Seq {
        if own > self.rewound_at { self.seq.max(own) } else { self.seq }
    }
}

/// How far one member has received and read a conversation. Read implies delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipts {
    /// The last message that reached one of the member's devices.
    pub delivered: Seq,
    /// The last message read, and the epoch of that position.
    pub read: ReadPosition,
    /// The furthest message ever read: who has read a message stays its reader after marking it unread.
    pub seen: Seq,
    /// The last message the member wrote.
    pub own: Seq,
    /// The newest message when the member last joined.
    pub joined: Seq,
}

/// What one user has not read in one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// Countable messages after the read position. Own messages move the position, so they do not count.
    pub messages: u64,
    /// How many messages after the read position mention the user. Adjusting by hand leaves them as they are, so they
    /// may be more than `messages`.
    pub mentions: u64,
}

/// Stays at the largest number there is.
impl std::ops::Add for Unread {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            mentions: self.mentions.saturating_add(other.mentions),
        }
    }
}

impl std::iter::Sum for Unread {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), std::ops::Add::add)
    }
}
