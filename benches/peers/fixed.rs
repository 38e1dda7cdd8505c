//! The plainest thing there is: one `GET`, by the raw driver.

use chat_benches::{Act, acting};
use redis::AsyncTypedCommands;

use crate::field::Field;

/// A `GET` of this value.
pub(crate) fn get(field: &Field<'_>, value: &str) -> Act {
    let raw = field.stage.raw.clone();
    let key = format!("plain:{}", value.len());
    field.stage.prepare(async { raw.clone().set(&key, value).await.unwrap() });
    acting(move |_, _| {
        let (mut raw, key) = (raw.clone(), key.clone());
        async move { assert!(raw.get(key).await.unwrap().is_some()) }
    })
}
