//! Promises of the `events` port.
