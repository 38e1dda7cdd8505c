//! What a process has spent and holds, as Linux tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process so many open files.
///
/// # Errors
/// When the system allows fewer.
pub(crate) fn open_files(wanted: usize) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    ensure!(
        maximum.is_none_or(|most| most >= wanted),
        "{wanted} open files are needed and at most {} allowed: see `ulimit -Hn`, or ask for fewer sockets",
        maximum.unwrap_or_default()
    );
    if current.is_some_and(|now| now < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

/// A process of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// How long it has been on a processor, all its threads together and in the system's code too.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn spent(self) -> Result<Duration> {
        let text = self.read("stat")?;
        let ticks = ticks(&text).context("/proc says something else")?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// How many bytes of memory it holds.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn memory(self) -> Result<u64> {
        let text = self.read("statm")?;
        let pages: u64 = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .context("/proc says something else")?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    fn read(self, name: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.0)).context("the server's process is not there")
    }
}

/// The time in user code and in the system's, of a line of `/proc/PID/stat`. The name in it may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_that_holds_anything() {
        let stat = "7 (a) b) 1) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 4 0 99 1 2 3";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_spends_time_and_memory() {
        let this = Process(std::process::id());
        assert!(this.memory().unwrap() > 100_000);
        assert!(this.spent().unwrap() < Duration::from_secs(3_600));
        open_files(32).unwrap();
    }
}
