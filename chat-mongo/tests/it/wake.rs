//! What another node writes wakes the relay of this one, and where the stream is gone it looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_core::Chat;
use chat_core::domain::{ConversationId, Seq};
use chat_core::store::conversations::Change;
use chat_core::store::positions::Step;
use chat_core::store::{ConversationStore, MessageStoreExt, PositionStoreExt};
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::server::{FailPoint, Failure, Mongo as Server};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;

use super::desk::{fresh, patient, server};

trials! { needs "mongo":
    what_another_node_writes_is_published_before_anybody_looks,
    a_stream_that_fails_begins_again_and_looks_go_on,
    a_server_without_streams_is_asked_once,
}

fn here() -> ConversationId {
    sample::conversation("here")
}

/// A node that writes and never publishes, and one that publishes only what it is woken for, unless it is started.
async fn nodes(config: &MongoConfig) -> (Mongo, Mongo, Chat) {
    let writer = Mongo::connect(config).await.unwrap();
    writer.ensure().await.unwrap();
    let reader = Mongo::connect(config).await.unwrap();
    let chat = reader.clone().equip(Chat::builder()).build();
    (writer, reader, chat)
}

async fn say(writer: &Mongo) {
    writer.messages.append(&sample::text(&here(), &sample::user("ann"), "text")).await.unwrap();
}

/// Whether anything waits, asked without what may be made to fail.
async fn waits(config: &MongoConfig, client: &Client) -> bool {
    let database = client.database(&config.database);
    for source in ["messages", "positions", "outbox"] {
        let waiting = doc! { "due": { "$exists": true } };
        if database.collection::<Document>(source).find_one(waiting).await.unwrap().is_some() {
            return true;
        }
    }
    false
}

async fn published(config: &MongoConfig, client: &Client) {
    eventually("a relay that was woken", || async { (!waits(config, client).await).then_some(()) }).await;
}

async fn what_another_node_writes_is_published_before_anybody_looks() -> Result<(), Absent> {
    let config = patient(fresh(server()?.url()));
    let client = Client::with_uri_str(config.url.expose()).await.unwrap();
    let (writer, reader, chat) = nodes(&config).await;
    // What was written before, and each way of writing: nobody looks, so that only a hint can publish it.
    say(&writer).await;
    let waking = reader.wake(&chat);
    published(&config, &client).await;
    for nth in 1..=3 {
        say(&writer).await;
        published(&config, &client).await;
        writer.positions.step(&sample::user("bob"), &here(), Step::Read(Seq(nth))).await.unwrap();
        published(&config, &client).await;
    }
    writer.conversations.create(&sample::group("here", &["ann"])).await.unwrap();
    published(&config, &client).await;
    writer.conversations.change(&here(), &sample::user("ann"), &Change::Rename("New".into())).await.unwrap();
    published(&config, &client).await;
    drop(waking);
    say(&writer).await;
    assert!(waits(&config, &client).await, "it ends when it is dropped");
    Ok(())
}

async fn a_stream_that_fails_begins_again_and_looks_go_on() -> Result<(), Absent> {
    // A fail point is everybody's.
    let server = Server::spawn()?;
    let config = patient(fresh(server.url()));
    let client = Client::with_uri_str(config.url.expose()).await.unwrap();
    let failed = Arc::new(AtomicUsize::new(0));
    let failing = Arc::clone(&failed);
    let heard = config.clone().on_command(EventHandler::callback(move |event| {
        if let CommandEvent::Failed(failure) = event
            && ["aggregate", "getMore"].contains(&failure.command_name.as_str())
        {
            failing.fetch_add(1, Ordering::SeqCst);
        }
    }));
    let (writer, reader, chat) = nodes(&heard).await;
    let _waking = reader.wake(&chat);
    say(&writer).await;
    published(&config, &client).await;
    // The stream ends and cannot begin; what is written meanwhile nobody is told of.
    let away =
        || server.fail(&FailPoint::new(&["aggregate", "getMore"], Failure::Error(280)).times(1_000_000));
    failed.store(0, Ordering::SeqCst);
    away();
    eventually("the stream to fail", || async { (failed.load(Ordering::SeqCst) > 1).then_some(()) }).await;
    say(&writer).await;
    assert!(waits(&config, &client).await, "nobody looks");
    server.heal();
    published(&config, &client).await;
    // A relay that looks needs no stream.
    failed.store(0, Ordering::SeqCst);
    away();
    eventually("the stream to fail", || async { (failed.load(Ordering::SeqCst) > 1).then_some(()) }).await;
    say(&writer).await;
    let running = chat.start();
    published(&config, &client).await;
    running.stop().await;
    server.heal();
    Ok(())
}

async fn a_server_without_streams_is_asked_once() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let config = patient(fresh(server.url()));
    let client = Client::with_uri_str(config.url.expose()).await.unwrap();
    let (writer, reader, chat) = nodes(&config).await;
    server.fail(&FailPoint::new(&["aggregate"], Failure::Error(40_573)).times(1));
    let waking = reader.wake(&chat);
    eventually("the end of the stream", || async { waking.is_over().then_some(()) }).await;
    say(&writer).await;
    assert!(waits(&config, &client).await);
    let running = chat.start();
    published(&config, &client).await;
    running.stop().await;
    Ok(())
}
