//! Messages on MongoDB beside the raw driver.
//!
//! Appending: the raw driver inserts one document for each message. Its place comes from a counter in this process, which is
//! the least there can be, as nobody else may append then and a failure leaves a gap; or from a counter document, which is
//! what several nodes need at least. Both have the indexes that give a place and a client key once, and neither tells an
//! outbox, nor finds a word. The third one inserts the very document ours does, with all indexes ours has: what the server can
//! do with them.
//!
//! A page: the raw driver reads the same collection by the same index, and does not say whether there is more on the other
//! side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench says what went wrong by failing"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use chat_benches::{Act, Contender, Goal, MongoStage, Row, acting, measure};
use chat_core::domain::message::NewMessage;
use chat_core::domain::{ConversationId, Seq};
use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope};
use chat_core::store::{MessageStore, MessageStoreExt};
use chat_testkit::sample;
use futures::TryStreamExt;
use futures::future::join;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Hint, ReturnDocument};

/// What is said: eleven words.
const TEXT: &str = "See you tomorrow at the station, the first train leaves early";
/// How many rooms are many.
const ROOMS: usize = 1_000;
/// How many messages the room has that is read: on a real `mongod`, and on one that is compatible on the wire.
const LONG: [usize; 2] = [100_000, 10_000];
const PAGE: usize = 50;

/// Appending takes milliseconds, and 64 tasks want several each.
const TURN: Duration = Duration::from_millis(500);

fn main() {
    let Some(stage) = MongoStage::set() else { return };
    let rows = [append(&stage, 1, &[1, 64]), append(&stage, ROOMS, &[64])];
    measure(&stage, &rows);
    drop(rows);
    let length = if stage.is_mongod() { LONG[0] } else { LONG[1] };
    fill(&stage, length);
    let middle = Seq(length as u64 / 2);
    let pages = [
        page(&stage, "page of 50, before", Anchor::Before(middle)),
        page(&stage, "page of 50, after", Anchor::After(middle)),
        page(&stage, "page of 50, around", Anchor::Around(middle)),
    ];
    measure(&stage, &pages);
}

fn room(nth: usize, rooms: usize) -> ConversationId {
    sample::conversation(&format!("room {rooms} {:04}", nth % rooms))
}

fn said(conversation: &ConversationId) -> NewMessage {
    let mut new = sample::text(conversation, &sample::user("ann"), TEXT);
    new.client_key = Some(sample::key(new.id.as_str()));
    new
}

fn append(stage: &MongoStage, rooms: usize, tasks: &'static [usize]) -> Row {
    let messages = Arc::clone(&stage.mongo.messages);
    let ours = acting(move |_, nth| {
        let messages = Arc::clone(&messages);
        async move {
            assert!(!messages.append(&said(&room(nth, rooms))).await.unwrap().duplicate);
        }
    });
    // Every room is known, as in a node that runs.
    let known = stage.prepare(async {
        let first: Vec<_> = (0..rooms).map(|nth| said(&room(nth, rooms))).collect();
        let answers = stage.mongo.messages.append_many(&first).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        let stored = stage.ours.collection::<Document>("messages");
        stored.find_one(doc! { "_id": first[0].id.as_str() }).await.unwrap().unwrap()
    });
    let mut least = known.clone();
    for ours in ["terms", "outbox", "due"] {
        least.remove(ours);
    }
    let (place, key) = (&["conversationId", "seq"][..], &["conversationId", "senderId", "clientKey"][..]);
    let collection = |name: &str| stage.collection(&format!("{name} {rooms}"), &[place, key]);
    let twin = stage.twin("messages");
    let raw = vec![
        Contender {
            name: "raw driver, insert_one",
            act: insert(collection("counted here"), least.clone(), counters(rooms), rooms),
        },
        Contender {
            name: "raw driver, counter document and insert_one",
            act: insert_shared(stage, collection("counted there"), least, rooms),
        },
        Contender {
            name: "raw driver, our document and indexes",
            act: insert(twin, known, counters(rooms), rooms),
        },
    ];
    let goals = vec![
        Goal { tasks: 64, beside: "raw driver, insert_one", at_least: 1.0 },
        Goal { tasks: 64, beside: "raw driver, counter document", at_least: 1.0 },
        Goal { tasks: 64, beside: "raw driver, our document", at_least: 1.0 },
        Goal { tasks: 1, beside: "raw driver, our document", at_least: 0.8 },
    ];
    let name = if rooms == 1 { "append, one room".to_owned() } else { format!("append, {rooms} rooms") };
    Row { tasks, raw, goals, turn: TURN, ..Row::new(&name, ours) }
}

/// A counter for each room.
fn counters(rooms: usize) -> Arc<Vec<AtomicI64>> {
    Arc::new((0..rooms).map(|_| AtomicI64::new(0)).collect())
}

/// The same message in another place.
fn placed(message: &Document, room: &ConversationId, seq: i64) -> Document {
    let mut message = message.clone();
    let id = format!("m{:016x}", rand());
    message.insert("_id", &id);
    message.insert("clientKey", &id);
    message.insert("conversationId", room.as_str());
    message.insert("seq", seq);
    message.insert("main", seq);
    if let Some(Bson::Array(events)) = message.get_mut("outbox") {
        let event = events[0].as_document_mut().unwrap();
        event.insert("id", &id);
        event.insert("key", room.as_str());
        message.insert("due", seq);
    }
    message
}

/// A number nobody else has, which follows no order, as ids do.
fn rand() -> u64 {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    (COUNT.fetch_add(1, Ordering::Relaxed) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn insert(
    collection: Collection<Document>,
    message: Document,
    counters: Arc<Vec<AtomicI64>>,
    rooms: usize,
) -> Act {
    // A collection with the indexes of ours may have rooms of another row.
    let first = 1_000_000 * rooms as i64;
    acting(move |_, nth| {
        let seq = first + counters[nth % rooms].fetch_add(1, Ordering::Relaxed);
        let (collection, message) = (collection.clone(), placed(&message, &room(nth, rooms), seq));
        async move {
            collection.insert_one(message).await.unwrap();
        }
    })
}

fn insert_shared(
    stage: &MongoStage,
    collection: Collection<Document>,
    message: Document,
    rooms: usize,
) -> Act {
    let counters = stage.raw.collection::<Document>("counters");
    acting(move |_, nth| {
        let (counters, collection, message) = (counters.clone(), collection.clone(), message.clone());
        async move {
            let room = room(nth, rooms);
            let next = counters
                .find_one_and_update(doc! { "_id": room.as_str() }, doc! { "$inc": { "seq": 1_i64 } })
                .upsert(true)
                .return_document(ReturnDocument::After);
            let seq = next.await.unwrap().unwrap().get_i64("seq").unwrap();
            collection.insert_one(placed(&message, &room, seq)).await.unwrap();
        }
    })
}

fn long() -> ConversationId {
    sample::conversation("long")
}

/// Fills the room that is read.
fn fill(stage: &MongoStage, length: usize) {
    stage.prepare(async {
        for _ in 0..length / 1_000 {
            let new: Vec<_> = (0..1_000).map(|_| said(&long())).collect();
            let answers = stage.mongo.messages.append_many(&new).await.unwrap();
            assert!(answers.iter().all(Result::is_ok));
        }
    });
}

fn page(stage: &MongoStage, name: &str, anchor: Anchor) -> Row {
    let messages = Arc::clone(&stage.mongo.messages);
    let ours = acting(move |_, _| {
        let messages = Arc::clone(&messages);
        async move {
            let scope = HistoryScope::Everything;
            let query = HistoryQuery { conversation: long(), viewer: None, scope, anchor, limit: PAGE };
            assert_eq!(messages.history(&query).await.unwrap().messages.len(), PAGE);
        }
    });
    let collection = stage.ours.collection::<Document>("messages");
    let raw = acting(move |_, _| {
        let collection = collection.clone();
        let read = move |from: Document, order: i32, count: usize| {
            let collection = collection.clone();
            async move {
                let find = collection.find(doc! { "conversationId": "long", "seq": from });
                let find =
                    find.sort(doc! { "seq": order }).limit(count as i64).hint(Hint::Name("place".to_owned()));
                let find = find.projection(doc! { "terms": 0, "outbox": 0, "due": 0 });
                find.await.unwrap().try_collect::<Vec<_>>().await.unwrap()
            }
        };
        async move {
            let found = match anchor {
                Anchor::Latest => read(doc! { "$gt": 0_i64 }, -1, PAGE + 1).await.len(),
                Anchor::Before(seq) => read(doc! { "$lt": seq.0 as i64 }, -1, PAGE + 1).await.len(),
                Anchor::After(seq) => read(doc! { "$gt": seq.0 as i64 }, 1, PAGE + 1).await.len(),
                Anchor::Around(seq) => {
                    let before = read(doc! { "$lt": seq.0 as i64 }, -1, PAGE / 2 + 1);
                    let after = read(doc! { "$gte": seq.0 as i64 }, 1, PAGE / 2 + 1);
                    let (before, after) = join(before, after).await;
                    before.len() + after.len() - 1
                }
            };
            assert_eq!(found, PAGE + 1);
        }
    });
    let raw = vec![Contender { name: "raw driver, find by the same index", act: raw }];
    let goals = vec![Goal { tasks: 16, beside: "raw driver, find", at_least: 0.6 }];
    Row { tasks: &[1, 16], raw, goals, turn: TURN, ..Row::new(name, ours) }
}
