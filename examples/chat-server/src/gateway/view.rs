//! The objects of the wire contract.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::message::{Reaction, ThreadPlace, ThreadSummary, Tombstone};
use chat_core::domain::presence::VisiblePresence;
use chat_core::domain::{
    Attachment, ClientKey, ConversationId, ConversationKind, MemberSettings, Mentions, Message, MessageId,
    MessageKind, Mute, RoomRole, Seq, UserId,
};
use chat_core::event::MessageSent;
use chat_core::service::{ConversationView, ParticipantView};
use serde::Serialize;

use super::status::{Progress, Status, delivered_up_to};

/// A message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageObject<'a> {
    message_id: &'a MessageId,
    conversation_id: &'a ConversationId,
    seq: Seq,
    sender_id: Option<&'a UserId>,
    content: &'a str,
    #[serde(rename = "type")]
    kind: MessageKind,
    status: Status,
    timestamp: Timestamp,
    revision: u32,
    reactions: &'a [Reaction],
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a ThreadPlace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replies: Option<&'a ThreadSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mentions: Option<&'a Mentions>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attachments: &'a [Attachment],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    silent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<&'a Tombstone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<PinObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_id: Option<&'a ClientKey>,
}

#[derive(Debug, Serialize)]
struct PinObject<'a> {
    by: &'a UserId,
    at: Timestamp,
}

impl<'a> MessageObject<'a> {
    /// A stored message, as `viewer` sees it.
    pub(crate) fn stored(message: &'a Message, viewer: &UserId, status: Status, now: Timestamp) -> Self {
        let own = message.sender_id.as_ref() == Some(viewer);
        let began_thread = message.replies.last_reply_at.is_some();
        Self {
            message_id: &message.id,
            conversation_id: &message.conversation_id,
            seq: message.seq,
            sender_id: message.sender_id.as_ref(),
            content: &message.content,
            kind: message.kind,
            status,
            timestamp: message.created_at,
            revision: message.revision,
            reactions: &message.reactions,
            reply_to: message.reply_to.as_ref(),
            thread: message.thread.as_ref(),
            replies: began_thread.then_some(&message.replies),
            mentions: Some(&message.mentions).filter(|mentions| !mentions.is_empty()),
            attachments: &message.attachments,
            metadata: &message.metadata,
            silent: message.silent,
            edited_at: message.edited_at,
            deleted: message.deleted.as_ref(),
            pin: message
                .pin
                .as_ref()
                .filter(|_| message.is_pinned(now))
                .map(|pin| PinObject { by: &pin.by, at: pin.at }),
            temporary_id: message.client_key.as_ref().filter(|_| own),
        }
    }

    /// A message that was just sent, as its sender's devices see it, or as all others do.
    pub(crate) fn sent(message: &'a MessageSent, own: bool) -> Self {
        Self {
            message_id: &message.message_id,
            conversation_id: &message.conversation_id,
            seq: message.seq,
            sender_id: message.sender_id.as_ref(),
            content: &message.content,
            kind: message.kind,
            status: Status::Sent,
            timestamp: message.timestamp,
            revision: 0,
            reactions: &[],
            reply_to: message.reply_to.as_ref(),
            thread: message.thread.as_ref(),
            replies: None,
            mentions: Some(&message.mentions).filter(|mentions| !mentions.is_empty()),
            attachments: &message.attachments,
            metadata: &message.metadata,
            silent: message.silent,
            edited_at: None,
            deleted: None,
            pin: None,
            temporary_id: message.client_key.as_ref().filter(|_| own),
        }
    }
}

/// A conversation as one of its members sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationObject<'a> {
    conversation_id: &'a ConversationId,
    #[serde(rename = "type")]
    kind: ConversationKind,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<&'a str>,
    created_by: &'a UserId,
    created_at: Timestamp,
    head_seq: Seq,
    participant_count: u32,
    max_participants: u32,
    participants: Vec<ParticipantObject<'a>>,
    last_message: Option<MessageObject<'a>>,
    role: RoomRole,
    unread_count: u64,
    mentions: u64,
    read_seq: Seq,
    #[serde(flatten)]
    settings: SettingsObject,
}

impl<'a> ConversationObject<'a> {
    /// A conversation; `progress` tells the status of its newest message.
    pub(crate) fn new(view: &'a ConversationView, progress: &Progress, now: Timestamp) -> Self {
        let (conversation, own) = (&view.membership.conversation, &view.membership.member);
        let last_message = view
            .last_message
            .as_ref()
            .map(|message| MessageObject::stored(message, &own.user_id, progress.status(message), now));
        let other = view.other();
        let others_avatar = other.and_then(|other| other.profile.as_ref()?.avatar.as_deref());
        Self {
            conversation_id: &conversation.id,
            kind: conversation.kind,
            name: other.map(name_of).or(conversation.name.as_deref()),
            avatar: conversation.avatar.as_deref().or(others_avatar),
            created_by: &conversation.created_by,
            created_at: conversation.created_at,
            head_seq: view.head,
            participant_count: conversation.member_count,
            max_participants: conversation.max_members,
            participants: view.participants.iter().map(ParticipantObject::new).collect(),
            last_message,
            role: own.role,
            unread_count: view.unread.messages,
            mentions: view.unread.mentions,
            read_seq: view.receipts.read.reached(view.receipts.own),
            settings: SettingsObject::new(&view.membership.settings, now),
        }
    }
}

/// What a participant is called; somebody without a profile by the id.
fn name_of(participant: &ParticipantView) -> &str {
    participant.profile.as_ref().map_or(participant.member.user_id.as_str(), |profile| &profile.full_name)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParticipantObject<'a> {
    user_id: &'a UserId,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<&'a str>,
    role: RoomRole,
    joined_at: Timestamp,
    delivered_seq: Seq,
    read_seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<&'a VisiblePresence>,
}

impl<'a> ParticipantObject<'a> {
    fn new(view: &'a ParticipantView) -> Self {
        let receipts = &view.receipts;
        Self {
            user_id: &view.member.user_id,
            name: name_of(view),
            avatar: view.profile.as_ref().and_then(|profile| profile.avatar.as_deref()),
            role: view.member.role,
            joined_at: view.member.joined_at,
            delivered_seq: delivered_up_to(receipts),
            read_seq: receipts.read.reached(receipts.own),
            presence: view.presence.as_ref(),
        }
    }
}

/// What a member keeps for itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsObject {
    archived: bool,
    muted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    muted_until: Option<Timestamp>,
    pinned: bool,
}

impl SettingsObject {
    /// As it holds now.
    pub(crate) fn new(settings: &MemberSettings, now: Timestamp) -> Self {
        let muted_until = match settings.muted {
            Some(Mute::Until(until)) if now < until => Some(until),
            _ => None,
        };
        Self {
            archived: settings.archived,
            muted: settings.is_muted(now),
            muted_until,
            pinned: settings.pinned,
        }
    }
}
