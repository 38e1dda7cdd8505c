//! In front of Socket.IO: nobody new while draining, nobody who was ended, and which line a session goes over.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use socketioxide::socket::Sid;

use crate::app::App;
use crate::line::Line;

/// Lets a request of Engine.IO through, or not.
pub(super) async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let Some(id) = session(&request) else {
        if app.is_draining() {
            return draining();
        }
        let_go(&mut request);
        return next.run(request).await;
    };
    let known = app.sessions.find(id);
    if known.as_ref().is_some_and(|session| session.is_ended()) {
        return unknown_session();
    }
    let line = request.extensions().get::<ConnectInfo<Line>>().map(|ConnectInfo(line)| line.clone());
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(line) = line {
            // Known or not yet: the sockets of this session will enter it.
            app.sessions.enter(id).goes_over(line);
        }
        return response;
    }
    let Some(session) = known else { return response };
    let (parts, body) = response.into_parts();
    // All of it is there already.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    session.fetched(&body);
    Response::from_parts(parts, body.into())
}

/// Copies the head of a request. The library keeps it as long as the socket lives, and with it would keep all 16 KB of the buffer
/// it was read into.
fn let_go(request: &mut Request) {
    for value in request.headers_mut().values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    if let Ok(copy) = request.uri().to_string().parse() {
        *request.uri_mut() = copy;
    }
}

/// The session a request belongs to; none when it begins one.
fn session(request: &Request) -> Option<Sid> {
    let id = request.uri().query()?.split('&').find_map(|part| part.strip_prefix("sid="))?;
    Sid::from_str(id).ok()
}

fn draining() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "draining").into_response()
}

/// What Engine.IO answers for a session it does not know; clients begin a new one.
fn unknown_session() -> Response {
    let body = r#"{"code":1,"message":"Session ID unknown"}"#;
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
