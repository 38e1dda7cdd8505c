//! A question under way, and what must not be lost of it when its answer is.

use std::collections::{HashMap, VecDeque};

use chat_core::store::events::Delivery;
use chat_redis::driver::OperationId;
use parking_lot::Mutex;

use crate::position::EntryId;
use crate::turn::Turn;

/// After how many entries it is asked whether a spell may go on: when it ends, as many and one call's may have to be written
/// down.
const MOST_IN_A_SPELL: usize = 10_000;

/// What calls of one sort share.
#[derive(Debug, Default)]
pub(super) struct Sort {
    pub(super) turn: Mutex<Turn>,
    /// By place, the call whose answer was not heard.
    unheard: Mutex<HashMap<usize, (OperationId, Option<Spell>)>>,
    /// By place, the spell that lasts, as far as is known. One call at a time has it.
    spells: Mutex<HashMap<usize, Spell>>,
    /// By place, how many calls are under way.
    under_way: Mutex<HashMap<usize, usize>>,
    /// What an unheard call had asked for beyond what the one that heard it did: it comes next.
    surplus: Mutex<VecDeque<Delivery>>,
}

/// A time in which this member is the sole one of its group at a place, and reads natively.
#[derive(Debug, Clone)]
pub(super) struct Spell {
    pub(super) name: String,
    /// The life of the stream it began in.
    pub(super) life: String,
    /// The last entry that was heard in it.
    pub(super) heard: Option<EntryId>,
    /// How many entries were read in it.
    pub(super) count: usize,
    /// Behind which entries of the stream and of the wake stream there was nothing when it began.
    pub(super) behind: (String, String),
}

impl Spell {
    /// Behind which entry of the stream the next thing will be.
    pub(super) fn end(&self) -> String {
        self.heard.map_or_else(|| self.behind.0.clone(), |heard| heard.to_string())
    }
}

impl Sort {
    /// Whether some call was not heard.
    pub(super) fn is_owed(&self, nth: usize) -> bool {
        self.unheard.lock().contains_key(&nth)
    }

    /// Asks everywhere anew who the sole member is.
    pub(super) fn forget_spells(&self) {
        self.spells.lock().clear();
    }

    /// Up to `max` of the surplus.
    pub(super) fn surplus(&self, max: usize) -> Surplus<'_> {
        let mut surplus = self.surplus.lock();
        let count = max.min(surplus.len());
        Surplus { sort: self, deliveries: surplus.drain(..count).collect() }
    }

    /// Keeps what is more than was asked for.
    pub(super) fn keep(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.surplus.lock().extend(deliveries);
    }
}

/// A question under way. If its answer is not heard, the next question has the same name, and is given the same answer; what
/// a native read took is told by its spell.
pub(super) struct Call<'a> {
    pub(super) sort: &'a Sort,
    pub(super) nth: usize,
    pub(super) name: OperationId,
    pub(super) spell: Option<Spell>,
    /// Whether it is a native read in its spell.
    pub(super) is_native: bool,
    is_heard: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(sort: &'a Sort, nth: usize) -> Self {
        let unheard = sort.unheard.lock().remove(&nth);
        *sort.under_way.lock().entry(nth).or_default() += 1;
        let mut call =
            Self { sort, nth, name: OperationId::new(), spell: None, is_native: false, is_heard: false };
        if let Some((name, spell)) = unheard {
            (call.name, call.spell) = (name, spell);
        } else if call.is_alone() {
            call.spell = sort.spells.lock().remove(&nth);
            call.is_native = call.spell.is_some();
        }
        call
    }

    /// Whether no other call asks at the same place: two at once would end each other's spells.
    pub(super) fn is_alone(&self) -> bool {
        self.sort.under_way.lock().get(&self.nth) == Some(&1)
    }

    /// Its answer is heard; the spell lasts, or another one begins.
    pub(super) fn was_heard(mut self, begins: Option<Spell>) {
        self.is_heard = true;
        let lasts = self.spell.take().filter(|spell| self.is_native && spell.count < MOST_IN_A_SPELL);
        let mut spells = self.sort.spells.lock();
        if let Some(begins) = begins {
            spells.insert(self.nth, begins);
        } else if let Some(lasts) = lasts {
            spells.entry(self.nth).or_insert(lasts);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.sort.under_way.lock().get_mut(&self.nth) {
            *count -= 1;
        }
        if !self.is_heard {
            self.sort.unheard.lock().insert(self.nth, (self.name, self.spell.take()));
        }
    }
}

/// Surplus on its way out. It stays, in its place, if whoever asked for it is gone.
pub(super) struct Surplus<'a> {
    sort: &'a Sort,
    deliveries: Vec<Delivery>,
}

impl Surplus<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    pub(super) fn was_heard(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Surplus<'_> {
    fn drop(&mut self) {
        let mut surplus = self.sort.surplus.lock();
        self.deliveries.drain(..).rev().for_each(|delivery| surplus.push_front(delivery));
    }
}
