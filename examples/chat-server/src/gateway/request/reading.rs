//! History, threads, catching up, search.

use std::collections::{BTreeMap, HashMap};

use chat_core::domain::id::kind;
use chat_core::domain::page::Page;
use chat_core::domain::{ConversationId, Message, Seq};
use chat_core::error::Result;
use chat_core::store::messages::{Anchor, HistoryScope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cursor;
use super::fields::{IdField, invalid, limit, optional};
use crate::gateway::answer::Answer;
use crate::gateway::dispatch::Caller;
use crate::gateway::status::{self, Progress};
use crate::gateway::view::MessageObject;

/// The most messages of one page.
const MAX_PAGE: usize = 100;
/// The most hits of one page.
const MAX_HITS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoadRequest {
    conversation_id: IdField<kind::Conversation>,
    limit: Option<i64>,
    #[serde(flatten)]
    place: Place,
}

/// From where a page is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    cursor: Option<String>,
    before_seq: Option<u64>,
    after_seq: Option<u64>,
}

impl Place {
    fn anchor(&self, conversation: &ConversationId) -> Result<Anchor> {
        match (&self.cursor, self.before_seq, self.after_seq) {
            (Some(cursor), ..) => cursor::to_history(conversation, cursor),
            (None, Some(_), Some(_)) => Err(invalid("both beforeSeq and afterSeq")),
            (None, Some(seq), None) => Ok(Anchor::Before(Seq(seq))),
            (None, None, Some(seq)) => Ok(Anchor::After(Seq(seq))),
            (None, None, None) => Ok(Anchor::Latest),
        }
    }
}

pub(super) async fn full_load(caller: &Caller, request: LoadRequest) -> Answer {
    load(caller, request, 50).await
}

pub(super) async fn quick_load(caller: &Caller, request: LoadRequest) -> Answer {
    load(caller, request, 20).await
}

async fn load(caller: &Caller, request: LoadRequest, default: usize) -> Answer {
    let (id, limit) = (request.conversation_id.get()?, limit(request.limit, default, MAX_PAGE)?);
    let anchor = request.place.anchor(&id)?;
    let page = caller.app.chat.history(&caller.conn.actor, &id, HistoryScope::Everything, anchor, limit).await?;
    let (next, more) = match anchor {
        Anchor::After(_) => (page.messages.last().map(|last| Anchor::After(last.seq)), page.more_after),
        _ => (page.messages.first().map(|first| Anchor::Before(first.seq)), page.more_before),
    };
    let next = next.filter(|_| more).and_then(|next| cursor::history(&id, next));
    Ok(json!({
        "conversationId": id,
        "messages": shown(caller, &page.messages).await?,
        "hasMore": next.is_some(),
        "nextCursor": next,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AroundRequest {
    conversation_id: IdField<kind::Conversation>,
    seq: u64,
    limit: Option<i64>,
}

pub(super) async fn around(caller: &Caller, request: AroundRequest) -> Answer {
    let (id, limit) = (request.conversation_id.get()?, limit(request.limit, 50, MAX_PAGE)?);
    let anchor = Anchor::Around(Seq(request.seq));
    let page = caller.app.chat.history(&caller.conn.actor, &id, HistoryScope::Everything, anchor, limit).await?;
    Ok(json!({
        "conversationId": id,
        "messages": shown(caller, &page.messages).await?,
        "hasBefore": page.more_before,
        "hasAfter": page.more_after,
    }))
}

#[derive(Deserialize)]
pub(super) struct CatchUpRequest {
    positions: BTreeMap<String, u64>,
}

pub(super) async fn catch_up(caller: &Caller, request: CatchUpRequest) -> Answer {
    if request.positions.is_empty() {
        return Err(invalid("no positions"));
    }
    let positions = request.positions.into_iter().map(|(id, seq)| Ok((ConversationId::new(id)?, Seq(seq))));
    let positions: Vec<_> = positions.collect::<Result<_>>()?;
    let missed = caller.app.chat.catch_up(&caller.conn.actor, &positions).await?;
    Ok(json!({
        "messages": shown(caller, &missed.messages).await?,
        "discontinuity": missed.discontinuity,
        "forbidden": missed.forbidden,
        "hasMore": missed.more,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThreadRequest {
    message_id: IdField<kind::Message>,
    cursor: Option<String>,
    limit: Option<i64>,
}

pub(super) async fn thread(caller: &Caller, request: ThreadRequest) -> Answer {
    let (id, limit) = (request.message_id.get()?, limit(request.limit, 20, MAX_PAGE)?);
    let after = request.cursor.as_deref().map_or(Ok(Seq::ZERO), cursor::to_thread)?;
    let page = caller.app.chat.thread(&caller.conn.actor, &id, after, limit).await?;
    if let Some(cursor) = &request.cursor {
        cursor::check_thread(&page.root.id, cursor)?;
    }
    let last = page.replies.messages.last().filter(|_| page.replies.more_after);
    let next = last.map(|last| cursor::thread(&page.root.id, last.seq));
    let root = shown(caller, std::slice::from_ref(&page.root)).await?;
    Ok(json!({
        "root": root.into_iter().next(),
        "messages": shown(caller, &page.replies.messages).await?,
        "hasMore": next.is_some(),
        "nextCursor": next,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SearchRequest {
    text: String,
    conversation_id: Option<IdField<kind::Conversation>>,
    cursor: Option<String>,
    limit: Option<i64>,
}

pub(super) async fn search(caller: &Caller, request: SearchRequest) -> Answer {
    let (conversation, limit) = (optional(request.conversation_id)?, limit(request.limit, 20, MAX_HITS)?);
    let after = request.cursor.map(|cursor| cursor::to_search(&request.text, &cursor)).transpose()?;
    let page = Page { after, limit };
    let found = caller.app.chat.search(&caller.conn.actor, &request.text, conversation.as_ref(), &page).await?;
    let messages: Vec<Message> = found.items.into_iter().map(|hit| hit.message).collect();
    let next = found.next.map(|next| cursor::search(&request.text, &next));
    Ok(json!({
        "messages": shown(caller, &messages).await?,
        "hasMore": next.is_some(),
        "nextCursor": next,
    }))
}

/// Messages as the caller sees them, with their status.
pub(super) async fn shown(caller: &Caller, messages: &[Message]) -> Result<Vec<Value>> {
    let (chat, viewer) = (&caller.app.chat, caller.conn.user());
    let progress: HashMap<ConversationId, Progress> = status::of_messages(chat, messages).await?;
    let (now, unknown) = (chat.now(), Progress::default());
    let show = |message: &Message| {
        let status = progress.get(&message.conversation_id).unwrap_or(&unknown).status(message);
        json!(MessageObject::stored(message, viewer, status, now))
    };
    Ok(messages.iter().map(show).collect())
}
