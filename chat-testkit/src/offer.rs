//! What a backend offers to be checked.

use std::sync::Arc;

use chat_core::clock::ManualClock;
use chat_core::error::Result;
use chat_core::event::Topic;
use chat_core::memory::Memory;
use chat_core::store::{
    AuditLog, Cache, ConversationStore, DeadLetters, EventConsumer, EventPublisher, EventTail, FileStore,
    MessageStore, Outbox, PositionStore, PresenceStore, RateLimiter, RoomStore, UnreadStore, UserSource,
    UserStore,
};
use futures::future::BoxFuture;

use crate::faulty::{self, Outage};

/// How many random histories a port is played unless the offer or `CHAT_TEST_HISTORIES` says otherwise.
pub const HISTORIES: usize = 500;

/// How many random histories the memory backend is played.
const MEMORY_HISTORIES: usize = 10_000;

/// Makes consumers: `(group, member, topics, from the beginning)`.
pub type Consumers = Arc<
    dyn Fn(&str, &str, &[Topic], bool) -> BoxFuture<'static, Result<Arc<dyn EventConsumer>>> + Send + Sync,
>;

/// Makes another offer of the same backend, in a namespace of its own.
type Fresh = Arc<dyn Fn() -> BoxFuture<'static, Result<Offer, Absent>> + Send + Sync>;

/// Why a backend cannot be checked here, in words.
#[derive(Debug, Clone)]
pub struct Absent(pub String);

macro_rules! offer {
    ($($field:ident: $type:ty, $doc:literal;)*) => {
        /// The ports of one backend, empty and for one trial only, on one clock.
        ///
        /// Everything is optional; checks of what is missing are ignored. All ports must share the clock.
        #[derive(Clone)]
        pub struct Offer {
            /// The clock all deadlines are measured with.
            pub clock: ManualClock,
            /// How many random histories to play per port.
            pub histories: usize,
            fresh: Option<Fresh>,
            $(#[doc = $doc] pub $field: Option<$type>,)*
        }

        impl Offer {
            /// Offers nothing yet.
            pub fn new(clock: ManualClock) -> Self {
                Self { clock, histories: HISTORIES, fresh: None, $($field: None,)* }
            }

            $(#[doc = concat!("Offers ", $doc)]
            #[must_use]
            pub fn $field(mut self, port: $type) -> Self {
                self.$field = Some(port);
                self
            })*

            /// The names of what is offered.
            pub fn ports(&self) -> Vec<&'static str> {
                let mut ports = Vec::new();
                $(if self.$field.is_some() { ports.push(stringify!($field)); })*
                ports
            }
        }

        impl std::fmt::Debug for Offer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple("Offer").field(&self.ports()).finish()
            }
        }
    };
}

offer! {
    cache: Arc<dyn Cache>, "a cache.";
    presence: Arc<dyn PresenceStore>, "presence.";
    unread: Arc<dyn UnreadStore>, "unread counts.";
    rooms: Arc<dyn RoomStore>, "rooms, over the presence offered.";
    limits: Arc<dyn RateLimiter>, "rate limits.";
    messages: Arc<dyn MessageStore>, "messages.";
    positions: Arc<dyn PositionStore>, "read positions, over the messages offered.";
    conversations: Arc<dyn ConversationStore>, "conversations.";
    files: Arc<dyn FileStore>, "files.";
    audit: Arc<dyn AuditLog>, "an audit log.";
    users: Arc<dyn UserStore>, "a profile cache.";
    source: Arc<dyn UserSource>, "a source of profiles.";
    outbox: Arc<dyn Outbox>, "the outbox of the truth offered.";
    publisher: Arc<dyn EventPublisher>, "a publisher.";
    tail: Arc<dyn EventTail>, "a tail of what the publisher writes.";
    dead_letters: Arc<dyn DeadLetters>, "the dead letters of the consumers.";
    consumers: Consumers, "consumers of what the publisher writes.";
    outage: Arc<dyn Outage>, "a switch that makes every port offered unavailable.";
}

impl Offer {
    /// The memory backend of `chat-core`, every port of it, behind a switch.
    pub fn memory() -> Self {
        let clock = ManualClock::default();
        let memory = Memory::new(Arc::new(clock.clone()));
        let log = Arc::clone(&memory.events);
        let consumers: Consumers = Arc::new(move |group, member, topics, from_beginning| {
            let consumer = log.consumer(group, member, topics, from_beginning);
            Box::pin(async { Ok(Arc::new(consumer) as Arc<dyn EventConsumer>) })
        });
        let offer = Self::new(clock)
            .histories(MEMORY_HISTORIES)
            .cache(memory.cache)
            .presence(memory.presence)
            .unread(memory.unread)
            .rooms(memory.rooms)
            .limits(memory.limits)
            .messages(memory.messages)
            .positions(memory.positions)
            .conversations(memory.conversations)
            .files(memory.files)
            .audit(memory.audit)
            .users(memory.users)
            .source(memory.source)
            .outbox(memory.outbox)
            .publisher(Arc::clone(&memory.events) as _)
            .tail(Arc::clone(&memory.events) as _)
            .dead_letters(memory.events)
            .consumers(consumers);
        faulty::switched(offer)
    }

    /// Asks for so many random histories per port; `CHAT_TEST_HISTORIES` overrides it.
    #[must_use]
    pub fn histories(mut self, histories: usize) -> Self {
        self.histories = histories;
        self
    }

    /// Another offer of this backend, empty and in a namespace of its own: for checks that need many.
    ///
    /// # Panics
    /// When the backend is gone, or outside a trial.
    pub async fn fresh(&self) -> Self {
        let fresh = self.fresh.as_ref().expect("an offer made for a trial");
        match fresh().await {
            Ok(offer) => offer,
            Err(Absent(why)) => panic!("the backend is gone: {why}"),
        }
    }

    pub(crate) fn made_by(
        mut self,
        fresh: impl Fn() -> BoxFuture<'static, Result<Self, Absent>> + Send + Sync + 'static,
    ) -> Self {
        self.fresh = Some(Arc::new(fresh));
        self
    }
}
