//! What profiles cost.

use std::ops::Range;

use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::store::{UserStore, UserStoreExt};
use chat_redis::{ProfileLayout, Redis};

use super::{Meter, NOTHING, SHARDS, id};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn profile(name: &str, updated: u64) -> UserProfile {
    let updated = Timestamp::from_millis(1_700_000_000_000 + updated);
    let profile = UserProfile::new(user(name), "Jean Dupont", updated);
    let avatar = Some("https://cdn.example.com/avatars/123.jpg".to_owned());
    UserProfile { avatar, matricule: Some("MAT001".to_owned()), ..profile }
}

/// A profile for each user.
pub(super) async fn fill(redis: &Redis, new: Range<usize>) {
    let profiles: Vec<UserProfile> = new.map(|nth| profile(&id(nth), 0)).collect();
    for part in profiles.chunks(1_000) {
        redis.users.put_many(part).await.unwrap();
    }
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let users = &*meter.redis.users.clone();
    let hundred: &Vec<String> = &(0..100).map(|nth| meter.fresh(nth)).collect();
    let ids: &Vec<UserId> = &hundred.iter().map(|name| user(name)).collect();
    let profiles: &Vec<UserProfile> = &hundred.iter().map(|name| profile(name, 0)).collect();
    users.put_many(profiles).await.unwrap();

    meter
        .measure("users: put", 1, "2 / 2", |nth| async move {
            users.put(&profile(&hundred[0], 1 + nth as u64)).await
        })
        .await;
    meter.measure("users: put 100", SHARDS, "200 / 200", |_| users.put_many(profiles)).await;
    meter.measure("users: get", 1, "1 / 1", |_| users.get(&ids[0])).await;
    meter.measure("users: get 100", 1, "102 / 1", |_| users.get_many(ids)).await;
    meter
        .measure("users: remove", 1, "1 / 1", |nth| async move {
            users.remove_many(&[(ids[nth].clone(), Timestamp::from_millis(1_800_000_000_000))]).await
        })
        .await;
    meter.measure("users: statistics", SHARDS, "1 / 1", |_| users.stats()).await;

    let hashes = &users.with_layout(ProfileLayout::SEED).unwrap();
    hashes.put_many(profiles).await.unwrap();
    meter
        .measure("users, seed's hash: put", 1, "2 / 2", |nth| async move {
            hashes.put(&profile(&hundred[0], 1 + nth as u64)).await
        })
        .await;
    meter.measure("users, seed's hash: get", 1, "1 / 1", |_| hashes.get(&ids[0])).await;
    meter.measure("users, seed's hash: get 100", 100, "102 / 1", |_| hashes.get_many(ids)).await;
    meter
        .measure("users, seed's hash: remove", 1, NOTHING, |nth| async move {
            hashes.remove_many(&[(ids[nth].clone(), Timestamp::from_millis(1_800_000_000_000))]).await
        })
        .await;
}
