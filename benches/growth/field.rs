//! A Redis of its own, our ports on it, and a chat whose truth is in memory.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::Ring;
use chat_core::clock::SystemClock;
use chat_core::domain::message::{Draft, NewMessage};
use chat_core::domain::{
    Actor, ConversationId, ConversationKind, MessageId, RoomId, RoomRole, SessionId, UserId,
};
use chat_core::memory::MemoryEvents;
use chat_core::service::{Chat, ChatSettings, NewGroup};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::RoomChange;
use chat_core::store::{MessageStore, PresenceStore};
use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::server::Redis as Server;
use futures::StreamExt;

/// Longer than a run.
pub(crate) const LEASE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long an answer may take while everything is filled.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many are filled in at once.
const AT_ONCE: usize = 64;

/// A server, and those who talk to it.
pub(crate) struct Field {
    pub(crate) server: Arc<Server>,
    pub(crate) redis: Redis,
    pub(crate) chat: Chat,
}

impl Field {
    /// An empty one; says why and gives none where there is no server.
    pub(crate) fn set(ring: &Ring) -> Option<Self> {
        let server = match Server::spawn() {
            Ok(server) => server,
            Err(absent) => {
                println!("nothing is measured: {}", absent.0);
                return None;
            }
        };
        let mut config = RedisConfig::from_url(&server.url()).unwrap();
        // Nobody asks an idle connection whether it lives; and a busy machine makes slow figures, not none.
        (config.timing.idle, config.timing.response) = (LEASE, PATIENCE);
        config.timing.operation = PATIENCE;
        let redis =
            ring.prepare(async { Redis::new(RedisService::connect(&config).await.unwrap(), &config.keys) });
        // A log of its own has no group that would keep every event.
        let events = Arc::new(MemoryEvents::new(Arc::new(SystemClock)));
        let builder = Chat::builder().publisher(Arc::clone(&events) as _).tail(events);
        let mut settings = ChatSettings::default().with_max_members(1_000_000);
        // A heartbeat makes a lease later: what makes it sooner is rare, and costs more.
        settings.presence_lease = LEASE;
        let chat = redis.clone().equip(builder.settings(settings)).build();
        Some(Self { server: Arc::new(server), redis, chat })
    }

    /// Bytes of the server's memory in use, without the buffers of those who talk to it.
    pub(crate) fn memory(&self) -> f64 {
        let bytes = |field| self.server.info(field).and_then(|bytes| bytes.parse::<f64>().ok()).unwrap();
        bytes("used_memory") - bytes("mem_clients_normal")
    }

    /// Brings users online, with one session each.
    pub(crate) async fn connect(&self, users: std::ops::Range<usize>) {
        let presence = &self.redis.presence;
        each(users, |nth| async move {
            let connect = Connect { user: user(nth), session: session(nth), device: None, lease: LEASE };
            presence.connect(&connect).await.unwrap();
        })
        .await;
    }

    /// A group of the first so many users, with so many messages nobody has read.
    pub(crate) async fn group(
        &self,
        name: &str,
        members: impl Iterator<Item = usize>,
        messages: usize,
    ) -> ConversationId {
        let id = conversation(name);
        let mut group = NewGroup::named(name).with_id(id.clone());
        let members: Vec<usize> = members.collect();
        group.members = members.iter().map(|nth| (user(*nth), RoomRole::Member)).collect();
        self.chat.create_group(&writer(), group).await.unwrap();
        self.fill(&id, messages).await;
        id
    }

    /// So many messages of somebody else.
    pub(crate) async fn fill(&self, id: &ConversationId, messages: usize) {
        for first in (0..messages).step_by(1_000) {
            let count = 1_000.min(messages - first);
            let new: Vec<_> = (first..first + count).map(|nth| said(id, nth)).collect();
            let answers = self.chat.ports().messages.append_many(&new).await.unwrap();
            assert!(answers.iter().all(Result::is_ok));
            self.chat.relay_once().await.unwrap();
        }
        if messages > 0 {
            // One through the door, so that what is derived knows of all.
            self.chat.send(&writer(), id, "the last one", None).await.unwrap();
        }
        self.chat.relay_once().await.unwrap();
    }
}

/// Does something for each number, many at a time.
pub(crate) async fn each<F: Future<Output = ()>>(
    numbers: impl IntoIterator<Item = usize>,
    work: impl Fn(usize) -> F,
) {
    futures::stream::iter(numbers).for_each_concurrent(AT_ONCE, work).await;
}

/// An id of the length of the seeds' own.
pub(crate) fn user(nth: usize) -> UserId {
    UserId::new(format!("507f1f77{nth:016x}")).unwrap()
}

pub(crate) fn session(nth: usize) -> SessionId {
    SessionId::new(format!("session{nth:013}")).unwrap()
}

pub(crate) fn actor(nth: usize) -> Actor {
    Actor::user(user(nth))
}

/// Who is in every group, and no one of those who are counted.
pub(crate) fn writer() -> Actor {
    Actor::user(UserId::new("507f1f77ffffffffffffffff").unwrap())
}

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::new(format!("room-{name:0>19}")).unwrap()
}

pub(crate) fn conversation(name: &str) -> ConversationId {
    ConversationId::new(format!("conv-{name:0>19}")).unwrap()
}

pub(crate) fn member(nth: usize) -> RoomChange {
    RoomChange { user: user(nth), role: Some(RoomRole::Member), version: 0 }
}

/// A message of 61 bytes.
pub(crate) fn said(conversation: &ConversationId, nth: usize) -> NewMessage {
    NewMessage {
        id: MessageId::new(format!("{conversation}-{nth:012x}")).unwrap(),
        conversation_id: conversation.clone(),
        conversation_kind: ConversationKind::Group,
        sender_id: Some(writer().user),
        receiver_id: None,
        client_key: None,
        draft: Draft::text(TEXT),
    }
}

/// What is said.
pub(crate) const TEXT: &str = "See you tomorrow at the station, the first train leaves early";
