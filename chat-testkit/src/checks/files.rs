//! Promises of the `files` port.
