//! Who may do what.

mod access;
mod policy;

pub use access::{Access, AccessGuard};
pub use policy::{Action, PolicyTable};
