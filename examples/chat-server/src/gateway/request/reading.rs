//! History, threads, catching up, search.

use std::collections::{BTreeMap, HashMap};

use chat_core::domain::id::kind;
use chat_core::domain::page::Page;
use chat_core::domain::{ConversationId, Message, Seq};
use chat_core::error::Result;
use chat_core::service::CatchUp;
use chat_core::store::messages::{Anchor, HistoryScope, SearchCursor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cursor;
use super::fields::{IdField, invalid, limit, optional};
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;
use crate::gateway::status::{self, Progress};
use crate::gateway::view::MessageObject;

/// The most messages of one page.
const MAX_PAGE: usize = 100;
/// The most hits of one page.
const MAX_HITS: usize = 50;
/// About how many bytes of messages one answer holds; what does not fit is for the next one.
const MAX_BYTES: usize = 1024 * 1024;

/// A page of messages, with what the request is about.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<&'a ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Shown>,
    messages: Vec<Shown>,
    has_more: bool,
    next_cursor: Option<String>,
}

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
    let page =
        caller.app.chat.history(&caller.conn.actor, &id, HistoryScope::Everything, anchor, limit).await?;
    let mut shown = shown(caller, &page.messages).await?;
    let all = shown.len();
    let next = if matches!(anchor, Anchor::After(_)) {
        shown.truncate(fitting(&shown, MAX_BYTES));
        let more = page.more_after || shown.len() < all;
        page.messages
            .get(..shown.len())
            .and_then(<[_]>::last)
            .filter(|_| more)
            .map(|last| Anchor::After(last.seq))
    } else {
        let left_out = all - fitting(shown.iter().rev(), MAX_BYTES);
        shown.drain(..left_out);
        let more = page.more_before || left_out > 0;
        page.messages.get(left_out).filter(|_| more).map(|first| Anchor::Before(first.seq))
    };
    let next = next.and_then(|next| cursor::history(&id, next));
    done(PageAnswer {
        conversation_id: Some(&id),
        root: None,
        messages: shown,
        has_more: next.is_some(),
        next_cursor: next,
    })
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
    let page =
        caller.app.chat.history(&caller.conn.actor, &id, HistoryScope::Everything, anchor, limit).await?;
    let mut shown = shown(caller, &page.messages).await?;
    // What does not fit is left out at both ends.
    let middle = page.messages.iter().take_while(|message| message.seq.0 < request.seq).count();
    let (before, after) = shown.split_at(middle);
    let first = middle - fitting(before.iter().rev(), MAX_BYTES / 2);
    let last = middle + fitting(after, MAX_BYTES / 2);
    let (more_before, more_after) = (first > 0, last < shown.len());
    shown.truncate(last);
    shown.drain(..first);
    done(AroundAnswer {
        conversation_id: &id,
        messages: shown,
        has_before: page.more_before || more_before,
        has_after: page.more_after || more_after,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AroundAnswer<'a> {
    conversation_id: &'a ConversationId,
    messages: Vec<Shown>,
    has_before: bool,
    has_after: bool,
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
    let mut shown = shown(caller, &missed.messages).await?;
    let fits = fitting(&shown, MAX_BYTES);
    let more = missed.more || fits < shown.len();
    shown.truncate(fits);
    let CatchUp { discontinuity, forbidden, .. } = missed;
    done(CatchUpAnswer { messages: shown, discontinuity, forbidden, has_more: more })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CatchUpAnswer {
    messages: Vec<Shown>,
    discontinuity: Vec<ConversationId>,
    forbidden: Vec<ConversationId>,
    has_more: bool,
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
    let mut replies = shown(caller, &page.replies.messages).await?;
    let fits = fitting(&replies, MAX_BYTES);
    let more = page.replies.more_after || fits < replies.len();
    replies.truncate(fits);
    let last = page.replies.messages.get(..fits).and_then(<[_]>::last).filter(|_| more);
    let next = last.map(|last| cursor::thread(&page.root.id, last.seq));
    let root = shown(caller, std::slice::from_ref(&page.root)).await?;
    let root = root.into_iter().next();
    done(PageAnswer {
        conversation_id: None,
        root,
        messages: replies,
        has_more: next.is_some(),
        next_cursor: next,
    })
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
    let found =
        caller.app.chat.search(&caller.conn.actor, &request.text, conversation.as_ref(), &page).await?;
    let messages: Vec<Message> = found.items.into_iter().map(|hit| hit.message).collect();
    let mut shown = shown(caller, &messages).await?;
    let fits = fitting(&shown, MAX_BYTES);
    let next =
        if fits < shown.len() { messages.get(..fits).and_then(<[_]>::last).map(place) } else { found.next };
    shown.truncate(fits);
    let next = next.map(|next| cursor::search(&request.text, &next));
    done(PageAnswer {
        conversation_id: None,
        root: None,
        messages: shown,
        has_more: next.is_some(),
        next_cursor: next,
    })
}

/// The place of a message among hits.
fn place(message: &Message) -> SearchCursor {
    SearchCursor { at: message.created_at, conversation: message.conversation_id.clone(), seq: message.seq }
}

/// How many of these fit into so many bytes; the first one always does.
fn fitting<'a>(shown: impl IntoIterator<Item = &'a Shown>, bytes: usize) -> usize {
    let mut size = 0;
    let fits = |message: &&Shown| {
        size += message.get().len();
        size <= bytes
    };
    let mut shown = shown.into_iter().peekable();
    let any = usize::from(shown.peek().is_some());
    shown.take_while(fits).count().max(any)
}

/// A message, written.
pub(super) type Shown = Box<RawValue>;

/// Messages as the caller sees them, with their status.
pub(super) async fn shown(caller: &Caller, messages: &[Message]) -> Result<Vec<Shown>> {
    let (chat, viewer) = (&caller.app.chat, caller.conn.user());
    let progress: HashMap<ConversationId, Progress> = status::of_messages(chat, viewer, messages).await?;
    let (now, unknown) = (chat.now(), Progress::default());
    let show = |message: &Message| {
        let status = progress.get(&message.conversation_id).unwrap_or(&unknown).status(message);
        done(MessageObject::stored(message, viewer, status, now))
    };
    messages.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_fits_is_counted_as_written_and_the_first_always_fits() {
        let messages = [json!("12345678"), json!("12345678"), json!("\u{1}")].map(|text| done(text).unwrap());
        assert_eq!(fitting(&messages, 10), 1);
        assert_eq!(fitting(&messages, 20), 2);
        assert_eq!(fitting(&messages, 27), 2, "an escape is six bytes long");
        assert_eq!(fitting(&messages, 28), 3);
        assert_eq!(fitting(&messages, 0), 1);
        assert_eq!(fitting([], 10), 0);
    }
}
