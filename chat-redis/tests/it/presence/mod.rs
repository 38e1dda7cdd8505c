//! Presence on real servers: what is lost on the way, moved, odd or simply large.

mod cluster;
mod large;
mod lost;
mod nodes;
mod odd;

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::{SessionId, Transition, UserId};
use chat_core::error::Result;
use chat_core::store::presence::Connect;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_redis::{Redis, RedisConfig, RedisPresence, RedisService};
use chat_testkit::Trial;

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) fn trials() -> Vec<Trial> {
    let topics = [cluster::trials(), large::trials(), lost::trials(), nodes::trials(), odd::trials()];
    topics.into_iter().flatten().collect()
}

/// One node of a service.
#[derive(Clone)]
struct Node {
    presence: Arc<RedisPresence>,
    clock: ManualClock,
}

/// A node on this clock that asks again when no reply comes for this long.
async fn waiting(url: &str, clock: &ManualClock, patience: Duration) -> Node {
    let mut config = RedisConfig::from_url(url).unwrap();
    config.timing.operation = Duration::from_secs(5);
    config.timing.response = patience;
    let config = config.with_clock(Arc::new(clock.clone()));
    let service = RedisService::connect(&config).await.unwrap();
    let Redis { presence, .. } = Redis::new(service, &config.keys);
    Node { presence, clock: clock.clone() }
}

async fn node(url: &str) -> Node {
    waiting(url, &ManualClock::default(), Duration::from_secs(2)).await
}

fn user(name: impl AsRef<str>) -> UserId {
    UserId::new(name).unwrap()
}

fn session(name: impl AsRef<str>) -> SessionId {
    SessionId::new(name).unwrap()
}

fn numbered(prefix: &str, count: usize) -> Vec<UserId> {
    (0..count).map(|nth| user(format!("{prefix}{nth:05}"))).collect()
}

impl Node {
    async fn try_connect(&self, user: &UserId, name: &str, lease: Duration) -> Result<Transition> {
        let connect = Connect { user: user.clone(), session: session(name), device: None, lease };
        self.presence.connect(&connect).await
    }

    async fn connect(&self, user: &UserId, name: &str, lease: Duration) -> Transition {
        self.try_connect(user, name, lease).await.unwrap()
    }

    async fn disconnect(&self, user: &UserId, name: &str) -> Transition {
        self.presence.disconnect(user, &session(name)).await.unwrap()
    }

    async fn sessions(&self, user: &UserId) -> usize {
        self.presence.get(user).await.unwrap().sessions.len()
    }

    async fn is_online(&self, user: &UserId) -> bool {
        self.presence.is_online(user).await.unwrap()
    }

    /// Connects many users, one session each.
    async fn all_connect(&self, users: &[UserId], lease: Duration) {
        for part in users.chunks(500) {
            let connects = part.iter().map(|user| self.connect(user, "1", lease));
            let transitions = futures::future::join_all(connects).await;
            assert!(transitions.iter().all(|transition| *transition == Transition::WentOnline));
        }
    }
}
