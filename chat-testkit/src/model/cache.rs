//! The model of the `cache` port: one map per scope.
//!
//! A clock that was set back leaves a choice: what had already ended may be gone or be there again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::store::cache::{Cache, CacheEntry, CacheScope, FENCE, Generation, Put};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, Tick, holds, one_of, play_histories, same, tick};
use crate::Offer;
use crate::walk::walk;

const SCOPES: [&str; 2] = ["s", "s.s"];
const KEYS: [&str; 4] = ["a", "a*", "ab", "b"];
const PREFIXES: [&str; 4] = ["", "a", "a*", "c"];
const OWNERS: [&str; 2] = ["ann", "ben"];
const TIMES: &[Duration] = &[Duration::from_secs(1), FENCE, Duration::from_secs(30)];

#[derive(Debug, Clone)]
enum Operation {
    Get {
        scope: usize,
        keys: Vec<usize>,
    },
    Put {
        scope: usize,
        entries: Vec<(usize, u8, Duration)>,
    },
    /// A fill whose lookup came so many generations ago.
    Fill {
        scope: usize,
        entries: Vec<(usize, u8, Duration)>,
        ago: usize,
    },
    Renew {
        scope: usize,
        keys: Vec<usize>,
        ttl: Duration,
    },
    Remove {
        scope: usize,
        keys: Vec<usize>,
    },
    Invalidate {
        scope: usize,
    },
    Keys {
        scope: usize,
        prefix: usize,
        limit: usize,
    },
    Claim {
        scope: usize,
        name: usize,
        owner: usize,
        ttl: Duration,
    },
    Release {
        scope: usize,
        name: usize,
        owner: usize,
    },
    Time(Tick),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let scope = || one_of(SCOPES.len());
    let keys = || vec(one_of(KEYS.len()), 0..4);
    let entries = || vec((one_of(KEYS.len()), 0_u8..4, select(TIMES)), 0..4);
    let claim = || (scope(), one_of(2), one_of(OWNERS.len()));
    prop_oneof![
        4 => (scope(), keys()).prop_map(|(scope, keys)| Get { scope, keys }),
        3 => (scope(), entries()).prop_map(|(scope, entries)| Put { scope, entries }),
        4 => (scope(), entries(), 0_usize..3).prop_map(|(scope, entries, ago)| Fill { scope, entries, ago }),
        1 => (scope(), keys(), select(TIMES)).prop_map(|(scope, keys, ttl)| Renew { scope, keys, ttl }),
        2 => (scope(), keys()).prop_map(|(scope, keys)| Remove { scope, keys }),
        1 => scope().prop_map(|scope| Invalidate { scope }),
        2 => (scope(), one_of(PREFIXES.len()), select(&[1, 2, 1_000][..]))
            .prop_map(|(scope, prefix, limit)| Keys { scope, prefix, limit }),
        2 => (claim(), select(TIMES)).prop_map(|((scope, name, owner), ttl)| Claim { scope, name, owner, ttl }),
        1 => claim().prop_map(|(scope, name, owner)| Release { scope, name, owner }),
        3 => tick(Duration::from_secs(40), TIMES).prop_map(Time),
    ]
}

/// Something that ends.
#[derive(Debug, Clone)]
struct Ending<T> {
    what: T,
    until: Timestamp,
    /// It had ended once, or the docs leave it open: it may be there or not.
    doubtful: bool,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Yes,
    No,
    Perhaps,
}

impl There {
    fn allows(self, answer: bool) -> bool {
        self == Self::Perhaps || (self == Self::Yes) == answer
    }
}

impl<T> Ending<T> {
    fn new(what: T, until: Timestamp) -> Self {
        Self { what, until, doubtful: false }
    }

    fn there(&self, now: Timestamp) -> There {
        match (self.until > now, self.doubtful) {
            (false, _) => There::No,
            (true, true) => There::Perhaps,
            (true, false) => There::Yes,
        }
    }

    fn set_back(&mut self, from: Timestamp) {
        self.doubtful |= self.until <= from;
    }
}

#[derive(Debug, Default)]
struct Scope {
    /// Every generation there was, oldest first.
    generations: Vec<Generation>,
    values: BTreeMap<usize, Ending<Bytes>>,
    fences: BTreeMap<usize, Ending<()>>,
    claims: BTreeMap<usize, Ending<usize>>,
}

fn there<T>(things: &BTreeMap<usize, Ending<T>>, name: usize, now: Timestamp) -> There {
    things.get(&name).map_or(There::No, |thing| thing.there(now))
}

/// Takes over what the backend chose.
fn settle<T>(things: &mut BTreeMap<usize, Ending<T>>, name: usize, is_there: bool) {
    if !is_there {
        things.remove(&name);
    } else if let Some(thing) = things.get_mut(&name) {
        thing.doubtful = false;
    }
}

impl Scope {
    fn put(&mut self, key: usize, value: u8, until: Timestamp) {
        self.values.insert(key, Ending::new(bytes(value), until));
        // Whether a removal is still remembered below a value is left open.
        if let Some(fence) = self.fences.get_mut(&key) {
            fence.doubtful = true;
        }
    }

    fn looked_up(
        &mut self,
        asked: &dyn std::fmt::Debug,
        key: usize,
        found: Option<&Bytes>,
        now: Timestamp,
    ) -> Agreement {
        let value = self.values.get(&key).map(|value| value.what.clone());
        holds(there(&self.values, key, now).allows(found.is_some()), asked, || {
            format!("{:?} was {found:?}, not {value:?}", KEYS[key])
        })?;
        if let Some(found) = found {
            same(asked, &Some(found), &value.as_ref())?;
        }
        settle(&mut self.values, key, found.is_some());
        Ok(())
    }

    fn fill(
        &mut self,
        asked: &dyn std::fmt::Debug,
        key: usize,
        begun: Generation,
        kept: bool,
        now: Timestamp,
    ) -> Agreement {
        let outdated = self.generations.last() != Some(&begun);
        let (value, fence) = (there(&self.values, key, now), there(&self.fences, key, now));
        let may_keep = !outdated && value != There::Yes && fence != There::Yes;
        let must_keep = may_keep && value == There::No && fence == There::No;
        holds(if kept { may_keep } else { !must_keep }, asked, || {
            format!("{:?} kept: {kept}, value: {value:?}, fence: {fence:?}, outdated: {outdated}", KEYS[key])
        })?;
        if !kept && !outdated && fence == There::No {
            settle(&mut self.values, key, true);
        }
        Ok(())
    }
}

fn bytes(value: u8) -> Bytes {
    Bytes::from(vec![value; usize::from(value)])
}

struct Game {
    cache: std::sync::Arc<dyn Cache>,
    clock: ManualClock,
    scopes: Vec<(CacheScope, Scope)>,
}

impl Game {
    async fn step(&mut self, operation: &Operation) -> Agreement {
        let (now, asked) = (self.clock.now(), operation as &dyn std::fmt::Debug);
        let names = |keys: &[usize]| keys.iter().map(|key| KEYS[*key].to_owned()).collect::<Vec<_>>();
        let entries = |entries: &[(usize, u8, Duration)]| {
            let entry = |(key, value, ttl): &(usize, u8, Duration)| CacheEntry {
                key: KEYS[*key].to_owned(),
                value: bytes(*value),
                ttl: *ttl,
            };
            entries.iter().map(entry).collect::<Vec<_>>()
        };
        match operation {
            Operation::Get { scope, keys } => {
                let (name, scope) = &mut self.scopes[*scope];
                let found = self.cache.get_many(name, &names(keys)).await.unwrap();
                same(asked, &Some(&found.generation), &scope.generations.last())?;
                same(asked, &found.values.len(), &keys.len())?;
                for (key, found) in keys.iter().zip(&found.values) {
                    scope.looked_up(asked, *key, found.as_ref(), now)?;
                }
            }
            Operation::Put { scope, entries: new } => {
                let (name, scope) = &mut self.scopes[*scope];
                let kept = self.cache.put_many(name, &entries(new), Put::Always).await.unwrap();
                same(asked, &kept, &vec![true; new.len()])?;
                for (key, value, ttl) in new {
                    scope.put(*key, *value, now.after(*ttl));
                }
            }
            Operation::Fill { scope, entries: new, ago } => {
                let (name, scope) = &mut self.scopes[*scope];
                let begun = scope.generations[scope.generations.len().saturating_sub(1 + ago)];
                let kept = self.cache.put_many(name, &entries(new), Put::Fill(begun)).await.unwrap();
                same(asked, &kept.len(), &new.len())?;
                for ((key, value, ttl), kept) in new.iter().zip(kept) {
                    scope.fill(asked, *key, begun, kept, now)?;
                    if kept {
                        scope.put(*key, *value, now.after(*ttl));
                    }
                }
            }
            Operation::Renew { scope, keys, ttl } => {
                let (name, scope) = &mut self.scopes[*scope];
                let renewed = self.cache.renew_many(name, &names(keys), *ttl).await.unwrap();
                same(asked, &renewed.len(), &keys.len())?;
                for (key, renewed) in keys.iter().zip(renewed) {
                    let there = there(&scope.values, *key, now);
                    holds(there.allows(renewed), asked, || format!("{:?} renewed: {renewed}", KEYS[*key]))?;
                    settle(&mut scope.values, *key, renewed);
                    if let Some(value) = scope.values.get_mut(key) {
                        value.until = now.after(*ttl);
                    }
                }
            }
            Operation::Remove { scope, keys } => {
                let (name, scope) = &mut self.scopes[*scope];
                let removed = self.cache.remove_many(name, &names(keys)).await.unwrap();
                same(asked, &removed.len(), &keys.len())?;
                for (key, removed) in keys.iter().zip(removed) {
                    let there = there(&scope.values, *key, now);
                    holds(there.allows(removed), asked, || format!("{:?} removed: {removed}", KEYS[*key]))?;
                    scope.values.remove(key);
                    scope.fences.insert(*key, Ending::new((), now.after(FENCE)));
                }
            }
            Operation::Invalidate { scope } => {
                let (name, scope) = &mut self.scopes[*scope];
                let next = self.cache.invalidate(name).await.unwrap();
                holds(!scope.generations.contains(&next), asked, || format!("{next:?} was there before"))?;
                scope.generations.push(next);
                scope.values.clear();
                for fence in scope.fences.values_mut() {
                    fence.doubtful = true;
                }
            }
            Operation::Keys { scope, prefix, limit } => {
                let (name, scope) = &mut self.scopes[*scope];
                let (cache, name, prefix) = (&self.cache, &*name, PREFIXES[*prefix]);
                let found = walk(*limit, |page| async move { cache.keys(name, prefix, &page).await }).await;
                holds(found.is_sorted(), asked, || format!("{found:?} is out of order"))?;
                let mut expected = found.clone();
                for (key, name) in KEYS.iter().enumerate().filter(|(_, name)| name.starts_with(prefix)) {
                    let listed = found.iter().filter(|found| found == name).count();
                    holds(there(&scope.values, key, now).allows(listed == 1) && listed < 2, asked, || {
                        format!("{name:?} is listed {listed} times in {found:?}")
                    })?;
                    settle(&mut scope.values, key, listed == 1);
                    expected.retain(|found| found != name);
                }
                same(asked, &expected, &Vec::new())?;
            }
            Operation::Claim { scope, name: claim, owner, ttl } => {
                let (name, scope) = &mut self.scopes[*scope];
                let won = self.cache.claim(name, KEYS[*claim], OWNERS[*owner], *ttl).await.unwrap();
                let held = match scope.claims.get(claim) {
                    Some(claim) if claim.what != *owner => claim.there(now),
                    _ => There::No,
                };
                holds(held.allows(!won), asked, || format!("won: {won}, held by another: {held:?}"))?;
                if won {
                    scope.claims.insert(*claim, Ending::new(*owner, now.after(*ttl)));
                } else {
                    settle(&mut scope.claims, *claim, true);
                }
            }
            Operation::Release { scope, name: claim, owner } => {
                let (name, scope) = &mut self.scopes[*scope];
                let released = self.cache.release(name, KEYS[*claim], OWNERS[*owner]).await.unwrap();
                let held = match scope.claims.get(claim) {
                    Some(claim) if claim.what == *owner => claim.there(now),
                    _ => There::No,
                };
                holds(held.allows(released), asked, || format!("released: {released}, held: {held:?}"))?;
                if released || held == There::Perhaps {
                    scope.claims.remove(claim);
                }
            }
            Operation::Time(tick) => {
                tick.apply(&self.clock);
                if self.clock.now() < now {
                    for (_, scope) in &mut self.scopes {
                        scope.values.values_mut().for_each(|value| value.set_back(now));
                        scope.claims.values_mut().for_each(|claim| claim.set_back(now));
                        // Nobody promises that a fence gets longer because the clock was set back.
                        scope.fences.values_mut().for_each(|fence| fence.doubtful = true);
                    }
                }
            }
        }
        Ok(())
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let cache = offer.cache.clone().expect("a cache");
    let mut scopes = Vec::new();
    for name in SCOPES {
        let name = CacheScope::new(name).expect("a scope");
        let generation = cache.get_many(&name, &[]).await.unwrap().generation;
        scopes.push((name, Scope { generations: vec![generation], ..Scope::default() }));
    }
    let mut game = Game { cache, clock: offer.clock.clone(), scopes };
    for operation in &history {
        game.step(operation).await?;
    }
    for scope in 0..SCOPES.len() {
        game.step(&Operation::Get { scope, keys: (0..KEYS.len()).collect() }).await?;
        game.step(&Operation::Keys { scope, prefix: 0, limit: 1_000 }).await?;
        for owner in 0..OWNERS.len() {
            game.step(&Operation::Release { scope, name: 0, owner }).await?;
        }
    }
    Ok(())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
