//! A message as a document and back.

use std::collections::BTreeSet;

use chat_core::clock::Timestamp;
use chat_core::domain::{Message, UserId, text};
use chat_core::event::{Envelope, Event};
use mongodb::bson::{Bson, Document, doc};

use crate::error::{Trouble, corrupt};
use crate::message_index::EVERYONE;
use crate::outbox;
use crate::record::{from_document, from_pairs, pairs, place, to_document};

/// Every message that is not deleted is found by this: no word is empty.
pub(super) const LIVE: &str = "";

/// The longest beginning of a word that is found without a look at the text.
const MAX_BEGINNING: usize = 8;
/// As much of a whole word is compared without a look at the text.
const MAX_WHOLE: usize = 32;

/// A message and what goes with it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) message: Message,
    pub(super) version: i64,
    pub(super) stamp: i64,
}

/// By what a whole word is found: no word ends in a space.
pub(super) fn whole(word: &str) -> String {
    word.chars().take(MAX_WHOLE).chain([' ']).collect()
}

/// By what a beginning of words is found.
pub(super) fn beginning(word: &str) -> String {
    word.chars().take(MAX_BEGINNING).collect()
}

/// By what a text is found.
fn terms(content: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::from([LIVE.to_owned()]);
    for word in text::words(content) {
        terms.insert(whole(&word));
        let ends = word.char_indices().skip(1).map(|(end, _)| end).chain([word.len()]);
        terms.extend(ends.take(MAX_BEGINNING).filter_map(|end| word.get(..end)).map(str::to_owned));
    }
    terms
}

/// A message as it is stored, without what goes with it.
pub(super) fn document(message: &Message) -> Result<Document, Trouble> {
    let mut document = to_document(message)?;
    document.remove("messageId");
    document.insert("_id", message.id.as_str());
    if message.client_key.is_none() {
        // A key that is not there is in no index.
        document.remove("clientKey");
    }
    document.insert("metadata", pairs(&message.metadata));
    if message.thread.as_ref().is_none_or(|thread| thread.also_in_conversation) {
        document.insert("main", place(message.seq));
    }
    if !message.is_countable() {
        document.insert("uncounted", true);
    } else if !message.mentions.is_empty() {
        let users = message.mentions.users.iter().map(UserId::as_str);
        let everyone = message.mentions.everyone.then_some(EVERYONE);
        document.insert("mentioned", users.chain(everyone).map(Bson::from).collect::<Vec<_>>());
    }
    if message.deleted.is_none() {
        document.insert("terms", terms(&message.content).into_iter().map(Bson::String).collect::<Vec<_>>());
    }
    Ok(document)
}

impl Stored {
    pub(super) fn of(mut document: Document) -> Result<Self, Trouble> {
        for other in ["terms", "outbox", "due"] {
            document.remove(other);
        }
        let metadata = document.insert("metadata", Document::new()).as_ref().and_then(from_pairs);
        let id = document.remove("_id").ok_or_else(|| corrupt("_id"))?;
        document.insert("messageId", id);
        let version = document.get_i64("version").map_err(|_| corrupt("version"))?;
        let stamp = document.get_i64("stamp").map_err(|_| corrupt("stamp"))?;
        let mut message: Message = from_document(document)?;
        message.metadata = metadata.ok_or_else(|| corrupt("metadata"))?;
        Ok(Self { message, version, stamp })
    }

    /// This very version of the message.
    pub(super) fn filter(&self) -> Document {
        doc! { "_id": self.message.id.as_str(), "version": self.version }
    }

    /// The event of the next change.
    pub(super) fn event(&self, now: Timestamp, event: Event) -> Envelope {
        Envelope::new(&[self.message.id.as_str(), &self.version.saturating_add(1).to_string()], now, event)
    }

    /// What makes the stored message `changed`, and announces it.
    pub(super) fn update(
        &self,
        changed: &Message,
        event: &Envelope,
        stamp: i64,
    ) -> Result<Document, Trouble> {
        let (mut set, unset) = difference(&document(&self.message)?, document(changed)?);
        set.insert("version", self.version.saturating_add(1));
        set.insert("stamp", stamp);
        let mut update = doc! { "$set": set };
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        outbox::push(&mut update, std::slice::from_ref(event), stamp)?;
        Ok(update)
    }
}

/// What is to be set and unset to make one document another.
pub(super) fn difference(before: &Document, after: Document) -> (Document, Document) {
    let gone = before.keys().filter(|name| !after.contains_key(name));
    let unset = gone.map(|name| (name.clone(), Bson::from(""))).collect();
    let set = after.into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
    (set, unset)
}

#[cfg(test)]
mod tests {
    use chat_core::domain::Seq;
    use chat_core::domain::message::{Draft, NewMessage, ThreadPlace};

    use super::*;

    fn message(draft: Draft) -> Message {
        let new = NewMessage {
            id: "m".parse().unwrap(),
            conversation_id: "c".parse().unwrap(),
            conversation_kind: chat_core::domain::ConversationKind::Group,
            sender_id: Some("u".parse().unwrap()),
            receiver_id: None,
            client_key: Some("k".parse().unwrap()),
            draft,
        };
        new.stored(Seq(7), Timestamp::from_millis(1_234))
    }

    #[test]
    fn words_are_found_whole_and_by_their_beginnings() {
        let of = |text: &str| terms(text).into_iter().collect::<Vec<_>>();
        assert_eq!(of(""), [LIVE]);
        assert_eq!(of("Été été"), [LIVE, "e", "et", "ete", "ete "]);
        let long = of("internationalisation");
        assert!(long.contains(&"internat".to_owned()) && !long.contains(&"internati".to_owned()));
        assert!(long.contains(&whole("internationalisation")));
        assert_eq!(beginning("internationali"), "internat");
        assert_eq!(of("日"), [LIVE, "日", "日 "]);
    }

    #[test]
    fn a_message_comes_back_as_it_was_whatever_its_facts_are_called() {
        let mut draft = Draft::text("text");
        for name in ["$numberLong", "a.b", "", "$oid", "at"] {
            draft.metadata.insert(name.to_owned(), "1970-01-01T00:00:00Z".to_owned());
            let message = message(draft.clone());
            let mut stored = document(&message).unwrap();
            stored.extend(doc! { "version": 3_i64, "stamp": 4_i64, "terms": ["x"], "due": 1_i64 });
            assert!(matches!(stored.get("createdAt"), Some(Bson::DateTime(_))));
            let back = Stored::of(stored).unwrap();
            assert_eq!((back.message, back.version, back.stamp), (message, 3, 4));
        }
    }

    #[test]
    fn what_stands_aside_and_what_is_gone_is_not_found() {
        let root = "r".parse().unwrap();
        let place = |also_in_conversation| Some(ThreadPlace { root, also_in_conversation });
        let aside = message(Draft { thread: place(false), ..Draft::text("text") });
        assert!(!document(&aside).unwrap().contains_key("main"));
        let mut shown = message(Draft::text("text"));
        let before = document(&shown).unwrap();
        assert_eq!(before.get("main"), Some(&Bson::Int64(7)));
        shown.delete(None, Timestamp::from_millis(5));
        let (set, unset) = difference(&before, document(&shown).unwrap());
        assert!(set.keys().eq(["content", "deleted", "uncounted"]), "{set}");
        assert!(unset.keys().eq(["terms"]), "{unset}");
    }
}
