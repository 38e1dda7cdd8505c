//! The model of `cache`.
