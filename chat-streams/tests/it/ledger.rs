//! A ledger that survives its writer: what was tried, what was acknowledged, what was handled. In the end it is compared
//! with what the streams hold and what the handlers did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use chat_core::event::{Envelope, Event};
use chat_testkit::sample;
use chat_testkit::server::Redis;

/// How events of a key are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// To the log.
    Direct,
    /// To the log, and handled with [`Once`](chat_streams::worker::Once).
    Once,
    /// Through a `DurablePublisher`, whose log is away now and then.
    Durable,
    /// After a write of the host's own, around which a write-ahead log stands.
    Host,
}

pub(crate) const WAYS: [Way; 4] = [Way::Direct, Way::Once, Way::Durable, Way::Host];
const LETTERS: [char; 4] = ['d', 'o', 'w', 'h'];
const KEYS_EACH: usize = 2;

/// The key of a lane.
pub(crate) fn key(lane: usize, way: Way, nth: usize) -> String {
    let letter =
        WAYS.iter().zip(LETTERS).find(|(known, _)| **known == way).map(|(_, letter)| letter).unwrap();
    format!("{letter}{nth}:{lane}")
}

pub(crate) fn keys(lane: usize) -> impl Iterator<Item = (Way, String)> {
    WAYS.into_iter().flat_map(move |way| (0..KEYS_EACH).map(move |nth| (way, key(lane, way, nth))))
}

pub(crate) fn is_once(key: &str) -> bool {
    key.starts_with('o')
}

/// The event of this number, which comes at this place of its key.
pub(crate) fn event(key: &str, nth: u64) -> Envelope {
    sample::notice(key, nth)
}

pub(crate) fn numbered(envelope: &Envelope) -> (String, u64) {
    match &envelope.event {
        Event::ChatNotificationCreated(notice) => {
            (notice.user_id.to_string(), notice.notification_id.parse().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// Some events cannot be handled before they were a dead letter once or twice.
pub(crate) fn fails(nth: u64) -> u64 {
    match nth % 23 {
        7 => 1,
        18 => 2,
        _ => 0,
    }
}

/// What the publisher of a lane wrote down: lines, each in one write, which the end of a process does not tear.
pub(crate) struct Journal {
    file: File,
    pub(crate) told: Told,
}

/// What a journal says, by key: up to which number events were tried, acknowledged, and written by the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) tried: BTreeMap<String, (u64, u64)>,
    pub(crate) acked: BTreeMap<String, u64>,
    pub(crate) truth: BTreeMap<String, u64>,
}

impl Told {
    fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |nth: usize| words[nth].parse::<u64>().unwrap();
        let key = words[1].to_owned();
        match words[0] {
            "try" => _ = self.tried.insert(key, (number(2), number(3))),
            "acked" => _ = self.acked.insert(key, number(2)),
            "truth" => _ = self.truth.insert(key, number(2)),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn read(path: &Path) -> Self {
        let mut told = Self::default();
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().for_each(|line| told.line(line));
        told
    }
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Self {
        let told = Told::read(path);
        Self { file: File::options().create(true).append(true).open(path).unwrap(), told }
    }

    pub(crate) fn note(&mut self, line: &str) {
        self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.told.line(line);
    }

    /// What to publish next of a key: what was tried and not acknowledged, else what comes next.
    pub(crate) fn next(&mut self, key: &str, count: u64) -> Vec<Envelope> {
        let acked = self.told.acked.get(key).copied().unwrap_or(0);
        let (from, to) = match self.told.tried.get(key) {
            Some((from, to)) if *to > acked => (*from, *to),
            _ => {
                self.note(&format!("try {key} {} {}", acked + 1, acked + count));
                (acked + 1, acked + count)
            }
        };
        (from..=to).map(|nth| event(key, nth)).collect()
    }
}

/// Does what an event is for, in one step: the event's id under a unique key, and the effect.
const EFFECT: &str = "redis.call('HINCRBY', 'ledger:given', ARGV[1], 1)
if redis.call('SADD', 'ledger:done', ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', 'ledger:effects:' .. ARGV[2], ARGV[3])
return 1";

/// What handlers do, on a server that is not killed.
pub(crate) struct Effects(pub(crate) Redis);

impl Effects {
    /// How often it was tried before.
    pub(crate) fn tried(&self, envelope: &Envelope) -> u64 {
        let count = self.0.command(&["HINCRBY", "ledger:tries", envelope.id.as_str(), "1"]).int();
        u64::try_from(count).unwrap() - 1
    }

    pub(crate) fn apply(&self, envelope: &Envelope) {
        let (key, nth) = numbered(envelope);
        self.0.command(&["EVAL", EFFECT, "0", envelope.id.as_str(), &key, &nth.to_string()]);
    }

    /// For what must not be repeated: that it happens, and that this is known.
    pub(crate) fn said(&self, what: &str, envelope: &Envelope) {
        self.0.command(&["RPUSH", &format!("ledger:{}", envelope.id), what]);
    }

    pub(crate) fn story(&self, envelope: &Envelope) -> Vec<String> {
        let story = self.0.command(&["LRANGE", &format!("ledger:{}", envelope.id), "0", "-1"]);
        story.list().iter().map(|said| said.text()).collect()
    }

    fn of(&self, key: &str) -> Vec<u64> {
        let list = self.0.command(&["LRANGE", &format!("ledger:effects:{key}"), "0", "-1"]);
        list.list().iter().map(|nth| nth.text().parse().unwrap()).collect()
    }

    /// How often handlers were given something they had been given before.
    pub(crate) fn repeats(&self) -> i64 {
        let given = self.0.command(&["HVALS", "ledger:given"]);
        given.list().iter().map(|count| count.text().parse::<i64>().unwrap() - 1).sum()
    }
}

/// Compares what a lane was told with what is in the stream (by key, in order) and what handlers did. Answers how many
/// events it was about.
pub(crate) fn check(
    lane: usize,
    told: &Told,
    published: &BTreeMap<String, Vec<u64>>,
    effects: &Effects,
) -> u64 {
    let mut count = 0;
    for (way, key) in keys(lane) {
        let acked = told.acked.get(&key).copied().unwrap_or(0);
        let (_, tried) = told.tried.get(&key).copied().unwrap_or((0, 0));
        let there = published.get(&key).cloned().unwrap_or_default();
        let last = there.len() as u64;
        assert_eq!(there, (1..=last).collect::<Vec<_>>(), "{key}: in the stream each once, in order");
        assert!(acked <= last, "{key}: {acked} were acknowledged, {last} are there");
        assert!(last <= tried, "{key}: {tried} were tried, {last} are there");
        if way == Way::Host {
            assert_eq!(
                told.truth.get(&key).copied().unwrap_or(0),
                last,
                "{key}: what was written is announced"
            );
        }
        let done = effects.of(&key);
        let each: BTreeSet<_> = done.iter().copied().collect();
        assert_eq!(each, (1..=last).collect(), "{key}: every effect");
        if is_once(&key) {
            for nth in 1..=last {
                let story = effects.story(&event(&key, nth));
                let known = story.iter().skip_while(|said| *said != "noted");
                let is_once = story[0] == "happened" && known.clone().next().is_some();
                assert!(
                    is_once && known.clone().all(|said| said == "noted"),
                    "{key} {nth}: again: {story:?}"
                );
            }
        } else {
            assert_eq!(done.len(), each.len(), "{key}: no effect twice: {done:?}");
        }
        let mut first = BTreeSet::new();
        let in_order: Vec<_> =
            done.iter().filter(|nth| fails(**nth) == 0 && first.insert(**nth)).copied().collect();
        assert!(in_order.is_sorted(), "{key}: in order, but for what was set aside: {done:?}");
        count += last;
    }
    count
}
