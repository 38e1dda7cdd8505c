//! Sending messages, and everything that happens to a message later.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::id::kind;
use chat_core::domain::message::{Draft, ThreadPlace};
use chat_core::domain::{
    Attachment, ClientKey, ConversationId, FileId, Mentions, MessageId, MessageKind, Seq,
};
use chat_core::error::{Code, Result};
use chat_core::event::DeleteType;
use chat_core::moderation::Action;
use chat_core::service::Target;
use chat_core::store::limits::{Attempt, Rule, Subject};
use chat_core::store::{MessageStoreExt, RateLimiterExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::fields::{IdField, ids, invalid, optional};
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;
use crate::metrics;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Send {
    conversation_id: Option<IdField<kind::Conversation>>,
    receiver_id: Option<IdField<kind::User>>,
    content: Option<String>,
    temporary_id: Option<IdField<kind::Client>>,
    #[serde(rename = "type")]
    kind: Option<MessageKind>,
    reply_to: Option<IdField<kind::Message>>,
    thread: Option<Thread>,
    mentions: Option<Called>,
    attachments: Option<Vec<Attached>>,
    file_id: Option<IdField<kind::File>>,
    duration_ms: Option<u64>,
    metadata: Option<BTreeMap<String, String>>,
    silent: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thread {
    root: IdField<kind::Message>,
    also_in_conversation: Option<bool>,
}

#[derive(Deserialize)]
struct Called {
    users: Option<Vec<IdField<kind::User>>>,
    everyone: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    file_id: IdField<kind::File>,
    duration_ms: Option<u64>,
}

impl Called {
    fn get(self) -> Result<Mentions> {
        Ok(Mentions {
            users: ids(self.users.unwrap_or_default())?,
            everyone: self.everyone.unwrap_or_default(),
        })
    }
}

impl Send {
    fn target(&mut self) -> Result<Target> {
        match (self.conversation_id.take(), self.receiver_id.take()) {
            (Some(conversation), _) => Ok(Target::Conversation(conversation.get()?)),
            (None, Some(user)) => Ok(Target::User(user.get()?)),
            (None, None) => Err(invalid("neither conversationId nor receiverId")),
        }
    }

    fn draft(self) -> Result<Draft> {
        let thread = match self.thread {
            Some(thread) => Some(ThreadPlace {
                root: thread.root.get()?,
                also_in_conversation: thread.also_in_conversation.unwrap_or_default(),
            }),
            None => None,
        };
        let mut attachments = Vec::new();
        for attached in self.attachments.unwrap_or_default() {
            attachments.push(attachment(attached.file_id.get()?, attached.duration_ms));
        }
        if let Some(file) = self.file_id
            && attachments.is_empty()
        {
            attachments.push(attachment(file.get()?, self.duration_ms));
        }
        let content = match self.content {
            None if attachments.is_empty() => return Err(invalid("missing field `content`")),
            content => content.unwrap_or_default(),
        };
        Ok(Draft {
            kind: self.kind.unwrap_or_default(),
            content,
            attachments,
            reply_to: optional(self.reply_to)?,
            thread,
            mentions: self.mentions.map_or(Ok(Mentions::default()), Called::get)?,
            silent: self.silent.unwrap_or_default(),
            metadata: self.metadata.unwrap_or_default(),
        })
    }
}

/// A file to hang on a message. What was registered counts; nobody's word is taken for it.
fn attachment(file_id: FileId, duration_ms: Option<u64>) -> Attachment {
    Attachment { file_id, name: String::new(), mime_type: String::new(), size: 0, url: None, duration_ms }
}

pub(super) async fn send(caller: &Caller, mut request: Send) -> Answer {
    let target = request.target()?;
    let key = optional(request.temporary_id.take())?;
    let draft = request.draft()?;
    admit(caller, &target, key.as_ref()).await?;
    let sent = caller.app.chat.send(&caller.conn.actor, target, draft, key.as_ref()).await?;
    if !sent.duplicate {
        metrics::message_sent();
    }
    let message = sent.message;
    done(SendAnswer {
        message_id: &message.id,
        conversation_id: &message.conversation_id,
        seq: message.seq,
        temporary_id: key.as_ref(),
        timestamp: message.created_at,
    })
}

/// Whether the sender may say one thing more now. A repeat is known by its key and by where it goes.
async fn admit(caller: &Caller, target: &Target, key: Option<&ClientKey>) -> Result<()> {
    let op = match (key, target) {
        (None, _) => ClientKey::from_uuid(Uuid::new_v4()),
        (Some(key), Target::Conversation(to)) => ClientKey::derived(&["to", to.as_str(), key.as_str()]),
        (Some(key), Target::User(to)) => ClientKey::derived(&["to user", to.as_str(), key.as_str()]),
    };
    let rule = Rule::new("messages", caller.app.options.messages);
    let attempt = Attempt::new(Subject::user(caller.conn.user()), op).under(rule);
    caller.app.chat.ports().limits.admit(&attempt).await?;
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SendAnswer<'a> {
    message_id: &'a MessageId,
    conversation_id: &'a ConversationId,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_id: Option<&'a ClientKey>,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditRequest {
    message_id: IdField<kind::Message>,
    new_content: String,
    expected_revision: Option<u32>,
    mentions: Option<Called>,
}

pub(super) async fn edit(caller: &Caller, request: EditRequest) -> Answer {
    let (chat, actor, id) = (&caller.app.chat, &caller.conn.actor, request.message_id.get()?);
    let mentions = match request.mentions {
        Some(mentions) => mentions.get()?,
        // Who is not named is called as before.
        None => chat.find(actor, &id).await?.mentions,
    };
    let message =
        chat.edit(actor, &id, request.new_content, mentions, request.expected_revision).await?.message;
    done(json!({
        "messageId": message.id,
        "conversationId": message.conversation_id,
        "seq": message.seq,
        "revision": message.revision,
        "editedAt": message.edited_at,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteRequest {
    message_id: IdField<kind::Message>,
    delete_type: Option<DeleteType>,
}

pub(super) async fn delete(caller: &Caller, request: DeleteRequest) -> Answer {
    let (chat, whom) = (&caller.app.chat, request.delete_type.unwrap_or(DeleteType::ForMe));
    let message = chat.delete(&caller.conn.actor, &request.message_id.get()?, whom).await?.message;
    let deleted_at: Timestamp = match (whom, &message.deleted) {
        (DeleteType::ForEveryone, Some(tombstone)) => tombstone.at,
        _ => chat.now(),
    };
    done(json!({
        "messageId": message.id,
        "conversationId": message.conversation_id,
        "seq": message.seq,
        "deleteType": whom,
        "deletedAt": deleted_at,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReactRequest {
    message_id: IdField<kind::Message>,
    emoji: String,
    on: bool,
}

pub(super) async fn react(caller: &Caller, request: ReactRequest) -> Answer {
    let ReactRequest { message_id, emoji, on } = request;
    let id = message_id.get()?;
    let message = caller.app.chat.react(&caller.conn.actor, &id, &emoji, on).await?.message;
    let count = message
        .reactions
        .iter()
        .find(|reaction| reaction.emoji == emoji)
        .map_or(0, |reaction| reaction.users.len());
    done(json!({
        "messageId": message.id,
        "conversationId": message.conversation_id,
        "emoji": emoji,
        "on": on,
        "count": count,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PinRequest {
    message_id: IdField<kind::Message>,
    on: bool,
    until: Option<Timestamp>,
}

pub(super) async fn pin(caller: &Caller, request: PinRequest) -> Answer {
    let PinRequest { message_id, on, until } = request;
    let message = caller.app.chat.pin(&caller.conn.actor, &message_id.get()?, on, until).await?.message;
    done(json!({ "messageId": message.id, "conversationId": message.conversation_id, "on": on }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkRequest {
    conversation_id: IdField<kind::Conversation>,
    message_id: Option<IdField<kind::Message>>,
    up_to_seq: Option<u64>,
}

impl MarkRequest {
    /// Where, and up to which message.
    async fn place(self, caller: &Caller) -> Result<(ConversationId, Seq)> {
        let (conversation, message) = (self.conversation_id.get()?, optional(self.message_id)?);
        match (self.up_to_seq, message) {
            (Some(seq), _) => Ok((conversation, Seq(seq))),
            (None, Some(message)) => {
                let seq = seq_of(caller, &conversation, &message).await?;
                Ok((conversation, seq))
            }
            (None, None) => Err(invalid("neither messageId nor upToSeq")),
        }
    }
}

/// The place of a message in a conversation the caller may read.
async fn seq_of(caller: &Caller, conversation: &ConversationId, message: &MessageId) -> Result<Seq> {
    let chat = &caller.app.chat;
    chat.guard().check(&caller.conn.actor, conversation, Action::Read).await?;
    let found = chat.ports().messages.get(message).await?;
    let here = found.filter(|message| message.conversation_id == *conversation);
    Ok(here.ok_or(Code::MessageNotFound)?.seq)
}

pub(super) async fn mark_delivered(caller: &Caller, request: MarkRequest) -> Answer {
    let (conversation, seq) = request.place(caller).await?;
    let moved = caller.app.chat.mark_delivered(&caller.conn.actor, &conversation, seq).await?;
    done(
        json!({ "conversationId": conversation, "upToSeq": moved.after.delivered, "changed": moved.changed() }),
    )
}

pub(super) async fn mark_read(caller: &Caller, request: MarkRequest) -> Answer {
    let (chat, actor) = (&caller.app.chat, &caller.conn.actor);
    let (conversation, seq) = request.place(caller).await?;
    let change = chat.mark_read(actor, &conversation, seq).await?;
    done(json!({
        "conversationId": conversation,
        "upToSeq": change.moved.after.read.reached(change.moved.after.own),
        "changed": change.moved.changed(),
        "unreadCount": change.unread.messages,
        "mentions": change.unread.mentions,
        "totalUnread": chat.total_unread(actor).await?.messages,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkUnreadRequest {
    conversation_id: IdField<kind::Conversation>,
    from_seq: u64,
}

pub(super) async fn mark_unread(caller: &Caller, request: MarkUnreadRequest) -> Answer {
    let (chat, actor, conversation) = (&caller.app.chat, &caller.conn.actor, request.conversation_id.get()?);
    let change = chat.mark_unread(actor, &conversation, Seq(request.from_seq)).await?;
    done(json!({
        "conversationId": conversation,
        "unreadCount": change.unread.messages,
        "mentions": change.unread.mentions,
        "totalUnread": chat.total_unread(actor).await?.messages,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadersRequest {
    message_id: IdField<kind::Message>,
}

pub(super) async fn readers(caller: &Caller, request: ReadersRequest) -> Answer {
    let id = request.message_id.get()?;
    let readers = caller.app.chat.readers(&caller.conn.actor, &id).await?;
    done(json!({ "messageId": id, "readBy": readers.read_by, "deliveredTo": readers.delivered_to }))
}
