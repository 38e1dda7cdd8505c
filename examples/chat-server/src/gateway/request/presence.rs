//! Presence, typing, privacy, and who one is.

use chat_core::clock::Timestamp;
use chat_core::domain::id::kind;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::presence::VisiblePresence;
use chat_core::domain::{ConversationId, PresenceStatus, UserId, Visibility};
use chat_core::error::Result;
use chat_core::moderation::{Access, Action};
use chat_core::store::conversations::ConversationFilter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fields::{IdField, Ignored, echo};
use crate::fanout::here;
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlaceRequest {
    conversation_id: IdField<kind::Conversation>,
}

pub(super) async fn typing(caller: &Caller, request: PlaceRequest) -> Answer {
    let chat = &caller.app.chat;
    chat.start_typing(&caller.conn.actor, &request.conversation_id.get()?, None).await?;
    let timeout = u64::try_from(chat.settings().typing_timeout.as_millis()).unwrap_or(u64::MAX);
    done(json!({ "expiresInMs": timeout }))
}

pub(super) async fn stop_typing(caller: &Caller, request: PlaceRequest) -> Answer {
    let (chat, actor, id) = (&caller.app.chat, &caller.conn.actor, request.conversation_id.get()?);
    chat.guard().check(actor, &id, Action::Type).await?;
    chat.stop_typing(actor, &id).await;
    done(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeartbeatRequest {
    client_time: Option<Value>,
}

/// The lease of a socket that lives is renewed anyway; this tells the client that the server does.
pub(super) async fn heartbeat(caller: &Caller, request: HeartbeatRequest) -> Answer {
    done(HeartbeatAnswer { server_time: caller.app.chat.now(), client_time: echo(request.client_time) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatAnswer {
    server_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_time: Option<Value>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StatusRequest {
    status: PresenceStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

pub(super) async fn set_status(caller: &Caller, request: StatusRequest) -> Answer {
    caller.app.chat.set_status(&caller.conn.actor, request.status, request.until).await?;
    done(request)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PrivacyRequest {
    last_seen: Visibility,
}

pub(super) async fn set_privacy(caller: &Caller, request: PrivacyRequest) -> Answer {
    caller.app.chat.set_privacy(&caller.conn.actor, request.last_seen).await?;
    done(json!({ "lastSeen": request.last_seen }))
}

pub(super) async fn online_users(caller: &Caller, request: PlaceRequest) -> Answer {
    let id = request.conversation_id.get()?;
    let access = caller.app.chat.guard().check(&caller.conn.actor, &id, Action::Read).await?;
    let Online { online, total } = online(caller, &id).await?;
    let Access { role, .. } = access;
    done(json!({
        "conversationId": id,
        "onlineCount": online.len(),
        "online": online,
        "totalCount": total,
        "userRole": role,
    }))
}

pub(super) async fn online_counts(caller: &Caller, _: Ignored) -> Answer {
    let page = Page::first(MAX_PAGE);
    let conversations = &caller.app.chat.ports().conversations;
    let found = conversations.list(caller.conn.user(), &ConversationFilter::default(), &page).await?;
    let mut counts = Vec::with_capacity(found.items.len());
    for membership in found.items {
        let id = membership.conversation.id;
        let Online { online, total } = online(caller, &id).await?;
        counts.push(json!({ "conversationId": id, "onlineCount": online.len(), "totalCount": total }));
    }
    done(json!({ "conversations": counts }))
}

/// Who of a conversation is here, as the caller may know.
struct Online {
    online: Vec<VisiblePresence>,
    total: u64,
}

async fn online(caller: &Caller, id: &ConversationId) -> Result<Online> {
    let (chat, actor) = (&caller.app.chat, &caller.conn.actor);
    let (mut seen, mut page) = (Online { online: Vec::new(), total: 0 }, Page::first(MAX_PAGE));
    loop {
        let members = chat.members(actor, id, &page).await?;
        let users: Vec<UserId> = members.items.into_iter().map(|member| member.user_id).collect();
        let presence = match chat.presence(actor, id, &users).await {
            // That the caller may ask was found out above.
            Err(error) if error.is_transient() => {
                users.iter().filter_map(|user| here(&caller.app, user)).collect()
            }
            known => known?,
        };
        seen.total += users.len() as u64;
        seen.online
            .extend(presence.into_iter().filter(|presence| presence.status != PresenceStatus::Offline));
        match members.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(seen),
        }
    }
}

pub(super) async fn dashboard(caller: &Caller, _: Ignored) -> Answer {
    done(caller.app.chat.presence_stats(&caller.conn.actor).await?)
}

/// Who one is was settled at the door; what the payload says is not even read.
pub(super) async fn authenticate(caller: &Caller, _: Ignored) -> Answer {
    let identity = &caller.conn.identity;
    done(json!({
        "userId": identity.user,
        "name": identity.name,
        "roles": identity.roles,
        "expiresAt": identity.expires,
    }))
}
