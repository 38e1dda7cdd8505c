//! Unread counts. A message to many costs ours one position, and the seed four commands a recipient.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_benches::{Goal, acting};
use chat_core::domain::{ConversationId, Mentions, ReadPosition, Seq, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, Recorded};
use chat_core::store::{UnreadStore, UnreadStoreExt};

use crate::data::{CONVERSATIONS, EACH, OTHERS, conversation, hundred, user};
use crate::field::{Field, RAW, SLOW};

/// The conversation everybody is in; the reader's are those before it.
const LARGE: usize = CONVERSATIONS;
/// The one that is read, with more messages than anybody reads here.
const READ: usize = 2_000;
const MANY: u64 = 1_000_000_000;

pub(crate) fn rows(field: &mut Field<'_>) {
    let stage = field.stage;
    let unread = &stage.redis.unread;
    stage.prepare(async {
        for nth in 0..CONVERSATIONS {
            unread.advance_many(&[joined(user(0), conversation(nth))]).await.unwrap();
            unread.record(&said(conversation(nth), 1)).await.unwrap();
        }
        for nth in 0..OTHERS * EACH {
            let of = conversation(1_000 + nth % EACH);
            unread.advance_many(&[joined(user(1 + nth / EACH), of)]).await.unwrap();
        }
        for nth in 0..EACH {
            unread.record(&said(conversation(1_000 + nth), 1)).await.unwrap();
        }
        for nth in 1..=OTHERS {
            unread.advance_many(&[joined(user(nth), conversation(LARGE))]).await.unwrap();
        }
        unread.record(&said(conversation(READ), MANY)).await.unwrap();
    });

    let seq = Arc::new(AtomicU64::new(0));
    for (name, operation) in [
        ("message to 1", "unread.messageTo1"),
        ("message to 100", "unread.messageTo100"),
        ("message to 1000", "unread.messageTo1000"),
    ] {
        let (ours, seq) = (Arc::clone(unread), Arc::clone(&seq));
        let record = acting(move |_, _| {
            let (ours, seq) = (Arc::clone(&ours), Arc::clone(&seq));
            async move {
                let next = seq.fetch_add(1, Ordering::Relaxed) + 1;
                ours.record(&said(conversation(LARGE), next)).await.unwrap();
            }
        });
        let row = field.add(name, operation, record);
        if name == "message to 1000" {
            row.tasks = SLOW;
        }
    }
    // Everybody it went to has them unread, and one more than before.
    let recorded = seq.load(Ordering::Relaxed);
    stage.prepare(async {
        for nth in [1, OTHERS / 2, OTHERS] {
            let count = unread.count(&user(nth), &conversation(LARGE)).await.unwrap().unwrap();
            assert_eq!(count.messages, recorded);
        }
    });

    let ours = Arc::clone(unread);
    let mark_read = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let reached = ours.mark_read(&user(nth), &conversation(READ), Seq(1 + nth as u64)).await.unwrap();
            assert!(reached.seq >= Seq(1));
        }
    });
    field.add("mark a conversation as read", "unread.markRead", mark_read);

    let ours = Arc::clone(unread);
    let count = acting(move |_, _| {
        let ours = Arc::clone(&ours);
        async move {
            assert_eq!(ours.count(&user(0), &conversation(0)).await.unwrap().unwrap().messages, 1);
        }
    });
    field.add_fixed("count of one conversation", "unread.count", count);

    let (ours, all) = (Arc::clone(unread), Arc::new(hundred(conversation)));
    let total = acting(move |_, _| {
        let (ours, all) = (Arc::clone(&ours), Arc::clone(&all));
        async move {
            let total = ours.total(&user(0), &all).await.unwrap().unwrap();
            assert_eq!(total.messages, CONVERSATIONS as u64);
        }
    });
    let row = field.add_fixed("total over 100 conversations", "unread.total100", total);
    row.tasks = SLOW;
    row.goals = vec![Goal { tasks: 1, beside: RAW, at_least: 0.9 }];
}

fn joined(user: UserId, conversation: ConversationId) -> Advance {
    let to = AdvanceTo::Position(ReadPosition::at(Seq::ZERO));
    Advance { user, conversation, to, own: Seq::ZERO }
}

fn said(conversation: ConversationId, seq: u64) -> Recorded {
    let sender = Some(UserId::new("somebody").unwrap());
    Recorded { conversation, seq: Seq(seq), sender, countable: true, mentions: Mentions::default() }
}
