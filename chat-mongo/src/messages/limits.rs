//! What keeps a message far below the largest document there is, 16 MB, whatever a host does: what is said in it, how many
//! put emojis on it, and what waits in it, which the [outbox](crate::outbox) sees to.

use chat_core::domain::Message;
use chat_core::domain::message::{MAX_MENTIONS, MAX_TEXT_CHARS, NewMessage};
use chat_core::error::{Code, Error, Result};
use chat_core::store::messages::Edit;

/// The most bytes of a message's text and of the names, types and addresses of its attachments.
const MAX_SAID: usize = 1024 * 1024;

/// The most emojis on one message, over all users: 3 MB when ids are as long as may be.
const MAX_REACTIONS: usize = 20_000;

/// # Errors
/// [`Code::PayloadTooLarge`].
pub(super) fn check_new(new: &NewMessage) -> Result<()> {
    let attachments = new.draft.attachments.iter();
    let sizes = attachments
        .map(|file| file.name.len() + file.mime_type.len() + file.url.as_ref().map_or(0, String::len));
    if new.draft.content.len() + sizes.sum::<usize>() > MAX_SAID {
        return Err(Error::new(Code::PayloadTooLarge).with("max", MAX_SAID));
    }
    Ok(())
}

/// # Errors
/// [`Code::MessageTooLong`], [`Code::MessageInvalid`]: what is not let in as a new message either.
pub(super) fn check_edit(edit: &Edit) -> Result<()> {
    if edit.content.chars().count() > MAX_TEXT_CHARS {
        return Err(Error::new(Code::MessageTooLong).with("max", MAX_TEXT_CHARS));
    }
    if edit.mentions.users.len() > MAX_MENTIONS {
        return Err(Error::invalid(Code::MessageInvalid, "more than 50 mentions"));
    }
    Ok(())
}

/// # Errors
/// [`Code::ReactionLimit`].
pub(super) fn check_reactions(message: &Message) -> Result<()> {
    if message.reactions.iter().map(|reaction| reaction.users.len()).sum::<usize>() > MAX_REACTIONS {
        return Err(Error::new(Code::ReactionLimit).with("max", MAX_REACTIONS));
    }
    Ok(())
}
