//! `cargo xtask event-table`: the table of events in `docs/EVENTS.md`, printed by chat-core itself.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::{page, sh};

const FILE: &str = "docs/EVENTS.md";
const BEGIN: &str = "<!-- event-table:begin -->";
const END: &str = "<!-- event-table:end -->";

/// Writes the table.
pub(crate) fn write() -> Result<()> {
    let (old, new) = pages()?;
    if old == new {
        println!("{FILE} is up to date");
        return Ok(());
    }
    fs::write(FILE, new).with_context(|| format!("cannot write {FILE}"))?;
    println!("{FILE} written");
    Ok(())
}

/// Fails when the table is not the one that chat-core prints today.
pub(crate) fn check() -> Result<()> {
    let (old, new) = pages()?;
    ensure!(old == new, "{FILE} is stale: run `cargo xtask event-table`");
    Ok(())
}

/// The page as it is, and as it should be.
fn pages() -> Result<(String, String)> {
    let page = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let table = sh::output(&mut sh::built("examples/event_table")?)?;
    let new = page::between(&page, BEGIN, END, &table)
        .with_context(|| format!("{FILE} needs {BEGIN}, then {END}"))?;
    Ok((page, new))
}
