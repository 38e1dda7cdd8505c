//! What passes beside the requests and their answers: nobody waits for it, so it is neither counted nor hit.

use std::collections::HashSet;

use super::Protocol;
use crate::server::op_msg::Message;

/// What is under way beside the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The messages whose answers are no answers to a request.
    ids: HashSet<usize>,
}

impl Beside {
    /// Whether this, which goes to the server, is no request.
    pub(super) fn sends(&mut self, protocol: Protocol, bytes: &[u8]) -> bool {
        let message = Message::new(bytes);
        if protocol != Protocol::Mongo {
            return false;
        }
        if message.has_more_to_come() {
            return true;
        }
        let is_hello = message.is_hello();
        if is_hello {
            self.ids.extend(message.id());
        }
        is_hello
    }

    /// Whether this, which comes from the server, is an answer to what was no request.
    pub(super) fn receives(&mut self, protocol: Protocol, bytes: &[u8]) -> bool {
        let message = Message::new(bytes);
        if protocol != Protocol::Mongo || !message.answers().is_some_and(|id| self.ids.remove(&id)) {
            return false;
        }
        if message.has_more_to_come() {
            self.ids.extend(message.id());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::op_msg::{Document, encode};

    /// A message with this number, which answers that one.
    fn message(name: &str, id: u8, answers: u8, more: bool) -> Vec<u8> {
        let mut bytes = encode("admin", &Document::new().int(name, 1));
        (bytes[4], bytes[8], bytes[16]) = (id, answers, if more { 2 } else { 0 });
        bytes
    }

    #[test]
    fn answers_that_follow_each_other_belong_to_one_question() {
        let mut beside = Beside::default();
        assert!(beside.sends(Protocol::Mongo, &message("hello", 1, 0, false)));
        assert!(!beside.sends(Protocol::Mongo, &message("ping", 2, 0, false)));
        assert!(beside.receives(Protocol::Mongo, &message("ok", 101, 1, true)));
        assert!(beside.receives(Protocol::Mongo, &message("ok", 102, 101, true)));
        assert!(!beside.receives(Protocol::Mongo, &message("ok", 103, 2, false)), "the answer to the ping");
        assert!(beside.receives(Protocol::Mongo, &message("ok", 104, 102, false)));
        assert!(
            !beside.receives(Protocol::Mongo, &message("ok", 105, 104, false)),
            "there was no more to come"
        );
        assert!(beside.ids.is_empty());
    }

    #[test]
    fn what_wants_no_answer_is_no_request() {
        let mut beside = Beside::default();
        assert!(beside.sends(Protocol::Mongo, &message("insert", 1, 0, true)));
        assert!(beside.ids.is_empty());
    }

    #[test]
    fn only_this_protocol_has_such_things() {
        let mut beside = Beside::default();
        assert!(!beside.sends(Protocol::Any, &message("hello", 1, 0, false)));
        assert!(!beside.receives(Protocol::Any, &message("ok", 101, 1, false)));
    }
}
