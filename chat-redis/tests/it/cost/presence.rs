//! What presence costs.

use std::ops::Range;
use std::time::Duration;

use chat_core::domain::presence::{ChosenStatus, PresenceStatus};
use chat_core::domain::{Page, SessionId, UserId, Visibility};
use chat_core::store::presence::Connect;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use chat_redis::Redis;

use super::{Meter, NOTHING, SHARDS, for_each, id};

/// Nothing runs out meanwhile.
const LEASE: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
/// How many are there from the beginning: a page ends in its first shard.
const REGULARS: usize = 512;

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn connect(name: &str, session_name: &str) -> Connect {
    Connect { user: user(name), session: session(session_name), device: None, lease: LEASE }
}

fn regular(nth: usize) -> String {
    format!("re{nth:09}")
}

/// Everybody online on one device.
pub(super) async fn fill(redis: &Redis, range: Range<usize>) {
    if range.start == 0 {
        for nth in 0..REGULARS {
            redis.presence.connect(&connect(&regular(nth), "a")).await.unwrap();
        }
    }
    for_each(range, |nth| async move {
        redis.presence.connect(&connect(&id(nth), "a")).await.unwrap();
    })
    .await;
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let presence = &*meter.redis.presence.clone();
    let names: Vec<String> = (0..2).map(|nth| meter.fresh(nth)).collect();
    let names = &names[..];
    let regulars: Vec<UserId> = (0..REGULARS).map(|nth| user(&regular(nth))).collect();
    let (hundred, page) = (&regulars[..100], &Page::first(10));
    let sessions: Vec<(UserId, SessionId)> =
        regulars.iter().map(|user| (user.clone(), session("a"))).collect();
    let sessions = &sessions[..128];

    let connects = |nth: usize, device| {
        let connect = connect(&names[nth], device);
        async move { presence.connect(&connect).await }
    };
    let disconnects = |nth: usize, device| {
        let (user, session) = (user(&names[nth]), session(device));
        async move { presence.disconnect(&user, &session).await }
    };
    meter.measure("presence: connect, going online", 1, "4 / 4", |nth| connects(nth, "a")).await;
    meter.measure("presence: connect another device", 1, "4 / 4", |nth| connects(nth, "b")).await;
    let renew = |nth: usize| presence.renew_many(&sessions[nth..=nth], LEASE);
    meter.measure("presence: heartbeat", 1, "3 / 3", renew).await;
    meter
        .measure("presence: 128 heartbeats", 128, "384 / 384", |_| presence.renew_many(sessions, LEASE))
        .await;
    meter.measure("presence: disconnect one of two", 1, "4 / 4", |nth| disconnects(nth, "b")).await;
    meter.measure("presence: disconnect, going offline", 1, "4 / 4", |nth| disconnects(nth, "a")).await;

    meter.measure("presence: is one online", 1, "1 / 1", |nth| presence.is_online(&regulars[nth])).await;
    meter.measure("presence: are 100 online", SHARDS, "100 / 100", |_| presence.are_online(hundred)).await;
    meter.measure("presence: get one", 1, NOTHING, |nth| presence.get(&regulars[nth])).await;
    meter.measure("presence: get 100", SHARDS, NOTHING, |_| presence.get_many(hundred)).await;
    meter.measure("presence: touch", 1, NOTHING, |nth| presence.touch_many(&regulars[nth..=nth])).await;
    meter.measure("presence: touch 100", SHARDS, NOTHING, |_| presence.touch_many(hundred)).await;
    meter
        .measure("presence: who of 100 is idle", SHARDS, NOTHING, |_| presence.idle_many(hundred, MINUTE))
        .await;
    let others: Vec<UserId> = (2..4).map(|nth| user(&meter.fresh(nth))).collect();
    for other in &others {
        presence.connect(&connect(other.as_str(), "a")).await.unwrap();
    }
    let busy = &ChosenStatus { status: PresenceStatus::Dnd, until: None };
    meter
        .measure("presence: choose a status", 1, NOTHING, |nth| presence.choose(&others[nth], Some(busy)))
        .await;
    meter
        .measure("presence: say who may see", 1, NOTHING, |nth| {
            presence.set_visibility(&others[nth], Visibility::Nobody)
        })
        .await;
    meter.measure("presence: sweep, nothing due", SHARDS + 1, NOTHING, |_| presence.sweep(100)).await;
    meter.measure_trips("presence: list 10", (SHARDS, 5), "SCAN of N + 10", |_| presence.online(page)).await;
    meter.measure("presence: statistics", SHARDS + 1, "1.04 N / 1.04 N", |_| presence.stats()).await;
}
