//! [`Dice`]: chance that can be repeated.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Numbers by chance from a seed: the same seed gives the same numbers in the same order, to however many threads they
/// go. `SplitMix64` (Steele, Lea and Flood, 2014); good for jitter, not for secrets.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    state: AtomicU64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, state: AtomicU64::new(seed) }
    }

    /// What they were seeded with.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let drawn = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// From 0 up to, but not including, 1.
    pub(super) fn share(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Some part of it.
    pub(super) fn part_of(&self, whole: Duration) -> Duration {
        whole.mul_f64(self.share())
    }
}

impl Default for Dice {
    /// Seeded by chance.
    fn default() -> Self {
        Self::new(RandomState::new().hash_one(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_evenly_spread() {
        let draw = |seed| {
            let dice = Dice::new(seed);
            std::iter::repeat_with(|| dice.share()).take(10_000).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut tenths = [0; 10];
        for share in draw(7) {
            assert!((0.0..1.0).contains(&share));
            tenths[(share * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1_100).contains(count)), "{tenths:?}");
    }
}
