//! The suites of `tests/client`: the real Socket.IO client, the page's own logic, a real browser.
//!
//! Without what they need they are ignored and say why; `CHAT_TEST_REQUIRE=node,chromium` makes that a failure.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};
use tokio::process::Command;

use crate::host::{Program, SECRET, terminate};

/// How long a suite may take.
const PATIENCE: Duration = Duration::from_secs(600);
const CHROMIUM: &str = "/usr/bin/chromium";

/// A suite: its name, its file, what it needs, and whether it drives a server.
struct Suite {
    name: &'static str,
    file: &'static str,
    needs: &'static [Need],
    server: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Need {
    Node,
    SocketIo,
    Playwright,
    Chromium,
}

const SUITES: &[Suite] = &[
    Suite { name: "node::page", file: "page.test.mjs", needs: &[Need::Node], server: false },
    Suite { name: "node::suite", file: "suite.mjs", needs: &[Need::Node, Need::SocketIo], server: true },
    Suite {
        name: "node::browser",
        file: "browser.mjs",
        needs: &[Need::Node, Need::Playwright, Need::Chromium],
        server: true,
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    SUITES.iter().map(|suite| Trial::ignorable_test(suite.name, || run(suite))).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client")
}

impl Need {
    /// Why it is not met.
    fn missing(self) -> Option<String> {
        let module = |name: &str| {
            let there = folder().join("node_modules").join(name).exists();
            (!there).then(|| format!("{name} is not installed; cargo xtask setup, or npm ci in tests/client"))
        };
        match self {
            Self::Node => std::process::Command::new("node")
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_or(true, |status| !status.success())
                .then(|| "node is not installed".to_owned()),
            Self::SocketIo => module("socket.io-client"),
            Self::Playwright => module("playwright-core"),
            Self::Chromium => (!Path::new(CHROMIUM).exists()).then(|| format!("{CHROMIUM} is not there")),
        }
    }

    /// What it is called in `CHAT_TEST_REQUIRE`.
    fn name(self) -> &'static str {
        match self {
            Self::Node | Self::SocketIo => "node",
            Self::Playwright | Self::Chromium => "chromium",
        }
    }

    fn is_required(self) -> bool {
        let required = std::env::var("CHAT_TEST_REQUIRE").unwrap_or_default();
        required.split(',').any(|name| name.trim() == self.name())
    }
}

fn run(suite: &'static Suite) -> Result<Completion, Failed> {
    for need in suite.needs {
        if let Some(why) = need.missing() {
            return if need.is_required() { Err(why.into()) } else { Ok(Completion::ignored_with(why)) };
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(drive(suite))?;
    Ok(Completion::Completed)
}

/// Runs a suite, against a server of its own if it wants one; that one must also have ended well.
async fn drive(suite: &Suite) -> Result<(), Failed> {
    let mut node = Command::new("node");
    node.arg(suite.file).current_dir(folder()).kill_on_drop(true);
    if !suite.server {
        return judge(&output(node).await?);
    }
    let program = Program::start(&["--dev", "--jwt-secret", SECRET]).await;
    node.env("CHAT_URL", format!("http://{}", program.address))
        .env("CHAT_JWT_SECRET", SECRET)
        .env("CHAT_SERVER_PID", program.pid().to_string());
    if std::env::var_os("CHAT_ARTIFACTS").is_none() {
        node.env("CHAT_ARTIFACTS", Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat-server-page"));
    }
    let (pid, mut child) = (program.pid(), program.child);
    // A program that has ended stays in the system's table until somebody asks, and the suite looks there.
    let ended = tokio::spawn(async move { child.wait().await });
    judge(&output(node).await?)?;
    if !ended.is_finished() {
        terminate(pid);
    }
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await???;
    if ended.success() { Ok(()) } else { Err(format!("the server ended with {ended}").into()) }
}

async fn output(mut node: Command) -> Result<Output, Failed> {
    let output = node.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    Ok(tokio::time::timeout(PATIENCE, output).await.map_err(|_| "the suite did not end in time")??)
}

/// A failure shows what failed, not the hundreds of lines that went well.
fn judge(output: &Output) -> Result<(), Failed> {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut told = String::new();
    let mut failed = false;
    for line in text.lines() {
        if line.trim_start().starts_with("not ok ") {
            failed = true;
        } else if line.trim_start().starts_with("ok ") || line.starts_with('#') {
            failed = line.starts_with("# pass") || line.starts_with("# fail");
        }
        if failed {
            told.push_str(line);
            told.push('\n');
        }
    }
    Err(format!("{told}\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
