//! The model of `unread`.
