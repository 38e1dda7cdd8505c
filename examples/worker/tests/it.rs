//! The programs as their users run them, on a real Redis, killed and started again.

#![allow(
    clippy::future_not_send,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use chat_testkit::server::Redis;
use chat_testkit::{Absent, run_trials, trials};

trials! { needs "redis":
    who_was_written_to_is_told_once,
    what_was_said_is_found,
}

fn main() -> ExitCode {
    run_trials(trials())
}

/// How long anything may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program under way; it is killed when this is dropped.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    fn start(path: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (said, lines) = mpsc::sync_channel(1_000);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| said.send(line).is_ok()) {}
        });
        Self { child, input, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Kills it (-9); what else it had said until then.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// What the search answers.
    fn found(&mut self, words: &str) -> BTreeSet<String> {
        writeln!(self.input.as_mut().unwrap(), "{words}").unwrap();
        let count: usize = self.line().strip_suffix(" found").unwrap().parse().unwrap();
        let text = |line: String| line.split_once(": ").unwrap().1.to_owned();
        (0..count).map(|_| text(self.line())).collect()
    }

    /// Ends it by the end of its input.
    fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ada writes so many letters to Bob.
fn say(url: &str, count: usize) {
    let said = Command::new(env!("CARGO_BIN_EXE_say")).args([url, &count.to_string()]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

async fn who_was_written_to_is_told_once() -> Result<(), Absent> {
    const LETTERS: usize = 60;
    let server = Redis::spawn()?;
    let url = server.url();
    say(&url, LETTERS);
    let (mut told, mut kills) = (Vec::new(), 0);
    let mut notify = Program::start(env!("CARGO_BIN_EXE_notify"), &[&url]);
    while told.iter().collect::<BTreeSet<_>>().len() < LETTERS {
        told.push(notify.line());
        if told.len() % 25 == 0 && kills < 2 {
            told.extend(notify.kill());
            kills += 1;
            notify = Program::start(env!("CARGO_BIN_EXE_notify"), &[&url]);
        }
    }
    drop(notify);
    let letters: BTreeSet<_> = (1..=LETTERS).map(|nth| format!("to bob: This is letter {nth}")).collect();
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), letters);
    assert!(kills > 0 && told.len() <= LETTERS + kills, "a kill repeats one line at most: {told:?}");
    Ok(())
}

async fn what_was_said_is_found() -> Result<(), Absent> {
    const LETTERS: usize = 90;
    let server = Redis::spawn()?;
    let (url, folder) = (server.url(), tempfile::tempdir().unwrap());
    let file = folder.path().join("index");
    let start = || Program::start(env!("CARGO_BIN_EXE_search"), &[&url, file.to_str().unwrap()]);
    let mut search = start();
    say(&url, LETTERS);
    let mut kills = 0;
    // Every third was corrected.
    while search.found("this lett").len() < LETTERS || search.found("was").len() < LETTERS / 3 {
        if kills < 2 {
            search.kill();
            kills += 1;
            search = start();
        }
    }
    assert_eq!(search.found("was letter 33"), BTreeSet::from(["This was letter 33".to_owned()]));
    assert_eq!(search.found("is letter 33"), BTreeSet::new());
    assert_eq!(search.found("nobody said this"), BTreeSet::new());
    assert_eq!(search.found(""), BTreeSet::new());
    search.end();
    Ok(())
}
