//! Puts a chat together. The only place of the services that knows the memory backend.

use std::sync::Arc;

use tokio::sync::Notify;

use super::derive::DERIVED;
use super::lookup::Lookups;
use super::typing::Typists;
use super::{Chat, ChatSettings, Inner, Ports};
use crate::clock::{Clock, SystemClock};
use crate::memory::{Memory, MemoryRooms};
use crate::moderation::{AccessGuard, PolicyTable};
use crate::store::{
    Cache, ConversationStore, EventConsumer, EventPublisher, EventTail, FileStore, MessageStore, Outbox,
    PositionStore, PresenceStore, RateLimiter, RoomStore, UnreadStore, UserSource, UserStore,
};

macro_rules! ports {
    ($($port:ident: $type:ty, $what:literal;)*) => {
        /// Puts a [`Chat`] together: every port can be replaced, and what is not is in memory.
        ///
        /// Stores that share a truth must be replaced together: messages, positions, conversations, files, the source
        /// of profiles and their outbox; so must the publisher and the tail.
        #[derive(Debug, Default)]
        pub struct ChatBuilder {
            clock: Option<Arc<dyn Clock>>,
            settings: ChatSettings,
            policy: PolicyTable,
            derive: Option<Arc<dyn EventConsumer>>,
            $($port: Option<Arc<$type>>,)*
        }

        impl ChatBuilder {
            $(#[doc = concat!("Uses ", $what)]
            #[must_use]
            pub fn $port(mut self, port: Arc<$type>) -> Self {
                self.$port = Some(port);
                self
            })*

            fn ports(self, memory: Memory, derive: Option<Arc<dyn EventConsumer>>) -> Ports {
                let publisher_tail = Arc::clone(&memory.events);
                let defaults = Defaults { publisher: Arc::clone(&publisher_tail) as _, tail: publisher_tail as _, memory };
                Ports { derive, $($port: self.$port.unwrap_or_else(|| defaults.$port()),)* }
            }
        }

        impl Defaults {
            ports!(@defaults $($port: $type;)*);
        }
    };
    (@defaults publisher: $type:ty; $($rest:tt)*) => {
        fn publisher(&self) -> Arc<$type> { Arc::clone(&self.publisher) }
        ports!(@defaults $($rest)*);
    };
    (@defaults tail: $type:ty; $($rest:tt)*) => {
        fn tail(&self) -> Arc<$type> { Arc::clone(&self.tail) }
        ports!(@defaults $($rest)*);
    };
    (@defaults $port:ident: $type:ty; $($rest:tt)*) => {
        fn $port(&self) -> Arc<$type> { Arc::clone(&self.memory.$port) as _ }
        ports!(@defaults $($rest)*);
    };
    (@defaults) => {};
}

/// What a chat runs on when nothing else is given.
struct Defaults {
    memory: Memory,
    publisher: Arc<dyn EventPublisher>,
    tail: Arc<dyn EventTail>,
}

ports! {
    cache: dyn Cache, "this cache.";
    presence: dyn PresenceStore, "this presence store.";
    unread: dyn UnreadStore, "this unread store.";
    rooms: dyn RoomStore, "this room store.";
    limits: dyn RateLimiter, "this rate limiter.";
    messages: dyn MessageStore, "this message store.";
    positions: dyn PositionStore, "this position store.";
    conversations: dyn ConversationStore, "this conversation store.";
    files: dyn FileStore, "this file store.";
    users: dyn UserStore, "this profile cache.";
    source: dyn UserSource, "this source of profiles.";
    outbox: dyn Outbox, "this outbox.";
    publisher: dyn EventPublisher, "this publisher.";
    tail: dyn EventTail, "this tail.";
}

impl ChatBuilder {
    /// Measures time with this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Runs by these rules.
    #[must_use]
    pub fn settings(mut self, settings: ChatSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Decides by this table.
    #[must_use]
    pub fn policy(mut self, policy: PolicyTable) -> Self {
        self.policy = policy;
        self
    }

    /// Repeats what is derived from this consumer's events, which are those of [`DERIVED`]. A chat whose publisher is in memory has one by itself.
    #[must_use]
    pub fn derive(mut self, consumer: Arc<dyn EventConsumer>) -> Self {
        self.derive = Some(consumer);
        self
    }

    /// The chat.
    pub fn build(mut self) -> Chat {
        let clock = self.clock.take().unwrap_or_else(|| Arc::new(SystemClock));
        let memory = Memory::new(Arc::clone(&clock));
        let derive = self.derive.take().or_else(|| {
            let own_log = self.publisher.is_none();
            own_log.then(|| Arc::new(memory.events.consumer("derive", "chat", DERIVED, true)) as _)
        });
        if let (Some(presence), None) = (&self.presence, &self.rooms) {
            self.rooms = Some(Arc::new(MemoryRooms::new(Arc::clone(&clock), Arc::clone(presence))));
        }
        let (settings, policy) = (self.settings.clone(), std::mem::take(&mut self.policy));
        let ports = self.ports(memory, derive);
        let guard = AccessGuard::new(Arc::clone(&ports.rooms), Arc::clone(&ports.conversations), policy);
        let inner = Inner {
            ports,
            clock,
            settings,
            guard,
            typists: Typists::default(),
            lookups: Lookups::default(),
            node: uuid::Uuid::new_v4().to_string(),
            written: Notify::new(),
        };
        Chat { inner: Arc::new(inner) }
    }
}
