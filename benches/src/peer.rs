//! Another program that does the same: the seeds' managers on node-redis, in `peers/node`.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A process of node, which does what it is told by lines.
#[derive(Debug)]
pub struct NodePeer {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Mutex<Child>,
    /// Of node-redis.
    pub version: String,
}

impl NodePeer {
    /// Starts it on one database of a server of this machine.
    ///
    /// # Errors
    /// What is missing.
    pub fn start(port: u16, database: u32) -> Result<Arc<Self>, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/node");
        if !folder.join("node_modules").is_dir() {
            return Err("the packages of benches/peers/node are missing: `cargo xtask bench --peers`".into());
        }
        let mut node = Command::new("node");
        node.arg("peer.mjs").args([port.to_string(), database.to_string()]).current_dir(folder);
        let started = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("no node: {error}"))?;
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut peer =
            Self { pipes: Mutex::new((input, output)), child: Mutex::new(child), version: String::new() };
        assert_eq!(peer.tell(""), "ready");
        peer.version = peer.tell("version");
        Ok(Arc::new(peer))
    }

    /// Fills its database; how many keys there are then.
    pub fn fill(&self) -> String {
        self.tell("fill")
    }

    /// Tells it something, and what it answers.
    fn tell(&self, what: &str) -> String {
        let mut pipes = self.pipes.lock().expect("a peer that did not fail");
        let (input, output) = &mut *pipes;
        if !what.is_empty() {
            writeln!(input, "{what}").expect("a peer that listens");
        }
        let mut answer = String::new();
        output.read_line(&mut answer).expect("an answer");
        assert!(answer.ends_with('\n'), "the peer ended at `{what}`: see what it said above");
        answer.trim_end().to_owned()
    }
}

impl Drop for NodePeer {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An operation of the peer.
#[derive(Debug, Clone)]
pub struct Errand {
    /// What it is called in the table.
    pub name: &'static str,
    /// Who does it.
    pub peer: Arc<NodePeer>,
    /// Its operation and its way, as the peer knows them.
    pub operation: String,
}

impl Errand {
    /// Does it for about so long: how many, in how much time, for how much time on a processor.
    pub(crate) fn run(&self, tasks: usize, time: Duration) -> (f64, Duration, Duration) {
        let mut line = format!("run {} {tasks} ", self.operation);
        write!(line, "{}", time.as_millis()).expect("a line");
        let answer = self.peer.tell(&line);
        let numbers: Vec<u64> = answer.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [done, passed, spent] = numbers[..] else { panic!("`{line}`: {answer}") };
        (done as f64, Duration::from_micros(passed), Duration::from_micros(spent))
    }

    /// Does it once.
    pub fn once(&self) {
        assert_eq!(self.run(1, Duration::ZERO).0, 1.0);
    }
}
