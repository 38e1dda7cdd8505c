//! Profiles beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;

use chat_benches::{Goal, Reference, Row, Stage, acting, measure};
use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::store::{UserStore, UserStoreExt};
use chat_redis::{ProfileLayout, RedisUsers};
use redis::AsyncTypedCommands;

/// How many profiles there are.
const USERS: usize = 10_000;

fn main() {
    let Some(stage) = Stage::set() else { return };
    let seed = Arc::new(stage.redis.users.with_layout(ProfileLayout::SEED).unwrap());
    stage.prepare(async {
        let profiles: Vec<_> = (0..USERS).map(|nth| profile(nth, 0)).collect();
        for part in profiles.chunks(500) {
            stage.redis.users.put_many(part).await.unwrap();
            seed.put_many(part).await.unwrap();
        }
        let _: () = stage.raw.clone().set("plain", "v".repeat(64)).await.unwrap();
    });
    let rows = [
        get_many(&stage, "users get 100", &stage.redis.users),
        get_many(&stage, "users get 100, seed's hash", &seed),
        put(&stage),
    ];
    measure(&stage, &rows);
}

fn user(nth: usize) -> UserId {
    UserId::new(format!("user{:06}", nth % USERS)).unwrap()
}

fn profile(nth: usize, updated: u64) -> UserProfile {
    let profile =
        UserProfile::new(user(nth), "Jean Dupont", Timestamp::from_millis(1_736_862_000_000 + updated));
    let some = |text: &str| Some(text.to_owned());
    UserProfile {
        avatar: some("https://cdn.example.com/avatars/123.jpg"),
        matricule: some("MAT001"),
        ..profile
    }
}

fn get_many(stage: &Stage, name: &'static str, users: &Arc<RedisUsers>) -> Row {
    let (users, hundred) = (Arc::clone(users), Arc::new((0..100).map(user).collect::<Vec<_>>()));
    let ours = acting(move |_, _| {
        let (users, hundred) = (Arc::clone(&users), Arc::clone(&hundred));
        async move { assert!(users.get_many(&hundred).await.unwrap().iter().all(Option::is_some)) }
    });
    let mut row = stage.row(name, ours);
    let get = ["GET", "plain"].map(str::to_owned).to_vec();
    row.references = vec![Reference::new("GET, 100 for one", get, 16).worth(100.0)];
    if name == "users get 100" {
        row.goals = vec![Goal { tasks: 1, beside: "redis-benchmark GET, 100 for one", at_least: 0.4 }];
    }
    row
}

fn put(stage: &Stage) -> Row {
    let users = Arc::clone(&stage.redis.users);
    let ours = acting(move |_, nth| {
        let users = Arc::clone(&users);
        async move { assert!(users.put(&profile(1, 1_000 + (nth as u64 & 1))).await.is_ok()) }
    });
    let mut row = stage.row("users put", Arc::clone(&ours));
    let same = acting({
        let users = Arc::clone(&stage.redis.users);
        move |_, _| {
            let users = Arc::clone(&users);
            async move { assert!(users.put(&profile(2, 1_000)).await.unwrap()) }
        }
    });
    row.references.extend(stage.reference("of that script", &same, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}
