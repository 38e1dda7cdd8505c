//! Presence as sockets make it: leases are renewed, lost ones begin again, idleness shows.

use std::time::Duration;

use chat_core::domain::{PresenceStatus, SessionId};
use chat_server::Options;
use serde_json::json;

use crate::client::within;
use crate::host::{Host, fresh, user};
use crate::trials;

trials! { "presence":
    a_socket_that_lives_stays_online_past_every_lease,
    a_lease_lost_by_the_store_begins_again,
    idleness_is_told_and_ends_with_the_next_request,
    a_clean_close_is_told_at_once,
}

fn eager() -> Options {
    let mut options = Options::default();
    (options.heartbeat_every, options.tick) = (Duration::from_millis(20), Duration::from_millis(10));
    options
}

/// Waits until something holds.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn a_socket_that_lives_stays_online_past_every_lease() {
    let host = Host::with(eager(), |chat| chat).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    a.done("sendMessage", json!({ "receiverId": bob, "content": "x" })).await;
    b.hears("newMessage", |_| true).await;
    // Ten leases, in steps that leave the heartbeat time to come by.
    for _ in 0..20 {
        host.clock.advance(Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(host.chat().ports().presence.are_online(&[user(&ann), user(&bob)]).await.unwrap(), [true, true]);
    a.done("heartbeat", json!({})).await;
    assert!(!a.heard.iter().any(|(name, _)| name == "user_offline"), "{:?}", a.heard);
    host.stop().await;
}

async fn a_lease_lost_by_the_store_begins_again() {
    let host = Host::with(eager(), |chat| chat).await;
    let ann = fresh("ann");
    let mut a = host.connect(&ann).await;
    let presence = host.chat().ports().presence.clone();
    let sessions = presence.get_many(&[user(&ann)]).await.unwrap().remove(0).sessions;
    let lost: SessionId = sessions[0].id.clone();
    presence.disconnect(&user(&ann), &lost).await.unwrap();
    until("the session to begin again", || async { presence.are_online(&[user(&ann)]).await.unwrap() == [true] }).await;
    a.done("heartbeat", json!({})).await;
    host.stop().await;
}

async fn idleness_is_told_and_ends_with_the_next_request() {
    let host = Host::with(eager(), |chat| chat).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    a.done("sendMessage", json!({ "receiverId": bob, "content": "x" })).await;
    b.hears("newMessage", |_| true).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.clock.advance(Duration::from_secs(301));
    a.hears("user_idle", |payload| payload["userId"] == bob.as_str()).await;
    let presence = host.chat().ports().presence.clone();
    until("idle to show", || async {
        let known = presence.get_many(&[user(&bob)]).await.unwrap().remove(0);
        known.status(host.chat().now()) == PresenceStatus::Away
    })
    .await;
    b.done("getConversations", json!({})).await;
    let back = a.hears("user_online", |payload| payload["userId"] == bob.as_str()).await;
    assert_eq!(back["status"], "online");
    host.stop().await;
}

async fn a_clean_close_is_told_at_once() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    a.done("sendMessage", json!({ "receiverId": bob, "content": "x" })).await;
    b.hears("newMessage", |_| true).await;
    b.raw("41").await;
    let gone = a.hears("user_offline", |payload| payload["userId"] == bob.as_str()).await;
    assert!(gone["lastActive"].is_string(), "{gone}");
    host.stop().await;
}
