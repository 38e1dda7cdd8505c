//! Cursors: opaque to clients, and good for the request they come from.

use chat_core::clock::Timestamp;
use chat_core::domain::{ConversationId, MessageId, Seq};
use chat_core::error::{Code, Error, Result};
use chat_core::store::conversations::ConversationCursor;
use chat_core::store::messages::{Anchor, SearchCursor};

/// Writes a cursor: what it is for, then where it stands. The sum ties it to the request it belongs to.
fn write(purpose: &[&str], place: &str) -> String {
    format!("{}.{place}", sum(purpose, place))
}

/// Reads a cursor written for the same purpose.
fn read<'a>(purpose: &[&str], cursor: &'a str) -> Result<&'a str> {
    let (sum_, place) = cursor.split_once('.').ok_or_else(invalid)?;
    if sum_ == sum(purpose, place) { Ok(place) } else { Err(invalid()) }
}

fn sum(purpose: &[&str], place: &str) -> String {
    let mut parts = vec!["cursor"];
    parts.extend(purpose);
    parts.push(place);
    MessageId::derived(&parts).as_str().chars().take(8).collect()
}

fn invalid() -> Error {
    Code::CursorInvalid.into()
}

/// A place in the history of a conversation.
pub(super) fn history(conversation: &ConversationId, anchor: Anchor) -> Option<String> {
    let place = match anchor {
        Anchor::Before(seq) => format!("b{seq}"),
        Anchor::After(seq) => format!("a{seq}"),
        Anchor::Latest | Anchor::Around(_) => return None,
    };
    Some(write(&["history", conversation.as_str()], &place))
}

/// # Errors
/// [`Code::CursorInvalid`].
pub(super) fn to_history(conversation: &ConversationId, cursor: &str) -> Result<Anchor> {
    let place = read(&["history", conversation.as_str()], cursor)?;
    let seq = |text: &str| text.parse().map(Seq).map_err(|_| invalid());
    match place.split_at_checked(1) {
        Some(("b", rest)) => seq(rest).map(Anchor::Before),
        Some(("a", rest)) => seq(rest).map(Anchor::After),
        _ => Err(invalid()),
    }
}

/// A place in a thread.
pub(super) fn thread(root: &MessageId, after: Seq) -> String {
    write(&["thread", root.as_str()], &after.to_string())
}

/// The place; whose thread it is in is for [`check_thread`], once that is known.
///
/// # Errors
/// [`Code::CursorInvalid`].
pub(super) fn to_thread(cursor: &str) -> Result<Seq> {
    let (_, place) = cursor.split_once('.').ok_or_else(invalid)?;
    place.parse().map(Seq).map_err(|_| invalid())
}

/// # Errors
/// [`Code::CursorInvalid`] for a cursor of another thread.
pub(super) fn check_thread(root: &MessageId, cursor: &str) -> Result<()> {
    read(&["thread", root.as_str()], cursor).map(drop)
}

/// A place among the conversations.
pub(super) fn conversations(cursor: &ConversationCursor) -> String {
    let place = format!("{}-{}-{}", u8::from(cursor.pinned), cursor.at.as_millis(), cursor.id);
    write(&["conversations"], &place)
}

/// # Errors
/// [`Code::CursorInvalid`].
pub(super) fn to_conversations(cursor: &str) -> Result<ConversationCursor> {
    let mut parts = read(&["conversations"], cursor)?.splitn(3, '-');
    let (Some(pinned), Some(at), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid());
    };
    let at = at.parse().map(Timestamp::from_millis).map_err(|_| invalid())?;
    Ok(ConversationCursor { pinned: pinned == "1", at, id: ConversationId::new(id).map_err(|_| invalid())? })
}

/// A place among the hits of a search.
pub(super) fn search(text: &str, cursor: &SearchCursor) -> String {
    write(&["search", text], &format!("{}-{}-{}", cursor.at.as_millis(), cursor.seq, cursor.conversation))
}

/// # Errors
/// [`Code::CursorInvalid`].
pub(super) fn to_search(text: &str, cursor: &str) -> Result<SearchCursor> {
    let mut parts = read(&["search", text], cursor)?.splitn(3, '-');
    let (Some(at), Some(seq), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid());
    };
    Ok(SearchCursor {
        at: at.parse().map(Timestamp::from_millis).map_err(|_| invalid())?,
        seq: seq.parse().map(Seq).map_err(|_| invalid())?,
        conversation: ConversationId::new(id).map_err(|_| invalid())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let c = ConversationId::new("a-b.c").unwrap();
        for anchor in [Anchor::Before(Seq(7)), Anchor::After(Seq(0))] {
            assert_eq!(to_history(&c, &history(&c, anchor).unwrap()).unwrap(), anchor);
        }
        let at = Timestamp::from_millis(1_736_862_000_123);
        let list = ConversationCursor { pinned: true, at, id: c.clone() };
        assert_eq!(to_conversations(&conversations(&list)).unwrap(), list);
        let hit = SearchCursor { at, conversation: c, seq: Seq(3) };
        assert_eq!(to_search("x", &search("x", &hit)).unwrap(), hit);
    }

    #[test]
    fn a_cursor_of_another_request_is_refused() {
        let (c, d) = (ConversationId::new("c").unwrap(), ConversationId::new("d").unwrap());
        let cursor = history(&c, Anchor::Before(Seq(7))).unwrap();
        for bad in [cursor.as_str(), "made up", "", ".", "x.b7", "00000000.b7"] {
            assert_eq!(to_history(&d, bad).map_err(|error| error.code()), Err(Code::CursorInvalid), "{bad}");
        }
        assert!(to_conversations(&cursor).is_err() && to_search("x", &cursor).is_err());
    }
}
