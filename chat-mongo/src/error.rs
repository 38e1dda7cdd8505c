//! What MongoDB says, as errors of the family: by code and label, never by text, and without any of the data.

use chat_core::error::{Code, Error};
use mongodb::error::{Error as Said, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::operation::Operation;

/// The largest document, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server, or the driver, said this.
    Said(Said),
    /// A rule of the port refused it: nothing happened.
    Refused(Error),
    /// Another writer was in the way: nothing happened, and it is to be attempted again.
    InTheWay,
}

impl From<Said> for Trouble {
    fn from(said: Said) -> Self {
        Self::Said(said)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Code> for Trouble {
    fn from(code: Code) -> Self {
        Self::Refused(code.into())
    }
}

impl From<mongodb::bson::error::Error> for Trouble {
    fn from(error: mongodb::bson::error::Error) -> Self {
        // The driver's words hold the data.
        tracing::debug!(error = ?error.kind, "a document has another shape");
        Self::Refused(Error::new(Code::DataCorrupt).with("reason", "a document has another shape"))
    }
}

/// The server's code, wherever the driver put it.
pub(crate) fn code(said: &Said) -> Option<i32> {
    match said.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => match (&error.write_errors, &error.write_concern_error) {
            (Some(errors), _) if !errors.is_empty() => errors.first().map(|error| error.code),
            (_, Some(error)) => Some(error.code),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a unique index refused a document.
pub(crate) fn is_duplicate(said: &Said) -> bool {
    code(said) == Some(11_000)
}

/// Whether the whole transaction may simply be tried again.
pub(crate) fn is_transient(said: &Said) -> bool {
    // A conflict outside a transaction has the code alone.
    said.contains_label(TRANSIENT_TRANSACTION_ERROR) || code(said) == Some(112)
}

/// Said when the role of a server changes, or it shuts down, in the middle of something.
const ROLE_CODES: [i32; 4] = [91, 189, 11_600, 11_602];

/// Refused before anything was done.
const REFUSED_ROLE_CODES: [i32; 4] = [10_058, 10_107, 13_435, 13_436];

/// The error of an operation.
pub(crate) fn error(operation: Operation, trouble: Trouble) -> Error {
    let said = match trouble {
        Trouble::Refused(error) => return error.during(operation.name),
        Trouble::InTheWay => return Error::new(Code::Unavailable).during(operation.name),
        Trouble::Said(said) => said,
    };
    let (kind, may_have_happened) = meaning(&said);
    let unknown = may_have_happened && operation.writes;
    // Unavailable promises that nothing changed.
    let kind = if unknown && kind == Code::Unavailable { Code::Timeout } else { kind };
    let mut error = Error::new(kind).during(operation.name);
    error = match kind {
        Code::PayloadTooLarge => error.with("max", MAX_DOCUMENT),
        Code::ConfigInvalid => error.with("reason", format!("MongoDB: {}", category(&said))),
        _ => error,
    };
    error = error.with("mongo", category(&said));
    if unknown { error.effect_unknown() } else { error }
}

/// No answer came within the time an operation has.
pub(crate) fn silent(operation: Operation) -> Error {
    let error = Error::new(Code::Timeout).during(operation.name);
    if operation.writes { error.effect_unknown() } else { error }
}

/// A stored document that cannot be what it is said to be.
pub(crate) fn corrupt(reason: &'static str) -> Error {
    Error::new(Code::DataCorrupt).with("reason", reason)
}

/// What went wrong, and whether it may have happened nevertheless. What is not known is permanent.
fn meaning(said: &Said) -> (Code, bool) {
    match said.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::InvalidResponse { .. } => {
            (Code::Unavailable, true)
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Shutdown => {
            (Code::Unavailable, false)
        }
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::SessionsNotSupported
        | ErrorKind::IncompatibleServer { .. } => (Code::ConfigInvalid, false),
        ErrorKind::Bson(_) => (Code::DataCorrupt, false),
        _ => of_code(code(said), is_transient(said)),
    }
}

fn of_code(code: Option<i32>, transient: bool) -> (Code, bool) {
    match code {
        Some(11_000) => (Code::Conflict, false),
        Some(13 | 18 | 8_000) => (Code::ConfigInvalid, false),
        Some(10_334 | 17_280 | 17_419 | 17_420) => (Code::PayloadTooLarge, false),
        Some(14_031) => (Code::Unavailable, false),
        Some(code) if REFUSED_ROLE_CODES.contains(&code) => (Code::Unavailable, false),
        Some(code) if ROLE_CODES.contains(&code) => (Code::Unavailable, true),
        // Too slow, or not acknowledged by enough members: it may be there.
        Some(24 | 50 | 64 | 89 | 100 | 262) => (Code::Timeout, true),
        _ if transient => (Code::Unavailable, false),
        _ => (Code::Internal, false),
    }
}

/// What the server calls it, without its text: that may hold a key or a value.
fn category(said: &Said) -> String {
    if let Some(code) = code(said) {
        return code.to_string();
    }
    let name = match said.kind.as_ref() {
        ErrorKind::Io(error) => return error.kind().to_string(),
        ErrorKind::ServerSelection { .. } => "no server",
        ErrorKind::ConnectionPoolCleared { .. } => "connection lost",
        ErrorKind::Authentication { .. } => "authentication failed",
        ErrorKind::DnsResolve { .. } => "name not found",
        ErrorKind::InvalidTlsConfig { .. } => "TLS",
        ErrorKind::SessionsNotSupported => "sessions are not supported",
        ErrorKind::IncompatibleServer { .. } => "the server is too old",
        ErrorKind::InvalidResponse { .. } => "not an answer",
        ErrorKind::Bson(_) => "not a document of this shape",
        ErrorKind::Shutdown => "closed",
        _ => "driver",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use chat_core::error::Effect;

    use super::*;

    #[test]
    fn codes_tell_what_to_do() {
        let of = |code| of_code(Some(code), false);
        assert_eq!(of(11_000), (Code::Conflict, false));
        assert_eq!(of(10_107), (Code::Unavailable, false), "refused by a secondary");
        assert_eq!(of(11_602), (Code::Unavailable, true), "interrupted by a change of role");
        assert_eq!(of(64), (Code::Timeout, true), "the write concern was not reached in time");
        assert_eq!(of(10_334), (Code::PayloadTooLarge, false));
        assert_eq!(of(4_242), (Code::Internal, false), "what is not known is permanent");
        assert_eq!(of_code(Some(112), true), (Code::Unavailable, false));
    }

    #[test]
    fn a_lost_connection_leaves_a_write_unknown() {
        let lost = || Trouble::Said(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        let write = error(Operation::write("messages.append"), lost());
        assert_eq!((write.code(), write.effect()), (Code::Timeout, Effect::Unknown));
        let read = error(Operation::read("messages.history"), lost());
        assert_eq!((read.code(), read.effect()), (Code::Unavailable, Effect::None));
        assert!(read.is_transient());
    }
}
