//! Promises of the `conversations` port.
