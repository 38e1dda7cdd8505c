//! The promises: one file per port, one function per promise.

use crate::Check;

pub mod audit;
pub mod cache;
pub mod conversations;
pub mod events;
pub mod files;
pub mod limits;
pub mod messages;
pub mod outbox;
pub mod positions;
pub mod presence;
pub mod rooms;
pub mod service;
pub mod source;
pub mod unread;
pub mod users;

/// Every check of every port.
pub fn all() -> impl Iterator<Item = Check> {
    [
        cache::CHECKS,
        presence::CHECKS,
        unread::CHECKS,
        rooms::CHECKS,
        limits::CHECKS,
        users::CHECKS,
        source::CHECKS,
        messages::CHECKS,
        positions::CHECKS,
        conversations::CHECKS,
        files::CHECKS,
        audit::CHECKS,
        outbox::CHECKS,
        events::CHECKS,
    ]
    .into_iter()
    .chain(service::ALL)
    .flatten()
    .copied()
}
