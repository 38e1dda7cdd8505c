//! A chat over everything an offer has, and what checks of the services ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::ManualClock;
use chat_core::domain::{
    Actor, Conversation, ConversationId, FileRecord, Member, Message, MessageId, PlatformRole, Receipts,
    UserId, UserProfile,
};
use chat_core::event::{Envelope, Event, Topic};
use chat_core::service::{Chat, ChatBuilder, NewGroup, Ports};
use chat_core::store::conversations::Membership;
use chat_core::store::events::{TailCursor, TailRead};
use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope, MAX_HISTORY};
use parking_lot::Mutex;

use crate::Offer;
use crate::ports::names::*;
use crate::ports::ports;
use crate::sample;
use crate::walk::walk;

/// The ports a chat needs.
macro_rules! every_port {
    ($then:ident) => {
        $then! {
            cache presence unread rooms messages positions conversations files users source outbox publisher tail
        }
    };
}

/// A chat on the ports of an offer, and a reader that follows everything it publishes.
#[derive(Debug)]
pub struct Stage {
    /// The chat.
    pub chat: Chat,
    /// The clock everything is measured with.
    pub clock: ManualClock,
    offer: Offer,
    seen: tokio::sync::Mutex<Vec<TailCursor>>,
}

/// A plain user of this name.
pub fn actor(name: &str) -> Actor {
    Actor::user(sample::user(name))
}

/// A plain user of this name on a connection.
pub fn on(name: &str, session: &str) -> Actor {
    actor(name).on(sample::session(session))
}

/// Somebody who may act everywhere.
pub fn platform_admin() -> Actor {
    actor("root").with_role(PlatformRole::Admin)
}

impl Stage {
    /// A chat by the usual rules.
    ///
    /// # Panics
    /// When the offer lacks a port.
    pub async fn new(offer: Offer) -> Self {
        Self::with(offer, |chat| chat).await
    }

    /// A chat by other rules, or over other ports.
    ///
    /// # Panics
    /// When the offer lacks a port.
    pub async fn with(offer: Offer, change: impl FnOnce(ChatBuilder) -> ChatBuilder + Send) -> Self {
        let chat = change(builder(&offer)).build();
        let seen = chat.ports().tail.ends(Topic::ALL).await.unwrap();
        Self { chat, clock: offer.clock.clone(), offer, seen: tokio::sync::Mutex::new(seen) }
    }

    /// What it stands on.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The chat of another process on the same backend.
    pub fn another(&self) -> Chat {
        builder(&self.offer).build()
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        self.chat.ports()
    }

    /// Another member of a consumer group that has had nothing yet and gets everything.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn consumer(&self, group: &str, member: &str) -> Arc<dyn EventConsumer> {
        let consumers = self.offer.consumers.clone().expect("consumers");
        consumers(group, member, Topic::ALL, true).await.unwrap()
    }

    /// A group of the first one as its admin and the others as members, whose making is published and forgotten.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn group(&self, name: &str, people: &[&Actor]) -> ConversationId {
        let (maker, others) = people.split_first().expect("somebody who makes it");
        let group =
            others.iter().fold(NewGroup::named(name), |group, one| group.with_member(one.user.clone()));
        let made = self.chat.create_group(maker, group).await.unwrap();
        self.quiet().await;
        made.id
    }

    /// Says something.
    ///
    /// # Panics
    /// When it cannot be said.
    pub async fn say(&self, actor: &Actor, conversation: &ConversationId, text: &str) -> Message {
        self.chat.send(actor, conversation, text, None).await.unwrap().message
    }

    /// How many messages are unread, and how many of them mention the actor.
    ///
    /// # Panics
    /// When that cannot be said.
    pub async fn unread(&self, actor: &Actor, conversation: &ConversationId) -> (u64, u64) {
        let unread = self.chat.unread(actor, conversation).await.unwrap();
        (unread.messages, unread.mentions)
    }

    /// Counts again from truth, as [`unread`](Self::unread) would after derived state was lost.
    ///
    /// # Panics
    /// When that cannot be said.
    pub async fn recounted(&self, actor: &Actor, conversation: &ConversationId) -> (u64, u64) {
        let asked = std::slice::from_ref(conversation);
        let truth = self.ports().positions.recount(&actor.user, asked).await.unwrap();
        let unread = truth[0].unread();
        (unread.messages, unread.mentions)
    }

    /// Publishes what is written, and answers what was published since the last time: in order per key and topic.
    ///
    /// # Panics
    /// When something was lost.
    pub async fn envelopes(&self) -> Vec<Envelope> {
        self.chat.relay_once().await.unwrap();
        self.published().await
    }

    /// What was published since the last time.
    ///
    /// # Panics
    /// When something was lost.
    pub async fn published(&self) -> Vec<Envelope> {
        let mut seen = self.seen.lock().await;
        let mut found = Vec::new();
        loop {
            let reads = self.ports().tail.read_since(&seen, 1_000, Duration::ZERO).await.unwrap();
            if reads.is_empty() {
                return found;
            }
            for read in reads {
                let TailRead::Events { events, next } = read else { panic!("events were lost: {read:?}") };
                found.extend(events.into_iter().map(|event| event.expect("an event that can be read")));
                let cursor = seen.iter_mut().find(|cursor| cursor.topic == next.topic);
                *cursor.expect("a topic that was asked for") = next;
            }
        }
    }

    /// [`envelopes`](Self::envelopes), without their ids and times.
    pub async fn events(&self) -> Vec<Event> {
        self.envelopes().await.into_iter().map(|envelope| envelope.event).collect()
    }

    /// The wire names of what was published since the last time, sorted: topics have no common order.
    pub async fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.events().await.iter().map(|event| event.name().to_owned()).collect();
        kinds.sort();
        kinds
    }

    /// Publishes what is written and forgets all of it.
    pub async fn quiet(&self) {
        self.envelopes().await;
    }

    /// Time goes by, and those who look for what has run out do so.
    ///
    /// # Panics
    /// When they cannot.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.chat.expire_typing().await;
        self.chat.sweep_presence().await.unwrap();
    }

    /// The room index forgets a conversation.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn cool(&self, conversation: &ConversationId) {
        self.ports().rooms.delete(&RoomId::from(conversation)).await.unwrap();
    }

    /// Everything truth says about conversations and people.
    ///
    /// # Panics
    /// When truth does not answer.
    pub async fn truth(&self, conversations: &[ConversationId], people: &[UserId]) -> Truth {
        let ports = self.ports();
        let mut truth = Truth {
            conversations: ports.conversations.get_many(conversations).await.unwrap(),
            profiles: ports.source.fetch_many(people).await.unwrap(),
            waiting: ports.outbox.stats().await.unwrap().pending,
            ..Truth::default()
        };
        for user in people {
            truth.views.push(ports.conversations.memberships(user, conversations).await.unwrap());
        }
        for conversation in conversations {
            let messages = self.messages(conversation).await;
            let ids: Vec<MessageId> = messages.iter().map(|message| message.id.clone()).collect();
            for user in people {
                truth.hidden.push(ports.messages.hidden_many(user, &ids).await.unwrap());
            }
            truth.messages.push(messages);
            let places: Vec<_> = people.iter().map(|user| (user.clone(), conversation.clone())).collect();
            truth.receipts.push(ports.positions.receipts_many(&places).await.unwrap());
            truth.members.push(self.members(conversation).await);
            let files = walk(100, |page| async move { ports.files.list(conversation, &page).await });
            truth.files.push(files.await);
        }
        truth
    }

    /// Every member, as truth has them; none of a conversation that is not there.
    ///
    /// # Panics
    /// When truth does not answer.
    pub async fn members(&self, conversation: &ConversationId) -> Vec<Member> {
        let store = &self.ports().conversations;
        if store.get_many(std::slice::from_ref(conversation)).await.unwrap()[0].is_none() {
            return Vec::new();
        }
        walk(100, |page| async move { store.members(conversation, &page).await }).await
    }

    /// Every message, as truth has them.
    ///
    /// # Panics
    /// When truth does not answer.
    pub async fn messages(&self, conversation: &ConversationId) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let query = HistoryQuery {
                conversation: conversation.clone(),
                viewer: None,
                scope: HistoryScope::Everything,
                anchor: Anchor::After(messages.last().map_or(Seq::ZERO, |message| message.seq)),
                limit: MAX_HISTORY,
            };
            let page = self.ports().messages.history(&query).await.unwrap();
            messages.extend(page.messages);
            if !page.more_after {
                return messages;
            }
        }
    }
}

/// Everything truth says about some conversations and people, to see that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Truth {
    /// The conversations.
    pub conversations: Vec<Option<Conversation>>,
    /// Their members.
    pub members: Vec<Vec<Member>>,
    /// What each of the people keeps of each conversation for itself.
    pub views: Vec<Vec<Option<Membership>>>,
    /// What was said.
    pub messages: Vec<Vec<Message>>,
    /// What each of the people has deleted for itself.
    pub hidden: Vec<Vec<bool>>,
    /// How far the people have received and read.
    pub receipts: Vec<Vec<Receipts>>,
    /// The files.
    pub files: Vec<Vec<FileRecord>>,
    /// The people's profiles.
    pub profiles: Vec<Option<UserProfile>>,
    /// How many events wait to be published.
    pub waiting: u64,
}

/// Puts a chat together from an offer.
///
/// # Panics
/// When the offer lacks a port.
pub fn builder(offer: &Offer) -> ChatBuilder {
    let mut chat = Chat::builder().clock(Arc::new(offer.clock.clone()));
    macro_rules! take {
        ($($port:ident)*) => { $(
            chat = chat.$port(offer.$port.clone().expect(concat!("an offer with ", stringify!($port))));
        )* };
    }
    every_port!(take);
    chat
}

/// How often each method of each port was called; clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Calls {
    /// What was called since the last time, and how often.
    #[must_use]
    pub fn taken(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.0.lock())
    }

    fn count(&self, method: &'static str) {
        *self.0.lock().entry(method).or_default() += 1;
    }
}

/// A port whose calls are counted.
#[derive(Debug)]
pub struct Counted<P: ?Sized> {
    port: Arc<P>,
    calls: Calls,
}

macro_rules! counted {
    ($($port:ident, $bug:ident { $($method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => { $(
        #[async_trait]
        impl<P: $port + ?Sized> $port for Counted<P> {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$answer> {
                self.calls.count(concat!(stringify!($port), "::", stringify!($method)));
                self.port.$method($($arg),*).await
            })*
        }
    )* };
}

ports!(counted);

/// The same offer with every call counted.
#[must_use]
pub fn counted(mut offer: Offer) -> (Offer, Calls) {
    let calls = Calls::default();
    macro_rules! count {
        ($($port:ident)*) => { $(
            let counted = |port| Arc::new(Counted { port, calls: calls.clone() }) as _;
            offer.$port = offer.$port.take().map(counted);
        )* };
    }
    every_port!(count);
    (offer, calls)
}
