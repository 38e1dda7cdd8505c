//! Conversations: the list, one of them, making, naming, and what a member keeps for itself.

use chat_core::clock::Timestamp;
use chat_core::domain::conversation::{check_avatar, check_name};
use chat_core::domain::id::kind;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{Actor, ConversationId, MemberSettings, Mute, RoomRole};
use chat_core::error::Result;
use chat_core::moderation::Action;
use chat_core::service::{Chat, ConversationView, NewGroup};
use chat_core::store::conversations::ConversationFilter;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::cursor;
use super::fields::{IdField, ids, invalid, limit, optional, present};
use super::reading::shown;
use crate::fanout::here;
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;
use crate::gateway::status;
use crate::gateway::view::{ConversationObject, SettingsObject};

/// The most conversations of one page.
const MAX_LIST: usize = 50;

#[derive(Deserialize)]
pub(super) struct ListRequest {
    cursor: Option<String>,
    limit: Option<i64>,
}

pub(super) async fn list(caller: &Caller, request: ListRequest) -> Answer {
    load(caller, request, 50).await
}

pub(super) async fn quick_list(caller: &Caller, request: ListRequest) -> Answer {
    load(caller, request, 10).await
}

async fn load(caller: &Caller, request: ListRequest, default: usize) -> Answer {
    let (chat, actor) = (&caller.app.chat, &caller.conn.actor);
    let after = request.cursor.as_deref().map(cursor::to_conversations).transpose()?;
    let page = Page { after, limit: limit(request.limit, default, MAX_LIST)? };
    let mut list = chat.conversations(actor, &ConversationFilter::default(), &page).await?;
    fill(caller, &mut list.items);
    let (progress, totals) = futures::try_join!(status::of_views(chat, &list.items), totals(chat, actor))?;
    let now = chat.now();
    let shown =
        list.items.iter().zip(&progress).map(|(view, progress)| ConversationObject::new(view, progress, now));
    let next_cursor = list.next.as_ref().map(cursor::conversations);
    done(ListAnswer {
        conversations: shown.collect(),
        total_unread_messages: totals.messages,
        unread_conversations: totals.conversations,
        has_more: next_cursor.is_some(),
        next_cursor,
    })
}

/// Whose presence is not known is shown as far as this server knows.
fn fill(caller: &Caller, views: &mut [ConversationView]) {
    let participants = views.iter_mut().flat_map(|view| &mut view.participants);
    for participant in participants.filter(|participant| participant.presence.is_none()) {
        participant.presence = here(&caller.app, &participant.member.user_id);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListAnswer<'a> {
    conversations: Vec<ConversationObject<'a>>,
    total_unread_messages: u64,
    unread_conversations: u64,
    has_more: bool,
    next_cursor: Option<String>,
}

/// What is unread anywhere, but for muted and archived conversations.
#[derive(Debug, Default)]
struct Totals {
    messages: u64,
    conversations: u64,
}

async fn totals(chat: &Chat, actor: &Actor) -> Result<Totals> {
    let filter = ConversationFilter { archived: Some(false), kind: None };
    let (mut totals, mut page) = (Totals::default(), Page::first(MAX_PAGE));
    loop {
        let found = chat.ports().conversations.list(&actor.user, &filter, &page).await?;
        let now = chat.now();
        let counting = found.items.into_iter().filter(|membership| membership.settings.counts_in_total(now));
        let ids: Vec<ConversationId> = counting.map(|membership| membership.conversation.id).collect();
        for unread in unread_in(chat, actor, &ids).await? {
            totals.messages += unread;
            totals.conversations += u64::from(unread > 0);
        }
        match found.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(totals),
        }
    }
}

/// The unread messages of conversations; what the derived store does not know is asked for one by one.
async fn unread_in(chat: &Chat, actor: &Actor, ids: &[ConversationId]) -> Result<Vec<u64>> {
    let known = match chat.ports().unread.counts(&actor.user, ids).await {
        Ok(known) => known,
        Err(error) if error.is_transient() => vec![None; ids.len()],
        Err(error) => return Err(error),
    };
    let count = async |(known, id): (Option<_>, &ConversationId)| match known {
        Some(unread) => Ok(unread),
        None => chat.unread(actor, id).await,
    };
    let counts = try_join_all(known.into_iter().zip(ids).map(count)).await?;
    Ok(counts.into_iter().map(|unread| unread.messages).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneRequest {
    conversation_id: IdField<kind::Conversation>,
}

pub(super) async fn get(caller: &Caller, request: OneRequest) -> Answer {
    let (chat, actor, id) = (&caller.app.chat, &caller.conn.actor, request.conversation_id.get()?);
    let mut view = chat.conversation(actor, &id).await?;
    fill(caller, std::slice::from_mut(&mut view));
    let (progress, pinned) =
        futures::try_join!(status::of_views(chat, std::slice::from_ref(&view)), async {
            shown(caller, &chat.pinned(actor, &id).await?).await
        },)?;
    let progress = progress.into_iter().next().unwrap_or_default();
    done(OneAnswer {
        conversation: ConversationObject::new(&view, &progress, chat.now()),
        pinned_messages: pinned,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneAnswer<'a> {
    conversation: ConversationObject<'a>,
    pinned_messages: Vec<Box<RawValue>>,
}

/// Closes a view of a conversation: ends typing there.
pub(super) async fn leave_view(caller: &Caller, request: OneRequest) -> Answer {
    let (chat, actor, id) = (&caller.app.chat, &caller.conn.actor, request.conversation_id.get()?);
    chat.guard().check(actor, &id, Action::Read).await?;
    chat.stop_typing(actor, &id).await;
    done(json!({ "conversationId": id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateGroupRequest {
    name: String,
    members: Vec<IdField<kind::User>>,
    group_id: Option<IdField<kind::Conversation>>,
    avatar: Option<String>,
}

pub(super) async fn create_group(caller: &Caller, request: CreateGroupRequest) -> Answer {
    let mut group = NewGroup { avatar: request.avatar, ..NewGroup::named(request.name) };
    group.id = optional(request.group_id)?;
    group.members = ids(request.members)?.into_iter().map(|user| (user, RoomRole::Member)).collect();
    let made = caller.app.chat.create_group(&caller.conn.actor, group).await?;
    done(json!({ "conversationId": made.id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateBroadcastRequest {
    name: String,
    recipients: Vec<IdField<kind::User>>,
    admins: Option<Vec<IdField<kind::User>>>,
    broadcast_id: Option<IdField<kind::Conversation>>,
}

pub(super) async fn create_broadcast(caller: &Caller, request: CreateBroadcastRequest) -> Answer {
    let mut list = NewGroup::named(request.name);
    list.id = optional(request.broadcast_id)?;
    let recipients = ids(request.recipients)?.into_iter().map(|user| (user, RoomRole::Member));
    let admins = ids(request.admins.unwrap_or_default())?.into_iter().map(|user| (user, RoomRole::Admin));
    list.members = recipients.chain(admins).collect();
    let made = caller.app.chat.create_broadcast(&caller.conn.actor, list).await?;
    done(json!({ "conversationId": made.id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateRequest {
    conversation_id: IdField<kind::Conversation>,
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    avatar: Option<Option<String>>,
}

pub(super) async fn update(caller: &Caller, request: UpdateRequest) -> Answer {
    let (chat, actor, id) = (&caller.app.chat, &caller.conn.actor, request.conversation_id.get()?);
    if request.name.is_none() && request.avatar.is_none() {
        return Err(invalid("neither name nor avatar"));
    }
    chat.guard().check(actor, &id, Action::Rename).await?;
    // Both or none: what is wrong with either is found before anything changes.
    request.name.as_deref().map_or(Ok(()), check_name)?;
    request.avatar.iter().flatten().try_for_each(|avatar| check_avatar(avatar))?;
    let mut changed = None;
    if let Some(name) = &request.name {
        changed = Some(chat.rename(actor, &id, name).await?);
    }
    if let Some(avatar) = &request.avatar {
        changed = Some(chat.set_avatar(actor, &id, avatar.as_deref()).await?);
    }
    let (name, avatar) = changed.map(|changed| (changed.name, changed.avatar)).unwrap_or_default();
    done(json!({ "conversationId": id, "name": name, "avatar": avatar }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SwitchRequest {
    conversation_id: IdField<kind::Conversation>,
    on: bool,
}

pub(super) async fn archive(caller: &Caller, request: SwitchRequest) -> Answer {
    let id = request.conversation_id.get()?;
    let settings = caller.app.chat.archive(&caller.conn.actor, &id, request.on).await?;
    kept(caller, &id, &settings)
}

pub(super) async fn pin(caller: &Caller, request: SwitchRequest) -> Answer {
    let id = request.conversation_id.get()?;
    let settings = caller.app.chat.pin_conversation(&caller.conn.actor, &id, request.on).await?;
    kept(caller, &id, &settings)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MuteRequest {
    conversation_id: IdField<kind::Conversation>,
    on: bool,
    until: Option<Timestamp>,
}

pub(super) async fn mute(caller: &Caller, request: MuteRequest) -> Answer {
    let id = request.conversation_id.get()?;
    let mute = request.on.then(|| request.until.map_or(Mute::Always, Mute::Until));
    let settings = caller.app.chat.mute(&caller.conn.actor, &id, mute).await?;
    kept(caller, &id, &settings)
}

fn kept(caller: &Caller, id: &ConversationId, settings: &MemberSettings) -> Answer {
    done(Kept { conversation_id: id, settings: SettingsObject::new(settings, caller.app.chat.now()) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    conversation_id: &'a ConversationId,
    #[serde(flatten)]
    settings: SettingsObject,
}
