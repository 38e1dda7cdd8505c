//! Promises of the `outbox` port.
