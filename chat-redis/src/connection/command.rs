//! One command to Redis, and one operation of a port made of such commands.

use redis::{Arg, Cmd, ToRedisArgs};

use crate::config::Node;
use crate::keys::Key;
use crate::script::Script;

/// A command whose keys all live in one slot, so that it may be sent on its own anywhere.
#[derive(Debug)]
pub struct Command {
    cmd: Cmd,
    script: Option<&'static Script>,
    node: Option<Node>,
}

impl Command {
    /// A native command whose first argument is its key.
    pub fn new(name: &'static str, key: &Key) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg(name).arg(key);
        Self { cmd, script: None, node: None }
    }

    /// A command without a key, which any node may answer.
    pub fn keyless(name: &'static str) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg(name);
        Self { cmd, script: None, node: None }
    }

    /// A script over keys of one slot. Its arguments follow by [`Command::arg`], the time first: see [`Script`].
    pub fn script(script: &'static Script, keys: &[Key]) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg("EVALSHA").arg(script.hash()).arg(keys.len()).arg(keys);
        Self { cmd, script: Some(script), node: None }
    }

    /// Adds an argument, or several.
    #[must_use]
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }

    /// Sends it to this node of a cluster.
    #[must_use]
    pub(crate) fn at(self, node: Option<Node>) -> Self {
        Self { node, ..self }
    }

    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// A command of the host.
    pub(super) fn foreign(cmd: Cmd) -> Self {
        Self { cmd, script: None, node: None }
    }

    pub(super) fn cmd(&self) -> &Cmd {
        &self.cmd
    }

    pub(super) fn is_script(&self) -> bool {
        matches!(self.cmd.args_iter().next(), Some(Arg::Simple(b"EVALSHA" | b"EVAL")))
    }

    /// Whether a missing script can be remedied: then the source goes along from now on, which also loads it.
    pub(super) fn send_source(&mut self) -> bool {
        let Some(script) = self.script.take() else { return false };
        let mut cmd = Cmd::new();
        cmd.arg("EVAL").arg(script.source());
        for arg in self.cmd.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                cmd.arg(bytes);
            }
        }
        self.cmd = cmd;
        true
    }
}

/// Whether an operation changes anything: what a lost reply means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Repeats harmlessly.
    Write,
    /// Must not be repeated once it may have happened.
    Once,
}

/// Which shared connection carries an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Short replies.
    Main,
    /// Long replies, which would hold the others up.
    Bulk,
}

/// One operation of a port, by the name it has in errors, spans and metrics.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub(crate) name: &'static str,
    pub(crate) access: Access,
    pub(crate) lane: Lane,
}

impl Operation {
    /// An operation that only looks.
    pub const fn read(name: &'static str) -> Self {
        Self { name, access: Access::Read, lane: Lane::Main }
    }

    /// An operation that changes something, and that repeats harmlessly: it is repeated when a reply is lost.
    pub const fn write(name: &'static str) -> Self {
        Self { name, access: Access::Write, lane: Lane::Main }
    }

    /// An operation that changes something, and that must not happen twice: it is not repeated when a reply is lost.
    pub const fn once(name: &'static str) -> Self {
        Self { name, access: Access::Once, lane: Lane::Main }
    }

    /// Its name, for errors made elsewhere.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The same over the connection for long replies.
    pub const fn bulk(self) -> Self {
        Self { lane: Lane::Bulk, ..self }
    }
}
