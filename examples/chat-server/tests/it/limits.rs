//! Sizes and rates: what is too much is refused, or ends the one socket that sent it.

use std::time::Duration;

use chat_server::Options;
use serde_json::json;

use super::support::client::{Client, barrier, code};
use super::support::host::Host;
use super::support::http;
use super::support::run::trials;
use super::support::server::shared;
use super::support::token::{fresh, good};
use super::support::wire::Wire;

trials! {
    an_event_above_sixty_four_kibibytes_is_refused_and_the_socket_stays,
    a_frame_above_two_hundred_and_fifty_six_kibibytes_ends_its_socket_alone,
    a_polling_body_above_the_limit_is_refused,
    an_http_body_above_the_limit_is_refused,
    a_full_queue_answers_at_once_and_empties_again,
    a_user_sends_three_thousand_messages_a_minute_on_all_devices_together,
    a_socket_asks_six_thousand_things_a_minute_and_heartbeats_are_free,
    the_wait_a_refusal_names_is_enough,
    a_repeated_message_costs_nothing_and_another_one_of_its_name_does,
}

const KIB: usize = 1024;

/// `["sendMessage", …]` with exactly this many bytes.
fn event_of(bytes: usize) -> String {
    let frame =
        |filler: &str| format!(r#"["sendMessage",{{"conversationId":"nowhere","content":"{filler}"}}]"#);
    frame(&"x".repeat(bytes - frame("").len()))
}

async fn an_event_above_sixty_four_kibibytes_is_refused_and_the_socket_stays() {
    let mut ann = Client::new(shared(), "ann").await;
    for bytes in [64 * KIB + 1, 100 * KIB, 255 * KIB] {
        assert_eq!(ann.refused_raw(&event_of(bytes)).await, "chat.payload.too_large", "{bytes}");
    }
    // What is just small enough is looked at.
    assert_ne!(ann.refused_raw(&event_of(64 * KIB)).await, "chat.payload.too_large");
    ann.ask("heartbeat", json!({})).await;
}

async fn a_frame_above_two_hundred_and_fifty_six_kibibytes_ends_its_socket_alone() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    for bytes in [257 * KIB, 1_024 * KIB, 10_000 * KIB] {
        let user = fresh("eve");
        let eve = Client::of(shared(), &user).await;
        ann.group(&[&eve]).await;
        eve.raw(format!("42{}", event_of(bytes))).await;
        eve.closed().await;
        ann.hears("user_offline", |gone| gone["userId"] == *user).await;
        barrier(&mut ann, &[&bob]).await;

        // The same in one binary frame that nobody asked for.
        let mut wire = Wire::open(shared().address).await;
        wire.sign_in(&good(&fresh("eve"))).await;
        wire.send_binary(vec![0; bytes]).await;
        wire.ended().await;
    }
    assert!(!ann.is_closed() && !bob.is_closed());
    assert_eq!(http::get(shared(), "/health").await.json()["status"], "ok");
}

async fn a_polling_body_above_the_limit_is_refused() {
    let opening = http::get(shared(), "/socket.io/?EIO=4&transport=polling").await;
    let opening: serde_json::Value = serde_json::from_str(&opening.body[1..]).unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", opening["sid"].as_str().unwrap());
    let body = format!("42{}", event_of(1_024 * KIB));
    let answer =
        http::try_request(shared().address, "POST", &path, &[("Content-Type", "text/plain")], &body).await;
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
    let mut ann = Client::new(shared(), "ann").await;
    ann.ask("heartbeat", json!({})).await;
}

async fn an_http_body_above_the_limit_is_refused() {
    let body = json!({ "userId": fresh("ann"), "name": "x".repeat(1_024 * KIB) }).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = http::try_request(shared().address, "POST", "/dev/token", &headers, &body).await;
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
}

async fn a_full_queue_answers_at_once_and_empties_again() {
    const EVENTS: usize = 3_000;
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let group = ann.group(&[&bob]).await;
    for n in 0..30 {
        ann.send(&group, &format!("word {n}")).await;
    }
    // Slow enough to answer that they pile up.
    let mut asked = Vec::new();
    for _ in 0..EVENTS {
        asked.push(ann.emit("search", &json!({ "text": "word", "limit": 50 })).await);
    }
    let mut full = 0;
    for id in asked {
        let answer = ann.ack(id).await;
        if answer["ok"] == false {
            assert_eq!(code("search", &answer), "chat.queue.full");
            full += 1;
        }
    }
    assert!(full > 0, "{EVENTS} at once never filled a queue of 256");
    assert!(EVENTS - full >= 256);
    ann.ask("heartbeat", json!({})).await;
}

/// Keeps what is unanswered below what fills a queue.
const POLITE: usize = 64;

async fn a_user_sends_three_thousand_messages_a_minute_on_all_devices_together() {
    const LIMIT: usize = 3_000;
    const MORE: usize = 100;
    let user = fresh("ann");
    let mut devices = [Client::of(shared(), &user).await, Client::of(shared(), &user).await];
    let bob = Client::new(shared(), "bob").await;
    let group = devices[0].group(&[&bob]).await;
    let payload = json!({ "conversationId": group, "content": "one of many" });
    let mut asked = Vec::new();
    let (mut sent, mut limited) = (0, Vec::new());
    for n in 0..LIMIT + MORE + POLITE {
        if n < LIMIT + MORE {
            let id = devices[n % 2].emit("sendMessage", &payload).await;
            asked.push((n % 2, id));
        }
        if let Some((device, id)) = n.checked_sub(POLITE).map(|earlier| asked[earlier]) {
            match devices[device].ack(id).await {
                answer if answer["ok"] == true => sent += 1,
                answer => limited.push(answer),
            }
        }
    }
    assert_eq!((sent, limited.len()), (LIMIT, MORE));
    for answer in limited {
        assert_eq!(code("sendMessage", &answer), "chat.rate_limited");
        let wait = answer["error"]["retryAfterMs"].as_u64().unwrap();
        assert!((1..=61_000).contains(&wait), "{wait}");
    }
    let head = devices[1].ask("getConversation", json!({ "conversationId": group })).await;
    assert_eq!(
        head["conversation"]["headSeq"],
        LIMIT + 1,
        "nothing that was refused happened; one tells of the group"
    );
    // Everything else goes on, and so do others.
    devices[0].ask("typing", json!({ "conversationId": group })).await;
    barrier(&mut Client::new(shared(), "carl").await, &[&bob]).await;
}

async fn a_socket_asks_six_thousand_things_a_minute_and_heartbeats_are_free() {
    const LIMIT: usize = 6_000;
    const MORE: usize = 50;
    let mut ann = Client::new(shared(), "ann").await;
    for _ in 0..10 {
        ann.ask("heartbeat", json!({})).await;
        ann.ask("ping", json!({})).await;
    }
    let mut asked = Vec::new();
    let mut codes = Vec::new();
    for n in 0..LIMIT + MORE + POLITE {
        if n < LIMIT + MORE {
            // Asking for what is not there counts, too.
            asked.push(ann.emit("no such event", &json!({})).await);
        }
        if let Some(id) = n.checked_sub(POLITE).map(|earlier| asked[earlier]) {
            codes.push(code("no such event", &ann.ack(id).await));
        }
    }
    assert!(codes[..LIMIT].iter().all(|code| code == "chat.request.unknown"));
    assert!(codes[LIMIT..].iter().all(|code| code == "chat.rate_limited"));
    ann.ask("heartbeat", json!({})).await;
    let mut other = Client::of(shared(), &ann.user).await;
    other.ask("getConversations", json!({})).await;
}

async fn the_wait_a_refusal_names_is_enough() {
    let mut options = Options::default();
    options.messages.max = 5;
    let host = Host::start(options).await;
    let mut ann = host.connect(&fresh("ann")).await;
    let message = json!({ "receiverId": fresh("bob"), "content": "x" });
    for _ in 0..5 {
        ann.ask("sendMessage", message.clone()).await;
        host.clock.advance(Duration::from_secs(1));
    }
    let refused = ann.answer("sendMessage", message.clone()).await;
    assert_eq!(code("sendMessage", &refused), "chat.rate_limited");
    let wait = refused["error"]["retryAfterMs"].as_u64().unwrap();
    host.clock.advance(Duration::from_millis(wait));
    ann.ask("sendMessage", message.clone()).await;
    assert_eq!(
        ann.refused("sendMessage", message).await,
        "chat.rate_limited",
        "one place was free, not more"
    );
    host.stop().await;
}

async fn a_repeated_message_costs_nothing_and_another_one_of_its_name_does() {
    let mut options = Options::default();
    options.messages.max = 3;
    let host = Host::start(options).await;
    let mut ann = host.connect(&fresh("ann")).await;
    let to = |other: &str| json!({ "receiverId": other, "content": "x", "temporaryId": "t" });
    let others = ["bob", "carl", "dora", "eve"].map(fresh);
    let first = ann.ask("sendMessage", to(&others[0])).await;
    for _ in 0..5 {
        let again = ann.ask("sendMessage", to(&others[0])).await;
        assert_eq!(again["messageId"], first["messageId"]);
    }
    for other in &others[1..3] {
        ann.ask("sendMessage", to(other)).await;
    }
    assert_eq!(ann.refused("sendMessage", to(&others[3])).await, "chat.rate_limited");
    ann.ask("sendMessage", to(&others[0])).await;
    host.stop().await;
}
