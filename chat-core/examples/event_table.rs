//! Prints the table of events as Markdown.
//!
//! `cargo run -p chat-core --example event_table`

use std::fmt::Write as _;

use chat_core::event::{EventKind, KeySource, Retention, StreamNames, Topic};

fn key(source: KeySource) -> &'static str {
    source.field().unwrap_or("the name")
}

fn retention(retention: Retention) -> String {
    match retention {
        Retention::Durable { max_len } => format!("durable, {max_len}"),
        Retention::Ephemeral { max_len, ttl } => format!("ephemeral, {} s, {max_len}", ttl.as_secs()),
        Retention::Latest { max_len } => format!("latest, {max_len}"),
    }
}

fn main() {
    let (seed, ngomna) = (StreamNames::seed(), StreamNames::ngomna());
    let mut table = String::from(
        "| # | event | v | topic | stream, `seed()` | stream, `ngomna()` | key | retention | payload |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in EventKind::ALL {
        let number = kind.number().map(|number| number.to_string()).unwrap_or_default();
        // A message's topic depends on where it was said.
        let topics: &[Topic] = match kind {
            EventKind::MessageSent => &[Topic::MessagesPrivate, Topic::MessagesGroup, Topic::MessagesSystem],
            other => &[other.topic()],
        };
        let list = |of: &dyn Fn(Topic) -> String| {
            topics.iter().map(|topic| of(*topic)).collect::<Vec<_>>().join("<br>")
        };
        let _ = writeln!(
            table,
            "| {number} | `{kind}` | {} | {} | {} | {} | {} | {} | {} |",
            kind.version(),
            list(&|topic| topic.to_string()),
            list(&|topic| format!("`{}`", seed.name(topic))),
            list(&|topic| format!("`{}`", ngomna.name(topic))),
            key(kind.key_of()),
            retention(kind.retention()),
            kind.fields().join(", "),
        );
    }
    print!("{table}");
}
