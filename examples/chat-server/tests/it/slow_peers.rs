//! T4: peers that do not read. They end by themselves, their user goes offline, and nobody else notices.

use std::time::Duration;

use chat_server::Options;
use serde_json::json;

use crate::client::{Client, within};
use crate::host::{Host, fresh, user};
use crate::trials;

trials! { "slow_peers":
    a_peer_that_never_reads_is_cut_while_others_get_everything,
    a_quiet_peer_that_reads_nothing_is_given_up_by_the_system,
    a_peer_that_does_not_fetch_its_answers_is_cut,
    a_peer_that_answers_no_ping_is_gone_after_the_timeout,
}

async fn goes_offline(host: &Host, name: &str) {
    let presence = &host.chat().ports().presence;
    within(&format!("{name} to go offline"), async {
        while presence.are_online(&[user(name)]).await.unwrap() == [true] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn a_peer_that_never_reads_is_cut_while_others_get_everything() {
    let mut options = Options::default();
    options.out_bytes = 1024 * 1024;
    let host = Host::with(options, |chat| chat).await;
    let (ann, bob, sleeper) = (fresh("ann"), fresh("bob"), fresh("sleeper"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    let asleep = host.connect(&sleeper).await;
    let made = a.done("createGroup", json!({ "name": "A group", "members": [bob, sleeper] })).await;
    let group = made["conversationId"].as_str().unwrap();
    // More than the buffers of both systems hold, whatever they are tuned to.
    let text = "z".repeat(10_000);
    let listening = tokio::spawn(async move {
        for _ in 0..2_000 {
            b.hears("newMessage", |message| message["type"] == "TEXT").await;
        }
        b.hears("user_offline", |_| true).await
    });
    for _ in 0..2_000 {
        a.done("sendMessage", json!({ "conversationId": group, "content": text })).await;
    }
    goes_offline(&host, &sleeper).await;
    assert_eq!(within("bob", listening).await.unwrap()["userId"], sleeper.as_str());
    let mut awake = host.connect(&sleeper).await;
    let page = awake.done("messages:fullload", json!({ "conversationId": group, "limit": 1 })).await;
    assert_eq!(page["messages"][0]["content"], text.as_str(), "the same person is served on another socket");
    drop(asleep);
    host.stop().await;
}

async fn a_quiet_peer_that_reads_nothing_is_given_up_by_the_system() {
    let mut options = Options::default();
    options.user_timeout = Duration::from_millis(1_500);
    // Large enough to never be what ends it.
    options.out_bytes = u64::MAX;
    let host = Host::with(options, |chat| chat).await;
    let (ann, sleeper) = (fresh("ann"), fresh("sleeper"));
    let mut a = host.connect(&ann).await;
    let asleep = host.connect(&sleeper).await;
    let text = "z".repeat(10_000);
    for _ in 0..1_000 {
        a.done("sendMessage", json!({ "receiverId": sleeper, "content": text })).await;
    }
    goes_offline(&host, &sleeper).await;
    drop(asleep);
    host.stop().await;
}

async fn a_peer_that_does_not_fetch_its_answers_is_cut() {
    let mut options = Options::default();
    options.out_bytes = 1024 * 1024;
    let host = Host::with(options, |chat| chat).await;
    let (ann, greedy) = (fresh("ann"), fresh("greedy"));
    let mut a = host.connect(&ann).await;
    let text = "z".repeat(10_000);
    let mut conversation = json!(null);
    for _ in 0..100 {
        conversation = a.done("sendMessage", json!({ "receiverId": greedy, "content": text })).await["conversationId"].clone();
    }
    let mut g = host.connect(&greedy).await;
    let asking = tokio::spawn(async move {
        // Each answer is a megabyte. Nothing is read meanwhile.
        for _ in 0..2_000 {
            g.emit("messages:fullload", &json!({ "conversationId": conversation, "limit": 100 })).await;
        }
        g
    });
    goes_offline(&host, &greedy).await;
    asking.abort();
    a.done("heartbeat", json!({})).await;
    host.stop().await;
}

async fn a_peer_that_answers_no_ping_is_gone_after_the_timeout() {
    let mut options = Options::default();
    (options.ping_interval, options.ping_timeout) = (Duration::from_millis(200), Duration::from_millis(200));
    let host = Host::with(options, |chat| chat).await;
    let silent = fresh("silent");
    let client = Client::try_connect(host.address, "/", &json!({ "token": host.token(&silent) })).await.unwrap();
    goes_offline(&host, &silent).await;
    drop(client);
    host.stop().await;
}
