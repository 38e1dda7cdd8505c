//! How the server is: health, readiness, metrics.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat_core::domain::ConversationId;
use chat_core::domain::presence::PresenceStats;
use chat_core::error::Result;
use chat_core::event::Topic;
use chat_core::observe::Health;
use chat_core::store::MessageStoreExt;
use chat_core::store::outbox::OutboxStats;
use chat_core::store::users::UserStoreStats;
use chat_core::sync::{RecoveryState, Told};
use chat_streams::{GroupReport, Report, Thresholds, TopicReport};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::metrics;
use crate::recovery;
use crate::wiring::Backends;

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many events may wait to be published before that is worth telling.
const MAX_PENDING: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Degraded,
    Down,
}

#[derive(Debug, Serialize)]
struct Check {
    status: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What was found when everything was asked.
#[derive(Debug)]
struct Found {
    checks: BTreeMap<&'static str, Check>,
    outbox: Option<OutboxStats>,
    presence: Option<PresenceStats>,
    profiles: Option<UserStoreStats>,
    streams: Option<Report>,
}

impl Found {
    fn status(&self) -> Level {
        self.checks.values().map(|check| check.status).max().unwrap_or(Level::Ok)
    }
}

/// `GET /health`
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let found = examine(&app).await;
    let rendered = metrics::recorder().map(|recorder| recorder.render()).unwrap_or_default();
    let mut body = json!({
        "status": found.status(),
        "checks": found.checks,
        "profileCache": {
            "entries": found.profiles.as_ref().map_or(0, |stats| stats.cached),
            "hits": metrics::counted(&rendered, "chat_profile_hits_total"),
            "misses": metrics::counted(&rendered, "chat_profile_misses_total"),
        },
        "sockets": app.sockets.all().len(),
        "uptimeMs": millis(uptime(&app)),
        "version": env!("CARGO_PKG_VERSION"),
    });
    // What is not known is left out.
    let parts = [
        (
            "users",
            found.presence.as_ref().map(|stats| json!({ "online": stats.users, "sessions": stats.sessions })),
        ),
        ("outbox", found.outbox.as_ref().map(|stats| json!({ "pending": stats.pending }))),
        ("streams", found.streams.as_ref().map(streams)),
        ("nodes", app.nodes.known(app.chat.now()).map(|nodes| json!(nodes))),
    ];
    if let Value::Object(body) = &mut body {
        body.extend(parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))));
    }
    let code = if found.status() == Level::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body)).into_response()
}

/// Asks everything the server lives on, and keeps what it answers as metrics.
async fn examine(app: &App) -> Found {
    let ports = app.chat.ports();
    let nowhere = ConversationId::derived(&["health"]);
    let (messages, mut outbox, events, presence, profiles, backends) = tokio::join!(
        check(Level::Down, ports.messages.head(&nowhere)),
        check(Level::Down, ports.outbox.stats()),
        check(Level::Degraded, ports.tail.ends(&[Topic::Conversations])),
        check(Level::Degraded, ports.presence.stats()),
        check(Level::Degraded, ports.users.stats()),
        backends(&app.backends),
    );
    if let (Check { status: status @ Level::Ok, message }, Some(stats)) = (&mut outbox.0, &outbox.1)
        && stats.pending > MAX_PENDING
    {
        *status = Level::Degraded;
        *message = Some(format!("{} events wait to be published", stats.pending));
    }
    let mut checks = BTreeMap::from([
        ("messages", messages.0),
        ("outbox", outbox.0),
        ("events", events.0),
        ("presence", presence.0),
        ("profiles", profiles.0),
    ]);
    checks.extend(backends.checks);
    checks.extend(recovery::told(app).map(|told| ("recovery", recovering(told))));
    for (name, check) in &checks {
        metrics::health(name, check.status as u8);
    }
    if let Some(stats) = &outbox.1 {
        metrics::outbox_pending(stats.pending);
    }
    metrics::uptime(uptime(app));
    Found { checks, outbox: outbox.1, presence: presence.1, profiles: profiles.1, streams: backends.streams }
}

fn uptime(app: &App) -> Duration {
    app.chat.now().since(app.started)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The event log, by topic and group.
fn streams(report: &Report) -> Value {
    let group = |group: &GroupReport| {
        json!({
            "group": group.name,
            "members": group.members,
            "unread": group.unread,
            "pending": group.pending,
            "oldestMs": group.oldest.map(millis),
        })
    };
    let topic = |topic: &TopicReport| {
        json!({
            "topic": topic.topic.as_str(),
            "length": topic.length,
            "maxLength": topic.max_len,
            "deadLetters": topic.dead_letters,
            "groups": topic.groups.iter().map(group).collect::<Vec<_>>(),
        })
    };
    json!({
        "deadLetters": report.dead_letters,
        "topics": report.topics.iter().map(topic).collect::<Vec<_>>(),
    })
}

/// Asks something; a failure counts as `worst`.
async fn check<T>(worst: Level, question: impl Future<Output = Result<T>>) -> (Check, Option<T>) {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => (Check { status: Level::Ok, message: None }, Some(answer)),
        Ok(Err(error)) => (Check { status: worst, message: Some(error.code().to_string()) }, None),
        Err(_) => (Check { status: worst, message: Some("no answer in time".to_owned()) }, None),
    }
}

/// How the backends are.
struct Asked {
    checks: Vec<(&'static str, Check)>,
    streams: Option<Report>,
}

/// Redis holds nothing that is lost for ever: without it the server is degraded, not down. Without the truth it is down.
async fn backends(backends: &Backends) -> Asked {
    let redis = async { Some(asked(Level::Degraded, backends.redis.as_ref()?.service.health()).await) };
    let mongo = async { Some(asked(Level::Down, backends.mongo.as_ref()?.health()).await) };
    let report =
        async { Some(tokio::time::timeout(PATIENCE, backends.events.as_ref()?.look()).await.ok()?.ok()) };
    let (redis, mongo, report) = tokio::join!(redis, mongo, report);
    let report = report.flatten();
    let streams = backends.events.as_ref().map(|_| {
        let health = report.as_ref().map(|report| report.health(&Thresholds::default()));
        told(Level::Degraded, health.unwrap_or(Health::Disconnected))
    });
    let checks = [("redis", redis), ("mongo", mongo), ("streams", streams)];
    let checks = checks.into_iter().filter_map(|(name, check)| Some((name, check?))).collect();
    Asked { checks, streams: report }
}

/// Whether what Redis may have lost is there again.
fn recovering(told: Told) -> Check {
    match told.state {
        RecoveryState::Healthy => Check { status: Level::Ok, message: None },
        state => Check { status: Level::Degraded, message: Some(format!("{state} since {}", told.since)) },
    }
}

/// How a backend is; that it does not answer counts as `worst`.
async fn asked<C: Display>(worst: Level, question: impl Future<Output = Health<C>>) -> Check {
    told(worst, tokio::time::timeout(PATIENCE, question).await.unwrap_or(Health::Disconnected))
}

/// What a backend told; that it does not answer counts as `worst`.
fn told<C: Display>(worst: Level, health: Health<C>) -> Check {
    match health {
        Health::Ok => Check { status: Level::Ok, message: None },
        Health::Degraded(concerns) => {
            let concerns: Vec<String> = concerns.iter().map(ToString::to_string).collect();
            Check { status: Level::Degraded, message: Some(concerns.join("; ")) }
        }
        other => Check { status: worst, message: Some(other.to_string()) },
    }
}

/// `GET /ready`
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = !app.is_draining();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready }))).into_response()
}

/// `GET /metrics`
pub(super) async fn render(State(app): State<Arc<App>>) -> Response {
    match metrics::recorder() {
        Some(recorder) => {
            // So that whoever only looks at metrics knows how the server is, too.
            examine(&app).await;
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render())
                .into_response()
        }
        None => (StatusCode::NOT_FOUND, "the host records metrics itself\n").into_response(),
    }
}
