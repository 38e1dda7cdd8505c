//! [`Freshness`]: where an answer comes from, and how old it may be.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The store all processes share.
    #[default]
    Store,
    /// This process, of what it knows itself: the store does not answer.
    Process,
}

/// What an answer is worth that may be old (seed 004: what is served while Redis is away).
///
/// ```
/// use chat_core::domain::{Freshness, freshness::Source};
///
/// let remembered = Freshness::of_process(std::time::Duration::from_millis(1_500));
/// assert!(!remembered.is_current() && Freshness::default().is_current());
/// assert_eq!(serde_json::to_string(&remembered)?, r#"{"source":"process","ageMs":1500}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// Who answered.
    pub source: Source,
    /// How long ago it is known to have been so; zero for an answer of the store.
    #[serde(rename = "ageMs", serialize_with = "millis")]
    pub age: Duration,
}

impl Freshness {
    /// What this process was told so long ago.
    pub const fn of_process(age: Duration) -> Self {
        Self { source: Source::Process, age }
    }

    /// Whether the store itself has just answered.
    pub fn is_current(&self) -> bool {
        *self == Self::default()
    }
}

fn millis<S: Serializer>(age: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
