//! Who is here, as sockets are told.
//!
//! An event says that something changed; what is told is how the user is now. The announcements of two servers may come in
//! another order than what they announce, and a Redis that lost what it had begins anew: so whoever is here is never told to
//! be gone, and nobody is told twice that somebody is here.

use chat_core::clock::Timestamp;
use chat_core::domain::presence::VisiblePresence;
use chat_core::domain::{ConversationId, Freshness, PresenceStatus, UserId};
use chat_core::store::PresenceStoreExt;
use moka::sync::Cache;
use serde_json::json;

use crate::app::App;
use crate::gateway::conn::Frame;
use crate::recovery;

/// Of how many users it is remembered what was told: others may be told it again.
const REMEMBERED: u64 = 100_000;

/// What sockets here were last told of each user.
#[derive(Debug)]
pub(crate) struct Told(Cache<UserId, PresenceStatus>);

impl Default for Told {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Told {
    /// Whether it is news.
    fn is_news(&self, user: &UserId, status: PresenceStatus) -> bool {
        let is_news = self.0.get(user) != Some(status);
        if is_news {
            self.0.insert(user.clone(), status);
        }
        is_news
    }
}

/// What this server knows by itself of a user, while nobody else can say: that it has sockets here, and looks as was last told.
/// Of whoever looks offline or is elsewhere nothing is known.
pub(crate) fn here(app: &App, user: &UserId) -> Option<VisiblePresence> {
    let (devices, status) = (app.sockets.count(user), app.told.0.get(user)?);
    let is_seen = !matches!(status, PresenceStatus::Offline | PresenceStatus::Invisible);
    let age = recovery::away(app).unwrap_or_default();
    (devices > 0 && is_seen).then(|| VisiblePresence {
        user_id: user.clone(),
        status,
        devices,
        last_active: None,
        freshness: Freshness::of_process(age),
    })
}

/// Tells those who share a conversation with a user how it is; `said` by the event, in case nobody knows better.
pub(super) async fn changed(
    app: &App,
    user: &UserId,
    conversations: &[ConversationId],
    said: PresenceStatus,
    at: Timestamp,
) {
    // All who are told share a conversation with the user, and none of them is the user.
    let anybody = UserId::derived(&["somebody who shares a conversation"]);
    let seen = match app.chat.ports().presence.get(user).await {
        Ok(presence) => presence.seen_by(&anybody, true, app.chat.now()),
        Err(error) => {
            tracing::warn!(code = %error.code(), "how a user is could not be found out");
            VisiblePresence {
                user_id: user.clone(),
                status: said,
                devices: 0,
                last_active: None,
                freshness: Freshness::default(),
            }
        }
    };
    // Who came and went before that could be told has gone once more.
    let has_gone = said == PresenceStatus::Offline && seen.status == PresenceStatus::Offline;
    if !app.told.is_news(user, seen.status) && !has_gone {
        return;
    }
    let (event, payload) = match seen.status {
        PresenceStatus::Online | PresenceStatus::Dnd => {
            ("user_online", json!({ "userId": user, "status": seen.status, "timestamp": at }))
        }
        PresenceStatus::Away => ("user_idle", json!({ "userId": user, "timestamp": at })),
        PresenceStatus::Offline | PresenceStatus::Invisible => {
            let mut payload = json!({ "userId": user, "timestamp": at });
            if let (Some(last), Some(payload)) = (seen.last_active, payload.as_object_mut()) {
                payload.insert("lastActive".to_owned(), json!(last));
            }
            ("user_offline", payload)
        }
    };
    if let Some(frame) = Frame::new(event, &payload) {
        app.sockets.send_rooms(conversations, user, &frame);
    }
}
