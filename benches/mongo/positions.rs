//! Counting what is unread on MongoDB beside the raw driver, which counts every message that is not read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Contender, Goal, MongoStage, Row, acting, measure};
use chat_core::domain::{ConversationId, Seq, UserId};
use chat_core::store::positions::Step;
use chat_core::store::{MessageStore, PositionStore, PositionStoreExt};
use chat_testkit::sample;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

/// How many messages the room has.
const MESSAGES: usize = 5_000;

fn main() {
    let Some(stage) = MongoStage::set() else { return };
    stage.prepare(async {
        for _ in 0..MESSAGES / 1_000 {
            let new = (0..1_000).map(|_| sample::text(&room(), &sample::user("ann"), "one more of many"));
            let answers = stage.mongo.messages.append_many(&new.collect::<Vec<_>>()).await.unwrap();
            assert!(answers.iter().all(Result::is_ok));
        }
    });
    let rows = [
        recount(&stage, "recount, 100 unread", "bob", 100),
        recount(&stage, "recount, 2000 unread", "eve", 2_000),
    ];
    measure(&stage, &rows);
}

fn room() -> ConversationId {
    sample::conversation("room")
}

fn recount(stage: &MongoStage, name: &str, user: &'static str, unread: usize) -> Row {
    let who: UserId = sample::user(user);
    let read = Seq((MESSAGES - unread) as u64);
    stage.prepare(async {
        stage.mongo.positions.step(&who, &room(), Step::Read(read)).await.unwrap();
    });
    let positions = Arc::clone(&stage.mongo.positions);
    let ours = acting(move |_, _| {
        let (positions, who) = (Arc::clone(&positions), who.clone());
        async move {
            let truth = positions.recount(&who, &[room()]).await.unwrap().remove(0);
            assert_eq!(truth.head.0 - truth.reached().0, unread as u64);
        }
    });
    let (messages, positions) =
        (stage.ours.collection::<Document>("messages"), stage.ours.collection::<Document>("positions"));
    let raw = acting(move |_, _| {
        let (messages, positions) = (messages.clone(), positions.clone());
        async move {
            let mine = positions.find_one(doc! { "_id": { "c": "room", "u": user } }).await.unwrap().unwrap();
            let read = mine.get_document("read").unwrap().get_i64("seq").unwrap();
            let these =
                doc! { "conversationId": "room", "seq": { "$gt": read }, "senderId": { "$ne": user } };
            let count = messages.count_documents(these).hint(Hint::Name("place".to_owned()));
            assert_eq!(count.await.unwrap(), unread as u64);
        }
    });
    let raw = vec![Contender { name: "raw driver, find_one and count_documents", act: raw }];
    let goals = vec![Goal {
        tasks: 16,
        beside: "raw driver, find_one",
        at_least: if unread > 1_000 { 1.0 } else { 0.5 },
    }];
    Row { tasks: &[1, 16], raw, goals, turn: Duration::from_millis(500), ..Row::new(name, ours) }
}
