//! What was done to whom and why: the record of moderation, which nobody can quietly change.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::id::{AuditId, ConversationId, MessageId, Seq, UserId};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

/// The longest reason, and the longest value of the metadata, in characters.
pub const MAX_AUDIT_TEXT: usize = 1_000;
/// The most entries of the metadata, and their longest name in characters.
pub const MAX_AUDIT_METADATA: (usize, usize) = (20, 64);

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditActor {
    /// A person.
    User(UserId),
    /// A part of the system, such as a filter, by its name: 1 to 64 characters.
    System(String),
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $wire)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The wire form.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }
        }
    };
}

words! {
    /// What was done: seed 003's seven, and what else moderators and operators do.
    AuditAction {
        /// Somebody was banned.
        Ban = "ban",
        /// A ban was lifted.
        Unban = "unban",
        /// Somebody was muted.
        Mute = "mute",
        /// A mute was lifted.
        Unmute = "unmute",
        /// A message was deleted.
        DeleteMessage = "delete_message",
        /// Somebody was warned.
        Warn = "warn",
        /// A message was flagged.
        Flag = "flag",
        /// A deleted message was restored.
        RestoreMessage = "restore_message",
        /// A conversation was emptied.
        ClearChat = "clear_chat",
        /// The pace of a conversation was limited.
        SlowMode = "slow_mode",
        /// A conversation was frozen.
        Freeze = "freeze",
        /// A conversation was thawed.
        Unfreeze = "unfreeze",
        /// A role was given or taken.
        RoleChanged = "role_changed",
        /// Settings were changed.
        SettingsChanged = "settings_changed",
        /// A filter was changed.
        FilterChanged = "filter_changed",
        /// A report was resolved.
        ReportResolved = "report_resolved",
        /// An export was asked for.
        ExportRequested = "export_requested",
        /// An export was downloaded.
        ExportDownloaded = "export_downloaded",
        /// A repair was applied.
        RepairApplied = "repair_applied",
    }
}

words! {
    /// What set it off.
    AuditTrigger {
        /// Somebody decided it.
        Manual = "manual",
        /// A rule decided it.
        Auto = "auto",
        /// A report led to it.
        Report = "report",
        /// A synchronisation with the host led to it.
        Sync = "sync",
    }
}

words! {
    /// What became of it.
    AuditState {
        /// Written down, and perhaps done.
        Pending = "pending",
        /// Done.
        Applied = "applied",
        /// Not done.
        Failed = "failed",
    }
}

/// What is about to be done, as it is written down before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Names this deed; a repeat under the same id is recognised.
    pub audit_id: AuditId,
    /// The conversation it happens in, whose chain it becomes part of; `None` for the whole platform, which has a chain
    /// of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Who acts.
    pub actor: AuditActor,
    /// What is done.
    pub action: AuditAction,
    /// What set it off.
    pub trigger: AuditTrigger,
    /// To whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_user_id: Option<UserId>,
    /// To which message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Why, in words: up to 1 000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its effect ends by itself. The record stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What else the host wants to remember: up to 20 entries, names up to 64 characters, values up to 1 000.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl AuditEntry {
    /// # Errors
    /// [`Code::AuditInvalid`] for texts or metadata above their limits.
    pub fn check(&self) -> Result<()> {
        let long = |text: &str, max: usize| text.chars().count() > max;
        let (entries, name) = MAX_AUDIT_METADATA;
        let problem = if self.reason.as_ref().is_some_and(|reason| long(reason, MAX_AUDIT_TEXT)) {
            "the reason has more than 1000 characters"
        } else if self.metadata.len() > entries {
            "the metadata has more than 20 entries"
        } else if self.metadata.iter().any(|(key, value)| long(key, name) || long(value, MAX_AUDIT_TEXT)) {
            "a name or value of the metadata is too long"
        } else if matches!(&self.actor, AuditActor::System(part) if part.is_empty() || long(part, name)) {
            "the name of a part of the system must have 1 to 64 characters"
        } else {
            return Ok(());
        };
        Err(Error::invalid(Code::AuditInvalid, problem))
    }
}

/// The SHA-256 of a record and of everything before it in its chain; as text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditDigest([u8; 32]);

impl fmt::Display for AuditDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuditDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(Code::AuditInvalid, "not 64 hexadecimal digits");
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for AuditDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An entry in its chain. Everything but its state and when that was settled is sealed by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// What was written down.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Its place in its chain: 1, 2, 3, … without gaps.
    pub seq: Seq,
    /// When it was written down, by the store's clock; never before the record it follows.
    pub at: Timestamp,
    /// What became of it.
    pub state: AuditState,
    /// When that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// The digest of the record before; `None` for the first of a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<AuditDigest>,
    /// Its own.
    pub digest: AuditDigest,
}

impl AuditRecord {
    /// The record of `entry` after `last`, the newest of its chain.
    pub fn following(last: Option<&Self>, entry: AuditEntry, now: Timestamp) -> Self {
        let (seq, at) = last.map_or((Seq::ZERO, now), |last| (last.seq, last.at.max(now)));
        let (seq, previous) = (seq.next(), last.map(|last| last.digest));
        let digest = seal(&entry, seq, at, previous);
        Self { entry, seq, at, state: AuditState::Pending, settled_at: None, previous, digest }
    }

    /// Whether what it says is what was written down.
    pub fn is_intact(&self) -> bool {
        self.digest == seal(&self.entry, self.seq, self.at, self.previous)
    }

    /// Whether it is the next after `before`, or the first of all.
    pub fn follows(&self, before: Option<&Self>) -> bool {
        let seq = before.map_or(Seq::ZERO, |before| before.seq);
        self.seq == seq.next() && self.previous == before.map(|before| before.digest)
    }
}

/// The digest of a record: of the one before, its place, its time, and the entry as JSON, each with its length before it.
fn seal(entry: &AuditEntry, seq: Seq, at: Timestamp, previous: Option<AuditDigest>) -> AuditDigest {
    // An entry is made of texts and maps of texts, which JSON always holds.
    let entry = serde_json::to_vec(entry).unwrap_or_default();
    let previous = previous.map_or(Vec::new(), |previous| previous.0.to_vec());
    let mut sha = Sha256::new();
    for part in [&previous[..], &seq.0.to_be_bytes(), &at.as_millis().to_be_bytes(), &entry] {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    AuditDigest(sha.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: AuditAction) -> AuditEntry {
        AuditEntry {
            audit_id: AuditId::new("one").unwrap(),
            conversation_id: Some(ConversationId::new("here").unwrap()),
            actor: AuditActor::System("links".to_owned()),
            action,
            trigger: AuditTrigger::Auto,
            target_user_id: Some(UserId::new("eve").unwrap()),
            message_id: None,
            reason: Some("because".to_owned()),
            expires_at: None,
            metadata: BTreeMap::from([("list".to_owned(), "7".to_owned())]),
        }
    }

    /// Chains outlive the programs that wrote them: these digests were computed once and stay.
    #[test]
    fn the_seal_is_for_ever() {
        let first = AuditRecord::following(None, entry(AuditAction::Mute), Timestamp::from_millis(1));
        let second = AuditRecord::following(Some(&first), entry(AuditAction::Ban), Timestamp::EPOCH);
        assert_eq!(
            first.digest.to_string(),
            "86d7f402ade08a0c4c9f7ffed8f93b42ee3b3436bd83633143ed8dfb7bc9487f"
        );
        assert_eq!(
            second.digest.to_string(),
            "a6c713d1d6f702a815363fcb6a3b980bebe10d43cb3c1a448292228934f7d90c"
        );
        assert_eq!((second.seq, second.at), (Seq(2), Timestamp::from_millis(1)), "time does not go back");
        assert!(second.follows(Some(&first)) && first.follows(None));
        assert!(!first.follows(Some(&second)) && !second.follows(None));
    }

    #[test]
    fn every_change_breaks_the_seal_but_what_became_of_it() {
        let record = AuditRecord::following(None, entry(AuditAction::Mute), Timestamp::from_millis(1));
        let settled =
            AuditRecord { state: AuditState::Applied, settled_at: Some(record.at), ..record.clone() };
        assert!(record.is_intact() && settled.is_intact());
        let changed = |change: fn(&mut AuditRecord)| {
            let mut record = record.clone();
            change(&mut record);
            record
        };
        for changed in [
            changed(|record| record.entry.reason = None),
            changed(|record| record.entry.reason = Some("becausE".to_owned())),
            changed(|record| record.entry.action = AuditAction::Unmute),
            changed(|record| record.entry.actor = AuditActor::User(UserId::new("links").unwrap())),
            changed(|record| record.entry.conversation_id = None),
            changed(|record| record.entry.metadata.clear()),
            changed(|record| record.seq = Seq(2)),
            changed(|record| record.at = Timestamp::EPOCH),
            changed(|record| record.previous = Some(record.digest)),
        ] {
            assert!(!changed.is_intact(), "{changed:?}");
        }
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let record = AuditRecord::following(None, entry(AuditAction::Warn), Timestamp::from_millis(1));
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""actor":{"system":"links"},"action":"warn","trigger":"auto""#), "{text}");
        assert_eq!(serde_json::from_str::<AuditRecord>(&text).unwrap(), record);
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32), &"+1".repeat(32)] {
            assert!(bad.parse::<AuditDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = |text: &str, times| Some(text.repeat(times));
        let fine = AuditEntry { reason: long("é", 1_000), ..entry(AuditAction::Warn) };
        assert!(fine.check().is_ok());
        let named = |name: String| AuditEntry { actor: AuditActor::System(name), ..fine.clone() };
        let with = |metadata: BTreeMap<String, String>| AuditEntry { metadata, ..fine.clone() };
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for bad in [
            AuditEntry { reason: long("x", 1_001), ..fine.clone() },
            named(String::new()),
            named("x".repeat(65)),
            with((0..21).map(|nth| (nth.to_string(), String::new())).collect()),
            with(one(&"x".repeat(65), "")),
            with(one("", &"x".repeat(1_001))),
        ] {
            assert_eq!(bad.check().map_err(|error| error.code()), Err(Code::AuditInvalid), "{bad:?}");
        }
    }
}
