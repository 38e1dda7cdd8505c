//! [`Topic`], what a reader follows, and [`StreamNames`], what the streams behind it are called.

use std::fmt;

macro_rules! topics {
    ($(
        $(#[$doc:meta])*
        $name:ident $max_len:literal $seed:literal $ngomna:literal [$($alias:literal)*],
    )*) => {
        /// What a reader follows: events that belong together, in order per key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Topic {
            $($(#[$doc])* $name,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in configuration and metrics, the same under every preset.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// About how many entries its stream keeps.
            pub const fn max_len(self) -> u64 {
                match self { $(Self::$name => $max_len,)* }
            }

            const fn seed(self) -> &'static str {
                match self { $(Self::$name => $seed,)* }
            }

            const fn ngomna(self) -> &'static str {
                match self { $(Self::$name => $ngomna,)* }
            }

            const fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($alias),*],)* }
            }
        }
    };
}

// Name, entries kept, stream under `seed()`, stream under `ngomna()`, other streams of the Node services that
// carry it. No two topics share a stream under one preset, so a reader knows the topic of an entry without
// reading it.
topics! {
    /// Messages between two people.
    MessagesPrivate 10_000 "stream:messages:private" "chat:stream:messages:private" [],
    /// Messages in groups, channels, broadcasts and event rooms.
    MessagesGroup 20_000 "stream:messages:group" "chat:stream:messages:group" [
        "chat:stream:messages:channel"
    ],
    /// What the system says in conversations.
    MessagesSystem 20_000 "stream:messages:system" "chat:stream:messages:system" [],
    /// What happens to messages later: edits, deletions, reactions, pins.
    Messages 10_000 "events:messages" "chat:stream:events:messages" [
        "stream:status:edited" "stream:status:deleted"
        "chat:stream:status:edited" "chat:stream:status:deleted"
        "chat:stream:events:reactions" "chat:stream:events:replies"
    ],
    /// How far messages have reached people.
    Delivered 5_000 "stream:status:delivered" "chat:stream:status:delivered" [],
    /// How far people have read.
    Read 5_000 "stream:events:read" "chat:stream:status:read" ["stream:status:read"],
    /// Conversations and who is in them.
    Conversations 5_000 "events:conversations" "chat:stream:events:conversations" [
        "chat:stream:events:conversation:created"
        "chat:stream:events:conversation:updated"
        "chat:stream:events:conversation:participants:added"
        "chat:stream:events:conversation:participants:removed"
        "chat:stream:events:conversation:deleted"
    ],
    /// Unread counts, for a user's own devices.
    Unread 2_000 "events:unread" "chat:stream:events:unread" [],
    /// Files and media.
    Files 5_000 "events:files" "chat:stream:events:files" [],
    /// Who is typing.
    Typing 2_000 "events:typing" "chat:stream:events:typing" ["stream:events:typing"],
    /// Profiles.
    Users 10_000 "events:users" "chat:stream:events:users" [
        "user-service:stream:events:users" "events:users:profile"
    ],
    /// Who is here.
    Presence 10_000 "events:users:presence" "chat:stream:events:presence" [],
    /// A host's own rooms.
    Rooms 5_000 "events:rooms" "chat:stream:events:rooms" [],
    /// Sanctions, reports and what the filters did.
    Moderation 5_000 "events:moderation" "chat:stream:events:moderation" [],
    /// What one user is to be told.
    Notifications 2_000 "events:notifications" "chat:stream:events:notifications" [],
    /// How exports get on.
    Exports 2_000 "events:exports" "chat:stream:events:exports" [],
    /// Synchronisation and repair.
    System 5_000 "events:system" "chat:stream:events:system" [],
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which preset the names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Preset {
    #[default]
    Seed,
    Ngomna,
}

/// What streams are called: a preset, and a prefix for several chats on one server.
///
/// ```
/// use chat_core::event::{StreamNames, Topic};
/// let names = StreamNames::ngomna().with_prefix("blue:");
/// assert_eq!(names.name(Topic::Files), "blue:chat:stream:events:files");
/// assert_eq!(names.topic("blue:chat:stream:events:files"), Some(Topic::Files));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StreamNames {
    preset: Preset,
    prefix: String,
}

impl StreamNames {
    /// The names of seeds 000 and 002; the default.
    pub fn seed() -> Self {
        Self::default()
    }

    /// The later `chat:stream:*` names.
    pub fn ngomna() -> Self {
        Self { preset: Preset::Ngomna, prefix: String::new() }
    }

    /// The same names behind `prefix`, taken as it is.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The stream a topic is written to; no two topics share one.
    pub fn name(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, self.bare(topic))
    }

    /// Every stream that may carry a topic: the one written to, then those the Node services write to.
    pub fn sources(&self, topic: Topic) -> Vec<String> {
        let others = topic.aliases().iter().copied().filter(|alias| *alias != self.bare(topic));
        std::iter::once(self.bare(topic)).chain(others).map(|bare| format!("{}{bare}", self.prefix)).collect()
    }

    /// The topic of a stream: the one written to it, else the one that has it among its
    /// [`sources`](Self::sources).
    pub fn topic(&self, name: &str) -> Option<Topic> {
        let bare = name.strip_prefix(&self.prefix)?;
        let find = |fits: &dyn Fn(Topic) -> bool| Topic::ALL.iter().copied().find(|topic| fits(*topic));
        find(&|topic| self.bare(topic) == bare).or_else(|| find(&|topic| topic.aliases().contains(&bare)))
    }

    const fn bare(&self, topic: Topic) -> &'static str {
        match self.preset {
            Preset::Seed => topic.seed(),
            Preset::Ngomna => topic.ngomna(),
        }
    }
}
