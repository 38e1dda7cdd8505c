//! Signing in by name, under `--dev` only.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chat_core::domain::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use crate::app::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignIn {
    user_id: String,
    name: Option<String>,
}

/// `GET /dev`: whether anybody may sign in by name.
pub(super) async fn offered(State(app): State<Arc<App>>) -> StatusCode {
    if app.options.dev { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// `POST /dev/token`
pub(super) async fn token(
    State(app): State<Arc<App>>,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Response {
    if !app.options.dev {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(Json(SignIn { user_id, name })) = body else {
        return Problem::unreadable("the body is no {userId, name}").into_response();
    };
    sign_in(&app, &user_id, name.as_deref()).await.into_response()
}

async fn sign_in(app: &App, user: &str, name: Option<&str>) -> Result<Json<Value>, Problem> {
    let user = UserId::new(user)?;
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = name {
        app.chat.ensure_profile(&user, name).await?;
    }
    Ok(Json(json!({ "token": app.auth.issue(&user, name, app.chat.now())? })))
}
