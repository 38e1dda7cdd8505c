//! Read positions of a reader in a hundred conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_benches::acting;
use chat_core::domain::{ConversationId, Seq};
use chat_core::memory::{Memory, MemoryPositions};
use chat_core::store::positions::{PositionStep, Step};
use chat_core::store::{MessageStore, PositionStore};
use chat_testkit::sample;

use crate::field::Field;

pub(crate) fn rows(field: &mut Field) {
    field.row("positions step, nothing new", 1, |field, memory| {
        let positions = joined(field, &memory);
        let step = Arc::new([step(0, Step::Read(Seq(1)))]);
        acting(move |_, _| {
            let (positions, step) = (Arc::clone(&positions), Arc::clone(&step));
            async move {
                positions.step_many(&*step).await.unwrap();
            }
        })
    });
    field.row("positions append, step", 1, |field, memory| {
        let (positions, messages) = (joined(field, &memory), Arc::clone(&memory.messages));
        let read = Arc::new(AtomicU64::new(1));
        acting(move |_, _| {
            let (positions, messages) = (Arc::clone(&positions), Arc::clone(&messages));
            let read = Arc::clone(&read);
            async move {
                let new = sample::text(&conversation(0), &sample::user("bob"), "one more");
                messages.append_many(&[new]).await.unwrap();
                let reached = Seq(1 + read.fetch_add(1, Ordering::Relaxed));
                positions.step_many(&[step(0, Step::Read(reached))]).await.unwrap();
            }
        })
    });
    field.row("positions receipts of 100", 100, |field, memory| {
        let positions = joined(field, &memory);
        let all: Arc<Vec<_>> =
            Arc::new((0..100).map(|nth| (sample::user("ann"), conversation(nth))).collect());
        acting(move |_, _| {
            let (positions, all) = (Arc::clone(&positions), Arc::clone(&all));
            async move { assert_eq!(positions.receipts_many(&all).await.unwrap().len(), 100) }
        })
    });
    field.row("positions recount of 100", 100, |field, memory| {
        let positions = joined(field, &memory);
        let (ann, all) = (sample::user("ann"), Arc::new((0..100).map(conversation).collect::<Vec<_>>()));
        acting(move |_, _| {
            let (positions, ann, all) = (Arc::clone(&positions), ann.clone(), Arc::clone(&all));
            async move { assert_eq!(positions.recount(&ann, &all).await.unwrap().len(), 100) }
        })
    });
}

fn conversation(nth: usize) -> ConversationId {
    sample::conversation(&format!("conversation{nth:03}"))
}

fn step(nth: usize, step: Step) -> PositionStep {
    PositionStep { user: sample::user("ann"), conversation: conversation(nth), step }
}

fn joined(field: &Field, memory: &Memory) -> Arc<MemoryPositions> {
    field.prepare(async {
        for nth in 0..100 {
            let new = sample::text(&conversation(nth), &sample::user("bob"), "hello");
            memory.messages.append_many(&[new]).await.unwrap();
            memory.positions.step_many(&[step(nth, Step::Joined(Seq::ZERO))]).await.unwrap();
        }
    });
    Arc::clone(&memory.positions)
}
