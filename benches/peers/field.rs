//! The rows, and who else does what they do.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, Errand, NodePeer, Row, Stage, acting};

/// As the seeds await.
pub(crate) const SEED: &str = "seed on node-redis";
/// Everything that needs no other answer at once.
pub(crate) const PIPELINED: &str = "seed on node-redis, pipelined";
pub(crate) const RAW: &str = "raw driver, the same commands";

/// How long a turn is, and how many there are: few enough for a run of some minutes.
const TURN: Duration = Duration::from_millis(70);
const TURNS: usize = 7;

/// With how many tasks, where one operation of the peer is thousands of commands or goes through all keys.
pub(crate) const SLOW: &[usize] = &[1, 16];

/// A row, and how many commands one operation of everybody in it is.
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) ours: usize,
    /// Of [`SEED`].
    pub(crate) seed: usize,
    /// Of the peer, where it has one.
    pub(crate) operation: Option<&'static str>,
}

/// All rows.
pub(crate) struct Field<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) node: Arc<NodePeer>,
    pub(crate) lines: Vec<Line>,
}

impl<'a> Field<'a> {
    pub(crate) fn new(stage: &'a Stage, node: Arc<NodePeer>) -> Self {
        Self { stage, node, lines: Vec::new() }
    }

    /// An operation of the peer.
    pub(crate) fn errand(&self, name: &'static str, operation: &str) -> Errand {
        let way = if name == SEED { "seed" } else { "pipelined" };
        Errand { name, peer: Arc::clone(&self.node), operation: format!("{operation} {way}") }
    }

    /// Adds a row of which every call sends other names.
    pub(crate) fn add(&mut self, name: &str, operation: &'static str, ours: Act) -> &mut Row {
        let seen = Arc::clone(&ours);
        self.seen(name, operation, ours, &seen)
    }

    /// Adds a row; the raw driver sends what the first call sends, later by some milliseconds each time.
    pub(crate) fn add_fixed(&mut self, name: &str, operation: &'static str, ours: Act) -> &mut Row {
        let seen = acting({
            let ours = Arc::clone(&ours);
            move |task, _| {
                let ours = Arc::clone(&ours);
                async move {
                    // What carries the time is another command then.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    ours(task, 1).await;
                }
            }
        });
        self.seen(name, operation, ours, &seen)
    }

    /// Adds a row that nobody else has.
    pub(crate) fn add_alone(&mut self, row: Row) {
        let row = Row { tasks: &[1], turn: TURN, turns: TURNS, ..row };
        self.lines.push(Line { row, ours: 0, seed: 0, operation: None });
    }

    fn seen(&mut self, name: &str, operation: &'static str, ours: Act, seen: &Act) -> &mut Row {
        let mut row = self.stage.row(name, Arc::clone(seen));
        row.ours.act = Arc::clone(&ours);
        row.peers = [SEED, PIPELINED].map(|way| self.errand(way, operation)).to_vec();
        row.tasks = &[1, 64];
        (row.turn, row.turns) = (TURN, TURNS);
        let seed = &row.peers[0];
        let seed = self.stage.commands(async { seed.once() }).len();
        let ours = self.stage.commands(seen(0, 5)).len();
        self.lines.push(Line { row, ours, seed, operation: Some(operation) });
        &mut self.lines.last_mut().expect("what was added").row
    }
}
