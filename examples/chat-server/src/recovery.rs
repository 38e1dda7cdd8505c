//! Redis goes and comes back: what it may have lost is brought back, and compared with the truth, before this server calls
//! itself healthy again.
//!
//! Presence comes from the sockets that are here, unread counts from the truth, events from the outbox. What nobody here is
//! concerned with is recounted by its next reader.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result;
use chat_core::store::CacheExt;
use chat_core::store::cache::CacheScope;
use chat_core::sync::{Recovery, RecoveryState, Resync, Resynced, Told};
use chat_redis::Redis;
use tokio::sync::watch;

use crate::app::{App, Phase};
use crate::presence;

/// How often it is looked whether Redis is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of how many users here the counts are compared; of the others when they are read.
const MOST_USERS: usize = 1_000;
/// Of how many conversations of each.
const MOST_CONVERSATIONS: usize = 100;

/// What lives in Redis, as far as it concerns this server.
#[derive(Debug)]
struct Derived {
    app: Arc<App>,
    redis: Redis,
}

#[async_trait]
impl Resync for Derived {
    async fn life(&self) -> Result<u64> {
        self.redis.cache.get(&CacheScope::new("recovery")?, "any").await?;
        // Another connection may be to a server that lost what it had.
        Ok(self.redis.service.stats().connected)
    }

    async fn resync(&self) -> Result<Resynced> {
        let app = &self.app;
        presence::beat(app).await?;
        app.chat.relay_once().await?;
        let mut found = app.chat.resync(&app.sockets.places(MOST_USERS, MOST_CONVERSATIONS)).await?;
        let here = app.sockets.users();
        let online = app.chat.ports().presence.are_online(&here).await?;
        // Who left meanwhile is not here any more.
        let missing =
            here.iter().zip(online).filter(|(user, online)| !online && app.sockets.has(user)).count() as u64;
        found += Resynced { compared: here.len() as u64, repaired: 0, unequal: missing };
        Ok(found)
    }
}

/// Looks after Redis until the server closes.
pub(crate) async fn run(app: Arc<App>, mut phases: watch::Receiver<Phase>) {
    let Some(redis) = app.backends.redis.clone() else { return };
    let derived = Derived { app: Arc::clone(&app), redis };
    let recovery = Recovery::new(Arc::new(derived), Arc::new(chat_core::clock::SystemClock), LOOK_EVERY);
    app.recovery.get_or_init(|| recovery.told());
    tokio::select! {
        () = recovery.run() => {}
        _ = phases.wait_for(|phase| *phase >= Phase::Closing) => {}
    }
}

/// How far this server is from being whole; nothing without Redis.
pub(crate) fn told(app: &App) -> Option<Told> {
    Some(*app.recovery.get()?.borrow())
}

/// For how long Redis has not been whole; nothing while it is.
pub(crate) fn away(app: &App) -> Option<Duration> {
    let told = told(app).filter(|told| told.state != RecoveryState::Healthy)?;
    Some(app.chat.now().since(told.since))
}
