//! Promises of the `messages` port.
