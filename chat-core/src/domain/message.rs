//! A message and everything that can happen to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conversation::ConversationKind;
use super::file::Attachment;
use super::id::{ClientKey, ConversationId, MessageId, Seq, UserId};
use super::text;
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

/// The longest text, in characters.
pub const MAX_TEXT_CHARS: usize = 10_000;
/// The most attachments of one message.
pub const MAX_ATTACHMENTS: usize = 20;
/// The most users one message mentions by name.
pub const MAX_MENTIONS: usize = 50;
/// The most different emojis on one message.
pub const MAX_EMOJIS: usize = 20;
/// The most emojis one user puts on one message.
pub const MAX_EMOJIS_PER_USER: usize = 10;
/// How many earlier texts of a message are kept; the first one always is.
pub const MAX_EDITS_KEPT: usize = 20;

/// What a message is; the wire forms are those of the seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageKind {
    /// Words.
    #[default]
    Text,
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A recording.
    Audio,
    /// Any other file.
    File,
    /// A place.
    Location,
    /// A visiting card.
    Contact,
    /// Said by the system: never counted as unread.
    System,
}

impl MessageKind {
    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Image => "IMAGE",
            Self::Video => "VIDEO",
            Self::Audio => "AUDIO",
            Self::File => "FILE",
            Self::Location => "LOCATION",
            Self::Contact => "CONTACT",
            Self::System => "SYSTEM",
        }
    }
}

/// Whom a message calls by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mentions {
    /// These members.
    pub users: Vec<UserId>,
    /// Every member (`@all`).
    pub everyone: bool,
}

impl Mentions {
    /// Whether nobody is mentioned.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && !self.everyone
    }
}

/// Where a message hangs on another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadPlace {
    /// The message that began the thread; never itself a reply in a thread.
    pub root: MessageId,
    /// Also shown in the conversation itself.
    #[serde(default)]
    pub also_in_conversation: bool,
}

/// One user's emoji on a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    /// One emoji.
    pub emoji: String,
    /// Who put it there, in order.
    pub users: Vec<UserId>,
}

/// A text a message had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastText {
    /// The text.
    pub content: String,
    /// Its revision.
    pub revision: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
}

/// What is left of a deleted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// Who deleted it; `None` when retention did.
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
}

/// A message held up for all to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Who pinned it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// When it comes down by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The replies to a message, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadSummary {
    /// Replies that are not deleted.
    pub replies: u64,
    /// When the newest reply came.
    pub last_reply_at: Option<Timestamp>,
}

/// One message as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    #[serde(rename = "messageId")]
    pub id: MessageId,
    /// Where it was said.
    pub conversation_id: ConversationId,
    /// What kind of conversation that is.
    pub conversation_kind: ConversationKind,
    /// Its place there.
    pub seq: Seq,
    /// Who said it; `None` for the system.
    pub sender_id: Option<UserId>,
    /// The other one, in a direct conversation.
    pub receiver_id: Option<UserId>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The text; empty once deleted.
    pub content: String,
    /// Files; none once deleted.
    pub attachments: Vec<Attachment>,
    /// The message it answers, quoted.
    pub reply_to: Option<MessageId>,
    /// The thread it belongs to.
    pub thread: Option<ThreadPlace>,
    /// Whom it calls.
    pub mentions: Mentions,
    /// Sent without raising anybody's unread count.
    pub silent: bool,
    /// Facts for programs, such as a system message's `subType`.
    pub metadata: BTreeMap<String, String>,
    /// Emojis, in order of first use.
    pub reactions: Vec<Reaction>,
    /// How often the text was changed.
    pub revision: u32,
    /// When the text last changed.
    pub edited_at: Option<Timestamp>,
    /// Earlier texts, oldest first.
    pub past_texts: Vec<PastText>,
    /// Set once deleted for everyone.
    pub deleted: Option<Tombstone>,
    /// Set while pinned.
    pub pin: Option<Pin>,
    /// The replies in its thread.
    pub replies: ThreadSummary,
    /// What the sender's client called it.
    pub client_key: Option<ClientKey>,
    /// Tells whether a repeat of the client key is the same message.
    pub fingerprint: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Message {
    /// Whether it counts as unread for those who have not read it.
    pub fn is_countable(&self) -> bool {
        self.deleted.is_none() && self.kind != MessageKind::System && !self.silent
    }

    /// Whether it calls this user.
    pub fn mentions_user(&self, user: &UserId) -> bool {
        self.mentions.everyone || self.mentions.users.contains(user)
    }

    /// Whether its pin holds at `now`.
    pub fn is_pinned(&self, now: Timestamp) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.until.is_none_or(|until| now < until))
    }

    /// Replaces the text, keeping the old one.
    pub fn edit(&mut self, content: String, mentions: Mentions, at: Timestamp) {
        let past = PastText {
            content: std::mem::replace(&mut self.content, content),
            revision: self.revision,
            replaced_at: at,
        };
        self.past_texts.push(past);
        if self.past_texts.len() > MAX_EDITS_KEPT {
            self.past_texts.remove(1);
        }
        self.mentions = mentions;
        self.revision = self.revision.saturating_add(1);
        self.edited_at = Some(at);
    }

    /// Removes everything said, keeping the place.
    pub fn delete(&mut self, by: Option<UserId>, at: Timestamp) {
        self.content.clear();
        self.attachments.clear();
        self.past_texts.clear();
        self.metadata.clear();
        self.reactions.clear();
        self.mentions = Mentions::default();
        self.pin = None;
        self.deleted = Some(Tombstone { by, at });
    }

    /// Puts a user's emoji on or takes it off. Says whether anything changed.
    ///
    /// # Errors
    /// [`Code::ReactionLimit`] above [`MAX_EMOJIS`] per message or [`MAX_EMOJIS_PER_USER`] per user.
    pub fn react(&mut self, user: &UserId, emoji: &str, on: bool) -> Result<bool> {
        let place = self.reactions.iter().position(|reaction| reaction.emoji == emoji);
        let there = place.and_then(|i| self.reactions.get_mut(i));
        match (there, on) {
            (Some(reaction), true) if reaction.users.contains(user) => Ok(false),
            (Some(reaction), false) => {
                let before = reaction.users.len();
                reaction.users.retain(|known| known != user);
                let changed = reaction.users.len() < before;
                self.reactions.retain(|reaction| !reaction.users.is_empty());
                Ok(changed)
            }
            (None, false) => Ok(false),
            (there, true) => {
                if there.is_none() && self.reactions.len() >= MAX_EMOJIS {
                    return Err(Error::new(Code::ReactionLimit).with("max", MAX_EMOJIS));
                }
                if self.reactions.iter().filter(|reaction| reaction.users.contains(user)).count()
                    >= MAX_EMOJIS_PER_USER
                {
                    return Err(Error::new(Code::ReactionLimit).with("max", MAX_EMOJIS_PER_USER));
                }
                match place.and_then(|i| self.reactions.get_mut(i)) {
                    Some(reaction) => reaction.users.push(user.clone()),
                    None => {
                        self.reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user.clone()] });
                    }
                }
                Ok(true)
            }
        }
    }
}

/// A message on its way into the store, already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The id it will have.
    pub id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// What kind of conversation that is.
    pub conversation_kind: ConversationKind,
    /// Who says it; `None` for the system.
    pub sender_id: Option<UserId>,
    /// The other one, in a direct conversation.
    pub receiver_id: Option<UserId>,
    /// What the sender's client calls it: unique per (conversation, sender).
    pub client_key: Option<ClientKey>,
    /// What is said.
    pub draft: Draft,
}

/// What a sender says: everything but who, where and when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Draft {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The text; may be empty when there are attachments.
    pub content: String,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// The thread it belongs to.
    pub thread: Option<ThreadPlace>,
    /// Whom it calls.
    pub mentions: Mentions,
    /// Without raising unread counts.
    pub silent: bool,
    /// Facts for programs: up to 20 entries of up to 200 characters.
    pub metadata: BTreeMap<String, String>,
}

impl Draft {
    /// A plain text.
    pub fn text(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }

    /// # Errors
    /// [`Code::MessageEmpty`], [`Code::MessageTooLong`] or [`Code::MessageInvalid`].
    pub fn check(&self) -> Result<()> {
        let invalid = |reason: &'static str| Err(Error::invalid(Code::MessageInvalid, reason));
        if self.attachments.is_empty() && self.content.trim().is_empty() {
            return Err(Code::MessageEmpty.into());
        }
        if self.content.chars().count() > MAX_TEXT_CHARS {
            return Err(Error::new(Code::MessageTooLong).with("max", MAX_TEXT_CHARS));
        }
        if self.attachments.len() > MAX_ATTACHMENTS {
            return invalid("more than 20 attachments");
        }
        if self.mentions.users.len() > MAX_MENTIONS {
            return invalid("more than 50 mentions");
        }
        let too_long = |text: &String| text.chars().count() > 200;
        if self.metadata.len() > 20
            || self.metadata.iter().any(|(name, value)| too_long(name) || too_long(value))
        {
            return invalid("more than 20 facts, or one longer than 200 characters");
        }
        Ok(())
    }

    /// Equal for equal content, different for different content.
    pub fn fingerprint(&self) -> String {
        let canonical = serde_json::to_string(self).unwrap_or_default();
        super::id::MessageId::derived(&["fingerprint", &canonical]).to_string()
    }
}

impl NewMessage {
    /// The message as it will be stored under `seq` at `created_at`.
    pub fn stored(&self, seq: Seq, created_at: Timestamp) -> Message {
        let draft = self.draft.clone();
        Message {
            fingerprint: draft.fingerprint(),
            id: self.id.clone(),
            conversation_id: self.conversation_id.clone(),
            conversation_kind: self.conversation_kind,
            seq,
            sender_id: self.sender_id.clone(),
            receiver_id: self.receiver_id.clone(),
            kind: draft.kind,
            content: draft.content,
            attachments: draft.attachments,
            reply_to: draft.reply_to,
            thread: draft.thread,
            mentions: draft.mentions,
            silent: draft.silent,
            metadata: draft.metadata,
            reactions: Vec::new(),
            revision: 0,
            edited_at: None,
            past_texts: Vec::new(),
            deleted: None,
            pin: None,
            replies: ThreadSummary::default(),
            client_key: self.client_key.clone(),
            created_at,
        }
    }
}

/// # Errors
/// [`Code::MessageInvalid`] unless `emoji` is one emoji of at most 32 bytes, or a `:shortcode:`.
pub fn check_emoji(emoji: &str) -> Result<()> {
    if emoji.len() <= 32 && (text::is_emoji(emoji) || text::is_shortcode(emoji)) {
        Ok(())
    } else {
        Err(Error::invalid(Code::MessageInvalid, "not an emoji"))
    }
}
