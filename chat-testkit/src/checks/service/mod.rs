//! The promises of the services, over every port at once: one file per family of use cases.

use crate::Check;

/// Declares the checks of a family: all of them need every port a chat runs on.
macro_rules! promises {
    ($family:literal: $($check:ident $(+ $more:ident)*,)*) => {
        crate::run::checks! {
            $family needs [
                cache, presence, unread, rooms, messages, positions, conversations, files, users, source, outbox,
                publisher, tail
            ]: $($check $(+ $more)*,)*
        }
    };
}

pub mod deleting;
pub mod editing;
pub mod reading;
pub mod presence;
pub mod sending;
pub mod typing;

/// Every check of every family.
pub const ALL: [&[Check]; 6] = [
    sending::CHECKS,
    editing::CHECKS,
    deleting::CHECKS,
    reading::CHECKS,
    typing::CHECKS,
    presence::CHECKS,
];
