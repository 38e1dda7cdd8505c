//! What each event means for the sockets here.

use std::sync::Arc;

use chat_core::clock::Timestamp;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{ConversationId, ConversationKind, MessageId, PresenceStatus, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{
    ConversationCreated, ConversationNameUpdated, CoveredIds, DeleteType, Envelope, Event, MessageDeleted,
    MessageSent, ParticipantAdded,
};
use chat_core::store::ConversationStoreExt;
use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope};
use serde_json::{Value, json};

use super::badges::Badge;
use super::presence;
use crate::app::App;
use crate::gateway::conn::{Conn, Frame};
use crate::gateway::sockets::flush;
use crate::gateway::status::Status;
use crate::gateway::view::MessageObject;

/// Tells the sockets here what happened; with a change of name, of the picture that changed with it. What cannot be found out
/// for it is left out and logged.
pub(super) async fn one(app: &App, envelope: &Envelope, picture: Option<Option<String>>) {
    if let Event::ConversationNameUpdated(name) = &envelope.event {
        renamed(app, name, picture, envelope.at);
    } else if let Err(error) = tell(app, envelope).await {
        tracing::warn!(event = envelope.name(), code = %error.code(), "an event could not be told in full");
    }
}

async fn tell(app: &App, envelope: &Envelope) -> Result<()> {
    let at = envelope.at;
    match &envelope.event {
        Event::MessageSent(sent) => flush(hold(app, sent)),
        Event::MessageEdited(event) => {
            let mentions = Some(&event.mentions).filter(|mentions| !mentions.is_empty());
            let mut payload = json!({
                "messageId": event.message_id, "conversationId": event.conversation_id, "seq": event.seq,
                "newContent": event.new_content, "revision": event.revision, "editedBy": event.editor_id,
                "editedAt": event.edited_at,
            });
            if let (Some(mentions), Some(payload)) = (mentions, payload.as_object_mut()) {
                payload.insert("mentions".to_owned(), json!(mentions));
            }
            room(app, &event.conversation_id, "message:edited", &payload);
        }
        Event::MessageDeleted(event) => deleted(app, event).await?,
        Event::MessageReactionAdded(event) => {
            reaction(
                app,
                (&event.message_id, &event.conversation_id, &event.user_id),
                &event.emoji,
                event.count,
                true,
                at,
            );
        }
        Event::MessageReactionRemoved(event) => {
            reaction(
                app,
                (&event.message_id, &event.conversation_id, &event.user_id),
                &event.emoji,
                event.count,
                false,
                at,
            );
        }
        Event::MessagePinned(event) => {
            let changes = json!({ "pinnedMessage": { "messageId": event.message_id, "on": true } });
            updated(app, &event.conversation_id, &event.user_id, &changes, at);
        }
        Event::MessageUnpinned(event) => {
            let changes = json!({ "pinnedMessage": { "messageId": event.message_id, "on": false } });
            updated(app, &event.conversation_id, &event.user_id, &changes, at);
        }
        Event::MessageDelivered(event) => {
            let receipt = (&event.conversation_id, &event.user_id, event.up_to_seq);
            status(app, receipt, &event.message_ids, Status::Delivered, event.timestamp).await?;
        }
        Event::MessageRead(event) => {
            let receipt = (&event.conversation_id, &event.reader_id, event.up_to_seq);
            status(app, receipt, &event.message_ids, Status::Read, event.read_at).await?;
            badge(app, &event.reader_id, &event.conversation_id, false);
        }
        Event::MessageUnread(event) => badge(app, &event.reader_id, &event.conversation_id, false),
        Event::FileDeleted(event) => {
            let payload = json!({
                "fileId": event.file_id, "conversationId": event.conversation_id, "deletedBy": event.deleter_id,
                "timestamp": event.deleted_at,
            });
            room(app, &event.conversation_id, "file:deleted", &payload);
        }
        Event::TypingStarted(event) => typing(app, &event.conversation_id, &event.user_id, "userTyping"),
        Event::TypingStopped(event) => {
            typing(app, &event.conversation_id, &event.user_id, "userStoppedTyping")
        }
        Event::PresenceOnline(event) => {
            presence::changed(app, &event.user_id, &event.conversations, PresenceStatus::Online, at).await;
        }
        Event::PresenceIdle(event) => {
            presence::changed(app, &event.user_id, &event.conversations, PresenceStatus::Away, at).await;
        }
        Event::PresenceOffline(event) => {
            presence::changed(app, &event.user_id, &event.conversations, PresenceStatus::Offline, at).await;
        }
        event => conversation(app, event, at).await?,
    }
    Ok(())
}

/// Changes of a conversation and its members.
async fn conversation(app: &App, event: &Event, at: Timestamp) -> Result<()> {
    match event {
        Event::ConversationCreated(event) => created(app, event, at).await?,
        Event::ParticipantAdded(event) => added(app, event).await?,
        Event::ParticipantRemoved(event) => {
            app.sockets.expel(&event.conversation_id, &event.participant_id);
            app.sockets.resize(&event.conversation_id, event.total_participants);
            let payload = json!({
                "conversationId": event.conversation_id, "participantIds": [event.participant_id],
                "removedBy": event.removed_by, "timestamp": event.removed_at,
            });
            room_and(app, &event.conversation_id, &event.participant_id, "participant:removed", &payload);
        }
        Event::ParticipantLeft(event) => {
            app.sockets.expel(&event.conversation_id, &event.participant_id);
            app.sockets.resize(&event.conversation_id, event.total_participants);
            let payload = json!({
                "conversationId": event.conversation_id, "userId": event.participant_id, "timestamp": event.left_at,
            });
            room_and(app, &event.conversation_id, &event.participant_id, "participant:left", &payload);
        }
        Event::ParticipantRoleChanged(event) => {
            let payload = json!({
                "conversationId": event.conversation_id, "targetUserId": event.participant_id, "role": event.role,
                "updatedBy": event.changed_by, "timestamp": at,
            });
            room(app, &event.conversation_id, "role:updated", &payload);
        }
        Event::ConversationAvatarUpdated(event) => {
            updated(app, &event.conversation_id, &event.updated_by, &json!({ "avatar": event.avatar }), at);
        }
        event => settings(app, event, at),
    }
    Ok(())
}

/// What a member keeps for itself, for its own devices.
fn settings(app: &App, event: &Event, at: Timestamp) {
    let (conversation, user, changes, counts) = match event {
        Event::ConversationArchived(event) => {
            (&event.conversation_id, &event.user_id, json!({ "archived": true }), true)
        }
        Event::ConversationUnarchived(event) => {
            (&event.conversation_id, &event.user_id, json!({ "archived": false }), true)
        }
        Event::ConversationMuted(event) => {
            let changes = match event.until {
                Some(until) => json!({ "muted": true, "mutedUntil": until }),
                None => json!({ "muted": true }),
            };
            (&event.conversation_id, &event.user_id, changes, true)
        }
        Event::ConversationUnmuted(event) => {
            (&event.conversation_id, &event.user_id, json!({ "muted": false }), true)
        }
        Event::ConversationPinned(event) => {
            (&event.conversation_id, &event.user_id, json!({ "pinned": true }), false)
        }
        Event::ConversationUnpinned(event) => {
            (&event.conversation_id, &event.user_id, json!({ "pinned": false }), false)
        }
        _ => return,
    };
    let payload =
        json!({ "conversationId": conversation, "changes": changes, "updatedBy": user, "timestamp": at });
    if let Some(frame) = Frame::new("conversation:updated", &payload) {
        app.sockets.send_user(user, &frame);
    }
    if counts {
        badge(app, user, conversation, true);
    }
}

/// Holds a new message, unless it or a later one was sent before; answers the sockets that have to be flushed.
pub(super) fn hold(app: &App, sent: &MessageSent) -> Vec<Arc<Conn>> {
    let others = Frame::new("newMessage", &MessageObject::sent(sent, false));
    let own = match &sent.client_key {
        Some(_) => Frame::new("newMessage", &MessageObject::sent(sent, true)),
        None => others.clone(),
    };
    let (Some(others), Some(own)) = (others, own) else { return Vec::new() };
    app.sockets.hold_message(&sent.conversation_id, sent.seq.0, sent.sender_id.as_ref(), &others, &own)
}

async fn deleted(app: &App, event: &MessageDeleted) -> Result<()> {
    let payload = json!({
        "messageId": event.message_id, "conversationId": event.conversation_id, "seq": event.seq,
        "deleteType": event.delete_type, "deletedBy": event.deleter_id, "deletedAt": event.deleted_at,
    });
    match (event.delete_type, &event.deleter_id) {
        (DeleteType::ForMe, Some(user)) => {
            if let Some(frame) = Frame::new("message:deleted", &payload) {
                app.sockets.send_user(user, &frame);
            }
            Ok(())
        }
        _ => {
            room(app, &event.conversation_id, "message:deleted", &payload);
            lower(app, &event.conversation_id, event.seq).await
        }
    }
}

/// A message is gone: whoever had it unread has one less.
async fn lower(app: &App, conversation: &ConversationId, seq: Seq) -> Result<()> {
    let members = app.sockets.members(conversation);
    let places: Vec<_> = members.into_iter().map(|user| (user, conversation.clone())).collect();
    let receipts = app.chat.ports().positions.receipts_many(&places).await?;
    for ((user, conversation), receipts) in places.iter().zip(receipts) {
        if receipts.read.reached(receipts.own) < seq {
            badge(app, user, conversation, false);
        }
    }
    Ok(())
}

fn reaction(
    app: &App,
    (message, conversation, user): (&MessageId, &ConversationId, &UserId),
    emoji: &str,
    count: u64,
    on: bool,
    at: Timestamp,
) {
    let payload = json!({
        "messageId": message, "conversationId": conversation, "userId": user, "emoji": emoji, "on": on,
        "count": count, "timestamp": at,
    });
    room(app, conversation, "message:reaction", &payload);
}

/// A user has received or read everything up to a message. Large conversations are not told.
async fn status(
    app: &App,
    (conversation, user, up_to): (&ConversationId, &UserId, Seq),
    covered: &CoveredIds,
    status: Status,
    at: Timestamp,
) -> Result<()> {
    let size = app.sockets.size(conversation);
    if size == 0 || size > u64::from(app.chat.settings().announce_max) {
        return Ok(());
    }
    let message = match covered {
        CoveredIds::Ids(ids) if !ids.is_empty() => ids.last().cloned(),
        _ => message_at(app, conversation, up_to).await?,
    };
    let payload = json!({
        "messageId": message, "conversationId": conversation, "upToSeq": up_to, "userId": user, "status": status,
        "timestamp": at,
    });
    room(app, conversation, "message:status", &payload);
    Ok(())
}

async fn message_at(app: &App, conversation: &ConversationId, seq: Seq) -> Result<Option<MessageId>> {
    let query = HistoryQuery {
        conversation: conversation.clone(),
        viewer: None,
        scope: HistoryScope::Everything,
        anchor: Anchor::Before(seq.next()),
        limit: 1,
    };
    let found = app.chat.ports().messages.history(&query).await?;
    Ok(found.messages.into_iter().next_back().map(|message| message.id))
}

async fn created(app: &App, event: &ConversationCreated, at: Timestamp) -> Result<()> {
    let id = &event.conversation_id;
    if event.participant_count > event.participants.len() as u64 {
        let all = members(app, id).await?;
        app.sockets.join(id, &all, event.participant_count);
    } else {
        app.sockets.join(id, &event.participants, event.participant_count);
    }
    let payload =
        announcement(id, event.kind, event.name.as_deref(), &event.created_by, &event.participants, at);
    room(app, id, "conversation:created", &payload);
    Ok(())
}

fn announcement(
    id: &ConversationId,
    kind: ConversationKind,
    name: Option<&str>,
    created_by: &UserId,
    participants: &[UserId],
    at: Timestamp,
) -> Value {
    json!({
        "conversationId": id, "type": kind, "name": name, "createdBy": created_by, "participants": participants,
        "timestamp": at,
    })
}

/// Somebody is new: it is told of the conversation first, then everybody of the newcomer.
async fn added(app: &App, event: &ParticipantAdded) -> Result<()> {
    let (id, user) = (&event.conversation_id, &event.participant_id);
    app.sockets.join(id, [user], event.total_participants);
    if app.sockets.has(user)
        && let Some(conversation) = app.chat.ports().conversations.get(id).await?
    {
        let mut all = members(app, id).await?;
        all.truncate(chat_core::event::MAX_NAMED_PARTICIPANTS);
        let (kind, name, by) = (conversation.kind, conversation.name.as_deref(), &conversation.created_by);
        let payload = announcement(id, kind, name, by, &all, conversation.created_at);
        if let Some(frame) = Frame::new("conversation:created", &payload) {
            app.sockets.send_user(user, &frame);
        }
    }
    let payload = json!({
        "conversationId": id, "participantIds": [user], "addedBy": event.added_by, "timestamp": event.added_at,
    });
    room(app, id, "participant:added", &payload);
    Ok(())
}

async fn members(app: &App, id: &ConversationId) -> Result<Vec<UserId>> {
    let (mut all, mut page) = (Vec::new(), Page::first(MAX_PAGE));
    loop {
        let found = match app.chat.ports().conversations.members(id, &page).await {
            Err(error) if error.code() == Code::ConversationNotFound => return Ok(all),
            found => found?,
        };
        all.extend(found.items.into_iter().map(|member| member.user_id));
        match found.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(all),
        }
    }
}

fn typing(app: &App, conversation: &ConversationId, user: &UserId, event: &'static str) {
    if let Some(frame) = Frame::new(event, &json!({ "userId": user, "conversationId": conversation })) {
        app.sockets.send_room(conversation, Some(user), &frame);
    }
}

/// Another name, and the picture if that changed with it.
fn renamed(app: &App, name: &ConversationNameUpdated, picture: Option<Option<String>>, at: Timestamp) {
    let changes = match picture {
        Some(avatar) => json!({ "name": name.name, "avatar": avatar }),
        None => json!({ "name": name.name }),
    };
    updated(app, &name.conversation_id, &name.updated_by, &changes, at);
}

fn updated(app: &App, conversation: &ConversationId, by: &UserId, changes: &Value, at: Timestamp) {
    let payload =
        json!({ "conversationId": conversation, "changes": changes, "updatedBy": by, "timestamp": at });
    room(app, conversation, "conversation:updated", &payload);
}

fn room(app: &App, conversation: &ConversationId, event: &'static str, payload: &Value) {
    if let Some(frame) = Frame::new(event, payload) {
        app.sockets.send_room(conversation, None, &frame);
    }
}

/// The members who are here, and one user who is not a member any more.
fn room_and(app: &App, conversation: &ConversationId, user: &UserId, event: &'static str, payload: &Value) {
    if let Some(frame) = Frame::new(event, payload) {
        app.sockets.send_room(conversation, Some(user), &frame);
        app.sockets.send_user(user, &frame);
    }
}

fn badge(app: &App, user: &UserId, conversation: &ConversationId, if_any: bool) {
    if app.sockets.has(user) {
        app.badges.want(Badge { user: user.clone(), conversation: conversation.clone(), if_any });
    }
}
