//! `cargo xtask check-imports`: who may import whom, as the design has it.
//!
//! Between crates it reads `cargo metadata`, inside chat-core the paths its sources name.

mod crates;
mod modules;
mod tokens;

use std::fmt;

use anyhow::{Result, bail};

/// An import which the design does not allow.
#[derive(Clone, Debug, PartialEq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

pub(crate) fn run() -> Result<()> {
    let violations = [crates::check()?, modules::check()?].concat();
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("1 import goes the wrong way"),
        n => bail!("{n} imports go the wrong way"),
    }
}
