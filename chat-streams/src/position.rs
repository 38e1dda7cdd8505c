//! Where an entry stands: which life of its stream, and its id there.

use std::fmt;
use std::str::FromStr;

use chat_core::store::events::Position;

/// The id of an entry: when it was written, in milliseconds of the server, and which of that millisecond it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct EntryId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub(crate) const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The id right before this one, which no later entry can have.
    pub(crate) fn before(self) -> Self {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Self { ms: self.ms, seq },
            (Some(ms), None) => Self { ms, seq: u64::MAX },
            (None, None) => Self::ZERO,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What is no entry id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let plain = |digits: &str| {
            let is_canonical = digits == "0" || !digits.starts_with(['0', '+']);
            digits.parse().ok().filter(|_| is_canonical).ok_or(NoEntryId)
        };
        let (ms, seq) = text.split_once('-').ok_or(NoEntryId)?;
        Ok(Self { ms: plain(ms)?, seq: plain(seq)? })
    }
}

/// A name for another life of a stream, should one begin: 16 hexadecimal digits.
pub(crate) fn another_life() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The position of an entry in a life of its stream.
pub(crate) fn position(life: &str, entry: EntryId) -> Position {
    Position(format!("{life}-{entry}"))
}

/// The life and the entry of a position; nothing when no stream gave it.
pub(crate) fn parts(position: &Position) -> Option<(&str, EntryId)> {
    let (life, entry) = position.0.split_once('-')?;
    Some((life, entry.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [
            EntryId::ZERO,
            EntryId { ms: 1_735_689_600_000, seq: 7 },
            EntryId { ms: u64::MAX, seq: u64::MAX },
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(parts(&position("5f1c", id)), Some(("5f1c", id)));
        }
        for bad in ["", "1", "-", "1-", "-1", "01-1", "+1-1", "1-18446744073709551616", "1-1-1", " 1-1"] {
            assert_eq!(bad.parse::<EntryId>(), Err(NoEntryId), "{bad:?}");
        }
        assert_eq!(parts(&Position("1735689600000-0".to_owned())), None, "no life");
    }

    #[test]
    fn nothing_lies_between_an_id_and_the_one_before_it() {
        let id = |ms, seq| EntryId { ms, seq };
        assert_eq!(id(5, 3).before(), id(5, 2));
        assert_eq!(id(5, 0).before(), id(4, u64::MAX));
        assert_eq!(id(0, 0).before(), EntryId::ZERO);
        assert!(id(4, u64::MAX) < id(5, 0) && id(5, 0) < id(5, 1));
    }
}
