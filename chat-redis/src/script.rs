//! Scripts: what must happen at once, in one slot.
//!
//! Each is a file in `scripts/`, which begins with what its keys, arguments and result are and what is atomic. They
//! begin with `prelude.lua`, so that the first argument of a script is the time: see
//! [`argument`](crate::clock::argument). Those that ask for no time begin with what they have
//! in common instead. A server that lost its scripts is sent the source again.

use std::sync::OnceLock;

/// Begins every script: makes the first argument the local `now`.
pub const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// A script and its name on the server.
#[derive(Debug)]
pub struct Script {
    parts: &'static [&'static str],
    source: OnceLock<String>,
    hash: OnceLock<String>,
}

/// Declares scripts by their files: `scripts! { CONNECT = "presence", "presence_connect"; }`. What several scripts share
/// is a file before theirs.
macro_rules! scripts {
    ($($(#[$about:meta])* $name:ident = $($file:literal),+;)*) => {
        $($(#[$about])*
        static $name: $crate::script::Script = $crate::script::Script::joined(&[
            $crate::script::PRELUDE,
            $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts/", $file, ".lua")),)+
        ]);)*
    };
}
pub(crate) use scripts;

impl Script {
    /// A script of several parts, each on lines of its own; the first is [`PRELUDE`], for a script that is told the time.
    pub const fn joined(parts: &'static [&'static str]) -> Self {
        Self { parts, source: OnceLock::new(), hash: OnceLock::new() }
    }

    pub(crate) fn source(&self) -> &str {
        self.source.get_or_init(|| self.parts.join("\n"))
    }

    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.source()).get_hash().to_owned())
    }
}
