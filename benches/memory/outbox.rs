//! The outbox: what a hundred messages wrote is claimed and cleared.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::store::{MessageStore, Outbox};
use chat_testkit::sample;

use crate::field::{Field, HOUR};

pub(crate) fn rows(field: &mut Field) {
    for count in [1_u64, 100] {
        field.row(&format!("outbox append, claim, clear {count}"), count, |_, memory| {
            acting(move |task, _| {
                let (messages, outbox) = (Arc::clone(&memory.messages), Arc::clone(&memory.outbox));
                async move {
                    // A conversation for each task, whose owner has its key: nobody waits.
                    let (owner, ann) = (format!("node{task}"), sample::user("ann"));
                    let room = sample::conversation(&owner);
                    let new: Vec<_> = (0..count).map(|_| sample::text(&room, &ann, "hello")).collect();
                    assert!(messages.append_many(&new).await.unwrap().iter().all(Result::is_ok));
                    let claimed = outbox.claim(&owner, count as usize, HOUR).await.unwrap();
                    let ids: Vec<_> = claimed.into_iter().map(|event| event.id).collect();
                    outbox.clear(&owner, &ids).await.unwrap();
                }
            })
        });
    }
}
