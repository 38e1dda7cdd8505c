//! T4, the fourth of the traps: peers that do not read. They end by themselves, their users go offline, and nobody else
//! notices.

use std::net::SocketAddr;
use std::time::Duration;

use chat_server::Options;
use serde_json::json;
use tokio::net::TcpSocket;

use super::support::client::{Client, text};
use super::support::host::Host;
use super::support::http;
use super::support::run::{trials, within};
use super::support::server::Server;
use super::support::token::{fresh, good};
use super::support::wire::Wire;

trials! {
    t4_a_peer_that_stops_reading_harms_nobody_and_is_ended,
    t4_a_quiet_peer_that_reads_nothing_is_given_up_by_the_system,
    t4_a_peer_that_does_not_fetch_its_answers_is_ended,
    t4_a_peer_that_answers_no_ping_is_gone_after_the_timeout,
}

/// A socket whose peer does not read: next to nothing fits into its receive buffer.
async fn stuck(address: SocketAddr, token: &str) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let stream = within("a connection", socket.connect(address)).await.unwrap();
    let mut wire = Wire::over(stream, address).await.unwrap();
    wire.sign_in(token).await;
    wire
}

/// 40 KB.
fn long_text() -> String {
    "\u{1d11e}".repeat(10_000)
}

async fn t4_a_peer_that_stops_reading_harms_nobody_and_is_ended() {
    // Eight megabytes wait for one peer, the operating system holds some more.
    const MESSAGES: usize = 400;
    const PROMPT: Duration = Duration::from_secs(5);
    let server = Server::start();
    let mut ann = Client::new(&server, "ann").await;
    let bob = Client::new(&server, "bob").await;
    let sleeper = fresh("sleeper");
    let mut asleep = stuck(server.address, &good(&sleeper)).await;
    let members = json!({ "name": "With one asleep", "members": [bob.user, sleeper] });
    let group = text(&ann.ask("createGroup", members).await, "conversationId");
    let online = ann.ask("getConversationOnlineUsers", json!({ "conversationId": group })).await;
    assert_eq!(online["onlineCount"], 3, "{online}");
    let content = long_text();
    for _ in 0..MESSAGES {
        let seq = ann.send(&group, &content).await["seq"].clone();
        let heard =
            tokio::time::timeout(PROMPT, bob.hears("newMessage", |message| message["seq"] == seq)).await;
        assert!(heard.is_ok(), "message {seq} is late");
    }
    for person in [&ann, &bob] {
        person.hears("user_offline", |gone| gone["userId"] == *sleeper).await;
    }
    assert_eq!(http::get(&server, "/health").await.json()["status"], "ok");
    let metrics = http::get(&server, "/metrics").await.body;
    assert!(metrics.contains("\nchat_sockets 2\n"), "{metrics}");
    // Should it wake up: the connection is gone, and a new one catches up.
    asleep.ended().await;
    let mut awake = Client::of(&server, &sleeper).await;
    assert_eq!(awake.catch_up(&group, 1).await.len(), MESSAGES);
    server.stop().await;
}

async fn t4_a_quiet_peer_that_reads_nothing_is_given_up_by_the_system() {
    // More than the operating system takes.
    const MESSAGES: usize = 200;
    let mut options = Options::default();
    options.user_timeout = Duration::from_millis(1_500);
    // Large enough never to be what ends it.
    options.out_bytes = u64::MAX;
    let host = Host::start(options).await;
    let (mut ann, sleeper) = (host.connect(&fresh("ann")).await, fresh("sleeper"));
    let _asleep = stuck(host.address, &host.token(&sleeper)).await;
    let conversation = ann.direct(&sleeper).await;
    let content = long_text();
    for _ in 0..MESSAGES {
        ann.send(&conversation, &content).await;
    }
    ann.hears("user_offline", |gone| gone["userId"] == *sleeper).await;
    host.stop().await;
}

async fn t4_a_peer_that_does_not_fetch_its_answers_is_ended() {
    const MESSAGES: usize = 50;
    const ASKED: usize = 250;
    let mut options = Options::default();
    options.out_bytes = 1024 * 1024;
    let host = Host::start(options).await;
    let (mut ann, greedy) = (host.connect(&fresh("ann")).await, fresh("greedy"));
    let mut stuck = stuck(host.address, &host.token(&greedy)).await;
    let conversation = ann.direct(&greedy).await;
    let content = "x".repeat(10_000);
    for _ in 0..MESSAGES {
        ann.send(&conversation, &content).await;
    }
    // Each answer is half a megabyte. Nothing is read meanwhile.
    let asked = json!(["messages:fullload", { "conversationId": conversation }]);
    for id in 0..ASKED {
        stuck.send(format!("42{id}{asked}")).await;
    }
    ann.hears("user_offline", |gone| gone["userId"] == *greedy).await;
    ann.ask("heartbeat", json!({})).await;
    host.stop().await;
}

async fn t4_a_peer_that_answers_no_ping_is_gone_after_the_timeout() {
    let mut options = Options::default();
    (options.ping_interval, options.ping_timeout) = (Duration::from_millis(300), Duration::from_millis(300));
    let host = Host::start(options).await;
    let (mut ann, mute) = (host.connect(&fresh("ann")).await, fresh("mute"));
    let _mute = stuck(host.address, &host.token(&mute)).await;
    ann.direct(&mute).await;
    ann.hears("user_offline", |gone| gone["userId"] == *mute).await;
    host.stop().await;
}
