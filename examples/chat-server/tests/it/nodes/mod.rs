//! Several servers on real backends are one chat, whatever becomes of one of them or of a backend.
//!
//! [`world`] starts servers and backends, [`roamer`] is somebody with an app that comes back by itself, and [`storm`] lets many of
//! them talk while something goes wrong, and compares what was acknowledged with what everybody has afterwards.

mod faults;
mod one_chat;
mod roamer;
mod soak;
mod storm;
mod watched;
pub(super) mod world;

use libtest_mimic::Trial;

/// Every trial of this topic.
pub(crate) fn trials() -> Vec<Trial> {
    let usual = one_chat::trials().into_iter().chain(faults::trials()).chain(watched::trials());
    usual.chain(soak::trials()).collect()
}
