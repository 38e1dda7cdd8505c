//! `cargo xtask event-table`: the table of events in `docs/EVENTS.md`, printed by chat-core itself.

use anyhow::Result;

use crate::page::Page;
use crate::sh;

const PAGE: Page = Page { path: "docs/EVENTS.md", part: "event-table" };

/// Writes the table.
pub(crate) fn write() -> Result<()> {
    PAGE.write(&table()?)
}

/// Fails when the table is not the one that chat-core prints today.
pub(crate) fn check() -> Result<()> {
    PAGE.check(&table()?, "event-table")
}

fn table() -> Result<String> {
    sh::output(&mut sh::built("examples/event_table")?)
}
