//! What Redis says, as errors of the family: by code, never by text, and without any of the data.

use std::borrow::Cow;

use chat_core::error::{Code, Error};
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::connection::{Access, Operation};

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The server does not know the script: send it along.
    SendSource,
    /// The server refused for now, and nothing happened: ask again.
    Wait,
    /// The connection leads to the wrong server, and nothing happened: make another.
    Redial,
    /// The connection is of no use any more; what was under way may have happened.
    Lost,
    /// Asking again changes nothing.
    None,
}

/// What to do about this failure.
pub(crate) fn remedy(error: &RedisError) -> Remedy {
    use ServerErrorKind as Server;
    match error.kind() {
        ErrorKind::Server(Server::NoScript) => Remedy::SendSource,
        ErrorKind::Server(
            Server::BusyLoading
            | Server::TryAgain
            | Server::ClusterDown
            | Server::MasterDown
            | Server::Moved
            | Server::Ask,
        ) => Remedy::Wait,
        ErrorKind::Server(Server::ReadOnly) => Remedy::Redial,
        ErrorKind::Extension if error.code() == Some("BUSY") => Remedy::Wait,
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::AuthenticationFailed => Remedy::Lost,
        _ => Remedy::None,
    }
}

/// What a caller may know of a failure.
pub(crate) enum Failure<'a> {
    /// There was no connection, and why, if that is known.
    Down(Option<&'a RedisError>),
    /// No reply came in time.
    Silent,
    /// Redis, or the driver, said this.
    Said(&'a RedisError),
}

/// The error of an operation. `begun` says whether any of it may have happened.
pub(crate) fn error(operation: Operation, failure: &Failure<'_>, begun: bool) -> Error {
    let (code, cause) = match failure {
        Failure::Down(cause) => (Code::Unavailable, *cause),
        Failure::Silent => (Code::Timeout, None),
        Failure::Said(said) => (code(said), Some(*said)),
    };
    let unknown = begun && operation.access == Access::Write;
    // Unavailable promises that nothing changed.
    let code = if unknown && code == Code::Unavailable { Code::Timeout } else { code };
    let mut error = Error::new(code).during(operation.name);
    if let Some(cause) = cause {
        error = error.with("redis", category(cause));
    }
    if unknown { error.effect_unknown() } else { error }
}

fn code(said: &RedisError) -> Code {
    match (said.kind(), said.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig, _) => Code::ConfigInvalid,
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Code::ConfigInvalid,
        (ErrorKind::Extension, Some("NOAUTH" | "WRONGPASS")) => Code::ConfigInvalid,
        (ErrorKind::Extension, Some("WRONGTYPE")) => Code::DataCorrupt,
        (ErrorKind::Extension, Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY")) => Code::Unavailable,
        (ErrorKind::UnexpectedReturnType, _) => Code::DataCorrupt,
        _ if remedy(said) == Remedy::None => Code::Internal,
        _ => Code::Unavailable,
    }
}

/// The driver's category or the server's code, without its text: that may hold a key or a value.
fn category(said: &RedisError) -> Cow<'_, str> {
    match said.code() {
        Some(code) => Cow::Borrowed(code),
        None => Cow::Owned(said.category().to_owned()),
    }
}

/// A reply that is not of the shape the layout has.
pub(crate) fn corrupt(operation: Operation, error: impl std::fmt::Display) -> Error {
    Error::new(Code::DataCorrupt).during(operation.name).with("reason", error)
}
