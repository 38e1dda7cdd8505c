//! Members: letting in, taking out, leaving, roles.

use chat_core::domain::RoomRole;
use chat_core::domain::id::kind;
use chat_core::moderation::Action;
use serde::Deserialize;
use serde_json::json;

use super::fields::{IdField, OneOrMany};
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParticipantRequest {
    conversation_id: IdField<kind::Conversation>,
    participant_id: OneOrMany<kind::User>,
}

pub(super) async fn add(caller: &Caller, request: ParticipantRequest) -> Answer {
    let (id, users) = (request.conversation_id.get()?, request.participant_id.get()?);
    let added = caller.app.chat.add_members(&caller.conn.actor, &id, &users).await?;
    done(json!({ "conversationId": id, "added": added }))
}

pub(super) async fn remove(caller: &Caller, request: ParticipantRequest) -> Answer {
    let (chat, actor) = (&caller.app.chat, &caller.conn.actor);
    let (id, users) = (request.conversation_id.get()?, request.participant_id.get()?);
    // Also for an empty list: what one may not see is forbidden.
    chat.guard().check(actor, &id, Action::Read).await?;
    let mut removed = Vec::new();
    for user in users {
        if chat.remove_member(actor, &id, &user).await? {
            // Nothing more is sent to the removed from here on; the other processes follow the log.
            caller.app.sockets.expel(&id, &user);
            removed.push(user);
        }
    }
    done(json!({ "conversationId": id, "removed": removed }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaveRequest {
    conversation_id: IdField<kind::Conversation>,
}

pub(super) async fn leave(caller: &Caller, request: LeaveRequest) -> Answer {
    let id = request.conversation_id.get()?;
    if caller.app.chat.leave(&caller.conn.actor, &id).await? {
        caller.app.sockets.expel(&id, caller.conn.user());
    }
    done(json!({ "conversationId": id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JoinRequest {
    conversation_id: IdField<kind::Conversation>,
    accept: Option<bool>,
}

/// Nobody joins by asking: a member stays one, or leaves by not accepting.
pub(super) async fn join(caller: &Caller, request: JoinRequest) -> Answer {
    if request.accept == Some(false) {
        return leave(caller, LeaveRequest { conversation_id: request.conversation_id }).await;
    }
    let id = request.conversation_id.get()?;
    caller.app.chat.guard().check(&caller.conn.actor, &id, Action::Read).await?;
    done(json!({ "conversationId": id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleRequest {
    conversation_id: IdField<kind::Conversation>,
    target_user_id: IdField<kind::User>,
    role: RoomRole,
}

pub(super) async fn set_role(caller: &Caller, request: RoleRequest) -> Answer {
    let (id, user, role) = (request.conversation_id.get()?, request.target_user_id.get()?, request.role);
    caller.app.chat.set_role(&caller.conn.actor, &id, &user, role).await?;
    done(json!({ "conversationId": id, "targetUserId": user, "role": role }))
}
