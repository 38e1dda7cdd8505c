//! The model of `rooms`.
