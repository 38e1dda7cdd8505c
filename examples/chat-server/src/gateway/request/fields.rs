//! Fields that several requests share.

use std::borrow::Cow;

use chat_core::domain::id::Id;
use chat_core::error::{Code, Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An id as a client wrote it. A text that is no id has a code of its own, unlike what is no text.
#[derive(Debug)]
pub(super) struct IdField<K>(Result<Id<K>>);

impl<K> IdField<K> {
    /// The id.
    ///
    /// # Errors
    /// [`Code::IdInvalid`].
    pub(super) fn get(self) -> Result<Id<K>> {
        self.0
    }
}

impl<'de, K> Deserialize<'de> for IdField<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer).map(|text| Self(Id::new(text)))
    }
}

/// The ids of a list.
///
/// # Errors
/// [`Code::IdInvalid`].
pub(super) fn ids<K>(fields: Vec<IdField<K>>) -> Result<Vec<Id<K>>> {
    fields.into_iter().map(IdField::get).collect()
}

/// An id that may be missing.
///
/// # Errors
/// [`Code::IdInvalid`].
pub(super) fn optional<K>(field: Option<IdField<K>>) -> Result<Option<Id<K>>> {
    field.map(IdField::get).transpose()
}

/// One id, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, bound = "")]
pub(super) enum OneOrMany<K> {
    One(IdField<K>),
    Many(Vec<IdField<K>>),
}

impl<K> OneOrMany<K> {
    /// The ids, each once.
    ///
    /// # Errors
    /// [`Code::IdInvalid`].
    pub(super) fn get(self) -> Result<Vec<Id<K>>> {
        let fields = match self {
            Self::One(field) => vec![field],
            Self::Many(fields) => fields,
        };
        let mut found = ids(fields)?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// How many, within what a request allows.
///
/// # Errors
/// [`Code::PageInvalid`].
pub(super) fn limit(asked: Option<i64>, default: usize, max: usize) -> Result<usize> {
    let within = |asked: i64| usize::try_from(asked).ok().filter(|asked| (1..=max).contains(asked));
    asked.map_or(Some(default), within).ok_or_else(|| Error::new(Code::PageInvalid).with("max", max))
}

/// Tells `null` (clear) from a missing field (leave).
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// A payload of which nothing counts.
#[derive(Debug, Deserialize)]
pub(super) struct Ignored {}

/// A number or text to be given back as it came.
pub(super) fn echo(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.is_number() || value.is_string())
}

/// Bad input, in plain words.
pub(super) fn invalid(reason: &'static str) -> Error {
    Error::invalid(Code::RequestInvalid, reason)
}
