//! `cargo xtask soak [MINUTES]`: harm after harm to two servers and their backends while people talk, and its report.

use anyhow::{Context, Result};

use crate::{setup, sh};

/// Where the report is written, in the target folder.
const REPORT: &str = "target/soak.json";

pub(crate) fn run(minutes: &str) -> Result<()> {
    let minutes: u64 = minutes.parse().context("how many minutes is a number")?;
    setup::for_tests()?;
    let report = std::env::current_dir()?.join(REPORT);
    let mut soak = sh::cargo("test --package chat-server --test it -- --exact nodes::soak --nocapture");
    soak.env("CHAT_TEST_REQUIRE", "redis,mongo");
    soak.env("CHAT_SOAK_SECONDS", (minutes * 60).to_string()).env("CHAT_SOAK_REPORT", &report);
    sh::run(&mut soak)?;
    println!("the report is in {REPORT}");
    Ok(())
}
