//! Promises of the `users` port.
