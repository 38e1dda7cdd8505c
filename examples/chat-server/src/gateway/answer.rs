//! What is said back: `{ok: true, data}` or `{ok: false, error}`.

use chat_core::error::{Code, Error, ErrorKind, Locale, Result};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// What a request answers: its `data`, written.
pub(crate) type Answer = Result<Box<RawValue>>;

/// An answer with this data.
///
/// # Errors
/// [`Code::Internal`] for what cannot be written.
pub(crate) fn done(data: impl Serialize) -> Answer {
    to_raw_value(&data).map_err(|error| Error::new(Code::Internal).during("answer").caused_by(error))
}

/// An acknowledgement.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Ack<'a> {
    Done { ok: bool, data: &'a RawValue },
    Refused { ok: bool, error: ErrorBody },
}

/// An error as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody {
    /// For programs.
    pub(crate) code: &'static str,
    /// For people.
    message: String,
    /// When trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        let error = &told(error);
        Self {
            code: error.code().as_str(),
            message: error.message(Locale::En),
            retry_after_ms: error
                .retry_after()
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)),
        }
    }
}

/// An error as a client is told it: nothing of the inside, and nothing about what it may not see.
fn told(error: &Error) -> Error {
    let code = told_code(error.code());
    let mut told = Error::new(code);
    if code == error.code() {
        for name in ["reason", "max", "min"] {
            if let Some(value) = error.detail(name) {
                told = told.with(name, value);
            }
        }
    }
    match error.retry_after() {
        Some(after) => told.retry_in(after),
        None => told,
    }
}

/// The code a client is told.
pub(crate) fn told_code(code: Code) -> Code {
    match code {
        Code::ConversationNotFound | Code::RoomNotFound => Code::Forbidden,
        Code::CacheKey => Code::Internal,
        code => match code.kind() {
            ErrorKind::Corrupt | ErrorKind::Config | ErrorKind::Unsupported | ErrorKind::Internal => {
                Code::Internal
            }
            _ => code,
        },
    }
}

/// Writes an acknowledgement.
pub(crate) fn written(answer: &Answer) -> Option<Box<RawValue>> {
    let ack = match answer {
        Ok(data) => Ack::Done { ok: true, data },
        Err(error) => Ack::Refused { ok: false, error: error.into() },
    };
    to_raw_value(&ack).ok()
}

/// A defect is for the log, with its cause; what was asked is not in it.
pub(crate) fn report(event: &'static str, error: &Error) {
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Config | ErrorKind::Unsupported => {
            tracing::error!(event, ?error, "a request failed");
        }
        ErrorKind::Unavailable | ErrorKind::Timeout if error.code() != Code::ServerDraining => {
            tracing::warn!(event, code = %error.code(), "a request could not be served");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn value(answer: Answer) -> Value {
        serde_json::from_str(written(&answer).unwrap().get()).unwrap()
    }

    #[test]
    fn answers_have_the_form_of_the_contract() {
        assert_eq!(value(done(json!({ "a": 1 }))), json!({ "ok": true, "data": { "a": 1 } }));
        let refused = Error::new(Code::RateLimited).retry_in(Duration::from_millis(1_500));
        let error = json!({ "code": "chat.rate_limited", "message": "Too many messages. Try again in 2 s.", "retryAfterMs": 1_500 });
        assert_eq!(value(Err(refused)), json!({ "ok": false, "error": error }));
    }

    #[test]
    fn nothing_of_the_inside_is_told() {
        let inside =
            Error::new(Code::DataCorrupt).with("reason", "row 7").caused_by(std::io::Error::other("secret"));
        assert_eq!(value(Err(inside))["error"]["code"], "chat.internal");
        let unseen = Error::new(Code::ConversationNotFound).with("conversation", "c1");
        let told = value(Err(unseen)).to_string();
        assert!(told.contains("chat.forbidden") && !told.contains("c1"), "{told}");
    }
}
