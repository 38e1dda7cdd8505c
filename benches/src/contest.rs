//! Contenders doing the same by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::cpu;
use crate::reference::Reference;

/// With how many tasks at a time, unless a row says otherwise.
pub const TASKS: &[usize] = &[1, 16, 64];

/// How long a contender's turn is, unless a row says otherwise.
const TURN: Duration = Duration::from_millis(130);
/// How many turns each has.
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
    fn is_beside(&self, name: &str) -> bool {
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
    /// Ours.
    pub ours: Contender,
    /// The raw driver; the first one sends the very same commands.
    pub raw: Vec<Contender>,
    /// What `redis-benchmark` sends.
    pub references: Vec<Reference>,
    /// What is hoped for.
    pub goals: Vec<Goal>,
}

impl Row {
    /// Ours, and nobody beside it yet.
    pub fn new(name: &str, ours: Act) -> Self {
        let ours = Contender { name: "ours", act: ours };
        let (raw, references, goals) = Default::default();
        Self { name: name.to_owned(), elements: 1, tasks: TASKS, turn: TURN, ours, raw, references, goals }
    }
}

/// What happened in a turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Operations in a second.
    rate: f64,
    /// Microseconds of this process for each.
    cpu: f64,
    /// Microseconds of the server for each.
    server: f64,
}

/// How long it takes to do it so many times.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(crate) fn time(runtime: &Runtime, act: &Act, tasks: usize, times: u64) -> Duration {
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
    runtime.block_on(async {
        tokio::spawn({
            let over = Arc::clone(&over);
            async move {
                tokio::time::sleep(length).await;
                over.store(true, Ordering::Relaxed);
            }
        });
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

/// Lets all of a row contend, and prints what came of it.
pub(crate) fn contend(runtime: &Runtime, server: &Server, row: &Row, tasks: usize) {
    let contenders: Vec<&Contender> = std::iter::once(&row.ours).chain(&row.raw).collect();
    let nth: Vec<_> = contenders.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); contenders.len()];
    let mut rates: Vec<Vec<(f64, f64)>> = vec![Vec::new(); row.references.len()];
    let mut expected = vec![20_000.0; row.references.len()];
    for round in 0..=TURNS {
        for step in 0..contenders.len() {
            // Nobody always comes first.
            let who = (step + round) % contenders.len();
            let turn = turn(runtime, server, &contenders[who].act, tasks, row.turn, &nth[who]);
            // The first round warms up.
            if round > 0 {
                turns[who].push(turn);
            }
        }
        for (which, reference) in row.references.iter().enumerate() {
            let served = server.spent();
            if let Some((rate, count)) = reference.run(server.port, tasks, row.turn, expected[which]) {
                let served = (server.spent() - served) as f64 / 1_000.0 / count;
                expected[which] = rate;
                if round > 0 {
                    rates[which].push((rate, served));
                }
            }
        }
    }
    let ours = &turns[0];
    let rate = |turns: &[Turn]| median(turns.iter().map(|turn| turn.rate).collect());
    let cpu = |turns: &[Turn]| median(turns.iter().map(|turn| turn.cpu).collect());
    println!("\n{}, {tasks} at a time", row.name);
    let served = |turns: &[Turn]| median(turns.iter().map(|turn| turn.server).collect());
    println!(
        "  {:<44} {:>9.0} /s  {:>7.2} us client {:>7.2} us server",
        row.ours.name,
        rate(ours),
        cpu(ours),
        served(ours)
    );
    let against = |name: &str, theirs: &[f64]| {
        let ratio = median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.rate / theirs).collect());
        let goal = row.goals.iter().find(|goal| goal.tasks == tasks && goal.is_beside(name));
        let verdict = goal.map_or(String::new(), |goal| {
            let verdict = if ratio >= goal.at_least { "met" } else { "MISSED" };
            format!("  goal {}: {verdict}", goal.at_least)
        });
        (ratio, verdict)
    };
    for (contender, theirs) in contenders.iter().zip(&turns).skip(1) {
        let rates: Vec<f64> = theirs.iter().map(|turn| turn.rate).collect();
        let (ratio, verdict) = against(contender.name, &rates);
        let more = median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu / theirs.cpu).collect());
        println!(
            "  {:<44} {:>9.0} /s  {:>7.2} us client {:>7.2} us server  ours {ratio:.2} x, {:+.0} % client{verdict}",
            contender.name,
            rate(theirs),
            cpu(theirs),
            served(theirs),
            (more - 1.0) * 100.0,
        );
    }
    for (reference, rates) in row.references.iter().zip(&rates) {
        if rates.is_empty() {
            println!("  {:<44} redis-benchmark is not installed", reference.name);
            continue;
        }
        let (rates, served): (Vec<_>, Vec<_>) = rates.iter().copied().unzip();
        let (ratio, verdict) = against(&reference.name, &rates);
        println!(
            "  {:<44} {:>9.0} /s                    {:>7.2} us server  ours {ratio:.2} x{verdict}",
            reference.name,
            median(rates),
            median(served)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
