//! [`MessageStore`]: the truth about what was said.

use std::future::Future;

use super::only;
use crate::clock::Timestamp;
use crate::domain::message::NewMessage;
use crate::domain::page::Paged;
use crate::domain::text::Query;
use crate::domain::{ConversationId, Mentions, Message, MessageId, Seq, UserId};
use crate::error::Result;
use crate::event::DeleteType;

/// The most messages of one history page.
pub const MAX_HISTORY: usize = 100;
/// The most messages pinned in one conversation.
pub const MAX_PINS: usize = 50;
/// The most hits of one page.
pub const MAX_HITS: usize = 50;
/// The most messages removed by one purge.
pub const MAX_PURGE: usize = 1_000;

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The message as stored, now or before.
    pub message: Message,
    /// The same message had been stored under this client key before.
    pub duplicate: bool,
}

/// Which messages of a conversation a page is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HistoryScope {
    /// All of them, thread replies included.
    #[default]
    Everything,
    /// What stands in the conversation itself: no thread replies but those shown there too.
    Main,
    /// The replies of one thread, without its root.
    Thread(MessageId),
}

/// From where a page is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The newest messages.
    Latest,
    /// The messages just before this one.
    Before(Seq),
    /// The messages just after this one.
    After(Seq),
    /// This message with its neighbours on both sides.
    Around(Seq),
}

/// A question for a page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Of which conversation.
    pub conversation: ConversationId,
    /// Seen by whom: what a user deleted for itself is left out. `None` sees everything.
    pub viewer: Option<UserId>,
    /// Which messages.
    pub scope: HistoryScope,
    /// From where.
    pub anchor: Anchor,
    /// How many: 1 to [`MAX_HISTORY`].
    pub limit: usize,
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more_before: bool,
    /// Whether there are newer ones.
    pub more_after: bool,
}

/// A new text for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Of which message.
    pub message: MessageId,
    /// By whom.
    pub by: UserId,
    /// The text.
    pub content: String,
    /// Whom it calls now.
    pub mentions: Mentions,
    /// The revision it is based on; `None` for whatever is there.
    pub expect: Option<u32>,
}

/// A message after an operation, and whether that changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChanged {
    /// As it is now.
    pub message: Message,
    /// False for a repeat.
    pub changed: bool,
}

/// The newest message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Its place; zero when there is none.
    pub seq: Seq,
    /// The newest message the viewer can see, if any.
    pub message: Option<Message>,
}

/// A question for messages by their words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchQuery {
    /// Where: never more than the caller may read.
    pub conversations: Vec<ConversationId>,
    /// Seen by whom.
    pub viewer: UserId,
    /// What.
    pub words: Query,
    /// Only what comes after this in the order of hits.
    pub after: Option<SearchCursor>,
    /// How many: 1 to 50.
    pub limit: usize,
}

/// Where a walk over hits stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchCursor {
    /// The time of the last hit.
    pub at: Timestamp,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its place there.
    pub seq: Seq,
}

/// A message that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The message.
    pub message: Message,
    /// Byte ranges of the words that matched, in `message.content`.
    pub highlights: Vec<(usize, usize)>,
}

/// Old messages to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Where.
    pub conversation: ConversationId,
    /// Everything stored before this.
    pub before: Timestamp,
    /// Never these: on legal hold.
    pub hold: Vec<MessageId>,
    /// Going on after this message.
    pub after: Seq,
    /// How many at most: 1 to 1000.
    pub limit: usize,
}

port! {
    /// What was said; kind of state: **truth**. Nothing acknowledged is lost.
    ///
    /// Every change writes its event to the [`Outbox`](super::Outbox) in the same atomic step, exactly once; what
    /// changes nothing writes nothing.
    pub trait MessageStore as "messages" {
        /// Stores messages. One answer per message, in order; a refused message does not hold up the others. Writes
        /// `message.sent`; a reply also counts in its thread's root.
        ///
        /// # Atomicity
        /// Per message: it gets the next `Seq` of its conversation. Numbers have no gaps and become visible in order:
        /// whoever has seen `n` will never later see a new message below `n`.
        ///
        /// # Idempotency
        /// By (conversation, sender, client key): a repeat with the same content answers the first message as
        /// `duplicate`, and writes nothing.
        ///
        /// # Errors
        /// [`Code::ClientKeyConflict`](crate::error::Code::ClientKeyConflict) for the key of another content;
        /// [`Code::MessageNotFound`](crate::error::Code::MessageNotFound) for a reply or thread root that is not in
        /// the conversation, [`Code::MessageInvalid`](crate::error::Code::MessageInvalid) for a root that is itself
        /// in a thread; [`Code::Conflict`](crate::error::Code::Conflict) for the id of another message.
        already async fn append_many(&self, messages: &[NewMessage]) -> Result<Vec<Result<Appended>>>;

        /// Messages by id, tombstones included.
        read async fn get_many(&self, messages: &[MessageId]) -> Result<Vec<Option<Message>>>;

        /// Which of these messages a user has deleted for itself.
        read async fn hidden_many(&self, user: &UserId, messages: &[MessageId]) -> Result<Vec<bool>>;

        /// A page of history. Whoever walks page by page sees every message that is there during the whole walk
        /// exactly once, also while others write. A page around a message that is gone shows its neighbours.
        ///
        /// # Errors
        /// [`Code::PageInvalid`](crate::error::Code::PageInvalid).
        read async fn history(&self, query: &HistoryQuery) -> Result<History>;

        /// The newest message per conversation, as `viewer` sees it.
        read async fn heads(&self, viewer: Option<&UserId>, conversations: &[ConversationId]) -> Result<Vec<Head>>;

        /// Gives a message a new text and writes `message.edited`.
        ///
        /// # Atomicity
        /// Per message: of racing edits of one revision exactly one holds.
        ///
        /// # Idempotency
        /// The text and mentions it has already change nothing.
        ///
        /// # Errors
        /// [`Code::MessageNotFound`](crate::error::Code::MessageNotFound),
        /// [`Code::MessageDeleted`](crate::error::Code::MessageDeleted), and
        /// [`Code::EditConflict`](crate::error::Code::EditConflict) when the revision is another one.
        already async fn edit(&self, edit: &Edit) -> Result<MessageChanged>;

        /// Deletes a message and writes `message.deleted`. For everyone, its words, files, reactions and earlier texts
        /// are gone from the store and a tombstone keeps its place.
        ///
        /// # Idempotency
        /// Deleting again changes nothing.
        ///
        /// # Errors
        /// [`Code::MessageNotFound`](crate::error::Code::MessageNotFound).
        already async fn delete(&self, message: &MessageId, by: &UserId, whom: DeleteType) -> Result<MessageChanged>;

        /// Puts a user's emoji on a message or takes it off; writes `message.reaction.added` or `.removed`.
        ///
        /// # Atomicity
        /// Per message: reactions are a set of (user, emoji), and the limits hold.
        ///
        /// # Idempotency
        /// What is so already changes nothing.
        ///
        /// # Errors
        /// [`Code::MessageNotFound`](crate::error::Code::MessageNotFound),
        /// [`Code::MessageDeleted`](crate::error::Code::MessageDeleted),
        /// [`Code::ReactionLimit`](crate::error::Code::ReactionLimit).
        already async fn react(&self, message: &MessageId, user: &UserId, emoji: &str, on: bool) -> Result<MessageChanged>;

        /// Pins a message, until a time or for good, or unpins it; writes `message.pinned` or `.unpinned`.
        ///
        /// # Atomicity
        /// Per conversation: at most [`MAX_PINS`] hold at once.
        ///
        /// # Idempotency
        /// What is so already, and a pin that would be over at once, changes nothing.
        ///
        /// # Errors
        /// [`Code::MessageNotFound`](crate::error::Code::MessageNotFound),
        /// [`Code::MessageDeleted`](crate::error::Code::MessageDeleted),
        /// [`Code::PinLimit`](crate::error::Code::PinLimit).
        once async fn pin(
            &self, message: &MessageId, by: &UserId, on: bool, until: Option<Timestamp>,
        ) -> Result<MessageChanged>;

        /// The pinned messages, oldest message first; a pin that is over is none.
        read async fn pinned(&self, conversation: &ConversationId) -> Result<Vec<Message>>;

        /// Messages by their words, newest first (of one moment: by conversation, then newest place first): Unicode words, case and accents folded, every term must occur, the
        /// last one may be the beginning of a word. Deleted messages never match.
        ///
        /// # Errors
        /// [`Code::PageInvalid`](crate::error::Code::PageInvalid).
        read async fn search(&self, query: &SearchQuery) -> Result<Paged<Hit, SearchCursor>>;

        /// Turns old messages into tombstones (retention), oldest first, and writes `message.deleted`. Answers the
        /// places of those it removed and where to go on; `next` is `None` at the end.
        ///
        /// # Idempotency
        /// What is deleted already is passed over.
        once async fn purge(&self, purge: &Purge) -> Result<Paged<Seq, Seq>>;
    }
}

/// Sugar over any [`MessageStore`]; implemented for all of them.
pub trait MessageStoreExt: MessageStore {
    /// Stores one message.
    fn append(&self, message: &NewMessage) -> impl Future<Output = Result<Appended>> + Send {
        async move { only(self.append_many(std::slice::from_ref(message)).await?)? }
    }

    /// One message.
    fn get(&self, message: &MessageId) -> impl Future<Output = Result<Option<Message>>> + Send {
        let one = [message.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// The place of the newest message; zero when there is none.
    fn head(&self, conversation: &ConversationId) -> impl Future<Output = Result<Seq>> + Send {
        let one = [conversation.clone()];
        async move { Ok(only(self.heads(None, &one).await?)?.seq) }
    }
}

impl<M: MessageStore + ?Sized> MessageStoreExt for M {}
