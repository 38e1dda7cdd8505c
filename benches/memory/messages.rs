//! Messages: eleven words, in a hundred conversations.

use std::sync::Arc;

use chat_benches::{Act, acting};
use chat_core::domain::{ConversationId, MessageId, Seq};
use chat_core::memory::{Memory, MemoryMessages};
use chat_core::store::MessageStore;
use chat_core::store::messages::{Anchor, Edit, HistoryQuery, HistoryScope};
use chat_testkit::sample;

use crate::field::Field;

/// What is said.
const TEXT: &str = "See you tomorrow at the station, the first train leaves early";
/// How many messages the conversation has that is read.
const LONG: usize = 5_000;

pub(crate) fn rows(field: &mut Field) {
    field.row("messages append", 1, |_, memory| appending(memory.messages, 1));
    field.row("messages append 100", 100, |_, memory| appending(memory.messages, 100));
    field.row("messages page of 50", 50, |field, memory| {
        let (messages, _) = filled(field, &memory);
        let query = Arc::new(HistoryQuery {
            conversation: conversation(0),
            viewer: Some(sample::user("bob")),
            scope: HistoryScope::Everything,
            anchor: Anchor::Before(Seq(LONG as u64 / 2)),
            limit: 50,
        });
        acting(move |_, _| {
            let (messages, query) = (Arc::clone(&messages), Arc::clone(&query));
            async move { assert_eq!(messages.history(&query).await.unwrap().messages.len(), 50) }
        })
    });
    field.row("messages heads of 100", 100, |field, memory| {
        let (messages, _) = filled(field, &memory);
        let all = Arc::new((0..100).map(conversation).collect::<Vec<_>>());
        acting(move |_, _| {
            let (messages, all) = (Arc::clone(&messages), Arc::clone(&all));
            async move { assert_eq!(messages.heads(None, &all).await.unwrap().len(), 100) }
        })
    });
    field.row("messages edit", 1, |field, memory| {
        let (messages, ids) = filled(field, &memory);
        acting(move |_, nth| {
            let (messages, ids) = (Arc::clone(&messages), Arc::clone(&ids));
            async move {
                let (message, content) = (ids[nth % ids.len()].clone(), format!("{TEXT}, {nth}"));
                let edit = Edit {
                    message,
                    by: sample::user("ann"),
                    content,
                    mentions: Default::default(),
                    expect: None,
                };
                assert!(messages.edit(&edit).await.unwrap().changed);
            }
        })
    });
    field.row("messages react, and back", 1, |field, memory| {
        let (messages, ids) = filled(field, &memory);
        acting(move |task, nth| {
            let (messages, ids) = (Arc::clone(&messages), Arc::clone(&ids));
            async move {
                let (message, user) = (&ids[nth % ids.len()], sample::user(&format!("user{task}")));
                messages.react(message, &user, "👍", true).await.unwrap();
                messages.react(message, &user, "👍", false).await.unwrap();
            }
        })
    });
}

fn conversation(nth: usize) -> ConversationId {
    sample::conversation(&format!("conversation{:03}", nth % 100))
}

/// The messages are made here, and so count among what is allocated: each has an id of its own.
fn appending(messages: Arc<MemoryMessages>, count: usize) -> Act {
    acting(move |_, nth| {
        let messages = Arc::clone(&messages);
        async move {
            let ann = sample::user("ann");
            let new: Vec<_> =
                (0..count).map(|of| sample::text(&conversation(nth + of), &ann, TEXT)).collect();
            assert!(messages.append_many(&new).await.unwrap().iter().all(Result::is_ok));
        }
    })
}

fn filled(field: &Field, memory: &Memory) -> (Arc<MemoryMessages>, Arc<Vec<MessageId>>) {
    let new: Vec<_> = (0..LONG).map(|_| sample::text(&conversation(0), &sample::user("ann"), TEXT)).collect();
    field.prepare(async {
        for part in new.chunks(500) {
            assert!(memory.messages.append_many(part).await.unwrap().iter().all(Result::is_ok));
        }
    });
    (Arc::clone(&memory.messages), Arc::new(new.into_iter().map(|new| new.id).collect()))
}
