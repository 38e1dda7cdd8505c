//! A sole member reads natively, and nobody can tell: members come and go, calls are dropped, replies are lost, and no entry
//! is lost, no key is with two, nothing is handed out before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::error::{Code, Error, Result};
use chat_core::store::events::{Delivery, Receipt};
use chat_core::store::{DeadLettersExt, EventConsumer};
use chat_streams::{Start, StreamConsumer, Streams, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::log::{IDLE, Log, STREAM, TOPIC, ack, connect, fetch, lag, named};

trials! { needs "redis":
    a_sole_member_writes_nothing_down,
    who_comes_finds_what_the_sole_member_has,
    a_native_read_that_comes_too_late_takes_nothing,
    what_a_sole_member_did_not_hear_is_given_again,
    two_fetches_of_a_sole_member_share,
    a_sole_member_is_one_again_when_the_others_are_gone,
    a_replayed_letter_ends_the_spell,
    whatever_happens_every_promise_is_kept,
}

const NOTHING: Duration = Duration::ZERO;
/// Longer than a member is expected to ask again.
const LONG: Duration = Duration::from_secs(31);

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt.clone()).collect()
}

/// What there is of a group beside its stream.
fn beside(log: &Log) -> BTreeSet<String> {
    let prefix = format!("{{{STREAM}}}:g:g:");
    let keys = log.server.command(&["KEYS", &format!("{prefix}*")]);
    keys.list().iter().map(|key| key.text().strip_prefix(&prefix).unwrap().to_owned()).collect()
}

/// The stream of the spell that lasts.
fn spell(log: &Log) -> Option<String> {
    beside(log).into_iter().find(|name| name.starts_with("spell:"))
}

async fn a_sole_member_writes_nothing_down() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    assert!(fetch(&one, 10).await.is_empty());
    // Every script was sent once.
    fetch(&one, 10).await;
    log.publish(&["w1"]).await;
    ack(&one, &fetch(&one, 10).await).await;
    fetch(&one, 10).await;
    let spell_before = spell(&log).expect("it is the sole one");
    log.publish(&["a1", "b1", "a2"]).await;
    let held = fetch(&one, 10).await;
    assert_eq!(named(&held), ["a1", "b1", "a2"]);
    assert!(held.iter().all(|delivery| delivery.attempt == 1));
    let beside = beside(&log);
    assert!(["with:one", "hold"].iter().all(|name| !beside.contains(*name)), "{beside:?}");
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 3), 3), "and yet it is known");
    let next = one.ack_and_fetch(&receipts(&held), 10).await.unwrap();
    assert!(next.is_empty() && lag(&one).await == (0, 0));
    assert!(one.reclaim(IDLE, 10).await.unwrap().is_empty());
    assert_eq!(spell(&log), Some(spell_before), "it lasts");
    Ok(())
}

async fn who_comes_finds_what_the_sole_member_has() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    fetch(&one, 1).await;
    log.publish(&["a1", "b1"]).await;
    let first = fetch(&one, 10).await;
    log.clock.advance(IDLE / 2);
    log.publish(&["c1"]).await;
    assert_eq!(named(&fetch(&one, 10).await), ["c1"]);
    let two = log.member("two").await;
    log.publish(&["a2", "c2", "d1"]).await;
    assert_eq!(
        named(&fetch(&two, 10).await),
        ["d1"],
        "what comes after what the first one has is not for it"
    );
    one.renew(&receipts(&first[..1])).await.unwrap();
    log.clock.advance(IDLE / 2);
    let taken = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!((named(&taken), taken[0].attempt), (vec!["b1".to_owned()], 2), "since it was read");
    ack(&one, &first[..1]).await;
    assert_eq!(named(&fetch(&one, 10).await), ["c2", "a2"]);
    log.publish(&["b2"]).await;
    assert_eq!(named(&fetch(&one, 10).await), [""; 0], "b1 is with the other one");
    assert_eq!(named(&fetch(&two, 10).await), ["b2"]);
    Ok(())
}

async fn a_native_read_that_comes_too_late_takes_nothing() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    fetch(&one, 1).await;
    let spell = format!("{{{STREAM}}}:g:g:{}", spell(&log).unwrap());
    let read = ["XREADGROUP", "GROUP", "g", "one", "COUNT", "10", "STREAMS", STREAM, &spell, ">", ">"];
    let late = || format!("{:?}", log.server.try_command(&read).unwrap());
    let two = log.member("two").await;
    log.publish(&["a1"]).await;
    assert!(late().contains("NOGROUP"), "{}", late());
    assert_eq!(named(&fetch(&two, 10).await), ["a1"], "it is there for the others");
    log.publish(&["b1"]).await;
    assert_eq!(named(&fetch(&one, 10).await), ["b1"]);
    Ok(())
}

/// A log, and a member that is far away.
async fn far(log: &Log, name: &str) -> (Proxy, Streams, StreamConsumer) {
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let streams =
        connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    let member = streams.consumer("g", name, &[TOPIC], Start::Now).await.unwrap();
    (proxy, streams, member)
}

/// The next native read is executed and not heard.
async fn drop_a_read(proxy: &Proxy, member: &StreamConsumer, max: usize) {
    let before = proxy.counts().faults;
    proxy.hang_after(Request::with("XREADGROUP"));
    tokio::select! {
        answer = member.fetch(max, NOTHING) => panic!("it was held back: {answer:?}"),
        () = eventually("it to be held back", || async { (proxy.counts().faults > before).then_some(()) }) => {}
    }
    proxy.pass().await;
    proxy.cut().await;
}

async fn what_a_sole_member_did_not_hear_is_given_again() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (proxy, _streams, one) = far(&log, "one").await;
    fetch(&one, 1).await;
    log.publish(&["a1", "b1", "a2", "b2", "c1", "c2"]).await;
    let held = fetch(&one, 1).await;
    assert_eq!(named(&held), ["a1"]);
    // A reply that is lost is not noticed.
    let before = proxy.counts().faults;
    proxy.cut_after(Request::with("XREADGROUP"));
    let next = fetch(&one, 2).await;
    assert_eq!((proxy.counts().faults, named(&next)), (before + 1, vec!["b1".to_owned(), "a2".to_owned()]));
    assert!(next.iter().all(|delivery| delivery.attempt == 1));
    // A call that is dropped is made up for, also when somebody came meanwhile.
    assert!(spell(&log).is_some(), "it is the sole one again");
    drop_a_read(&proxy, &one, 1).await;
    let two = log.member("two").await;
    assert_eq!(named(&fetch(&two, 1).await), ["c1"], "b2 is with the first one");
    let again = fetch(&one, 1).await;
    assert_eq!((named(&again), again[0].attempt), (vec!["b2".to_owned()], 1));
    assert!(fetch(&one, 10).await.is_empty());
    Ok(())
}

async fn two_fetches_of_a_sole_member_share() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    fetch(&one, 1).await;
    let names: Vec<_> = (0..200).map(|nth| format!("k{nth:03}")).collect();
    log.publish(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen = Vec::new();
    for _ in 0..names.len() {
        let (a, b, c) = tokio::join!(fetch(&one, 7), fetch(&one, 5), fetch(&one, 1));
        for found in [a, b, c] {
            seen.extend(named(&found));
            ack(&one, &found).await;
        }
    }
    seen.sort();
    assert_eq!(seen, names, "each once");
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 0), 0));
    Ok(())
}

async fn a_sole_member_is_one_again_when_the_others_are_gone() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "b1"]).await;
    let held = fetch(&two, 1).await;
    assert_eq!((named(&held), named(&fetch(&one, 10).await)), (vec!["a1".to_owned()], vec!["b1".to_owned()]));
    log.clock.advance(LONG);
    assert!(fetch(&one, 10).await.is_empty());
    assert_eq!(spell(&log), None, "the other one has something");
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a1", "b1"]);
    assert_eq!(named(&fetch(&one, 10).await), ["a2"]);
    fetch(&one, 10).await;
    assert!(spell(&log).is_some(), "what it has itself is no hindrance");
    log.publish(&["a3"]).await;
    let last = fetch(&one, 10).await;
    assert_eq!(named(&last), ["a3"]);
    ack(&one, &taken).await;
    ack(&one, &last).await;
    assert_eq!(lag(&two).await, (0, 1), "a2");
    Ok(())
}

async fn a_replayed_letter_ends_the_spell() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    fetch(&one, 1).await;
    log.publish(&["a1", "a2"]).await;
    let held = fetch(&one, 10).await;
    one.bury(&held[0], &Error::new(Code::Internal)).await.unwrap();
    assert_eq!((log.letters().await.len(), lag(&one).await), (1, (0, 1)));
    assert_eq!(log.streams.dead_letters().replay_all().await.unwrap(), 1);
    let two = log.member("two").await;
    assert!(fetch(&two, 10).await.is_empty(), "its key is with the one that has a2");
    let again = fetch(&one, 10).await;
    assert_eq!((named(&again), again[0].attempt), (vec!["a1".to_owned()], 2));
    Ok(())
}

// Whatever happens

const MEMBERS: [&str; 3] = ["one", "two", "three"];
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// What is known of an entry that was handed out.
#[derive(Debug, Clone)]
struct Held {
    delivery: Delivery,
    member: usize,
    /// Which life of that member.
    life: usize,
    since: Timestamp,
    /// Whether it was given earlier and not heard, or a reclaim that nobody heard of may have taken it.
    is_shaky: bool,
}

struct Seat {
    proxy: Proxy,
    streams: Streams,
    consumer: Option<StreamConsumer>,
    life: usize,
    /// Whether a call was not heard: the next one has to be a fetch.
    dropped: bool,
    /// Whether that was a reclaim: what it took comes with the fetch.
    owed: bool,
}

struct Story {
    log: Log,
    rng: StdRng,
    seats: Vec<Seat>,
    published: BTreeMap<&'static str, u64>,
    held: BTreeMap<String, Held>,
    done: BTreeSet<String>,
    /// With the dead letters, or replayed and not yet given.
    buried: BTreeSet<String>,
    attempts: BTreeMap<String, u32>,
    spells: BTreeSet<String>,
    said: Vec<String>,
}

impl Story {
    async fn new(seed: u64) -> Result<Self, Absent> {
        let log = Log::new().await?;
        let mut seats = Vec::new();
        for _ in MEMBERS {
            let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
            let url = log.server.url_at(proxy.address());
            let streams = connect(&url, Some(&log.clock), StreamsOptions::default()).await;
            seats.push(Seat { proxy, streams, consumer: None, life: 0, dropped: false, owed: false });
        }
        log.consumer("g", "first").await;
        log.clock.advance(LONG);
        Ok(Self {
            log,
            rng: StdRng::seed_from_u64(seed),
            seats,
            published: BTreeMap::new(),
            held: BTreeMap::new(),
            done: BTreeSet::new(),
            buried: BTreeSet::new(),
            attempts: BTreeMap::new(),
            spells: BTreeSet::new(),
            said: Vec::new(),
        })
    }

    fn say(&mut self, what: String) {
        self.said.push(what);
    }

    fn blame(&self, what: &str) -> ! {
        let from = self.said.len().saturating_sub(40);
        panic!("{what}\n{}", self.said[from..].join("\n"));
    }

    async fn join(&mut self, member: usize) {
        let seat = &mut self.seats[member];
        let consumer = seat.streams.consumer("g", MEMBERS[member], &[TOPIC], Start::Now).await.unwrap();
        (seat.consumer, seat.dropped, seat.owed) = (Some(consumer), false, false);
        seat.life += 1;
        self.say(format!("{} joins", MEMBERS[member]));
    }

    /// Takes down what a member was given.
    fn given(&mut self, member: usize, deliveries: Vec<Delivery>, idle: Option<Duration>) {
        let now = self.log.clock.now();
        let names = named(&deliveries);
        let attempts: Vec<_> = deliveries.iter().map(|delivery| delivery.attempt).collect();
        self.say(format!(
            "{} is given {names:?} {attempts:?} {}",
            MEMBERS[member],
            if idle.is_some() { "from others" } else { "" }
        ));
        let takes_over = idle.is_some() || self.seats[member].owed;
        let (life, is_shaky) = (self.seats[member].life, self.seats[member].dropped);
        // What comes along is given at once with what was idle.
        let mut idle_keys = BTreeSet::new();
        for one in &names {
            let key = &one[..1];
            if let Some(held) = self.held.get(one)
                && (held.is_shaky || idle.is_none_or(|idle| now.since(held.since) >= idle))
            {
                idle_keys.insert((held.member, held.life, key.to_owned()));
            }
        }
        for (one, delivery) in names.iter().zip(deliveries) {
            let (key, nth) = (one[..1].to_owned(), one[1..].parse::<u64>().unwrap());
            if self.done.contains(one) {
                self.blame(&format!("{one} was done with"));
            }
            let before = self.attempts.get(one).copied().unwrap_or(0);
            if let Some(held) = self.held.get(one) {
                let may = idle_keys.contains(&(held.member, held.life, key.clone()));
                if !takes_over || !may {
                    self.blame(&format!("{one} is with {} already", MEMBERS[held.member]));
                }
                if delivery.attempt <= before {
                    self.blame(&format!("{one}: attempt {} after {before}", delivery.attempt));
                }
            } else if self.buried.remove(one) {
                if delivery.attempt <= before {
                    self.blame(&format!("{one}: attempt {} after {before}, replayed", delivery.attempt));
                }
            } else if !takes_over && delivery.attempt != 1 {
                self.blame(&format!("{one}: attempt {}", delivery.attempt));
            }
            // Nothing of a key overtakes what is not done with, unless it was buried.
            for earlier in 1..nth {
                let earlier = format!("{key}{earlier}");
                let is_here =
                    self.held.get(&earlier).is_some_and(|held| (held.member, held.life) == (member, life));
                let is_over = self.done.contains(&earlier) || self.buried.contains(&earlier);
                if !is_over && !is_here {
                    self.blame(&format!("{one} overtakes {earlier}"));
                }
            }
            self.attempts.insert(one.clone(), delivery.attempt);
            self.held.insert(one.clone(), Held { delivery, member, life, since: now, is_shaky });
            if let Some((other, held)) = self.held.iter().find(|(other, held)| {
                other[..1] == key && (held.member, held.life) != (member, life) && !names.contains(*other)
            }) {
                self.blame(&format!("{one} while {} has {other}", MEMBERS[held.member]));
            }
        }
        (self.seats[member].dropped, self.seats[member].owed) = (false, false);
    }

    fn some_held(&mut self, member: usize) -> Vec<(String, Delivery)> {
        let life = self.seats[member].life;
        // Sometimes what others have, too.
        let any = self.rng.random_ratio(1, 10);
        let all: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| any || (held.member, held.life) == (member, life))
            .map(|(name, held)| (name.clone(), held.delivery.clone()))
            .collect();
        // Whoever works on a key does it in order.
        let mut keys = BTreeSet::new();
        let mut some = Vec::new();
        let mut numbered: Vec<_> =
            all.into_iter().map(|(name, one)| (name[1..].parse::<u64>().unwrap(), name, one)).collect();
        numbered.sort_by_key(|(nth, ..)| *nth);
        for (_, name, one) in numbered {
            let key = name[..1].to_owned();
            if !keys.contains(&key) && self.rng.random_ratio(3, 4) {
                some.push((name, one));
            } else {
                keys.insert(key);
            }
        }
        some
    }

    /// Lets something go wrong with one of the next requests.
    fn mishap(&mut self, member: usize) {
        let nth = self.rng.random_range(1..=3);
        let proxy = &self.seats[member].proxy;
        let what = match self.rng.random_range(0..8) {
            0 => {
                proxy.cut_before(Request::nth(nth));
                "cut before"
            }
            1 => {
                proxy.cut_after(Request::nth(nth));
                "cut after"
            }
            2 => {
                proxy.cut_after(Request::with("XREADGROUP"));
                "cut after a read"
            }
            _ => return,
        };
        self.said.push(format!("  {what} {nth} of {}", MEMBERS[member]));
    }

    /// Does something, or drops it on the way, and then its connection, too, or not: nothing then.
    async fn dropped<T>(&mut self, member: usize, work: impl Future<Output = Result<T>>) -> Option<T> {
        let drops = self.rng.random_ratio(1, 6);
        let cuts = self.rng.random();
        let nth = self.rng.random_range(1..=2);
        let proxy = &self.seats[member].proxy;
        if !drops {
            return Some(work.await.unwrap());
        }
        let before = proxy.counts().faults;
        proxy.hang_after(Request::nth(nth));
        let answer = tokio::select! {
            biased;
            answer = work => Some(answer.unwrap()),
            () = eventually("it to be held back", || async { (proxy.counts().faults > before).then_some(()) }) => None,
        };
        proxy.pass().await;
        if cuts || answer.is_none() {
            proxy.cut().await;
        }
        if answer.is_none() {
            self.said.push(format!("  dropped, {}", MEMBERS[member]));
        }
        answer
    }

    async fn step(&mut self) {
        let member = self.rng.random_range(0..MEMBERS.len());
        if let Some(spell) = spell(&self.log) {
            self.spells.insert(spell);
        }
        match self.rng.random_range(0..100) {
            0..22 => {
                let count = self.rng.random_range(1..=6);
                let names: Vec<_> = (0..count)
                    .map(|_| {
                        let key = KEYS[self.rng.random_range(0..KEYS.len())];
                        let nth = self.published.entry(key).or_default();
                        *nth += 1;
                        format!("{key}{nth}")
                    })
                    .collect();
                self.log.publish(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
                self.say(format!("published {names:?}"));
                return;
            }
            22..30 => {
                let time = [1, 11, 31, 31, 62][self.rng.random_range(0..5)];
                self.log.clock.advance(Duration::from_secs(time));
                self.say(format!("{time} s later"));
                return;
            }
            30..33 => {
                self.join(member).await;
                return;
            }
            33..36 => {
                // It is gone, and with it what it has.
                self.seats[member].consumer = None;
                self.say(format!("{} is gone", MEMBERS[member]));
                return;
            }
            36..38 => {
                self.log.streams.dead_letters().replay_all().await.unwrap();
                self.say("all letters are replayed".to_owned());
                return;
            }
            _ => {}
        }
        // Most of the time it is the first.
        let member = if self.rng.random_ratio(3, 5) { 0 } else { member };
        let Some(consumer) = self.seats[member].consumer.take() else {
            if self.rng.random_ratio(1, 3) {
                self.join(member).await;
            }
            return;
        };
        self.mishap(member);
        self.act(member, &consumer).await;
        self.seats[member].proxy.pass().await;
        self.seats[member].consumer = Some(consumer);
    }

    async fn act(&mut self, member: usize, consumer: &StreamConsumer) {
        let dropped = self.seats[member].dropped;
        let max = if dropped { 1_000 } else { self.rng.random_range(1..=5) };
        let some = self.some_held(member);
        let those: Vec<_> = some.iter().map(|(_, one)| one.receipt.clone()).collect();
        let names: Vec<_> = some.iter().map(|(name, _)| name.clone()).collect();
        match if dropped { 0 } else { self.rng.random_range(0..10) } {
            0..4 => {
                self.say(format!("{} asks for {max}", MEMBERS[member]));
                if let Some(found) = self.dropped(member, consumer.fetch(max, NOTHING)).await {
                    self.given(member, found, None);
                } else {
                    self.seats[member].dropped = true;
                }
            }
            4..7 => {
                self.say(format!("{} is done with {names:?}, and asks", MEMBERS[member]));
                let found = self.dropped(member, consumer.ack_and_fetch(&those, max)).await;
                if found.is_none() {
                    self.seats[member].dropped = true;
                    consumer.ack(&those).await.unwrap();
                }
                self.are_done(&names);
                if let Some(found) = found {
                    self.given(member, found, None);
                }
            }
            7 => {
                self.say(format!("{} is done with {names:?}", MEMBERS[member]));
                if self.dropped(member, consumer.ack(&those)).await.is_none() {
                    consumer.ack(&those).await.unwrap();
                }
                self.are_done(&names);
            }
            8 => {
                self.say(format!("{} takes over", MEMBERS[member]));
                let idle = [NOTHING, IDLE, LONG][self.rng.random_range(0..3)];
                match self.dropped(member, consumer.reclaim(idle, max)).await {
                    Some(found) => self.given(member, found, Some(idle)),
                    None => {
                        (self.seats[member].dropped, self.seats[member].owed) = (true, true);
                        self.held.values_mut().for_each(|held| held.is_shaky = true);
                    }
                }
            }
            _ if self.rng.random() => {
                let mine: Vec<_> = some.iter().filter(|(name, _)| self.held[name].member == member).collect();
                let those: Vec<_> = mine.iter().map(|(_, one)| one.receipt.clone()).collect();
                let names: Vec<_> = mine.iter().map(|(name, _)| name.clone()).collect();
                if self.dropped(member, consumer.renew(&those)).await.is_none() {
                    consumer.renew(&those).await.unwrap();
                }
                self.say(format!("{} renews {names:?}", MEMBERS[member]));
                let now = self.log.clock.now();
                for name in names {
                    self.held.get_mut(&name).unwrap().since = now;
                }
            }
            _ => {
                if let Some((name, one)) = some.first() {
                    self.say(format!("{} buries {name}", MEMBERS[member]));
                    let cause = Error::new(Code::Internal);
                    if self.dropped(member, consumer.bury(one, &cause)).await.is_none() {
                        consumer.bury(one, &cause).await.unwrap();
                    }
                    self.held.remove(name);
                    self.buried.insert(name.clone());
                }
            }
        }
    }

    fn are_done(&mut self, names: &[String]) {
        for name in names {
            self.held.remove(name);
            self.done.insert(name.clone());
        }
    }

    /// Everything is handled, by one that stays.
    async fn end(mut self) -> usize {
        self.join(0).await;
        let consumer = self.seats[0].consumer.take().unwrap();
        for _ in 0..1_000 {
            self.log.clock.advance(LONG);
            self.log.streams.dead_letters().replay_all().await.unwrap();
            let taken = consumer.reclaim(IDLE, 7).await.unwrap();
            let names = named(&taken);
            self.given(0, taken, Some(IDLE));
            let receipts: Vec<_> =
                names.iter().map(|name| self.held[name].delivery.receipt.clone()).collect();
            consumer.ack(&receipts).await.unwrap();
            self.are_done(&names);
            let found = consumer.fetch(7, NOTHING).await.unwrap();
            let names = named(&found);
            self.given(0, found, None);
            let receipts: Vec<_> =
                names.iter().map(|name| self.held[name].delivery.receipt.clone()).collect();
            consumer.ack(&receipts).await.unwrap();
            self.are_done(&names);
            let all: u64 = self.published.values().sum();
            if self.done.len() as u64 == all && lag(&consumer).await == (0, 0) {
                assert_eq!(self.log.native("g"), [], "nothing is left");
                return self.spells.len();
            }
        }
        let all =
            self.published.iter().flat_map(|(key, count)| (1..=*count).map(move |nth| format!("{key}{nth}")));
        let missing: Vec<_> = all.filter(|name| !self.done.contains(name)).collect();
        self.blame(&format!("{missing:?} never came; lag {:?}", lag(&consumer).await));
    }
}

async fn whatever_happens_every_promise_is_kept() -> Result<(), Absent> {
    const ROUNDS: usize = 8;
    const SPELLS: usize = 4 * ROUNDS;
    let wanted = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut rounds, mut spells) = (0, 0);
    // Chance has some stories with few spells in them.
    while rounds < ROUNDS || spells <= SPELLS {
        assert!(rounds < 4 * ROUNDS, "there were {spells} spells only");
        let seed: u64 = wanted.unwrap_or_else(rand::random);
        println!("seed {seed}");
        let mut story = Story::new(seed).await?;
        for _ in 0..400 {
            story.step().await;
        }
        spells += story.end().await;
        rounds += 1;
        if wanted.is_some() {
            return Ok(());
        }
    }
    println!("{spells} spells in {rounds} rounds");
    Ok(())
}
