//! Profiles: the routes of seed 002.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{Actor, UserId, UserProfile};
use chat_core::error::{Code, Error};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::problem::Problem;
use crate::app::App;
use crate::options::MAX_EVENT;

/// The most profiles of one batch.
const MAX_BATCH: usize = 500;

/// Who asks, by the bearer token.
pub(super) struct Caller(Actor);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(Code::AuthRequired)?;
        let (scheme, token) =
            header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Code::AuthInvalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Code::AuthInvalid.into());
        }
        let identity = app.auth.verify(token.trim(), app.chat.now())?;
        Ok(Self(Actor::user(identity.user).with_role(identity.role)))
    }
}

/// `GET /batch?ids=a,b`
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    _: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let query = query.unwrap_or_default();
    let ids = query.split('&').find_map(|part| part.strip_prefix("ids=")).unwrap_or_default();
    // Commas separate before anything is decoded: an id may hold one, written as %2C.
    let mut users = Vec::new();
    for id in ids.split(',').filter(|id| !id.is_empty()) {
        let id =
            percent_decode_str(id).decode_utf8().map_err(|_| Problem::unreadable("an id is not UTF-8"))?;
        users.push(UserId::new(id)?);
    }
    if users.len() > MAX_BATCH {
        return Err(Problem::unreadable("more than 500 ids"));
    }
    users.sort_unstable();
    users.dedup();
    let profiles = app.chat.profiles(&users).await?;
    let missing: Vec<&UserId> =
        profiles.iter().zip(&users).filter(|(profile, _)| profile.is_none()).map(|(_, id)| id).collect();
    Ok(Json(json!({ "users": profiles.iter().flatten().collect::<Vec<_>>(), "missing": missing })))
}

/// `GET /users/{id}`
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<UserProfile>, Problem> {
    let profiles = app.chat.profiles(&[UserId::new(id)?]).await?;
    Ok(Json(profiles.into_iter().flatten().next().ok_or(Code::UserNotFound)?))
}

/// `PUT /users/{id}`
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Json<UserProfile>, Problem> {
    let user = UserId::new(id)?;
    let mut fields = match body {
        Ok(Json(Value::Object(fields))) => fields,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Error::new(Code::PayloadTooLarge).with("max", MAX_EVENT).into());
        }
        _ => return Err(Problem::unreadable("the body is no JSON object")),
    };
    // What names the user, or is the server's to say, counts for nothing.
    fields.retain(|field, _| {
        ["fullName", "avatar", "matricule", "ministere", "sexe"].contains(&field.as_str())
    });
    let update: ProfileUpdate = serde_json::from_value(Value::Object(fields))
        .map_err(|_| Problem::unreadable("a field has the wrong type"))?;
    Ok(Json(app.chat.update_profile(&actor, &user, &update).await?))
}
