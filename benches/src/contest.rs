//! Contenders doing the same by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::cpu;
use crate::outcome::{Entry, Outcome, Turn};
use crate::peer::Errand;
use crate::reference::Reference;

/// With how many tasks at a time, unless a row says otherwise.
pub const TASKS: &[usize] = &[1, 16, 64];

/// How long a contender's turn is, unless a row says otherwise.
const TURN: Duration = Duration::from_millis(130);
/// How many turns each has, unless a row says otherwise.
const TURNS: usize = 9;

/// One operation, of this task, the nth of all.
pub type Act = Arc<dyn Fn(usize, usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// An operation as an [`Act`].
pub fn acting<F>(act: impl Fn(usize, usize) -> F + Send + Sync + 'static) -> Act
where
    F: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |task, nth| Box::pin(act(task, nth)))
}

/// Somebody who does it.
#[derive(Clone)]
pub struct Contender {
    /// What it is called in the table.
    pub name: &'static str,
    /// What it does.
    pub act: Act,
}

impl std::fmt::Debug for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What is hoped for: so many times as fast as another, whose name begins with these words.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// With how many tasks.
    pub tasks: usize,
    /// Beside whom.
    pub beside: &'static str,
    /// How many times as fast.
    pub at_least: f64,
}

impl Goal {
    pub(crate) fn is_beside(&self, name: &str) -> bool {
        name.strip_prefix(self.beside).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

/// One operation, and all who do it.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// How many things one operation does.
    pub elements: u64,
    /// With how many tasks at a time.
    pub tasks: &'static [usize],
    /// How long a contender's turn is.
    pub turn: Duration,
    /// How many turns each has.
    pub turns: usize,
    /// Ours.
    pub ours: Contender,
    /// The raw driver; the first one sends the very same commands.
    pub raw: Vec<Contender>,
    /// Another program.
    pub peers: Vec<Errand>,
    /// What `redis-benchmark` sends.
    pub references: Vec<Reference>,
    /// What is hoped for.
    pub goals: Vec<Goal>,
    /// How many elements a second of the server's processor is hoped to be enough for.
    pub per_core: Option<f64>,
}

impl Row {
    /// Ours, and nobody beside it yet.
    pub fn new(name: &str, ours: Act) -> Self {
        let ours = Contender { name: "ours", act: ours };
        let (raw, peers, references, goals) = Default::default();
        Self {
            name: name.to_owned(),
            elements: 1,
            tasks: TASKS,
            turn: TURN,
            turns: TURNS,
            ours,
            raw,
            peers,
            references,
            goals,
            per_core: None,
        }
    }
}

/// How long it takes to do it so many times.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub fn time(runtime: &Runtime, act: &Act, tasks: usize, times: u64) -> Duration {
    static NTH: AtomicUsize = AtomicUsize::new(0);
    let left = Arc::new(AtomicUsize::new(usize::try_from(times).unwrap_or(usize::MAX)));
    let began = Instant::now();
    runtime.block_on(every(tasks, |task| {
        let (act, left) = (Arc::clone(act), Arc::clone(&left));
        async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                act(task, NTH.fetch_add(1, Ordering::Relaxed)).await;
            }
        }
    }));
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn turn(
    runtime: &Runtime,
    server: &Server,
    act: &Act,
    tasks: usize,
    length: Duration,
    nth: &Arc<AtomicUsize>,
) -> Turn {
    let (over, first) = (Arc::new(AtomicBool::new(false)), nth.load(Ordering::Relaxed));
    let (began, spent, served) = (Instant::now(), cpu::spent("self"), server.spent());
    // A thread: where operations never wait, nobody looks after timers.
    let alarm = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            thread::sleep(length);
            over.store(true, Ordering::Relaxed);
        }
    });
    runtime.block_on(async {
        every(tasks, |task| {
            let (act, over, nth) = (Arc::clone(act), Arc::clone(&over), Arc::clone(nth));
            async move {
                while !over.load(Ordering::Relaxed) {
                    act(task, nth.fetch_add(1, Ordering::Relaxed)).await;
                }
            }
        })
        .await;
    });
    alarm.join().expect("an alarm");
    let (passed, spent) = (began.elapsed().as_secs_f64(), cpu::spent("self") - spent);
    let served = server.spent() - served;
    let done = (nth.load(Ordering::Relaxed) - first) as f64;
    let each = |spent: u64| spent as f64 / 1_000.0 / done;
    Turn { rate: done / passed, cpu: each(spent), server: each(served) }
}

async fn every<F>(tasks: usize, work: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(task))).collect();
    for task in tasks {
        task.await.expect("a task that does not fail");
    }
}

/// The server all of them talk to.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process, where it is one of this machine.
    pub(crate) process: Option<u32>,
    pub(crate) port: u16,
}

impl Server {
    /// Nanoseconds it has spent on a processor.
    fn spent(&self) -> u64 {
        self.process.map_or(0, |process| cpu::spent(&process.to_string()))
    }
}

/// Lets all of a row contend.
pub(crate) fn contend(runtime: &Runtime, server: &Server, row: &Row, tasks: usize) -> Outcome {
    let contenders: Vec<&Contender> = std::iter::once(&row.ours).chain(&row.raw).collect();
    let nth: Vec<_> = contenders.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut entries: Vec<Entry> = contenders.iter().map(|contender| Entry::new(contender.name)).collect();
    let mut peers: Vec<Entry> = row.peers.iter().map(|errand| Entry::new(errand.name)).collect();
    let mut references: Vec<Entry> =
        row.references.iter().map(|reference| Entry::new(&reference.name)).collect();
    let mut expected = vec![20_000.0; row.references.len()];
    for round in 0..=row.turns {
        // The first round warms up.
        let counts = round > 0;
        for step in 0..contenders.len() {
            // Nobody always comes first.
            let who = (step + round) % contenders.len();
            let turn = turn(runtime, server, &contenders[who].act, tasks, row.turn, &nth[who]);
            entries[who].turns.extend(counts.then_some(turn));
        }
        for (entry, errand) in peers.iter_mut().zip(&row.peers) {
            let served = server.spent();
            let (done, passed, spent) = errand.run(tasks, row.turn);
            let server = (server.spent() - served) as f64 / 1_000.0 / done;
            let turn =
                Turn { rate: done / passed.as_secs_f64(), cpu: spent.as_secs_f64() * 1e6 / done, server };
            entry.turns.extend(counts.then_some(turn));
        }
        for ((entry, reference), expected) in references.iter_mut().zip(&row.references).zip(&mut expected) {
            let served = server.spent();
            if let Some((rate, count)) = reference.run(server.port, tasks, row.turn, *expected) {
                *expected = rate;
                let server = (server.spent() - served) as f64 / 1_000.0 / count;
                entry.turns.extend(counts.then_some(Turn { rate, cpu: f64::NAN, server }));
            }
        }
    }
    entries.extend(peers);
    entries.extend(references);
    Outcome {
        name: row.name.clone(),
        tasks,
        elements: row.elements,
        entries,
        goals: row.goals.clone(),
        per_core: row.per_core,
    }
}
