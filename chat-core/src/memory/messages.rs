//! [`MessageStore`] in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use parking_lot::Mutex;

use super::MemoryOutbox;
use crate::clock::{Clock, Timestamp};
use crate::domain::message::NewMessage;
use crate::domain::page::{Paged, check_limit};
use crate::domain::text::{self, Query};
use crate::domain::{ClientKey, ConversationId, Message, MessageId, Receipts, Seq, UserId};
use crate::error::{Code, Error, Result};
use crate::event::{DeleteType, Event, MessageSent};
use crate::store::messages::{
    Anchor, Appended, Edit, Head, History, HistoryQuery, HistoryScope, Hit, MAX_HISTORY, MAX_HITS, MAX_PURGE,
    MessageChanged, Purge, SearchCursor, SearchQuery,
};
use crate::store::{MessageStore, change};

/// What was said, in memory: one log per conversation, each behind its own lock.
#[derive(Debug)]
pub struct MemoryMessages {
    clock: Arc<dyn Clock>,
    outbox: Arc<MemoryOutbox>,
    logs: DashMap<ConversationId, Arc<Mutex<Log>>>,
    places: DashMap<MessageId, (ConversationId, Seq)>,
}

/// One conversation. The message with `Seq(n)` is at index `n - 1`: nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) messages: Vec<Message>,
    keys: HashMap<(Option<UserId>, ClientKey), Seq>,
    threads: HashMap<MessageId, Thread>,
    hidden: HashMap<UserId, HashSet<Seq>>,
    words: BTreeMap<String, BTreeSet<Seq>>,
    pins: BTreeSet<Seq>,
    pub(super) receipts: BTreeMap<UserId, Receipts>,
}

/// The replies to one message, in order.
#[derive(Debug)]
struct Thread {
    root: Seq,
    replies: Vec<Seq>,
}

impl Log {
    pub(super) fn head(&self) -> Seq {
        Seq(self.messages.len() as u64)
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Message> {
        self.messages.get(index(seq)?)
    }

    fn get_mut(&mut self, seq: Seq) -> Option<&mut Message> {
        self.messages.get_mut(index(seq)?)
    }

    /// The messages after one place up to another.
    pub(super) fn between(&self, after: Seq, to: Seq) -> &[Message] {
        let end = usize::try_from(to.0).unwrap_or(usize::MAX).min(self.messages.len());
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(end);
        self.messages.get(start..end).unwrap_or_default()
    }

    fn is_hidden(&self, viewer: Option<&UserId>, seq: Seq) -> bool {
        viewer.and_then(|user| self.hidden.get(user)).is_some_and(|hidden| hidden.contains(&seq))
    }

    /// The messages a query shows, after one place up to another.
    fn visible<'a>(
        &'a self,
        query: &'a HistoryQuery,
        after: Seq,
        to: Seq,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a Message> + 'a> {
        let shown = move |message: &&Message| {
            let in_scope = match (&query.scope, &message.thread) {
                (HistoryScope::Main, Some(place)) => place.also_in_conversation,
                _ => true,
            };
            in_scope && !self.is_hidden(query.viewer.as_ref(), message.seq)
        };
        match &query.scope {
            HistoryScope::Thread(root) => {
                let replies =
                    self.threads.get(root).map(|thread| thread.replies.as_slice()).unwrap_or_default();
                let start = replies.partition_point(|seq| *seq <= after);
                let end = replies.partition_point(|seq| *seq <= to).max(start);
                let replies = replies.get(start..end).unwrap_or_default();
                Box::new(replies.iter().filter_map(|seq| self.get(*seq)).filter(shown))
            }
            HistoryScope::Everything | HistoryScope::Main => {
                Box::new(self.between(after, to).iter().filter(shown))
            }
        }
    }

    fn index_words(&mut self, seq: Seq, content: &str, there: bool) {
        for word in text::words(content) {
            if there {
                self.words.entry(word).or_default().insert(seq);
            } else if let Some(places) = self.words.get_mut(&word) {
                places.remove(&seq);
                if places.is_empty() {
                    self.words.remove(&word);
                }
            }
        }
    }

    /// The places of all terms, the last of which is the beginning of a word.
    fn find(&self, query: &Query) -> BTreeSet<Seq> {
        let Some((last, whole)) = query.terms().split_last() else { return BTreeSet::new() };
        let mut found: BTreeSet<Seq> = self
            .words
            .range::<str, _>((Bound::Included(last.as_str()), Bound::Unbounded))
            .take_while(|(word, _)| word.starts_with(last.as_str()))
            .flat_map(|(_, places)| places.iter().copied())
            .collect();
        for term in whole {
            let Some(places) = self.words.get(term) else { return BTreeSet::new() };
            found.retain(|seq| places.contains(seq));
        }
        found
    }

    /// Counts a new reply in its thread.
    fn add_reply(&mut self, root: Seq, reply: &Message) {
        let Some(message) = self.get_mut(root) else { return };
        message.replies.replies += 1;
        message.replies.last_reply_at = Some(reply.created_at);
        let id = message.id.clone();
        self.threads.entry(id).or_insert(Thread { root, replies: Vec::new() }).replies.push(reply.seq);
    }

    /// Takes a deleted reply out of the count of its thread.
    fn remove_reply(&mut self, reply: &Message) {
        let Some(thread) = reply.thread.as_ref().and_then(|place| self.threads.get(&place.root)) else {
            return;
        };
        let live = |seq: &Seq| self.get(*seq).filter(|message| message.deleted.is_none());
        let last = thread.replies.iter().rev().find_map(live).map(|message| message.created_at);
        let root = thread.root;
        if let Some(message) = self.get_mut(root) {
            message.replies.replies = message.replies.replies.saturating_sub(1);
            message.replies.last_reply_at = last;
        }
    }
}

fn index(seq: Seq) -> Option<usize> {
    usize::try_from(seq.0).ok()?.checked_sub(1)
}

impl MemoryMessages {
    /// Nothing said yet.
    pub fn new(clock: Arc<dyn Clock>, outbox: Arc<MemoryOutbox>) -> Self {
        Self { clock, outbox, logs: DashMap::new(), places: DashMap::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn outbox(&self) -> &MemoryOutbox {
        &self.outbox
    }

    pub(super) fn log(&self, conversation: &ConversationId) -> Option<Arc<Mutex<Log>>> {
        self.logs.get(conversation).map(|log| Arc::clone(&log))
    }

    pub(super) fn log_or_new(&self, conversation: &ConversationId) -> Arc<Mutex<Log>> {
        Arc::clone(&self.logs.entry(conversation.clone()).or_default())
    }

    fn place(&self, message: &MessageId) -> Option<(Arc<Mutex<Log>>, Seq)> {
        let (conversation, seq) = self.places.get(message)?.clone();
        Some((self.log(&conversation)?, seq))
    }

    fn append(&self, new: &NewMessage) -> Result<Appended> {
        new.draft.check()?;
        let log = self.log_or_new(&new.conversation_id);
        let mut log = log.lock();
        if let Some(known) = self.known(&log, new)? {
            return Ok(Appended { message: known, duplicate: true });
        }
        let root = self.check_references(&log, new)?;
        let message = new.stored(log.head().next(), self.clock.now());
        match self.places.entry(message.id.clone()) {
            Entry::Vacant(place) => place.insert((message.conversation_id.clone(), message.seq)),
            // Stored meanwhile, in another conversation.
            Entry::Occupied(_) => return Err(Code::Conflict.into()),
        };
        log.messages.push(message.clone());
        if let Some(key) = &message.client_key {
            log.keys.insert((message.sender_id.clone(), key.clone()), message.seq);
        }
        if let Some(root) = root {
            log.add_reply(root, &message);
        }
        if let Some(sender) = &message.sender_id {
            log.receipts.entry(sender.clone()).or_default().own = message.seq;
        }
        log.index_words(message.seq, &message.content, true);
        self.outbox.write(&[message.id.as_str()], message.created_at, MessageSent::from(&message));
        Ok(Appended { message, duplicate: false })
    }

    /// The message this is a repeat of: by client key, or by id.
    fn known(&self, log: &Log, new: &NewMessage) -> Result<Option<Message>> {
        let key = new.client_key.as_ref().and_then(|key| log.keys.get(&(new.sender_id.clone(), key.clone())));
        let by_key = key.and_then(|seq| log.get(*seq));
        let Some(place) = self.places.get(&new.id) else {
            return Ok(change::known(new, by_key, None)?.cloned());
        };
        let by_id = log.get(place.1).filter(|_| place.0 == new.conversation_id);
        if by_key.is_none() && by_id.is_none() {
            return Err(Code::Conflict.into());
        }
        Ok(change::known(new, by_key, by_id)?.cloned())
    }

    /// Finds what a message hangs on, and answers the root of its thread.
    fn check_references(&self, log: &Log, new: &NewMessage) -> Result<Option<Seq>> {
        let here = |id: &MessageId| {
            let place = self.places.get(id).filter(|place| place.0 == new.conversation_id);
            place.map(|place| place.1).ok_or_else(|| Error::new(Code::MessageNotFound))
        };
        if let Some(quoted) = &new.draft.reply_to {
            here(quoted)?;
        }
        let Some(place) = &new.draft.thread else { return Ok(None) };
        let root = here(&place.root)?;
        change::check_root(log.get(root).is_some_and(|message| message.thread.is_some()))?;
        Ok(Some(root))
    }

    /// Changes one message under its log's lock. `change` answers the event when it changed anything.
    fn change(
        &self,
        id: &MessageId,
        change: impl FnOnce(&mut Log, Seq, Timestamp) -> Result<Option<Event>>,
    ) -> Result<MessageChanged> {
        let (log, seq) = self.place(id).ok_or_else(|| Error::new(Code::MessageNotFound))?;
        let mut log = log.lock();
        let now = self.clock.now();
        let event = change(&mut log, seq, now)?;
        let changed = event.is_some();
        if let Some(event) = event {
            self.outbox.write_change(id.as_str(), now, event);
        }
        let message = log.get(seq).cloned().ok_or_else(|| Error::new(Code::MessageNotFound))?;
        Ok(MessageChanged { message, changed })
    }

    fn tombstone(log: &mut Log, seq: Seq, by: Option<&UserId>, now: Timestamp) -> Option<Event> {
        let message = log.get_mut(seq)?;
        let content = message.content.clone();
        let event = change::delete(message, by, now)?;
        let gone = message.clone();
        log.index_words(seq, &content, false);
        log.pins.remove(&seq);
        log.remove_reply(&gone);
        Some(event)
    }
}

fn there(log: &mut Log, seq: Seq) -> Result<&mut Message> {
    log.get_mut(seq).ok_or_else(|| Error::new(Code::MessageNotFound))
}

#[async_trait]
impl MessageStore for MemoryMessages {
    async fn append_many(&self, messages: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        Ok(messages.iter().map(|new| self.append(new)).collect())
    }

    async fn get_many(&self, messages: &[MessageId]) -> Result<Vec<Option<Message>>> {
        let get = |id| self.place(id).and_then(|(log, seq)| log.lock().get(seq).cloned());
        Ok(messages.iter().map(get).collect())
    }

    async fn hidden_many(&self, user: &UserId, messages: &[MessageId]) -> Result<Vec<bool>> {
        let hidden = |id| self.place(id).is_some_and(|(log, seq)| log.lock().is_hidden(Some(user), seq));
        Ok(messages.iter().map(hidden).collect())
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History> {
        check_limit(query.limit, MAX_HISTORY)?;
        let Some(log) = self.log(&query.conversation) else { return Ok(History::default()) };
        let log = log.lock();
        let (limit, head) = (query.limit, log.head());
        let mut messages = Vec::with_capacity(limit);
        let (before, after) = match query.anchor {
            Anchor::Latest => (Some((head, limit)), None),
            Anchor::Before(seq) => (Some((seq.previous(), limit)), None),
            Anchor::After(seq) => (None, Some((seq, limit))),
            Anchor::Around(seq) => {
                (Some((seq.previous(), limit / 2)), Some((seq.previous(), limit - limit / 2)))
            }
        };
        if let Some((to, count)) = before {
            messages.extend(log.visible(query, Seq::ZERO, to).rev().take(count).cloned());
            messages.reverse();
        }
        if let Some((from, count)) = after {
            messages.extend(log.visible(query, from, head).take(count).cloned());
        }
        let edge = match query.anchor {
            Anchor::Latest => head,
            Anchor::Before(seq) | Anchor::Around(seq) => seq.previous(),
            Anchor::After(seq) => seq,
        };
        let first = messages.first().map_or(edge, |message: &Message| message.seq.previous());
        let last = messages.last().map_or(edge, |message| message.seq);
        let more_before = log.visible(query, Seq::ZERO, first).next().is_some();
        let more_after = log.visible(query, last, head).next().is_some();
        Ok(History { messages, more_before, more_after })
    }

    async fn heads(&self, viewer: Option<&UserId>, conversations: &[ConversationId]) -> Result<Vec<Head>> {
        let head = |conversation| {
            let Some(log) = self.log(conversation) else { return Head::default() };
            let log = log.lock();
            let message = log.messages.iter().rev().find(|message| !log.is_hidden(viewer, message.seq));
            Head { seq: log.head(), message: message.cloned() }
        };
        Ok(conversations.iter().map(head).collect())
    }

    async fn edit(&self, edit: &Edit) -> Result<MessageChanged> {
        self.change(&edit.message, |log, seq, now| {
            let message = there(log, seq)?;
            let old = message.content.clone();
            let event = change::edit(message, edit, now)?;
            if event.is_some() {
                log.index_words(seq, &old, false);
                log.index_words(seq, &edit.content, true);
            }
            Ok(event)
        })
    }

    async fn delete(&self, message: &MessageId, by: &UserId, whom: DeleteType) -> Result<MessageChanged> {
        self.change(message, |log, seq, now| match whom {
            DeleteType::ForEveryone => Ok(Self::tombstone(log, seq, Some(by), now)),
            DeleteType::ForMe => {
                let hidden = log.hidden.entry(by.clone()).or_default().insert(seq);
                Ok(log
                    .get(seq)
                    .filter(|_| hidden)
                    .map(|message| change::deleted(message, Some(by), whom, now)))
            }
        })
    }

    async fn react(
        &self,
        message: &MessageId,
        user: &UserId,
        emoji: &str,
        on: bool,
    ) -> Result<MessageChanged> {
        self.change(message, |log, seq, _| change::react(there(log, seq)?, user, emoji, on))
    }

    async fn pin(
        &self,
        message: &MessageId,
        by: &UserId,
        on: bool,
        until: Option<Timestamp>,
    ) -> Result<MessageChanged> {
        self.change(message, |log, seq, now| {
            let standing =
                log.pins.iter().filter_map(|seq| log.get(*seq)).filter(|m| m.is_pinned(now)).count();
            let message = there(log, seq)?;
            let event = change::pin(message, by, on, until, standing, now)?;
            if message.pin.is_some() {
                log.pins.insert(seq);
            } else {
                log.pins.remove(&seq);
            }
            Ok(event)
        })
    }

    async fn pinned(&self, conversation: &ConversationId) -> Result<Vec<Message>> {
        let Some(log) = self.log(conversation) else { return Ok(Vec::new()) };
        let (log, now) = (log.lock(), self.clock.now());
        Ok(log
            .pins
            .iter()
            .filter_map(|seq| log.get(*seq))
            .filter(|message| message.is_pinned(now))
            .cloned()
            .collect())
    }

    async fn search(&self, query: &SearchQuery) -> Result<Paged<Hit, SearchCursor>> {
        check_limit(query.limit, MAX_HITS)?;
        let order = |at: Timestamp, conversation: &ConversationId, seq: Seq| {
            (std::cmp::Reverse(at), conversation.clone(), std::cmp::Reverse(seq))
        };
        let from = query.after.as_ref().map(|cursor| order(cursor.at, &cursor.conversation, cursor.seq));
        let mut places = BTreeMap::new();
        let wanted: BTreeSet<_> = query.conversations.iter().collect();
        for conversation in wanted {
            let Some(log) = self.log(conversation) else { continue };
            let log = log.lock();
            for message in log.find(&query.words).into_iter().filter_map(|seq| log.get(seq)) {
                let place = order(message.created_at, conversation, message.seq);
                let unseen = from.as_ref().is_none_or(|from| place > *from);
                if unseen && !log.is_hidden(Some(&query.viewer), message.seq) {
                    places.insert(place, message.clone());
                }
                if places.len() > query.limit + 1 {
                    places.pop_last();
                }
            }
        }
        let hits = places
            .into_values()
            .filter_map(|message| {
                let highlights = text::matches(&message.content, &query.words)?;
                Some(Hit { message, highlights })
            })
            .collect();
        Ok(Paged::from_surplus(hits, query.limit, |hit: &Hit| SearchCursor {
            at: hit.message.created_at,
            conversation: hit.message.conversation_id.clone(),
            seq: hit.message.seq,
        }))
    }

    async fn purge(&self, purge: &Purge) -> Result<Paged<Seq, Seq>> {
        check_limit(purge.limit, MAX_PURGE)?;
        let Some(log) = self.log(&purge.conversation) else { return Ok(Paged::last(Vec::new())) };
        let (mut log, now) = (log.lock(), self.clock.now());
        let due: Vec<(Seq, MessageId)> = log
            .between(purge.after, log.head())
            .iter()
            .filter(|message| message.created_at < purge.before)
            .filter(|message| message.deleted.is_none() && !purge.hold.contains(&message.id))
            .take(purge.limit + 1)
            .map(|message| (message.seq, message.id.clone()))
            .collect();
        for (seq, id) in due.iter().take(purge.limit) {
            if let Some(event) = Self::tombstone(&mut log, *seq, None, now) {
                self.outbox.write_change(id.as_str(), now, event);
            }
        }
        Ok(Paged::from_surplus(due, purge.limit, |(seq, _)| *seq).map(|(seq, _)| seq))
    }
}
