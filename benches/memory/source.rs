//! The truth about users.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::clock::Timestamp;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::memory::{Memory, MemorySource};
use chat_core::store::UserSource;
use chat_testkit::sample;

use crate::field::{Field, MANY};

pub(crate) fn rows(field: &mut Field) {
    for count in [1, 100] {
        field.row(&format!("source fetch {count}"), count as u64, |field, memory| {
            let source = filled(field, &memory);
            let all: Arc<Vec<_>> = Arc::new((0..MANY).map(user).collect());
            acting(move |_, nth| {
                let (source, all) = (Arc::clone(&source), Arc::clone(&all));
                async move {
                    let first = nth * count % MANY;
                    let found = source.fetch_many(&all[first..first + count]).await.unwrap();
                    assert!(found.iter().all(Option::is_some));
                }
            })
        });
    }
    field.row("source update", 1, |field, memory| {
        let source = filled(field, &memory);
        acting(move |_, nth| {
            let source = Arc::clone(&source);
            let update = ProfileUpdate { full_name: Some(format!("Jean {nth}")), ..ProfileUpdate::default() };
            async move {
                source.update(&user(nth), &update).await.unwrap();
            }
        })
    });
}

fn user(nth: usize) -> UserId {
    sample::user(&format!("user{:06}", nth % MANY))
}

fn filled(field: &Field, memory: &Memory) -> Arc<MemorySource> {
    let all: Vec<_> =
        (0..MANY).map(|nth| UserProfile::new(user(nth), "Jean Dupont", Timestamp::EPOCH)).collect();
    field.prepare(async { memory.source.create_many(&all).await.unwrap() });
    Arc::clone(&memory.source)
}
