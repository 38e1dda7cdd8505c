//! Promises of the `rooms` port.
