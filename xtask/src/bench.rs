//! `cargo xtask bench`: how fast ours is, beside what it is made of, and beside what it replaces.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::page::Page;
use crate::{capacity, sh};

const PAGE: Page = Page { path: "docs/PEERS.md", part: "peers" };

const PEER: &str = "benches/peers/node";
/// The bench that lets the peers contend.
const PEERS: &str = "peers";

/// `[NAME] [words]`: the criterion benches, all or one.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let mut bench = sh::cargo("bench --package chat-benches");
    if let [name, ..] = args {
        bench.args(["--bench", name]);
    } else {
        // The peers take their time, and criterion's arguments mean nothing to them.
        bench.args(["--bench", "*_*", "--bench", "memory"]);
    }
    if let [_, words @ ..] = args {
        bench.arg("--").args(words);
    }
    sh::run(&mut bench)
}

/// `growth [--write]`: how costs grow; the model reckons with what is written.
pub(crate) fn growth(args: &[&str]) -> Result<()> {
    let mut bench = sh::cargo("bench --package chat-benches --bench growth --");
    sh::run(bench.args(args))?;
    if args.contains(&"--write") { capacity::write() } else { Ok(()) }
}

/// `--peers [--write] [words]`: ours beside the seeds on node-redis and the raw driver; the rows whose names have these words.
pub(crate) fn peers(args: &[&str]) -> Result<()> {
    let (write, words): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| **arg == "--write");
    ensure!(write.is_empty() || words.is_empty(), "only a whole run is written");
    if !sh::finds("node") || !sh::finds("npm") {
        println!(
            "nothing is measured: there is no node and npm here, which the peer needs (`cargo xtask setup` installs them)"
        );
        return Ok(());
    }
    install()?;
    let report = std::env::current_dir()?.join("target/peers.md");
    fs::create_dir_all("target")?;
    // A report of an earlier run is none of this one.
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let mut bench = sh::cargo("bench --package chat-benches --bench");
    bench.arg(PEERS).env("CHAT_PEERS_REPORT", &report);
    if !words.is_empty() {
        bench.arg("--").args(words);
    }
    sh::run(&mut bench)?;
    if write.is_empty() {
        return Ok(());
    }
    PAGE.write(&fs::read_to_string(&report).context("nothing was measured: see above")?)
}

/// The packages of the lock file, unless they are there.
fn install() -> Result<()> {
    let lock = fs::read(Path::new(PEER).join("package-lock.json"))?;
    let installed = Path::new(PEER).join("node_modules/.installed-package-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    sh::run(sh::cmd("npm", "ci --no-audit --no-fund").current_dir(PEER))?;
    fs::write(installed, lock).context("cannot note what was installed")
}
