//! The tables.

use std::fmt::Write as _;

use anyhow::Result;

use super::assumptions::Assumptions;
use super::measured::Measured;
use super::model::{Plan, SHARDS, compared, largest, plan};

/// Everything, for so many users each.
pub(crate) fn tell(assumed: &Assumptions, users: &[f64], m: &Measured) -> Result<String> {
    let plans = users.iter().map(|users| plan(&Assumptions { users: *users, ..*assumed }, m));
    let plans: Vec<Plan> = plans.collect::<Result<_>>()?;
    let mut text = String::new();
    needed(users, &plans, assumed, &mut text)?;
    walls(assumed, m, &mut text)?;
    against(m, &mut text)?;
    assumptions(assumed, m, &mut text)?;
    Ok(text)
}

type Figure = (&'static str, fn(&Plan) -> String);

const AT_THE_PEAK: &[Figure] = &[
    ("online", |plan| all(plan, plan.cell.rates.online)),
    ("sockets", |plan| all(plan, plan.cell.rates.sockets)),
    ("messages a second", |plan| all(plan, plan.cell.rates.sent)),
    ("`mark read` a second", |plan| all(plan, plan.cell.rates.reads)),
    ("comings, and goings, a second", |plan| all(plan, plan.cell.rates.pairs)),
    ("events through the log a second", |plan| all(plan, plan.cell.rates.events)),
    ("deliveries to sockets a second", |plan| all(plan, plan.cell.rates.deliveries)),
];

const MACHINES: &[Figure] = &[
    ("chats apart from each other, each with a log of its own", |plan| spaced(plan.cells)),
    ("nodes", |plan| all(plan, plan.cell.nodes)),
    ("cores of nodes, at work", |plan| all(plan, plan.cell.node_cores)),
    ("of these, following the log", |plan| all(plan, plan.cell.following_cores)),
    ("memory of sockets, GB", |plan| all(plan, plan.cell.socket_gb)),
    ("Redis for what is derived and volatile, without replicas", |plan| all(plan, plan.cell.redis)),
    ("its memory, GB", |plan| all(plan, plan.cell.redis_gb)),
    ("its cores, at work", |plan| all(plan, plan.cell.redis_cores)),
    ("Redis for the log, without replicas", |plan| spaced(plan.cells)),
    ("its cores, at work", |plan| all(plan, plan.cell.log_cores)),
    ("memory of ids of events, GB", |plan| all(plan, plan.cell.log_gb)),
    ("shards of MongoDB", |plan| spaced(plan.truth.shards)),
    ("documents and indexes, GB, one copy", |plan| spaced(plan.truth.documents_gb)),
    ("writes a second", |plan| spaced(plan.truth.writes)),
    ("Kafka, where there is one: partitions", |plan| spaced(plan.kafka.partitions)),
    ("its MB a second", |plan| spaced(plan.kafka.mb)),
    ("its disks, GB", |plan| spaced(plan.kafka.disk_gb)),
    ("to sockets, Gbit/s", |plan| all(plan, plan.cell.out * 8.0 / 1e9)),
    ("between nodes and Redis, Gbit/s", |plan| all(plan, plan.cell.backend * 8.0 / 1e9)),
];

fn all(plan: &Plan, each: f64) -> String {
    spaced(plan.cells * each)
}

fn needed(users: &[f64], plans: &[Plan], assumed: &Assumptions, text: &mut String) -> Result<()> {
    for (title, figures) in [("At the peak", AT_THE_PEAK), ("What it takes", MACHINES)] {
        let names: Vec<_> = users.iter().map(|users| format!("{} users", spaced(*users))).collect();
        write!(text, "### {title}\n\n| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(users.len()))?;
        for (name, figure) in figures {
            let cells: Vec<_> = plans.iter().map(figure).collect();
            writeln!(text, "| {name} | {} |", cells.join(" | "))?;
        }
        text.push('\n');
    }
    for (users, plan) in users.iter().zip(plans) {
        let card = assumed.network_gbit * 1e9 / 2.0 / 8.0;
        let node = plan.cell.out / plan.cell.nodes / card * 100.0;
        let log = plan.cell.log_cores / (assumed.busy_percent / 100.0) * 100.0;
        writeln!(
            text,
            "{} users: a node has {} sockets and uses {} % of its card; each log is at {} % of what its Redis may do, \
             and there are {} of at most {SHARDS} Redis for the rest of each chat.\n",
            spaced(*users),
            spaced(plan.cell.rates.sockets / plan.cell.nodes),
            spaced(node),
            spaced(log),
            spaced(plan.cell.redis),
        )?;
    }
    Ok(())
}

/// What moves the wall: one assumption changed at a time.
fn walls(assumed: &Assumptions, m: &Measured, text: &mut String) -> Result<()> {
    let a = *assumed;
    let changed = [
        ("as assumed", a),
        ("a reader covers ten messages at once", Assumptions { covered: 10.0, ..a }),
        ("typing stays out of the log", Assumptions { typing: 0.0, ..a }),
        ("a user sends half as much", Assumptions { messages: a.messages / 2.0, ..a }),
        ("a message goes to thirty on average", Assumptions { members: 30.0, ..a }),
        ("all that reaches somebody is told", Assumptions { delivered_percent: 100.0, ..a }),
        ("nodes of 32 cores and 200 000 sockets", Assumptions { cores: 32.0, sockets: 200_000.0, ..a }),
        ("half of all users are online", Assumptions { online_percent: 50.0, ..a }),
    ];
    text.push_str("### The largest chat of one log\n\n| | users | events a second | what is at its end |\n|---|---|---|---|\n");
    for (what, changed) in changed {
        let users = largest(&changed, m)?;
        let cell = plan(&Assumptions { users, ..changed }, m)?.cell;
        let at_its_end = if cell.redis >= SHARDS { "the sixteen shards" } else { "the Redis of the log" };
        writeln!(text, "| {what} | {} | {} | {at_its_end} |", spaced(users), spaced(cell.rates.events))?;
    }
    text.push('\n');
    Ok(())
}

fn against(m: &Measured, text: &mut String) -> Result<()> {
    text.push_str("### The model beside a measurement\n\n| a hundred thousand users online | | model | measured | model ÷ measured |\n|---|---|---|---|---|\n");
    for row in compared(m)? {
        let ratio = row.predicted / row.measured;
        writeln!(
            text,
            "| {} | {} | {} | {} | {ratio:.2} |",
            row.what,
            row.unit,
            spaced(row.predicted),
            spaced(row.measured)
        )?;
    }
    text.push('\n');
    Ok(())
}

fn assumptions(assumed: &Assumptions, m: &Measured, text: &mut String) -> Result<()> {
    text.push_str("### What is assumed\n\n| option | value | what | from |\n|---|---|---|---|\n");
    for (flag, value, says, from) in assumed.rows() {
        writeln!(text, "| `--{flag}` | {} |{says} | {from} |", spaced(value))?;
    }
    for (what, (value, is_measured)) in
        [("bytes of memory of a socket", m.socket), ("deliveries a second of a core", m.deliveries)]
    {
        let from = if is_measured {
            "[LOAD.md](LOAD.md)"
        } else {
            "one run of `chat-load` on a busy machine, until [LOAD.md](LOAD.md) has it"
        };
        writeln!(text, "| | {} | {what} | {from} |", spaced(value))?;
    }
    Ok(())
}

/// A number for people: two digits after the point where it is small, thousands apart where it is large.
fn spaced(value: f64) -> String {
    if !value.is_finite() {
        return "no number is enough".to_owned();
    }
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_for_people() {
        let told = [0.1234, 9.0, 12.6, 1e8, f64::INFINITY].map(spaced);
        assert_eq!(told, ["0.12", "9", "13", "100 000 000", "no number is enough"]);
    }
}
