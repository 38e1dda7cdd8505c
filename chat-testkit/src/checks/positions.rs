//! Promises of the `positions` port.
