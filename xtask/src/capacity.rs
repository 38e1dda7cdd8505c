//! `cargo xtask capacity`: what a chat of so many users needs, from what was measured.

mod assumptions;
mod measured;
mod model;
mod report;

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::page;
use assumptions::Assumptions;
use measured::Measured;

const PAGE: &str = "docs/SCALING.md";
const BEGIN: &str = "<!-- capacity:begin -->";
const END: &str = "<!-- capacity:end -->";

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
    let (_, new) = pages()?;
    fs::write(PAGE, new).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{PAGE} written");
    Ok(())
}

/// Fails when the page is not what the model says.
pub(crate) fn check() -> Result<()> {
    let (old, new) = pages()?;
    ensure!(old == new, "{PAGE} is stale: run `cargo xtask capacity --write`");
    Ok(())
}

fn measured() -> Result<Measured> {
    let read = |page: &str| fs::read_to_string(page).with_context(|| format!("cannot read {page}"));
    Ok(Measured::read(&read("docs/GROWTH.md")?, &read("docs/LOAD.md")?))
}

/// The page as it is, and as it should be.
fn pages() -> Result<(String, String)> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("cannot read {PAGE}"))?;
    let text = report::tell(&Assumptions::default(), &USERS, &measured()?)?;
    let new = page::between(&page, BEGIN, END, &text)
        .with_context(|| format!("{PAGE} needs {BEGIN}, then {END}"))?;
    Ok((page, new))
}
