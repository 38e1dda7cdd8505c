//! The HTTP side: Socket.IO's requests, the page, health, profiles.

mod dev;
mod gate;
mod health;
mod page;
mod problem;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use engineioxide::service::NotFoundService;
use socketioxide::service::SocketIoService;

use crate::app::App;
use crate::options::MAX_EVENT;

/// Every route.
pub(crate) fn router(app: &Arc<App>, socket_io: SocketIoService<NotFoundService>) -> Router {
    let gate = middleware::from_fn_with_state(Arc::clone(app), gate::gate);
    let socket_io = Router::new()
        .route_service("/socket.io", socket_io.clone())
        .route_service("/socket.io/", socket_io)
        .layer(gate);
    Router::new()
        .route("/", get(page::index))
        .route("/{*path}", get(page::file))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::render))
        .route("/dev", get(dev::offered))
        .route("/dev/token", post(dev::token))
        .route("/batch", get(users::batch))
        .route("/users/{id}", get(users::get).put(users::put))
        .layer(DefaultBodyLimit::max(MAX_EVENT))
        .with_state(Arc::clone(app))
        .merge(socket_io)
}
