//! Cutting batches into commands.

use crate::keys::{SHARDS, Shard};

/// Cuts a batch, whose nth item belongs to a shard and has a size, into rounds: in each, one command per shard at most,
/// of so many items and, unless one item alone is larger, of such a size.
pub(crate) fn rounds(
    items: impl Iterator<Item = (Shard, usize)>,
    most: usize,
    largest: usize,
) -> Vec<Vec<(Shard, Vec<usize>)>> {
    let mut rounds: Vec<Vec<(Shard, Vec<usize>)>> = Vec::new();
    // Of each shard, in which round its next item goes, and how large that command has become.
    let mut open = [(0_usize, 0_usize); SHARDS as usize];
    for (nth, (shard, size)) in items.enumerate() {
        let Some((round, filled)) = open.get_mut(shard.index()) else { continue };
        let is_full = |batch: &Vec<usize>| batch.len() >= most || filled.saturating_add(size) > largest;
        let batch = rounds.get(*round).and_then(|batches| batches.iter().find(|(of, _)| *of == shard));
        if batch.is_some_and(|(_, batch)| is_full(batch)) {
            (*round, *filled) = (*round + 1, 0);
        }
        if rounds.len() <= *round {
            rounds.push(Vec::new());
        }
        *filled += size;
        let Some(batches) = rounds.get_mut(*round) else { continue };
        match batches.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, batch)) => batch.push(nth),
            None => batches.push((shard, vec![nth])),
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(items: &[(&str, usize)], most: usize, largest: usize) -> Vec<Vec<Vec<usize>>> {
        let rounds = rounds(items.iter().map(|(key, size)| (Shard::of(key), *size)), most, largest);
        rounds.into_iter().map(|round| round.into_iter().map(|(_, batch)| batch).collect()).collect()
    }

    #[test]
    fn a_batch_is_cut_into_one_command_per_shard_and_round() {
        let (a, b) = ("ada", "eve");
        assert_ne!(Shard::of(a), Shard::of(b));
        assert!(cut(&[], 2, 10).is_empty());
        let mixed = [(a, 1), (b, 1), (a, 1), (b, 1)];
        assert_eq!(cut(&mixed, 9, 10), [[vec![0, 2], vec![1, 3]]]);
        assert_eq!(cut(&[(a, 1); 5], 2, 10), [[[0, 1].to_vec()], [[2, 3].to_vec()], [[4].to_vec()]]);
        assert_eq!(cut(&[(a, 6), (a, 6), (a, 99), (a, 1)], 9, 10), [[[0]], [[1]], [[2]], [[3]]], "by size");
        assert_eq!(cut(&[(a, 6), (a, 4), (b, 9)], 9, 10), [[vec![0, 1], vec![2]]]);
    }
}
