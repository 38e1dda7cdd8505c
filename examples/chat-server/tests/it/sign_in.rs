//! Who gets in, as whom, and for how long.

use std::path::Path;
use std::time::Duration;

use chat_server::Options;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::client::{Client, text};
use super::support::host::Host;
use super::support::http;
use super::support::run::{trials, within};
use super::support::server::{SECRET, Server, shared};
use super::support::token::{
    SIGNER, SIGNER_PUBLIC, STRANGER, claims, fresh, good, hmac, in_seconds, lacking, rs256, tampered,
    unsigned, with,
};
use super::support::wire::Wire;

trials! {
    every_refusal_has_its_code_in_both_namespaces,
    a_malformed_device_is_refused_and_a_good_one_is_not,
    tokens_signed_with_an_rsa_key_are_checked_with_its_public_part,
    issuer_and_audience_can_be_others,
    a_token_that_ends_takes_its_socket_with_it,
    a_token_within_the_leeway_is_good,
    the_end_of_a_token_is_exact,
    a_request_after_the_end_of_its_token_is_refused,
    identity_comes_only_from_the_token,
    both_namespaces_are_one_chat,
    both_namespaces_go_over_one_connection,
    another_namespace_does_not_exist,
    polling_carries_the_same_chat,
    an_engine_io_that_is_not_spoken_is_refused,
}

/// The code of a refusal.
async fn refusal(server: &Server, namespace: &str, auth: &Value) -> String {
    let mut wire = Wire::open(server.address).await;
    match wire.connect(namespace, auth).await {
        Err(refused) => text(&refused, "message"),
        Ok(_) => panic!("let in with {auth}"),
    }
}

async fn every_refusal_has_its_code_in_both_namespaces() {
    let nobody = "nobody";
    let wanting = [
        ("no token", json!({})),
        ("an empty token", json!({ "token": "" })),
        ("no token but null", json!({ "token": null })),
        ("a name instead", json!({ "userId": nobody })),
    ];
    let invalid = [
        ("garbage", json!("garbage")),
        ("three parts of garbage", json!("gar.ba.ge")),
        ("nobody's signature", json!(unsigned(nobody))),
        ("another's signature", json!(tampered(nobody))),
        ("another secret", json!(hmac(Algorithm::HS256, b"another", &claims(nobody)))),
        ("an empty secret", json!(hmac(Algorithm::HS256, b"", &claims(nobody)))),
        ("another algorithm", json!(hmac(Algorithm::HS512, SECRET.as_bytes(), &claims(nobody)))),
        ("a key instead of a secret", json!(rs256(SIGNER, &claims(nobody)))),
        ("another audience", json!(with(nobody, |claims| claims["aud"] = json!("others")))),
        ("another issuer", json!(with(nobody, |claims| claims["iss"] = json!("others")))),
        ("no end", json!(lacking("exp"))),
        ("no user", json!(lacking("sub"))),
        ("no audience", json!(lacking("aud"))),
        ("no issuer", json!(lacking("iss"))),
        ("an end that is no number", json!(with(nobody, |claims| claims["exp"] = json!("never")))),
        ("not yet", json!(with(nobody, |claims| claims["nbf"] = json!(in_seconds(60))))),
        ("a user that is none", json!(with("", |_| {}))),
        ("a user of 129 bytes", json!(with(&"x".repeat(129), |_| {}))),
        ("a user on two lines", json!(with("a\nb", |_| {}))),
        ("a number", json!(7)),
        ("an object", json!({ "token": good(nobody) })),
    ];
    let late = json!({ "token": with(nobody, |claims| claims["exp"] = json!(in_seconds(-10))) });
    let cases = wanting.map(|(what, auth)| (what, auth, "chat.auth.required")).into_iter();
    let cases =
        cases.chain(invalid.map(|(what, token)| (what, json!({ "token": token }), "chat.auth.invalid")));
    for (what, auth, code) in cases.chain([("expired", late, "chat.auth.expired")]) {
        for namespace in ["/", "/chat"] {
            assert_eq!(refusal(shared(), namespace, &auth).await, code, "{what} in {namespace}");
        }
    }
    // What is sent to connect may also be nothing at all, or no object.
    for auth in ["", "[]", "7", "\"token\""] {
        let mut wire = Wire::open(shared().address).await;
        wire.send(format!("40{auth}")).await;
        let answer = wire.next_text().await;
        assert!(
            answer.is_none_or(|answer| answer.starts_with("44") && answer.contains("chat.auth.")),
            "{auth:?}"
        );
    }
}

async fn a_malformed_device_is_refused_and_a_good_one_is_not() {
    let auth = |device: Value| json!({ "token": good(&fresh("ann")), "device": device });
    let malformed = [
        json!("phone"),
        json!({}),
        json!({ "id": "" }),
        json!({ "id": "x".repeat(129) }),
        json!({ "id": "a\nb" }),
        json!({ "id": 7 }),
        json!({ "id": "phone", "platform": "toaster" }),
        json!({ "id": "phone", "name": "x".repeat(101) }),
        json!({ "id": "phone", "name": 7 }),
    ];
    for device in malformed {
        assert_eq!(refusal(shared(), "/", &auth(device.clone())).await, "chat.request.invalid", "{device}");
    }
    for platform in ["web", "android", "ios", "desktop"] {
        let device = json!({ "id": "a:b *{}", "name": "é".repeat(100), "platform": platform });
        Wire::open(shared().address).await.connect("/", &auth(device)).await.unwrap();
    }
    for device in [json!({ "id": "phone" }), json!(null)] {
        Wire::open(shared().address).await.connect("/", &auth(device)).await.unwrap();
    }
}

async fn tokens_signed_with_an_rsa_key_are_checked_with_its_public_part() {
    let in_a_file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("signer.pub.pem");
    std::fs::write(&in_a_file, SIGNER_PUBLIC).unwrap();
    for key in [SIGNER_PUBLIC, in_a_file.to_str().unwrap()] {
        let server = Server::bare(&["--listen", "127.0.0.1:0", "--jwt-public-key", key], &[]);
        let user = fresh("ann");
        let auth = json!({ "token": rs256(SIGNER, &claims(&user)) });
        let mut ann = Client::at(server.address, "/", &user, &auth).await.unwrap();
        assert_eq!(ann.ask("authenticate", json!({})).await["userId"], *user);
        let wrong = [
            ("another key", rs256(STRANGER, &claims(&user))),
            // The public key is public: whoever takes it for a secret must not believe what it signed.
            ("the public key as a secret", hmac(Algorithm::HS256, SIGNER_PUBLIC.as_bytes(), &claims(&user))),
            ("some secret", good(&user)),
            ("nobody's signature", unsigned(&user)),
        ];
        for (what, token) in wrong {
            assert_eq!(
                refusal(&server, "/", &json!({ "token": token })).await,
                "chat.auth.invalid",
                "{what}"
            );
        }
        let mut late = claims(&user);
        late["exp"] = json!(in_seconds(-10));
        assert_eq!(
            refusal(&server, "/", &json!({ "token": rs256(SIGNER, &late) })).await,
            "chat.auth.expired"
        );
        assert_eq!(http::get(&server, "/dev").await.status, 404);
        server.stop().await;
    }
}

async fn issuer_and_audience_can_be_others() {
    let server = Server::with(&["--jwt-issuer", "host", "--jwt-audience=phones"]);
    let token = with("ann", |claims| {
        claims["iss"] = json!("host");
        claims["aud"] = json!(["watches", "phones"]);
    });
    Client::at(server.address, "/", "ann", &json!({ "token": token })).await.unwrap();
    assert_eq!(refusal(&server, "/", &json!({ "token": good("ann") })).await, "chat.auth.invalid");
    server.stop().await;
}

async fn a_token_that_ends_takes_its_socket_with_it() {
    for namespace in ["/", "/chat"] {
        let user = fresh("ann");
        // It ended three seconds ago, and the leeway is five.
        let token = with(&user, |claims| claims["exp"] = json!(in_seconds(-3)));
        let ann = Client::at(shared().address, namespace, &user, &json!({ "token": token })).await.unwrap();
        let mut bob = Client::new(shared(), "bob").await;
        bob.group(&[&ann]).await;
        assert_eq!(ann.hears("auth:expired", |_| true).await, json!({}));
        ann.dismissed().await;
        bob.hears("user_offline", |gone| gone["userId"] == *user).await;
        // With a fresh one they are back.
        Client::of(shared(), &user).await;
    }
}

async fn a_token_within_the_leeway_is_good() {
    let ended = |ago: i64| json!({ "token": with("ann", |claims| claims["exp"] = json!(in_seconds(-ago))) });
    Wire::open(shared().address).await.connect("/", &ended(2)).await.unwrap();
    assert_eq!(refusal(shared(), "/", &ended(6)).await, "chat.auth.expired");
    // RFC 7519 allows fractions, and lists of audiences.
    let odd = with("ann", |claims| {
        claims["exp"] = json!(in_seconds(60) as f64 + 0.5);
        claims["aud"] = json!(["others", "chat"]);
    });
    Wire::open(shared().address).await.connect("/", &json!({ "token": odd })).await.unwrap();
}

async fn the_end_of_a_token_is_exact() {
    let mut options = Options::default();
    options.tick = Duration::from_millis(10);
    let host = Host::start(options).await;
    let mut ann = host.connect(&fresh("ann")).await;
    host.clock.advance(Duration::from_millis(3_604_999));
    ann.ask("getConversations", json!({})).await;
    host.clock.advance(Duration::from_millis(1));
    ann.hears("auth:expired", |_| true).await;
    ann.dismissed().await;
    assert!(ann.was_dismissed(), "a client that came back by itself would only be refused");
    host.stop().await;
}

async fn a_request_after_the_end_of_its_token_is_refused() {
    // Nobody looks at the clock but the request itself.
    let mut options = Options::default();
    options.tick = Duration::from_secs(3_600);
    let host = Host::start(options).await;
    let mut ann = host.connect(&fresh("ann")).await;
    host.clock.advance(Duration::from_secs(3_605));
    for event in ["heartbeat", "getConversations", "no such event"] {
        assert_eq!(ann.refused(event, json!({})).await, "chat.auth.expired");
    }
    host.stop().await;
}

async fn identity_comes_only_from_the_token() {
    let user = fresh("ann");
    let mut bob = Client::new(shared(), "bob").await;
    let forged = json!({
        "userId": bob.user, "senderId": bob.user, "sub": bob.user, "actorId": bob.user, "sender": { "id": bob.user },
        "createdBy": bob.user, "uploadedBy": bob.user, "deletedBy": bob.user, "editedBy": bob.user, "from": bob.user,
    });
    let forge = |mut payload: Value| {
        payload.as_object_mut().unwrap().extend(forged.as_object().unwrap().clone());
        payload
    };
    let mut auth = forge(json!({ "token": good(&user) }));
    auth["device"] = forge(json!({ "id": "phone" }));
    let mut ann = Client::at(shared().address, "/", &user, &auth).await.unwrap();
    assert_eq!(ann.ask("authenticate", forge(json!({ "token": good(&bob.user) }))).await["userId"], *user);

    let made = ann.ask("createGroup", forge(json!({ "name": "Forged", "members": [bob.user] }))).await;
    let group = text(&made, "conversationId");
    let seen = bob.hears("conversation:created", |made| made["conversationId"] == *group).await;
    assert_eq!(seen["createdBy"], *user);
    let sent = ann.ask("sendMessage", forge(json!({ "conversationId": group, "content": "mine" }))).await;
    assert_eq!(bob.hears_message("mine").await["senderId"], *user);
    let id = &sent["messageId"];
    ann.ask("typing", forge(json!({ "conversationId": group }))).await;
    assert_eq!(bob.hears("userTyping", |_| true).await["userId"], *user);
    ann.ask("stopTyping", forge(json!({ "conversationId": group }))).await;
    assert_eq!(bob.hears("userStoppedTyping", |_| true).await["userId"], *user);
    ann.ask("reactToMessage", forge(json!({ "messageId": id, "emoji": "👍", "on": true }))).await;
    assert_eq!(bob.hears("message:reaction", |_| true).await["userId"], *user);
    ann.ask("editMessage", forge(json!({ "messageId": id, "newContent": "still mine" }))).await;
    assert_eq!(bob.hears("message:edited", |_| true).await["editedBy"], *user);
    ann.ask("updateConversation", forge(json!({ "conversationId": group, "name": "Renamed" }))).await;
    assert_eq!(bob.hears("conversation:updated", |_| true).await["updatedBy"], *user);
    let file = json!({ "conversationId": group, "fileName": "a", "mimeType": "text/plain", "size": 1 });
    let file = ann.ask("registerFile", forge(file)).await;
    assert_eq!(file["file"]["uploadedBy"], *user);
    ann.ask("deleteFile", forge(json!({ "fileId": file["file"]["fileId"] }))).await;
    assert_eq!(bob.hears("file:deleted", |_| true).await["deletedBy"], *user);
    ann.ask("setStatus", forge(json!({ "status": "dnd" }))).await;
    bob.hears("user_online", |online| online["userId"] == *user && online["status"] == "dnd").await;
    ann.ask("markMessageRead", forge(json!({ "conversationId": group, "upToSeq": 1 }))).await;
    let readers = ann.ask("messageReaders", json!({ "messageId": id })).await;
    assert_eq!(readers["readBy"], json!([]), "nobody reads for somebody else");

    // What only somebody else may do stays theirs.
    let theirs = bob.send(&group, "bob's own").await;
    let edit = forge(json!({ "messageId": theirs["messageId"], "newContent": "put into his mouth" }));
    assert_eq!(ann.refused("editMessage", edit).await, "chat.forbidden");
    ann.ask(
        "setUserRole",
        forge(json!({ "conversationId": group, "targetUserId": bob.user, "role": "admin" })),
    )
    .await;
    ann.ask("leaveGroup", forge(json!({ "conversationId": group }))).await;
    assert_eq!(bob.hears("participant:left", |_| true).await["userId"], *user);
    let delete = forge(json!({ "messageId": id, "deleteType": "FOR_EVERYONE" }));
    assert_eq!(ann.refused("deleteMessage", delete).await, "chat.forbidden");
}

async fn both_namespaces_are_one_chat() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = fresh("bob");
    let mut bob = Client::at(shared().address, "/chat", &bob, &json!({ "token": good(&bob) })).await.unwrap();
    let conversation = ann.direct(&bob.user).await;
    bob.hears_message("hello").await;
    bob.send(&conversation, "and back").await;
    ann.hears_message("and back").await;
    assert_eq!(bob.refused("no such event", json!({})).await, "chat.request.unknown");
}

async fn both_namespaces_go_over_one_connection() {
    let mut wire = Wire::open(shared().address).await;
    // One of them refuses what the other accepts.
    let refused = wire.connect("/chat", &json!({})).await.unwrap_err();
    assert_eq!(refused["message"], "chat.auth.required");
    // Each has its own identity.
    let people = [("/", fresh("ann")), ("/chat", fresh("bob"))];
    for (namespace, user) in &people {
        wire.connect(namespace, &json!({ "token": good(user) })).await.unwrap();
    }
    for (namespace, user) in &people {
        let answer = wire.ask_raw(namespace, 3, r#"["authenticate"]"#).await.unwrap();
        assert_eq!(answer["data"]["userId"], **user);
    }
    // One is left; the other goes on.
    wire.send("41").await;
    assert_eq!(wire.ask_raw("/chat", 4, r#"["heartbeat"]"#).await.unwrap()["ok"], true);
}

async fn another_namespace_does_not_exist() {
    for namespace in ["/admin", "/chat/x", "/socket.io", "/{id}"] {
        let mut wire = Wire::open(shared().address).await;
        let refused = wire.connect(namespace, &json!({ "token": good("ann") })).await.unwrap_err();
        assert_eq!(refused["message"], "Invalid namespace", "{namespace}");
    }
}

async fn polling_carries_the_same_chat() {
    let server = shared();
    let path = "/socket.io/?EIO=4&transport=polling";
    let opening = http::get(server, path).await;
    assert_eq!(opening.status, 200);
    let opening: Value = serde_json::from_str(opening.body.strip_prefix('0').unwrap()).unwrap();
    assert_eq!(opening["maxPayload"], 256 * 1024, "{opening}");
    let path = format!("{path}&sid={}", text(&opening, "sid"));
    let say = async |packet: String| {
        let answer = http::request(server, "POST", &path, &[("Content-Type", "text/plain")], &packet).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{packet}");
    };
    let mut packets = Vec::<String>::new();
    // Packets come as they like, pings among them.
    let hear = async |packets: &mut Vec<String>, beginning: &str, part: &str| {
        loop {
            let fits = |packet: &String| packet.starts_with(beginning) && packet.contains(part);
            if let Some(place) = packets.iter().position(fits) {
                return packets.remove(place);
            }
            let answer = http::get(server, &path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            for packet in answer.body.split('\u{1e}') {
                match packet {
                    "2" => say("3".to_owned()).await,
                    packet => packets.push(packet.to_owned()),
                }
            }
        }
    };
    say(format!("40{}", json!({ "token": good(&fresh("ann")) }))).await;
    within("the CONNECT packet", hear(&mut packets, "40{", "sid")).await;
    let mut bob = Client::new(server, "bob").await;
    say(format!("427{}", json!(["sendMessage", { "receiverId": bob.user, "content": "by polling" }]))).await;
    within("the answer", hear(&mut packets, "437[", "\"ok\":true")).await;
    let message = bob.hears_message("by polling").await;
    bob.send(&text(&message, "conversationId"), "to the poller").await;
    within("the message", hear(&mut packets, "42[\"newMessage\"", "to the poller")).await;
    // Nobody comes in with a session nobody knows.
    for sid in ["AAAAAAAAAAAAAAAA", "garbage"] {
        let stranger = http::get(server, &format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).await;
        assert_eq!(stranger.status, 400, "{sid}");
    }
}

async fn an_engine_io_that_is_not_spoken_is_refused() {
    for query in [
        "EIO=3&transport=polling",
        "EIO=4&transport=pigeon",
        "EIO=4",
        "transport=polling",
        "",
        "EIO=%00&transport=polling",
    ] {
        let answer = http::get(shared(), &format!("/socket.io/?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = http::request(shared(), method, "/socket.io/?EIO=4&transport=polling", &[], "").await;
        assert!((400..500).contains(&answer.status), "{method}: {answer:?}");
    }
}
