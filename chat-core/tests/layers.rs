//! Policies by themselves, in their order, and around every port, on a clock that is moved by hand.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::future_not_send,
    reason = "helpers of tests"
)]

mod layers {
    mod chaos;
    mod order;
    mod ports;
    mod repeats;
    mod retry;
    mod script;
    mod timeout;
    mod told;
}
