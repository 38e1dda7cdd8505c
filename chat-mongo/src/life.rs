//! Things that are deleted and may come back under the same id.
//!
//! Each is a document with a `stamp`: it grows with every change, is what is compared and set, and makes the ids of the
//! events. What is deleted leaves a grave: its id, its last stamp, and when the grave goes too. So the events of a second
//! life come after those of the first, and share no id with them, whichever node writes them.

use std::collections::HashMap;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::id::Id;
use chat_core::event::{Envelope, Event};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::Db;
use crate::error::{Trouble, corrupt, is_duplicate};
use crate::outbox;
use crate::record::{date, from_document, to_document};
use crate::schema::Index;

/// How long a grave stays: longer than nodes may disagree about the time, and than a log remembers ids.
const GRAVE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Graves that have had their time are removed.
pub(crate) const GRAVES: Index =
    Index { name: "graves", keys: &[("expiresAt", 1)], unique: false, partial: &["expiresAt"] };

/// How many ids one command asks for.
const AT_ONCE: usize = 1_000;

/// What is under an id.
#[derive(Debug)]
pub(crate) struct Life<T> {
    /// `None` in a grave.
    pub(crate) value: Option<T>,
    pub(crate) stamp: i64,
}

impl<T: DeserializeOwned> Life<T> {
    /// Reads a document whose `_id` is the field `id` of the value.
    pub(crate) fn read(mut document: Document, id: &str) -> Result<Self, Trouble> {
        let stamp = stamp_of(&document)?;
        if document.contains_key("expiresAt") {
            return Ok(Self { value: None, stamp });
        }
        if let Some(key) = document.remove("_id") {
            document.insert(id, key);
        }
        Ok(Self { value: Some(from_document(document)?), stamp })
    }
}

pub(crate) fn stamp_of(document: &Document) -> Result<i64, Trouble> {
    document.get_i64("stamp").map_err(|_| corrupt("stamp").into())
}

/// The document of a value whose field `id` is its `_id`.
pub(crate) fn document<T: Serialize>(value: &T, id: &str, stamp: i64) -> Result<Document, Trouble> {
    let mut document = to_document(value)?;
    let key = document.remove(id).ok_or_else(|| corrupt("no id"))?;
    document.insert("_id", key);
    document.insert("stamp", stamp);
    Ok(document)
}

/// What is left of something deleted.
pub(crate) fn grave(id: &str, stamp: i64, now: Timestamp) -> Document {
    doc! { "_id": id, "stamp": stamp, "expiresAt": date(now.after(GRAVE)) }
}

/// The stamp of a change in an update by a pipeline: greater than the one before, and at least `stamp`.
pub(crate) fn next_stamp(stamp: i64) -> Document {
    doc! { "$max": [stamp, { "$add": ["$stamp", 1_i64] }] }
}

/// The event of the change with this stamp.
pub(crate) fn envelope(subject: &[&str], stamp: i64, at: Timestamp, event: impl Into<Event>) -> Envelope {
    let stamp = stamp.to_string();
    let cause: Vec<&str> = subject.iter().copied().chain([stamp.as_str()]).collect();
    Envelope::new(&cause, at, event)
}

/// Puts a document where nothing is, or where the stamp is still `before`, and writes the event of it.
pub(crate) async fn put(
    db: &Db,
    session: &mut ClientSession,
    collection: &str,
    before: Option<i64>,
    document: Document,
    event: Envelope,
) -> Result<(), Trouble> {
    let stamp = stamp_of(&document)?;
    let collection = db.collection(collection);
    match before {
        Some(before) => replace(&collection, session, before, document).await?,
        None => insert_new(collection.insert_one(document).session(&mut *session).await)?,
    }
    outbox::write_from(db, session, &[event], stamp).await
}

/// Replaces a document whose stamp is still `before`.
pub(crate) async fn replace(
    collection: &Collection<Document>,
    session: &mut ClientSession,
    before: i64,
    document: Document,
) -> Result<(), Trouble> {
    let there = doc! { "_id": document.get("_id"), "stamp": before };
    let replaced = collection.replace_one(there, document).session(session).await?;
    if replaced.matched_count == 0 { Err(Trouble::InTheWay) } else { Ok(()) }
}

/// What became of an insert of what was not there a moment ago.
pub(crate) fn insert_new<T>(inserted: mongodb::error::Result<T>) -> Result<(), Trouble> {
    match inserted {
        Ok(_) => Ok(()),
        Err(said) if is_duplicate(&said) => Err(Trouble::InTheWay),
        Err(said) => Err(said.into()),
    }
}

/// Documents by `_id`, those of the fields that are asked for.
pub(crate) async fn by_id(
    db: &Db,
    collection: &str,
    ids: impl IntoIterator<Item = &str>,
    fields: Document,
) -> Result<HashMap<String, Document>, Trouble> {
    let mut ids: Vec<&str> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    let collection = db.collection(collection);
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        let find = collection.find(doc! { "_id": { "$in": ids } }).projection(fields.clone());
        let mut cursor = find.batch_size(AT_ONCE as u32 + 1).await?;
        while let Some(document) = cursor.try_next().await? {
            let id = document.get_str("_id").map_err(|_| corrupt("id"))?.to_owned();
            found.insert(id, document);
        }
    }
    Ok(found)
}

/// Living values by id, in the order of the question.
pub(crate) async fn living<K, T: DeserializeOwned + Clone>(
    db: &Db,
    collection: &str,
    ids: &[Id<K>],
    id: &str,
    fields: Document,
) -> Result<Vec<Option<T>>, Trouble> {
    let found = by_id(db, collection, ids.iter().map(Id::as_str), fields).await?;
    let mut read = HashMap::with_capacity(found.len());
    for (key, document) in found {
        read.insert(key, Life::<T>::read(document, id)?.value);
    }
    Ok(ids.iter().map(|id| read.get(id.as_str()).cloned().flatten()).collect())
}
