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

pub mod access;
pub mod conversations;
pub mod deleting;
pub mod editing;
pub mod files;
pub mod flow;
pub mod history;
pub mod members;
pub mod presence;
pub mod profiles;
pub mod reading;
pub mod search;
pub mod sending;
pub mod typing;

/// Every check of every family.
pub const ALL: [&[Check]; 14] = [
    sending::CHECKS,
    editing::CHECKS,
    deleting::CHECKS,
    reading::CHECKS,
    typing::CHECKS,
    presence::CHECKS,
    conversations::CHECKS,
    members::CHECKS,
    files::CHECKS,
    profiles::CHECKS,
    history::CHECKS,
    search::CHECKS,
    access::CHECKS,
    flow::CHECKS,
];
