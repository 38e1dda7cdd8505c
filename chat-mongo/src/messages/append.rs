//! Appending: many writers of one node make one write, those of one conversation and those of several.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chat_core::clock::Timestamp;
use chat_core::domain::message::NewMessage;
use chat_core::domain::{ClientKey, ConversationId, Message, MessageId, Seq, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, MessageSent};
use chat_core::store::change as rules;
use chat_core::store::messages::Appended;
use futures::TryStreamExt;
use futures::future::{join_all, try_join, try_join3};
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::{ClientSession, Collection};
use tokio::sync::oneshot;

use super::group::Unwritten;
use super::lane::{Hint, Tail, Waiting};
use super::turn::in_turn;
use super::{APPEND, CLIENT_KEY, MESSAGES, MongoMessages, PLACE, find, record, shown};
use crate::error::{Trouble, code, corrupt, error, is_duplicate, is_transient};
use crate::operation::Operation;
use crate::outbox;
use crate::record::{date, seq, timestamp};
use crate::transaction::Pause;

/// One write of a lane.
const WRITE: Operation = Operation::write("messages.append");

/// How often a write may be refused for what nobody sees. The pauses between add up to more than a second.
const MAX_STALLED: usize = 30;

/// What the server calls two of what there can be one of, and two writers of one document.
const DUPLICATE: i32 = 11_000;
const CONFLICT: i32 = 112;

/// Messages of one conversation that are being written.
struct Batch<'a> {
    store: &'a MongoMessages,
    conversation: &'a ConversationId,
    waiting: Vec<Waiting>,
    hint: Hint,
    /// Some of them may be there: look before writing.
    look: bool,
}

/// A client key, and whose.
type Key = (Option<UserId>, ClientKey);

/// What is known of what a batch refers to.
struct Known {
    by_id: HashMap<MessageId, Message>,
    by_key: HashMap<Key, Message>,
    /// Messages that these hang on, and whether those are in a thread.
    references: HashMap<String, bool>,
}

/// Messages that go in together: the first of those who wait.
struct Round {
    messages: Vec<Message>,
    documents: Vec<RawDocumentBuf>,
    /// The stamp of the last one.
    stamp: i64,
}

/// How far a write came.
enum Came {
    Through,
    /// So many are there, and the next one is not: another message has its place, its key or its id.
    Short(usize),
    /// So many are there, and the one at a place behind them is refused for good.
    Refused(usize, usize, Trouble),
}

/// Frees a lane whose writer is stopped in the middle.
struct Driving {
    store: MongoMessages,
    conversation: ConversationId,
    done: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if !self.done {
            self.store.lanes.abandon(&self.conversation);
        }
    }
}

impl MongoMessages {
    pub(super) async fn append(&self, messages: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.db.run(APPEND, async { Ok(join_all(self.enter(messages)).await) }).await?;
        let lost = || Error::new(Code::Internal).during(WRITE.name).effect_unknown();
        let mut answers: Vec<_> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|_| Err(lost()))).collect();
        let is_outage = |answer: &Result<_>| answer.as_ref().is_err_and(Error::is_transient);
        match answers.iter().all(is_outage).then(|| answers.pop()).flatten() {
            Some(Err(outage)) => Err(outage.during(APPEND.name)),
            _ => Ok(answers),
        }
    }

    /// Queues messages up where they belong. What was refused is answered already.
    fn enter(&self, messages: &[NewMessage]) -> Vec<oneshot::Receiver<Result<Appended>>> {
        let mut lanes: BTreeMap<&ConversationId, Vec<Waiting>> = BTreeMap::new();
        let mut answers = Vec::with_capacity(messages.len());
        for new in messages {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            let waiting = Waiting { new: new.clone(), answer };
            match new.draft.check() {
                Ok(()) => lanes.entry(&new.conversation_id).or_default().push(waiting),
                Err(error) => waiting.answer(Err(error)),
            }
        }
        for (conversation, waiting) in lanes {
            if self.lanes.push(conversation, waiting) {
                let (store, conversation) = (self.clone(), conversation.clone());
                // A caller that goes away does not take the others with it.
                tokio::spawn(Driving { store, conversation, done: false }.drive());
            }
        }
        answers
    }

    /// Where the next message goes.
    async fn tail(&self, conversation: &ConversationId) -> Result<Tail, Trouble> {
        let messages = self.messages();
        let newest = find(&messages, doc! { "conversationId": conversation.as_str() }, &PLACE);
        let newest = newest.sort(doc! { "seq": -1 }).limit(1);
        let mut newest = newest.projection(doc! { "seq": 1, "stamp": 1, "createdAt": 1 }).await?;
        let Some(newest) = newest.try_next().await? else {
            return Ok(Tail { seq: Seq::ZERO, stamp: 0, at: Timestamp::from_millis(0) });
        };
        Ok(Tail {
            seq: seq(newest.get_i64("seq").map_err(|_| corrupt("seq"))?),
            stamp: newest.get_i64("stamp").map_err(|_| corrupt("stamp"))?,
            at: timestamp(*newest.get_datetime("createdAt").map_err(|_| corrupt("createdAt"))?),
        })
    }
}

impl Driving {
    async fn drive(mut self) {
        let (store, conversation) = (&self.store, &self.conversation);
        while let Some((waiting, hint)) = store.lanes.next(conversation) {
            // What is refused for what it hangs on is refused only after it is no repeat.
            let look = waiting.iter().any(|waiting| references(&waiting.new).next().is_some());
            let mut batch = Batch { store, conversation, waiting, hint, look };
            if let Err(error) = store.db.run(WRITE, batch.settle()).await {
                let error = Arc::new(error);
                batch.hint.tail = None;
                for waiting in batch.waiting.drain(..) {
                    waiting.answer(Err(error.again()));
                }
            }
            store.lanes.learn(conversation, batch.hint);
        }
        self.done = true;
    }
}

impl Batch<'_> {
    /// Writes until everybody has an answer.
    async fn settle(&mut self) -> Result<(), Trouble> {
        let mut pause = Pause::default();
        let (mut stalled, mut seen) = (0, None);
        while !self.waiting.is_empty() {
            let (known, tail) = self.prepare().await?;
            self.hint.shared &= self.hint.tail != Some(tail);
            let mut round = self.round(&known, tail)?;
            let Some(last) = round.messages.last() else { continue };
            let last = (last.seq, last.created_at);
            match self.write(&mut round).await? {
                Came::Through => {
                    self.hint.tail = Some(Tail { seq: last.0, stamp: round.stamp, at: last.1 });
                    self.stored(round.messages);
                }
                Came::Short(count) => {
                    self.hint = Hint { tail: None, shared: true };
                    self.look = true;
                    self.stored(round.messages.into_iter().take(count));
                    // Whoever is in the way is seen sooner or later.
                    stalled = if count == 0 && seen == Some(tail) { stalled + 1 } else { 0 };
                    seen = Some(tail);
                    if stalled > MAX_STALLED {
                        return Err(Error::new(Code::Unavailable)
                            .with("reason", "a place is taken by nobody")
                            .into());
                    }
                    if count == 0 {
                        pause.wait().await;
                    }
                }
                Came::Refused(count, place, trouble) => {
                    self.hint.tail = None;
                    self.look = true;
                    self.waiting.remove(place).answer(Err(error(WRITE, trouble)));
                    self.stored(round.messages.into_iter().take(count));
                }
            }
        }
        Ok(())
    }

    /// Answers the first of those who wait: their messages are there.
    fn stored(&mut self, messages: impl IntoIterator<Item = Message>) {
        let mut rest = std::mem::take(&mut self.waiting).into_iter();
        for message in messages {
            if let Some(waiting) = rest.next() {
                waiting.answer(Ok(Appended { message, duplicate: false }));
            }
        }
        self.waiting = rest.collect();
    }

    /// What has to be known before writing, all at once.
    async fn prepare(&self) -> Result<(Known, Tail), Trouble> {
        let tail = async {
            match self.hint.tail {
                Some(tail) if !self.hint.shared && !self.look => Ok(tail),
                _ => self.store.tail(self.conversation).await,
            }
        };
        let (tail, (by_id, by_key), references) = try_join3(tail, self.repeated(), self.references()).await?;
        Ok((Known { by_id, by_key, references }, tail))
    }

    /// The messages that are there already, if there may be any.
    async fn repeated(&self) -> Result<(HashMap<MessageId, Message>, HashMap<Key, Message>), Trouble> {
        if !self.look {
            return Ok(Default::default());
        }
        let ids: Vec<_> = self.waiting.iter().map(|waiting| &waiting.new.id).collect();
        let by_key = async {
            let keys: HashSet<_> = self.waiting.iter().filter_map(|waiting| key(&waiting.new)).collect();
            if keys.is_empty() {
                return Ok(HashMap::new());
            }
            let senders: HashSet<_> =
                keys.iter().map(|(sender, _)| sender.as_ref().map(UserId::as_str)).collect();
            let names: HashSet<_> = keys.iter().map(|(_, name)| name.as_str()).collect();
            let these = doc! {
                "conversationId": self.conversation.as_str(),
                "senderId": { "$in": senders.into_iter().collect::<Vec<_>>() },
                "clientKey": { "$in": names.into_iter().collect::<Vec<_>>() },
            };
            let messages = self.store.messages();
            let found = find(&messages, these, &CLIENT_KEY).projection(shown());
            let documents: Vec<Document> = found.await?.try_collect().await?;
            let mut found = HashMap::new();
            for document in documents {
                let message = self.store.message(document)?;
                if let Some(name) = message.client_key.clone() {
                    found.insert((message.sender_id.clone(), name), message);
                }
            }
            Ok(found)
        };
        try_join(self.store.by_id(&ids), by_key).await
    }

    /// What the messages hang on, as far as it is in the conversation; and whether that is in a thread.
    async fn references(&self) -> Result<HashMap<String, bool>, Trouble> {
        let wanted: HashSet<_> = self.waiting.iter().flat_map(|waiting| references(&waiting.new)).collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted: Vec<_> = wanted.into_iter().map(|(id, _)| id.as_str()).collect();
        let these = doc! { "_id": { "$in": wanted }, "conversationId": self.conversation.as_str() };
        let messages = self.store.messages();
        let found = messages.find(these).projection(doc! { "thread.root": 1 });
        let documents: Vec<Document> = found.await?.try_collect().await?;
        let reference = |document: Document| {
            let id = document.get_str("_id").map_err(|_| corrupt("_id"))?;
            Ok((id.to_owned(), document.get_document("thread").is_ok()))
        };
        documents.into_iter().map(reference).collect()
    }

    /// Puts those who can be written now before those who cannot, and answers the others.
    fn round(&mut self, known: &Known, tail: Tail) -> Result<Round, Trouble> {
        let (mut chosen, mut later) = (Vec::new(), Vec::new());
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        let mut is_held = false;
        for waiting in std::mem::take(&mut self.waiting) {
            if is_held {
                later.push(waiting);
                continue;
            }
            let (id, key) = (waiting.new.id.clone(), key(&waiting.new));
            let by_key = key.as_ref().and_then(|key| known.by_key.get(key));
            match rules::known(&waiting.new, by_key, known.by_id.get(&id)) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    let message = message.clone();
                    waiting.answer(Ok(Appended { message, duplicate: true }));
                    continue;
                }
                Err(error) => {
                    waiting.answer(Err(error));
                    continue;
                }
            }
            if ids.contains(&id) || key.as_ref().is_some_and(|key| keys.contains(key)) {
                later.push(waiting);
                continue;
            }
            match known.allows(&waiting.new, &ids) {
                Ok(true) => {}
                Ok(false) => {
                    // What it hangs on goes in before, and nothing overtakes it.
                    is_held = true;
                    later.push(waiting);
                    continue;
                }
                Err(error) => {
                    waiting.answer(Err(error));
                    continue;
                }
            }
            ids.insert(id);
            keys.extend(key);
            chosen.push(waiting);
        }
        self.look |= !later.is_empty();
        let round = self.compose(&chosen, tail);
        chosen.append(&mut later);
        self.waiting = chosen;
        round
    }

    /// The messages as they will be stored, with their events.
    fn compose(&self, chosen: &[Waiting], tail: Tail) -> Result<Round, Trouble> {
        let db = &self.store.db;
        let now = db.now().max(tail.at);
        let first = db.stamps(tail.stamp, i64::try_from(chosen.len()).unwrap_or(i64::MAX));
        let (mut messages, mut documents) = (Vec::new(), Vec::new());
        let (mut last, mut last_stamp) = (tail.seq, tail.stamp);
        for (waiting, stamp) in chosen.iter().zip(first..) {
            (last, last_stamp) = (last.next(), stamp);
            let message = waiting.new.stored(last, now);
            let event = Envelope::new(&[message.id.as_str()], now, MessageSent::from(&message));
            let mut document = record::document(&message)?;
            document.insert("version", 0_i64);
            document.insert("stamp", stamp);
            outbox::put(&mut document, &[event], stamp);
            messages.push(message);
            documents.push(RawDocumentBuf::try_from(&document)?);
        }
        Ok(Round { messages, documents, stamp: last_stamp })
    }

    async fn write(&self, round: &mut Round) -> Result<Came, Trouble> {
        let has_replies = round.messages.iter().any(|message| message.thread.is_some());
        let into = self.store.db.database().collection(MESSAGES);
        let written = if has_replies {
            match in_turn!(self.store, self.conversation.as_str(), |session| self
                .write_replies(&into, session, round))
            {
                Err(Trouble::Said(said)) => Err(Unwritten::from(said)),
                Err(trouble) => return Err(trouble),
                Ok(()) => Ok(()),
            }
        } else if self.look || self.hint.shared {
            // It may well be refused, which would hold others up.
            into.insert_many(&round.documents).await.map(drop).map_err(Unwritten::from)
        } else {
            self.store.group.insert(&into, std::mem::take(&mut round.documents)).await
        };
        written.map_or_else(|unwritten| came(unwritten, has_replies), |()| Ok(Came::Through))
    }

    /// Replies count in their roots, all or none.
    async fn write_replies(
        &self,
        into: &Collection<RawDocumentBuf>,
        session: &mut ClientSession,
        round: &Round,
    ) -> Result<(), Trouble> {
        into.insert_many(&round.documents).session(&mut *session).await?;
        let messages = self.store.messages();
        let mut roots: BTreeMap<&str, (i64, DateTime)> = BTreeMap::new();
        for message in &round.messages {
            if let Some(thread) = &message.thread {
                let root = roots.entry(thread.root.as_str()).or_insert((0, date(message.created_at)));
                root.0 += 1;
            }
        }
        for (root, (count, at)) in roots {
            let counted = doc! {
                "$inc": { "replies.replies": count, "version": 1_i64 },
                "$set": { "replies.lastReplyAt": at },
            };
            messages.update_one(doc! { "_id": root }, counted).session(&mut *session).await?;
        }
        Ok(())
    }
}

impl Known {
    /// Whether what a message hangs on is there; not yet, when that is written first.
    ///
    /// # Errors
    /// [`Code::MessageNotFound`], [`Code::MessageInvalid`].
    fn allows(&self, new: &NewMessage, written: &HashSet<MessageId>) -> Result<bool> {
        for (id, is_root) in references(new) {
            match self.references.get(id.as_str()) {
                Some(is_in_thread) => rules::check_root(is_root && *is_in_thread)?,
                None if written.contains(id) => return Ok(false),
                None => return Err(Code::MessageNotFound.into()),
            }
        }
        Ok(true)
    }
}

/// What a message hangs on, and whether as the root of its thread.
fn references(new: &NewMessage) -> impl Iterator<Item = (&MessageId, bool)> {
    let root = new.draft.thread.as_ref().map(|thread| (&thread.root, true));
    new.draft.reply_to.as_ref().map(|quoted| (quoted, false)).into_iter().chain(root)
}

fn key(new: &NewMessage) -> Option<Key> {
    new.client_key.clone().map(|name| (new.sender_id.clone(), name))
}

/// How far a write came, by what was said of it.
///
/// # Errors
/// What says nothing of single messages.
fn came(unwritten: Unwritten, all_or_none: bool) -> Result<Came, Trouble> {
    match unwritten {
        Unwritten::Refused(place, said) => {
            let stored = if all_or_none { 0 } else { place };
            Ok(match code(&said) {
                Some(DUPLICATE | CONFLICT) => Came::Short(stored),
                _ => Came::Refused(stored, place, said.into()),
            })
        }
        Unwritten::Failed(said) => {
            let of_some = matches!(said.kind.as_ref(), ErrorKind::InsertMany(_));
            let in_the_way = !of_some && (is_duplicate(&said) || is_transient(&said));
            if in_the_way { Ok(Came::Short(0)) } else { Err(said.into()) }
        }
        Unwritten::Lost => Err(Error::new(Code::Internal).effect_unknown().into()),
    }
}
