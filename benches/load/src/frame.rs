//! The packets of Engine.IO v4 and Socket.IO v5, as far as a load needs to read them: no JSON is parsed, since the clients
//! share the machine with the server.

use anyhow::{Context, Result};

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The session is open.
    Open,
    /// Are you there?
    Ping,
    /// The namespace lets the socket in.
    In,
    /// The namespace does not.
    Refused(&'a str),
    /// A message of the load, with its number.
    Message(usize),
    /// A request was answered: its number, and the answer.
    Answer(u64, &'a str),
    /// Anything else.
    Other,
}

/// Between the name of a message's content and the content.
const CONTENT: &str = "\"content\":\"";
/// How many digits a number in a content has.
const DIGITS: usize = 10;

impl<'a> Packet<'a> {
    /// Reads a packet.
    pub(crate) fn read(text: &'a str) -> Self {
        match text.as_bytes() {
            [b'0', ..] => Self::Open,
            [b'2', ..] => Self::Ping,
            [b'4', b'0', ..] => Self::In,
            [b'4', b'4', ..] => Self::Refused(text.get(2..).unwrap_or_default()),
            [b'4', b'2', ..] if text.starts_with("42[\"newMessage\",") => {
                number(text).map_or(Self::Other, Self::Message)
            }
            [b'4', b'3', ..] => answer(text).unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }
}

/// The number in the content of a message.
fn number(text: &str) -> Option<usize> {
    let begin = text.find(CONTENT)? + CONTENT.len();
    text.get(begin..begin + DIGITS)?.parse().ok()
}

fn answer(text: &str) -> Option<Packet<'_>> {
    let (id, said) = text.get(2..)?.split_once('[')?;
    Some(Packet::Answer(id.parse().ok()?, said))
}

/// The content of a message: its number, and a sentence of ordinary length.
pub(crate) fn content(number: usize) -> String {
    format!(
        "{number:0DIGITS$} and so I asked whether anybody would like to have lunch at the usual place at noon"
    )
}

/// The packet that asks to be let in.
pub(crate) fn enter(token: &str) -> String {
    format!("40{{\"token\":\"{token}\"}}")
}

/// The packet that sends a message, and wants to be told.
pub(crate) fn send(id: u64, conversation: &str, number: usize) -> String {
    let content = content(number);
    format!(
        "42{id}[\"sendMessage\",{{\"conversationId\":\"{conversation}\",\"content\":\"{content}\",\"temporaryId\":\"t{number}\"}}]"
    )
}

/// The packet that makes a group, and wants to be told.
pub(crate) fn group(id: u64, members: &[String]) -> String {
    let group = serde_json::json!(["createGroup", { "name": "Load", "members": members }]);
    format!("42{id}{group}")
}

/// The conversation an answer names.
///
/// # Errors
/// When it says no.
pub(crate) fn conversation(answer: &str) -> Result<String> {
    let said: serde_json::Value = serde_json::from_str(answer.strip_suffix(']').unwrap_or(answer))?;
    let id = said.pointer("/data/conversationId").and_then(serde_json::Value::as_str);
    id.map(ToOwned::to_owned).with_context(|| format!("no group was made: {said}"))
}

/// Whether an answer says yes.
pub(crate) fn is_yes(answer: &str) -> bool {
    answer.starts_with("{\"ok\":true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart() {
        assert_eq!(Packet::read("0{\"sid\":\"x\"}"), Packet::Open);
        assert_eq!(Packet::read("2"), Packet::Ping);
        assert_eq!(Packet::read("40{\"sid\":\"y\"}"), Packet::In);
        assert_eq!(Packet::read("44{\"message\":\"no\"}"), Packet::Refused("{\"message\":\"no\"}"));
        assert_eq!(Packet::read("4312[{\"ok\":true}]"), Packet::Answer(12, "{\"ok\":true}]"));
        assert_eq!(Packet::read("42[\"user_online\",{}]"), Packet::Other);
        for broken in ["", "4", "43", "43x[", "42[\"newMessage\",{\"content\":\"12\"}]"] {
            assert_eq!(Packet::read(broken), Packet::Other, "{broken}");
        }
    }

    #[test]
    fn a_message_has_its_number_wherever_its_content_stands() {
        let text =
            format!("42[\"newMessage\",{{\"seq\":4,\"content\":\"{}\",\"type\":\"TEXT\"}}]", content(1_234));
        assert_eq!(Packet::read(&text), Packet::Message(1_234));
    }

    #[test]
    fn what_is_sent_is_json_and_what_is_answered_is_understood() {
        for packet in [send(1, "c", 2), group(1, &["a".to_owned()])] {
            let json = packet.strip_prefix("421").unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
        assert_eq!(conversation("{\"ok\":true,\"data\":{\"conversationId\":\"c\"}}]").unwrap(), "c");
        assert!(conversation("{\"ok\":false,\"error\":{}}]").is_err());
        assert!(is_yes("{\"ok\":true,\"data\":{}}]") && !is_yes("{\"ok\":false}]"));
    }
}
