//! The model of the event log: one list of events, and per group what became of each.
//!
//! How many entries a fetch or a reclaim finds is left to the backend, as long as it finds some; so is which keys it
//! begins with. The model checks that every delivery is one that may be made, and takes it over.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::EventId;
use chat_core::domain::page::Page;
use chat_core::error::{Code, Error};
use chat_core::event::{Envelope, Topic};
use chat_core::store::events::{Delivery, Lag, Published, Receipt, TailCursor, TailRead};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher, EventTail};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, holds, one_of, play_histories, same};
use crate::walk::walk;
use crate::{Consumers, Offer, sample};

const TOPIC: Topic = Topic::Notifications;
const KEYS: [&str; 3] = ["a", "a:a", "b"];
const GROUPS: [&str; 2] = ["g", "g:g"];
const MEMBERS: [&str; 3] = ["one", "two", "three"];
const IDLE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Operation {
    Publish {
        keys: Vec<usize>,
    },
    /// One of those published before.
    Again {
        event: usize,
    },
    Fetch {
        group: usize,
        member: usize,
        max: usize,
    },
    /// One of those a group holds.
    Ack {
        group: usize,
        held: usize,
    },
    /// All a member of the group holds.
    AckAll {
        group: usize,
        member: usize,
    },
    Bury {
        group: usize,
        held: usize,
    },
    Reclaim {
        group: usize,
        member: usize,
        max: usize,
    },
    Replay {
        letter: usize,
    },
    Purge {
        letter: usize,
    },
    /// A member crashes, and another process takes its name.
    Rejoin {
        group: usize,
        member: usize,
    },
    Read {
        reader: usize,
        max: usize,
    },
    Look,
    Wait {
        seconds: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let group = || one_of(GROUPS.len());
    let member = || one_of(MEMBERS.len());
    let max = || select(&[1_usize, 2, 100][..]);
    prop_oneof![
        6 => proptest::collection::vec(one_of(KEYS.len()), 1..5).prop_map(|keys| Publish { keys }),
        1 => one_of(20).prop_map(|event| Again { event }),
        8 => (group(), member(), max()).prop_map(|(group, member, max)| Fetch { group, member, max }),
        3 => (group(), one_of(8)).prop_map(|(group, held)| Ack { group, held }),
        3 => (group(), member()).prop_map(|(group, member)| AckAll { group, member }),
        2 => (group(), one_of(8)).prop_map(|(group, held)| Bury { group, held }),
        3 => (group(), member(), max()).prop_map(|(group, member, max)| Reclaim { group, member, max }),
        2 => one_of(4).prop_map(|letter| Replay { letter }),
        1 => one_of(4).prop_map(|letter| Purge { letter }),
        1 => (group(), member()).prop_map(|(group, member)| Rejoin { group, member }),
        2 => (one_of(2), max()).prop_map(|(reader, max)| Read { reader, max }),
        1 => Just(Look),
        3 => select(&[5_u64, 10][..]).prop_map(|seconds| Wait { seconds }),
    ]
}

/// A member, or what was it before somebody took its name.
fn former(member: usize) -> usize {
    member % MEMBERS.len() + MEMBERS.len()
}

/// An entry with one member of a group, or with its former life.
#[derive(Debug)]
struct Held {
    member: usize,
    since: Timestamp,
    delivery: Delivery,
}

/// A group: what waits, in order, and what is with whom. Entries are told by their place in the log.
#[derive(Debug, Default)]
struct Group {
    replayed: Vec<usize>,
    waiting: Vec<usize>,
    held: BTreeMap<usize, Held>,
}

#[derive(Debug)]
struct Letter {
    id: String,
    group: usize,
    entry: usize,
}

#[derive(Debug, Default)]
struct Model {
    log: Vec<Envelope>,
    groups: [Group; GROUPS.len()],
    letters: Vec<Letter>,
}

impl Model {
    fn key(&self, entry: usize) -> String {
        self.log[entry].key()
    }

    /// Whether a member of a group may be given entries of a key.
    fn may_have(&self, group: usize, member: usize, entry: usize) -> bool {
        let key = self.key(entry);
        self.groups[group].held.iter().all(|(other, held)| held.member == member || self.key(*other) != key)
    }

    fn place(&self, delivery: &Delivery) -> Result<usize, String> {
        let Ok(event) = &delivery.event else { return Err(format!("cannot be read: {delivery:?}")) };
        let place = self.log.iter().position(|known| known == event);
        place.ok_or_else(|| format!("nobody published {event:?}"))
    }

    fn fetched(
        &mut self,
        asked: &(dyn Debug + Sync),
        at: (usize, usize),
        max: usize,
        found: &[Delivery],
        now: Timestamp,
    ) -> Agreement {
        let (group, member) = at;
        holds(found.len() <= max, asked, || format!("more than asked for: {found:?}"))?;
        for delivery in found {
            let entry = self.place(delivery)?;
            let state = &self.groups[group];
            let next_of_key =
                state.replayed.iter().chain(&state.waiting).find(|one| self.key(**one) == self.key(entry));
            holds(next_of_key == Some(&entry), asked, || format!("{delivery:?} is not the next of its key"))?;
            holds(self.may_have(group, member, entry), asked, || {
                format!("another member holds the key of {delivery:?}")
            })?;
            let is_fresh = !state.replayed.contains(&entry);
            holds(!is_fresh || delivery.attempt == 1, asked, || format!("the first attempt: {delivery:?}"))?;
            let held = Held { member, since: now, delivery: delivery.clone() };
            let state = &mut self.groups[group];
            state.replayed.retain(|one| *one != entry);
            state.waiting.retain(|one| *one != entry);
            state.held.insert(entry, held);
        }
        let state = &self.groups[group];
        let mut left = state.replayed.iter().chain(&state.waiting);
        let found_some = !found.is_empty() || !left.any(|entry| self.may_have(group, member, *entry));
        holds(found_some, asked, || "nothing, though something is free".to_owned())
    }

    fn reclaimed(
        &mut self,
        asked: &(dyn Debug + Sync),
        at: (usize, usize),
        max: usize,
        found: &[Delivery],
        now: Timestamp,
    ) -> Agreement {
        let (group, member) = at;
        let is_idle = |held: &Held| now.since(held.since) >= IDLE;
        // What is idle, and whatever else of its key is with the same member.
        let may_go: Vec<_> = self.groups[group].held.iter().filter(|(_, held)| is_idle(held)).collect();
        let may_go: Vec<_> =
            may_go.into_iter().map(|(entry, held)| (self.key(*entry), held.member)).collect();
        let mut keys = Vec::new();
        let mut last = None;
        for delivery in found {
            let entry = self.place(delivery)?;
            let Some(held) = self.groups[group].held.get(&entry) else {
                return Err(format!("{asked:?}: nobody held {delivery:?}"));
            };
            let from = (self.key(entry), held.member);
            holds(may_go.contains(&from), asked, || format!("not idle: {delivery:?}"))?;
            same(asked, &delivery.attempt, &(held.delivery.attempt + 1))?;
            same(asked, &delivery.receipt, &held.delivery.receipt)?;
            holds(last < Some(entry), asked, || format!("oldest first: {found:?}"))?;
            last = Some(entry);
            if !keys.contains(&from) {
                keys.push(from);
            }
        }
        holds(keys.len() <= max, asked, || format!("of more keys than entries were asked for: {found:?}"))?;
        holds(!found.is_empty() || may_go.is_empty(), asked, || format!("{may_go:?} was idle"))?;
        // The rest of a key goes with what was taken over, so that its order survives.
        let goes: Vec<_> =
            self.groups[group].held.iter().map(|(entry, held)| (*entry, held.member)).collect();
        for (entry, holder) in goes {
            if keys.contains(&(self.key(entry), holder)) {
                let delivery = found.iter().find(|delivery| self.place(delivery) == Ok(entry));
                let Some(delivery) = delivery else {
                    return Err(format!("{asked:?}: number {entry} was left behind: {found:?}"));
                };
                let held = Held { member, since: now, delivery: delivery.clone() };
                self.groups[group].held.insert(entry, held);
            }
        }
        Ok(())
    }
}

struct Game {
    clock: ManualClock,
    publisher: Arc<dyn EventPublisher>,
    tail: Arc<dyn EventTail>,
    letters: Arc<dyn DeadLetters>,
    consumers: Consumers,
    members: Vec<Vec<Arc<dyn EventConsumer>>>,
    /// Where readers stand, and how much of the log lies before.
    readers: Vec<(TailCursor, usize)>,
    model: Model,
}

fn id_of(letters: &[Letter], nth: usize) -> String {
    letters.get(nth).map_or_else(|| "nobody".to_owned(), |letter| letter.id.clone())
}

impl Game {
    async fn publish(&mut self, asked: &(dyn Debug + Sync), events: Vec<Envelope>) -> Agreement {
        let answers = self.publisher.publish_many(&events).await.unwrap();
        same(asked, &answers.len(), &events.len())?;
        for (event, answer) in events.into_iter().zip(answers) {
            let known = self.model.log.contains(&event);
            let as_it_is = match answer {
                Published::Durable(_) => !known,
                Published::Suppressed(_) => known,
                Published::Buffered => false,
            };
            holds(as_it_is, asked, || format!("{answer:?}, known: {known}"))?;
            if !known {
                let place = self.model.log.len();
                self.model.log.push(event);
                self.model.groups.iter_mut().for_each(|group| group.waiting.push(place));
            }
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        asked: &(dyn Debug + Sync),
        group: usize,
        member: usize,
        max: usize,
    ) -> Result<usize, String> {
        let found = self.members[group][member].fetch(max, Duration::ZERO).await.unwrap();
        self.model.fetched(asked, (group, member), max, &found, self.clock.now())?;
        Ok(found.len())
    }

    async fn reclaim(
        &mut self,
        asked: &(dyn Debug + Sync),
        group: usize,
        member: usize,
        max: usize,
    ) -> Agreement {
        let found = self.members[group][member].reclaim(IDLE, max).await.unwrap();
        self.model.reclaimed(asked, (group, member), max, &found, self.clock.now())
    }

    async fn ack(&mut self, group: usize, entries: &[usize]) {
        let gone: Vec<_> =
            entries.iter().filter_map(|entry| self.model.groups[group].held.remove(entry)).collect();
        let receipts: Vec<Receipt> = gone.iter().map(|held| held.delivery.receipt.clone()).collect();
        let member = gone.first().map_or(0, |held| held.member % MEMBERS.len());
        self.members[group][member].ack(&receipts).await.unwrap();
        // Again, which changes nothing.
        self.members[group][member].ack(&receipts).await.unwrap();
    }

    /// The nth of what a group holds.
    fn nth_held(&self, group: usize, nth: usize) -> Option<usize> {
        self.model.groups[group].held.keys().nth(nth).copied()
    }

    async fn step(&mut self, operation: &Operation) -> Agreement {
        let asked = operation as &(dyn Debug + Sync);
        match operation {
            Operation::Publish { keys } => {
                let first = self.model.log.len();
                let events =
                    keys.iter().zip(first..).map(|(key, nth)| sample::notice(KEYS[*key], nth)).collect();
                self.publish(asked, events).await
            }
            Operation::Again { event } => match self.model.log.get(*event).cloned() {
                Some(event) => self.publish(asked, vec![event]).await,
                None => Ok(()),
            },
            Operation::Fetch { group, member, max } => {
                self.fetch(asked, *group, *member, *max).await.map(drop)
            }
            Operation::Ack { group, held } => {
                if let Some(entry) = self.nth_held(*group, *held) {
                    self.ack(*group, &[entry]).await;
                }
                Ok(())
            }
            Operation::AckAll { group, member } => {
                let held = self.model.groups[*group].held.iter();
                let all: Vec<_> =
                    held.filter(|(_, held)| held.member == *member).map(|(entry, _)| *entry).collect();
                self.ack(*group, &all).await;
                Ok(())
            }
            Operation::Bury { group, held } => {
                let Some(entry) = self.nth_held(*group, *held) else { return Ok(()) };
                let held = self.model.groups[*group].held.remove(&entry).expect("it is held");
                let consumer = &self.members[*group][held.member % MEMBERS.len()];
                // Twice: the second time changes nothing.
                for _ in 0..2 {
                    consumer.bury(&held.delivery, &Error::new(Code::DataCorrupt)).await.unwrap();
                }
                let all = walk(2, |page: Page<String>| {
                    let letters = Arc::clone(&self.letters);
                    async move { letters.list(&page).await }
                })
                .await;
                same(asked, &all.len(), &(self.model.letters.len() + 1))?;
                let letter = &all[self.model.letters.len()];
                let whole = (&letter.event, letter.group.as_str(), &letter.receipt, letter.attempts);
                let delivery = &held.delivery;
                same(asked, &whole, &(&delivery.event, GROUPS[*group], &delivery.receipt, delivery.attempt))?;
                self.model.letters.push(Letter { id: letter.id.clone(), group: *group, entry });
                Ok(())
            }
            Operation::Reclaim { group, member, max } => self.reclaim(asked, *group, *member, *max).await,
            Operation::Replay { letter } => {
                let replayed = self.letters.replay(&[id_of(&self.model.letters, *letter)]).await.unwrap();
                let there = *letter < self.model.letters.len();
                if there {
                    let Letter { group, entry, .. } = self.model.letters.remove(*letter);
                    self.model.groups[group].replayed.push(entry);
                }
                same(asked, &replayed, &u64::from(there))
            }
            Operation::Purge { letter } => {
                let purged = self.letters.purge(&[id_of(&self.model.letters, *letter)]).await.unwrap();
                let there = *letter < self.model.letters.len();
                if there {
                    self.model.letters.remove(*letter);
                }
                same(asked, &purged, &u64::from(there))
            }
            Operation::Rejoin { group, member } => {
                let again = (self.consumers)(GROUPS[*group], MEMBERS[*member], &[TOPIC], false);
                self.members[*group][*member] = again.await.unwrap();
                for held in self.model.groups[*group].held.values_mut() {
                    if held.member == *member {
                        held.member = former(*member);
                    }
                }
                Ok(())
            }
            Operation::Read { reader, max } => self.read(asked, *reader, *max).await,
            Operation::Look => self.look(asked).await,
            Operation::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
        }
    }

    async fn read(&mut self, asked: &(dyn Debug + Sync), reader: usize, max: usize) -> Agreement {
        let (cursor, seen) = self.readers[reader].clone();
        let reads = self.tail.read_since(std::slice::from_ref(&cursor), max, Duration::ZERO).await.unwrap();
        let expected: Vec<_> = self.model.log.iter().skip(seen).take(max).cloned().map(Ok).collect();
        match reads.into_iter().next() {
            Some(TailRead::Events { events, next }) => {
                same(asked, &events, &expected)?;
                self.readers[reader] = (next, seen + events.len());
                Ok(())
            }
            None => same(asked, &Vec::new(), &expected),
            gap @ Some(TailRead::Discontinuity { .. }) => Err(format!("{asked:?}: {gap:?}")),
        }
    }

    async fn look(&self, asked: &(dyn Debug + Sync)) -> Agreement {
        for (group, members) in self.model.groups.iter().zip(&self.members) {
            let waiting = (group.replayed.len() + group.waiting.len()) as u64;
            let lag = Lag { waiting, pending: group.held.len() as u64 };
            for member in members {
                let found = member.lag().await.unwrap();
                same(asked, &found, &lag)?;
            }
        }
        let letters = self.letters.list(&Page::first(1_000)).await.unwrap().items;
        let known = self.model.letters.iter().map(|letter| letter.id.clone());
        same(asked, &letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>(), &known.collect())
    }

    /// Everything comes to its end: what was left is reclaimed, fetched and acknowledged.
    async fn finish(&mut self) -> Agreement {
        let asked = &"what is left in the end";
        self.clock.advance(IDLE);
        for group in 0..GROUPS.len() {
            self.reclaim(asked, group, 0, 1_000).await?;
            loop {
                let held: Vec<_> = self.model.groups[group].held.keys().copied().collect();
                self.ack(group, &held).await;
                if self.fetch(asked, group, 0, 1_000).await? == 0 {
                    break;
                }
            }
        }
        for reader in 0..self.readers.len() {
            self.read(asked, reader, 1_000).await?;
        }
        self.look(asked).await?;
        let left = self
            .model
            .groups
            .iter()
            .map(|group| group.replayed.len() + group.waiting.len() + group.held.len());
        same(asked, &left.sum::<usize>(), &0)
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let consumers = offer.consumers.clone().expect("consumers");
    let tail = offer.tail.clone().expect("a tail");
    let mut members = Vec::new();
    for group in GROUPS {
        let mut of_group = Vec::new();
        for member in MEMBERS {
            of_group.push(consumers(group, member, &[TOPIC], false).await.unwrap());
        }
        members.push(of_group);
    }
    let end = tail.ends(&[TOPIC]).await.unwrap().remove(0);
    let mut game = Game {
        clock: offer.clock.clone(),
        publisher: offer.publisher.clone().expect("a publisher"),
        tail,
        letters: offer.dead_letters.clone().expect("dead letters"),
        consumers,
        members,
        readers: vec![(end, 0), (TailCursor { topic: TOPIC, after: None }, 0)],
        model: Model::default(),
    };
    for operation in &history {
        game.step(operation).await?;
    }
    game.finish().await?;
    let ids: std::collections::BTreeSet<&EventId> = game.model.log.iter().map(|event| &event.id).collect();
    same(&"how many events there are", &ids.len(), &game.model.log.len())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
