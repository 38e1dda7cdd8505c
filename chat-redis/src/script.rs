//! Scripts: what must happen at once, in one slot.
//!
//! Each is a file in `scripts/`, which begins with what its keys, arguments and result are and what is atomic. All of
//! them begin with `prelude.lua`, so that the first argument of every script is the time: see
//! [`ServerClock::argument`](crate::clock::ServerClock::argument). A server that lost its scripts is sent the source
//! again.

use std::sync::OnceLock;

/// A script and its name on the server.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

/// Declares scripts by their files: `scripts! { CONNECT = "presence_connect"; }`.
macro_rules! scripts {
    ($($(#[$about:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$about])*
        static $name: $crate::script::Script = $crate::script::Script::new(concat!(
            include_str!("scripts/prelude.lua"), "\n", include_str!(concat!("scripts/", $file, ".lua"))
        ));)*
    };
}
pub(crate) use scripts;

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self { source, hash: OnceLock::new() }
    }

    pub(crate) fn source(&self) -> &'static str {
        self.source
    }

    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}
