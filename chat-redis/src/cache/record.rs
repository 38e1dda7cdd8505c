//! What stands under a key: see `scripts/cache.lua`.

use std::time::Duration;

use bytes::Bytes;
use chat_core::clock::Timestamp;
use chat_core::store::cache::Generation;

/// A generation, an end, a writer.
pub(super) type Word = [u8; 8];

const HEAD: usize = 25;

/// The life of one shard of a scope: its generation, and until when its list is kept.
pub(super) fn generation(life: &[u8]) -> Option<Generation> {
    let (generation, _list) = life.split_first_chunk::<8>().filter(|(_, list)| list.len() == 8)?;
    Some(Generation(u64::from_be_bytes(*generation)))
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Miss,
    /// A value whose time has passed.
    Over,
    /// A value, and for how long it lives on.
    Value(Bytes, Duration),
    /// A value that stands apart, under the name of who wrote it, and for how long it lives on.
    Apart(Word, Duration),
}

/// Reads a record; `None` if it is none.
pub(super) fn read(record: Vec<u8>, current: Generation, now: Timestamp) -> Option<Found> {
    let (kind, rest) = record.split_first()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (until, rest) = rest.split_first_chunk::<8>()?;
    let (writer, _) = rest.split_first_chunk::<8>()?;
    let is_current = u64::from_be_bytes(*generation) == current.0;
    let left = Duration::from_millis(u64::from_be_bytes(*until).saturating_sub(now.as_millis()));
    match kind {
        b'x' => Some(Found::Miss),
        b'i' | b'a' if !is_current => Some(Found::Miss),
        b'i' | b'a' if left.is_zero() => Some(Found::Over),
        b'a' => Some(Found::Apart(*writer, left)),
        b'i' => Some(Found::Value(Bytes::from(record).slice(HEAD..), left)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, generation: u64, until: u64, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &generation.to_be_bytes(), &until.to_be_bytes(), &[7; 8], value].concat()
    }

    #[test]
    fn a_record_lives_in_its_generation_until_its_end() {
        let read = |record| read(record, Generation(5), Timestamp::from_millis(100));
        let value =
            |bytes: &'static [u8]| Some(Found::Value(Bytes::from_static(bytes), Duration::from_millis(1)));
        assert_eq!(read(record(b'i', 5, 101, b"v")), value(b"v"));
        assert_eq!(read(record(b'i', 5, 101, b"")), value(b""));
        assert_eq!(read(record(b'a', 5, 101, b"")), Some(Found::Apart([7; 8], Duration::from_millis(1))));
        assert_eq!(read(record(b'i', 5, 100, b"v")), Some(Found::Over));
        for miss in [record(b'i', 4, 100, b"v"), record(b'i', 4, 101, b"v"), record(b'x', 5, 101, b"")] {
            assert_eq!(read(miss), Some(Found::Miss));
        }
        for garbage in
            [Vec::new(), b"i".to_vec(), record(b'?', 5, 101, b"v"), record(b'i', 5, 101, b"")[..24].to_vec()]
        {
            assert_eq!(read(garbage), None);
        }
    }
}
