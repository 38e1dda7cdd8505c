//! The HTTP side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::client::Client;
use super::support::http::{self, Reply, get, get_as, post, request, send_as};
use super::support::run::{trials, within};
use super::support::server::{Server, folder, shared};
use super::support::token::{self, admin, fresh, good, unsigned};

trials! {
    every_file_of_the_page_has_its_type_and_the_policy,
    nothing_else_is_served,
    health_tells_of_every_part,
    a_server_that_has_announced_itself_is_ready,
    metrics_are_prometheus_text_without_ids,
    anybody_signs_in_by_name_under_dev,
    nobody_signs_in_by_name_without_dev,
    profiles_want_a_good_token,
    profiles_come_one_by_one_and_in_batches,
    a_batch_has_at_most_five_hundred_ids,
    what_is_far_too_large_is_refused_and_harms_nobody,
    profiles_are_changed_by_their_owner_and_by_administrators,
    ids_of_every_kind_have_profiles,
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn assert_is_page(path: &str, answer: &Reply, kind: &str) {
    assert_eq!(answer.status, 200, "{path}");
    let headers = ["content-type", "content-security-policy", "x-content-type-options", "cache-control"];
    let expected =
        [format!("{kind}; charset=utf-8"), POLICY.to_owned(), "nosniff".to_owned(), "no-cache".to_owned()];
    assert_eq!(headers.map(|name| answer.header(name).to_owned()), expected, "{path}");
}

async fn every_file_of_the_page_has_its_type_and_the_policy() {
    let root = folder("web");
    let files = files(&root);
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let path = format!("/{}", file.strip_prefix(&root).unwrap().to_str().unwrap());
        let kind = match file.extension().unwrap().to_str().unwrap() {
            "html" => "text/html",
            "js" => "text/javascript",
            "css" => "text/css",
            "svg" => "image/svg+xml",
            other => panic!("what is a .{other} in {path}?"),
        };
        let answer = get(shared(), &path).await;
        assert_is_page(&path, &answer, kind);
        assert_eq!(answer.body, std::fs::read_to_string(&file).unwrap(), "{path}");
    }
    let index = get(shared(), "/").await;
    assert_is_page("/", &index, "text/html");
    assert_eq!(index.body, std::fs::read_to_string(root.join("index.html")).unwrap());
    let head = request(shared(), "HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

async fn nothing_else_is_served() {
    let paths = [
        "/nothing",
        "/main.js/",
        "/views",
        "/views/",
        "/Cargo.toml",
        "/../Cargo.toml",
        "/views/../../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/web/index.html",
        "//etc/passwd",
        "/main.js%00",
        "/users",
        "/users/",
        "/dev/",
        "/health/x",
        "/socket.io.js",
    ];
    for path in paths {
        let answer = get(shared(), path).await;
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.contains("[package]"), "{path}");
    }
    for (method, path) in [
        ("POST", "/"),
        ("DELETE", "/users/ann"),
        ("POST", "/health"),
        ("PUT", "/dev/token"),
        ("POST", "/metrics"),
    ] {
        let answer = request(shared(), method, path, &[], "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
    }
}

async fn health_tells_of_every_part() {
    let answer = get(shared(), "/health").await;
    let health = answer.json();
    assert_eq!((answer.status, &health["status"]), (200, &json!("ok")), "{health}");
    let checks = health["checks"].as_object().unwrap();
    assert!(!checks.is_empty() && checks.values().all(|check| check["status"] == "ok"), "{health}");
    for field in ["entries", "hits", "misses"] {
        assert!(health["profileCache"][field].is_u64(), "{field}: {health}");
    }
    assert!(health["uptimeMs"].is_u64() && health["version"] == env!("CARGO_PKG_VERSION"), "{health}");
}

async fn a_server_that_has_announced_itself_is_ready() {
    let server = Server::start();
    let answer = get(&server, "/ready").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ready": true })));
    server.stop().await;
}

/// A line of a metric: its name, its labels, its value.
pub(crate) type Sample = (String, Vec<(String, String)>, f64);

pub(crate) fn sample(line: &str) -> Option<Sample> {
    let (name, value) = line.rsplit_once(' ')?;
    let (name, labels) = match name.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (name, ""),
    };
    let named =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':');
    let mut pairs = Vec::new();
    for pair in labels.split_terminator("\",") {
        let (label, value) = pair.split_once("=\"")?;
        pairs.push((label.to_owned(), value.trim_end_matches('"').to_owned()));
    }
    let sound = named(name) && pairs.iter().all(|(label, _)| named(label));
    Some((name.to_owned(), pairs, value.parse().ok()?)).filter(|_| sound)
}

async fn metrics_are_prometheus_text_without_ids() {
    let server = Server::start();
    let mut ann = Client::of(&server, "ann-the-user").await;
    let bob = Client::of(&server, "bob-the-user").await;
    let group = json!({ "name": "a-name", "members": [bob.user], "groupId": "a-group" });
    ann.ask("createGroup", group).await;
    ann.send("a-group", "some-content").await;
    ann.refused("an-event-of-my-own", json!({})).await;
    ann.refused("getConversation", json!({ "conversationId": "another-group" })).await;
    let _ = Client::at(server.address, "/", "eve", &json!({ "token": "garbage-token" })).await;
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");

    let (mut names, mut typed) = (BTreeSet::new(), BTreeSet::new());
    for line in answer.body.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE"].contains(&kind), "{line}");
            if kind == "TYPE" {
                assert!(typed.insert(name.to_owned()), "{name} has two types");
            }
            continue;
        }
        let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("not Prometheus text: {line}"));
        assert!(!value.is_nan(), "{line}");
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        assert!(typed.contains(family) || typed.contains(&name), "no type: {line}");
        for (label, value) in labels {
            assert!(
                ["event", "code", "cause", "check", "le", "quantile", "result", "kind", "status"]
                    .contains(&&*label),
                "what is {label}? {line}"
            );
            assert!(!value.contains("-") || label == "le", "{line}");
        }
        names.insert(name);
    }
    let promised = [
        "chat_sockets",
        "chat_users_online",
        "chat_messages_sent_total",
        "chat_events_total",
        "chat_event_seconds_count",
        "chat_connects_refused_total",
    ];
    for name in promised {
        assert!(names.contains(name), "{name} is missing:\n{}", answer.body);
    }
    for line in [
        "chat_sockets 2",
        "chat_messages_sent_total 1",
        "chat_events_total{event=\"createGroup\",code=\"ok\"} 1",
        "chat_events_total{event=\"unknown\",code=\"chat.request.unknown\"} 1",
        "chat_events_total{event=\"getConversation\",code=\"chat.forbidden\"} 1",
        "chat_connects_refused_total{code=\"chat.auth.invalid\"} 1",
    ] {
        assert!(answer.body.contains(&format!("\n{line}\n")), "{line}:\n{}", answer.body);
    }
    for id in [
        "ann-the-user",
        "bob-the-user",
        "a-name",
        "a-group",
        "some-content",
        "an-event-of-my-own",
        "another-group",
        "garbage-token",
    ] {
        assert!(!answer.body.contains(id), "{id}:\n{}", answer.body);
    }
    server.stop().await;
}

async fn anybody_signs_in_by_name_under_dev() {
    assert_eq!(get(shared(), "/dev").await.status, 204);
    let user = fresh("a:b *{}");
    let answer = post(shared(), "/dev/token", &json!({ "userId": user, "name": "Ann Example" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let mut ann = Client::at(shared().address, "/", &user, &json!({ "token": token })).await.unwrap();
    let me = ann.ask("authenticate", json!({})).await;
    assert_eq!((&me["userId"], &me["name"], &me["roles"]), (&json!(user), &json!("Ann Example"), &json!([])));
    let twelve_hours = token::in_seconds(12 * 60 * 60);
    let profile = get_as(shared(), &format!("/users/{}", escaped(&user)), &token).await.json();
    assert_eq!(profile["fullName"], "Ann Example");
    assert!(me["expiresAt"].is_string() && twelve_hours > 0, "{me}");
    // Signing in once more changes nobody's name.
    post(shared(), "/dev/token", &json!({ "userId": user, "name": "Somebody Else" })).await;
    let profile = get_as(shared(), &format!("/users/{}", escaped(&user)), &token).await.json();
    assert_eq!(profile["fullName"], "Ann Example");

    for (body, code) in [
        (json!({ "userId": "", "name": "x" }), "chat.id.invalid"),
        (json!({ "userId": "x".repeat(129), "name": "x" }), "chat.id.invalid"),
        (json!({ "userId": "a\nb", "name": "x" }), "chat.id.invalid"),
        (json!({ "name": "x" }), "chat.request.invalid"),
        (json!({ "userId": 7, "name": "x" }), "chat.request.invalid"),
        (json!([]), "chat.request.invalid"),
    ] {
        assert_eq!(post(shared(), "/dev/token", &body).await.problem(), (400, code.to_owned()), "{body}");
    }
    let answer = request(shared(), "POST", "/dev/token", &[("Content-Type", "application/json")], "{").await;
    assert_eq!(answer.problem(), (400, "chat.request.invalid".to_owned()));
}

async fn nobody_signs_in_by_name_without_dev() {
    let server = Server::with(&[]);
    assert_eq!(get(&server, "/dev").await.status, 404);
    for body in [json!({ "userId": "ann", "name": "Ann" }), json!({}), json!(null)] {
        let answer = post(&server, "/dev/token", &body).await;
        assert_eq!(answer.status, 404, "{body}");
        assert!(!answer.body.contains("eyJ"), "{answer:?}");
    }
    // Everything else is the same.
    let mut ann = Client::new(&server, "ann").await;
    ann.ask("getConversations", json!({})).await;
    server.stop().await;
}

async fn profiles_want_a_good_token() {
    let late = token::with("ann", |claims| claims["exp"] = json!(token::in_seconds(-10)));
    let headers = [
        (None, "chat.auth.required"),
        (Some("Bearer ".to_owned()), "chat.auth."),
        (Some("garbage".to_owned()), "chat.auth.invalid"),
        (Some("Basic YTpi".to_owned()), "chat.auth.invalid"),
        (Some("Bearer garbage".to_owned()), "chat.auth.invalid"),
        (Some(format!("Bearer {}", unsigned("ann"))), "chat.auth.invalid"),
        (Some(format!("Basic {}", good("ann"))), "chat.auth.invalid"),
        (Some(format!("Bearer {late}")), "chat.auth.expired"),
    ];
    for (header, expected) in headers {
        for (method, path, body) in [
            ("GET", "/batch?ids=ann", ""),
            ("GET", "/users/ann", ""),
            ("PUT", "/users/ann", "{\"fullName\":\"x\"}"),
        ] {
            let mut headers = vec![("Content-Type", "application/json")];
            headers.extend(header.as_deref().map(|header| ("Authorization", header)));
            let (status, code) = request(shared(), method, path, &headers, body).await.problem();
            assert_eq!(status, 401, "{method} {path} {header:?}");
            assert!(code.starts_with(expected), "{method} {path} {header:?}: {code}");
        }
    }
}

/// A user with a profile.
async fn profiled(name: &str) -> (String, String) {
    let user = fresh(name);
    let answer =
        post(shared(), "/dev/token", &json!({ "userId": user, "name": format!("{name} Example") })).await;
    (user, answer.json()["token"].as_str().unwrap().to_owned())
}

/// An id in a path.
fn escaped(id: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    id.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

async fn profiles_come_one_by_one_and_in_batches() {
    let ((ann, token), (bob, _)) = (profiled("ann").await, profiled("bob").await);
    let ghost = fresh("ghost");
    let profile = get_as(shared(), &format!("/users/{bob}"), &token).await;
    assert_eq!(
        (profile.status, &profile.json()["id"], &profile.json()["fullName"]),
        (200, &json!(bob), &json!("bob Example"))
    );
    let missing = get_as(shared(), &format!("/users/{ghost}"), &token).await;
    assert_eq!(missing.problem(), (404, "chat.user.not_found".to_owned()));
    let batch = get_as(shared(), &format!("/batch?ids={ann},{ghost},{bob},{ann}"), &token).await;
    assert_eq!(batch.status, 200);
    let batch = batch.json();
    let mut names: Vec<&Value> =
        batch["users"].as_array().unwrap().iter().map(|user| &user["fullName"]).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, [&json!("ann Example"), &json!("bob Example")]);
    assert_eq!(batch["missing"], json!([ghost]));
    for path in ["/batch", "/batch?ids=", "/batch?other=x"] {
        let answer = get_as(shared(), path, &token).await;
        assert!(
            answer.status == 400 || answer.json() == json!({ "users": [], "missing": [] }),
            "{path}: {answer:?}"
        );
    }
}

async fn a_batch_has_at_most_five_hundred_ids() {
    let (_, token) = profiled("ann").await;
    let ids = |count: usize| (0..count).map(|n| format!("nobody-{n}")).collect::<Vec<_>>().join(",");
    let batch = get_as(shared(), &format!("/batch?ids={}", ids(500)), &token).await;
    assert_eq!(batch.json()["missing"].as_array().unwrap().len(), 500);
    let batch = get_as(shared(), &format!("/batch?ids={}", ids(501)), &token).await;
    assert_eq!(batch.problem(), (400, "chat.request.invalid".to_owned()));
    for id in ["a%0Ab", "%00", &"x".repeat(129)] {
        let batch = get_as(shared(), &format!("/batch?ids={id}"), &token).await;
        assert_eq!(batch.problem(), (400, "chat.id.invalid".to_owned()), "{id}");
        let one = get_as(shared(), &format!("/users/{id}"), &token).await;
        assert_eq!(one.problem(), (400, "chat.id.invalid".to_owned()), "{id}");
    }
}

async fn what_is_far_too_large_is_refused_and_harms_nobody() {
    let (ann, token) = profiled("ann").await;
    let (path, bearer) = (format!("/users/{ann}"), format!("Bearer {token}"));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    // A server does not read on once it has said no, so the answer may be lost with the connection.
    let answered = async |method: &str, path: &str, body: &str| {
        within("an answer", async {
            loop {
                let reply = http::try_request(shared().address, method, path, &headers, body).await;
                if let Some(reply) = reply {
                    return reply;
                }
            }
        })
        .await
    };
    let ids = (0..10_000).map(|n| format!("nobody-{n}")).collect::<Vec<_>>().join(",");
    let refused = answered("GET", &format!("/batch?ids={ids}"), "").await;
    assert!((400..=499).contains(&refused.status), "{refused:?}");
    let huge = json!({ "fullName": "x".repeat(70_000) }).to_string();
    let refused = answered("PUT", &path, &huge).await;
    assert_eq!(refused.problem(), (413, "chat.payload.too_large".to_owned()));
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let refused = answered("PUT", &path, &deep).await;
    assert_eq!(refused.problem(), (400, "chat.request.invalid".to_owned()));
    let profile = get_as(shared(), &path, &token).await;
    assert_eq!((profile.status, &profile.json()["fullName"]), (200, &json!("ann Example")));
}

async fn profiles_are_changed_by_their_owner_and_by_administrators() {
    let ((ann, token), (_, bobs)) = (profiled("ann").await, profiled("bob").await);
    let path = format!("/users/{ann}");
    let put = async |token: &str, body: Value| send_as(shared(), "PUT", &path, token, &body).await;
    let changed = put(
        &token,
        json!({ "fullName": "Ann E.", "ministere": "Culture", "id": "bob", "updatedAt": "never" }),
    )
    .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!((&changed.json()["id"], &changed.json()["fullName"]), (&json!(ann), &json!("Ann E.")));
    let cleared = put(&token, json!({ "ministere": null })).await.json();
    assert_eq!((cleared["ministere"].as_str(), &cleared["fullName"]), (None, &json!("Ann E.")));
    let theirs = put(&bobs, json!({ "fullName": "Hacked" })).await;
    assert_eq!(theirs.problem(), (403, "chat.forbidden".to_owned()));
    for body in [json!([]), json!({ "fullName": 7 }), json!("x")] {
        assert_eq!(
            put(&token, body.clone()).await.problem(),
            (400, "chat.request.invalid".to_owned()),
            "{body}"
        );
    }
    for name in [String::new(), "x".repeat(1_000)] {
        let refused = put(&token, json!({ "fullName": name })).await;
        assert_eq!(refused.problem(), (422, "chat.user.invalid".to_owned()), "{} characters", name.len());
    }
    let by_admin = put(&admin(&fresh("root")), json!({ "fullName": "By an administrator" })).await;
    assert_eq!(by_admin.json()["fullName"], "By an administrator");
    // One that is not there yet is made, and needs a name.
    let nobody = fresh("nobody");
    let own = async |body: Value| {
        send_as(shared(), "PUT", &format!("/users/{nobody}"), &good(&nobody), &body).await
    };
    assert_eq!(own(json!({ "sexe": "F" })).await.problem(), (404, "chat.user.not_found".to_owned()));
    assert_eq!(http::get_as(shared(), &format!("/users/{nobody}"), &token).await.status, 404);
    assert_eq!(own(json!({ "fullName": "Somebody" })).await.json()["fullName"], "Somebody");
}

async fn ids_of_every_kind_have_profiles() {
    for name in ["a:b", "a*b", "{a}", "a b", "a/b", "a%b", "a,b", "é?#&=+", "..", "👩‍💻"] {
        let (user, token) = profiled(name).await;
        let profile = get_as(shared(), &format!("/users/{}", escaped(&user)), &token).await;
        assert_eq!((profile.status, &profile.json()["id"]), (200, &json!(user)), "{name}");
        let batch = get_as(shared(), &format!("/batch?ids={}", escaped(&user)), &token).await.json();
        assert_eq!(batch["users"][0]["id"], *user, "{name}");
    }
}
