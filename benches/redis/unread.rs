//! Unread counts beside the raw driver and `redis-benchmark`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;

use chat_benches::{Goal, Row, Stage, acting, measure};
use chat_core::domain::{ConversationId, Mentions, ReadPosition, Seq, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, Recorded};
use chat_core::store::{UnreadStore, UnreadStoreExt};

/// In how many conversations somebody is.
const CONVERSATIONS: usize = 100;

fn main() {
    let Some(stage) = Stage::set() else { return };
    stage.prepare(async {
        for nth in 0..CONVERSATIONS {
            stage.redis.unread.record(&said(nth, 0)).await.unwrap();
            let read = AdvanceTo::Position(ReadPosition::at(Seq::ZERO));
            let advance = Advance { user: ann(), conversation: conversation(nth), to: read, own: Seq::ZERO };
            stage.redis.unread.advance_many(&[advance]).await.unwrap();
        }
    });
    let rows = [record(&stage), advance(&stage), counts(&stage)];
    measure(&stage, &rows);
}

fn ann() -> UserId {
    UserId::new("ann").unwrap()
}

fn conversation(nth: usize) -> ConversationId {
    ConversationId::new(format!("conversation{:03}", nth % CONVERSATIONS)).unwrap()
}

fn said(nth: usize, seq: usize) -> Recorded {
    Recorded {
        conversation: conversation(nth),
        seq: Seq(seq as u64),
        sender: Some(UserId::new("somebody").unwrap()),
        countable: true,
        mentions: Mentions::default(),
    }
}

fn record(stage: &Stage) -> Row {
    let unread = Arc::clone(&stage.redis.unread);
    let ours = acting(move |_, nth| {
        let unread = Arc::clone(&unread);
        async move { unread.record(&said(1, 1_000 + nth)).await.unwrap() }
    });
    let mut row = stage.row("unread record", Arc::clone(&ours));
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}

fn advance(stage: &Stage) -> Row {
    let unread = Arc::clone(&stage.redis.unread);
    stage.prepare(async { unread.record(&said(2, 1_000_000_000)).await.unwrap() });
    let ours = acting(move |_, nth| {
        let unread = Arc::clone(&unread);
        async move {
            unread.mark_read(&ann(), &conversation(2), Seq(1 + nth as u64)).await.unwrap();
        }
    });
    let mut row = stage.row("unread mark read", Arc::clone(&ours));
    row.references.extend(stage.reference("of that script", &ours, 16));
    row.goals = vec![Goal { tasks: 64, beside: "redis-benchmark of that script", at_least: 0.65 }];
    row
}

fn counts(stage: &Stage) -> Row {
    let all = Arc::new((0..CONVERSATIONS).map(conversation).collect::<Vec<_>>());
    let unread = Arc::clone(&stage.redis.unread);
    let ours = acting(move |_, _| {
        let (unread, all) = (Arc::clone(&unread), Arc::clone(&all));
        async move { assert!(unread.counts(&ann(), &all).await.unwrap().iter().all(Option::is_some)) }
    });
    let mut row = stage.row("unread counts of 100", ours);
    row.goals = vec![Goal { tasks: 1, beside: "raw driver, the same commands", at_least: 0.9 }];
    row
}
