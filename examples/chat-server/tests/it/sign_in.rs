//! Who is let in, and for how long.

use std::time::Duration;

use chat_core::clock::Clock;
use chat_server::Options;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::client::Client;
use crate::host::{Host, SECRET, claims, fresh, token};
use crate::trials;

trials! { "sign_in":
    everything_but_a_good_token_is_refused_with_its_code,
    the_end_of_a_token_ends_its_socket_and_says_so_first,
    a_request_after_the_end_of_its_token_is_refused,
    both_namespaces_may_share_one_transport,
    a_device_introduces_itself_or_is_refused,
    many_sockets_of_one_user_are_one_user,
}

async fn refusal(host: &Host, auth: Value) -> String {
    Client::try_connect(host.address, "/", &auth).await.err().expect("to be refused")
}

async fn everything_but_a_good_token_is_refused_with_its_code() {
    let host = Host::start().await;
    let now = host.clock.now();
    let good = claims("ada", now);
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token(&claims)
    };
    let missing = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        token(&claims)
    };
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token(&good).split('.').nth(1).unwrap());
    let other = |algorithm, secret: &str| {
        jsonwebtoken::encode(&Header::new(algorithm), &good, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let seconds = now.as_millis() / 1_000;
    let cases = [
        (json!({}), "chat.auth.required"),
        (json!({ "token": null }), "chat.auth.required"),
        (json!({ "token": "" }), "chat.auth.required"),
        (json!({ "token": 7 }), "chat.auth.invalid"),
        (json!({ "token": "garbage" }), "chat.auth.invalid"),
        (json!({ "token": unsigned }), "chat.auth.invalid"),
        (json!({ "token": other(Algorithm::HS256, "another secret") }), "chat.auth.invalid"),
        (json!({ "token": other(Algorithm::HS384, SECRET) }), "chat.auth.invalid"),
        (json!({ "token": changed("exp", json!(seconds - 60)) }), "chat.auth.expired"),
        (json!({ "token": changed("aud", json!("others")) }), "chat.auth.invalid"),
        (json!({ "token": changed("iss", json!("others")) }), "chat.auth.invalid"),
        (json!({ "token": changed("nbf", json!(seconds + 60)) }), "chat.auth.invalid"),
        (json!({ "token": changed("sub", json!("two\nlines")) }), "chat.auth.invalid"),
        (json!({ "token": missing("exp") }), "chat.auth.invalid"),
        (json!({ "token": missing("sub") }), "chat.auth.invalid"),
        (json!({ "token": missing("aud") }), "chat.auth.invalid"),
        (json!({ "token": missing("iss") }), "chat.auth.invalid"),
    ];
    for (auth, code) in cases {
        assert_eq!(refusal(&host, auth.clone()).await, code, "{auth}");
    }
    host.stop().await;
}

fn eager() -> Options {
    let mut options = Options::default();
    options.tick = Duration::from_millis(10);
    options
}

async fn the_end_of_a_token_ends_its_socket_and_says_so_first() {
    let host = Host::with(eager(), |chat| chat).await;
    let mut ann = host.connect(&fresh("ann")).await;
    host.clock.advance(Duration::from_secs(3_600));
    ann.done("heartbeat", json!({})).await;
    host.clock.advance(Duration::from_secs(5));
    ann.hears("auth:expired", |payload| *payload == json!({})).await;
    ann.hears("(disconnect)", |_| true).await;
    host.stop().await;
}

async fn a_request_after_the_end_of_its_token_is_refused() {
    // Nobody looks at the clock but the request itself.
    let mut options = Options::default();
    options.tick = Duration::from_secs(3_600);
    let host = Host::with(options, |chat| chat).await;
    let mut ann = host.connect(&fresh("ann")).await;
    host.clock.advance(Duration::from_secs(3_605));
    for event in ["heartbeat", "getConversations", "no:such:event"] {
        assert_eq!(ann.refused(event, json!({})).await, "chat.auth.expired");
    }
    host.stop().await;
}

async fn both_namespaces_may_share_one_transport() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let mut client = Client::transport(host.address, "/").await;
    client.raw(&format!("40{}", json!({ "token": host.token(&ann) }))).await;
    client.raw(&format!("40/chat,{}", json!({ "token": host.token(&bob) }))).await;
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.push(client.frame().await.unwrap());
    }
    frames.sort();
    assert!(frames[0].starts_with("40/chat,{") && frames[1].starts_with("40{"), "{frames:?}");
    // Each namespace has its own identity on it.
    client.raw(r#"420["authenticate",{}]"#).await;
    client.raw(r#"42/chat,0["authenticate",{}]"#).await;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let frame = client.frame().await.unwrap();
        if frame.starts_with("43") {
            answers.push(frame);
        }
    }
    answers.sort();
    assert!(answers[0].contains(&bob) && answers[1].contains(&ann), "{answers:?}");
    host.stop().await;
}

async fn a_device_introduces_itself_or_is_refused() {
    let host = Host::start().await;
    let token = host.token(&fresh("ann"));
    let good = [
        json!({ "id": "phone", "name": "Ann's phone", "platform": "android" }),
        json!({ "id": "a:b*{}" }),
        json!(null),
    ];
    for device in good {
        let auth = json!({ "token": token, "device": device });
        assert!(Client::try_connect(host.address, "/", &auth).await.is_ok(), "{auth}");
    }
    let bad = [
        json!({}),
        json!({ "id": "" }),
        json!({ "id": "x".repeat(129) }),
        json!({ "id": 7 }),
        json!({ "id": "phone", "platform": "toaster" }),
        json!({ "id": "phone", "name": "x".repeat(101) }),
        json!("phone"),
    ];
    for device in bad {
        assert_eq!(refusal(&host, json!({ "token": token, "device": device })).await, "chat.request.invalid", "{device}");
    }
    host.stop().await;
}

async fn many_sockets_of_one_user_are_one_user() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(host.connect(&ann).await);
    }
    let mut b = host.connect(&bob).await;
    b.done("sendMessage", json!({ "receiverId": ann, "content": "to all of you" })).await;
    for device in &mut devices {
        device.hears("newMessage", |message| message["content"] == "to all of you").await;
    }
    drop(devices.split_off(1));
    b.done("sendMessage", json!({ "receiverId": ann, "content": "to the one left" })).await;
    devices[0].hears("newMessage", |message| message["content"] == "to the one left").await;
    assert!(!b.heard.iter().any(|(name, _)| name == "user_offline"));
    drop(devices);
    b.hears("user_offline", |payload| payload["userId"] == ann.as_str()).await;
    host.stop().await;
}
