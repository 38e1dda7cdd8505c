//! What a backend offers to be checked.

use std::sync::Arc;

use chat_core::clock::ManualClock;
use chat_core::error::Result;
use chat_core::event::Topic;
use chat_core::store::{
    Cache, ConversationStore, DeadLetters, EventConsumer, EventPublisher, EventTail, FileStore, MessageStore, Outbox,
    PositionStore, PresenceStore, RoomStore, UnreadStore, UserSource, UserStore,
};
use futures::future::BoxFuture;

use crate::faulty::Outage;

/// Makes consumers: `(group, member, topics, from the beginning)`.
pub type Consumers =
    Arc<dyn Fn(&str, &str, &[Topic], bool) -> BoxFuture<'static, Result<Arc<dyn EventConsumer>>> + Send + Sync>;

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
            $(#[doc = $doc] pub $field: Option<$type>,)*
        }

        impl Offer {
            /// Offers nothing yet.
            pub fn new(clock: ManualClock) -> Self {
                Self { clock, $($field: None,)* }
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
    messages: Arc<dyn MessageStore>, "messages.";
    positions: Arc<dyn PositionStore>, "read positions, over the messages offered.";
    conversations: Arc<dyn ConversationStore>, "conversations.";
    files: Arc<dyn FileStore>, "files.";
    users: Arc<dyn UserStore>, "a profile cache.";
    source: Arc<dyn UserSource>, "a source of profiles.";
    outbox: Arc<dyn Outbox>, "the outbox of the truth offered.";
    publisher: Arc<dyn EventPublisher>, "a publisher.";
    tail: Arc<dyn EventTail>, "a tail of what the publisher writes.";
    dead_letters: Arc<dyn DeadLetters>, "the dead letters of the consumers.";
    consumers: Consumers, "consumers of what the publisher writes.";
    outage: Arc<dyn Outage>, "a switch that makes every port offered unavailable.";
}
