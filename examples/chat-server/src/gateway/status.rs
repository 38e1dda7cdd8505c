//! A message's status: what all others have done with it.

use std::collections::{BTreeMap, HashMap};

use chat_core::domain::page::Page;
use chat_core::domain::{ConversationId, Message, Receipts, Seq, UserId};
use chat_core::error::Result;
use chat_core::service::{Chat, ConversationView, LISTED_PARTICIPANTS};
use futures::future::try_join_all;
use serde::Serialize;

/// What all others have done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    /// It is stored.
    Sent,
    /// Every other member has received it.
    Delivered,
    /// Every other member has read it.
    Read,
}

/// How far the members of one conversation are.
#[derive(Debug, Default)]
pub(crate) struct Progress(Vec<(UserId, Receipts)>);

impl Progress {
    /// Asks for it. In conversations receipts are not announced to, nobody's progress is known; in those larger than a
    /// list shows it is known to who wrote: what others' messages have reached is nothing to show.
    async fn load(chat: &Chat, conversation: &ConversationId, wrote: bool) -> Result<Self> {
        let ports = chat.ports();
        let max = if wrote { chat.settings().announce_max as usize } else { LISTED_PARTICIPANTS };
        let members = ports.conversations.members(conversation, &Page::first(max.clamp(1, 1_000))).await?;
        if members.next.is_some() {
            return Ok(Self::default());
        }
        let places: Vec<_> =
            members.items.into_iter().map(|member| (member.user_id, conversation.clone())).collect();
        let receipts = ports.positions.receipts_many(&places).await?;
        Ok(Self(places.into_iter().map(|(user, _)| user).zip(receipts).collect()))
    }

    /// What is known from a conversation as it is shown, if all its members are.
    fn shown(view: &ConversationView) -> Option<Self> {
        let complete = view.participants.len() as u64 == u64::from(view.membership.conversation.member_count);
        let members = view.participants.iter().map(|one| (one.member.user_id.clone(), one.receipts));
        complete.then(|| Self(members.collect()))
    }

    /// The status of a message. Who joined after it is not asked.
    pub(crate) fn status(&self, message: &Message) -> Status {
        let others = self.0.iter().filter(|(user, _)| message.sender_id.as_ref() != Some(user));
        let mut receipts =
            others.map(|(_, receipts)| receipts).filter(|receipts| receipts.joined < message.seq).peekable();
        if receipts.peek().is_none() {
            return Status::Sent;
        }
        receipts.map(|receipts| reached(receipts, message.seq)).fold(Status::Read, least)
    }
}

fn reached(receipts: &Receipts, seq: Seq) -> Status {
    if read_up_to(receipts) >= seq {
        Status::Read
    } else if delivered_up_to(receipts) >= seq {
        Status::Delivered
    } else {
        Status::Sent
    }
}

fn least(one: Status, other: Status) -> Status {
    match (one, other) {
        (Status::Sent, _) | (_, Status::Sent) => Status::Sent,
        (Status::Delivered, _) | (_, Status::Delivered) => Status::Delivered,
        (Status::Read, Status::Read) => Status::Read,
    }
}

/// The furthest message a member has ever read; what it wrote itself counts.
fn read_up_to(receipts: &Receipts) -> Seq {
    receipts.seen.max(receipts.own)
}

/// The furthest message that has reached a member.
pub(crate) fn delivered_up_to(receipts: &Receipts) -> Seq {
    receipts.delivered.max(read_up_to(receipts))
}

/// Asks how far everybody is in the conversations of these messages, for somebody who sees them.
pub(crate) async fn of_messages<'a>(
    chat: &Chat,
    viewer: &UserId,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Result<HashMap<ConversationId, Progress>> {
    let mut conversations: BTreeMap<&ConversationId, bool> = BTreeMap::new();
    for message in messages {
        *conversations.entry(&message.conversation_id).or_default() |= is_by(viewer, message);
    }
    let loads = conversations.iter().map(|(id, wrote)| Progress::load(chat, id, *wrote));
    let loaded = try_join_all(loads).await?;
    Ok(conversations.into_keys().cloned().zip(loaded).collect())
}

fn is_by(user: &UserId, message: &Message) -> bool {
    message.sender_id.as_ref() == Some(user)
}

/// Asks how far everybody is in these conversations, as far as they do not show it themselves.
pub(crate) async fn of_views(chat: &Chat, views: &[ConversationView]) -> Result<Vec<Progress>> {
    let load = async |view: &ConversationView| match Progress::shown(view) {
        Some(progress) => Ok(progress),
        None if view
            .last_message
            .as_ref()
            .is_some_and(|last| is_by(&view.membership.member.user_id, last)) =>
        {
            Progress::load(chat, &view.membership.conversation.id, true).await
        }
        None => Ok(Progress::default()),
    };
    try_join_all(views.iter().map(load)).await
}
