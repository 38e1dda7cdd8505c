//! Appending to many conversations at once: they go out together, and are in nobody's way.

use std::collections::BTreeSet;

use chat_core::domain::{ConversationId, Seq};
use chat_core::store::messages::{Anchor, Appended, HistoryQuery, HistoryScope};
use chat_core::store::{MessageStore, MessageStoreExt};
use chat_mongo::Mongo;
use chat_testkit::expect::drained;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::{Absent, sample, trials};

use super::count::counted;
use super::desk::{fresh, nodes, patient, server};

trials! { needs "mongo":
    rooms_of_one_node_go_out_together,
    who_is_in_the_way_in_one_room_harms_no_other,
    a_lost_answer_is_asked_for_again_in_every_room,
}

const ROOMS: usize = 64;

fn room(nth: usize) -> ConversationId {
    sample::conversation(&format!("room {nth}"))
}

/// Says so much in every room, with one call.
async fn say(mongo: &Mongo, each: usize) -> Vec<Appended> {
    let ann = sample::user("ann");
    let new: Vec<_> = (0..ROOMS * each).map(|nth| sample::text(&room(nth % ROOMS), &ann, "text")).collect();
    let answers = mongo.messages.append_many(&new).await.unwrap();
    answers.into_iter().map(Result::unwrap).collect()
}

/// How much there is in a room, which has no gap, and an event for each.
async fn count(mongo: &Mongo, nth: usize) -> u64 {
    let (conversation, anchor) = (room(nth), Anchor::After(Seq::ZERO));
    let query =
        HistoryQuery { conversation, viewer: None, scope: HistoryScope::Everything, anchor, limit: 100 };
    let found = mongo.messages.history(&query).await.unwrap().messages;
    assert!(found.iter().map(|message| message.seq.0).eq(1..=found.len() as u64), "a gap in {nth}");
    found.len() as u64
}

async fn told(mongo: &Mongo) -> usize {
    let told = drained(&*mongo.outbox).await;
    let ids: BTreeSet<_> = told.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), told.len());
    told.len()
}

async fn rooms_of_one_node_go_out_together() -> Result<(), Absent> {
    let (mongo, commands) = counted(&patient(fresh(server()?.url()))).await;
    assert!(say(&mongo, 2).await.iter().all(|appended| !appended.duplicate));
    commands.take();
    say(&mongo, 2).await;
    // On their own they would be as many as rooms.
    let commands = commands.take();
    assert!(commands <= ROOMS as u64 / 2, "{commands} commands");
    for nth in 0..ROOMS {
        assert_eq!(count(&mongo, nth).await, 4);
    }
    assert_eq!(told(&mongo).await, ROOMS * 4);
    Ok(())
}

async fn who_is_in_the_way_in_one_room_harms_no_other() -> Result<(), Absent> {
    let [mongo, other] = nodes().await?;
    say(&mongo, 1).await;
    for nth in [7, 8, 40] {
        other.messages.append(&sample::text(&room(nth), &sample::user("ben"), "first")).await.unwrap();
    }
    for appended in say(&mongo, 2).await {
        assert!(!appended.duplicate);
    }
    for nth in 0..ROOMS {
        assert_eq!(count(&mongo, nth).await, if [7, 8, 40].contains(&nth) { 4 } else { 3 });
    }
    assert_eq!(told(&other).await, ROOMS * 3 + 3);
    Ok(())
}

async fn a_lost_answer_is_asked_for_again_in_every_room() -> Result<(), Absent> {
    let server = server()?;
    let proxy = Proxy::start(server.address(), Protocol::Mongo).await;
    let mongo = Mongo::connect(&patient(fresh(&server.url_at(proxy.address())))).await.unwrap();
    mongo.ensure().await.unwrap();
    say(&mongo, 1).await;
    let appended = proxy.losing(Request::command_on("insert", "messages"), say(&mongo, 2)).await;
    assert!(appended.iter().all(|appended| !appended.duplicate));
    for nth in 0..ROOMS {
        assert_eq!(count(&mongo, nth).await, 3);
    }
    assert_eq!(told(&mongo).await, ROOMS * 3);
    Ok(())
}
