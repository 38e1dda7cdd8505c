//! Profiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_benches::{Act, acting};
use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::memory::{Memory, MemoryUsers};
use chat_core::store::UserStore;
use chat_testkit::sample;

use crate::field::{Field, MANY};

pub(crate) fn rows(field: &mut Field) {
    field.row("users get", 1, |field, memory| getting(filled(field, &memory), 1));
    field.row("users get 100", 100, |field, memory| getting(filled(field, &memory), 100));
    field.row("users put", 1, |field, memory| {
        let (users, stamp) = (filled(field, &memory), Arc::new(AtomicU64::new(1)));
        let profile = profile(1);
        acting(move |_, _| {
            let updated_at = Timestamp::from_millis(stamp.fetch_add(1, Ordering::Relaxed));
            let (users, profile) = (Arc::clone(&users), UserProfile { updated_at, ..profile.clone() });
            async move {
                users.put_many(&[profile]).await.unwrap();
            }
        })
    });
}

fn user(nth: usize) -> UserId {
    sample::user(&format!("user{:06}", nth % MANY))
}

fn profile(nth: usize) -> UserProfile {
    let some = |text: &str| Some(text.to_owned());
    let profile = UserProfile::new(user(nth), "Jean Dupont", Timestamp::EPOCH);
    UserProfile {
        avatar: some("https://cdn.example.com/avatars/123.jpg"),
        matricule: some("MAT001"),
        ..profile
    }
}

fn filled(field: &Field, memory: &Memory) -> Arc<MemoryUsers> {
    let all: Vec<_> = (0..MANY).map(profile).collect();
    field.prepare(async { memory.users.put_many(&all).await.unwrap() });
    Arc::clone(&memory.users)
}

fn getting(users: Arc<MemoryUsers>, count: usize) -> Act {
    let batch = |first: usize| (0..count).map(|nth| user(first * count + nth)).collect::<Vec<_>>();
    let batches: Arc<Vec<_>> = Arc::new((0..MANY / count).map(batch).collect());
    acting(move |_, nth| {
        let (users, batches) = (Arc::clone(&users), Arc::clone(&batches));
        async move {
            assert!(users.get_many(&batches[nth % batches.len()]).await.unwrap().iter().all(Option::is_some));
        }
    })
}
