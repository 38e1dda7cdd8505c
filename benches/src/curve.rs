//! How the cost of an operation grows with what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_testkit::server::Redis as Server;
use tokio::runtime::Runtime;

use crate::contest::Act;
use crate::cpu;
use crate::outcome::Quartiles;
use crate::ring::Ring;

/// With how many tasks at a time the processor is measured.
const TASKS: usize = 16;
/// How long a turn is in which the processor is measured, and one in which the clock is.
const BUSY: Duration = Duration::from_millis(100);
const ALONE: Duration = Duration::from_millis(40);
/// Up to this exponent nothing is said to grow: a factor of 1.4 where there is ten times as much.
const FLAT: f64 = 0.15;

/// An operation, where there is so much of something.
#[derive(Clone)]
pub struct Place {
    /// How much there is.
    pub size: usize,
    /// How many things the operation is about or answers.
    pub returned: usize,
    /// The server it talks to.
    pub server: Option<Arc<Server>>,
    /// The operation.
    pub act: Act,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.size)
    }
}

/// An operation at several sizes.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What grows.
    pub axis: &'static str,
    /// What the operation is called.
    pub name: String,
    /// Where it is measured, smallest first.
    pub places: Vec<Place>,
}

/// What one operation costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Microseconds of a processor, of this process.
    pub client: f64,
    /// Microseconds of a processor, of the server.
    pub server: f64,
    /// Commands the server did, those in scripts included.
    pub commands: f64,
    /// Bytes that went to the server.
    pub bytes_in: f64,
    /// Bytes that came back.
    pub bytes_out: f64,
    /// Microseconds by the clock, of one alone.
    pub wall: f64,
}

/// What was found of a curve.
#[derive(Debug, Clone)]
pub struct Growth {
    /// What grows.
    pub axis: &'static str,
    /// What the operation is called.
    pub name: String,
    /// The sizes, how many things each answers, and the medians.
    pub points: Vec<(usize, usize, Figures)>,
}

/// Whether it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It costs the same.
    Flat,
    /// It costs as much as it answers.
    Returned,
    /// It costs more without answering more.
    Grows,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Returned => "grows with what is returned",
            Self::Grows => "**grows**",
        })
    }
}

impl Growth {
    /// The exponent of a figure: 0 where it stays, 1 where it is ten times as much with ten times as much.
    pub fn exponent(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        slope(self.points.iter().map(|(size, _, figures)| (*size as f64, figure(figures))))
    }

    /// What the processors of both sides spend on one.
    pub fn processor(figures: &Figures) -> f64 {
        figures.client + figures.server
    }

    /// Whether it grows: by the processor of both sides, and by the commands.
    pub fn verdict(&self) -> Verdict {
        let grows = |figure: fn(&Figures) -> f64| self.exponent(figure) > FLAT;
        if !grows(Self::processor) && !grows(|figures| figures.commands) {
            return Verdict::Flat;
        }
        // Where nothing more is answered there is no slope, and so nothing that allows it to grow.
        let by_returned = |figure: fn(&Figures) -> f64| {
            let answered =
                self.points.iter().map(|(_, returned, figures)| (*returned as f64, figure(figures)));
            slope(answered)
        };
        let answers_more = self.points.windows(2).any(|pair| pair[1].1 > pair[0].1);
        let worst = by_returned(Self::processor).max(by_returned(|figures| figures.commands));
        if answers_more && worst <= 1.0 + FLAT { Verdict::Returned } else { Verdict::Grows }
    }
}

/// The slope of a line through the logarithms, by least squares; 0 where there is none.
pub fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> =
        points.filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

/// Measures all places of all curves by turns, so many turns each, and takes medians: whatever else the machine does hits
/// small and large alike.
pub fn measure_growth(ring: &Ring, curves: &[Curve], turns: usize) -> Vec<Growth> {
    let mut found: Vec<Vec<Vec<Figures>>> =
        curves.iter().map(|curve| vec![Vec::new(); curve.places.len()]).collect();
    let mut nth: Vec<Vec<Arc<AtomicUsize>>> =
        curves.iter().map(|curve| curve.places.iter().map(|_| Arc::default()).collect()).collect();
    for round in 0..=turns {
        for (curve, (found, nth)) in curves.iter().zip(found.iter_mut().zip(&mut nth)) {
            for (place, (found, nth)) in curve.places.iter().zip(found.iter_mut().zip(nth)) {
                let figures = turn(ring.runtime(), place, nth);
                // The first round warms up.
                found.extend((round > 0).then_some(figures));
            }
        }
    }
    let growth = |(curve, found): (&Curve, Vec<Vec<Figures>>)| Growth {
        axis: curve.axis,
        name: curve.name.clone(),
        points: curve
            .places
            .iter()
            .zip(found)
            .map(|(place, turns)| (place.size, place.returned, medians(&turns)))
            .collect(),
    };
    curves.iter().zip(found).map(growth).collect()
}

fn medians(turns: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| Quartiles::of(turns.iter().map(figure).collect()).median;
    Figures {
        client: of(|figures| figures.client),
        server: of(|figures| figures.server),
        commands: of(|figures| figures.commands),
        bytes_in: of(|figures| figures.bytes_in),
        bytes_out: of(|figures| figures.bytes_out),
        wall: of(|figures| figures.wall),
    }
}

/// What this process spends on a processor during some work, in microseconds.
pub fn spent_during<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = cpu::spent("self");
    let done = work();
    (done, (cpu::spent("self") - before) as f64 / 1_000.0)
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn turn(runtime: &Runtime, place: &Place, nth: &Arc<AtomicUsize>) -> Figures {
    let meter = place.server.as_deref().map(Meter::start);
    let (first, spent) = (nth.load(Ordering::Relaxed), cpu::spent("self"));
    let until = Instant::now() + BUSY;
    runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (act, over, nth) = (Arc::clone(&place.act), Arc::clone(&over), Arc::clone(nth));
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        act(task, nth.fetch_add(1, Ordering::Relaxed)).await;
                        if Instant::now() >= until {
                            over.store(true, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task that does not fail");
        }
    });
    let done = (nth.load(Ordering::Relaxed) - first) as f64;
    let client = (cpu::spent("self") - spent) as f64 / 1_000.0 / done;
    let served = meter.map_or(Served::default(), Meter::stop);
    let mut walls = Vec::new();
    runtime.block_on(async {
        let until = Instant::now() + ALONE;
        while walls.is_empty() || Instant::now() < until {
            let began = Instant::now();
            (place.act)(0, nth.fetch_add(1, Ordering::Relaxed)).await;
            walls.push(began.elapsed().as_secs_f64() * 1e6);
        }
    });
    Figures {
        client,
        server: served.micros / done,
        commands: served.commands / done,
        bytes_in: served.bytes_in / done,
        bytes_out: served.bytes_out / done,
        wall: Quartiles::of(walls).median,
    }
}

/// What a Redis has done since it was looked at, by its own word (`INFO`).
#[derive(Debug)]
pub struct Meter<'a> {
    server: &'a Server,
    /// What looking itself costs.
    look: Served,
    before: Served,
}

/// What a server did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Served {
    /// Microseconds on a processor, of the system and of its own.
    pub micros: f64,
    /// Commands, those in scripts included.
    pub commands: f64,
    /// Bytes it was sent.
    pub bytes_in: f64,
    /// Bytes it sent.
    pub bytes_out: f64,
}

impl std::ops::Sub for Served {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            micros: self.micros - other.micros,
            commands: self.commands - other.commands,
            bytes_in: self.bytes_in - other.bytes_in,
            bytes_out: self.bytes_out - other.bytes_out,
        }
    }
}

impl<'a> Meter<'a> {
    /// Begins to count.
    pub fn start(server: &'a Server) -> Self {
        let first = Self::now(server);
        let before = Self::now(server);
        Self { server, look: before - first, before }
    }

    /// What was done since, by everybody but this.
    pub fn stop(self) -> Served {
        Self::now(self.server) - self.before - self.look
    }

    fn now(server: &Server) -> Served {
        let info = server.command(&["INFO", "everything"]).text();
        let number = |line: &str| line.parse::<f64>().unwrap_or_default();
        let mut served = Served::default();
        for line in info.lines() {
            match line.split_once(':') {
                Some(("used_cpu_sys" | "used_cpu_user", seconds)) => served.micros += number(seconds) * 1e6,
                Some(("total_net_input_bytes", bytes)) => served.bytes_in = number(bytes),
                Some(("total_net_output_bytes", bytes)) => served.bytes_out = number(bytes),
                Some((name, counts)) if name.starts_with("cmdstat_") => {
                    let calls = counts.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
                    served.commands += calls.map_or(0.0, number);
                }
                _ => {}
            }
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(points: &[(usize, usize, f64)]) -> Growth {
        let figures = |cost| Figures { client: cost, commands: 1.0, ..Figures::default() };
        let points = points.iter().map(|(size, returned, cost)| (*size, *returned, figures(*cost))).collect();
        Growth { axis: "things", name: "doing".into(), points }
    }

    #[test]
    fn an_exponent_is_the_slope_between_logarithms() {
        let processor = |points: &[(usize, usize, f64)]| growth(points).exponent(Growth::processor);
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(near(processor(&[(10, 1, 7.0), (100, 1, 7.0), (1_000, 1, 7.0)]), 0.0));
        assert!(near(processor(&[(10, 1, 1.0), (100, 1, 10.0), (1_000, 1, 100.0)]), 1.0));
        assert!(near(processor(&[(10, 1, 1.0), (1_000, 1, 10_000.0)]), 2.0));
        assert!(near(processor(&[(10, 1, 1.0)]), 0.0), "one point has no slope");
    }

    #[test]
    fn what_answers_more_may_cost_more() {
        assert_eq!(growth(&[(10, 1, 5.0), (1_000, 1, 6.0)]).verdict(), Verdict::Flat);
        assert_eq!(growth(&[(10, 10, 5.0), (1_000, 1_000, 400.0)]).verdict(), Verdict::Returned);
        assert_eq!(growth(&[(10, 50, 5.0), (1_000, 50, 400.0)]).verdict(), Verdict::Grows);
        let more_than_returned = [(10, 10, 5.0), (1_000, 1_000, 50_000.0)];
        assert_eq!(growth(&more_than_returned).verdict(), Verdict::Grows);
    }
}
