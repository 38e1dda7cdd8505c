//! Events go past the queue of the library beneath whenever it is empty, and through it otherwise: a peer hears them whole, in
//! order, each once, however often it changes from one to the other.

use std::net::SocketAddr;

use chat_server::Options;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::support::client::{Client, text};
use super::support::host::Host;
use super::support::http;
use super::support::run::{trials, within};
use super::support::server::shared;
use super::support::token::{fresh, good};
use super::support::wire::{Frame, Wire, prefix};

trials! {
    a_peer_that_reads_late_hears_everything_in_order,
    two_namespaces_on_one_websocket_both_hear_everything_in_order,
    a_session_that_moves_to_a_websocket_hears_everything_in_order,
    answers_nobody_asked_for_do_not_wait_for_the_peer,
}

/// The places of the new messages among frames of a namespace.
fn seqs<'a>(frames: impl IntoIterator<Item = &'a String>, namespace: &str) -> Vec<u64> {
    let beginning = format!("42{}[\"newMessage\",", prefix(namespace));
    let payload = |frame: &'a String| frame.strip_prefix(&beginning)?.strip_suffix(']');
    let seq = |payload| serde_json::from_str::<Value>(payload).unwrap()["seq"].as_u64().unwrap();
    frames.into_iter().filter_map(payload).map(seq).collect()
}

/// Listens until so many new messages were heard in each of these namespaces; answers all frames.
async fn listen(wire: &mut Wire, messages: usize, namespaces: &[&str]) -> Vec<String> {
    let mut frames = Vec::new();
    let mut missing: Vec<usize> = vec![messages; namespaces.len()];
    while missing.iter().any(|missing| *missing > 0) {
        let Some(Frame::Text(text)) = wire.next().await else {
            panic!("it hung up, {missing:?} are missing")
        };
        for (missing, namespace) in missing.iter_mut().zip(namespaces) {
            *missing -= usize::from(text.starts_with(&format!("42{}[\"newMessage\"", prefix(namespace))));
        }
        frames.push(text);
    }
    frames
}

/// The places of so many messages.
fn all(messages: usize) -> Vec<u64> {
    (1..=messages as u64).collect()
}

/// A session whose peer takes little before it reads.
async fn narrow(address: SocketAddr) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let stream = within("a connection", socket.connect(address)).await.unwrap();
    Wire::over(stream, address).await.unwrap()
}

async fn a_peer_that_reads_late_hears_everything_in_order() {
    // Twice: more than the operating system takes, so that a frame is cut in the middle and others wait in the queue.
    const MESSAGES: usize = 300;
    let mut options = Options::default();
    options.out_bytes = u64::MAX;
    let host = Host::start(options).await;
    let (mut ann, late) = (host.connect(&fresh("ann")).await, fresh("late"));
    let mut wire = narrow(host.address).await;
    wire.sign_in(&host.token(&late)).await;
    let conversation = ann.direct(&late).await;
    let content = "\u{1d11e}".repeat(10_000);
    let mut heard = listen(&mut wire, 1, &["/"]).await;
    for _ in 0..2 {
        for _ in 0..MESSAGES {
            ann.send(&conversation, &content).await;
        }
        heard.extend(listen(&mut wire, MESSAGES, &["/"]).await);
    }
    for text in ["and", "then", "nothing", "waits"] {
        ann.send(&conversation, text).await;
        heard.extend(listen(&mut wire, 1, &["/"]).await);
    }
    assert_eq!(seqs(&heard, "/"), all(1 + 2 * MESSAGES + 4));
    host.stop().await;
}

async fn two_namespaces_on_one_websocket_both_hear_everything_in_order() {
    const MESSAGES: usize = 200;
    let server = shared();
    let (mut ann, both) = (Client::new(server, "ann").await, fresh("both"));
    let mut wire = Wire::open(server.address).await;
    wire.sign_in(&good(&both)).await;
    wire.connect("/chat", &json!({ "token": good(&both) })).await.unwrap();
    let conversation = ann.direct(&both).await;
    let sending = async {
        for number in 0..MESSAGES {
            ann.send(&conversation, &number.to_string()).await;
        }
    };
    let ((), heard) = tokio::join!(sending, listen(&mut wire, 1 + MESSAGES, &["/", "/chat"]));
    assert_eq!([seqs(&heard, "/"), seqs(&heard, "/chat")], [all(1 + MESSAGES), all(1 + MESSAGES)]);
}

async fn a_session_that_moves_to_a_websocket_hears_everything_in_order() {
    const MESSAGES: usize = 300;
    /// How many polls there are before it moves.
    const POLLS: usize = 5;
    let server = shared();
    let (mut ann, mover) = (Client::new(server, "ann").await, fresh("mover"));
    let path = "/socket.io/?EIO=4&transport=polling";
    let opening = http::get(server, path).await.body;
    let opening: Value = serde_json::from_str(opening.strip_prefix('0').unwrap()).unwrap();
    let sid = text(&opening, "sid");
    let path = format!("{path}&sid={sid}");
    let enter = format!("40{}", json!({ "token": good(&mover) }));
    http::request(server, "POST", &path, &[("Content-Type", "text/plain")], &enter).await;
    let mut heard: Vec<String> = Vec::new();
    while !heard.iter().any(|packet| packet.starts_with("40{")) {
        heard.extend(http::get(server, &path).await.body.split('\u{1e}').map(ToOwned::to_owned));
    }
    let conversation = ann.direct(&mover).await;
    let sending = async {
        for number in 0..MESSAGES {
            ann.send(&conversation, &number.to_string()).await;
        }
    };
    let moving = async {
        for _ in 0..POLLS {
            heard.extend(http::get(server, &path).await.body.split('\u{1e}').map(ToOwned::to_owned));
        }
        let mut wire = Wire::take_over(server.address, &sid).await;
        let left = 1 + MESSAGES - seqs(&heard, "/").len();
        heard.extend(listen(&mut wire, left, &["/"]).await);
    };
    tokio::join!(sending, moving);
    assert_eq!(seqs(&heard, "/"), all(1 + MESSAGES));
}

async fn answers_nobody_asked_for_do_not_wait_for_the_peer() {
    const ASKED: usize = 1_000;
    let mut options = Options::default();
    options.out_bytes = 10_000;
    let host = Host::start(options).await;
    let mut wire = Wire::open(host.address).await;
    wire.sign_in(&host.token(&fresh("ann"))).await;
    for _ in 0..ASKED {
        wire.send("42[\"heartbeat\",{}]").await;
    }
    // Once there is room in its queue again.
    let answered = async {
        let mut id = 0;
        loop {
            id += 1;
            let answer = wire.ask_raw("/", id, "[\"heartbeat\",{}]").await.expect("it was not cut");
            if answer["ok"] == true {
                return;
            }
        }
    };
    within("an answer", answered).await;
    host.stop().await;
}
