//! A search index in one file, as it follows from events.

use std::collections::BTreeSet;
use std::path::Path;

use chat_core::domain::MessageId;
use chat_core::domain::text::{Query, words};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{DeleteType, Event};
use redb::{Database, MultimapTableDefinition, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

/// A message to what it says.
const MESSAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("messages");
/// A word to the messages it is in.
const WORDS: MultimapTableDefinition<'_, &str, &str> = MultimapTableDefinition::new("words");

/// What a message says, and how often it was changed. One that was deleted says nothing, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    revision: u32,
    content: Option<String>,
}

/// A search index in one file, for one process at a time.
///
/// Derived from events: an event that comes again changes nothing, and neither does one that comes late. Editing and sending
/// are on different streams, so an edit may come first; the newer one wins.
#[derive(Debug)]
pub struct Index {
    database: Database,
}

impl Index {
    /// # Errors
    /// [`Code::Unavailable`] when the file cannot be used.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        let database = Database::create(file).map_err(fault)?;
        let write = database.begin_write().map_err(fault)?;
        write.open_table(MESSAGES).map_err(fault)?;
        write.open_multimap_table(WORDS).map_err(fault)?;
        write.commit().map_err(fault)?;
        Ok(Self { database })
    }

    /// Takes an event in; the file holds it then.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the file cannot be used.
    pub fn apply(&self, event: &Event) -> Result<()> {
        match event {
            Event::MessageSent(sent) => {
                self.put(&sent.message_id, Said { revision: 0, content: Some(sent.content.clone()) })
            }
            Event::MessageEdited(edited) => {
                let (revision, content) = (edited.revision.max(1), Some(edited.new_content.clone()));
                self.put(&edited.message_id, Said { revision, content })
            }
            Event::MessageDeleted(deleted) if deleted.delete_type == DeleteType::ForEveryone => {
                self.put(&deleted.message_id, Said { revision: u32::MAX, content: None })
            }
            _ => Ok(()),
        }
    }

    fn put(&self, message: &MessageId, said: Said) -> Result<()> {
        let write = self.database.begin_write().map_err(fault)?;
        {
            let mut messages = write.open_table(MESSAGES).map_err(fault)?;
            let before =
                messages.get(message.as_str()).map_err(fault)?.map(|said| read(said.value())).transpose()?;
            let is_news = |before: &Said| before.revision <= said.revision;
            if !before.as_ref().is_none_or(is_news) {
                return Ok(());
            }
            let mut index = write.open_multimap_table(WORDS).map_err(fault)?;
            for word in terms(before.and_then(|before| before.content)) {
                index.remove(word.as_str(), message.as_str()).map_err(fault)?;
            }
            for word in terms(said.content.clone()) {
                index.insert(word.as_str(), message.as_str()).map_err(fault)?;
            }
            let said = serde_json::to_vec(&said).map_err(fault)?;
            messages.insert(message.as_str(), said.as_slice()).map_err(fault)?;
        }
        write.commit().map_err(fault)
    }

    /// The messages that hold all of these words, the last of which may be the beginning of one: their ids and texts, in the
    /// order of the ids. Nothing for no words.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the file cannot be used.
    pub fn search(&self, text: &str) -> Result<Vec<(String, String)>> {
        let Some(query) = Query::new(text) else { return Ok(Vec::new()) };
        let view = self.database.begin_read().map_err(fault)?;
        let index = view.open_multimap_table(WORDS).map_err(fault)?;
        let mut found: Option<BTreeSet<String>> = None;
        for (nth, term) in query.terms().iter().enumerate() {
            let is_last = nth + 1 == query.terms().len();
            let mut holding = BTreeSet::new();
            for entry in index.range(term.as_str()..).map_err(fault)? {
                let (word, messages) = entry.map_err(fault)?;
                if !(word.value() == term || is_last && word.value().starts_with(term)) {
                    break;
                }
                for message in messages {
                    holding.insert(message.map_err(fault)?.value().to_owned());
                }
            }
            found =
                Some(found.map_or(holding.clone(), |found| found.intersection(&holding).cloned().collect()));
        }
        let messages = view.open_table(MESSAGES).map_err(fault)?;
        let mut hits = Vec::new();
        for id in found.unwrap_or_default() {
            let said =
                messages.get(id.as_str()).map_err(fault)?.map(|said| read(said.value())).transpose()?;
            if let Some(content) = said.and_then(|said| said.content) {
                hits.push((id, content));
            }
        }
        Ok(hits)
    }
}

fn terms(content: Option<String>) -> BTreeSet<String> {
    content.map(|content| words(&content).into_iter().collect()).unwrap_or_default()
}

fn read(said: &[u8]) -> Result<Said> {
    serde_json::from_slice(said).map_err(|error| Error::new(Code::DataCorrupt).caused_by(error))
}

fn fault(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Code::Unavailable).during("search.index").caused_by(error)
}
