//! `cargo xtask test`: setup, then every test of the workspace, doctests and examples too.

use anyhow::Result;

use crate::{setup, sh};

pub(crate) fn run(args: &[&str]) -> Result<()> {
    setup::for_tests()?;
    sh::run(sh::cargo("test --workspace --all-features").args(args))
}
