//! Lanes: what a worker holds, by key.

use std::collections::{HashMap, HashSet, VecDeque};

use chat_core::event::Topic;
use chat_core::store::events::{Delivery, Receipt};

/// What orders a delivery: its topic and its key. What cannot be read has no key, and a lane of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LaneId {
    Key(Topic, String),
    Alone(Receipt),
}

impl LaneId {
    fn of(delivery: &Delivery) -> Self {
        match &delivery.event {
            Ok(envelope) => Self::Key(delivery.receipt.topic, envelope.key()),
            Err(_) => Self::Alone(delivery.receipt.clone()),
        }
    }
}

/// What a worker holds: of each lane one delivery at most is being worked on.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    waiting: HashMap<LaneId, VecDeque<Delivery>>,
    /// Lanes with a delivery that nobody works on, in the order they became so.
    ready: VecDeque<LaneId>,
    held: HashSet<Receipt>,
}

impl Lanes {
    /// How many deliveries are held, worked on or not.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.held.iter().cloned().collect()
    }

    /// Takes a delivery in; `false` when it is held already.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        if !self.held.insert(delivery.receipt.clone()) {
            return false;
        }
        let lane = LaneId::of(&delivery);
        let waiting = self.waiting.entry(lane.clone()).or_insert_with(|| {
            self.ready.push_back(lane);
            VecDeque::new()
        });
        waiting.push_back(delivery);
        true
    }

    /// The next delivery to work on. Its lane rests until it is [`done`](Self::done).
    pub(super) fn next(&mut self) -> Option<(LaneId, Delivery)> {
        let lane = self.ready.pop_front()?;
        let delivery = self.waiting.get_mut(&lane)?.pop_front()?;
        Some((lane, delivery))
    }

    /// A delivery is done with: the next of its lane may be worked on.
    pub(super) fn done(&mut self, lane: LaneId, receipt: &Receipt) {
        self.held.remove(receipt);
        match self.waiting.get(&lane) {
            Some(waiting) if !waiting.is_empty() => self.ready.push_back(lane),
            _ => drop(self.waiting.remove(&lane)),
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_core::event::Undecodable;
    use chat_core::store::events::Position;
    use chat_testkit::sample;

    use super::*;

    fn delivery(key: &str, nth: u32) -> Delivery {
        let receipt = Receipt { topic: Topic::Notifications, position: Position(format!("{key}{nth}")) };
        Delivery { receipt, attempt: 1, event: Ok(sample::notice(key, nth)) }
    }

    fn names(lanes: &mut Lanes) -> Vec<(LaneId, String)> {
        std::iter::from_fn(|| lanes.next()).map(|(lane, next)| (lane, next.receipt.position.0)).collect()
    }

    #[test]
    fn of_each_key_one_at_a_time_in_order() {
        let mut lanes = Lanes::default();
        for (key, nth) in [("a", 1), ("a", 2), ("b", 1), ("a", 3)] {
            assert!(lanes.push(delivery(key, nth)));
        }
        let first = names(&mut lanes);
        assert_eq!(first.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
        lanes.done(first[0].0.clone(), &delivery("a", 1).receipt);
        let second = names(&mut lanes);
        assert_eq!(second[0].1, "a2");
        assert!(lanes.push(delivery("a", 4)) && names(&mut lanes).is_empty(), "a2 is being worked on");
        lanes.done(second[0].0.clone(), &delivery("a", 2).receipt);
        lanes.done(first[1].0.clone(), &delivery("b", 1).receipt);
        let third = names(&mut lanes);
        lanes.done(third[0].0.clone(), &delivery("a", 3).receipt);
        assert_eq!((names(&mut lanes)[0].1.as_str(), lanes.len()), ("a4", 1));
    }

    #[test]
    fn what_is_held_is_not_taken_in_again() {
        let mut lanes = Lanes::default();
        assert!(lanes.push(delivery("a", 1)) && !lanes.push(delivery("a", 1)));
        let (lane, next) = lanes.next().unwrap();
        assert!(!lanes.push(delivery("a", 1)), "nor while it is worked on");
        lanes.done(lane, &next.receipt);
        assert!(lanes.push(delivery("a", 1)) && lanes.len() == 1);
    }

    #[test]
    fn what_cannot_be_read_holds_nobody_up() {
        let mut lanes = Lanes::default();
        for nth in 1..=3 {
            lanes.push(Delivery { event: Err(Undecodable::new("broken")), ..delivery("a", nth) });
        }
        assert_eq!(names(&mut lanes).len(), 3);
    }
}
