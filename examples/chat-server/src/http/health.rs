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
use chat_core::error::Result;
use chat_core::event::Topic;
use chat_core::observe::Health;
use chat_core::store::MessageStoreExt;
use chat_core::sync::{RecoveryState, Told};
use serde::Serialize;
use serde_json::json;

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

/// `GET /health`
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let ports = app.chat.ports();
    let nowhere = chat_core::domain::ConversationId::derived(&["health"]);
    let (messages, outbox, events, presence, profiles) = tokio::join!(
        check(Level::Down, ports.messages.head(&nowhere)),
        check(Level::Down, ports.outbox.stats()),
        check(Level::Degraded, ports.tail.ends(&[Topic::Conversations])),
        check(Level::Degraded, ports.presence.stats()),
        check(Level::Degraded, ports.users.stats()),
    );
    let entries = profiles.1.as_ref().map_or(0, |stats| stats.cached);
    let mut outbox = outbox;
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
    checks.extend(backends(&app.backends).await);
    checks.extend(recovery::told(&app).map(|told| ("recovery", recovering(told))));
    let status = checks.values().map(|check| check.status).max().unwrap_or(Level::Ok);
    let rendered = metrics::recorder().map(|recorder| recorder.render()).unwrap_or_default();
    let uptime = app.chat.now().since(app.started);
    let body = json!({
        "status": status,
        "checks": checks,
        "profileCache": {
            "entries": entries,
            "hits": metrics::counted(&rendered, "chat_profile_hits_total"),
            "misses": metrics::counted(&rendered, "chat_profile_misses_total"),
        },
        "uptimeMs": u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let code = if status == Level::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body)).into_response()
}

/// Asks something; a failure counts as `worst`.
async fn check<T>(worst: Level, question: impl Future<Output = Result<T>>) -> (Check, Option<T>) {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => (Check { status: Level::Ok, message: None }, Some(answer)),
        Ok(Err(error)) => (Check { status: worst, message: Some(error.code().to_string()) }, None),
        Err(_) => (Check { status: worst, message: Some("no answer in time".to_owned()) }, None),
    }
}

/// Redis holds nothing that is lost for ever: without it the server is degraded, not down. Without the truth it is down.
async fn backends(backends: &Backends) -> impl Iterator<Item = (&'static str, Check)> {
    let redis = async { Some(asked(Level::Degraded, backends.redis.as_ref()?.service.health()).await) };
    let mongo = async { Some(asked(Level::Down, backends.mongo.as_ref()?.health()).await) };
    let streams = async { Some(asked(Level::Degraded, backends.events.as_ref()?.health()).await) };
    let (redis, mongo, streams) = tokio::join!(redis, mongo, streams);
    [("redis", redis), ("mongo", mongo), ("streams", streams)]
        .into_iter()
        .filter_map(|(name, check)| Some((name, check?)))
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
    let health = tokio::time::timeout(PATIENCE, question).await.unwrap_or(Health::Disconnected);
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
pub(super) async fn render() -> Response {
    match metrics::recorder() {
        Some(recorder) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render())
                .into_response()
        }
        None => (StatusCode::NOT_FOUND, "the host records metrics itself\n").into_response(),
    }
}
