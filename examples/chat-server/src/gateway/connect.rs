//! Letting sockets in: who they are, what they are concerned with, and what becomes of what they send.
//!
//! Everything is in place before the CONNECT packet leaves: a handler registered later would miss what a fast client
//! sends at once. That makes this a connect middleware.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{Actor, Device, SessionId, UserId};
use chat_core::error::{Code, Error, Result};
use chat_core::store::conversations::ConversationFilter;
use serde::Deserialize;
use serde_json::Value as Json;
use socketioxide::SocketIo;
use socketioxide::TransportType;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, FromConnectParts, Value};
use socketioxide::socket::Socket;
use tokio::sync::mpsc;

use super::answer::{report, told_code};
use super::conn::{Arrival, Conn};
use super::dispatch;
use super::queue::Intake;
use super::session::Session;
use super::sockets::Joined;
use crate::app::App;
use crate::auth::Identity;
use crate::line::Line;
use crate::metrics;

/// The namespaces: the same chat under both names.
pub(crate) const NAMESPACES: [&str; 2] = ["/", "/chat"];

/// Opens the namespaces.
pub(crate) fn open(io: &SocketIo, app: &Arc<App>) {
    for namespace in NAMESPACES {
        let admitting = Arc::clone(app);
        let admit = move |peer: Peer, auth: Auth| async move { admit(admitting, peer.0, auth.0).await };
        // Runs once the CONNECT packet is on its way.
        let welcome = async |peer: Peer| {
            if let Some(conn) = peer.0.extensions.get::<Arc<Conn>>() {
                conn.welcome();
            }
        };
        io.ns(namespace, welcome.with(admit));
    }
}

/// The socket itself, which no extractor of the library hands out.
struct Peer(Arc<Socket>);

impl FromConnectParts<LocalAdapter> for Peer {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(socket)))
    }
}

/// The text of the CONNECT packet's payload.
struct Auth(Option<String>);

impl FromConnectParts<LocalAdapter> for Auth {
    type Error = Infallible;

    fn from_connect_parts(_: &Arc<Socket>, auth: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(auth.as_ref().and_then(Value::as_str).map(|text| text.as_str().to_owned())))
    }
}

/// Why a socket was not let in: the bare code is all a client is told.
#[derive(Debug)]
struct Refusal(Code);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

async fn admit(app: Arc<App>, socket: Arc<Socket>, auth: Option<String>) -> Result<(), Refusal> {
    match try_admit(&app, &socket, auth.as_deref()).await {
        Ok(()) => Ok(()),
        Err(error) => {
            report("connect", &error);
            let code = told_code(error.code());
            metrics::refused(code);
            Err(Refusal(code))
        }
    }
}

async fn try_admit(app: &Arc<App>, socket: &Arc<Socket>, auth: Option<&str>) -> Result<()> {
    if app.is_draining() {
        return Err(Code::ServerDraining.into());
    }
    let (identity, device) = identify(app, auth)?;
    name(app, &identity).await;
    let session = app.sessions.enter(socket.id);
    find_line(socket, &session);
    let lease = SessionId::from_uuid(uuid::Uuid::new_v4());
    let actor = Actor { user: identity.user.clone(), session: Some(lease), role: identity.role };
    let arrival =
        Arrival { id: app.next_conn(), actor, identity, device, session, out_bytes: app.options.out_bytes };
    let conn = Arc::new(Conn::new(arrival, socket));
    app.arrive(&conn);
    if let Err(error) = arrive(app, &conn).await {
        app.leave(&conn).await;
        return Err(error);
    }
    receive(app, socket, conn);
    Ok(())
}

/// Who it is, and on what device.
fn identify(app: &App, auth: Option<&str>) -> Result<(Identity, Option<Device>)> {
    let auth: Json =
        auth.map_or(Ok(Json::Null), serde_json::from_str).map_err(|_| Error::new(Code::AuthInvalid))?;
    let token = match auth.get("token") {
        None | Some(Json::Null) => "",
        Some(Json::String(token)) => token.as_str(),
        Some(_) => return Err(Code::AuthInvalid.into()),
    };
    let identity = app.auth.verify(token, app.chat.now())?;
    Ok((identity, device(auth.get("device"))?))
}

/// What a client says about its device.
fn device(said: Option<&Json>) -> Result<Option<Device>> {
    let malformed = |_| Error::invalid(Code::RequestInvalid, "malformed device");
    let device: Option<Device> = said.map_or(Ok(None), Deserialize::deserialize).map_err(malformed)?;
    let Some(device) = device else { return Ok(None) };
    let known = |platform: &String| ["web", "android", "ios", "desktop"].contains(&platform.as_str());
    if !device.platform.as_ref().is_none_or(known) {
        return Err(Error::invalid(Code::RequestInvalid, "unknown platform"));
    }
    if device.name.as_ref().is_some_and(|name| name.chars().count() > 100) {
        return Err(Error::invalid(Code::RequestInvalid, "a device's name has at most 100 characters"));
    }
    Ok(Some(device))
}

/// The token's name becomes that of a user who has none yet. Nobody is turned away for a name.
async fn name(app: &App, identity: &Identity) {
    if let Some(name) = &identity.name
        && let Err(error) = app.chat.ensure_profile(&identity.user, name).await
    {
        tracing::debug!(code = %error.code(), "a profile could not be made from a token");
    }
}

/// The line of a session that began as a WebSocket. One that is upgraded later is found by the HTTP side.
fn find_line(socket: &Socket, session: &Session) {
    let request = socket.req_parts();
    let at_once =
        request.uri.query().is_some_and(|query| query.split('&').any(|part| part == "transport=websocket"));
    if at_once
        && socket.transport_type() == TransportType::Websocket
        && let Some(ConnectInfo(line)) = request.extensions.get::<ConnectInfo<Line>>()
    {
        session.goes_over(line.clone());
    }
}

/// The socket's user is here, and gets what happens in its conversations.
async fn arrive(app: &App, conn: &Conn) -> Result<()> {
    let joined = joined(app, conn.user()).await;
    app.sockets.settle(conn, joined.as_deref().unwrap_or_default());
    joined?;
    match app.chat.connect(&conn.actor, conn.device.clone()).await {
        // Presence is away, and nobody is turned away for it: the heartbeat says that they are here when it is back.
        Err(error) if error.is_transient() => report("connect", &error),
        answer => answer.map(drop)?,
    }
    Ok(())
}

/// The conversations of a user.
async fn joined(app: &App, user: &UserId) -> Result<Vec<Joined>> {
    let (mut joined, mut page) = (Vec::new(), Page::first(MAX_PAGE));
    loop {
        let found = app.chat.ports().conversations.list(user, &ConversationFilter::default(), &page).await?;
        joined.extend(found.items.into_iter().map(|membership| Joined {
            size: u64::from(membership.conversation.member_count),
            conversation: membership.conversation.id,
        }));
        match found.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(joined),
        }
    }
}

/// What the socket sends goes into its queue from now on, and its end is noticed.
fn receive(app: &Arc<App>, socket: &Socket, conn: Arc<Conn>) {
    let (queue, waiting) = mpsc::channel(app.options.queue);
    socket.on_fallback(Intake::new(Arc::clone(&conn), queue, Arc::clone(&app.open)));
    socket.extensions.insert(Arc::clone(&conn));
    let (leaving, gone) = (Arc::clone(app), Arc::clone(&conn));
    socket.on_disconnect(move || async move { leaving.leave(&gone).await });
    tokio::spawn(dispatch::serve(Arc::clone(app), conn, waiting));
}
