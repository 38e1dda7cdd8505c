//! Whose turn it is: a consumer of several streams asks those first that had more than it took.

use std::collections::BTreeSet;

/// Of what is asked for, a stream that had nothing lately is offered this part.
const QUIET_PART: usize = 8;

/// Which streams of a consumer are asked next, and for how much.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Those that had as much as they were asked for.
    busy: BTreeSet<usize>,
    /// The first to be asked, so that everybody's turn comes.
    first: usize,
}

impl Turn {
    /// Which of `streams` to ask for how much, `max` in all. First the busy ones and one other; then, when they had
    /// nothing, all that were not asked.
    pub(crate) fn next(
        &mut self,
        streams: usize,
        max: usize,
        asked: &BTreeSet<usize>,
    ) -> Vec<(usize, usize)> {
        let in_turn = (0..streams).map(|n| (self.first + n) % streams);
        let (busy, quiet): (Vec<_>, Vec<_>) =
            in_turn.filter(|nth| !asked.contains(nth)).partition(|nth| self.busy.contains(nth));
        self.first = (self.first + 1) % streams.max(1);
        let (many, one) = match (busy.is_empty(), quiet.first()) {
            (true, _) => (quiet, None),
            (false, Some(one)) if busy.len() < max => (busy, Some(*one)),
            (false, _) => (busy, None),
        };
        let left = one.map_or(max, |_| max - (max / QUIET_PART).max(1));
        let (share, rest) = (left / many.len().max(1), left % many.len().max(1));
        let shared = many.iter().enumerate().map(|(n, nth)| (*nth, share + usize::from(n < rest)));
        shared.chain(one.map(|nth| (nth, max - left))).filter(|(_, share)| *share > 0).collect()
    }

    /// Whether a stream had all it was asked for.
    pub(crate) fn note(&mut self, nth: usize, had_all: bool) {
        if had_all {
            self.busy.insert(nth);
        } else {
            self.busy.remove(&nth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_never_more_than_wanted() {
        for streams in 1..20 {
            for max in 1..40 {
                let mut turn = Turn::default();
                for round in 0..streams * 2 {
                    turn.note(round % streams, round % 3 == 0);
                    let shares = turn.next(streams, max, &BTreeSet::new());
                    assert!(!shares.is_empty());
                    assert!(shares.iter().map(|(_, share)| share).sum::<usize>() <= max, "{shares:?}");
                    assert!(shares.iter().all(|(nth, share)| *nth < streams && *share > 0));
                }
            }
        }
    }

    #[test]
    fn everybody_is_asked_before_there_is_nothing() {
        let mut turn = Turn::default();
        turn.note(2, true);
        let mut asked = BTreeSet::new();
        while asked.len() < 5 {
            let shares = turn.next(5, 2, &asked);
            assert!(!shares.is_empty(), "{asked:?}");
            asked.extend(shares.into_iter().map(|(nth, _)| nth));
        }
        assert!(turn.next(5, 2, &asked).is_empty());
    }

    #[test]
    fn a_busy_stream_gets_most_and_the_others_get_their_turn() {
        let mut turn = Turn::default();
        turn.note(0, true);
        let mut asked = BTreeSet::new();
        for _ in 0..4 {
            let shares = turn.next(4, 128, &BTreeSet::new());
            assert!(shares.contains(&(0, 112)), "{shares:?}");
            asked.extend(shares.into_iter().map(|(nth, _)| nth));
        }
        assert_eq!(asked.len(), 4);
    }
}
