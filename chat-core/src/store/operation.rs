//! What a port's method is to whoever stands in front of it: an [`Operation`], by its name and by what a repeat is.

use std::time::Duration;

/// What happens when a method is called again because its reply was lost.
///
/// No method of a port does harm when it is repeated at once: what is so already, is not changed again. What differs is the
/// answer, and what a repeat does that comes after somebody else's change. The port's declaration says of each method which
/// it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// It changes nothing, so nothing is lost.
    Read,
    /// It answers the same, or what is as good: whoever asked never learns that it was asked twice.
    Write,
    /// It answers that it was so already: `duplicate`, unchanged, not there any more. Whoever asked gets what it
    /// wanted, but cannot tell its own deed from another's.
    Already,
    /// It must not be repeated once it may have happened. Either its answer is handed out once: an edge, an entry to
    /// handle, a step somebody has to announce; a repeat does not get it and does not know. Or a repeat could undo what
    /// another did in between: a name, a member, a profile would be back.
    Once,
}

/// A method of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    /// `port.method`, such as `presence.connect`: unique, stable, for errors, metrics and spans.
    pub name: &'static str,
    /// What a repeat is.
    pub repeat: Repeat,
}

impl Operation {
    /// Whether it changes nothing.
    pub const fn is_read(self) -> bool {
        matches!(self.repeat, Repeat::Read)
    }

    /// Whether it may be called again although it may have happened.
    pub const fn repeats_harmlessly(self) -> bool {
        !matches!(self.repeat, Repeat::Once)
    }
}

/// One call of a port, as policies see it: never its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is called.
    pub operation: Operation,
    /// How long it was told to wait for something to answer, at most: of that, no deadline may take anything away.
    pub waits: Duration,
}

impl From<Operation> for Call {
    /// A call that does not wait for anything.
    fn from(operation: Operation) -> Self {
        Self { operation, waits: Duration::ZERO }
    }
}
