//! [`Waking`]: a change stream tells the relay of this node what other nodes have written.
//!
//! A relay is woken by what its own node writes, and looks once a second for what a dead node left. This wakes it within a
//! tenth of a second, by a stream of the changes that put something into the outbox. It is a hint and no more: a change it
//! misses is found by the next look. Where it fails it begins again, after pauses that grow to half a minute; on a server
//! without change streams it ends.

use std::sync::Arc;
use std::time::Duration;

use chat_core::Chat;
use futures::StreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::Error as Said;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::db::Db;
use crate::error::code;
use crate::outbox::SOURCES;

/// By then the relay of the node that wrote has published it, if it lives: two relays need not do the same.
const GRACE: Duration = Duration::from_millis(100);

/// The first pause before the stream begins again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Said by a server that has no change streams: no such command, not of a set, an unknown stage.
const NEVER: [i32; 4] = [59, 115, 40_324, 40_573];

/// Wakes a relay until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends it"]
pub struct Waking {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Waking {
    /// Whether it has ended by itself: the server has no change streams.
    pub fn is_over(&self) -> bool {
        let [watching, _] = &self.tasks;
        watching.is_finished()
    }

    pub(crate) fn start(db: Db, chat: Chat) -> Self {
        let written = Arc::new(Notify::new());
        let watching = tokio::spawn(watch(db, Arc::clone(&written)));
        let relaying = tokio::spawn(async move {
            loop {
                written.notified().await;
                tokio::time::sleep(GRACE).await;
                if let Err(error) = chat.relay_once().await {
                    // Its own relay repeats it.
                    tracing::debug!(code = %error.code(), "what was written elsewhere is not published yet");
                }
            }
        });
        Self { tasks: [watching, relaying] }
    }
}

/// Tells of changes, whatever becomes of the stream.
async fn watch(db: Db, written: Arc<Notify>) {
    let mut pause = PAUSES.0;
    loop {
        match hear(&db, &written, &mut pause).await {
            Err(said) if code(&said).is_some_and(|code| NEVER.contains(&code)) => {
                tracing::info!("the server has no change streams: the relay looks by itself");
                return;
            }
            outcome => {
                metrics::counter!("chat_mongo_wake_failures_total").increment(1);
                tracing::debug!(failed = outcome.is_err(), "the stream of changes begins again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Tells of changes as long as the stream lasts.
async fn hear(db: &Db, written: &Notify, pause: &mut Duration) -> Result<(), Said> {
    let new =
        doc! { "operationType": { "$in": ["insert", "replace"] }, "fullDocument.due": { "$exists": true } };
    let more = doc! { "operationType": "update", "updateDescription.updatedFields.due": { "$exists": true } };
    let of_outbox = doc! { "$match": { "ns.coll": { "$in": SOURCES.to_vec() }, "$or": [new, more] } };
    let only_that = doc! { "$project": { "_id": 1 } };
    let changes = db.database().watch().pipeline([of_outbox, only_that]).await?;
    let mut changes = changes.with_type::<Document>();
    // What was written before it began.
    written.notify_one();
    while let Some(change) = changes.next().await {
        change?;
        *pause = PAUSES.0;
        written.notify_one();
    }
    Ok(())
}
