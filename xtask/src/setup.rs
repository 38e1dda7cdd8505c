//! `cargo xtask setup`: makes a fresh Debian or Ubuntu machine ready.
//!
//! A tool is one line of a table. Asks nothing, repeats harmlessly, and costs a few milliseconds
//! when nothing is missing.

mod broker;
mod mongo;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use crate::sh;

struct Tool {
    name: &'static str,
    is_present: fn() -> bool,
    install: fn() -> Result<()>,
}

/// What the tests look for. A test whose tool is missing is ignored with a reason, or fails when
/// `CHAT_TEST_REQUIRE` names the tool.
const TEST_TOOLS: &[Tool] = &[
    Tool {
        // Debian may start them as services, on ports 6379 and 26379; the tests use their own, on others.
        name: "redis-server, redis-sentinel and redis-tools",
        is_present: || ["redis-server", "redis-sentinel", "redis-cli"].into_iter().all(sh::finds),
        install: || apt_get("redis-server redis-sentinel redis-tools"),
    },
    Tool {
        name: "make and a C compiler, for the Kafka client and the MongoDB-protocol server",
        is_present: || sh::finds("make") && sh::finds("cc"),
        install: || apt_get("build-essential"),
    },
    Tool { name: "a MongoDB-protocol server", is_present: mongo::is_present, install: mongo::install },
    Tool { name: "a Kafka broker", is_present: broker::is_present, install: broker::install },
    Tool {
        name: "node and npm",
        is_present: || sh::finds("node") && sh::finds("npm"),
        install: || if sh::finds("node") { apt_get("npm") } else { apt_get("nodejs npm") },
    },
    Tool {
        name: "chromium",
        is_present: || CHROMIUMS.iter().any(|name| sh::finds(name)),
        install: || apt_get("chromium fonts-liberation"),
    },
    Tool {
        name: "npm packages of the chat-server tests",
        is_present: client_packages_are_fresh,
        install: install_client_packages,
    },
];

/// For `CHAT_TEST_REQUIRE`: what is there once setup has succeeded, so that no test may do without.
pub(crate) const REQUIRED: &str = "node,chromium,redis,mongo,kafka";

/// What `cargo xtask ci` needs besides.
const CI_TOOLS: &[Tool] = &[Tool {
    name: "cargo-deny",
    is_present: || sh::succeeds(&mut sh::cargo("deny --version")),
    install: || sh::run(&mut sh::cargo("install cargo-deny --version ^0.20 --locked")),
}];

const CHROMIUMS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const CLIENT: &str = "examples/chat-server/tests/client";

/// Everything, for a developer's machine. One failure does not keep the rest from being tried.
pub(crate) fn run() -> Result<()> {
    let (tests, ci) = (for_tests(), install_missing(CI_TOOLS));
    tests.and(ci)
}

/// Only what the tests need.
pub(crate) fn for_tests() -> Result<()> {
    install_missing(TEST_TOOLS)
}

/// Tries every tool before it reports the ones that could not be had.
fn install_missing(tools: &[Tool]) -> Result<()> {
    let mut failed = Vec::new();
    for tool in tools {
        if (tool.is_present)() {
            println!("setup: {}: present", tool.name);
            continue;
        }
        println!("setup: {}: installing", tool.name);
        if let Err(error) = (tool.install)() {
            eprintln!("setup: {}: {error:#}", tool.name);
            failed.push(tool.name);
        }
    }
    ensure!(
        failed.is_empty(),
        "could not install: {} (by hand, or leave it: plain `cargo test --workspace` ignores what it cannot run)",
        failed.join(", ")
    );
    Ok(())
}

/// Installs Debian packages, as root or by a `sudo` which asks nothing.
fn apt_get(packages: &str) -> Result<()> {
    static LISTS_ARE_NEW: AtomicBool = AtomicBool::new(false);

    ensure!(sh::finds("apt-get"), "no apt-get here: install {packages} by hand");
    let is_root = sh::output(&mut sh::cmd("id", "-u"))?.trim() == "0";
    ensure!(is_root || sh::finds("sudo"), "neither root nor sudo: install {packages} by hand");

    let apt = |args: &str| {
        let args = format!("DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 {args}");
        sh::run(&mut if is_root { sh::cmd("env", &args) } else { sh::cmd("sudo", &format!("-n env {args}")) })
    };
    if !LISTS_ARE_NEW.swap(true, Ordering::Relaxed) {
        apt("update")?;
    }
    apt(&format!("install -y --no-install-recommends {packages}"))
}

/// The folder of what is installed for tests alone; `chat_testkit::server` looks into its `bin`.
fn kept() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME says where to keep it")?.join("chat-testkit"))
}

/// Fresh means: the lock file of the last installation is the lock file of today.
fn client_packages_are_fresh() -> bool {
    let Ok(lock) = fs::read(Path::new(CLIENT).join("package-lock.json")) else { return false };
    fs::read(installed_lock()).is_ok_and(|installed| installed == lock)
}

fn install_client_packages() -> Result<()> {
    let lock = Path::new(CLIENT).join("package-lock.json");
    if !lock.is_file() {
        println!("setup: {CLIENT} has no package-lock.json: skipped");
        return Ok(());
    }
    sh::run(sh::cmd("npm", "ci --no-audit --no-fund").current_dir(CLIENT))?;
    fs::copy(&lock, installed_lock()).context("cannot note what was installed")?;
    Ok(())
}

fn installed_lock() -> PathBuf {
    Path::new(CLIENT).join("node_modules/.installed-package-lock.json")
}
