//! MongoDB keeps every promise of truth.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chat_core::clock::ManualClock;
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::server::Mongo as Server;
use chat_testkit::{Absent, Namespace, Offer, promises, run_trials};

/// One server for all trials; each has a database of its own.
static SERVER: LazyLock<Result<Server, Absent>> = LazyLock::new(Server::find_or_spawn);

fn main() -> ExitCode {
    run_trials(promises("mongo", |namespace| async move {
        let server = SERVER.as_ref().map_err(Clone::clone)?;
        offer(server.url(), &namespace).await
    }))
}

async fn offer(url: &str, namespace: &Namespace) -> Result<Offer, Absent> {
    let clock = ManualClock::default();
    let config = MongoConfig::from_url(url).expect("a good URL");
    let config = config.with_database(&namespace.0).expect("a good name").with_clock(Arc::new(clock.clone()));
    let mongo = Mongo::connect(&config).await.map_err(|error| Absent(error.to_string()))?;
    mongo.ensure().await.expect("a schema");
    let offer = Offer::new(clock).messages(mongo.messages).outbox(mongo.outbox).positions(mongo.positions);
    // What takes a second in memory takes minutes here.
    let offer = offer.histories(100);
    Ok(offer.conversations(mongo.conversations).files(mongo.files).source(mongo.source))
}
