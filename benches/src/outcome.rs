//! What came of a contest.

use crate::contest::Goal;

/// What happened in a turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Operations in a second.
    pub rate: f64,
    /// Microseconds of the client's processors for each; not a number where nobody knows.
    pub cpu: f64,
    /// Microseconds of the server's for each.
    pub server: f64,
}

/// One who contended, and its turns.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// Its turns; none where it is missing.
    pub turns: Vec<Turn>,
}

impl Entry {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), turns: Vec::new() }
    }

    /// The quartiles of something of its turns.
    pub fn quartiles(&self, of: impl Fn(&Turn) -> f64) -> Quartiles {
        Quartiles::of(self.turns.iter().map(of).collect())
    }
}

/// Half of the values are between `low` and `high`.
#[derive(Debug, Clone, Copy)]
pub struct Quartiles {
    /// A quarter of the values is below.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// A quarter of the values is above.
    pub high: f64,
}

impl Quartiles {
    /// Those of these values; not numbers where there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            values.get(values.len().saturating_sub(1) * quarters / 4).copied().unwrap_or(f64::NAN)
        };
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

/// What came of a row, with so many tasks: ours first.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the row is called.
    pub name: String,
    /// How many tasks there were.
    pub tasks: usize,
    /// How many things one operation does.
    pub elements: u64,
    /// Everybody.
    pub entries: Vec<Entry>,
    /// What was hoped for.
    pub goals: Vec<Goal>,
    /// How many elements a second of the server's processor is hoped to be enough for.
    pub per_core: Option<f64>,
}

impl Outcome {
    /// Ours.
    pub fn ours(&self) -> &Entry {
        &self.entries[0]
    }

    /// Who is called so.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name && !entry.turns.is_empty())
    }

    /// How many times as fast as this one ours was, within one round.
    pub fn ratio(&self, theirs: &Entry) -> Quartiles {
        let turns = self.ours().turns.iter().zip(&theirs.turns);
        Quartiles::of(turns.map(|(ours, theirs)| ours.rate / theirs.rate).collect())
    }

    /// For how many elements a second of the server's processor was enough.
    pub fn elements_per_core(&self) -> Quartiles {
        self.ours().quartiles(|turn| self.elements as f64 * 1e6 / turn.server)
    }

    pub(crate) fn print(&self) {
        println!("\n{}, {} at a time", self.name, self.tasks);
        for (place, entry) in self.entries.iter().enumerate() {
            if entry.turns.is_empty() {
                println!("  {:<44} is not installed", entry.name);
                continue;
            }
            let rate = entry.quartiles(|turn| turn.rate).median;
            let cpu = entry.quartiles(|turn| turn.cpu).median;
            let server = entry.quartiles(|turn| turn.server).median;
            let cpu = if cpu.is_nan() { " ".repeat(17) } else { format!("{cpu:>7.2} us client") };
            let beside = if place == 0 { String::new() } else { self.beside(entry) };
            println!("  {:<44} {rate:>9.0} /s  {cpu} {server:>7.2} us server{beside}", entry.name);
        }
        if let Some(hoped) = self.per_core {
            let elements = self.elements_per_core().median;
            println!("  {elements:.0} a second of the server's core{}", verdict(hoped, elements));
        }
    }

    fn beside(&self, theirs: &Entry) -> String {
        let ratio = self.ratio(theirs).median;
        let turns = self.ours().turns.iter().zip(&theirs.turns);
        let more = Quartiles::of(turns.map(|(ours, theirs)| ours.cpu / theirs.cpu).collect()).median;
        let more =
            if more.is_nan() { String::new() } else { format!(", {:+.0} % client", (more - 1.0) * 100.0) };
        let goal = self.goals.iter().find(|goal| goal.tasks == self.tasks && goal.is_beside(&theirs.name));
        format!(
            "  ours {ratio:.2} x{more}{}",
            goal.map_or(String::new(), |goal| verdict(goal.at_least, ratio))
        )
    }
}

fn verdict(at_least: f64, measured: f64) -> String {
    format!("  goal {at_least}: {}", if measured >= at_least { "met" } else { "MISSED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_in_the_middle() {
        let seven = Quartiles::of(vec![7.0, 1.0, 6.0, 2.0, 5.0, 3.0, 4.0]);
        assert_eq!((seven.low, seven.median, seven.high), (2.0, 4.0, 5.0));
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }
}
