//! Commands, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_mongo::{Mongo, MongoConfig};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;

/// How many commands were sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    /// How many since it was last asked.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A node whose commands are counted, but for those by which the driver looks after itself.
pub(crate) async fn counted(config: &MongoConfig) -> (Mongo, Count) {
    let count = Count::default();
    let counting = count.clone();
    let handler = EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && !["hello", "endSessions"].contains(&started.command_name.as_str())
        {
            counting.0.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mongo = Mongo::connect(&config.clone().on_command(handler)).await.unwrap();
    mongo.ensure().await.unwrap();
    (mongo, count)
}
