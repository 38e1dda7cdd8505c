//! Presence beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, Contender, Goal, Reference, Row, Stage, acting, measure};
use chat_core::domain::{SessionId, UserId};
use chat_core::store::presence::Connect;
use chat_core::store::{PresenceStore, PresenceStoreExt};
use redis::AsyncTypedCommands;

/// How many users are online.
const USERS: usize = 10_000;
const LEASE: Duration = Duration::from_secs(60 * 60);

/// A heartbeat as a script that keeps an index exact: two ZADD, by the server's time.
const TWO_ZADD: &str = "local t = redis.call('TIME') local till = t[1] * 1000 + 60000 \
    redis.call('ZADD', KEYS[1], 'XX', till, ARGV[1]) redis.call('ZADD', KEYS[2], 'GT', till, ARGV[2]) return 1";

fn main() {
    let Some(stage) = Stage::set() else { return };
    stage.prepare(async {
        for nth in 0..USERS {
            stage.redis.presence.connect(&connect(nth)).await.unwrap();
            let _: usize = stage.raw.clone().zadd(format!("sessions:{nth:012}"), "s", 1).await.unwrap();
        }
        let _: () = stage.raw.clone().set("plain", "1").await.unwrap();
    });
    let rows = [
        heartbeat(&stage),
        heartbeats(&stage),
        is_online(&stage),
        connecting(&stage),
        both(&stage),
        are_online(&stage),
    ];
    measure(&stage, &rows);
}

fn user(nth: usize) -> UserId {
    UserId::new(format!("{:012}", nth % USERS)).unwrap()
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn connect(nth: usize) -> Connect {
    Connect { user: user(nth), session: session("s"), device: None, lease: LEASE }
}

fn heartbeat(stage: &Stage) -> Row {
    let presence = Arc::clone(&stage.redis.presence);
    let ours = acting(move |_, nth| {
        let presence = Arc::clone(&presence);
        async move {
            presence.renew(&user(nth), &session("s"), LEASE).await.unwrap();
        }
    });
    let of_one = acting({
        let presence = Arc::clone(&stage.redis.presence);
        move |_, _| {
            let presence = Arc::clone(&presence);
            async move {
                // A lease is not made later twice in a millisecond.
                tokio::time::sleep(Duration::from_millis(3)).await;
                presence.renew(&user(1), &session("s"), LEASE).await.unwrap();
            }
        }
    });
    let mut row = stage.row("presence heartbeat", of_one.clone());
    row.ours.act = ours;
    let sha = stage.server.command(&["SCRIPT", "LOAD", TWO_ZADD]).text();
    let words =
        ["EVALSHA", &sha, "2", "sessions:__rand_int__", "index", "s", "__rand_int__"].map(str::to_owned);
    let mut reference = Reference::new("of two ZADD in a script", words.to_vec(), 16);
    reference.random = USERS;
    row.references = vec![reference];
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of two ZADD", at_least: 1.0 }];
    row
}

/// What a node sends for all who are connected to it.
fn heartbeats(stage: &Stage) -> Row {
    const BATCH: usize = 128;
    let renewing = |of: fn(usize) -> usize, pause: Duration| -> Act {
        let presence = Arc::clone(&stage.redis.presence);
        acting(move |_, nth| {
            let presence = Arc::clone(&presence);
            async move {
                // A lease is not made later twice in a millisecond.
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let first = of(nth) * BATCH;
                let leases: Vec<_> = (first..first + BATCH).map(|nth| (user(nth), session("s"))).collect();
                presence.renew_many(&leases, LEASE).await.unwrap();
            }
        })
    };
    let mut row = stage.row("presence heartbeats of 128", renewing(|_| 1, Duration::from_millis(3)));
    row.ours.act = renewing(|nth| nth, Duration::ZERO);
    row.elements = BATCH as u64;
    row.per_core = Some(300_000.0);
    row
}

fn is_online(stage: &Stage) -> Row {
    let presence = Arc::clone(&stage.redis.presence);
    let ours = acting(move |_, _| {
        let presence = Arc::clone(&presence);
        async move { assert!(presence.is_online(&user(1)).await.unwrap()) }
    });
    let mut row = stage.row("presence is online", ours);
    let beside = "raw driver, the same commands";
    row.goals = [1, 64].map(|tasks| Goal { tasks, beside, at_least: 0.9 }).to_vec();
    row
}

/// Connecting again: the same script, whoever sends it.
fn connecting(stage: &Stage) -> Row {
    let presence = Arc::clone(&stage.redis.presence);
    let ours: Act = acting(move |_, _| {
        let presence = Arc::clone(&presence);
        async move {
            presence.connect(&connect(1)).await.unwrap();
        }
    });
    let mut row = stage.row("presence connect", Arc::clone(&ours));
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}

fn both(stage: &Stage) -> Row {
    let presence = Arc::clone(&stage.redis.presence);
    let ours: Act = acting(move |_, nth| {
        let presence = Arc::clone(&presence);
        async move {
            let name = format!("{:012}", 1_000_000 + nth);
            let connect = Connect { session: session(&name), ..connect(2) };
            presence.connect(&connect).await.unwrap();
            presence.disconnect(&connect.user, &connect.session).await.unwrap();
        }
    });
    stage.row("presence connect and disconnect", ours)
}

fn are_online(stage: &Stage) -> Row {
    let (presence, hundred) =
        (Arc::clone(&stage.redis.presence), Arc::new((0..100).map(user).collect::<Vec<_>>()));
    let ours = acting(move |_, _| {
        let (presence, hundred) = (Arc::clone(&presence), Arc::clone(&hundred));
        async move { assert_eq!(presence.are_online(&hundred).await.unwrap(), [true; 100]) }
    });
    let mut row = stage.row("presence are 100 online", ours);
    let one_by_one = acting({
        let raw = stage.raw.clone();
        move |_, _| {
            let mut raw = raw.clone();
            async move {
                for _ in 0..100 {
                    assert!(raw.get("plain").await.unwrap().is_some());
                }
            }
        }
    });
    row.raw.push(Contender { name: "raw driver, 100 GET one after the other", act: one_by_one });
    row.goals = vec![Goal { tasks: 64, beside: "raw driver, 100 GET", at_least: 3.0 }];
    row
}
