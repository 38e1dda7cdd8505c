//! Read positions of many nodes, whose replies get lost.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_core::domain::{ReadPosition, Seq};
use chat_core::error::Code;
use chat_core::event::Event;
use chat_core::store::positions::Step;
use chat_core::store::{MessageStoreExt, Outbox, PositionStore, PositionStoreExt};
use chat_mongo::Mongo;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::sample::{conversation, text, user};
use chat_testkit::{Absent, trials};
use futures::future::join_all;

use super::desk::{fresh, nodes, server};

trials! { needs "mongo":
    steps_of_many_nodes_end_at_the_furthest,
    a_step_whose_reply_is_lost_is_taken_once,
    what_nobody_publishes_is_refused_at_last,
    a_recount_counts_what_is_there,
}

async fn say(mongo: &Mongo, count: usize) {
    for _ in 0..count {
        mongo.messages.append(&text(&conversation("room"), &user("ann"), "said")).await.unwrap();
    }
}

/// The positions that are announced, in the order they are published.
async fn announced(mongo: &Mongo) -> Vec<ReadPosition> {
    let waiting = mongo.outbox.claim("relay", 10_000, Duration::from_secs(60)).await.unwrap();
    let position = |envelope: chat_core::event::Envelope| match envelope.event {
        Event::MessageRead(read) => Some(read.position),
        Event::MessageUnread(unread) => Some(unread.position),
        _ => None,
    };
    waiting.into_iter().filter_map(position).collect()
}

async fn steps_of_many_nodes_end_at_the_furthest() -> Result<(), Absent> {
    let [one, other] = nodes().await?;
    say(&one, 40).await;
    let steps = (0..64u64).map(|nth| {
        let mongo = if nth % 2 == 0 { &one } else { &other };
        async move {
            let step = Step::Read(Seq(1 + nth * 7 % 40));
            mongo.positions.step(&user("bob"), &conversation("room"), step).await.unwrap()
        }
    });
    let moved = join_all(steps).await;
    let after = one.positions.receipts(&user("bob"), &conversation("room")).await.unwrap();
    assert_eq!((after.read.seq, after.seen, after.delivered), (Seq(40), Seq(40), Seq(40)));
    let announced: Vec<_> = announced(&other).await.iter().map(|position| position.seq).collect();
    let real: BTreeSet<_> =
        moved.iter().filter(|moved| moved.changed()).map(|moved| moved.after.read.seq).collect();
    assert!(announced.is_sorted(), "they are published in their order: {announced:?}");
    assert_eq!(announced, Vec::from_iter(real), "each real advance once");
    Ok(())
}

async fn a_step_whose_reply_is_lost_is_taken_once() -> Result<(), Absent> {
    let server = server()?;
    let proxy = Proxy::start(server.address(), Protocol::Mongo).await;
    let config = fresh(&server.url_at(proxy.address()));
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.ensure().await.unwrap();
    say(&mongo, 9).await;
    let (bob, room) = (user("bob"), conversation("room"));
    for (step, command) in [
        (Step::Read(Seq(3)), "insert"),
        (Step::Read(Seq(6)), "update"),
        (Step::Unread { from: Seq(2), epoch: 0 }, "update"),
        (Step::Read(Seq(9)), "update"),
    ] {
        let lost = Request::command_on(command, "positions");
        let moved = proxy.losing(lost, mongo.positions.step(&bob, &room, step)).await;
        // The driver asks again, and is told what became of the first.
        assert!(moved.unwrap().changed(), "{step:?}");
    }
    let places: Vec<_> = announced(&mongo).await.iter().map(|at| (at.epoch, at.seq.0)).collect();
    assert_eq!(places, [(0, 3), (0, 6), (1, 1), (1, 9)]);
    Ok(())
}

async fn what_nobody_publishes_is_refused_at_last() -> Result<(), Absent> {
    let [mongo, _] = nodes().await?;
    say(&mongo, 2).await;
    let (bob, room) = (user("bob"), conversation("room"));
    let mut refused = None;
    for epoch in 0..1_001 {
        let read = mongo.positions.step(&bob, &room, Step::Read(Seq(2))).await;
        let step = Step::Unread { from: Seq(1), epoch };
        let unread = if read.is_ok() { mongo.positions.step(&bob, &room, step).await } else { read };
        if let Err(error) = unread {
            refused = Some((epoch, error));
            break;
        }
    }
    let (epoch, error) = refused.expect("a document has an end");
    assert_eq!((epoch, error.code()), (500, Code::QueueFull));
    // What is published makes room.
    let waiting = mongo.outbox.claim("relay", 10, Duration::from_secs(60)).await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|envelope| envelope.id.clone()).collect();
    mongo.outbox.clear("relay", &ids).await.unwrap();
    mongo.positions.step(&bob, &room, Step::Read(Seq(2))).await.unwrap();
    Ok(())
}

async fn a_recount_counts_what_is_there() -> Result<(), Absent> {
    let [one, other] = nodes().await?;
    say(&one, 5).await;
    let (bob, room) = (user("bob"), conversation("room"));
    other.messages.append(&text(&room, &bob, "mine")).await.unwrap();
    say(&one, 3).await;
    let truth = other.positions.recount(&bob, std::slice::from_ref(&room)).await.unwrap().remove(0);
    assert_eq!((truth.head, truth.own, truth.position), (Seq(9), Seq(6), ReadPosition::START));
    assert_eq!(truth.reached(), Seq(6));
    Ok(())
}
