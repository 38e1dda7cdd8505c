//! The list of a user's conversations on MongoDB beside the raw driver, with all a client shows of them that is truth: the
//! conversations, the user's own settings, the newest messages, and how far the user has read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what went wrong by failing")]

use std::time::Duration;

use chat_benches::{Contender, Goal, MongoStage, Row, acting, measure};
use chat_core::clock::{Clock, SystemClock};
use chat_core::domain::page::Page;
use chat_core::domain::{LastActivity, Seq, UserId};
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::positions::Step;
use chat_core::store::{ConversationStore, MessageStore, MessageStoreExt, PositionStore, PositionStoreExt};
use chat_testkit::sample;
use futures::TryStreamExt;
use futures::future::{join_all, join3};
use mongodb::Collection;
use mongodb::action::Action;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;

/// How many conversations the user is in, and how many messages are in each.
const CONVERSATIONS: usize = 50;
const MESSAGES: usize = 20;

fn main() {
    let Some(stage) = MongoStage::set() else { return };
    stage.prepare(fill(&stage));
    measure(&stage, &[list(&stage)]);
}

fn ann() -> UserId {
    sample::user("ann")
}

async fn fill(stage: &MongoStage) {
    for nth in 0..CONVERSATIONS {
        let new = sample::group(&format!("group {nth}"), &["ben", "ann", "eve"]);
        stage.mongo.conversations.create(&new).await.unwrap();
        let said: Vec<_> =
            (0..MESSAGES).map(|_| sample::text(&new.id, &sample::user("ben"), "something to read")).collect();
        assert!(stage.mongo.messages.append_many(&said).await.unwrap().iter().all(Result::is_ok));
        let head = stage.mongo.messages.head(&new.id).await.unwrap();
        let activity = LastActivity { at: SystemClock.now(), seq: head, message_id: None };
        stage.mongo.conversations.touch_many(&[(new.id.clone(), activity)]).await.unwrap();
        stage.mongo.positions.step(&ann(), &new.id, Step::Read(Seq(10))).await.unwrap();
    }
}

fn list(stage: &MongoStage) -> Row {
    let mongo = stage.mongo.clone();
    let ours = acting(move |_, _| {
        let mongo = mongo.clone();
        async move {
            let (ann, page) = (ann(), Page::first(CONVERSATIONS));
            let found = mongo.conversations.list(&ann, &ConversationFilter::default(), &page).await.unwrap();
            let ids: Vec<_> = found.items.iter().map(|one| one.conversation.id.clone()).collect();
            let members: Vec<_> = ids.iter().map(|id| (ann.clone(), id.clone())).collect();
            let (heads, receipts) = futures::try_join!(
                mongo.messages.heads(Some(&ann), &ids),
                mongo.positions.receipts_many(&members)
            )
            .unwrap();
            assert!(heads.len() == CONVERSATIONS && heads.iter().all(|head| head.message.is_some()));
            assert!(receipts.iter().all(|receipts| receipts.read.seq == Seq(10)));
        }
    });
    let of = |name: &str| stage.ours.collection::<Document>(name);
    let [members, conversations, messages, positions] =
        ["members", "conversations", "messages", "positions"].map(of);
    let raw = |hinted: bool| {
        let (members, conversations) = (members.clone(), conversations.clone());
        let (messages, positions) = (messages.clone(), positions.clone());
        acting(move |_, _| {
            let (members, conversations) = (members.clone(), conversations.clone());
            let (messages, positions) = (messages.clone(), positions.clone());
            async move {
                let hint = |name: &str| hinted.then(|| Hint::Name(name.to_owned()));
                let mine = all(&members, doc! { "userId": "ann" }, hint("of_user")).await;
                let ids: Vec<_> =
                    mine.iter().map(|member| member.get_str("conversationId").unwrap().to_owned()).collect();
                let newest = ids.iter().map(|id| {
                    let newest = messages.find_one(doc! { "conversationId": id }).sort(doc! { "seq": -1 });
                    let newest = newest.optional(hint("place"), |newest, hint| newest.hint(hint));
                    async { newest.await.unwrap().unwrap() }
                });
                let place = |id: &String| Bson::Document(doc! { "c": id, "u": "ann" });
                let places: Vec<_> = ids.iter().map(place).collect();
                let (mut found, newest, read) = join3(
                    all(&conversations, doc! { "_id": { "$in": &ids } }, None),
                    join_all(newest),
                    all(&positions, doc! { "_id": { "$in": places } }, None),
                )
                .await;
                let activity =
                    |one: &Document| *one.get_document("lastActivity").unwrap().get_datetime("at").unwrap();
                found.sort_by_key(|one| std::cmp::Reverse(activity(one)));
                assert_eq!(
                    (found.len(), newest.len(), read.len()),
                    (CONVERSATIONS, CONVERSATIONS, CONVERSATIONS)
                );
            }
        })
    };
    let raw = vec![
        Contender { name: "raw driver, find by member, newest of each", act: raw(true) },
        Contender { name: "raw driver, the same without hints", act: raw(false) },
    ];
    let goals = vec![Goal { tasks: 16, beside: "raw driver, find", at_least: 0.5 }];
    let turn = Duration::from_millis(500);
    Row { tasks: &[1, 16], raw, goals, turn, ..Row::new("list of 50 conversations", ours) }
}

async fn all(collection: &Collection<Document>, these: Document, hint: Option<Hint>) -> Vec<Document> {
    collection
        .find(these)
        .optional(hint, |find, hint| find.hint(hint))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}
