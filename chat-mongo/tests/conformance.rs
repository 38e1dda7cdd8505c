//! MongoDB keeps every promise of truth.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "it/shape.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "what it is for is in plans")]
mod shape;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chat_core::clock::ManualClock;
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::server::Mongo as Server;
use chat_testkit::{Absent, Namespace, Offer, promises, run_trials};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use parking_lot::Mutex;

/// One server for all trials; each has a database of its own.
static SERVER: LazyLock<Result<Server, Absent>> = LazyLock::new(Server::find_or_spawn);

/// What was asked and never explained.
static UNEXPLAINED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn main() -> ExitCode {
    let code = run_trials(promises("mongo", |namespace| async move {
        let server = SERVER.as_ref().map_err(Clone::clone)?;
        offer(server.url(), &namespace).await
    }));
    let unexplained = UNEXPLAINED.lock();
    if unexplained.is_empty() {
        return code;
    }
    eprintln!("asked, and not explained by `it plans`: {unexplained:#?}");
    ExitCode::FAILURE
}

/// Notes what is asked that no plan is known of.
fn overhear(event: CommandEvent) {
    let CommandEvent::Started(started) = event else { return };
    for question in shape::questions(&started.command_name, &started.command) {
        if !shape::EXPLAINED.iter().any(|(shape, _)| *shape == question.shape) {
            UNEXPLAINED.lock().insert(question.shape);
        }
    }
}

async fn offer(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let clock = ManualClock::default();
    let config = MongoConfig::from_url(url).expect("a good URL");
    let config = config.with_database(&namespace.0).expect("a good name").with_clock(Arc::new(clock.clone()));
    let config = config.on_command(EventHandler::callback(overhear));
    let mongo = Mongo::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    mongo.ensure().await.expect("a schema");
    let offer = Offer::new(clock).messages(mongo.messages).outbox(mongo.outbox).positions(mongo.positions);
    // What takes a second in memory takes minutes here.
    let offer = offer.histories(100);
    Ok(offer.conversations(mongo.conversations).files(mongo.files).audit(mongo.audit).source(mongo.source))
}
