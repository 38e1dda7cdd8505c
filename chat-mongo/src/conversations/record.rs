//! Conversations and members as documents and back.

use chat_core::domain::{
    Conversation, ConversationId, ConversationKind, LastActivity, Member, MemberSettings, UserId,
};
use mongodb::bson::{Document, doc};

use crate::error::{Trouble, corrupt};
use crate::life::{self, Life, stamp_of};
use crate::record::{from_document, place, seq, to_document};

/// Stands between the two ids of a member's: no id holds it.
const SEPARATOR: char = '\u{1f}';

/// What comes right after it.
const AFTER_SEPARATOR: char = '\u{20}';

/// The `_id` of a member.
pub(super) fn member_id(conversation: &ConversationId, user: &UserId) -> String {
    format!("{conversation}{SEPARATOR}{user}")
}

/// The members of a conversation whose ids come after this one.
pub(super) fn members_after(conversation: &ConversationId, after: Option<&UserId>) -> Document {
    let after = after.map_or("", UserId::as_str);
    let (from, to) =
        (format!("{conversation}{SEPARATOR}{after}"), format!("{conversation}{AFTER_SEPARATOR}"));
    doc! { "_id": { "$gt": from, "$lt": to } }
}

/// With a place that can be stored.
pub(super) fn countable(activity: &LastActivity) -> LastActivity {
    LastActivity { seq: seq(place(activity.seq)), ..activity.clone() }
}

/// The document of a conversation.
pub(super) fn document(conversation: &Conversation, admins: u32, stamp: i64) -> Result<Document, Trouble> {
    let mut document = life::document(conversation, "id", stamp)?;
    document.insert("admins", i64::from(admins));
    Ok(document)
}

/// A conversation, and what is kept beside it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) conversation: Conversation,
    pub(super) admins: u32,
    pub(super) stamp: i64,
}

impl Stored {
    pub(super) fn read(document: Document) -> Result<Self, Trouble> {
        let admins = document.get_i64("admins").map_err(|_| corrupt("admins"))?;
        let Life { value, stamp } = Life::read(document, "id")?;
        let conversation = value.ok_or_else(|| corrupt("a conversation is never removed"))?;
        Ok(Self { conversation, admins: u32::try_from(admins).unwrap_or(0), stamp })
    }
}

/// What is kept of a member.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) member: Member,
    pub(super) settings: MemberSettings,
    pub(super) stamp: i64,
}

impl Kept {
    pub(super) fn read(mut document: Document) -> Result<Self, Trouble> {
        let stamp = stamp_of(&document)?;
        let settings = document.remove("settings");
        let settings = settings.as_ref().and_then(|settings| settings.as_document());
        let settings = from_document(settings.ok_or_else(|| corrupt("settings"))?.clone())?;
        Ok(Self { member: from_document(document)?, settings, stamp })
    }
}

/// The document of somebody who has just come in.
pub(super) fn member_document(
    conversation: &ConversationId,
    kind: ConversationKind,
    member: &Member,
    stamp: i64,
) -> Result<Document, Trouble> {
    let countable = Member { joined_seq: seq(place(member.joined_seq)), ..member.clone() };
    let mut document = doc! {
        "_id": member_id(conversation, &member.user_id),
        "conversationId": conversation.as_str(),
        "type": kind.as_str(),
        "settings": to_document(&MemberSettings::default())?,
        "stamp": stamp,
    };
    document.extend(to_document(&countable)?);
    Ok(document)
}
