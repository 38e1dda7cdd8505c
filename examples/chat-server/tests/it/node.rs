//! The page's own logic, the real Socket.IO client, and two people in a real browser: what is written in JavaScript, run
//! against a server of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use chat_testkit::Absent;
use chat_testkit::server::Redis;
use libtest_mimic::{Completion, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use super::nodes::world::World;
use super::support::run::{ignorable, without};
use super::support::server::{Process, SECRET, Server, folder};

/// How long all of a file may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(600);
/// Names a browser may have.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Every trial of this topic.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        ignorable("client", "page", page),
        ignorable("client", "suite", suite),
        ignorable("client", "browser", browser),
        ignorable("client", "suite_on_redis", suite_on_redis),
        ignorable("client", "suite_on_two_servers", suite_on_two_servers),
        ignorable("client", "browser_on_two_servers", browser_on_two_servers),
    ]
}

fn page() -> Result<Completion, Failed> {
    if find("node").is_none() {
        return without("node", "there is no node");
    }
    node("page.test.mjs", &[])
}

fn suite() -> Result<Completion, Failed> {
    suite_on(&["--dev"])
}

fn suite_on_redis() -> Result<Completion, Failed> {
    match Redis::spawn() {
        Ok(redis) => suite_on(&["--dev", "--redis", &redis.url()]),
        Err(Absent(why)) => without("redis", &why),
    }
}

fn suite_on(arguments: &[&str]) -> Result<Completion, Failed> {
    if let Some(why) = missing("socket.io-client") {
        return without("node", why);
    }
    against_a_server("suite.mjs", arguments, &[])
}

/// Every second socket goes to another server. That a server drains is the business of other trials.
fn suite_on_two_servers() -> Result<Completion, Failed> {
    if std::env::var_os("CHAT_TEST_LONG").is_none() {
        return Ok(Completion::ignored_with(
            "it takes three minutes of a machine of its own: CHAT_TEST_LONG=1",
        ));
    }
    if let Some(why) = missing("socket.io-client") {
        return without("node", why);
    }
    against_two_servers("suite.mjs", &[], |_| Vec::new())
}

fn browser() -> Result<Completion, Failed> {
    browser_on("chat-server", |variables| against_a_server("browser.mjs", &["--dev"], variables))
}

/// Every second person is on another server; Redis hangs in between.
fn browser_on_two_servers() -> Result<Completion, Failed> {
    browser_on("chat-server-on-two", |variables| {
        against_two_servers("browser.mjs", variables, |world| {
            let pids = [world.nodes[0].pid(), world.redis().process().id()].map(|pid| pid.to_string().into());
            ["CHAT_SERVER_PID", "CHAT_REDIS_PID"].into_iter().zip(pids).collect()
        })
    })
}

/// Hands `run` what a file that drives a browser wants to know, where there is one.
fn browser_on(
    shown_in: &str,
    run: impl FnOnce(&[(&str, PathBuf)]) -> Result<Completion, Failed>,
) -> Result<Completion, Failed> {
    if let Some(why) = missing("playwright-core") {
        return without("node", why);
    }
    let Some(browser) = BROWSERS.into_iter().find_map(find) else {
        return without("chromium", "there is no chromium");
    };
    let artifacts = std::env::var_os("CHAT_ARTIFACTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
        .join(shown_in);
    run(&[("CHAT_BROWSER", browser), ("CHAT_ARTIFACTS", artifacts)])
}

/// Runs a file against two servers which are one chat; they must end well, too.
fn against_two_servers(
    file: &str,
    variables: &[(&str, PathBuf)],
    about: impl FnOnce(&World) -> Vec<(&'static str, PathBuf)>,
) -> Result<Completion, Failed> {
    match World::of_two() {
        Ok(world) => {
            let [url, other] = [0, 1].map(|nth: usize| format!("http://{}", world.nodes[nth].address));
            let urls = [("CHAT_URL", url.into()), ("CHAT_OTHER_URLS", other.into())];
            let completion = node(file, &[variables, &urls, &about(&world)].concat())?;
            runtime()?.block_on(world.end());
            Ok(completion)
        }
        Err(Absent(why)) => without("redis,mongo", &why),
    }
}

/// Runs a file against a server of its own, which must end well, too; one of the files ends it.
fn against_a_server(
    file: &str,
    arguments: &[&str],
    variables: &[(&str, PathBuf)],
) -> Result<Completion, Failed> {
    let server = Server::with(arguments);
    let (url, pid) = (format!("http://{}", server.address), server.pid().to_string());
    let about = [("CHAT_URL", url.into()), ("CHAT_SERVER_PID", pid.into())];
    let completion = node(file, &[variables, &about].concat())?;
    runtime()?.block_on(server.stop());
    Ok(completion)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs a file with node, and shows what it said when it fails.
fn node(file: &str, variables: &[(&str, PathBuf)]) -> Result<Completion, Failed> {
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec", file]).current_dir(folder("tests/client"));
    command.env("CHAT_JWT_SECRET", SECRET).env("CHAT_DEADLINE_MS", "30000").envs(variables.iter().cloned());
    // A test run of its own, even when this one was started by another.
    command.env_remove("NODE_TEST_CONTEXT").env_remove("NODE_OPTIONS");
    let process = Process::spawn(&mut command);
    let ended = runtime()?.block_on(async { tokio::time::timeout(PATIENCE, process.ended()).await });
    match ended {
        Ok(status) if status.success() => Ok(Completion::Completed),
        Ok(status) => Err(format!("{file} ended with {status}:\n{}", process.text()).into()),
        Err(_) => Err(format!("{file} did not end within {PATIENCE:?}:\n{}", process.text()).into()),
    }
}

/// Why nothing that needs this package can run.
fn missing(package: &str) -> Option<&'static str> {
    if find("node").is_none() {
        return Some("there is no node");
    }
    let installed = folder("tests/client/node_modules").join(package).is_dir();
    (!installed).then_some("the npm packages of tests/client are not installed (`cargo xtask setup`)")
}

/// A program on the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
