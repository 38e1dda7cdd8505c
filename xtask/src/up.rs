//! `cargo xtask up`: a Redis, a MongoDB, and two servers on them which are one chat. No container.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{setup, sh};

/// Where the servers listen, unless there are arguments of one's own.
const LISTEN: [&str; 2] = ["127.0.0.1:3001", "127.0.0.1:3002"];

/// What tokens are signed with: known to everybody who reads this, as befits `--dev`.
const SECRET: &str = "cargo xtask up";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    setup::for_tests()?;
    sh::run(&mut sh::cargo(
        "build --quiet -p chat-server -p chat-testkit --example servers --bin chat-server",
    ))?;
    let mut backends =
        Running::start(Command::new(built("debug", "examples/servers")).stdin(Stdio::piped()))?;
    let mut variables: Vec<(String, String)> = [("CHAT_JWT_SECRET", SECRET), ("CHAT_DEV", "1")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    for _ in 0..2 {
        let line = backends.line()?;
        let (name, value) = line.split_once('=').context("the backends said something else")?;
        println!("{name}={value}");
        variables.push((name.to_owned(), value.to_owned()));
    }
    let mut nodes = Vec::new();
    for listen in LISTEN {
        let mut node = Command::new(built("debug", "chat-server"));
        node.args(["--listen", listen]).args(args).envs(variables.clone());
        let mut node = Running::start(node.stdin(Stdio::null()))?;
        println!("{}", node.line()?);
        nodes.push(node);
    }
    println!("Two servers, one chat: sign in to each, by any name. Ctrl-C ends everything.");
    for mut node in nodes {
        let status = node.child.wait()?;
        ensure!(status.success(), "a server ended with {status}");
    }
    Ok(())
}

/// What cargo has built, with this profile.
pub(crate) fn built(profile: &str, name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(&target).join(profile).join(name)
}

/// A program that ends with this one, and what it says.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let started = command.stdout(Stdio::piped()).spawn();
        let mut child =
            started.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let said = child.stdout.take().context("a program without an output")?;
        Ok(Self { child, lines: BufReader::new(said).lines() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("a program did not start: see what it said above")??)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
