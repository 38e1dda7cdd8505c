//! What Redis says, as errors of the family: by code, never by text, and without any of the data.

use std::borrow::Cow;

use chat_core::error::{Code, Error};
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::connection::{Access, Down, Operation};

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The server does not know the script: send it along.
    SendSource,
    /// The server refused for now, and nothing happened: ask again.
    Wait,
    /// The connection leads to the wrong server, and nothing happened: make another.
    Redial,
    /// Another node of the cluster serves this slot, and nothing happened: a connection to a cluster finds it.
    Elsewhere,
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
            | Server::ExecAbort,
        ) => Remedy::Wait,
        ErrorKind::Server(Server::Moved | Server::Ask) => Remedy::Elsewhere,
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

/// Whether any of what was asked may have happened although it was answered with this. A script may have done a part of
/// it before it failed, unless it was refused as a whole.
pub(crate) fn may_have_happened(error: &RedisError, script: bool) -> bool {
    match remedy(error) {
        Remedy::Lost => {
            let never_sent = [
                ErrorKind::ClusterConnectionNotFound,
                ErrorKind::MasterNameNotFoundBySentinel,
                ErrorKind::AuthenticationFailed,
            ];
            !error.is_connection_refusal() && !never_sent.contains(&error.kind())
        }
        Remedy::None => {
            let refused = matches!(
                error.kind(),
                ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot)
            ) || matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS" | "NOAUTH"));
            script && !refused
        }
        _ => false,
    }
}

/// Whether the server does not let us in: asking again as the same user changes nothing.
pub(crate) fn is_sign_in(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// What a caller may know of a failure.
pub(crate) enum Failure<'a> {
    /// There was no connection, and why.
    Down(&'a Down),
    /// No reply came in time.
    Silent,
    /// Redis, or the driver, said this.
    Said(&'a RedisError),
}

/// The error of an operation. `begun` says whether any of it may have happened.
pub(crate) fn error(operation: Operation, failure: &Failure<'_>, begun: bool) -> Error {
    let (code, cause) = match failure {
        Failure::Down(down) => (Code::Unavailable, down.cause.as_ref()),
        Failure::Silent => (Code::Timeout, None),
        Failure::Said(said) => (code(said), Some(*said)),
    };
    let unknown = begun && operation.access != Access::Read;
    // Unavailable promises that nothing changed.
    let code = if unknown && code == Code::Unavailable { Code::Timeout } else { code };
    let said = match failure {
        Failure::Down(Down { closed: true, .. }) => Some(Cow::Borrowed("closed")),
        _ => cause.map(category),
    };
    let mut error = Error::new(code).during(operation.name);
    if let Some(said) = said {
        error =
            if code == Code::ConfigInvalid { error.with("reason", format!("Redis: {said}")) } else { error };
        error = error.with("redis", said);
    }
    if unknown { error.effect_unknown() } else { error }
}

fn code(said: &RedisError) -> Code {
    match (said.kind(), said.code()) {
        _ if is_sign_in(said) => Code::ConfigInvalid,
        (ErrorKind::Extension, Some("WRONGTYPE")) => Code::DataCorrupt,
        (ErrorKind::Extension, Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED")) => {
            Code::Unavailable
        }
        (ErrorKind::UnexpectedReturnType, _) => Code::DataCorrupt,
        _ if remedy(said) == Remedy::None => Code::Internal,
        _ => Code::Unavailable,
    }
}

/// The driver's category or the server's code, without its text: that may hold a key or a value.
pub(crate) fn category(said: &RedisError) -> Cow<'_, str> {
    match said.code() {
        Some(code) => Cow::Borrowed(code),
        None => Cow::Owned(said.category().to_owned()),
    }
}

/// A reply that is not of the shape the layout has. `error` must not hold any of the data.
pub(crate) fn corrupt(operation: Operation, error: impl std::fmt::Display) -> Error {
    Error::new(Code::DataCorrupt).during(operation.name).with("reason", error)
}
