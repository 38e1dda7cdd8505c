//! A room of a hundred thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::domain::{Page, UserId};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::RoomChanged;
use chat_core::store::{PresenceStore, RoomStore, RoomStoreExt};
use chat_testkit::expect::at_once;
use chat_testkit::sample::session;
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

use super::{MEMBER, Node, node, numbered, room, user, with_members};

trials! { needs "redis":
    a_room_of_a_hundred_thousand_holds_nobody_up,
    a_page_of_online_members_looks_at_a_bounded_part,
}

const MANY: usize = 100_000;

/// How long a server took for the commands of an operation, in microseconds: for the longest one, and for one of the
/// kind that takes longest as a rule. Neighbours on the machine lengthen the first.
struct Longest<'a>(&'a Redis, BTreeMap<&'static str, (i64, i64)>);

impl<'a> Longest<'a> {
    fn of(server: &'a Redis) -> Self {
        server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
        server.command(&["CONFIG", "SET", "slowlog-max-len", "10000"]);
        Self(server, BTreeMap::new())
    }

    fn begin(&self) {
        self.0.command(&["SLOWLOG", "RESET"]);
    }

    fn end(&mut self, what: &'static str) {
        let log = self.0.command(&["SLOWLOG", "GET", "-1"]);
        let mut kinds = BTreeMap::<String, Vec<i64>>::new();
        for entry in log.list() {
            let words: Vec<_> = entry.list()[3].list().iter().take(2).map(|word| word.text()).collect();
            // Scripts, once the server knows them.
            if words[0] == "EVALSHA" {
                kinds.entry(words.concat()).or_default().push(entry.list()[2].int());
            }
        }
        let median = |times: &mut Vec<i64>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let longest = kinds.values().flatten().max().copied().unwrap_or(0);
        self.1.insert(what, (longest, kinds.values_mut().map(median).max().unwrap_or(0)));
    }
}

async fn connect(node: &Node, who: &UserId) {
    let lease = Duration::from_secs(60);
    let connect = Connect { user: who.clone(), session: session(who.as_str()), device: None, lease };
    node.presence.connect(&connect).await.unwrap();
}

async fn a_room_of_a_hundred_thousand_holds_nobody_up() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let everybody = numbered("u", MANY);
    let mut longest = Longest::of(&server);
    longest.begin();
    let r = node.make("r", &everybody).await;
    longest.end("create");
    let some: Vec<_> = everybody.iter().step_by(3).collect();
    for part in some.chunks(500) {
        futures::future::join_all(part.iter().map(|who| connect(&node, who))).await;
    }
    let online = MANY.div_ceil(3);

    longest.begin();
    let mut page = Page::first(1_000);
    let mut seen = 0;
    loop {
        let found = node.rooms.members(&r, &page).await.unwrap();
        let expected = everybody[seen..].iter().take(1_000);
        assert!(found.items.iter().map(|member| &member.user).eq(expected), "after {seen}");
        seen += found.items.len();
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, MANY);
    longest.end("members");

    longest.begin();
    let mut page = Page::first(1_000);
    let mut seen = Vec::new();
    loop {
        let found = node.rooms.online(&r, &page).await.unwrap();
        seen.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert!(seen.iter().eq(everybody.iter().step_by(3)));
    longest.end("online");

    longest.begin();
    let stats = node.rooms.stats(&r).await.unwrap();
    assert_eq!((stats.members, stats.online, stats.peak.online), (MANY as u64, online as u64, online as u64));
    assert_eq!(stats.roles, [(MEMBER, MANY as u64)].into());
    longest.end("stats");

    longest.begin();
    let asked = [&everybody[0], &everybody[MANY - 1], &user("nobody")].map(UserId::clone);
    for _ in 0..100 {
        let roles = node.rooms.roles(&r, &asked).await.unwrap();
        assert_eq!(roles, Some(vec![Some(MEMBER), Some(MEMBER), None]));
        assert_eq!(node.rooms.leave(&r, &everybody[500]).await.unwrap(), RoomChanged::Changed);
        assert_eq!(node.rooms.join(&r, &everybody[500], MEMBER).await.unwrap(), RoomChanged::Changed);
    }
    longest.end("roles, leave, join");

    longest.begin();
    let before = server.commandstats();
    assert!(node.rooms.delete(&r).await.unwrap());
    let scripts = server.commandstats()["evalsha"] - before["evalsha"];
    assert!(scripts <= 402, "{scripts} scripts");
    longest.end("delete");
    for nth in [0, 1, 999, 1_000, MANY - 1] {
        assert_eq!(node.rooms_of(&everybody[nth]).await, [].into());
    }
    assert!(server.command(&["KEYS", "*:r:*:[uoht]:*"]).list().is_empty(), "nothing is left");
    println!("longest command and median of the longest kind, microseconds: {:?}", longest.1);
    Ok(())
}

async fn a_page_of_online_members_looks_at_a_bounded_part() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let everybody = numbered("u", 10_000);
    let r = node.make("r", &everybody).await;
    let (early, late) = (&everybody[10], &everybody[9_999]);
    connect(&node, late).await;
    let last = node.rooms.online(&r, &Page::after(everybody[9_000].clone(), 5)).await.unwrap();
    assert_eq!((last.items, last.next), (vec![late.clone()], None));
    connect(&node, early).await;
    let first = node.rooms.online(&r, &Page::first(5)).await.unwrap();
    assert_eq!(
        (first.items, first.next),
        (vec![early.clone()], Some(everybody[999].clone())),
        "a short page"
    );
    let found = chat_testkit::walk::walk(5, |page| {
        let (node, r) = (&node, &r);
        async move { node.rooms.online(r, &page).await }
    });
    assert_eq!(found.await, [early.clone(), late.clone()]);
    assert_eq!(node.rooms.stats(&r).await.unwrap().online, 2);

    // While many come and go, whoever stays is counted.
    let churn = at_once(9, |nth| {
        let (node, r) = (node.clone(), r.clone());
        async move {
            for round in 0..20 {
                if nth == 0 {
                    let stats = node.rooms.stats(&r).await.unwrap();
                    assert_eq!(stats.online, 2, "{stats:?}");
                    assert_eq!(stats.roles.values().sum::<u64>(), stats.members);
                } else {
                    let who = user(format!("v{nth}-{round}"));
                    assert_eq!(node.rooms.join(&r, &who, MEMBER).await.unwrap(), RoomChanged::Changed);
                    assert_eq!(node.rooms.leave(&r, &who).await.unwrap(), RoomChanged::Changed);
                }
            }
        }
    });
    churn.await;
    assert_eq!(node.rooms.create(&with_members(&room("r"), &[])).await.ok(), Some(false));
    assert_eq!(node.online(&node.make("s", &everybody[9_990..]).await).await, std::slice::from_ref(late));
    Ok(())
}
