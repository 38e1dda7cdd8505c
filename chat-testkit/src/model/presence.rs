//! The model of `presence`.
