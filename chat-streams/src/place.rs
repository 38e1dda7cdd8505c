//! A stream and what stands beside it.

use chat_core::error::{Code, Error, Result};
use chat_core::event::{StreamNames, Topic};
use chat_redis::driver::Key;

/// The stream of a topic, and how the names of its side keys begin.
///
/// A stream keeps the exact name other services know. On a cluster a name without braces is hashed whole, so what stands
/// beside a stream begins with its name in braces; one that has a hash tag of its own gives it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: Topic,
    pub(crate) stream: String,
    beside: String,
}

impl Place {
    /// # Errors
    /// [`Code::ConfigInvalid`] when the name has braces that are no hash tag.
    pub(crate) fn new(names: &StreamNames, topic: Topic) -> Result<Self> {
        let stream = names.name(topic);
        let beside = match stream.split_once('{') {
            None if !stream.contains('}') => format!("{{{stream}}}:"),
            Some((_, rest)) if rest.find('}').is_some_and(|end| end > 0) => format!("{stream}:"),
            _ => {
                let reason = "braces in the names of streams make a hash tag: {…}";
                return Err(Error::invalid(Code::ConfigInvalid, reason));
            }
        };
        Ok(Self { topic, stream, beside })
    }

    /// The keys every script is given.
    pub(crate) fn keys(&self) -> [Key; 2] {
        [Key::foreign(self.stream.clone()), Key::foreign(self.beside.clone())]
    }

    pub(crate) fn stream_key(&self) -> Key {
        Key::foreign(self.stream.clone())
    }

    /// A key beside the stream.
    pub(crate) fn side(&self, name: &str) -> Key {
        Key::foreign(format!("{}{name}", self.beside))
    }

    /// A key of a group; as `open` in `group.lua` names it.
    fn of_group(&self, group: &str, what: &str) -> Key {
        let mut name = String::from("g:");
        for character in group.chars() {
            match character {
                '%' => name.push_str("%25"),
                ':' => name.push_str("%3A"),
                '{' => name.push_str("%7B"),
                '}' => name.push_str("%7D"),
                plain => name.push(plain),
            }
        }
        name.push_str(what);
        self.side(&name)
    }

    /// What wakes the members of a group when nothing was published.
    pub(crate) fn wake(&self, group: &str) -> Key {
        self.of_group(group, ":wake")
    }

    /// What is there while the spell of a sole member lasts.
    pub(crate) fn spell(&self, group: &str, spell: &str) -> Key {
        self.of_group(group, &format!(":spell:{spell}"))
    }

    /// The fields that order entries without an envelope, before those that order any.
    pub(crate) const fn ordering(&self) -> &'static str {
        match self.topic {
            Topic::Files => "fileId",
            Topic::Users => "userId,id,matricule",
            Topic::Presence | Topic::Notifications | Topic::Unread | Topic::Exports => "userId",
            Topic::Rooms | Topic::Moderation => "roomId",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_keys_share_the_slot_of_their_stream() {
        let of = |prefix: &str| Place::new(&StreamNames::seed().with_prefix(prefix), Topic::Files);
        assert_eq!(of("").unwrap().side("dead").as_str(), "{events:files}:dead");
        assert_eq!(of("{blue}:").unwrap().side("dead").as_str(), "{blue}:events:files:dead");
        for bad in ["{", "}", "{}", "a}", "{a"] {
            assert_eq!(of(bad).unwrap_err().code(), Code::ConfigInvalid, "{bad:?}");
        }
    }
}
