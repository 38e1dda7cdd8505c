//! Presence as sockets make it: edges are told once, leases are renewed and begin again, idleness shows.

use std::future::Future;
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::presence::Presence;
use chat_core::domain::{ConversationId, PresenceStatus};
use chat_core::event::{Envelope, Event, PresenceOffline, PresenceOnline};
use chat_core::store::presence::DEFAULT_LEASE;
use chat_server::Options;
use serde_json::json;

use super::support::client::{Client, barrier};
use super::support::host::{Host, id};
use super::support::run::{trials, within};
use super::support::server::shared;
use super::support::token::fresh;

trials! {
    a_clean_close_is_told_at_once,
    many_sockets_of_one_user_are_one_user,
    a_socket_that_lives_stays_online_past_every_lease,
    a_lease_lost_by_the_store_begins_again,
    idleness_is_told_and_ends_with_the_next_request,
    an_announcement_that_comes_late_makes_no_ghost,
    who_is_told_of_a_conversation_and_asks_then_misses_no_edge,
}

async fn a_clean_close_is_told_at_once() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    barrier(&mut ann, &[&bob]).await;
    // The packet that says goodbye, while the connection stays.
    bob.raw("41").await;
    let gone = ann.hears("user_offline", |gone| gone["userId"] == *bob.user).await;
    assert!(gone["lastActive"].is_string() && gone["timestamp"].is_string(), "{gone}");
}

async fn many_sockets_of_one_user_are_one_user() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = fresh("bob");
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(Client::of(shared(), &bob).await);
    }
    let conversation = ann.direct(&bob).await;
    for device in &devices {
        device.hears_message("hello").await;
    }
    let last = devices.split_off(4);
    drop(devices);
    ann.send(&conversation, "to the one left").await;
    last[0].hears_message("to the one left").await;
    assert!(ann.heard("user_offline").is_empty());
    drop(last);
    ann.hears("user_offline", |gone| gone["userId"] == *bob).await;
    let back = Client::of(shared(), &bob).await;
    ann.hears("user_online", |online| online["userId"] == *bob).await;
    barrier(&mut ann, &[&back]).await;
    assert_eq!((ann.heard("user_offline").len(), ann.heard("user_online").len()), (1, 1), "each edge once");
}

/// Everything that is done now and then, done at once.
fn eager() -> Options {
    let mut options = Options::default();
    options.heartbeat_every = Duration::from_millis(20);
    options.tick = Duration::from_millis(10);
    options
}

/// Waits until something holds that nothing announces.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    within(what, async {
        while !holds().await {
            looks.tick().await;
        }
    })
    .await;
}

async fn presence(host: &Host, user: &str) -> Presence {
    host.chat().ports().presence.get_many(&[id(user)]).await.unwrap().remove(0)
}

/// Until when somebody is online, should nobody renew it.
async fn lease(host: &Host, user: &str) -> Option<Timestamp> {
    presence(host, user).await.sessions.first().map(|session| session.lease_until)
}

/// Lets time pass, in steps that no lease notices.
async fn pass(host: &Host, time: Duration, users: &[&str]) {
    let step = DEFAULT_LEASE / 2;
    for _ in 0..time.as_secs() / step.as_secs() {
        host.clock.advance(step);
        let renewed = host.clock.now().after(DEFAULT_LEASE);
        for user in users {
            until("a lease to be renewed", || async { lease(host, user).await == Some(renewed) }).await;
        }
    }
}

async fn a_socket_that_lives_stays_online_past_every_lease() {
    let host = Host::start(eager()).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut one, other) = (host.connect(&ann).await, host.connect(&bob).await);
    barrier(&mut one, &[&other]).await;
    pass(&host, DEFAULT_LEASE * 10, &[&ann, &bob]).await;
    barrier(&mut one, &[&other]).await;
    assert!(one.heard("user_offline").is_empty() && other.heard("user_offline").is_empty());
    host.stop().await;
}

async fn a_lease_lost_by_the_store_begins_again() {
    let host = Host::start(eager()).await;
    let ann = fresh("ann");
    let mut client = host.connect(&ann).await;
    let lost = presence(&host, &ann).await.sessions.remove(0).id;
    host.chat().ports().presence.disconnect(&id(&ann), &lost).await.unwrap();
    until("the session to begin again", || host.is_online(&ann)).await;
    client.ask("heartbeat", json!({})).await;
    host.stop().await;
}

async fn idleness_is_told_and_ends_with_the_next_request() {
    let host = Host::start(eager()).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut one, mut other) = (host.connect(&ann).await, host.connect(&bob).await);
    barrier(&mut one, &[&other]).await;
    // What was asked so far is known, and belongs to the past.
    pass(&host, DEFAULT_LEASE, &[&ann, &bob]).await;
    other.ask("getConversations", json!({})).await;
    let active = Some(host.clock.now());
    until("activity to be known", || async { presence(&host, &bob).await.last_active == active }).await;
    pass(&host, Duration::from_secs(330), &[&ann, &bob]).await;
    one.hears("user_idle", |idle| idle["userId"] == *bob).await;
    until("idleness to show", || async {
        presence(&host, &bob).await.status(host.clock.now()) == PresenceStatus::Away
    })
    .await;
    other.ask("getConversations", json!({})).await;
    one.hears("user_online", |back| back["userId"] == *bob && back["status"] == "online").await;
    host.stop().await;
}

async fn an_announcement_that_comes_late_makes_no_ghost() {
    let host = Host::start(Options::default()).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut one, other) = (host.connect(&ann).await, host.connect(&bob).await);
    let conversation = ConversationId::new(one.direct(&bob).await).unwrap();
    let announce = async |cause: &str, event: Event| {
        let envelope = Envelope::new(&[cause], host.clock.now(), event);
        host.chat().ports().publisher.publish_many(&[envelope]).await.unwrap();
    };
    let (user_id, conversations) = (id(&bob), vec![conversation]);
    // What another server saw before bob came back is announced after it.
    let reason = "lapsed".to_owned();
    announce(
        "late",
        PresenceOffline { user_id: user_id.clone(), reason, conversations: conversations.clone() }.into(),
    )
    .await;
    barrier(&mut one, &[&other]).await;
    assert!(one.heard("user_offline").is_empty(), "bob is here");
    drop(other);
    one.hears("user_offline", |gone| gone["userId"] == *bob).await;
    let reason = "connected".to_owned();
    announce("later", PresenceOnline { user_id, reason, conversations }.into()).await;
    let other = host.connect(&fresh("carl")).await;
    barrier(&mut one, &[&other]).await;
    assert!(!one.heard("user_online").iter().any(|online| online["userId"] == *bob), "bob is gone");
    assert_eq!(one.heard("user_offline").len(), 1);
    host.stop().await;
}

async fn who_is_told_of_a_conversation_and_asks_then_misses_no_edge() {
    let mut ann = Client::new(shared(), "ann").await;
    for _ in 0..20 {
        let eve = Client::new(shared(), "eve").await;
        let user = eve.user.clone();
        let made = ann.ask("createGroup", json!({ "name": "A group", "members": [user] })).await;
        // Gone before or after anybody is told of the group.
        drop(eve);
        let asked = json!({ "conversationId": made["conversationId"] });
        ann.hears("conversation:created", |new| new["conversationId"] == made["conversationId"]).await;
        let found = ann.ask("getConversation", asked).await;
        let members = found["conversation"]["participants"].as_array().unwrap();
        let eve = members.iter().find(|member| member["userId"] == *user).unwrap();
        if eve["presence"]["status"] != "offline" {
            ann.hears("user_offline", |gone| gone["userId"] == *user).await;
        }
    }
}
