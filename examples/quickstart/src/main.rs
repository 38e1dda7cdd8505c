//! The smallest chat: two people, one group; in memory, or with `cargo run -p quickstart -- redis://localhost` on Redis.

use chat_core::domain::{Actor, UserId};
use chat_core::error::Result;
use chat_core::service::{Chat, NewGroup};
use chat_core::store::messages::{Anchor, HistoryScope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let chat = match std::env::args().nth(1) {
        None => Chat::in_memory(),
        Some(url) => {
            let redis = chat_redis::connect(&url).await?;
            redis.equip(Chat::builder()).build()
        }
    };
    let ada = Actor::user(UserId::new("ada")?);
    let bob = Actor::user(UserId::new("bob")?);

    let group = chat.create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone())).await?;
    chat.send(&ada, &group.id, "Does it print?", None).await?;
    let answer = chat.send(&bob, &group.id, "It does.", None).await?;
    chat.react(&ada, &answer.message.id, "👍", true).await?;

    println!("Ada has {} unread", chat.unread(&ada, &group.id).await?.messages);
    chat.mark_read(&ada, &group.id, answer.message.seq).await?;
    println!("Ada has {} unread after reading", chat.unread(&ada, &group.id).await?.messages);

    let history = chat.history(&bob, &group.id, HistoryScope::Everything, Anchor::Latest, 50).await?;
    for message in history.messages {
        let who = message.sender_id.map_or_else(|| "(system)".to_owned(), |user| user.to_string());
        println!("{} {who}: {}", message.seq, message.content);
    }
    Ok(())
}
