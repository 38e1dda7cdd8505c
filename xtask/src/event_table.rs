//! `cargo xtask event-table`: the table of events in `docs/EVENTS.md`, printed by chat-core itself.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::sh;

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
    let table = sh::output(&mut sh::cargo("run --quiet --package chat-core --example event_table"))?;
    let new = with_table(&page, &table).with_context(|| format!("{FILE} needs {BEGIN}, then {END}"))?;
    Ok((page, new))
}

/// The page with this table between its markers.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_what_is_between_the_markers() {
        let page = format!("# Events\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let new = with_table(&page, "| a |\n|---|\n").unwrap();
        assert_eq!(new, format!("# Events\n\n{BEGIN}\n\n| a |\n|---|\n\n{END}\n\nAfter.\n"));
        assert_eq!(with_table(&new, "| a |\n|---|\n").unwrap(), new, "writing twice changes nothing");
    }

    #[test]
    fn a_page_without_both_markers_in_order_is_refused() {
        for page in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert_eq!(with_table(page, "table"), None);
        }
    }
}
