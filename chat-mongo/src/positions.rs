//! [`PositionStore`](chat_core::store::PositionStore) on MongoDB.

use crate::outbox::{BY_EVENT, DUE};
use crate::schema::Schema;

/// The collection.
pub(crate) const POSITIONS: &str = "positions";

pub(crate) const SCHEMA: Schema = Schema { name: POSITIONS, fields: &[], indexes: &[DUE, BY_EVENT] };
