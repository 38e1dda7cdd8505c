//! A notification service: `notify [URL]` prints a line for everybody who was written to or called by name.
//!
//! Kill it at any moment and start it again: nothing is missing, and what was printed is not printed again, unless the kill
//! fell between the line and the note of it.

use std::time::Duration;

use chat_core::error::Result;
use chat_core::event::{Event, MessageSent, Topic};
use chat_core::store::cache::CacheScope;
use chat_streams::worker::{Once, Worker, WorkerOptions, handler};
use chat_streams::{Start, Streams, StreamsOptions};

const TOPICS: [Topic; 2] = [Topic::MessagesPrivate, Topic::MessagesGroup];

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".to_owned());
    let redis = chat_redis::connect(&url).await?;
    let streams = Streams::new(&redis.service, StreamsOptions::default())?;
    let member = format!("process-{}", std::process::id());
    let consumer = streams.consumer("notify", &member, &TOPICS, Start::Beginning).await?;
    let mut once = Once::new(redis.cache, CacheScope::new("notify")?);
    once.lease = Duration::from_secs(5);

    let notify = handler(move |envelope, _attempt| {
        let once = once.clone();
        async move {
            let Event::MessageSent(sent) = &envelope.event else { return Ok(()) };
            once.process_once(&envelope.id, || push(sent)).await.map(drop)
        }
    });
    // What a killed process had is taken over after five seconds.
    let (idle, reclaim_every) = (Duration::from_secs(5), Duration::from_secs(1));
    let options = WorkerOptions { idle, reclaim_every, ..WorkerOptions::default() };
    let worker = Worker::new(consumer, notify).with(options).start();
    let _ = tokio::signal::ctrl_c().await;
    worker.stop().await;
    Ok(())
}

/// Here a real one calls a push service.
async fn push(sent: &MessageSent) -> Result<()> {
    for user in sent.receiver_id.iter().chain(&sent.mentions.users) {
        println!("to {user}: {}", sent.content);
    }
    Ok(())
}
