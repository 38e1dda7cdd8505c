//! What came of it, as a page of tables.

use std::fmt::Write;
use std::process::Command;

use chat_benches::{Outcome, Quartiles};

use crate::data::{CACHED, USERS};
use crate::field::{Field, Line, PIPELINED, RAW, SEED};

/// Lets everybody contend, and tells what came of it.
pub(crate) fn tell(field: &Field<'_>, keys: &str) {
    let told: Vec<(&Line, Vec<Outcome>)> = field
        .lines
        .iter()
        .map(|line| (line, field.stage.contend(std::slice::from_ref(&line.row))))
        .filter(|(_, outcomes)| !outcomes.is_empty())
        .collect();
    if told.is_empty() {
        return;
    }
    let text = [facts(field, keys), goals(&told), tables(&told)].join("\n");
    println!("\n{text}");
    if let Some(path) = std::env::var_os("CHAT_PEERS_REPORT") {
        std::fs::write(path, text).expect("a report");
    }
}

fn facts(field: &Field<'_>, keys: &str) -> String {
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, it)| it);
    let driver = include_str!("../../Cargo.lock").split("name = \"redis\"\nversion = \"").nth(1);
    let driver = driver.and_then(|rest| rest.split('"').next()).unwrap_or("?");
    format!(
        "{cores} cores ({}) for everybody: Redis {}, ours (rustc {}, redis crate {driver}), the peer (node {}, node-redis {}). \
         {USERS} users online, {USERS} profiles, {CACHED} cached values: {keys} keys of the peer, in a database of its own.\n",
        model.unwrap_or("unknown"),
        field.stage.server.info("redis_version").unwrap_or_default(),
        said("rustc").split(' ').nth(1).unwrap_or("?"),
        said("node"),
        field.node.version,
    )
}

fn goals(told: &[(&Line, Vec<Outcome>)]) -> String {
    let mut text = String::from("| goal | measured | |\n|---|---|---|\n");
    let mut row = |goal: String, measured: String, is_met: bool| {
        let verdict = if is_met { "met" } else { "**missed**" };
        writeln!(text, "| {goal} | {measured} | {verdict} |").expect("a text");
    };
    for (line, outcomes) in told {
        for outcome in outcomes {
            let name = format!("{}, {} at a time", outcome.name, outcome.tasks);
            if let Some(hoped) = outcome.per_core {
                let measured = outcome.elements_per_core();
                row(
                    format!("{name}: ≥ {hoped:.0} a second of Redis' core"),
                    format!("{:.0} ({:.0}–{:.0})", measured.median, measured.low, measured.high),
                    measured.median >= hoped,
                );
            }
            for goal in outcome.goals.iter().filter(|goal| goal.tasks == outcome.tasks) {
                let Some(theirs) = outcome.entry(goal.beside) else { continue };
                let ratio = outcome.ratio(theirs);
                let goal_said = format!("{name}: ≥ {} × {}", goal.at_least, goal.beside);
                row(goal_said, times(ratio), ratio.median >= goal.at_least);
            }
        }
        let rates = |turns: &Outcome| turns.ours().quartiles(|turn| turn.rate).median;
        match (line.operation, outcomes.first()) {
            (Some("unread.messageTo1000"), _) => row(
                format!("{}: ≥ 100 × fewer commands than the seed", line.row.name),
                format!("{} to {}", line.ours, line.seed),
                line.ours * 100 <= line.seed,
            ),
            (Some("users.get100"), _) => {
                row("profiles get 100: one command".into(), line.ours.to_string(), line.ours == 1);
            }
            (None, Some(alone)) => {
                // Whoever shares the machine takes time on the clock only.
                let spent = alone.ours().quartiles(|turn| turn.cpu).median;
                let measured =
                    format!("{spent:.2} µs of a processor, {:.2} µs by the clock", 1e6 / rates(alone));
                row(format!("{}: < 1 µs", line.row.name), measured, spent < 1.0);
            }
            _ => {}
        }
    }
    let mut slower = Vec::new();
    for outcome in told.iter().flat_map(|(_, outcomes)| outcomes) {
        for name in [SEED, PIPELINED] {
            let ratio = outcome.entry(name).map(|theirs| outcome.ratio(theirs));
            if let Some(ratio) = ratio.filter(|ratio| ratio.median < 1.0) {
                slower.push(format!(
                    "- {}, {} at a time, beside {name}: {}",
                    outcome.name,
                    outcome.tasks,
                    times(ratio)
                ));
            }
        }
    }
    let is_met = slower.is_empty();
    let measured =
        if is_met { "nothing is".to_owned() } else { format!("{} figures are: below", slower.len()) };
    row("nothing slower than the peer".into(), measured, is_met);
    if !is_met {
        write!(text, "\n### Slower than the peer\n\n{}\n", slower.join("\n")).expect("a text");
    }
    text
}

fn tables(told: &[(&Line, Vec<Outcome>)]) -> String {
    let mut text = String::new();
    let mut port = "";
    for (line, outcomes) in told {
        let Some(operation) = line.operation else { continue };
        let of = operation.split('.').next().unwrap_or_default();
        if of != port {
            port = of;
            write!(
                text,
                "\n### {port}\n\n\
                 | operation | at a time | ours, /s | seed, /s | ours ÷ seed | ours ÷ seed, pipelined | ours ÷ raw crate \
                 | commands: ours, seed | client µs: ours, seed | Redis µs: ours, seed |\n|---|---|---|---|---|---|---|---|---|---|\n"
            )
            .expect("a text");
        }
        for outcome in outcomes {
            let ratio =
                |name| outcome.entry(name).map_or("–".to_owned(), |theirs| times(outcome.ratio(theirs)));
            let ours = outcome.ours();
            let Some(seed) = outcome.entry(SEED) else { continue };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {}, {} | {}, {} | {}, {} |",
                outcome.name,
                outcome.tasks,
                spread(ours.quartiles(|turn| turn.rate)),
                spread(seed.quartiles(|turn| turn.rate)),
                ratio(SEED),
                ratio(PIPELINED),
                ratio(RAW),
                line.ours,
                line.seed,
                short(ours.quartiles(|turn| turn.cpu).median),
                short(seed.quartiles(|turn| turn.cpu).median),
                short(ours.quartiles(|turn| turn.server).median),
                short(seed.quartiles(|turn| turn.server).median),
            )
            .expect("a text");
        }
    }
    text
}

/// A median, and between what half of the values are.
fn spread(values: Quartiles) -> String {
    format!("{} ({}–{})", short(values.median), short(values.low), short(values.high))
}

fn times(ratio: Quartiles) -> String {
    format!("**{}** ({}–{})", short(ratio.median), short(ratio.low), short(ratio.high))
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}
