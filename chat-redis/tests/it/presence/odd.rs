//! Ids made to collide, times without end, data somebody else has written, and what is left behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::presence::{ChosenStatus, Device};
use chat_core::domain::{DeviceId, Page, PresenceStatus, Transition, UserId, Visibility};
use chat_core::error::Code;
use chat_core::store::presence::{Connect, Renewal};
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::Reply;
use chat_testkit::walk::{eventually, walk};
use chat_testkit::{Absent, trials};

use super::{HOUR, LEASE, node, session, user};

trials! { needs "redis":
    ids_that_look_like_keys_and_fields_are_only_ids,
    endless_leases_and_statuses_end_with_time,
    data_of_another_kind_is_corrupt,
    records_are_forgotten_after_a_month_unless_something_was_chosen,
    nothing_of_a_session_outlives_it,
    on_its_own_clock_a_lease_runs_out_and_a_heartbeat_keeps_it,
}

const ODD: [&str; 18] = [
    "i",
    "l",
    "n",
    "b",
    "-",
    "u",
    "h",
    "peak",
    "o:-",
    "u:i",
    "i:u",
    "ann:u:ben",
    "ann%3Au",
    "{0.13}:i",
    "}:{",
    "s:active",
    "%",
    "%25",
];
const FIELDS: [&str; 9] =
    ["active", "idle", "chosen", "until", "visibility", "s:active", "s:", "closed", "1 - on"];

async fn ids_that_look_like_keys_and_fields_are_only_ids() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let presence = &node.presence;
    let users: Vec<UserId> = ODD.iter().map(user).collect();
    for user in &users {
        for (nth, field) in FIELDS.iter().enumerate() {
            let device = Device {
                id: DeviceId::new(*field).unwrap(),
                name: Some("a \"b\" {c}".to_owned()),
                platform: None,
            };
            let connect =
                Connect { user: user.clone(), session: session(field), device: Some(device), lease: LEASE };
            let expected = if nth == 0 { Transition::WentOnline } else { Transition::None };
            assert_eq!(presence.connect(&connect).await.unwrap(), expected, "{user} {field}");
        }
    }
    let dnd = ChosenStatus { status: PresenceStatus::Dnd, until: Some(node.clock.now().after(HOUR)) };
    for user in &users[..9] {
        presence.choose(user, Some(&dnd)).await.unwrap();
        presence.set_visibility(user, Visibility::Nobody).await.unwrap();
    }
    node.clock.advance(Duration::from_secs(1));
    let idle = presence.idle_many(&users[..5], Duration::from_secs(1)).await.unwrap();
    assert_eq!(idle, [true; 5]);
    for (nth, known) in presence.get_many(&users).await.unwrap().into_iter().enumerate() {
        let shown: BTreeSet<_> = known.sessions.iter().map(|session| session.id.as_str()).collect();
        assert_eq!(shown, FIELDS.into(), "{}", known.user);
        let devices = known.sessions.iter().map(|session| session.device.as_ref().unwrap().id.as_str());
        assert_eq!(devices.collect::<BTreeSet<_>>(), shown);
        assert_eq!((known.chosen.is_some(), known.idle), (nth < 9, nth < 5), "{}", known.user);
    }
    // One by one the keys are made here, together by the scripts: both find the same.
    assert_eq!(presence.are_online(&users).await.unwrap(), [true; ODD.len()]);
    for user in &users {
        assert!(node.is_online(user).await, "{user}");
        let renewed = presence.renew(user, &session("until"), HOUR).await.unwrap();
        assert_eq!(renewed, Renewal::Alive);
    }
    let listed = walk(4, |page: Page<UserId>| async move { presence.online(&page).await }).await;
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), users.iter().collect());
    assert_eq!(listed.len(), users.len());
    node.clock.advance(LEASE);
    assert_eq!(presence.sweep(1_000).await.unwrap(), [], "each has one session more");
    node.clock.advance(HOUR);
    let mut swept: Vec<_> =
        presence.sweep(1_000).await.unwrap().into_iter().map(|lapse| lapse.user).collect();
    swept.sort();
    let mut users = users;
    users.sort();
    assert_eq!(swept, users);
    Ok(())
}

async fn endless_leases_and_statuses_end_with_time() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let (ann, last) = (user("ann"), Timestamp::from_millis(u64::MAX));
    assert_eq!(node.connect(&ann, "1", Duration::MAX).await, Transition::WentOnline);
    assert_eq!(node.connect(&ann, "2", Duration::ZERO).await, Transition::None);
    let forever = ChosenStatus { status: PresenceStatus::Away, until: Some(last) };
    node.presence.choose(&ann, Some(&forever)).await.unwrap();
    let known = node.presence.get(&ann).await.unwrap();
    let mut deadlines: Vec<_> = known.sessions.iter().map(|session| session.lease_until).collect();
    deadlines.sort();
    assert_eq!(deadlines, [node.clock.now().after(Duration::from_millis(1)), last]);
    assert_eq!(known.chosen, Some(forever));
    assert!(!node.presence.idle_many(std::slice::from_ref(&ann), Duration::MAX).await.unwrap()[0]);
    let renewed = node.presence.renew(&ann, &session("1"), Duration::MAX).await.unwrap();
    assert_eq!(renewed, Renewal::Alive);
    node.clock.set(last);
    assert_eq!(node.presence.sweep(9).await.unwrap().len(), 1);
    Ok(())
}

async fn data_of_another_kind_is_corrupt() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let (ann, presence) = (user("ann"), &node.presence);
    let corrupt =
        |answer: chat_core::error::Result<()>| assert_eq!(answer.unwrap_err().code(), Code::DataCorrupt);
    node.connect(&ann, "1", LEASE).await;
    let key = |kind: &str| server.command(&["KEYS", &format!("*:{kind}:ann")]).list()[0].text();
    let (leases, record) = (key("u"), key("h"));
    for (field, value) in [
        ("active", "soon"),
        ("chosen", "asleep"),
        ("visibility", "some"),
        ("s:1", "x - on"),
        ("d:1", "phone"),
    ] {
        let before = server.command(&["HGET", &record, field]);
        server.command(&["HSET", &record, field, value]);
        corrupt(presence.get(&ann).await.map(drop));
        server.command(&["HDEL", &record, field]);
        if field == "s:1" {
            corrupt(presence.get(&ann).await.map(drop));
        }
        if field == "s:1" || field == "active" {
            server.command(&["HSET", &record, field, &before.text()]);
        }
        presence.get(&ann).await.unwrap();
    }
    server.command(&["DEL", &leases]);
    server.command(&["SET", &leases, "x"]);
    corrupt(presence.get(&ann).await.map(drop));
    corrupt(presence.is_online(&ann).await.map(drop));
    corrupt(presence.renew(&ann, &session("1"), HOUR).await.map(drop));
    corrupt(node.try_connect(&ann, "2", LEASE).await.map(drop));
    corrupt(presence.disconnect(&ann, &session("1")).await.map(drop));
    Ok(())
}

async fn records_are_forgotten_after_a_month_unless_something_was_chosen() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    let presence = &node.presence;
    let left = |name: &str| {
        let keys = server.command(&["KEYS", &format!("*:h:{name}")]);
        server.command(&["PTTL", &keys.list()[0].text()]).int()
    };
    let (month, kept) = (30 * 24 * 3_600_000, -1);
    let about_a_month = |left: i64| (month - 600_000..=month).contains(&left);

    node.connect(&user("ann"), "1", LEASE).await;
    assert_eq!(left("ann"), kept, "whoever is here is known");
    node.disconnect(&user("ann"), "1").await;
    assert!(about_a_month(left("ann")));
    node.connect(&user("ann"), "1", LEASE).await;
    assert_eq!(left("ann"), kept);
    node.clock.advance(LEASE);
    presence.sweep(9).await.unwrap();
    assert!(about_a_month(left("ann")));
    presence.set_visibility(&user("ann"), Visibility::Nobody).await.unwrap();
    assert_eq!(left("ann"), kept, "who wants to be hidden stays hidden");
    presence.set_visibility(&user("ann"), Visibility::Everyone).await.unwrap();
    assert!(about_a_month(left("ann")));

    presence.touch_many(&[user("ben")]).await.unwrap();
    assert!(about_a_month(left("ben")));
    let choose = async |until| {
        let dnd = ChosenStatus { status: PresenceStatus::Dnd, until };
        presence.choose(&user("ben"), Some(&dnd)).await.unwrap();
    };
    choose(None).await;
    assert_eq!(left("ben"), kept);
    choose(Some(node.clock.now().after(HOUR))).await;
    assert!(about_a_month(left("ben") - 3_600_000), "an hour longer");
    presence.choose(&user("ben"), None).await.unwrap();
    assert!(about_a_month(left("ben")));
    choose(Some(node.clock.now().after(HOUR))).await;
    node.connect(&user("ben"), "1", HOUR * 2).await;
    node.clock.advance(HOUR);
    node.disconnect(&user("ben"), "1").await;
    assert!(about_a_month(left("ben")), "what is over is forgotten");
    Ok(())
}

async fn nothing_of_a_session_outlives_it() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let node = node(&server.url()).await;
    for round in 0..30 {
        for nth in 0..4 {
            let lease = Duration::from_secs(1 + nth);
            node.connect(&user(format!("u{nth}")), &format!("{round}-1"), lease).await;
            node.connect(&user(format!("u{nth}")), &format!("{round}-2"), lease).await;
        }
        node.presence.idle_many(&[user("u3")], Duration::ZERO).await.unwrap();
        assert_eq!(node.disconnect(&user("u0"), &format!("{round}-1")).await, Transition::None);
        assert_eq!(node.disconnect(&user("u0"), &format!("{round}-2")).await, Transition::WentOffline);
        node.clock.advance(LEASE);
        assert_eq!(node.presence.sweep(9).await.unwrap().len(), 3);
    }
    let keys = server.command(&["KEYS", "*"]);
    let of = |kind: &str| {
        keys.list().iter().map(|key| key.text()).filter(|key| key.contains(kind)).collect::<Vec<_>>()
    };
    for gone in ["}:i", "}:l", "}:u:"] {
        assert_eq!(of(gone), [""; 0], "{gone}");
    }
    for record in of("}:h:") {
        let fields: Vec<_> = server.command(&["HKEYS", &record]).list().iter().map(Reply::text).collect();
        let kept = ["active", "answers"];
        assert!(fields.iter().all(|field| kept.contains(&field.as_str())), "{record}: {fields:?}");
    }
    for counts in of("}:n") {
        for field in ["extra", "away", "dnd", "invisible"] {
            let count = server.command(&["HGET", &counts, field]);
            assert!(count == Reply::Nil || count.text() == "0", "{field} in {counts}");
        }
    }
    Ok(())
}

async fn on_its_own_clock_a_lease_runs_out_and_a_heartbeat_keeps_it() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let config = RedisConfig::from_url(&server.url()).unwrap();
    let service = RedisService::connect(&config).await.unwrap();
    let presence = Arc::clone(&chat_redis::Redis::new(service, &config.keys).presence);
    let lease = Duration::from_millis(500);
    for name in ["ann", "ben"] {
        let connect = Connect { user: user(name), session: session("1"), device: None, lease };
        assert_eq!(presence.connect(&connect).await.unwrap(), Transition::WentOnline);
    }
    let mut swept = Vec::new();
    eventually("ben lapses while ann is renewed", async || {
        presence.renew(&user("ann"), &session("1"), lease).await.unwrap();
        !presence.is_online(&user("ben")).await.unwrap()
    })
    .await;
    swept.extend(presence.sweep(9).await.unwrap());
    assert_eq!(swept.iter().map(|lapse| lapse.user.as_str()).collect::<Vec<_>>(), ["ben"]);
    assert!(presence.is_online(&user("ann")).await.unwrap());
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions, stats.peak_users), (1, 1, 2));
    Ok(())
}
