//! The scripts: what must happen at once on one stream. Each file says what it takes and gives.

use chat_redis::driver::{PRELUDE, Script};

macro_rules! scripts {
    ($($name:ident = $file:literal $(, $part:literal)*;)*) => {
        $(pub(crate) static $name: Script = Script::joined(&[
            PRELUDE,
            include_str!("scripts/stream.lua"),
            $(include_str!(concat!("scripts/", $part, ".lua")),)*
            include_str!(concat!("scripts/", $file, ".lua")),
        ]);)*
    };
}

scripts! {
    PUBLISH = "publish";
    ENDS = "ends";
    LOOK = "look";
    JOIN = "join", "key", "group";
    LEAVE = "leave", "key", "group";
    FETCH = "fetch", "key", "group";
    ACK = "ack", "key", "group";
    NOTE = "note", "key", "group";
    RENEW = "renew", "key", "group";
    RECLAIM = "reclaim", "key", "group";
    BURY = "bury", "key", "group";
    LAG = "lag", "key", "group";
    REPLAY = "replay", "key", "group";
    PURGE = "purge";
    CUT = "cut";
    REPORT = "report";
}

macro_rules! wal_scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) static $name: Script = Script::joined(&[
            PRELUDE,
            include_str!("scripts/wal.lua"),
            include_str!(concat!("scripts/", $file, ".lua")),
        ]);)*
    };
}

wal_scripts! {
    WAL_BEGIN = "wal_begin";
    WAL_FINISH = "wal_finish";
    WAL_HOLD = "wal_hold";
}
