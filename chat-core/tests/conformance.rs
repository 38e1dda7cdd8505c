//! The memory backend keeps every promise.

use std::process::ExitCode;

use chat_testkit::{Offer, run};

fn main() -> ExitCode {
    run("memory", |_namespace| async { Ok(Offer::memory()) })
}
