//! Who serves which slots of a cluster: what `CLUSTER SLOTS` says.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use redis::{FromRedisValue, Value};

use super::command::Command;
use crate::keys::slot;

/// Asks any node.
pub(super) fn slots() -> Command {
    Command::keyless("CLUSTER").arg("SLOTS")
}

/// The master of a range of slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Range {
    first: u16,
    last: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The masters, in the order of their slots. A node that does not tell its address is left out.
pub(super) fn masters(answer: &Value) -> Vec<Range> {
    let Value::Array(ranges) = answer else { return Vec::new() };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let [first, last, Value::Array(master), ..] = parts.as_slice() else { return None };
        let [host, port, ..] = master.as_slice() else { return None };
        let host = String::from_redis_value_ref(host).ok().filter(|host| !host.is_empty() && host != "?")?;
        let number = |value| u16::from_redis_value_ref(value).ok();
        Some(Range { first: number(first)?, last: number(last)?, host, port: number(port)? })
    };
    let mut masters: Vec<_> = ranges.iter().filter_map(range).collect();
    masters.sort();
    masters
}

/// The master of the slot of a key.
pub(super) fn owner(answer: &Value, key: &[u8]) -> Option<(String, u16)> {
    let slot = slot(tag(key));
    let owner = masters(answer).into_iter().find(|range| (range.first..=range.last).contains(&slot));
    owner.map(|range| (range.host, range.port))
}

/// Any master.
pub(super) fn any(answer: &Value) -> Option<(String, u16)> {
    use std::hash::BuildHasher;
    let masters = masters(answer);
    let random = usize::try_from(std::hash::RandomState::new().hash_one(0) >> 1).unwrap_or_default();
    let any = masters.len().checked_sub(1).and_then(|last| masters.into_iter().nth(random % (last + 1)));
    any.map(|range| (range.host, range.port))
}

/// A number that differs, in all likelihood, when the masters do.
pub(super) fn fingerprint(answer: &Value) -> Option<u64> {
    let masters = masters(answer);
    let mut hasher = DefaultHasher::new();
    masters.hash(&mut hasher);
    (!masters.is_empty()).then(|| hasher.finish())
}

/// What decides the slot of a key: what stands between its first brace and the next closing one, if that is anything.
fn tag(key: &[u8]) -> &[u8] {
    let after = key.iter().position(|b| *b == b'{').and_then(|open| key.get(open + 1..));
    let tag =
        after.and_then(|after| after.split(|b| *b == b'}').next().filter(|tag| tag.len() < after.len()));
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node = Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn the_owner_of_a_key() {
        let answer = Value::Array(vec![range(8192, 16383, "b", 2), range(0, 8191, "a", 1)]);
        // Slots of redis-cli: foo is 12182, bar is 5061.
        assert_eq!(owner(&answer, b"foo"), Some(("b".to_owned(), 2)));
        assert_eq!(owner(&answer, b"x{bar}y"), Some(("a".to_owned(), 1)));
    }

    #[test]
    fn tags() {
        assert_eq!(tag(b"{a}b"), b"a");
        assert_eq!(tag(b"x{a}{b}"), b"a");
        assert_eq!(tag(b"x{}y{b}"), b"x{}y{b}");
        assert_eq!(tag(b"x{a"), b"x{a");
        assert_eq!(tag(b""), b"");
    }

    #[test]
    fn the_fingerprint_is_that_of_the_masters() {
        let one = Value::Array(vec![range(0, 1, "a", 1), range(2, 3, "b", 2)]);
        let turned = Value::Array(vec![range(2, 3, "b", 2), range(0, 1, "a", 1)]);
        let other = Value::Array(vec![range(0, 1, "a", 1), range(2, 3, "c", 2)]);
        assert_eq!(fingerprint(&one), fingerprint(&turned));
        assert_ne!(fingerprint(&one), fingerprint(&other));
        assert_eq!(fingerprint(&Value::Array(vec![range(0, 1, "", 1)])), None);
        assert_eq!(fingerprint(&Value::Nil), None);
    }
}
