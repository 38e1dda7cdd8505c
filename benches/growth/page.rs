//! What is told, and where it is written: `docs/GROWTH.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use chat_benches::{Figures, Growth, Verdict};

use crate::check::Fact;
use crate::costs::Cost;
use crate::memory::Bytes;
use crate::mongo::Told;
use crate::online::Crowd;
use crate::plot;

const PAGE: &str = "docs/GROWTH.md";
const BEGIN: &str = "<!-- growth:begin -->";
const END: &str = "<!-- growth:end -->";

/// Everything that was found.
pub(crate) struct Found<'a> {
    pub(crate) curves: Vec<Growth>,
    pub(crate) crowds: &'a [Crowd],
    pub(crate) memory: Vec<Bytes>,
    pub(crate) costs: Vec<Cost>,
    pub(crate) check: Vec<Fact>,
    pub(crate) mongo: Option<Told>,
    pub(crate) load: (String, String),
}

impl Found<'_> {
    /// The axes in their order, but for what has only one size.
    fn axes(&self) -> Vec<&'static str> {
        let mut axes: Vec<_> = self.curves.iter().map(|curve| curve.axis).collect();
        axes.dedup();
        axes.retain(|axis| *axis != crate::costs::AXIS);
        axes
    }

    fn of(&self, axis: &str) -> Vec<&Growth> {
        self.curves.iter().filter(|curve| curve.axis == axis).collect()
    }

    /// The text between the markers.
    pub(crate) fn text(&self) -> String {
        let mut text = self.machine();
        self.verdicts(&mut text);
        for axis in self.axes() {
            let picture = picture(axis);
            write!(text, "\n### By {axis}\n\n![{axis}](growth/{picture})\n\n").unwrap();
            self.table(axis, &mut text);
        }
        self.mongo(&mut text);
        self.memory(&mut text);
        self.model(&mut text);
        text
    }

    fn machine(&self) -> String {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let version = self.crowds.first().and_then(|crowd| crowd.field.server.info("redis_version"));
        format!(
            "{cores} cores ({}) for everybody, Redis {}. Load of the machine (one minute) when the run began and when it ended: \
             {} and {}; whatever is above {cores} was somebody else's or waited.\n",
            model.map_or("unknown", |(_, model)| model),
            version.unwrap_or_default(),
            self.load.0,
            self.load.1,
        )
    }

    /// Everything in one table.
    fn verdicts(&self, text: &mut String) {
        text.push_str("\n| operation | by | exponent: processor | commands | bytes | clock | verdict |\n|---|---|---|---|---|---|---|\n");
        for axis in self.axes() {
            for curve in self.of(axis) {
                let exponent = |figure: fn(&Figures) -> f64| format!("{:.2}", curve.exponent(figure));
                writeln!(
                    text,
                    "| {} | {axis} | {} | {} | {} | {} | {} |",
                    curve.name,
                    exponent(Growth::processor),
                    exponent(|figures| figures.commands),
                    exponent(|figures| figures.bytes_in + figures.bytes_out),
                    exponent(|figures| figures.wall),
                    curve.verdict(),
                )
                .unwrap();
            }
        }
    }

    fn table(&self, axis: &str, text: &mut String) {
        writeln!(text, "| operation | {axis} | client µs | Redis µs | commands | bytes to Redis | bytes back | alone, µs |").unwrap();
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for curve in self.of(axis) {
            for (nth, (size, _, figures)) in curve.points.iter().enumerate() {
                let name = if nth == 0 { curve.name.as_str() } else { "" };
                writeln!(text, "| {name} | {} | {} |", spaced(*size as f64), cells(figures)).unwrap();
            }
        }
    }

    fn mongo(&self, text: &mut String) {
        let Some(told) = &self.mongo else { return };
        text.push_str("\n### History on MongoDB\n\n| messages | a page of 50 in the middle, alone, µs | answered from | keys and documents looked at |\n|---|---|---|---|\n");
        for page in &told.pages {
            let examined =
                page.examined.map_or("not counted by this server".to_owned(), |(keys, documents)| {
                    format!("{keys}, {documents}")
                });
            writeln!(
                text,
                "| {} | {:.0} | `{}` | {examined} |",
                spaced(page.size as f64),
                page.micros,
                page.indexes
            )
            .unwrap();
        }
        let server = if told.is_mongod {
            "A `mongod`."
        } else {
            "A server that is compatible on the wire, which looks through a whole index for each question: what grows here is its own. \
             That an index alone answers is asserted; how much of it is looked at needs a `mongod` (`CHAT_TEST_MONGO_URL`), where \
             conversations go up to a million."
        };
        writeln!(text, "\n{server} Exponent: {:.2}.\n", told.exponent).unwrap();
        text.push_str("| one of | commands, or documents written |\n|---|---|\n");
        for (name, count) in &told.commands {
            writeln!(text, "| MongoDB, {name} | {} |", digits(*count)).unwrap();
        }
        for (name, count) in &told.message {
            writeln!(text, "| {name} | {count} |").unwrap();
        }
    }

    fn memory(&self, text: &mut String) {
        text.push_str("\n### Memory of Redis\n\n| one of | bytes, where there are few | where there are many |\n|---|---|---|\n");
        for bytes in &self.memory {
            writeln!(text, "| {} | {:.0} | {:.0} |", bytes.name, bytes.few, bytes.many).unwrap();
        }
        for crowd in self.crowds {
            writeln!(text, "| a user of {} online | {:.0} | |", spaced(crowd.size as f64), crowd.memory)
                .unwrap();
        }
    }

    /// What `cargo xtask capacity` reads.
    fn model(&self, text: &mut String) {
        text.push_str("\n### What the model reckons with\n\n| cost | client µs | Redis µs | commands | bytes to Redis | bytes back | alone, µs |\n|---|---|---|---|---|---|---|\n");
        for cost in &self.costs {
            writeln!(text, "| cost: {} | {} |", cost.name, cells(&cost.figures)).unwrap();
        }
        text.push_str("\n### A hundred thousand users, measured whole\n\n| fact | measured |\n|---|---|\n");
        for (name, value) in &self.check {
            writeln!(text, "| {name} | {} |", digits(*value)).unwrap();
        }
    }

    /// Puts it into the page, with its pictures.
    pub(crate) fn write(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for axis in self.axes() {
            let path: PathBuf = root.join("docs/growth").join(picture(axis));
            plot::draw(&path, axis, &self.of(axis)).unwrap();
        }
        let path = root.join(PAGE);
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("where it begins");
        let (_, after) = rest.split_once(END).expect("where it ends");
        fs::write(&path, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", self.text().trim())).unwrap();
        println!("{PAGE} written");
    }

    /// What grows without need, for people.
    pub(crate) fn grows(&self) -> Vec<String> {
        let grows = self.curves.iter().filter(|curve| curve.verdict() == Verdict::Grows);
        grows.map(|curve| format!("{} by {}", curve.name, curve.axis)).collect()
    }
}

fn picture(axis: &str) -> String {
    format!("{}.svg", axis.replace(' ', "-"))
}

fn cells(figures: &Figures) -> String {
    let Figures { client, server, commands, bytes_in, bytes_out, wall } = *figures;
    [client, server, commands, bytes_in, bytes_out, wall].map(digits).join(" | ")
}

/// Three digits, or all before the point.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A number with spaces between thousands.
fn spaced(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}
