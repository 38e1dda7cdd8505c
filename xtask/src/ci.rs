//! `cargo xtask ci`: everything a change must pass, up to the first failure: the cheapest first, what needs the tests' build after it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{capacity, check_imports, event_table, setup, sh, test};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", || sh::run(&mut sh::cargo("fmt --all --check"))),
    ("check-imports", check_imports::run),
    ("capacity", capacity::check),
    ("setup", setup::run),
    ("deny", || sh::run(&mut sh::cargo("deny check --hide-inclusion-graph bans licenses sources"))),
    ("clippy", || sh::run(&mut sh::cargo("clippy --workspace --all-targets --all-features -- -D warnings"))),
    ("doc", || {
        sh::run(sh::cargo("doc --workspace --all-features --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("test", || test::all(&[])),
    ("event-table", event_table::check),
    ("quickstart", || sh::run(&mut sh::built("quickstart")?)),
];

pub(crate) fn run() -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        println!("\n==> {name}");
        let (done, time) = timed(step);
        done.with_context(|| format!("ci stopped at {name}, after {}", seconds(time)))?;
        println!("<== {name}: {}", seconds(time));
        times.push((name, time));
    }
    println!("\nci passed in {}", seconds(times.iter().map(|(_, time)| *time).sum()));
    for (name, time) in times {
        println!("  {name:<14} {:>9}", seconds(time));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a report to a person, not a rule of the chat")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
