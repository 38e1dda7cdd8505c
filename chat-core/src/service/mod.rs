//! The use cases: what a chat does, over ports only.
//!
//! Every method takes the [`Actor`](crate::domain::Actor) first, asks the one [`AccessGuard`], changes truth, advances what is derived from
//! it at once (best effort; the derive worker repeats it from the event), and answers. Events go from truth through the
//! outbox; [`Chat::start`] runs the relay that publishes them.

mod background;
mod builder;
mod conversation;
mod delete;
mod derive;
mod edit;
mod file;
mod history;
mod list;
mod lookup;
mod member;
mod pin;
mod presence;
mod profile;
mod react;
mod read;
mod resync;
mod search;
mod send;
mod settings;
mod typing;

use std::sync::Arc;

use tokio::sync::Notify;

pub use background::Background;
pub use builder::ChatBuilder;
pub use conversation::NewGroup;
pub use derive::DERIVED;
pub use history::{CatchUp, MAX_CATCH_UP, MAX_MISSED, MAX_POSITIONS, ThreadPage};
pub use list::{ConversationList, ConversationView, LISTED_PARTICIPANTS, MAX_LIST, ParticipantView};
pub use presence::Connected;
pub use read::{Readers, UnreadChange};
pub use search::{Found, MAX_SEARCH, MIN_SEARCH};
pub use send::{Sent, Target};
pub use settings::ChatSettings;

use crate::clock::{Clock, Timestamp};
use crate::domain::{ConversationId, MessageId};
use crate::error::Result;
use crate::event::{Envelope, Event};
use crate::moderation::AccessGuard;
use crate::store::{
    Cache, ConversationStore, EventConsumer, EventPublisher, EventTail, FileStore, MessageStore, Outbox,
    PositionStore, PresenceStore, RateLimiter, RoomStore, UnreadStore, UserSource, UserStore,
};
use lookup::Lookups;
use typing::Typists;

/// One of every port.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Claims and cached answers.
    pub cache: Arc<dyn Cache>,
    /// Who is here.
    pub presence: Arc<dyn PresenceStore>,
    /// What is unread.
    pub unread: Arc<dyn UnreadStore>,
    /// The index of who is where.
    pub rooms: Arc<dyn RoomStore>,
    /// How often something may be done.
    pub limits: Arc<dyn RateLimiter>,
    /// What was said.
    pub messages: Arc<dyn MessageStore>,
    /// Who has received and read it.
    pub positions: Arc<dyn PositionStore>,
    /// Who talks where.
    pub conversations: Arc<dyn ConversationStore>,
    /// What files there are.
    pub files: Arc<dyn FileStore>,
    /// The profile cache.
    pub users: Arc<dyn UserStore>,
    /// Where profiles come from.
    pub source: Arc<dyn UserSource>,
    /// What truth has written and nobody has published yet.
    pub outbox: Arc<dyn Outbox>,
    /// Where events are published.
    pub publisher: Arc<dyn EventPublisher>,
    /// Where everything published can be followed.
    pub tail: Arc<dyn EventTail>,
    /// The derive worker's place in its group; without one nothing repeats what a crash left undone.
    pub derive: Option<Arc<dyn EventConsumer>>,
}

/// A chat: every use case over a set of ports. Clones share everything.
///
/// ```
/// use chat_core::domain::{Actor, UserId};
/// use chat_core::service::{Chat, NewGroup};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> chat_core::error::Result<()> {
/// let chat = Chat::in_memory();
/// let (ada, bob) = (Actor::user(UserId::new("ada")?), Actor::user(UserId::new("bob")?));
///
/// let group = chat.create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone())).await?;
/// chat.send(&ada, &group.id, "Hello, Bob!", None).await?;
///
/// assert_eq!(chat.unread(&bob, &group.id).await?.messages, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Chat {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ports: Ports,
    clock: Arc<dyn Clock>,
    settings: ChatSettings,
    guard: AccessGuard,
    typists: Typists,
    lookups: Lookups,
    /// This process among others, for claims.
    node: String,
    written: Notify,
}

impl Chat {
    /// Begins to put a chat together; what is not given is in memory.
    pub fn builder() -> ChatBuilder {
        ChatBuilder::default()
    }

    /// A chat in memory: nothing to install, and gone with the process.
    pub fn in_memory() -> Self {
        Self::builder().build()
    }

    /// The ports it runs on.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// The rules it runs by.
    pub fn settings(&self) -> &ChatSettings {
        &self.inner.settings
    }

    /// The one that decides who may do what.
    pub fn guard(&self) -> &AccessGuard {
        &self.inner.guard
    }

    /// The time now, on the clock everything is measured with.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Truth has written events: wakes the relay.
    fn wrote(&self) {
        self.inner.written.notify_one();
    }

    /// A new message id; ids sort roughly by time, but order comes from `Seq`.
    fn new_message_id(&self) -> MessageId {
        MessageId::from_uuid(self.new_uuid())
    }

    /// A new conversation id.
    fn new_conversation_id(&self) -> ConversationId {
        ConversationId::from_uuid(self.new_uuid())
    }

    fn new_uuid(&self) -> uuid::Uuid {
        let millis = self.now().as_millis();
        let nanos = u32::try_from(millis % 1_000 * 1_000_000).unwrap_or_default();
        uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, nanos))
    }

    /// Publishes an event of volatile state, which no truth has written. Losing one heals by itself, so a failure is
    /// only counted.
    async fn announce(&self, event: impl Into<Event>) {
        let cause = self.new_uuid().to_string();
        let envelope = Envelope::new(&[&cause], self.now(), event);
        let name = envelope.name().to_owned();
        if let Err(error) = self.inner.ports.publisher.publish_many(&[envelope]).await {
            metrics::counter!("chat_announcements_lost_total", "event" => name).increment(1);
            tracing::warn!(code = %error.code(), "an announcement was lost");
        }
    }
}

/// Goes on after a failure of derived state: the derive worker repeats it.
fn derived<T>(what: &'static str, outcome: Result<T>) {
    if let Err(error) = outcome {
        metrics::counter!("chat_derived_failures_total", "what" => what).increment(1);
        tracing::warn!(code = %error.code(), what, "derived state lags behind");
    }
}
