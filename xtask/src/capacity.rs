//! `cargo xtask capacity`: what a chat of so many users needs, from what was measured.

mod assumptions;
mod measured;
mod model;
mod report;

use std::fs;

use anyhow::{Context, Result};

use crate::page::Page;
use assumptions::Assumptions;
use measured::Measured;

const PAGE: Page = Page { path: "docs/SCALING.md", part: "capacity" };

/// The sizes of the page.
const USERS: [f64; 2] = [1e6, 1e8];

/// `[--users N …]`: prints what is needed.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let assumed = Assumptions::read(args)?;
    let users = if args.contains(&"--users") { vec![assumed.users] } else { USERS.to_vec() };
    print!("{}", report::tell(&assumed, &users, &measured()?)?);
    Ok(())
}

/// Writes it into the page, as it is with what is assumed by itself.
pub(crate) fn write() -> Result<()> {
    PAGE.write(&text()?)
}

/// Fails when the page is not what the model says.
pub(crate) fn check() -> Result<()> {
    PAGE.check(&text()?, "capacity --write")
}

fn measured() -> Result<Measured> {
    let read = |page: &str| fs::read_to_string(page).with_context(|| format!("cannot read {page}"));
    Ok(Measured::read(&read("docs/GROWTH.md")?, &read("docs/LOAD.md")?))
}

fn text() -> Result<String> {
    report::tell(&Assumptions::default(), &USERS, &measured()?)
}
