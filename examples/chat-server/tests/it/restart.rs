//! How a server ends, and what clients find afterwards.

use std::time::Duration;

use chat_server::Options;
use serde_json::json;

use super::support::client::{Client, text};
use super::support::host::Host;
use super::support::http::{self, try_request};
use super::support::run::trials;
use super::support::server::Server;
use super::support::token::{fresh, good};
use super::support::wire::Wire;

trials! {
    a_server_that_is_told_to_stop_says_so_and_ends_well,
    nobody_new_is_let_in_while_a_server_drains,
    what_is_acknowledged_before_a_stop_has_reached_the_others,
    a_server_that_was_killed_comes_back_and_is_honest,
}

async fn a_server_that_is_told_to_stop_says_so_and_ends_well() {
    let server = Server::start();
    let mut people = vec![Client::new(&server, "ann").await, Client::new(&server, "bob").await];
    let user = people[0].user.clone();
    people.push(Client::at(server.address, "/chat", &user, &json!({ "token": good(&user) })).await.unwrap());
    assert_eq!(http::get(&server, "/ready").await.status, 200);
    server.terminate();
    for person in &people {
        let told = person.hears("server:draining", |_| true).await;
        assert!(told["retryMs"].is_u64(), "{told}");
        person.closed().await;
        assert!(!person.was_dismissed(), "clients come back by themselves only when the connection ends");
    }
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
    assert!(try_request(server.address, "GET", "/ready", &[], "").await.is_none(), "nobody listens any more");
}

async fn nobody_new_is_let_in_while_a_server_drains() {
    const UPGRADE: &[(&str, &str)] = &[
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let mut options = Options::default();
    options.drain_grace = Duration::from_secs(2);
    let host = Host::start(options).await;
    let (mut ann, bob) = (host.connect(&fresh("ann")).await, host.connect(&fresh("bob")).await);
    let conversation = ann.direct(&bob.user).await;
    let (address, token) = (host.address, host.token("late"));
    // A connection that is open already, and asks to be let in too late.
    let mut late = Wire::open(address).await;
    let draining = async {
        ann.hears("server:draining", |_| true).await;
        for (path, headers, status) in [
            ("/ready", &[][..], 503),
            ("/socket.io/?EIO=4&transport=polling", &[], 503),
            ("/socket.io/?EIO=4&transport=websocket", UPGRADE, 503),
            ("/health", &[], 200),
            ("/", &[], 200),
        ] {
            let answer = try_request(address, "GET", path, headers, "").await.unwrap();
            assert_eq!(answer.status, status, "{path}: {answer:?}");
        }
        let refused = late.connect("/", &json!({ "token": token })).await.unwrap_err();
        assert_eq!(refused["message"], "chat.server.draining");
        // Whoever is in goes on meanwhile.
        ann.send(&conversation, "last words").await;
        bob.hears_message("last words").await;
    };
    tokio::join!(host.stop(), draining);
}

async fn what_is_acknowledged_before_a_stop_has_reached_the_others() {
    let server = Server::start();
    let mut ann = Client::new(&server, "ann").await;
    let bob = Client::new(&server, "bob").await;
    let group = ann.group(&[&bob]).await;
    let mut asked = Vec::new();
    for n in 0..50 {
        asked.push(
            ann.emit(
                "sendMessage",
                &json!({ "conversationId": group, "content": format!("last words {n}") }),
            )
            .await,
        );
    }
    ann.ack(asked[0]).await;
    server.terminate();
    for (n, id) in asked.into_iter().enumerate() {
        if ann.try_ack(id).await.is_some_and(|answer| answer["ok"] == true) {
            bob.hears_message(&format!("last words {n}")).await;
        }
    }
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
}

async fn a_server_that_was_killed_comes_back_and_is_honest() {
    let server = Server::start();
    let address = server.address;
    let mut ann = Client::new(&server, "ann").await;
    let bob = Client::new(&server, "bob").await;
    let conversation = ann.direct(&bob.user).await;
    let last = ann.send(&conversation, "kept in memory only").await;
    server.kill().await;
    for person in [&ann, &bob] {
        person.closed().await;
    }
    let server = Server::at(address);
    // The same people with the same tokens come back, and ask for what they missed.
    let mut back = Client::of(&server, &ann.user).await;
    let missed = back.ask("catchUp", json!({ "positions": { conversation.as_str(): last["seq"] } })).await;
    let told = [&missed["forbidden"], &missed["discontinuity"]]
        .into_iter()
        .any(|list| *list == json!([conversation]));
    assert!(told, "a position that memory no longer knows is not taken for up to date: {missed}");
    assert_eq!(missed["messages"], json!([]));
    assert_eq!(back.ask("getConversations", json!({})).await["conversations"], json!([]));
    assert_eq!(
        back.refused("getConversation", json!({ "conversationId": conversation })).await,
        "chat.forbidden"
    );
    // And they go on from there.
    let bob = Client::of(&server, &bob.user).await;
    let sent = back.ask("sendMessage", json!({ "receiverId": bob.user, "content": "again" })).await;
    assert_eq!(bob.hears_message("again").await["conversationId"], *text(&sent, "conversationId"));
    server.stop().await;
}
