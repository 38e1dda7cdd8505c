//! More than one script looks at.

use chat_core::domain::{Page, Transition, UserId};
use chat_core::store::PresenceStore;
use chat_core::store::presence::Renewal;
use chat_testkit::server::Redis;
use chat_testkit::walk::walk;
use chat_testkit::{Absent, trials};

use super::{HOUR, LEASE, Node, node, numbered, session, user};

trials! { needs "redis":
    thousands_lapse_and_are_counted_listed_and_swept,
    bounds_that_passed_are_raised_by_whoever_looks,
    a_user_may_have_thousands_of_sessions,
}

async fn counted(node: &Node) -> (u64, u64) {
    let stats = node.presence.stats().await.unwrap();
    (stats.users, stats.sessions)
}

async fn listed(node: &Node) -> usize {
    walk(700, |page: Page<UserId>| async move { node.presence.online(&page).await }).await.len()
}

async fn renew_all(node: &Node, users: &[UserId]) {
    let sessions: Vec<_> = users.iter().map(|user| (user.clone(), session("1"))).collect();
    let renewed = node.presence.renew_many(&sessions, HOUR).await.unwrap();
    assert!(renewed.iter().all(|renewal| *renewal == Renewal::Alive));
}

async fn thousands_lapse_and_are_counted_listed_and_swept() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let [lapse, renew, stay] = ["lapse", "renew", "stay"].map(|prefix| numbered(prefix, 6_000));
    node.all_connect(&lapse, LEASE).await;
    node.all_connect(&renew, LEASE).await;
    node.all_connect(&stay, HOUR).await;
    renew_all(&node, &renew).await;
    node.clock.advance(LEASE);
    for _ in 0..2 {
        assert_eq!(counted(&node).await, (12_000, 12_000), "swept or not");
        assert_eq!(listed(&node).await, 12_000);
    }
    let mut swept = Vec::new();
    for limit in [1, 15, 16, 17, 1_000] {
        let found = node.presence.sweep(limit).await.unwrap();
        assert_eq!(found.len(), limit);
        swept.extend(found);
    }
    assert_eq!(counted(&node).await, (12_000, 12_000));
    loop {
        let found = node.presence.sweep(700).await.unwrap();
        swept.extend(found.iter().cloned());
        if found.len() < 700 {
            break;
        }
    }
    let mut swept: Vec<_> = swept.into_iter().map(|lapse| lapse.user).collect();
    swept.sort();
    assert_eq!(swept, lapse);
    assert_eq!(counted(&node).await, (12_000, 12_000));
    assert_eq!(listed(&node).await, 12_000);
    Ok(())
}

async fn bounds_that_passed_are_raised_by_whoever_looks() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let users = numbered("u", 3_000);
    let looked = async || {
        let (_, calls) = server.counting(node.presence.stats()).await;
        calls.get("zcount").copied().unwrap_or(0)
    };
    for sweeps in [true, false] {
        let fresh: Vec<_> = users.iter().map(|user| self::user(format!("{user}-{sweeps}"))).collect();
        node.all_connect(&fresh, LEASE).await;
        renew_all(&node, &fresh).await;
        node.clock.advance(LEASE);
        if sweeps {
            assert_eq!(node.presence.sweep(9).await.unwrap(), []);
        } else {
            assert_eq!(looked().await, 3_000, "each was looked at");
        }
        assert_eq!(looked().await, 0, "and nobody twice");
    }
    Ok(())
}

async fn a_user_may_have_thousands_of_sessions() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let ann = user("ann");
    let connect_all = async || {
        for nth in 0..9_000 {
            let edge = node.connect(&ann, &nth.to_string(), LEASE).await;
            assert_eq!(edge == Transition::None, nth > 0, "{nth}: {edge:?}");
        }
        assert_eq!(node.sessions(&ann).await, 9_000);
        assert_eq!(counted(&node).await, (1, 9_000));
    };
    connect_all().await;
    node.clock.advance(LEASE);
    assert_eq!(counted(&node).await, (0, 0));
    assert_eq!(node.presence.sweep(9).await.unwrap().len(), 1);
    connect_all().await;
    node.clock.advance(LEASE);
    assert!(matches!(node.connect(&ann, "new", LEASE).await, Transition::CameBack { .. }));
    assert_eq!((node.sessions(&ann).await, counted(&node).await), (1, (1, 1)));
    assert_eq!(node.presence.stats().await.unwrap().closed_sessions, 18_000);
    Ok(())
}
