//! Unread counts of a reader in a hundred conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_benches::{Act, acting};
use chat_core::domain::{ConversationId, Mentions, ReadPosition, Seq};
use chat_core::memory::{Memory, MemoryUnread};
use chat_core::store::UnreadStore;
use chat_core::store::unread::{Advance, AdvanceTo, Recorded};
use chat_testkit::sample;

use crate::field::Field;

pub(crate) fn rows(field: &mut Field) {
    field.row("unread record", 1, |field, memory| {
        let (unread, seq) = (joined(field, &memory), AtomicU64::new(1));
        let (seq, message) = (Arc::new(seq), said(1, 1));
        acting(move |_, _| {
            let (unread, seq) = (Arc::clone(&unread), Seq(seq.fetch_add(1, Ordering::Relaxed)));
            let message = Recorded { seq, ..message.clone() };
            async move { unread.record_many(&[message]).await.unwrap() }
        })
    });
    field.row("unread mark read", 1, |field, memory| {
        let (unread, seq) = (joined(field, &memory), Arc::new(AtomicU64::new(1)));
        field.prepare(async { unread.record_many(&[said(1, 1_000_000_000)]).await.unwrap() });
        let advance = to(1, AdvanceTo::Read(Seq::ZERO));
        acting(move |_, _| {
            let unread = Arc::clone(&unread);
            let read = AdvanceTo::Read(Seq(seq.fetch_add(1, Ordering::Relaxed)));
            let advance = Advance { to: read, ..advance.clone() };
            async move {
                unread.advance_many(&[advance]).await.unwrap();
            }
        })
    });
    field.row("unread count", 1, |field, memory| counting(joined(field, &memory), 1));
    field.row("unread counts of 100", 100, |field, memory| counting(joined(field, &memory), 100));
}

fn conversation(nth: usize) -> ConversationId {
    sample::conversation(&format!("conversation{nth:03}"))
}

fn to(nth: usize, to: AdvanceTo) -> Advance {
    Advance { user: sample::user("ann"), conversation: conversation(nth), to, own: Seq::ZERO }
}

fn said(nth: usize, seq: u64) -> Recorded {
    let sender = Some(sample::user("somebody"));
    Recorded {
        conversation: conversation(nth),
        seq: Seq(seq),
        sender,
        countable: true,
        mentions: Mentions::default(),
    }
}

fn joined(field: &Field, memory: &Memory) -> Arc<MemoryUnread> {
    let unread = Arc::clone(&memory.unread);
    field.prepare(async {
        for nth in 0..100 {
            let start = AdvanceTo::Position(ReadPosition::at(Seq::ZERO));
            unread.advance_many(&[to(nth, start)]).await.unwrap();
            unread.record_many(&[said(nth, 1)]).await.unwrap();
        }
    });
    unread
}

fn counting(unread: Arc<MemoryUnread>, count: usize) -> Act {
    let (ann, all) = (sample::user("ann"), Arc::new((0..count).map(conversation).collect::<Vec<_>>()));
    acting(move |_, _| {
        let (unread, ann, all) = (Arc::clone(&unread), ann.clone(), Arc::clone(&all));
        async move { assert!(unread.counts(&ann, &all).await.unwrap().iter().all(Option::is_some)) }
    })
}
