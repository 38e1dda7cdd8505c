//! The smallest chat: two people, one group; in memory, or where `cargo run -p quickstart -- mongodb://localhost/chat
//! redis://localhost` says: truth on MongoDB, the rest on Redis, or one of them.

use chat_core::domain::{Actor, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::service::{Chat, NewGroup};
use chat_core::store::messages::{Anchor, HistoryScope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut builder = Chat::builder();
    for url in std::env::args().skip(1) {
        builder = match url.split(['+', ':']).next() {
            Some("mongodb") => chat_mongo::connect(&url).await?.equip(builder),
            Some("redis" | "rediss") => chat_redis::connect(&url).await?.equip(builder),
            _ => return Err(Error::invalid(Code::ConfigInvalid, "neither mongodb:// nor redis://")),
        };
    }
    let chat = builder.build();
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
