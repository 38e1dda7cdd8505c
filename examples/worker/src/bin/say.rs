//! A chat that publishes to Redis Streams: `say [URL [COUNT]]`. Ada writes to Bob, and corrects herself now and then.

use std::sync::Arc;

use chat_core::domain::{Actor, Mentions, UserId};
use chat_core::error::Result;
use chat_core::service::Chat;
use chat_streams::{Streams, StreamsOptions};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://localhost".to_owned());
    let count: u32 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(10);
    let redis = chat_redis::connect(&url).await?;
    let streams = Streams::new(&redis.service, StreamsOptions::default())?;
    let builder = Chat::builder().publisher(Arc::new(streams.publisher())).tail(Arc::new(streams.tail()));
    let chat = builder.build();

    let (ada, bob) = (Actor::user(UserId::new("ada")?), UserId::new("bob")?);
    for nth in 1..=count {
        let sent = chat.send(&ada, &bob, format!("This is letter {nth}"), None).await?.message;
        if nth % 3 == 0 {
            chat.edit(&ada, &sent.id, &format!("This was letter {nth}"), Mentions::default(), None).await?;
        }
    }
    // What was written in truth is published from its outbox.
    println!("{} events", chat.relay_once().await?);
    Ok(())
}
