//! What was measured: read from the pages that tell of it.

use std::collections::BTreeMap;
use std::ops::{Add, Mul};

use anyhow::{Context, Result};

/// Memory of a socket in bytes, and deliveries a second of a core, while `docs/LOAD.md` has none: one run of `chat-load` on a busy
/// machine, 3 000 idle sockets, and a room of ten.
const SOCKET: f64 = 37_500.0;
const DELIVERIES: f64 = 68_000.0;

/// What one of something costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    /// Microseconds of a processor of the node.
    pub(crate) node: f64,
    /// Microseconds of a processor of Redis.
    pub(crate) redis: f64,
    /// Bytes to Redis, and back.
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            node: self.node + other.node,
            redis: self.redis + other.redis,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }
}

impl Mul<f64> for Cost {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            node: self.node * times,
            redis: self.redis * times,
            bytes_in: self.bytes_in * times,
            bytes_out: self.bytes_out * times,
        }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// The rows of all tables of a page, by their first cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    rows: BTreeMap<String, Vec<f64>>,
    /// Bytes of a socket, and deliveries a second of a core; whether they were measured.
    pub(crate) socket: (f64, bool),
    pub(crate) deliveries: (f64, bool),
}

impl Measured {
    /// From `docs/GROWTH.md` and `docs/LOAD.md`.
    pub(crate) fn read(growth: &str, load: &str) -> Self {
        let first = |text: &str, name: &str| {
            rows(text).find(|(row, _)| row == name).and_then(|(_, cells)| cells.first().copied())
        };
        let or = |found: Option<f64>, else_: f64| found.map_or((else_, false), |found| (found, true));
        let rooms_of_ten = load.split("100 rooms of 10 at once").nth(1).unwrap_or_default();
        Self {
            rows: rows(growth).collect(),
            socket: or(first(load, "memory of a socket, bytes"), SOCKET),
            deliveries: or(first(rooms_of_ten, "deliveries per second of CPU"), DELIVERIES),
        }
    }

    fn row(&self, name: &str) -> Result<&Vec<f64>> {
        self.rows.get(name).with_context(|| {
            format!("docs/GROWTH.md has no row {name:?}: `cargo xtask bench growth --write`")
        })
    }

    /// The cost of one.
    pub(crate) fn cost(&self, name: &str) -> Result<Cost> {
        match self.row(&format!("cost: {name}"))?[..] {
            [node, redis, _, bytes_in, bytes_out, ..] => Ok(Cost { node, redis, bytes_in, bytes_out }),
            _ => Err(anyhow::anyhow!("the row {name:?} of docs/GROWTH.md is no cost")),
        }
    }

    /// The first number of a row: where there are few.
    pub(crate) fn few(&self, name: &str) -> Result<f64> {
        self.row(name)?
            .first()
            .copied()
            .with_context(|| format!("the row {name:?} of docs/GROWTH.md has no number"))
    }

    /// The last number of a row: where there are many.
    pub(crate) fn number(&self, name: &str) -> Result<f64> {
        self.row(name)?
            .last()
            .copied()
            .with_context(|| format!("the row {name:?} of docs/GROWTH.md has no number"))
    }
}

/// Rows of tables: the first cell, and the numbers after it, whose thousands may be apart.
fn rows(text: &str) -> impl Iterator<Item = (String, Vec<f64>)> {
    text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let name = cells.next()?.to_owned();
        let numbers = cells.map_while(|cell| cell.replace(' ', "").parse().ok()).collect::<Vec<f64>>();
        (!numbers.is_empty()).then_some((name, numbers))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_name() {
        let growth = "| cost | client µs | Redis µs |\n|---|---|---|\n| cost: send | 20.5 | 3.25 | 6 | 300 | 80 | 90 |\n| a user of 100 000 online | 1 512 |\n";
        let load = "### 100 rooms of 10 at once\n| deliveries per second of CPU | 61 234 | 9 | | |\n";
        let measured = Measured::read(growth, load);
        let send = Cost { node: 20.5, redis: 3.25, bytes_in: 300.0, bytes_out: 80.0 };
        assert_eq!(measured.cost("send").unwrap(), send);
        assert_eq!(measured.number("a user of 100 000 online").unwrap(), 1512.0);
        assert_eq!(measured.deliveries, (61_234.0, true));
        assert_eq!(measured.socket, (SOCKET, false));
        assert!(measured.cost("receive").is_err());
    }

    #[test]
    fn costs_add_up() {
        let one = Cost { node: 1.0, redis: 2.0, bytes_in: 3.0, bytes_out: 4.0 };
        assert_eq!([one, one * 2.0].into_iter().sum::<Cost>(), one * 3.0);
    }
}
