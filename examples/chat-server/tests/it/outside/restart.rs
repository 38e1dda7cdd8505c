//! How a server ends, and what clients find afterwards.

use serde_json::json;

use super::support::client::{Client, text};
use super::support::http::try_request;
use super::support::run::{DEADLINE, trials};
use super::support::server::Server;
use super::support::token::good;

trials! {
    a_server_that_is_told_to_stop_says_so_and_lets_nobody_in,
    what_is_acknowledged_before_a_stop_has_reached_the_others,
    a_server_that_was_killed_comes_back_and_is_honest,
}

async fn a_server_that_is_told_to_stop_says_so_and_lets_nobody_in() {
    let server = Server::start();
    let people = [Client::new(&server, "ann").await, Client::new(&server, "bob").await];
    let user = people[0].user.clone();
    let other = Client::at(server.address, "/chat", &user, &json!({ "token": good(&user) })).await.unwrap();
    let address = server.address;
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    server.terminate();
    // From the first refusal until nobody listens any more, everything new is refused.
    let (mut refused, mut draining) = ([0; 3], false);
    while !people.iter().all(Client::is_closed) {
        let asked = [("/ready", &[][..]), ("/socket.io/?EIO=4&transport=polling", &[]), ("/socket.io/?EIO=4&transport=websocket", &upgrade)];
        for (n, (path, headers)) in asked.into_iter().enumerate() {
            let Some(answer) = try_request(address, "GET", path, headers, "").await else { continue };
            draining |= answer.status == 503;
            assert!(answer.status == 503 || !draining, "{path}: {answer:?}");
            refused[n] += usize::from(answer.status == 503);
        }
    }
    assert!(refused.iter().all(|refused| *refused > 0), "{refused:?}");
    for person in people.iter().chain([&other]) {
        let told = person.hears("server:draining", |_| true).await;
        assert!(told["retryMs"].is_u64(), "{told}");
        person.closed().await;
        assert!(!person.was_dismissed(), "clients come back by themselves only when the connection ends");
    }
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
}

async fn what_is_acknowledged_before_a_stop_has_reached_the_others() {
    let server = Server::start();
    let mut ann = Client::new(&server, "ann").await;
    let bob = Client::new(&server, "bob").await;
    let group = ann.group(&[&bob]).await;
    let mut asked = Vec::new();
    for n in 0..50 {
        asked.push(ann.emit("sendMessage", &json!({ "conversationId": group, "content": format!("last words {n}") })).await);
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
        tokio::time::timeout(DEADLINE, person.closed()).await.unwrap();
    }
    let server = Server::at(address);
    // The same people with the same tokens come back, and ask for what they missed.
    let mut back = Client::of(&server, &ann.user).await;
    let missed = back.ask("catchUp", json!({ "positions": { conversation.as_str(): last["seq"] } })).await;
    let told = [&missed["forbidden"], &missed["discontinuity"]].into_iter().any(|list| *list == json!([conversation]));
    assert!(told, "a position that memory no longer knows is not taken for up to date: {missed}");
    assert_eq!(missed["messages"], json!([]));
    assert_eq!(back.ask("getConversations", json!({})).await["conversations"], json!([]));
    assert_eq!(back.refused("getConversation", json!({ "conversationId": conversation })).await, "chat.forbidden");
    // And they go on from there.
    let bob = Client::of(&server, &bob.user).await;
    let sent = back.ask("sendMessage", json!({ "receiverId": bob.user, "content": "again" })).await;
    assert_eq!(bob.hears_message("again").await["conversationId"], *text(&sent, "conversationId"));
    server.stop().await;
}
