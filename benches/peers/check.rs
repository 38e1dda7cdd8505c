//! Whether the peer sends what seeds 001 and 002 send, and leaves what they leave.

use std::collections::BTreeMap;

use chat_testkit::server::{Redis, Reply};

use crate::DATABASE;
use crate::field::{Field, PIPELINED, SEED};

/// As often as it takes to go through all keys.
const ANY: usize = 0;

/// What one operation sends, in either way unless a row of its own says otherwise.
const SENDS: &[(&str, &[(&str, usize)])] = &[
    ("presence.connect", &[("HSET", 1), ("GET", 1), ("SET", 2)]),
    ("presence.connectAndDisconnect", &[("HSET", 1), ("GET", 1), ("SET", 2), ("HGET", 1), ("DEL", 3)]),
    ("presence.heartbeat", &[("GET", 1), ("HSET", 1), ("SET", 1)]),
    ("presence.heartbeats128", &[("GET", 128), ("HSET", 128), ("SET", 128)]),
    ("presence.isOnline", &[("GET", 1)]),
    ("presence.areOnline100", &[("GET", 100)]),
    ("presence.count", &[("KEYS", 1)]),
    ("presence.list100", &[("SCAN", ANY), ("HGETALL", 100)]),
    ("unread.messageTo1", &[("INCR", 2), ("EXPIRE", 2)]),
    ("unread.messageTo100", &[("INCR", 200), ("EXPIRE", 200)]),
    ("unread.messageTo1000", &[("INCR", 2_000), ("EXPIRE", 2_000)]),
    ("unread.markRead", &[("DEL", 2)]),
    ("unread.count", &[("GET", 1)]),
    ("unread.total100", &[("SCAN", ANY), ("GET", 100)]),
    ("cache.get", &[("GET", 1)]),
    ("cache.get100", &[("GET", 100)]),
    ("cache.put", &[("SETEX", 1)]),
    ("cache.invalidate", &[("SCAN", ANY)]),
    ("users.get", &[("HGETALL", 1)]),
    ("users.get100 seed", &[("MULTI", 1), ("HGETALL", 100), ("EXEC", 1)]),
    ("users.get100 pipelined", &[("HGETALL", 100)]),
    ("users.put", &[("HSET", 1), ("EXPIRE", 1)]),
    ("events.publish", &[("XADD", 1)]),
    ("rooms.role", &[("HGET", 1)]),
    ("rooms.online100", &[("SMEMBERS", 1), ("GET", 100)]),
    (
        "rooms.joinAndLeave",
        &[("SADD", 2), ("HSET", 3), ("EXPIRE", 2), ("SET", 1), ("SREM", 2), ("DEL", 1), ("SCARD", 1)],
    ),
    ("rooms.join", &[("SADD", 2), ("HSET", 3), ("EXPIRE", 2), ("SET", 1)]),
];

/// What it leaves: a key, its type, and its longest life in seconds; those without a life live for ever.
const LEAVES: &[(&str, &str, Option<i64>)] = &[
    ("presence:507f1f770000000000000001", "string", Some(3_600)),
    ("user_data:507f1f770000000000000001", "hash", None),
    ("user_sockets:socket-1", "string", Some(3_600)),
    ("unread:user:507f1f770000000000000000:65a3c0de0000000000000000", "string", Some(259_200)),
    ("unread:conv:65a3c0de0000000000000000:507f1f770000000000000000", "string", Some(259_200)),
    ("chat:key000001", "string", Some(3_600)),
    ("user:profile:507f1f770000000000000001", "hash", Some(604_800)),
    ("events:users", "stream", None),
    ("room_users:conv_0c0ffee00000000000000000", "set", None),
    ("user_rooms:507f1f770000000000000001", "set", None),
    ("room_roles:conv_0c0ffee00000000000000000", "hash", None),
    ("rooms:conv_0c0ffee00000000000000000", "hash", Some(7_200)),
];

/// The fields of a profile, as seed 002 has them.
const PROFILE: [&str; 6] = ["avatar", "fullName", "matricule", "ministere", "sexe", "updatedAt"];

/// Fails where the peer is not what it is said to be.
pub(crate) fn peer(field: &Field<'_>) {
    for operation in field.lines.iter().filter_map(|line| line.operation) {
        for way in [SEED, PIPELINED] {
            let errand = field.errand(way, operation);
            let is_it = |name: &str| name == operation || name == errand.operation;
            let (_, expected) = SENDS
                .iter()
                .find(|(name, _)| is_it(name))
                .unwrap_or_else(|| panic!("nobody says what {} sends", operation));
            let mut sent = BTreeMap::<String, usize>::new();
            for name in field.stage.commands(async { errand.once() }) {
                *sent.entry(name).or_default() += 1;
            }
            let as_said = expected
                .iter()
                .all(|(name, times)| sent.get(*name).is_some_and(|sent| *times == ANY || sent == times));
            assert!(as_said && sent.len() == expected.len(), "{}: {sent:?}", errand.operation);
        }
    }
    left(&field.stage.server);
}

fn left(server: &Redis) {
    let mut connection = server.connect().unwrap();
    let mut ask = |words: &[&str]| connection.command(words).unwrap();
    assert_eq!(ask(&["SELECT", &DATABASE.to_string()]), Reply::Status("OK".into()));
    for (key, kind, life) in LEAVES {
        assert_eq!(ask(&["TYPE", key]).text(), *kind, "{key}");
        let ttl = ask(&["TTL", key]).int();
        match life {
            None => assert_eq!(ttl, -1, "{key}"),
            Some(life) => assert!((1..=*life).contains(&ttl), "{key} lives for {ttl} s"),
        }
    }
    let fields = ask(&["HKEYS", "user:profile:507f1f770000000000000001"]);
    let mut fields: Vec<String> = fields.list().iter().map(Reply::text).collect();
    fields.sort();
    assert_eq!(fields, PROFILE);
}
