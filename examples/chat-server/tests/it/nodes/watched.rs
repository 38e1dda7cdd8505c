//! What two servers on real backends export: everything says what it is, and what went wrong is there to be seen.

use std::collections::{BTreeMap, BTreeSet};

use chat_server::metrics::{ALL, Kind};
use libtest_mimic::Trial;
use serde_json::json;

use super::world::{World, trial, until};
use crate::it::routes::{Sample, sample};
use crate::it::support::client::Client;
use crate::it::support::http;
use crate::it::support::server::Server;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("what_is_exported_is_described_and_tells_of_an_outage", watched)]
}

/// All samples, after a look at what is said about them.
async fn scrape(server: &Server) -> Vec<Sample> {
    let text = http::get(server, "/metrics").await.body;
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeMap::new());
    for comment in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let words: Vec<_> = comment.split(' ').collect();
        match words[0] {
            "HELP" => drop(helped.insert(words[1].to_owned())),
            _ => drop(typed.insert(words[1].to_owned(), words[2].to_owned())),
        }
    }
    for (name, kind) in typed.iter().filter(|(name, _)| name.starts_with("chat_")) {
        assert!(helped.contains(name), "{name} does not say what it is");
        let metric =
            ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} is not known"));
        let expected = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(kind, expected, "{name}");
    }
    let samples: Vec<Sample> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(sample).collect();
    for (name, labels, _) in &samples {
        let metric = ALL.iter().find(|metric| {
            name == metric.name
                || metric.kind == Kind::Histogram && name.starts_with(&format!("{}_", metric.name))
        });
        let known = metric.unwrap_or_else(|| panic!("{name} is not known")).labels;
        for (label, _) in labels.iter().filter(|(label, _)| label != "le") {
            assert!(known.contains(&label.as_str()), "{name} has {label}");
        }
    }
    samples
}

/// The sum of what has this name and these labels; nothing when there is none.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |have: &[(String, String)]| {
        labels.iter().all(|(label, value)| have.iter().any(|(one, other)| one == label && other == value))
    };
    let found: Vec<f64> =
        samples.iter().filter(|(one, have, _)| one == name && fits(have)).map(|(.., value)| *value).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

async fn watched(world: World) {
    let (one, other) = (&world.nodes[0], &world.nodes[1]);
    let (mut ann, bob) = (Client::new(one, "ann").await, Client::new(other, "bob").await);
    let group = ann.group(&[&bob]).await;
    ann.send(&group, "hello").await;
    bob.hears_message("hello").await;

    let complete = || async {
        let samples = scrape(one).await;
        let has = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels).is_some();
        ["chat_stream_length", "chat_stream_bytes", "chat_dead_letters"].iter().all(|name| has(name, &[]))
            && ["chat_stream_unread", "chat_stream_pending", "chat_stream_oldest_seconds"]
                .iter()
                .all(|name| has(name, &[("group", "derive")]))
    };
    until("the monitor to have looked", complete).await;
    let samples = scrape(one).await;
    for check in ["messages", "outbox", "events", "presence", "profiles", "redis", "mongo", "streams"] {
        assert_eq!(value(&samples, "chat_health", &[("check", check)]), Some(0.0), "{check}");
    }
    assert_eq!(value(&samples, "chat_messages_sent_total", &[]), Some(1.0));
    assert_eq!(value(&samples, "chat_relay_failures_total", &[]), Some(0.0), "known before it rises");
    assert_eq!(value(&samples, "chat_sockets_cut_total", &[("cause", "overflow")]), Some(0.0));
    assert!(value(&samples, "chat_outbox_pending", &[]).is_some());
    assert!(value(&samples, "chat_uptime_seconds", &[]) > Some(0.0));
    assert!(value(&samples, "chat_redis_connected", &[]) > Some(0.0));
    for backend in ["mongo", "redis"] {
        let labels = [("backend", backend), ("outcome", "ok")];
        assert!(value(&samples, "chat_operation_seconds_bucket", &labels) > Some(0.0), "{backend}");
    }

    let health = http::get(other, "/health").await.json();
    assert_eq!(
        (&health["sockets"], &health["users"]),
        (&json!(1), &json!({ "online": 2, "sessions": 2 })),
        "{health}"
    );
    assert!(health["outbox"]["pending"].is_u64(), "{health}");
    assert_eq!(health["streams"]["deadLetters"], 0, "{health}");
    let topics = health["streams"]["topics"].as_array().unwrap();
    let derive = topics
        .iter()
        .flat_map(|topic| topic["groups"].as_array().unwrap())
        .find(|group| group["group"] == "derive");
    assert!(derive.is_some_and(|group| group["pending"].is_u64()), "{health}");

    world.redis().kill();
    let told = || async {
        let samples = scrape(one).await;
        value(&samples, "chat_health", &[("check", "redis")]) == Some(1.0)
            && value(&samples, "chat_redis_connected", &[]) == Some(0.0)
    };
    until("the outage to be exported", told).await;
    assert_eq!(value(&scrape(one).await, "chat_health", &[("check", "mongo")]), Some(0.0));
    let health = http::get(one, "/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    world.redis().restart();
    until("all to be well", || async { http::get(one, "/health").await.json()["status"] == "ok" }).await;
    until("that to be exported", || async {
        value(&scrape(one).await, "chat_health", &[("check", "redis")]) == Some(0.0)
    })
    .await;
    drop((ann, bob));
    world.end().await;
}
