//! Profiles.

use std::sync::Arc;

use chat_benches::{Goal, acting};
use chat_core::clock::Timestamp;
use chat_core::domain::UserProfile;
use chat_core::store::{UserStore, UserStoreExt};

use crate::data::{USERS, hundred, user};
use crate::field::{Field, SEED};

const START: u64 = 1_736_862_000_000;

pub(crate) fn rows(field: &mut Field<'_>) {
    let stage = field.stage;
    let users = &stage.redis.users;
    stage.prepare(async {
        let all: Vec<_> = (0..USERS).map(|nth| person(nth, START)).collect();
        for part in all.chunks(500) {
            users.put_many(part).await.unwrap();
        }
    });

    let ours = Arc::clone(users);
    let one = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move { assert!(ours.get(&user(nth)).await.unwrap().is_some()) }
    });
    field.add_fixed("profile get", "users.get", one);

    let (ours, ids) = (Arc::clone(users), Arc::new(hundred(user)));
    let batch = acting(move |_, _| {
        let (ours, ids) = (Arc::clone(&ours), Arc::clone(&ids));
        async move { assert!(ours.get_many(&ids).await.unwrap().iter().all(Option::is_some)) }
    });
    let row = field.add_fixed("profiles get 100", "users.get100", batch);
    row.goals = vec![Goal { tasks: 1, beside: SEED, at_least: 50.0 }];

    let ours = Arc::clone(users);
    let put = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            ours.put(&person(nth, START + 1 + nth as u64)).await.unwrap();
        }
    });
    field.add_fixed("profile put", "users.put", put);
}

pub(crate) fn person(nth: usize, updated: u64) -> UserProfile {
    let some = |text: &str| Some(text.to_owned());
    let profile = UserProfile::new(user(nth), "Jean Dupont", Timestamp::from_millis(updated));
    UserProfile {
        avatar: some("https://cdn.example.com/avatars/123.jpg"),
        matricule: some("MAT001"),
        ministere: some("MINFOP"),
        sexe: some("M"),
        ..profile
    }
}
