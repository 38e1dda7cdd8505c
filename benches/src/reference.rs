//! `redis-benchmark`: what the server can do, asked by a client that does nothing else.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

/// A command that `redis-benchmark` sends.
#[derive(Debug, Clone)]
pub struct Reference {
    /// What it is called in the table.
    pub name: String,
    /// The command; `__rand_int__` becomes a number below `random`, of twelve digits.
    pub words: Vec<String>,
    /// How many commands each client sends before it waits.
    pub pipeline: usize,
    /// Bounds random numbers.
    pub random: usize,
    /// How many of these commands are worth one operation of ours.
    pub worth: f64,
    /// How many clients there are; as many as ours has tasks, if none.
    pub clients: Option<usize>,
}

impl Reference {
    /// A command of which one is worth one operation.
    pub fn new(name: &str, words: Vec<String>, pipeline: usize) -> Self {
        Self {
            name: format!("redis-benchmark {name} -P {pipeline}"),
            words,
            pipeline,
            random: 100_000,
            worth: 1.0,
            clients: None,
        }
    }

    /// A command of which it takes `worth` to do what ours does.
    #[must_use]
    pub fn worth(self, worth: f64) -> Self {
        Self { worth, ..self }
    }

    /// The same, always with so many clients.
    #[must_use]
    pub fn clients(self, clients: usize) -> Self {
        Self { name: format!("{} -c {clients}", self.name), clients: Some(clients), ..self }
    }

    /// Sends for about so long, and says how many operations of ours that would have been in a second, and in all; nothing
    /// where `redis-benchmark` is missing.
    pub(crate) fn run(&self, port: u16, clients: usize, time: Duration, expected: f64) -> Option<(f64, f64)> {
        let count = ((expected * self.worth * time.as_secs_f64()) as usize).max(1_000);
        let output = Command::new("redis-benchmark")
            .args([
                "-h",
                "127.0.0.1",
                "-q",
                "-p",
                &port.to_string(),
                "-c",
                &self.clients.unwrap_or(clients).to_string(),
            ])
            .args([
                "-P",
                &self.pipeline.to_string(),
                "-n",
                &count.to_string(),
                "-r",
                &self.random.to_string(),
            ])
            .args(&self.words)
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            output => output.expect("redis-benchmark"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let (before, _) =
            text.rsplit_once(" requests per second").unwrap_or_else(|| panic!("no result: {text}"));
        let rate: f64 = before.rsplit(' ').next().and_then(|rate| rate.parse().ok()).expect("a rate");
        Some((rate / self.worth, count as f64 / self.worth))
    }
}
