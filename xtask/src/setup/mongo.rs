//! The server of the MongoDB tests, where no real `mongod` is: built by cargo, into the user's cache folder.
//!
//! It is under the GPL: a program that tests start, never linked to, never shipped.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{apt_get, kept};
use crate::sh;

const PACKAGE: &str = "secantus-mdb";

/// This very version: cargo checks it, and by its own lock file everything it is made of, against the registry's sums.
const VERSION: &str = "0.5.3-beta.196";

const PROGRAM: &str = "secantusd-rs";

/// Present means: a real one is on the PATH, or cargo has noted that it installed this version.
pub(super) fn is_present() -> bool {
    sh::finds("mongod") || is_installed()
}

fn is_installed() -> bool {
    let Ok(root) = kept() else { return false };
    let notes = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    root.join("bin").join(PROGRAM).is_file() && notes.contains(&format!("\"{PACKAGE} {VERSION} ("))
}

pub(super) fn install() -> Result<()> {
    if !sh::finds("cmake") {
        apt_get("cmake")?;
    }
    let root = kept()?;
    println!("setup: building {PACKAGE} {VERSION} takes 3 to 5 minutes on 2 free cores, once");
    let target = root.join(format!("setup-{PACKAGE}-{}", std::process::id()));
    let mut install = sh::cargo(&format!(
        "install {PACKAGE} --version ={VERSION} --bin {PROGRAM} --ignore-rust-version --locked"
    ));
    let installed = sh::run(
        install
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(&target)
            // Tests of the chat do not wait for it: half the time to build it is worth more.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2"),
    );
    let _ = fs::remove_dir_all(&target);
    installed.and_then(|()| check()).context(
        "no MongoDB-protocol server: tests that need one are ignored, or use a mongod, or the one of CHAT_TEST_MONGO_URL",
    )
}

fn check() -> Result<()> {
    let program = kept()?.join("bin").join(PROGRAM);
    ensure!(sh::succeeds(&mut sh::cmd(&program.to_string_lossy(), "--version")), "it does not run here");
    ensure!(is_installed(), "cargo has not noted what it installed");
    Ok(())
}
