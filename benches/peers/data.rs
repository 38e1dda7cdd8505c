//! What there is, here and at the peer's: see `node/data.mjs`.

use std::time::Duration;

use chat_core::domain::{ConversationId, RoomId, UserId};

pub(crate) const USERS: usize = 10_000;
/// In how many conversations the reader is.
pub(crate) const CONVERSATIONS: usize = 100;
/// How many others have unread messages, in how many conversations each.
pub(crate) const OTHERS: usize = 1_000;
pub(crate) const EACH: usize = 10;
pub(crate) const CACHED: usize = 10_000;
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// An id of the seeds' form, 24 hexadecimal digits.
fn id(kind: &str, nth: usize) -> String {
    format!("{kind}{nth:016x}")
}

pub(crate) fn user(nth: usize) -> UserId {
    UserId::new(id("507f1f77", nth % USERS)).unwrap()
}

pub(crate) fn conversation(nth: usize) -> ConversationId {
    ConversationId::new(id("65a3c0de", nth)).unwrap()
}

pub(crate) fn room(nth: usize) -> RoomId {
    RoomId::new(format!("conv_{}", id("0c0ffee0", nth))).unwrap()
}

pub(crate) fn hundred<T>(of: impl Fn(usize) -> T) -> Vec<T> {
    (0..100).map(of).collect()
}
