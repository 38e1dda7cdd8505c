//! A search index: `search [URL [FILE]]` follows the chat and answers each line that is typed with the messages found.
//!
//! Kill it at any moment and start it again: an event is acknowledged after the file holds it, and one that comes again
//! changes nothing.

use std::sync::Arc;
use std::time::Duration;

use chat_core::error::Result;
use chat_core::event::Topic;
use chat_streams::worker::{Worker, WorkerOptions, handler};
use chat_streams::{Start, Streams, StreamsOptions};
use tokio::io::{AsyncBufReadExt, BufReader};
use worker::Index;

const TOPICS: [Topic; 3] = [Topic::MessagesPrivate, Topic::MessagesGroup, Topic::Messages];

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://localhost".to_owned());
    let index = Arc::new(Index::open(arguments.next().unwrap_or_else(|| "search.index".to_owned()))?);
    let redis = chat_redis::connect(&url).await?;
    let streams = Streams::new(&redis.service, StreamsOptions::default())?;
    let member = format!("process-{}", std::process::id());
    let consumer = streams.consumer("search", &member, &TOPICS, Start::Beginning).await?;

    let indexing = Arc::clone(&index);
    let follow = handler(move |envelope, _attempt| {
        let index = Arc::clone(&indexing);
        async move { index.apply(&envelope.event) }
    });
    let (idle, reclaim_every) = (Duration::from_secs(5), Duration::from_secs(1));
    let options = WorkerOptions { idle, reclaim_every, ..WorkerOptions::default() };
    let worker = Worker::new(consumer, follow).with(options).start();

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(words)) = lines.next_line().await {
        let found = index.search(&words)?;
        println!("{} found", found.len());
        for (message, content) in found {
            println!("{message}: {content}");
        }
    }
    worker.stop().await;
    Ok(())
}
