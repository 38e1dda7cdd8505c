//! [`MessageStore`](chat_core::store::MessageStore) on MongoDB.
//!
//! For [positions](crate::positions) a message also has `uncounted`, which is true and only there when it counts for nobody,
//! and `mentioned`, the users it calls and [`EVERYONE`](crate::message_index::EVERYONE), only there when it counts and calls
//! anybody.

use crate::message_index::{MENTIONED, SENDER, UNCOUNTED};
use crate::outbox::{BY_EVENT, DUE};
use crate::schema::{Index, Schema};

/// The collection.
pub(crate) const MESSAGES: &str = "messages";

/// History, and the newest message: a place is taken once.
pub(crate) const PLACE: Index =
    Index { name: "place", keys: &[("conversationId", 1), ("seq", 1)], unique: true, partial: &[] };

pub(crate) const SCHEMA: Schema =
    Schema { name: MESSAGES, fields: &[], indexes: &[PLACE, SENDER, UNCOUNTED, MENTIONED, DUE, BY_EVENT] };
