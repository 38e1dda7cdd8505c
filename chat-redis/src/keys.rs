//! The key space: every key there is.
//!
//! A key is `prefix:kind:{tag}:part:part…`. The tag alone decides the slot on a cluster, so what one script touches has
//! one tag. There are two sorts of tags:
//!
//! * **shards**: one of [`SHARDS`] short texts, chosen once so that they spread evenly over the nodes of a cluster. What
//!   belongs to a user, and what is listed or counted over all users, is in the shard of the user's id; what belongs to
//!   a room, and what is listed over rooms, in the shard of the room's id;
//! * **ids**: what stands for itself is under its own id.
//!
//! Ids may hold anything, so they are encoded before they become part of a key: `%`, `:`, `{` and `}` become `%` and two
//! hexadecimal digits. The encoding is injective, and no encoded id holds a separator or a brace: no id can reach
//! another's key or slot. Ids never become patterns.
#![doc = include_str!("keys.md")]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use chat_core::error::{Code, Error, Result};
use percent_encoding::percent_decode_str;
use redis::{RedisWrite, ToRedisArgs};

/// How many shards there are: fixed for the life of the data.
pub const SHARDS: u16 = 16;

const SLOTS: u32 = 16_384;

/// Which shard an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u16);

impl Shard {
    /// The shard of an id: the same on every node, for ever.
    pub(crate) fn of(id: &str) -> Self {
        Self(slot(id.as_bytes()) % SHARDS)
    }

    /// All of them.
    pub(crate) fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..SHARDS).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    fn tag(self) -> &'static str {
        static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| (0..SHARDS).map(tag).collect());
        TAGS.get(self.index()).map_or("", String::as_str)
    }
}

/// The first text `shard.n` that falls into the shard's part of the slots.
fn tag(shard: u16) -> String {
    let part = SLOTS / u32::from(SHARDS);
    let mine = u32::from(shard) * part..u32::from(shard + 1) * part;
    (0_u32..)
        .map(|n| format!("{shard}.{n}"))
        .find(|tag| mine.contains(&u32::from(slot(tag.as_bytes()))))
        .unwrap_or_default()
}

pub(crate) fn slot(tag: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag) % SLOTS as u16
}

/// The slot of any key: what stands between its first brace and the next closing one decides, if that is anything.
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    slot(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes())
}

/// For every slot the smallest number that falls into it.
fn slot_tags() -> &'static [u32] {
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let (mut tags, mut missing) = (vec![0; SLOTS as usize], SLOTS);
        for number in 1.. {
            if let Some(tag @ 0) = tags.get_mut(usize::from(slot(number.to_string().as_bytes()))) {
                (*tag, missing) = (number, missing - 1);
            }
            if missing == 0 {
                break;
            }
        }
        tags
    });
    &TAGS
}

/// Where everything is kept; one per tenant and service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpace {
    prefix: Arc<str>,
}

impl KeySpace {
    /// The prefix unless another is given: `chat`.
    pub const DEFAULT_PREFIX: &str = "chat";

    /// Keys that begin with `prefix` and a colon. Two key spaces with different prefixes share nothing.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] unless the prefix is 1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`, `.`. A prefix of one part
    /// cannot be the beginning of another.
    pub fn new(prefix: &str) -> Result<Self> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=64).contains(&prefix.len()) && prefix.bytes().all(fine) {
            Ok(Self { prefix: Arc::from(prefix) })
        } else {
            Err(Error::invalid(Code::ConfigInvalid, "a key prefix is 1 to 64 of a-z, A-Z, 0-9, _, -, ."))
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A key in a shard.
    pub(crate) fn sharded(&self, kind: &str, shard: Shard, parts: &[&str]) -> Key {
        self.key(kind, shard.tag(), parts)
    }

    /// A key under an id.
    pub(crate) fn tagged(&self, kind: &str, id: &str, parts: &[&str]) -> Key {
        self.key(kind, &encode(id), parts)
    }

    /// A key in the slot of a key whose bytes somebody else has decided.
    pub(crate) fn beside(&self, kind: &str, foreign: &Key, parts: &[&str]) -> Key {
        let tag = slot_tags().get(usize::from(slot_of(&foreign.0))).copied().unwrap_or_default();
        self.key(kind, &tag.to_string(), parts)
    }

    /// What all keys of a kind begin with.
    pub(crate) fn beginning(&self, kind: &str) -> String {
        format!("{}:{kind}:", self.prefix)
    }

    /// The parts of a key of this kind, as they were before they were encoded; nothing if it is no such key.
    pub(crate) fn parts(&self, kind: &str, key: &[u8]) -> Option<Vec<String>> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.beginning(kind))?;
        let (_tag, parts) = rest.strip_prefix('{')?.split_once('}')?;
        let parts = parts.strip_prefix(':')?.split(':');
        parts.map(|part| percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned)).collect()
    }

    /// Whether something that begins like this may be a key of this key space.
    pub(crate) fn may_hold(&self, beginning: &str) -> bool {
        let own = format!("{}:", self.prefix);
        own.starts_with(beginning)
            || beginning.strip_prefix(&own).is_some_and(|rest| match rest.split_once(':') {
                Some((_kind, rest)) => rest.is_empty() || rest.starts_with('{'),
                None => true,
            })
    }

    fn key(&self, kind: &str, tag: &str, parts: &[&str]) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + tag.len() + 64);
        let _ = write!(key, "{}:{kind}:{{{tag}}}", self.prefix);
        for part in parts {
            key.push(':');
            push_encoded(&mut key, part);
        }
        Key(key)
    }
}

impl Default for KeySpace {
    fn default() -> Self {
        Self { prefix: Arc::from(Self::DEFAULT_PREFIX) }
    }
}

/// A key, as Redis has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// A key whose bytes somebody else has decided: seed 002's profile hash, a stream of the Node services.
    pub fn foreign(key: String) -> Self {
        Self(key)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl redis::ToSingleRedisArg for Key {}

/// An id as it stands in a key.
pub(crate) fn encode(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    push_encoded(&mut encoded, id);
    encoded
}

fn push_encoded(key: &mut String, id: &str) {
    for character in id.chars() {
        match character {
            '%' => key.push_str("%25"),
            ':' => key.push_str("%3A"),
            '{' => key.push_str("%7B"),
            '}' => key.push_str("%7D"),
            plain => key.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shards_spread_evenly_over_the_nodes_of_a_cluster() {
        for nodes in [1_u32, 2, 3, 4, 6, 8] {
            let mut on = BTreeMap::new();
            for shard in Shard::all() {
                *on.entry(u32::from(slot(shard.tag().as_bytes())) * nodes / SLOTS).or_insert(0) += 1;
            }
            let (fewest, most) = (on.values().min().unwrap(), on.values().max().unwrap());
            assert!(on.len() == nodes as usize && most - fewest <= 1, "{nodes} nodes: {on:?}");
        }
    }

    /// Part of the layout: other tags would lose everybody's data.
    #[test]
    fn tags_never_change() {
        let tags = Shard::all().map(Shard::tag).collect::<Vec<_>>().join(" ");
        assert_eq!(tags, TAGS);
        assert_eq!(Shard::of("ada"), Shard(ADA));
    }
    const TAGS: &str = "0.13 1.10 2.3 3.0 4.63 5.60 6.43 7.40 8.20 9.23 10.40 11.43 12.1 13.2 14.23 15.20";
    const ADA: u16 = 2;

    #[test]
    fn hostile_ids_stay_in_their_place() {
        let keys = KeySpace::default();
        let of = |id: &str| keys.tagged("r", id, &["m"]).0;
        assert_eq!(of("a}:m:{b"), "chat:r:{a%7D%3Am%3A%7Bb}:m");
        assert_eq!(of("*"), "chat:r:{*}:m");
        assert_eq!(of("%7D"), "chat:r:{%257D}:m");
    }

    #[test]
    fn prefixes_are_checked() {
        for bad in ["", "a:b", "a{b", "a b", "a*", &"x".repeat(65)] {
            assert_eq!(KeySpace::new(bad).unwrap_err().code(), Code::ConfigInvalid, "{bad:?}");
        }
    }

    #[test]
    fn a_key_beside_another_is_in_its_slot() {
        let keys = KeySpace::default();
        for foreign in
            ["user:profile:ada", "a{b}c", "a{}b", "a{b", "a}b", "a}{b", "{{a}}", "{a}{b}", "é{日本}"]
        {
            let beside = keys.beside("k", &Key::foreign(foreign.to_owned()), &[foreign]);
            assert_eq!(slot_of(&beside.0), slot_of(foreign), "{foreign:?}: {beside:?}");
        }
        assert!(
            slot_tags()
                .iter()
                .enumerate()
                .all(|(nth, tag)| { *tag > 0 && usize::from(slot(tag.to_string().as_bytes())) == nth })
        );
    }

    #[test]
    fn slots_are_those_of_redis() {
        // CLUSTER KEYSLOT, on 7.0.
        let known = [
            ("user:profile:ada", 14_067),
            ("a{b}c", 3_300),
            ("a{}b", 13_694),
            ("a}{b", 11_640),
            ("{{a}}", 10_276),
        ];
        for (key, slot) in known {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    #[test]
    fn beginnings_that_may_be_ours_are_known() {
        let keys = KeySpace::default();
        for ours in ["", "c", "chat", "chat:", "chat:m", "chat:m:", "chat:m:{", "chat:m:{0.13}:"] {
            assert!(keys.may_hold(ours), "{ours:?}");
        }
        for not_ours in ["user:profile:", "chats", "chat-", "chat:cache:users:", "chat:m:x"] {
            assert!(!keys.may_hold(not_ours), "{not_ours:?}");
        }
    }

    fn id() -> impl Strategy<Value = String> {
        prop_oneof!["[%:{}a-b]{1,6}", "\\PC{1,20}", "%(25|3A|7B|7D){1,3}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn different_ids_have_different_keys(a in (id(), id()), b in (id(), id())) {
            let keys = KeySpace::default();
            let key = |(tag, part): &(String, String)| keys.tagged("k", tag, &[part]);
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }

        #[test]
        fn the_parts_of_a_key_come_back(one in id(), two in id()) {
            let keys = KeySpace::default();
            let key = keys.sharded("k", Shard::of(&two), &[&one, "v", &two]).0;
            prop_assert_eq!(keys.parts("k", key.as_bytes()), Some(vec![one, "v".to_owned(), two]));
            prop_assert_eq!(keys.parts("j", key.as_bytes()), None);
            prop_assert_eq!(KeySpace::new("cha").unwrap().parts("k", key.as_bytes()), None);
        }

        #[test]
        fn the_tag_of_a_key_is_the_id_it_belongs_to(tag in id(), part in id()) {
            let key = KeySpace::default().tagged("k", &tag, &[&part]).0;
            let (_, rest) = key.split_once('{').unwrap();
            let (found, _) = rest.split_once('}').unwrap();
            prop_assert_eq!(found, encode(&tag));
        }
    }
}
