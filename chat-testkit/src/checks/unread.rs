//! Promises of the `unread` port.
