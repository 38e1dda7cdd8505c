//! [`MessageStore`](chat_core::store::MessageStore) on MongoDB.

use crate::outbox::{BY_EVENT, DUE};
use crate::schema::Schema;

/// The collection.
pub(crate) const MESSAGES: &str = "messages";

pub(crate) const SCHEMA: Schema = Schema { name: MESSAGES, fields: &[], indexes: &[DUE, BY_EVENT] };
