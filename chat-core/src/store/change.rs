//! What a change does to a message, and what it announces: the rules of [`MessageStore`](super::MessageStore) that do not
//! depend on where messages are kept. Each answers its event, or `None` when it changes nothing.

use super::messages::{Edit, MAX_PINS};
use crate::clock::Timestamp;
use crate::domain::message::{NewMessage, Pin};
use crate::domain::{Message, UserId};
use crate::error::{Code, Error, Result};
use crate::event::{
    DeleteType, Event, MessageDeleted, MessageEdited, MessagePinned, MessageReactionAdded,
    MessageReactionRemoved, MessageUnpinned,
};

/// The message a new one is a repeat of, given the one with its client key and the one with its id.
///
/// # Errors
/// [`Code::ClientKeyConflict`] and [`Code::Conflict`], as
/// [`append_many`](super::MessageStore::append_many) says.
pub fn known<'a>(
    new: &NewMessage,
    by_key: Option<&'a Message>,
    by_id: Option<&'a Message>,
) -> Result<Option<&'a Message>> {
    let is_same = |known: &Message| known.fingerprint == new.draft.fingerprint();
    if let Some(known) = by_key {
        return if is_same(known) { Ok(Some(known)) } else { Err(Code::ClientKeyConflict.into()) };
    }
    let Some(known) = by_id else { return Ok(None) };
    let is_mine = known.conversation_id == new.conversation_id && known.sender_id == new.sender_id;
    if is_mine && is_same(known) { Ok(Some(known)) } else { Err(Code::Conflict.into()) }
}

/// # Errors
/// [`Code::MessageInvalid`] for a root that is itself in a thread.
pub fn check_root(is_in_thread: bool) -> Result<()> {
    if is_in_thread {
        let reason = "a thread begins with a message that is in none";
        return Err(Error::invalid(Code::MessageInvalid, reason));
    }
    Ok(())
}

fn check_there(message: &Message) -> Result<()> {
    if message.deleted.is_some() { Err(Code::MessageDeleted.into()) } else { Ok(()) }
}

/// # Errors
/// Those of [`edit`](super::MessageStore::edit).
pub fn edit(message: &mut Message, edit: &Edit, now: Timestamp) -> Result<Option<Event>> {
    check_there(message)?;
    if message.content == edit.content && message.mentions == edit.mentions {
        return Ok(None);
    }
    if edit.expect.is_some_and(|revision| revision != message.revision) {
        return Err(Code::EditConflict.into());
    }
    message.edit(edit.content.clone(), edit.mentions.clone(), now);
    let event = MessageEdited {
        message_id: message.id.clone(),
        conversation_id: message.conversation_id.clone(),
        seq: message.seq,
        editor_id: edit.by.clone(),
        new_content: message.content.clone(),
        mentions: message.mentions.clone(),
        revision: message.revision,
        edited_at: now,
    };
    Ok(Some(event.into()))
}

/// Deletes a message for everyone.
pub fn delete(message: &mut Message, by: Option<&UserId>, now: Timestamp) -> Option<Event> {
    if message.deleted.is_some() {
        return None;
    }
    message.delete(by.cloned(), now);
    Some(deleted(message, by, DeleteType::ForEveryone, now))
}

/// What is announced of a message that is deleted.
pub fn deleted(message: &Message, by: Option<&UserId>, delete_type: DeleteType, now: Timestamp) -> Event {
    MessageDeleted {
        message_id: message.id.clone(),
        conversation_id: message.conversation_id.clone(),
        seq: message.seq,
        deleter_id: by.cloned(),
        delete_type,
        deleted_at: now,
    }
    .into()
}

/// # Errors
/// Those of [`react`](super::MessageStore::react).
pub fn react(message: &mut Message, user: &UserId, emoji: &str, on: bool) -> Result<Option<Event>> {
    check_there(message)?;
    if !message.react(user, emoji, on)? {
        return Ok(None);
    }
    let reaction = message.reactions.iter().find(|reaction| reaction.emoji == emoji);
    let count = reaction.map_or(0, |reaction| reaction.users.len() as u64);
    let (message_id, conversation_id, seq) =
        (message.id.clone(), message.conversation_id.clone(), message.seq);
    let (user_id, emoji) = (user.clone(), emoji.to_owned());
    Ok(Some(if on {
        MessageReactionAdded { message_id, conversation_id, seq, user_id, emoji, count }.into()
    } else {
        MessageReactionRemoved { message_id, conversation_id, seq, user_id, emoji, count }.into()
    }))
}

/// Pins a message until a time or for good, or unpins it; `standing` pins hold in its conversation at `now`.
///
/// # Errors
/// Those of [`pin`](super::MessageStore::pin).
pub fn pin(
    message: &mut Message,
    by: &UserId,
    on: bool,
    until: Option<Timestamp>,
    standing: usize,
    now: Timestamp,
) -> Result<Option<Event>> {
    check_there(message)?;
    let (message_id, conversation_id) = (message.id.clone(), message.conversation_id.clone());
    let is_pinned = message.is_pinned(now);
    if !on {
        message.pin = None;
        let event = MessageUnpinned { message_id, conversation_id, user_id: by.clone() };
        return Ok(is_pinned.then(|| event.into()));
    }
    let is_so = is_pinned && message.pin.as_ref().is_some_and(|pin| pin.until == until);
    if is_so || until.is_some_and(|until| until <= now) {
        return Ok(None);
    }
    if !is_pinned && standing >= MAX_PINS {
        return Err(Error::new(Code::PinLimit).with("max", MAX_PINS));
    }
    message.pin = Some(Pin { by: by.clone(), at: now, until });
    Ok(Some(MessagePinned { message_id, conversation_id, user_id: by.clone(), until }.into()))
}
