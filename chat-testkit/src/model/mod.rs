//! Reference models: each port once more, sequential and obviously right, and the random histories both must agree on.
//!
//! A model holds its state in a few ordered maps and is written from the promises of the port alone. Where a promise
//! leaves a choice, the model takes over what the backend chose, if it was one of the choices.
//!
//! A history is a list of operations over few ids, so that they meet. It is made from a seed, played on a fresh offer,
//! and made smaller when it fails. `CHAT_TEST_SEED` repeats what a failure printed; `CHAT_TEST_HISTORIES` says how many
//! are played.

use std::fmt::{Debug, Write};
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use chat_core::clock::ManualClock;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Handle;

use crate::Offer;

pub mod cache;
pub mod conversations;
pub mod events;
pub mod limits;
pub mod messages;
pub mod positions;
pub mod presence;
pub mod rooms;
pub mod unread;

/// The longest history.
const MAX_OPERATIONS: usize = 40;

/// How often a failing history is played again to make it smaller.
const MAX_SHRINKS: usize = 2_000;

/// How a history ended: with agreement, or with the words that say where it was lost.
pub type Agreement = Result<(), String>;

/// Plays random histories of operations; each is a list of what `operation` makes, played by `play` on an offer of its
/// own.
///
/// # Panics
/// With the smallest history found that does not end in agreement, and the seed that repeats it.
pub fn play_histories<S, P, F>(offer: &Offer, operation: S, play: P)
where
    S: Strategy,
    S::Value: Clone,
    P: Fn(Offer, Vec<S::Value>) -> F,
    F: Future<Output = Agreement>,
{
    let histories = from_environment("CHAT_TEST_HISTORIES").unwrap_or(offer.histories);
    let first_seed = from_environment("CHAT_TEST_SEED").unwrap_or_else(rand::random::<u64>);
    let history = proptest::collection::vec(operation, 1..=MAX_OPERATIONS);
    // Strategies and their trees stay on this thread; only the playing is async.
    tokio::task::block_in_place(|| {
        let played = |operations: Vec<S::Value>| {
            Handle::current().block_on(async { play(offer.fresh().await, operations).await })
        };
        for seed in (0..histories as u64).map(|nth| first_seed.wrapping_add(nth)) {
            let mut tree = history.new_tree(&mut runner(seed)).expect("a history");
            if let Err(lost) = played(tree.current()) {
                let (smallest, lost) = shrink(&mut tree, lost, &played);
                panic!("{}", report(seed, &smallest, &lost));
            }
        }
    });
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not {text:?}")))
}

/// By XorShift: a debug build spends three quarters of a history in the default generator.
fn runner(seed: u64) -> TestRunner {
    let bytes: Vec<u8> = [seed, !seed].into_iter().flat_map(|half| mixed(half).to_le_bytes()).collect();
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes))
}

/// SplitMix64: neighbouring seeds have nothing in common any more.
fn mixed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn shrink<T: ValueTree>(
    tree: &mut T,
    lost: String,
    played: &impl Fn(T::Value) -> Agreement,
) -> (T::Value, String) {
    let mut smallest = (tree.current(), lost);
    let mut smaller = tree.simplify();
    for _ in 0..MAX_SHRINKS {
        if !smaller {
            break;
        }
        smaller = match played(tree.current()) {
            Err(lost) => {
                smallest = (tree.current(), lost);
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    smallest
}

fn report<O: Debug>(seed: u64, operations: &[O], lost: &str) -> String {
    let mut report = format!("{lost}\n\nthe smallest history found:\n");
    for (nth, operation) in operations.iter().enumerate() {
        writeln!(report, "{nth:3}. {operation:?}").expect("text grows");
    }
    report + &format!("\nCHAT_TEST_SEED={seed} repeats it")
}

/// Both are the same, or what was asked and how the answers differ.
pub fn same<T: PartialEq + Debug>(asked: &dyn Debug, found: &T, expected: &T) -> Agreement {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{asked:?}\n  answered {found:?}\n  expected {expected:?}"))
    }
}

/// It is so, or what was asked and why it is not.
pub fn holds(it_is_so: bool, asked: &dyn Debug, otherwise: impl FnOnce() -> String) -> Agreement {
    if it_is_so { Ok(()) } else { Err(format!("{asked:?}\n  {}", otherwise())) }
}

/// A step of time, forwards or backwards.
#[derive(Debug, Clone, Copy)]
pub enum Tick {
    /// So much later.
    Forward(Duration),
    /// The clock was set back.
    Back(Duration),
}

impl Tick {
    /// Moves the clock.
    pub fn apply(self, clock: &ManualClock) {
        use chat_core::clock::Clock;
        match self {
            Self::Forward(by) => clock.advance(by),
            Self::Back(by) => clock.set(clock.now().before(by)),
        }
    }
}

/// Any step between a millisecond and `longest`, also to the very millisecond of `borders`; rarely backwards.
pub fn tick(longest: Duration, borders: &'static [Duration]) -> impl Strategy<Value = Tick> {
    use proptest::prelude::*;
    let longest = u64::try_from(longest.as_millis()).expect("a short time");
    let any = (1..=longest).prop_map(Duration::from_millis);
    let near = (proptest::sample::select(borders), -1_i64..=1).prop_map(|(border, off)| match off {
        -1 => border.saturating_sub(Duration::from_millis(1)),
        0 => border,
        _ => border + Duration::from_millis(1),
    });
    let step = prop_oneof![2 => any, 3 => near];
    prop_oneof![6 => step.clone().prop_map(Tick::Forward), 1 => step.prop_map(Tick::Back)]
}

/// `0..ids`, to choose one of a few ids with.
pub fn one_of(ids: usize) -> std::ops::Range<usize> {
    0..ids
}
