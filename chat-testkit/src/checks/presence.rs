//! Promises of the `presence` port.
