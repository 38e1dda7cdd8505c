//! Errors as HTTP answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chat_core::error::{Code, Error};
use serde_json::json;

use crate::gateway::answer::{ErrorBody, report, told_code};

/// `{error: {code, message, retryAfterMs?}}` with the code's status.
#[derive(Debug)]
pub(super) struct Problem(Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self(code.into())
    }
}

impl Problem {
    /// A body or query that could not be read.
    pub(super) fn unreadable(reason: &'static str) -> Self {
        Self(Error::invalid(Code::RequestInvalid, reason))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        report("http", &self.0);
        let code = told_code(self.0.code());
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error": ErrorBody::from(&self.0) }))).into_response()
    }
}
