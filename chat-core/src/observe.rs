//! What every backend tells of itself: how it is, and one histogram for all its operations; and the same of the calls that
//! [`layer::Metered`](crate::layer::Metered) sees.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `chat_operation_seconds` | histogram | `backend`, `operation`, `outcome` (`ok` or an error code) |
//! | `chat_call_seconds` | histogram | `backend`, `operation`, `outcome` (`ok`, an error code, or `cancelled`) |

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata};

/// How a backend is (seed 001's `OK`, `DEGRADED` and `Disconnected`); `C` is what may be wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health<C> {
    /// It answers, and nothing is wrong.
    Ok,
    /// It answers, and these things are wrong.
    Degraded(Vec<C>),
    /// Nobody answers.
    Disconnected,
}

impl<C> Health<C> {
    /// Of a backend that answers: these things are wrong, where they are so.
    pub fn answering(concerns: impl IntoIterator<Item = (bool, C)>) -> Self {
        let concerns: Vec<_> =
            concerns.into_iter().filter_map(|(is_so, concern)| is_so.then_some(concern)).collect();
        if concerns.is_empty() { Self::Ok } else { Self::Degraded(concerns) }
    }
}

impl<C> fmt::Display for Health<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Degraded(_) => "DEGRADED",
            Self::Disconnected => "Disconnected",
        })
    }
}

/// What tells a histogram from another: its name, and its labels.
type Labels = [&'static str; 4];

/// How long an operation of a backend took and how it ended: with `ok`, or an error's code.
pub fn took(backend: &'static str, operation: &'static str, outcome: &'static str, time: Duration) {
    record(["chat_operation_seconds", backend, operation, outcome], time);
}

/// How long whoever called a port waited, all attempts together, and how it ended: with `ok`, an error's code, or
/// `cancelled`.
pub fn called(backend: &'static str, operation: &'static str, outcome: &'static str, time: Duration) {
    record(["chat_call_seconds", backend, operation, outcome], time);
}

/// The name of a histogram is made once for each set of labels and thread: making it costs more than the rest of the
/// measuring.
fn record(labels: Labels, time: Duration) {
    static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    thread_local! {
        static KEYS: RefCell<HashMap<Labels, Key>> = RefCell::default();
    }
    let record = |key: &Key| {
        metrics::with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
            .record(time.as_secs_f64());
    };
    KEYS.with_borrow_mut(|keys| {
        let new = || {
            let [name, backend, operation, outcome] = labels;
            let label = |name, value| Label::from_static_parts(name, value);
            let labels =
                [label("backend", backend), label("operation", operation), label("outcome", outcome)];
            Key::from_parts(name, labels.to_vec())
        };
        record(keys.entry(labels).or_insert_with(new));
    });
}
