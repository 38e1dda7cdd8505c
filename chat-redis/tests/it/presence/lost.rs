//! Replies that are lost after the work was done, and work that is done again later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock};
use chat_core::domain::presence::ChosenStatus;
use chat_core::domain::{Page, PresenceStatus, Transition, UserId, Visibility};
use chat_core::error::{Code, Effect};
use chat_core::store::presence::Renewal;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_testkit::expect::at_once;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::walk::eventually;
use chat_testkit::{Absent, trials};

use super::super::lost::{between, losing};
use super::{HOUR, LEASE, Node, numbered, session, user, waiting};

trials! { needs "redis":
    an_edge_is_handed_out_though_its_reply_was_lost,
    being_idle_begins_and_ends_once_though_a_reply_was_lost,
    a_repeat_does_not_undo_what_came_between,
    lapses_are_handed_out_though_replies_were_lost,
    lapses_nobody_heard_of_are_handed_to_the_next_sweep,
    reading_and_renewing_repeat,
    a_server_that_lost_its_scripts_is_told_again,
    edges_balance_while_connections_break,
    an_outage_is_an_error_and_changes_nothing,
}

/// A server, and a node behind a proxy whose scripts the server knows already.
async fn behind_a_proxy() -> Result<(Redis, Proxy, Node), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let node =
        waiting(&server.url_at(proxy.address()), &ManualClock::default(), Duration::from_millis(300)).await;
    know_the_scripts(&node).await;
    Ok((server, proxy, node))
}

async fn know_the_scripts(node: &Node) {
    let (known, presence) = (user("known"), &node.presence);
    node.connect(&known, "1", LEASE).await;
    presence.renew(&known, &session("1"), Duration::from_secs(1)).await.unwrap();
    presence.are_online(&[known.clone(), user("other")]).await.unwrap();
    presence.get(&known).await.unwrap();
    presence.idle_many(std::slice::from_ref(&known), Duration::ZERO).await.unwrap();
    presence.touch_many(std::slice::from_ref(&known)).await.unwrap();
    presence.choose(&known, None).await.unwrap();
    presence.set_visibility(&known, Visibility::Everyone).await.unwrap();
    presence.online(&Page::first(1)).await.unwrap();
    presence.stats().await.unwrap();
    presence.sweep(1).await.unwrap();
    assert_eq!(node.disconnect(&known, "1").await, Transition::WentOffline);
}

async fn an_edge_is_handed_out_though_its_reply_was_lost() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let (ann, closed) = (user("ann"), node.presence.stats().await.unwrap().closed_sessions);
    assert_eq!(losing(&proxy, node.connect(&ann, "1", LEASE)).await, Transition::WentOnline);
    assert_eq!(losing(&proxy, node.connect(&ann, "2", LEASE)).await, Transition::None);
    assert_eq!(losing(&proxy, node.connect(&ann, "2", LEASE)).await, Transition::None);
    let stats = node.presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), (1, 2), "each was done once");
    node.clock.advance(LEASE);
    let lapsed_at = node.clock.now();
    node.clock.advance(LEASE);
    assert_eq!(losing(&proxy, node.connect(&ann, "3", LEASE)).await, Transition::CameBack { lapsed_at });
    assert_eq!(node.connect(&ann, "4", LEASE).await, Transition::None);
    assert_eq!(losing(&proxy, node.disconnect(&ann, "3")).await, Transition::None);
    assert_eq!(losing(&proxy, node.disconnect(&ann, "4")).await, Transition::WentOffline);
    assert_eq!(losing(&proxy, node.disconnect(&ann, "4")).await, Transition::None);
    let stats = node.presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions, stats.closed_sessions), (0, 0, closed + 4));
    Ok(())
}

async fn being_idle_begins_and_ends_once_though_a_reply_was_lost() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let both = [user("ann"), user("ben")];
    let presence = &node.presence;
    node.connect(&both[0], "1", HOUR).await;
    for _ in 0..3 {
        node.clock.advance(LEASE);
        let ann = &both[..1];
        assert_eq!(losing(&proxy, presence.idle_many(ann, LEASE)).await.unwrap(), [true]);
        assert_eq!(losing(&proxy, presence.idle_many(ann, LEASE)).await.unwrap(), [false]);
        assert_eq!(losing(&proxy, presence.touch_many(&both)).await.unwrap(), [true, false]);
        assert_eq!(losing(&proxy, presence.touch_many(&both)).await.unwrap(), [false, false]);
    }
    Ok(())
}

async fn a_repeat_does_not_undo_what_came_between() -> Result<(), Absent> {
    let (server, proxy, node) = behind_a_proxy().await?;
    let other = waiting(&server.url(), &node.clock, Duration::from_secs(2)).await;
    let (ann, ben) = (user("ann"), user("ben"));

    let ends = |expected| {
        let (other, ann) = (other.clone(), ann.clone());
        async move { assert_eq!(other.disconnect(&ann, "1").await, expected) }
    };
    let here = async || other.is_online(&ann).await;
    let came = between(&proxy, node.connect(&ann, "1", LEASE), here, ends(Transition::WentOffline)).await;
    assert_eq!(came, Transition::WentOnline, "it was handed to nobody else");
    assert!(!here().await, "a session that ended stays ended");

    node.connect(&ann, "1", LEASE).await;
    let renewed = async || {
        let known = other.presence.get(&ann).await.unwrap();
        known.sessions.first().is_some_and(|session| session.lease_until == node.clock.now().after(HOUR))
    };
    let again = between(&proxy, node.connect(&ann, "1", HOUR), renewed, ends(Transition::WentOffline)).await;
    assert_eq!(again, Transition::None);
    assert!(!here().await, "also when it was renewed by the connect");

    node.connect(&ann, "1", LEASE).await;
    let comes = async { assert_eq!(other.connect(&ann, "1", LEASE).await, Transition::WentOnline) };
    let went = between(&proxy, node.disconnect(&ann, "1"), async || !here().await, comes).await;
    assert_eq!(went, Transition::WentOffline);
    assert!(here().await, "whoever came meanwhile stays");

    let status = |status| ChosenStatus { status, until: None };
    let (away, dnd) = (status(PresenceStatus::Away), status(PresenceStatus::Dnd));
    let chosen = async || other.presence.get(&ben).await.unwrap().chosen;
    let chooses = async { other.presence.choose(&ben, Some(&dnd)).await.unwrap() };
    let done = async || chosen().await == Some(away);
    between(&proxy, node.presence.choose(&ben, Some(&away)), done, chooses).await.unwrap();
    assert_eq!(chosen().await, Some(dnd), "the later choice stays");

    let visibility = async || other.presence.get(&ben).await.unwrap().last_seen_visibility;
    let shows = async { other.presence.set_visibility(&ben, Visibility::Contacts).await.unwrap() };
    let done = async || visibility().await == Visibility::Nobody;
    between(&proxy, node.presence.set_visibility(&ben, Visibility::Nobody), done, shows).await.unwrap();
    assert_eq!(visibility().await, Visibility::Contacts, "the later wish stays");
    Ok(())
}

async fn lapses_are_handed_out_though_replies_were_lost() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let users = numbered("u", 200);
    node.all_connect(&users, LEASE).await;
    node.clock.advance(LEASE);
    // Each shard has its own script; lose the reply of several.
    for nth in [1, 4, 9] {
        proxy.cut_after(Request::with("EVALSHA").but_the(nth));
    }
    let mut swept = swept(&node, 1_000).await;
    assert!(proxy.counts().faults >= 1);
    proxy.pass().await;
    swept.sort();
    assert_eq!(swept, users, "each once, and none is lost");
    assert_eq!(self::swept(&node, 1_000).await, []);
    Ok(())
}

async fn swept(node: &Node, limit: usize) -> Vec<UserId> {
    node.presence.sweep(limit).await.unwrap().into_iter().map(|lapse| lapse.user).collect()
}

async fn lapses_nobody_heard_of_are_handed_to_the_next_sweep() -> Result<(), Absent> {
    let (server, proxy, node) = behind_a_proxy().await?;
    let mut config = chat_redis::RedisConfig::from_url(&server.url_at(proxy.address())).unwrap();
    config.timing.operation = Duration::from_millis(400);
    config.timing.response = Duration::from_millis(200);
    let config = config.with_clock(Arc::new(node.clock.clone()));
    let service = chat_redis::RedisService::connect(&config).await.unwrap();
    let hasty = chat_redis::Redis::new(service, &config.keys).presence;

    let users = numbered("u", 100);
    node.all_connect(&users, LEASE).await;
    node.clock.advance(LEASE);
    assert_eq!(proxy.counts().faults, 0);
    proxy.hang_after(Request::with("EVALSHA"));
    let hung = async {
        eventually("the sweep is executed", async || proxy.counts().faults > 0).await;
        proxy.hang();
    };
    let (lost, ()) = futures::join!(hasty.sweep(1_000), hung);
    let mut found = match lost {
        Ok(lapses) => lapses,
        Err(error) => {
            assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
            Vec::new()
        }
    };
    assert!(found.len() < users.len(), "some reply was lost");
    proxy.pass().await;
    proxy.cut().await;
    // On a busy machine a hasty node may miss an answer again: the sweep after that is given it.
    while found.len() < users.len() {
        found.extend(hasty.sweep(1_000).await.unwrap_or_default());
    }
    assert_eq!(node.presence.sweep(1_000).await.unwrap(), [], "nobody twice");
    let mut found: Vec<_> = found.into_iter().map(|lapse| lapse.user).collect();
    found.sort();
    assert_eq!(found, users, "each once, and none is lost");
    Ok(())
}

async fn reading_and_renewing_repeat() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let (ann, presence) = (user("ann"), &node.presence);
    node.connect(&ann, "1", LEASE).await;
    let one = session("1");
    proxy.cut_after(Request::with("ZADD"));
    assert_eq!(presence.renew(&ann, &one, HOUR).await.unwrap(), Renewal::Alive, "later");
    proxy.cut_after(Request::with("ZADD"));
    assert_eq!(presence.renew(&ann, &one, HOUR).await.unwrap(), Renewal::Alive, "in the same millisecond");
    assert_eq!(losing(&proxy, presence.renew(&ann, &one, LEASE)).await.unwrap(), Renewal::Alive, "earlier");
    assert_eq!(losing(&proxy, presence.renew(&ann, &session("2"), LEASE)).await.unwrap(), Renewal::Lost);
    let both = [(ann.clone(), one), (ann.clone(), session("2"))];
    let renewed = losing(&proxy, presence.renew_many(&both, HOUR)).await.unwrap();
    assert_eq!(renewed, [Renewal::Alive, Renewal::Lost]);
    proxy.cut_after(Request::with("ZCOUNT"));
    assert!(presence.is_online(&ann).await.unwrap());
    let asked = [ann.clone(), user("ben")];
    assert_eq!(losing(&proxy, presence.are_online(&asked)).await.unwrap(), [true, false]);
    assert_eq!(losing(&proxy, presence.get(&ann)).await.unwrap().sessions.len(), 1);
    assert_eq!(losing(&proxy, presence.online(&Page::first(9))).await.unwrap().items, [ann]);
    assert_eq!(losing(&proxy, presence.stats()).await.unwrap().sessions, 1);
    Ok(())
}

async fn a_server_that_lost_its_scripts_is_told_again() -> Result<(), Absent> {
    let (server, _proxy, node) = behind_a_proxy().await?;
    let ann = user("ann");
    for _ in 0..2 {
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(node.connect(&ann, "1", LEASE).await, Transition::WentOnline);
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(node.presence.stats().await.unwrap().users, 1);
        server.command(&["SCRIPT", "FLUSH"]);
        node.clock.advance(LEASE);
        assert_eq!(swept(&node, 9).await, std::slice::from_ref(&ann));
    }
    Ok(())
}

/// 64 tasks on two nodes come, go, renew and sweep while their connections break all the time.
async fn edges_balance_while_connections_break() -> Result<(), Absent> {
    let (server, proxy, node) = behind_a_proxy().await?;
    let proxy = Arc::new(proxy);
    let other = waiting(&server.url_at(proxy.address()), &node.clock, Duration::from_millis(300)).await;
    let (balance, edges) = (Arc::new([const { AtomicU64::new(0) }; 6]), Arc::new(AtomicU64::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let breaking = tokio::spawn({
        let (proxy, done) = (Arc::clone(&proxy), Arc::clone(&done));
        async move {
            for round in 0_usize.. {
                if done.load(Ordering::SeqCst) {
                    return;
                }
                let before = proxy.counts();
                proxy.cut_after(Request::with("EVALSHA").but_the(20 + round * 7 % 40));
                eventually("a reply is lost", async || {
                    done.load(Ordering::SeqCst) || proxy.counts().faults > before.faults
                })
                .await;
            }
        }
    });
    let nodes = [node.clone(), other];
    at_once(64, |task| {
        let (node, balance, edges) = (nodes[task % 2].clone(), Arc::clone(&balance), Arc::clone(&edges));
        async move {
            let account = |who: usize, ons: u64, offs: u64| {
                balance[who].fetch_add(ons.wrapping_sub(offs), Ordering::SeqCst);
                edges.fetch_add(ons + offs, Ordering::SeqCst);
            };
            for _ in 0..60 {
                let who = rand::random_range(0..balance.len());
                let (name, session_name) = (user(format!("{who}")), rand::random_range(0..3).to_string());
                let lease = Duration::from_millis(rand::random_range(1..20));
                match rand::random_range(0..9) {
                    0..=2 => match node.connect(&name, &session_name, lease).await {
                        Transition::WentOnline => account(who, 1, 0),
                        Transition::CameBack { .. } => account(who, 1, 1),
                        other => assert_eq!(other, Transition::None),
                    },
                    3..=4 => match node.disconnect(&name, &session_name).await {
                        Transition::WentOffline => account(who, 0, 1),
                        other => assert_eq!(other, Transition::None),
                    },
                    5..=6 => drop(node.presence.renew(&name, &session(&session_name), lease).await.unwrap()),
                    7 => node.clock.advance(Duration::from_millis(rand::random_range(1..4))),
                    _ => {
                        for lapsed in swept(&node, 4).await {
                            account(lapsed.as_str().parse().unwrap(), 0, 1);
                        }
                    }
                }
            }
        }
    })
    .await;
    done.store(true, Ordering::SeqCst);
    breaking.await.unwrap();
    let faults = proxy.counts().faults;
    proxy.pass().await;
    for lapsed in swept(&node, 1_000).await {
        balance[lapsed.as_str().parse::<usize>().unwrap()].fetch_sub(1, Ordering::SeqCst);
    }
    let mut online = 0;
    for (who, balance) in balance.iter().enumerate() {
        let is_online = node.is_online(&user(format!("{who}"))).await;
        online += u64::from(is_online);
        assert_eq!(balance.load(Ordering::SeqCst), u64::from(is_online), "edges of {who} do not balance");
    }
    let stats = node.presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.by_status.values().sum()), (online, online));
    assert!(edges.load(Ordering::SeqCst) > 100 && faults > 10, "{faults} replies were lost");
    Ok(())
}

async fn an_outage_is_an_error_and_changes_nothing() -> Result<(), Absent> {
    let (_server, proxy, node) = behind_a_proxy().await?;
    let (ann, presence) = (user("ann"), &node.presence);
    node.connect(&ann, "1", LEASE).await;
    let before = (presence.get(&ann).await.unwrap(), presence.stats().await.unwrap());
    proxy.refuse().await;
    proxy.cut().await;
    let one = session("1");
    let none = |answer: chat_core::error::Result<()>| {
        let error = answer.unwrap_err();
        assert_eq!(error.effect(), Effect::None, "{error:?}");
        assert!(matches!(error.code(), Code::Unavailable), "{error:?}");
    };
    // The first one finds out; whatever comes then is told at once, so this takes one deadline.
    drop(presence.get(&ann).await.unwrap_err());
    none(node.try_connect(&user("ben"), "1", LEASE).await.map(drop));
    none(presence.disconnect(&ann, &one).await.map(drop));
    none(presence.renew(&ann, &one, LEASE).await.map(drop));
    none(presence.sweep(9).await.map(drop));
    none(presence.get(&ann).await.map(drop));
    none(presence.is_online(&ann).await.map(drop));
    none(presence.are_online(&[ann.clone(), user("ben")]).await.map(drop));
    none(presence.touch_many(std::slice::from_ref(&ann)).await.map(drop));
    none(presence.idle_many(std::slice::from_ref(&ann), LEASE).await.map(drop));
    none(presence.choose(&ann, None).await);
    none(presence.set_visibility(&ann, Visibility::Nobody).await);
    none(presence.online(&Page::first(9)).await.map(drop));
    none(presence.stats().await.map(drop));
    proxy.pass().await;
    eventually("the server is back", async || presence.get(&ann).await.is_ok()).await;
    assert_eq!((presence.get(&ann).await.unwrap(), presence.stats().await.unwrap()), before);
    Ok(())
}
