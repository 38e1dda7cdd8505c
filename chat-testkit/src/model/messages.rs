//! The model of the `messages` port: everything said, in one list.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::message::{
    Draft, NewMessage, PastText, Pin, Reaction, ThreadPlace, ThreadSummary, Tombstone,
};
use chat_core::domain::text::Query;
use chat_core::domain::{ConversationId, ConversationKind, Mentions, Message, MessageId, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{
    DeleteType, Event, MessageDeleted, MessageEdited, MessagePinned, MessageReactionAdded,
    MessageReactionRemoved, MessageSent, MessageUnpinned,
};
use chat_core::store::messages::{
    Anchor, Appended, Edit, Head, History, HistoryQuery, HistoryScope, MessageChanged, Purge, SearchQuery,
};
use chat_core::store::{MessageStore, MessageStoreExt, Outbox};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, holds, one_of, play_histories, same};
use crate::expect::events;
use crate::{Offer, sample};

const CONVERSATIONS: [&str; 2] = ["c", "c:c"];
const USERS: [&str; 3] = ["ann", "ben", "an"];
const KEYS: [&str; 2] = ["k", "kk"];
const EMOJIS: [&str; 3] = ["👍", ":+1:", ":+:"];
const WORDS: [&str; 6] = ["red", "reddish green", "green", "greenish red", "blue", "red green blue"];
const SEARCHES: [&str; 5] = ["re", "red", "green red", "red gre", "blue"];

/// Which message, out of those there are; beyond them, one that is not there.
type Which = usize;

/// A kind of [`HistoryScope`], and of [`Anchor`].
#[derive(Debug, Clone, Copy)]
enum Scope {
    Everything,
    Main,
    Thread(Which),
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Latest,
    Before(u64),
    After(u64),
    Around(u64),
}

/// What a message hangs on.
#[derive(Debug, Clone, Copy)]
enum Hangs {
    OnNothing,
    Quoting(Which),
    InThread { root: Which, also_in_conversation: bool },
}

#[derive(Debug, Clone)]
enum Operation {
    Append { conversation: usize, sender: Option<usize>, key: Option<usize>, words: usize, hangs: Hangs },
    Again { message: Which },
    Edit { message: Which, by: usize, words: usize, expect: Option<u32> },
    Delete { message: Which, by: usize, whom: DeleteType },
    React { message: Which, by: usize, emoji: usize, on: bool },
    Pin { message: Which, by: usize, on: bool, seconds: Option<u64> },
    Purge { conversation: usize, seconds: u64, hold: Which, limit: usize },
    History { conversation: usize, viewer: Option<usize>, scope: Scope, place: Place, limit: usize },
    Search { viewer: usize, words: usize, conversations: Vec<usize>, limit: usize },
    Look,
    Wait { millis: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let conversation = || one_of(CONVERSATIONS.len());
    let user = || one_of(USERS.len());
    let message = || one_of(12);
    let words = || one_of(WORDS.len());
    let hangs = prop_oneof![
        4 => Just(Hangs::OnNothing),
        1 => message().prop_map(Hangs::Quoting),
        3 => (message(), any::<bool>())
            .prop_map(|(root, also_in_conversation)| Hangs::InThread { root, also_in_conversation }),
    ];
    let scope = prop_oneof![
        2 => Just(Scope::Everything),
        1 => Just(Scope::Main),
        1 => message().prop_map(Scope::Thread),
    ];
    let place = prop_oneof![
        Just(Place::Latest),
        (0_u64..9).prop_map(Place::Before),
        (0_u64..9).prop_map(Place::After),
        (1_u64..9).prop_map(Place::Around),
    ];
    let limit = || select(&[1_usize, 2, 3, 50][..]);
    let whom = select(&[DeleteType::ForMe, DeleteType::ForEveryone][..]);
    let append = (conversation(), of(user()), of(one_of(KEYS.len())), words(), hangs);
    prop_oneof![
        8 => append.prop_map(|(conversation, sender, key, words, hangs)| {
            Append { conversation, sender, key, words, hangs }
        }),
        1 => message().prop_map(|message| Again { message }),
        3 => (message(), user(), words(), of(0_u32..3))
            .prop_map(|(message, by, words, expect)| Edit { message, by, words, expect }),
        3 => (message(), user(), whom).prop_map(|(message, by, whom)| Delete { message, by, whom }),
        3 => (message(), user(), one_of(EMOJIS.len()), any::<bool>())
            .prop_map(|(message, by, emoji, on)| React { message, by, emoji, on }),
        2 => (message(), user(), any::<bool>(), of(1_u64..5))
            .prop_map(|(message, by, on, seconds)| Pin { message, by, on, seconds }),
        1 => (conversation(), 0_u64..4, message(), select(&[1_usize, 2, 1_000][..]))
            .prop_map(|(conversation, seconds, hold, limit)| Purge { conversation, seconds, hold, limit }),
        4 => (conversation(), of(user()), scope, place, limit()).prop_map(
            |(conversation, viewer, scope, place, limit)| History { conversation, viewer, scope, place, limit }
        ),
        2 => (user(), one_of(SEARCHES.len()), select(vec![vec![0], vec![1, 0], vec![]]), limit())
            .prop_map(|(viewer, words, conversations, limit)| Search { viewer, words, conversations, limit }),
        1 => Just(Look),
        2 => select(&[1_u64, 999, 1_000, 2_000][..]).prop_map(|millis| Wait { millis }),
    ]
}

/// Everything said, and who hid what.
#[derive(Debug, Default)]
struct Model {
    messages: Vec<Message>,
    sent: Vec<NewMessage>,
    hidden: BTreeSet<(UserId, MessageId)>,
    written: Vec<Event>,
}

impl Model {
    fn find(&self, id: &MessageId) -> Result<usize, Code> {
        self.messages.iter().position(|message| message.id == *id).ok_or(Code::MessageNotFound)
    }

    fn live(&mut self, id: &MessageId) -> Result<&mut Message, Code> {
        let place = self.find(id)?;
        let message = &mut self.messages[place];
        if message.deleted.is_some() { Err(Code::MessageDeleted) } else { Ok(message) }
    }

    fn here<'a>(&'a self, conversation: &'a ConversationId) -> impl DoubleEndedIterator<Item = &'a Message> {
        self.messages.iter().filter(move |message| message.conversation_id == *conversation)
    }

    fn append(&mut self, new: &NewMessage, now: Timestamp) -> Result<(Message, bool), Code> {
        let same_key = |sent: &&NewMessage| {
            sent.client_key.is_some()
                && (&sent.client_key, &sent.sender_id, &sent.conversation_id)
                    == (&new.client_key, &new.sender_id, &new.conversation_id)
        };
        if let Some(sent) = self.sent.iter().find(same_key) {
            let known = self.messages[self.find(&sent.id)?].clone();
            return if sent.draft == new.draft { Ok((known, true)) } else { Err(Code::ClientKeyConflict) };
        }
        if let Ok(known) = self.find(&new.id) {
            return Ok((self.messages[known].clone(), true));
        }
        let missing = |id: &MessageId| !self.here(&new.conversation_id).any(|message| message.id == *id);
        if new.draft.reply_to.as_ref().is_some_and(missing) {
            return Err(Code::MessageNotFound);
        }
        if let Some(thread) = &new.draft.thread {
            if missing(&thread.root) {
                return Err(Code::MessageNotFound);
            }
            let root = self.find(&thread.root)?;
            if self.messages[root].thread.is_some() {
                return Err(Code::MessageInvalid);
            }
            self.messages[root].replies.replies += 1;
            self.messages[root].replies.last_reply_at = Some(now);
        }
        let Draft { kind, content, attachments, reply_to, thread, mentions, silent, metadata } =
            new.draft.clone();
        let message = Message {
            id: new.id.clone(),
            conversation_id: new.conversation_id.clone(),
            conversation_kind: new.conversation_kind,
            seq: Seq(self.here(&new.conversation_id).count() as u64 + 1),
            sender_id: new.sender_id.clone(),
            receiver_id: new.receiver_id.clone(),
            kind,
            content,
            attachments,
            reply_to,
            thread,
            mentions,
            silent,
            metadata,
            reactions: Vec::new(),
            revision: 0,
            edited_at: None,
            past_texts: Vec::new(),
            deleted: None,
            pin: None,
            replies: ThreadSummary::default(),
            client_key: new.client_key.clone(),
            fingerprint: String::new(),
            created_at: now,
        };
        self.written.push(MessageSent::from(&message).into());
        self.sent.push(new.clone());
        self.messages.push(message.clone());
        Ok((message, false))
    }

    fn edit(&mut self, edit: &Edit, now: Timestamp) -> Result<bool, Code> {
        let message = self.live(&edit.message)?;
        if message.content == edit.content {
            return Ok(false);
        }
        if edit.expect.is_some_and(|revision| revision != message.revision) {
            return Err(Code::EditConflict);
        }
        let content = std::mem::replace(&mut message.content, edit.content.clone());
        message.past_texts.push(PastText { content, revision: message.revision, replaced_at: now });
        message.revision += 1;
        message.edited_at = Some(now);
        let event = MessageEdited {
            message_id: message.id.clone(),
            conversation_id: message.conversation_id.clone(),
            seq: message.seq,
            editor_id: edit.by.clone(),
            new_content: edit.content.clone(),
            mentions: Mentions::default(),
            revision: message.revision,
            edited_at: now,
        };
        self.written.push(event.into());
        Ok(true)
    }

    fn delete(
        &mut self,
        id: &MessageId,
        by: Option<&UserId>,
        whom: DeleteType,
        now: Timestamp,
    ) -> Result<bool, Code> {
        let place = self.find(id)?;
        let before = self.messages[place].clone();
        let deleted = MessageDeleted {
            message_id: id.clone(),
            conversation_id: before.conversation_id.clone(),
            seq: before.seq,
            deleter_id: by.cloned(),
            delete_type: whom,
            deleted_at: now,
        };
        if whom == DeleteType::ForMe {
            let fresh = by.is_some_and(|by| self.hidden.insert((by.clone(), id.clone())));
            self.written.extend(fresh.then(|| deleted.into()));
            return Ok(fresh);
        }
        if before.deleted.is_some() {
            return Ok(false);
        }
        self.messages[place] = Message {
            content: String::new(),
            attachments: Vec::new(),
            mentions: Mentions::default(),
            metadata: std::collections::BTreeMap::new(),
            reactions: Vec::new(),
            past_texts: Vec::new(),
            pin: None,
            deleted: Some(Tombstone { by: by.cloned(), at: now }),
            ..before.clone()
        };
        if let Some(thread) = &before.thread {
            let left: Vec<_> = self.replies(&thread.root).filter(|reply| reply.deleted.is_none()).collect();
            let left = ThreadSummary {
                replies: left.len() as u64,
                last_reply_at: left.last().map(|reply| reply.created_at),
            };
            let root = self.find(&thread.root)?;
            self.messages[root].replies = left;
        }
        self.written.push(deleted.into());
        Ok(true)
    }

    fn replies<'a>(&'a self, root: &'a MessageId) -> impl Iterator<Item = &'a Message> {
        self.messages
            .iter()
            .filter(move |message| message.thread.as_ref().is_some_and(|thread| thread.root == *root))
    }

    fn react(&mut self, id: &MessageId, user: &UserId, emoji: &str, on: bool) -> Result<bool, Code> {
        let message = self.live(id)?;
        let there = message.reactions.iter().any(|one| one.emoji == emoji && one.users.contains(user));
        if there == on {
            return Ok(false);
        }
        match message.reactions.iter_mut().find(|one| one.emoji == emoji) {
            Some(reaction) if on => reaction.users.push(user.clone()),
            Some(reaction) => reaction.users.retain(|one| one != user),
            None => message.reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user.clone()] }),
        }
        let count =
            message.reactions.iter().find(|one| one.emoji == emoji).map_or(0, |one| one.users.len() as u64);
        message.reactions.retain(|one| !one.users.is_empty());
        let (message_id, conversation_id, seq) = (id.clone(), message.conversation_id.clone(), message.seq);
        let (user_id, emoji) = (user.clone(), emoji.to_owned());
        self.written.push(if on {
            MessageReactionAdded { message_id, conversation_id, seq, user_id, emoji, count }.into()
        } else {
            MessageReactionRemoved { message_id, conversation_id, seq, user_id, emoji, count }.into()
        });
        Ok(true)
    }

    fn pin(
        &mut self,
        id: &MessageId,
        by: &UserId,
        until: Option<Option<Timestamp>>,
        now: Timestamp,
    ) -> Result<bool, Code> {
        let message = self.live(id)?;
        let held = standing(message.pin.take(), now);
        let (message_id, conversation_id, user_id) =
            (id.clone(), message.conversation_id.clone(), by.clone());
        let event: Event = match (held, until) {
            (None, None) => return Ok(false),
            (Some(_), None) => MessageUnpinned { message_id, conversation_id, user_id }.into(),
            (Some(pin), Some(until)) if pin.until == until => {
                message.pin = Some(pin);
                return Ok(false);
            }
            (_, Some(until)) => {
                message.pin = Some(Pin { by: by.clone(), at: now, until });
                MessagePinned { message_id, conversation_id, user_id, until }.into()
            }
        };
        self.written.push(event);
        Ok(true)
    }

    fn is_hidden(&self, viewer: Option<&UserId>, message: &Message) -> bool {
        viewer.is_some_and(|viewer| self.hidden.contains(&(viewer.clone(), message.id.clone())))
    }

    /// What a query shows of a conversation, from its first message to its last.
    fn shown(&self, query: &HistoryQuery) -> Vec<Message> {
        let in_scope = |message: &&Message| match &query.scope {
            HistoryScope::Everything => true,
            HistoryScope::Main => message.thread.as_ref().is_none_or(|thread| thread.also_in_conversation),
            HistoryScope::Thread(root) => message.thread.as_ref().is_some_and(|thread| thread.root == *root),
        };
        let shown = self.here(&query.conversation).filter(in_scope);
        shown.filter(|message| !self.is_hidden(query.viewer.as_ref(), message)).cloned().collect()
    }

    fn hits(&self, query: &SearchQuery, words: &str) -> Vec<MessageId> {
        let terms: Vec<_> = words.split(' ').collect();
        let (last, whole) = terms.split_last().expect("words to search for");
        let mut hits: Vec<_> = self
            .messages
            .iter()
            .filter(|message| query.conversations.contains(&message.conversation_id))
            .filter(|message| !self.is_hidden(Some(&query.viewer), message))
            .filter(|message| {
                let said: Vec<_> = message.content.split(' ').collect();
                whole.iter().all(|term| said.contains(term)) && said.iter().any(|word| word.starts_with(last))
            })
            .collect();
        hits.sort_by(|one, other| {
            let newest = other.created_at.cmp(&one.created_at);
            newest.then_with(|| one.conversation_id.cmp(&other.conversation_id)).then(other.seq.cmp(&one.seq))
        });
        hits.into_iter().map(|message| message.id.clone()).collect()
    }
}

/// A pin, unless it is over.
fn standing(pin: Option<Pin>, now: Timestamp) -> Option<Pin> {
    pin.filter(|pin| pin.until.is_none_or(|until| now < until))
}

/// What can be compared: without what is only known to the store, and without a pin that is over, which may be left.
fn plain(message: &Message, now: Timestamp) -> Message {
    let message = message.clone();
    Message { fingerprint: String::new(), pin: standing(message.pin.clone(), now), ..message }
}

/// Whether a page may be shown around `anchor` out of all there is: consecutive messages, with neighbours on both
/// sides where there are any, and flags that tell the truth.
pub(crate) fn around(
    asked: &(dyn Debug + Sync),
    page: &History,
    all: &[u64],
    anchor: u64,
    limit: usize,
) -> Agreement {
    let shown: Vec<_> = page.messages.iter().map(|message| message.seq.0).collect();
    let start = match shown.first() {
        Some(first) => all.iter().position(|seq| seq == first),
        None => Some(all.partition_point(|seq| *seq < anchor)),
    };
    let start = start.ok_or_else(|| format!("{asked:?}: {shown:?} is not among {all:?}"))?;
    let end = start + shown.len();
    same(asked, &Some(shown.as_slice()), &all.get(start..end))?;
    holds(shown.len() <= limit, asked, || "a page larger than asked for".to_owned())?;
    same(asked, &(page.more_before, page.more_after), &(start > 0, end < all.len()))?;
    let is_there = !all.contains(&anchor) || shown.contains(&anchor);
    holds(is_there, asked, || format!("{anchor} is not in the page around it: {shown:?}"))?;
    if limit >= 3 {
        for side in [all.iter().rfind(|seq| **seq < anchor), all.iter().find(|seq| **seq > anchor)] {
            let shows_it = side.is_none_or(|neighbour| shown.contains(neighbour));
            holds(shows_it, asked, || format!("{side:?} is next to {anchor}, and not in {shown:?}"))?;
        }
    }
    Ok(())
}

struct Game {
    store: Arc<dyn MessageStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
    model: Model,
}

impl Game {
    fn which(&self, which: Which) -> MessageId {
        self.model
            .messages
            .get(which)
            .map_or_else(|| sample::message("nowhere"), |message| message.id.clone())
    }

    async fn append(&mut self, asked: &(dyn Debug + Sync), new: &NewMessage) -> Agreement {
        let now = self.clock.now();
        let answer = self.store.append(new).await.map_err(|error| error.code());
        let answer = answer.map(|Appended { message, duplicate }| (plain(&message, now), duplicate));
        let expected =
            self.model.append(new, now).map(|(message, duplicate)| (plain(&message, now), duplicate));
        same(asked, &answer, &expected)
    }

    /// Compares the answer to a change.
    fn changed(
        &self,
        asked: &(dyn Debug + Sync),
        id: &MessageId,
        answer: Result<MessageChanged>,
        changed: Result<bool, Code>,
    ) -> Agreement {
        let now = self.clock.now();
        let answer =
            answer.map(|answer| (answer.changed, plain(&answer.message, now))).map_err(|error| error.code());
        let expected = changed.and_then(|changed| {
            let message = &self.model.messages[self.model.find(id)?];
            Ok((changed, plain(message, now)))
        });
        same(asked, &answer, &expected)
    }

    async fn history(&self, asked: &(dyn Debug + Sync), query: &HistoryQuery) -> Agreement {
        let now = self.clock.now();
        let page = self.store.history(query).await.unwrap();
        let all = self.model.shown(query);
        let end_of = |seq: Seq| all.partition_point(|message| message.seq < seq);
        let (start, end) = match query.anchor {
            Anchor::Latest => (all.len().saturating_sub(query.limit), all.len()),
            Anchor::Before(seq) => (end_of(seq).saturating_sub(query.limit), end_of(seq)),
            Anchor::After(seq) => (end_of(seq.next()), (end_of(seq.next()) + query.limit).min(all.len())),
            Anchor::Around(seq) => {
                let seqs: Vec<_> = all.iter().map(|message| message.seq.0).collect();
                around(asked, &page, &seqs, seq.0, query.limit)?;
                let start = page.messages.first().map_or(0, |first| end_of(first.seq));
                (start, start + page.messages.len())
            }
        };
        let shown: Vec<_> = page.messages.iter().map(|message| plain(message, now)).collect();
        let expected: Vec<_> = all[start..end].iter().map(|message| plain(message, now)).collect();
        same(asked, &shown, &expected)?;
        if matches!(query.anchor, Anchor::Around(_)) {
            return Ok(());
        }
        same(asked, &(page.more_before, page.more_after), &(start > 0, end < all.len()))
    }

    async fn step(&mut self, operation: &Operation) -> Agreement {
        let (asked, now) = (operation as &(dyn Debug + Sync), self.clock.now());
        let conversation = |nth: usize| sample::conversation(CONVERSATIONS[nth]);
        let user = |nth: usize| sample::user(USERS[nth]);
        match operation {
            Operation::Append { conversation: here, sender, key, words, hangs } => {
                let mut draft = Draft::text(WORDS[*words]);
                match hangs {
                    Hangs::OnNothing => {}
                    Hangs::Quoting(quoted) => draft.reply_to = Some(self.which(*quoted)),
                    Hangs::InThread { root, also_in_conversation } => {
                        let (root, also_in_conversation) = (self.which(*root), *also_in_conversation);
                        draft.thread = Some(ThreadPlace { root, also_in_conversation });
                    }
                }
                let new = NewMessage {
                    id: sample::message(&format!("m{}", self.model.messages.len())),
                    conversation_id: conversation(*here),
                    conversation_kind: ConversationKind::Group,
                    sender_id: sender.map(user),
                    receiver_id: None,
                    client_key: key.map(|key| sample::key(KEYS[key])),
                    draft,
                };
                self.append(asked, &new).await
            }
            Operation::Again { message } => match self.model.sent.get(*message).cloned() {
                Some(sent) => self.append(asked, &sent).await,
                None => Ok(()),
            },
            Operation::Edit { message, by, words, expect } => {
                let edit = Edit {
                    message: self.which(*message),
                    by: user(*by),
                    content: WORDS[*words].to_owned(),
                    mentions: Mentions::default(),
                    expect: *expect,
                };
                let answer = self.store.edit(&edit).await;
                let changed = self.model.edit(&edit, now);
                self.changed(asked, &edit.message, answer, changed)
            }
            Operation::Delete { message, by, whom } => {
                let (id, by) = (self.which(*message), user(*by));
                let answer = self.store.delete(&id, &by, *whom).await;
                let changed = self.model.delete(&id, Some(&by), *whom, now);
                self.changed(asked, &id, answer, changed)
            }
            Operation::React { message, by, emoji, on } => {
                let (id, by, emoji) = (self.which(*message), user(*by), EMOJIS[*emoji]);
                let answer = self.store.react(&id, &by, emoji, *on).await;
                let changed = self.model.react(&id, &by, emoji, *on);
                self.changed(asked, &id, answer, changed)
            }
            Operation::Pin { message, by, on, seconds } => {
                let (id, by) = (self.which(*message), user(*by));
                let until = seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
                let answer = self.store.pin(&id, &by, *on, until).await;
                let changed = self.model.pin(&id, &by, on.then_some(until), now);
                self.changed(asked, &id, answer, changed)
            }
            Operation::Purge { conversation: here, seconds, hold, limit } => {
                let mut purge = Purge {
                    conversation: conversation(*here),
                    before: now.before(Duration::from_secs(*seconds)),
                    hold: vec![self.which(*hold)],
                    after: Seq::ZERO,
                    limit: *limit,
                };
                let due = |message: &&Message| {
                    message.deleted.is_none()
                        && message.created_at < purge.before
                        && !purge.hold.contains(&message.id)
                };
                let due: Vec<_> = self.model.here(&purge.conversation).filter(due).cloned().collect();
                let mut removed = Vec::new();
                loop {
                    let page = self.store.purge(&purge).await.unwrap();
                    holds(page.items.len() <= purge.limit, asked, || format!("{page:?}"))?;
                    removed.extend(page.items);
                    let Some(next) = page.next else { break };
                    holds(next > purge.after, asked, || format!("it does not go on from {next}"))?;
                    purge.after = next;
                }
                for message in &due {
                    self.model.delete(&message.id, None, DeleteType::ForEveryone, now).expect("it is there");
                }
                same(asked, &removed, &due.iter().map(|message| message.seq).collect())
            }
            Operation::History { conversation: here, viewer, scope, place, limit } => {
                let query = HistoryQuery {
                    conversation: conversation(*here),
                    viewer: viewer.map(user),
                    scope: match scope {
                        Scope::Everything => HistoryScope::Everything,
                        Scope::Main => HistoryScope::Main,
                        Scope::Thread(root) => HistoryScope::Thread(self.which(*root)),
                    },
                    anchor: match place {
                        Place::Latest => Anchor::Latest,
                        Place::Before(seq) => Anchor::Before(Seq(*seq)),
                        Place::After(seq) => Anchor::After(Seq(*seq)),
                        Place::Around(seq) => Anchor::Around(Seq(*seq)),
                    },
                    limit: *limit,
                };
                self.history(asked, &query).await
            }
            Operation::Search { viewer, words, conversations, limit } => {
                let mut query = SearchQuery {
                    conversations: conversations.iter().copied().map(conversation).collect(),
                    viewer: user(*viewer),
                    words: Query::new(SEARCHES[*words]).expect("words to search for"),
                    after: None,
                    limit: *limit,
                };
                let expected = self.model.hits(&query, SEARCHES[*words]);
                let mut found = Vec::new();
                loop {
                    let page = self.store.search(&query).await.unwrap();
                    found.extend(page.items.into_iter().map(|hit| hit.message.id));
                    holds(found.len() <= expected.len(), asked, || format!("more than there is: {found:?}"))?;
                    query.after = page.next;
                    if query.after.is_none() {
                        return same(asked, &found, &expected);
                    }
                }
            }
            Operation::Look => self.look(asked).await,
            Operation::Wait { millis } => {
                self.clock.advance(Duration::from_millis(*millis));
                Ok(())
            }
        }
    }

    /// Compares everything there is to see.
    async fn look(&self, asked: &(dyn Debug + Sync)) -> Agreement {
        let now = self.clock.now();
        let mut ids: Vec<_> = self.model.messages.iter().map(|message| message.id.clone()).collect();
        ids.push(sample::message("nowhere"));
        let found = self.store.get_many(&ids).await.unwrap();
        let found: Vec<_> =
            found.iter().map(|message| message.as_ref().map(|message| plain(message, now))).collect();
        let expected = self.model.messages.iter().map(|message| Some(plain(message, now))).chain([None]);
        same(asked, &found, &expected.collect())?;
        let conversations = CONVERSATIONS.map(sample::conversation);
        for viewer in USERS.map(|name| Some(sample::user(name))).into_iter().chain([None]) {
            let heads = self.store.heads(viewer.as_ref(), &conversations).await.unwrap();
            for (head, here) in heads.iter().zip(&conversations) {
                let seq = Seq(self.model.here(here).count() as u64);
                let mut seen = self.model.here(here).rev();
                let newest = seen.find(|message| !self.model.is_hidden(viewer.as_ref(), message));
                let head =
                    Head { seq: head.seq, message: head.message.as_ref().map(|message| plain(message, now)) };
                same(asked, &head, &Head { seq, message: newest.map(|message| plain(message, now)) })?;
            }
            let Some(viewer) = viewer else { continue };
            let hidden = self.store.hidden_many(&viewer, &ids).await.unwrap();
            let expected = ids.iter().map(|id| self.model.hidden.contains(&(viewer.clone(), id.clone())));
            same(asked, &hidden, &expected.collect())?;
        }
        for here in &conversations {
            let pinned = self.store.pinned(here).await.unwrap();
            let pinned: Vec<_> = pinned.iter().map(|message| plain(message, now)).collect();
            let expected = self.model.here(here).map(|message| plain(message, now));
            same(asked, &pinned, &expected.filter(|message| message.pin.is_some()).collect())?;
        }
        Ok(())
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let (store, outbox) =
        (offer.messages.clone().expect("messages"), offer.outbox.clone().expect("an outbox"));
    let mut game = Game { store, outbox, clock: offer.clock.clone(), model: Model::default() };
    for operation in &history {
        game.step(operation).await?;
    }
    game.look(&"what there is in the end").await?;
    let written = events(&*game.outbox).await;
    for key in CONVERSATIONS {
        let of_key =
            |events: &[Event]| events.iter().filter(|event| event.key() == key).cloned().collect::<Vec<_>>();
        same(&"the events written", &of_key(&written), &of_key(&game.model.written))?;
    }
    same(&"how many events were written", &written.len(), &game.model.written.len())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
