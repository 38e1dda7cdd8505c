//! What each kind of event carries: one struct per kind, grouped by family.
//!
//! Fields are written in camelCase. A reader passes over fields it does not know; a field that may be missing
//! has a default. Payloads hold explicit fields, never a whole stored record, so that a change to storage
//! changes no event.

/// Declares payloads; several names before one body have the same fields.
macro_rules! payloads {
    ($($($(#[$doc:meta])* $name:ident)and+ has $body:tt)*) => {
        $($(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "camelCase")]
            pub struct $name $body
        )+)*
    };
}

mod conversation;
mod file;
mod message;
mod moderation;
mod presence;
mod room;
mod system;
mod user;

pub use conversation::*;
pub use file::*;
pub use message::*;
pub use moderation::*;
pub use presence::*;
pub use room::*;
pub use system::*;
pub use user::*;
