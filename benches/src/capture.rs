//! What an operation sends, learnt from the server: so the raw driver sends the very same.

use std::future::Future;
use std::ops::Range;

use chat_core::clock::{Clock, SystemClock};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::Reply;
use redis::Cmd;

/// A command as its words.
pub(crate) type Words = Vec<Vec<u8>>;

/// Milliseconds: a number between is a time.
const THIS_CENTURY: Range<u64> = 1_000_000_000_000..5_000_000_000_000;

/// Says that nothing more comes.
const END: &str = "end of what was captured";

/// The commands that arrive while `work` is done; what scripts call is not among them.
pub(crate) async fn captured(server: &Redis, work: impl Future<Output = ()>) -> Vec<Words> {
    let mut monitor = server.connect().expect("a server");
    monitor.command(&["MONITOR"]).expect("a monitor");
    work.await;
    server.command(&["ECHO", END]);
    let mut commands = Vec::new();
    loop {
        let Reply::Status(line) = monitor.receive().expect("a line") else { panic!("no line of a monitor") };
        let (origin, words) = line.split_once("] ").expect("where a command is from");
        if words.contains(END) {
            return commands;
        }
        if !origin.ends_with("lua") {
            commands.push(words_of(words));
        }
    }
}

/// Reads words as `MONITOR` quotes them.
fn words_of(line: &str) -> Words {
    let (mut words, mut word, mut bytes) = (Vec::new(), None::<Vec<u8>>, line.bytes());
    while let Some(byte) = bytes.next() {
        match (byte, &mut word) {
            (b'"', None) => word = Some(Vec::new()),
            (b'"', Some(_)) => words.extend(word.take()),
            (b'\\', Some(word)) => match bytes.next().expect("what is escaped") {
                b'n' => word.push(b'\n'),
                b'r' => word.push(b'\r'),
                b't' => word.push(b'\t'),
                b'a' => word.push(7),
                b'b' => word.push(8),
                b'x' => {
                    let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                    let digits = str::from_utf8(&digits).expect("digits");
                    word.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
                }
                plain => word.push(plain),
            },
            (plain, Some(word)) => word.push(plain),
            (_, None) => {}
        }
    }
    words
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Same(Vec<u8>),
    /// Counts up.
    Number(u64),
    /// The time, in milliseconds; it was this.
    Time(u64),
    /// A name of this length, for one call.
    Name(usize),
}

/// A command of which some words are different each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Word>);

impl Template {
    /// The commands of an operation, from two calls of it: what differs between them differs each time.
    pub async fn capture<F: Future<Output = ()>>(server: &Redis, act: impl Fn(usize) -> F) -> Vec<Self> {
        act(0).await;
        let one = captured(server, act(1)).await;
        let other = captured(server, act(2)).await;
        assert_eq!(one.len(), other.len(), "an operation that does not always send as many commands");
        one.into_iter().zip(other).map(|(one, other)| Self::between(one, &other)).collect()
    }

    fn between(one: Words, other: &Words) -> Self {
        let word = |(one, other): (Vec<u8>, &Vec<u8>)| {
            let number = |word: &[u8]| str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok());
            match (number(&one), number(other)) {
                _ if one == *other => Word::Same(one),
                (Some(one), Some(other)) if THIS_CENTURY.contains(&one) => Word::Time(one.max(other)),
                (Some(one), Some(other)) => Word::Number(one.max(other)),
                _ => Word::Name(one.len()),
            }
        };
        Self(one.into_iter().zip(other).map(word).collect())
    }

    /// The command, for the nth time.
    pub fn command(&self, nth: usize) -> Cmd {
        let mut cmd = Cmd::new();
        for (place, word) in self.0.iter().enumerate() {
            match word {
                Word::Same(word) => cmd.arg(word),
                Word::Number(first) => cmd.arg(first + 1 + nth as u64),
                // Counted up, it would soon be so late that every lease has ended.
                Word::Time(_) => cmd.arg(SystemClock.now().as_millis()),
                Word::Name(length) => {
                    let name = nth as u64 * 0x1_0000 + place as u64;
                    let mut name = format!("{:016x}", name.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes();
                    name.resize(*length, b'x');
                    cmd.arg(name)
                }
            };
        }
        cmd
    }

    /// The words for `redis-benchmark`, where what differs is random; none if one of them cannot be an argument.
    pub fn words(&self) -> Option<Vec<String>> {
        let word = |word: &Word| match word {
            Word::Same(word) => String::from_utf8(word.clone()).ok().filter(|word| !word.contains('\0')),
            Word::Time(time) => Some(time.to_string()),
            Word::Number(_) | Word::Name(_) => Some("__rand_int__".to_owned()),
        };
        self.0.iter().map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_a_monitor_quotes_them() {
        let words = words_of(r#""SET" "a \"b\"" "\x00\xff\n\\" """#);
        assert_eq!(words, [&b"SET"[..], b"a \"b\"", b"\0\xff\n\\", b""]);
    }

    #[test]
    fn what_differs_differs_each_time() {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Words>();
        let template = Template::between(words(&["GET", "7", "abc", "x"]), &words(&["GET", "9", "abd", "x"]));
        assert_eq!(template.words().unwrap(), ["GET", "__rand_int__", "__rand_int__", "x"]);
        assert_ne!(template.command(0).get_packed_command(), template.command(1).get_packed_command());
        let first = template.command(0).get_packed_command();
        assert!(first.windows(2).any(|two| two == b"10"), "numbers go on after the last");

        let at = |time: u64| words(&["EVALSHA", &time.to_string()]);
        let template = Template::between(at(THIS_CENTURY.start), &at(THIS_CENTURY.start + 1));
        assert_eq!(template.words().unwrap(), ["EVALSHA", "1000000000001"]);
        let now = SystemClock.now().as_millis().to_string();
        let command = template.command(usize::MAX).get_packed_command();
        assert!(command.windows(4).any(|four| four == &now.as_bytes()[..4]), "a time is today's");
    }
}
