//! Where contenders meet, whatever the server is.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::contest::{Act, Contender, Row, Server, contend, time};
use crate::outcome::Outcome;

/// A runtime of two threads, and the server that is talked to.
#[derive(Debug)]
pub struct Ring {
    server: Server,
    runtime: Runtime,
}

impl Ring {
    pub(crate) fn new(process: Option<u32>, port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self { server: Server { process, port }, runtime }
    }

    /// One without a server of its own.
    pub fn alone() -> Self {
        Self::new(None, 0)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Does something before the contest.
    pub fn prepare<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Lets the rows contend, unless the arguments ask for others, prints what comes of it, and gives it.
    pub(crate) fn contend(&self, rows: &[Row]) -> Vec<Outcome> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
            return Vec::new();
        }
        let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
        let mut outcomes = Vec::new();
        for row in rows.iter().filter(|row| wanted.is_none_or(|wanted| row.name.contains(wanted.as_str()))) {
            for &tasks in row.tasks {
                let outcome = contend(&self.runtime, &self.server, row, tasks);
                outcome.print();
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// Does it so many times, by so many tasks.
    pub fn run(&self, act: &Act, tasks: usize, times: u64) -> Duration {
        time(&self.runtime, act, tasks, times)
    }

    /// How long it takes to do it so many times.
    pub(crate) fn time(&self, contender: &Contender, tasks: usize, times: u64) -> Duration {
        time(&self.runtime, &contender.act, tasks, times)
    }
}
