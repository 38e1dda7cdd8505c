//! Values as documents and back. Times are dates, so that the database's own tools understand them.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::Seq;
use mongodb::bson::{Bson, DateTime, Document, deserialize_from_document, doc, serialize_to_document};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Trouble;

/// The fields that are times, wherever they are but in what the host keeps for itself.
const TIMES: [&str; 11] = [
    "at",
    "until",
    "createdAt",
    "editedAt",
    "joinedAt",
    "lastReplyAt",
    "replacedAt",
    "settledAt",
    "updatedAt",
    "uploadedAt",
    "expiresAt",
];

/// What belongs to the host or the sender: its names mean nothing to us.
const FOREIGN: [&str; 1] = ["metadata"];

/// A value as a document, its times as dates.
pub(crate) fn to_document<T: Serialize>(value: &T) -> Result<Document, Trouble> {
    let mut document = serialize_to_document(value)?;
    into_dates(&mut document);
    Ok(document)
}

/// A document as a value.
pub(crate) fn from_document<T: DeserializeOwned>(mut document: Document) -> Result<T, Trouble> {
    for (_, value) in document.iter_mut() {
        from_dates(value);
    }
    Ok(deserialize_from_document(document)?)
}

/// A map of texts as a list of pairs: its names may look like anything.
pub(crate) fn pairs(map: &BTreeMap<String, String>) -> Vec<Bson> {
    map.iter().map(|(name, value)| Bson::Document(doc! { "k": name, "v": value })).collect()
}

/// A list of pairs as a map; `None` when it is something else.
pub(crate) fn from_pairs(pairs: &Bson) -> Option<BTreeMap<String, String>> {
    let pair = |pair: &Bson| {
        let pair = pair.as_document()?;
        Some((pair.get_str("k").ok()?.to_owned(), pair.get_str("v").ok()?.to_owned()))
    };
    pairs.as_array()?.iter().map(pair).collect()
}

/// A time as a date.
pub(crate) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

/// A date as a time.
pub(crate) fn timestamp(date: DateTime) -> Timestamp {
    Timestamp::from_millis(u64::try_from(date.timestamp_millis()).unwrap_or(0))
}

/// A place as it is stored. What no message can have is the last there could be.
pub(crate) fn place(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A stored place.
pub(crate) fn seq(place: i64) -> Seq {
    Seq(u64::try_from(place).unwrap_or(0))
}

fn into_dates(document: &mut Document) {
    for (name, value) in document.iter_mut() {
        match value {
            Bson::String(text) if TIMES.contains(&name.as_str()) => {
                if let Ok(at) = text.parse() {
                    *value = Bson::DateTime(date(at));
                }
            }
            Bson::Document(inner) if !FOREIGN.contains(&name.as_str()) => into_dates(inner),
            Bson::Array(items) => {
                for item in items {
                    if let Bson::Document(inner) = item {
                        into_dates(inner);
                    }
                }
            }
            _ => {}
        }
    }
}

fn from_dates(value: &mut Bson) {
    match value {
        Bson::DateTime(date) => *value = Bson::String(timestamp(*date).to_string()),
        Bson::Document(inner) => inner.iter_mut().for_each(|(_, value)| from_dates(value)),
        Bson::Array(items) => items.iter_mut().for_each(from_dates),
        _ => {}
    }
}
