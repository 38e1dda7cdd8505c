//! [`MessageStore`] on MongoDB.
//!
//! One document per message in `messages`: `_id` is the message's id, the fields of [`Message`] lie flat under their wire
//! names, and beside them `version` (one more with each change, compared and set), `stamp` (the highest stamp of its
//! events), `main` (its place, when it is shown in the conversation itself), `terms` (the words it is found by) and what
//! waits in the [outbox](crate::outbox). For [positions](crate::positions) there are also `uncounted`, which is true and only
//! there when it counts for nobody, and `mentioned`, the users it calls and the empty id for everyone, only
//! there when it counts and calls anybody. Places have no gaps, because the message of a place is only ever inserted when the
//! one before is known to be there, and a unique index lets one of several writers have it. Times never go back within
//! a conversation, so that the order of places is the order of times.
//!
//! What many append to one conversation meanwhile goes out as one batch, and the batches of several conversations as one
//! command, in order, which ends at the first message that is refused; so no place is left out. A conversation in which
//! another node is in the way writes alone until it is not.
//!
//! What a user deleted for itself is a document of `hidden`. A document of `pins` names the messages of a conversation that
//! may be pinned: whether one is, it says itself.
//!
//! Whatever changes several documents is one transaction: a reply and its root, something hidden and its event, a pin
//! and the list of them, a purge. A crash between two steps leaves nothing of it.
//!
//! # Limits
//! The text, and names, types and addresses of attachments of a message have 1 MiB together, all users put 20 000 emojis on
//! it, and 4 MiB or 1 000 events wait in it: so it stays below the 16 MB a document may have, and below what an index, an
//! event or a transaction takes. What would exceed them is refused before it is sent.
//!
//! # Cost
//! Round trips, when nobody is in the way:
//!
//! | operation | commands | round trips |
//! |---|---|---|
//! | `append_many` | 1 for all who append while one is under way, in whatever conversations; 1 more for each that is new to this node | 1; 2 the first time, 5 with a reply in a thread |
//! | `get_many`, `hidden_many` | 1 | 1 |
//! | `history` | 2; 4 with a viewer | 1 |
//! | `heads` | 1 per conversation; 1 more with a viewer | 1; 2 |
//! | `edit`, `react`, `delete`, unpin | 2 | 2 |
//! | `delete` of a reply | 5 | 5 |
//! | `delete` for oneself | 5 | 5 |
//! | `pin` | 6 | 6 |
//! | `pinned` | 2 | 2 |
//! | `search` | 2 per conversation with hits | 2 |
//! | `purge` | 4; 2 more per thread | as many |

mod append;
mod change;
mod group;
mod history;
mod lane;
mod limits;
mod pins;
mod purge;
mod record;
mod search;
pub(crate) mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::message::NewMessage;
use chat_core::domain::page::{Paged, check_limit};
use chat_core::domain::{ConversationId, Message, MessageId, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::DeleteType;
use chat_core::store::messages::{
    Appended, Edit, Head, History, HistoryQuery, Hit, MAX_HISTORY, MAX_HITS, MAX_PURGE, MessageChanged,
    Purge, SearchCursor, SearchQuery,
};
use chat_core::store::{MessageStore, change as rules};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::action::Find;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;

use crate::db::Db;
use crate::error::Trouble;
use crate::message_index::{MENTIONED, SENDER, UNCOUNTED};
use crate::operation::Operation;
use crate::outbox::{BY_EVENT, DUE};
use crate::schema::{Index, Schema};
use group::Group;
use lane::Lanes;
use record::Stored;
use turn::Turns;

/// The collection.
pub(crate) const MESSAGES: &str = "messages";
const HIDDEN: &str = "hidden";
const PINS: &str = "pins";

const APPEND: Operation = Operation::write("messages.append_many");
const GET: Operation = Operation::read("messages.get_many");
const HIDDEN_MANY: Operation = Operation::read("messages.hidden_many");
const HISTORY: Operation = Operation::read("messages.history");
const HEADS: Operation = Operation::read("messages.heads");
const EDIT: Operation = Operation::write("messages.edit");
const DELETE: Operation = Operation::write("messages.delete");
const REACT: Operation = Operation::write("messages.react");
const PIN: Operation = Operation::write("messages.pin");
const PINNED: Operation = Operation::read("messages.pinned");
const SEARCH: Operation = Operation::read("messages.search");
const PURGE: Operation = Operation::write("messages.purge");

/// The messages of a conversation in order; and that a place is given once.
pub(crate) const PLACE: Index =
    Index { name: "place", keys: &[("conversationId", 1), ("seq", 1)], unique: true, partial: &[] };
/// That a client key is used once, and by what.
const CLIENT_KEY: Index = Index {
    name: "client_key",
    keys: &[("conversationId", 1), ("senderId", 1), ("clientKey", 1)],
    unique: true,
    partial: &["clientKey"],
};
/// What is shown in the conversation itself, in order.
const MAIN: Index =
    Index { name: "main", keys: &[("conversationId", 1), ("main", 1)], unique: false, partial: &["main"] };
/// The replies of a thread, in order.
const THREAD: Index = Index {
    name: "thread",
    keys: &[("conversationId", 1), ("thread.root", 1), ("seq", 1)],
    unique: false,
    partial: &["thread.root"],
};
/// Messages by a word, newest first; and those not deleted, oldest first.
const TERMS: Index = Index {
    name: "terms",
    keys: &[("conversationId", 1), ("terms", 1), ("createdAt", -1), ("seq", -1)],
    unique: false,
    partial: &[],
};
/// What a user does not see of a conversation, in order.
const HIDDEN_PLACE: Index = Index {
    name: "place",
    keys: &[("_id.user", 1), ("conversationId", 1), ("seq", 1)],
    unique: false,
    partial: &[],
};

pub(crate) const SCHEMA: Schema = Schema {
    name: MESSAGES,
    fields: &[
        ("conversationId", &["string"]),
        ("seq", &["long"]),
        ("createdAt", &["date"]),
        ("version", &["long"]),
        ("stamp", &["long"]),
    ],
    indexes: &[PLACE, CLIENT_KEY, MAIN, THREAD, TERMS, SENDER, UNCOUNTED, MENTIONED, DUE, BY_EVENT],
};

pub(crate) const HIDDEN_SCHEMA: Schema = Schema {
    name: HIDDEN,
    fields: &[("conversationId", &["string"]), ("seq", &["long"])],
    indexes: &[HIDDEN_PLACE],
};

pub(crate) const PINS_SCHEMA: Schema = Schema { name: PINS, fields: &[("pins", &["array"])], indexes: &[] };

/// What was said, in MongoDB. Clones are the same store.
#[derive(Debug, Clone)]
pub struct MongoMessages {
    db: Db,
    /// Who waits to append, and where the next message goes; kind of state: **derived**.
    lanes: Arc<Lanes>,
    group: Arc<Group>,
    turns: Arc<Turns>,
}

impl MongoMessages {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, lanes: Arc::default(), group: Arc::default(), turns: Arc::default() }
    }

    fn messages(&self) -> Collection<Document> {
        self.db.collection(MESSAGES)
    }

    fn hidden(&self) -> Collection<Document> {
        self.db.collection(HIDDEN)
    }

    /// Decodes a message, and takes notice of its stamp.
    fn stored(&self, document: Document) -> Result<Stored, Trouble> {
        let stored = Stored::of(document)?;
        self.db.see(stored.stamp);
        Ok(stored)
    }

    fn message(&self, document: Document) -> Result<Message, Trouble> {
        Ok(self.stored(document)?.message)
    }

    /// Messages by id; of one that is not there, nothing.
    async fn by_id(&self, ids: &[&MessageId]) -> Result<HashMap<MessageId, Message>, Trouble> {
        let these = doc! { "_id": { "$in": ids.iter().map(|id| id.as_str()).collect::<Vec<_>>() } };
        let messages = self.messages();
        let found = messages.find(these).projection(shown());
        let documents: Vec<Document> = found.await?.try_collect().await?;
        let message = |document| {
            let message = self.message(document)?;
            Ok((message.id.clone(), message))
        };
        documents.into_iter().map(message).collect()
    }

    /// Which of these messages a user has deleted for itself.
    async fn hidden_ids(&self, user: &UserId, ids: &[&MessageId]) -> Result<HashSet<String>, Trouble> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let id = |id: &&MessageId| Bson::Document(hidden_id(user, id));
        let these = doc! { "_id": { "$in": ids.iter().map(id).collect::<Vec<_>>() } };
        let hidden = self.hidden();
        let found = hidden.find(these).projection(doc! { "_id": 1 });
        let documents: Vec<Document> = found.await?.try_collect().await?;
        let id = |document: Document| {
            document.get_document("_id").and_then(|id| id.get_str("message")).map(str::to_owned).ok()
        };
        Ok(documents.into_iter().filter_map(id).collect())
    }
}

/// The fields a message is read from: all but what it is found by and what waits in it.
fn shown() -> Document {
    doc! { "terms": 0, "outbox": 0, "due": 0 }
}

fn hidden_id(user: &UserId, message: &MessageId) -> Document {
    doc! { "user": user.as_str(), "message": message.as_str() }
}

/// A query of an index.
fn find<'a>(collection: &'a Collection<Document>, filter: Document, index: &Index) -> Find<'a, Document> {
    collection.find(filter).hint(Hint::Name(index.name.to_owned()))
}

#[async_trait]
impl MessageStore for MongoMessages {
    async fn append_many(&self, messages: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        if messages.iter().all(|new| limits::check_new(new).is_ok()) {
            return self.append(messages).await;
        }
        let checked: Vec<_> = messages.iter().map(limits::check_new).collect();
        let fit = messages.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let fit: Vec<_> = fit.map(|(new, _)| new.clone()).collect();
        let mut answers = self.append(&fit).await?.into_iter();
        let lost = || Err(Code::Internal.into());
        let answer = |checked: Result<()>| checked.and_then(|()| answers.next().unwrap_or_else(lost));
        Ok(checked.into_iter().map(answer).collect())
    }

    async fn get_many(&self, messages: &[MessageId]) -> Result<Vec<Option<Message>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = messages.iter().collect();
        let found = self.db.run(GET, self.by_id(&ids)).await?;
        Ok(messages.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn hidden_many(&self, user: &UserId, messages: &[MessageId]) -> Result<Vec<bool>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = messages.iter().collect();
        let hidden = self.db.run(HIDDEN_MANY, self.hidden_ids(user, &ids)).await?;
        Ok(messages.iter().map(|id| hidden.contains(id.as_str())).collect())
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History> {
        check_limit(query.limit, MAX_HISTORY)?;
        self.db.run(HISTORY, self.page(query)).await
    }

    async fn heads(&self, viewer: Option<&UserId>, conversations: &[ConversationId]) -> Result<Vec<Head>> {
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        self.db.run(HEADS, self.newest(viewer, conversations)).await
    }

    async fn edit(&self, edit: &Edit) -> Result<MessageChanged> {
        limits::check_edit(edit)?;
        self.change(EDIT, &edit.message, |message, now| rules::edit(message, edit, now)).await
    }

    async fn delete(&self, message: &MessageId, by: &UserId, whom: DeleteType) -> Result<MessageChanged> {
        match whom {
            DeleteType::ForEveryone => self.delete_for_everyone(message, by).await,
            DeleteType::ForMe => self.hide(message, by).await,
        }
    }

    async fn react(
        &self,
        message: &MessageId,
        user: &UserId,
        emoji: &str,
        on: bool,
    ) -> Result<MessageChanged> {
        let react = |message: &mut Message, _| {
            let event = rules::react(message, user, emoji, on)?;
            if on {
                limits::check_reactions(message)?;
            }
            Ok(event)
        };
        self.change(REACT, message, react).await
    }

    async fn pin(
        &self,
        message: &MessageId,
        by: &UserId,
        on: bool,
        until: Option<Timestamp>,
    ) -> Result<MessageChanged> {
        if on {
            return self.put_up(message, by, until).await;
        }
        self.change(PIN, message, |message, now| rules::pin(message, by, false, None, 0, now)).await
    }

    async fn pinned(&self, conversation: &ConversationId) -> Result<Vec<Message>> {
        self.db.run(PINNED, self.standing(conversation)).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<Paged<Hit, SearchCursor>> {
        check_limit(query.limit, MAX_HITS)?;
        self.db.run(SEARCH, self.hits(query)).await
    }

    async fn purge(&self, purge: &Purge) -> Result<Paged<Seq, Seq>> {
        check_limit(purge.limit, MAX_PURGE)?;
        self.remove_old(purge).await
    }
}
