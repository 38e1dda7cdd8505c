//! Promises of the `cache` port.
