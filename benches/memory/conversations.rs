//! Conversations: a user in a hundred groups of a hundred.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::domain::{ConversationId, Page};
use chat_core::memory::{Memory, MemoryConversations};
use chat_core::store::ConversationStore;
use chat_core::store::conversations::{Change, ConversationFilter};
use chat_testkit::sample;

use crate::field::Field;

pub(crate) fn rows(field: &mut Field) {
    field.row("conversations get", 1, |field, memory| {
        let (conversations, one) = (filled(field, &memory), Arc::new([id(1)]));
        acting(move |_, _| {
            let (conversations, one) = (Arc::clone(&conversations), Arc::clone(&one));
            async move { assert!(conversations.get_many(&*one).await.unwrap()[0].is_some()) }
        })
    });
    field.row("conversations members by id", 1, |field, memory| {
        let (conversations, one) = (filled(field, &memory), Arc::new([sample::user("user050")]));
        let conversation = id(1);
        acting(move |_, _| {
            let (conversations, one, conversation) =
                (Arc::clone(&conversations), Arc::clone(&one), conversation.clone());
            async move {
                assert!(conversations.members_by_id(&conversation, &*one).await.unwrap()[0].is_some());
            }
        })
    });
    field.row("conversations members of 100", 100, |field, memory| {
        let (conversations, conversation) = (filled(field, &memory), id(1));
        acting(move |_, _| {
            let (conversations, conversation) = (Arc::clone(&conversations), conversation.clone());
            async move {
                let members = conversations.members(&conversation, &Page::first(100)).await.unwrap();
                assert_eq!(members.items.len(), 100);
            }
        })
    });
    field.row("conversations list 20 of 100", 20, |field, memory| {
        let (conversations, user) = (filled(field, &memory), sample::user("user000"));
        acting(move |_, _| {
            let (conversations, user) = (Arc::clone(&conversations), user.clone());
            async move {
                let all = ConversationFilter::default();
                let list = conversations.list(&user, &all, &Page::first(20)).await.unwrap();
                assert_eq!(list.items.len(), 20);
            }
        })
    });
    field.row("conversations rename", 1, |field, memory| {
        let (conversations, user) = (filled(field, &memory), sample::user("user000"));
        acting(move |_, nth| {
            let (conversations, user) = (Arc::clone(&conversations), user.clone());
            async move {
                let change = Change::Rename(format!("name {nth}"));
                assert!(conversations.change(&id(nth), &user, &change).await.unwrap().changed);
            }
        })
    });
}

fn id(nth: usize) -> ConversationId {
    sample::conversation(&format!("group{:03}", nth % 100))
}

fn filled(field: &Field, memory: &Memory) -> Arc<MemoryConversations> {
    let names: Vec<_> = (0..100).map(|nth| format!("user{nth:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    field.prepare(async {
        for nth in 0..100 {
            let new = sample::group(&format!("group{nth:03}"), &names);
            assert!(memory.conversations.create(&new).await.unwrap().created);
        }
    });
    Arc::clone(&memory.conversations)
}
