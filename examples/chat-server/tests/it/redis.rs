//! The server on a real Redis, which comes late, goes, and comes back empty.

use std::future::Future;
use std::time::Duration;

use chat_testkit::Absent;
use chat_testkit::server::Redis;
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::{Value, json};

use super::support::client::Client;
use super::support::http;
use super::support::run::{ignorable, on_a_runtime, within, without};
use super::support::server::Server;

/// Every trial of this topic.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        ignorable(module_path!(), "a_server_starts_without_redis_and_uses_it_when_it_comes", || {
            on_redis(late)
        }),
        ignorable(module_path!(), "redis_that_comes_back_empty_costs_no_message_and_no_badge", || {
            on_redis(lost)
        }),
    ]
}

/// Runs a trial with a Redis of its own.
fn on_redis<F: Future<Output = ()>>(body: impl FnOnce(Redis) -> F) -> Result<Completion, Failed> {
    match Redis::spawn() {
        Ok(redis) => {
            on_a_runtime(body(redis));
            Ok(Completion::Completed)
        }
        Err(Absent(why)) => without("redis", &why),
    }
}

async fn late(redis: Redis) {
    redis.kill();
    let server = Server::with(&["--dev", "--redis", &redis.url()]);
    let health = becomes(&server, "degraded").await;
    assert_eq!(health["checks"]["redis"]["status"], "degraded", "{health}");
    assert_eq!(health["checks"]["messages"]["status"], "ok", "{health}");
    let (mut ann, mut bob) = (Client::new(&server, "ann").await, Client::new(&server, "bob").await);
    let conversation = ann.direct(&bob.user).await;
    ann.send(&conversation, "it is not there").await;
    bob.hears_message("it is not there").await;
    assert_eq!(unread(&mut bob, &conversation).await, 2, "counted from truth");

    redis.restart_empty();
    becomes(&server, "ok").await;
    ann.send(&conversation, "it is there").await;
    bob.hears_message("it is there").await;
    assert_eq!(unread(&mut bob, &conversation).await, 3);
    let sessions = async {
        while redis.command(&["KEYS", "chat.*:p:{*}:u:*"]).list().len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("both to be online", sessions).await;

    // A chat that ends takes what only it could use.
    server.stop().await;
    assert_eq!(redis.command(&["DBSIZE"]).int(), 0);
}

async fn lost(redis: Redis) {
    let server = Server::with(&["--dev", "--redis", &redis.url()]);
    let (mut ann, mut bob) = (Client::new(&server, "ann").await, Client::new(&server, "bob").await);
    let conversation = ann.direct(&bob.user).await;
    let before = unread(&mut bob, &conversation).await;
    for content in ["one", "two", "three"] {
        ann.send(&conversation, content).await;
    }
    assert_eq!(unread(&mut bob, &conversation).await, before + 3);

    redis.kill();
    let health = becomes(&server, "degraded").await;
    assert_eq!(health["checks"]["redis"]["message"], "Disconnected", "{health}");
    ann.send(&conversation, "meanwhile").await;
    bob.hears_message("meanwhile").await;

    redis.restart_empty();
    becomes(&server, "ok").await;
    ann.send(&conversation, "four").await;
    bob.hears_message("four").await;
    let history = bob.history(&conversation).await;
    let said: Vec<_> =
        history.iter().map(|message| message["content"].as_str().unwrap_or_default()).collect();
    assert_eq!(said, ["hello", "one", "two", "three", "meanwhile", "four"]);
    assert_eq!(unread(&mut bob, &conversation).await, before + 5, "counted anew from truth");
    server.stop().await;
}

async fn unread(client: &mut Client, conversation: &str) -> u64 {
    let answer = client.ask("getConversations", json!({})).await;
    let conversations = answer["conversations"].as_array().unwrap();
    let this = conversations.iter().find(|one| one["conversationId"] == conversation).unwrap();
    this["unreadCount"].as_u64().unwrap()
}

/// Asks for the server's health until it is this.
async fn becomes(server: &Server, status: &str) -> Value {
    let asking = async {
        loop {
            let health = http::get(server, "/health").await.json();
            if health["status"] == status {
                return health;
            }
            tokio::task::yield_now().await;
        }
    };
    within(format!("health to be {status}"), asking).await
}
