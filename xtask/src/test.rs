//! `cargo xtask test`: setup, then every test of the workspace, doctests and examples too.

use anyhow::Result;

use crate::{setup, sh};

pub(crate) fn run(args: &[&str]) -> Result<()> {
    setup::for_tests()?;
    all(args)
}

/// Every test, none of which may be ignored for want of what setup installs.
pub(crate) fn all(args: &[&str]) -> Result<()> {
    let mut tests = sh::cargo("test --workspace --all-features");
    sh::run(tests.args(args).env("CHAT_TEST_REQUIRE", setup::REQUIRED))
}
