//! `cargo xtask load`: chat-server and a plain Socket.IO server on Node by turns, under the same real WebSockets.

mod contests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::capacity;
use crate::page::Page;
use crate::sh;
use crate::up::{Running, built};
use contests::{CONTESTS, Contest, Figure};

/// Where `--write` puts the figures, between two lines of their own.
const PAGE: Page = Page { path: "docs/LOAD.md", part: "load" };

const PEER: &str = "benches/peers/socketio";
/// Of no use elsewhere: both servers live as long as this run, on this machine only.
const SECRET: &str = "cargo xtask load";
/// As many files as the system allows at all: thousands of sockets are needed.
const MANY_FILES: &str = "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let wanted = Wanted::read(args)?;
    sh::run(&mut sh::cargo("build --release -p chat-server -p chat-load --bin chat-server --bin chat-load"))?;
    let has_peer = peer_is_there()?;
    let mut told = vec![facts(has_peer, args)?];
    for contest in
        CONTESTS.iter().filter(|contest| wanted.names.is_empty() || wanted.names.contains(&contest.name))
    {
        eprintln!("== {}", contest.title);
        let table = contest.table(&hold(contest, &wanted, has_peer)?);
        println!("{table}");
        told.push(table);
    }
    if wanted.write { write(&told.join("\n")) } else { Ok(()) }
}

/// What the command line asks for.
struct Wanted<'a> {
    write: bool,
    rounds: Option<usize>,
    /// What chat-server is given beside what is always given: its backends.
    backends: Vec<&'a str>,
    /// The contests; all of them when none is named.
    names: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(args: &[&'a str]) -> Result<Self> {
        let mut wanted = Self { write: false, rounds: None, backends: Vec::new(), names: Vec::new() };
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            match arg {
                "--write" => wanted.write = true,
                "--rounds" => {
                    let rounds = args.next().and_then(|rounds| rounds.parse().ok());
                    wanted.rounds =
                        Some(rounds.filter(|rounds| *rounds > 0).context("--rounds wants a number")?);
                }
                "--redis" | "--mongo" => wanted.backends.extend([arg, args.next().context("which URL?")?]),
                name if CONTESTS.iter().any(|contest| contest.name == name) => wanted.names.push(name),
                _ => {
                    let names: Vec<_> = CONTESTS.iter().map(|contest| contest.name).collect();
                    bail!(
                        "{arg} is none of --write, --rounds N, --redis URL, --mongo URL, {}",
                        names.join(", ")
                    )
                }
            }
        }
        Ok(wanted)
    }
}

/// What was measured of each side: every figure, once a round.
type Found = [BTreeMap<String, Vec<f64>>; 2];

/// Both have their turns; the one that begins changes from round to round.
fn hold(contest: &Contest, wanted: &Wanted<'_>, has_peer: bool) -> Result<Found> {
    let mut found = Found::default();
    let mut servers: [Option<Server>; 2] = [None, None];
    for round in 0..wanted.rounds.unwrap_or(contest.rounds) {
        let mut turns: Vec<_> = ["ours", "theirs"].into_iter().zip(&mut found).zip(&mut servers).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for ((side, found), server) in turns {
            let is_ours = side == "ours";
            if !is_ours && !has_peer {
                continue;
            }
            if contest.fresh {
                *server = None;
            }
            let server = match server {
                Some(server) => server,
                None if is_ours => server.insert(Server::ours(&wanted.backends)?),
                None => server.insert(Server::theirs(contest.peer)?),
            };
            let report = server.measure(contest.load)?;
            eprintln!("   {side:<6} {}", Value::Object(report.clone()));
            for (name, value) in report {
                found.entry(name).or_default().push(value.as_f64().context("a figure is a number")?);
            }
        }
    }
    Ok(found)
}

/// A server, and where it listens.
struct Server {
    running: Running,
    address: String,
}

impl Server {
    fn ours(backends: &[&str]) -> Result<Self> {
        let mut server = with_many_files(&built("release", "chat-server"));
        server.args(["--listen", "127.0.0.1:0", "--max-members", "2000"]).args(backends);
        Self::start(server.env("RUST_LOG", "error"))
    }

    fn theirs(settings: &[(&str, &str)]) -> Result<Self> {
        let mut server = with_many_files(Path::new("node"));
        server.args(["--expose-gc", "server.mjs"]).current_dir(PEER).envs(settings.iter().copied());
        // As it is run where it matters.
        Self::start(server.env("NODE_ENV", "production"))
    }

    fn start(server: &mut Command) -> Result<Self> {
        let mut running = Running::start(server.env("CHAT_JWT_SECRET", SECRET).stdin(Stdio::null()))?;
        let line = running.line()?;
        let address = line.strip_prefix("http://").context("a server said something else")?.to_owned();
        Ok(Self { running, address })
    }

    /// Puts it under load, and tells what was found.
    fn measure(&self, load: &str) -> Result<Map<String, Value>> {
        let mut client = with_many_files(&built("release", "chat-load"));
        client.args(load.split(' ')).args(["--address", &self.address]);
        client.args(["--pid", &self.running.pid().to_string()]).env("CHAT_JWT_SECRET", SECRET);
        let report = sh::output(client.stdin(Stdio::null()))?;
        serde_json::from_str(&report).context("chat-load said something else")
    }
}

fn with_many_files(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", MANY_FILES]).arg(program);
    command
}

/// Whether the peer can run; fetches what it needs.
fn peer_is_there() -> Result<bool> {
    if !sh::finds("node") || !sh::finds("npm") {
        eprintln!("there is no node and npm here: no peer to compare with, so only ours is measured");
        return Ok(false);
    }
    if !Path::new(PEER).join("node_modules").is_dir() {
        sh::run(sh::cmd("npm", "ci --no-audit --no-fund").current_dir(PEER))?;
    }
    Ok(true)
}

impl Contest {
    /// What was found, for people.
    fn table(&self, [ours, theirs]: &Found) -> String {
        let mut table = format!("### {}\n\n", self.title);
        table.push_str(
            "| figure | chat-server | Node | times better (least to most) | goal |\n|---|---|---|---|---|\n",
        );
        for figure in self.figures {
            let of = |side: &BTreeMap<String, Vec<f64>>| side.get(figure.key).cloned().unwrap_or_default();
            table.push_str(&figure.row(&of(ours), &of(theirs)));
        }
        let load = self.load;
        table.push_str(&format!(
            "\n`cargo xtask load {}`, {} rounds of `chat-load {load}`\n",
            self.name,
            rounds(ours)
        ));
        table
    }
}

fn rounds(side: &BTreeMap<String, Vec<f64>>) -> usize {
    side.values().map(Vec::len).max().unwrap_or_default()
}

impl Figure {
    fn row(&self, ours: &[f64], theirs: &[f64]) -> String {
        let ratio = |(ours, theirs): (&f64, &f64)| if self.more { ours / theirs } else { theirs / ours };
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(ratio).collect();
        let (times, goal) = match (self.goal, median(&ratios)) {
            (Some(goal), Some(times)) => {
                let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                let most = ratios.iter().copied().fold(0.0, f64::max);
                let met = if times >= goal { "met" } else { "missed" };
                (format!("{times:.2} ({least:.2} to {most:.2})"), format!("{goal}: {met}"))
            }
            _ => Default::default(),
        };
        format!("| {} | {} | {} | {times} | {goal} |\n", self.title, told(median(ours)), told(median(theirs)))
    }
}

/// The middle one.
fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// A number with as many digits as mean anything.
fn told(number: Option<f64>) -> String {
    match number {
        None => String::new(),
        Some(number) if number >= 100.0 => {
            let digits = format!("{number:.0}");
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            groups.join(" ")
        }
        Some(number) => format!("{number:.2}"),
    }
}

/// What was measured on and with; no names and no places.
fn facts(has_peer: bool, args: &[&str]) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let line = |program: &str, args: &str| {
        sh::output(&mut sh::cmd(program, args)).map(|text| text.trim().to_owned())
    };
    let mut facts = vec![
        format!("{cores} cores, shared by the server and its clients"),
        line("uname", "-sr")?,
        line("rustc", "--version")?,
    ];
    if let Some(model) = fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(model) {
        facts.insert(0, model.to_owned());
    }
    if has_peer {
        facts.push(format!("Node {}", line("node", "--version")?));
        let package = fs::read_to_string(Path::new(PEER).join("node_modules/socket.io/package.json"))?;
        let package: Value = serde_json::from_str(&package)?;
        let version = package.get("version").and_then(Value::as_str);
        facts.push(format!("socket.io {}", version.context("a package without a version")?));
    }
    let command = [&["cargo", "xtask", "load"], args].concat().join(" ");
    Ok(format!("`{command}` on: {}.\n", facts.join("; ")))
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model)
}

/// Puts the figures into the page.
fn write(figures: &str) -> Result<()> {
    PAGE.write(figures)?;
    // The model reckons with it.
    capacity::write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_is_better_where_it_costs_something() {
        let figure = |more| Figure { key: "k", title: "t", goal: Some(2.0), more };
        let (ours, theirs) = ([10.0, 30.0, 20.0], [10.0, 10.0, 10.0]);
        assert_eq!(
            figure(true).row(&ours, &theirs),
            "| t | 20.00 | 10.00 | 2.00 (1.00 to 3.00) | 2: met |\n"
        );
        assert_eq!(
            figure(false).row(&ours, &theirs),
            "| t | 20.00 | 10.00 | 0.50 (0.33 to 1.00) | 2: missed |\n"
        );
        assert_eq!(
            figure(true).row(&ours, &[]),
            "| t | 20.00 |  |  |  |\n",
            "without a peer there is nothing to miss"
        );
    }

    #[test]
    fn numbers_are_told_with_the_digits_that_mean_anything() {
        let numbers = [1.234, 99.0, 1_234_567.8, 100.0].map(|number| told(Some(number)));
        assert_eq!(numbers, ["1.23", "99.00", "1 234 568", "100"]);
    }

    #[test]
    fn every_contest_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = CONTESTS.iter().map(|contest| contest.name).collect();
        assert_eq!(names.len(), CONTESTS.len());
    }

    #[test]
    fn an_unknown_word_is_refused() {
        assert!(Wanted::read(&["storm", "--rounds", "2", "--redis", "redis://x"]).is_ok());
        for wrong in [&["dance"][..], &["--rounds"], &["--rounds", "0"], &["--mongo"]] {
            assert!(Wanted::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
