//! Walking through everything there is: for what is asked rarely and cannot be known otherwise. Never on a hot path.

use chat_core::error::Result;

use crate::config::Node;
use crate::connection::{Command, Operation};
use crate::store::Store;

/// How many keys Redis looks at for one answer: it takes a third of a millisecond.
const STEP: usize = 1_000;

/// A walk over the keys that begin with a text, of one type or any, on every server, in steps.
#[derive(Debug)]
pub(crate) struct Scan {
    store: Store,
    operation: Operation,
    pattern: String,
    kind: Option<&'static str>,
    /// Where to go; the last is where we are. A single server has no name.
    nodes: Vec<Option<Node>>,
    cursor: u64,
}

impl Store {
    /// Begins a walk.
    pub(crate) async fn scan(
        &self,
        operation: Operation,
        beginning: &str,
        kind: impl Into<Option<&'static str>>,
    ) -> Result<Scan> {
        let operation = operation.bulk();
        let nodes = self.service.nodes(operation).await?;
        let pattern = pattern(beginning);
        Ok(Scan { store: self.clone(), operation, pattern, kind: kind.into(), nodes, cursor: 0 })
    }
}

impl Scan {
    /// The next keys, possibly none; nothing at the end. A key that is there all the time is found, perhaps more than
    /// once.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(node) = self.nodes.last() else { return Ok(None) };
        let scan = Command::keyless("SCAN").arg(self.cursor);
        let scan = scan.arg("MATCH").arg(&self.pattern).arg("COUNT").arg(STEP);
        let scan = self.kind.into_iter().fold(scan, |scan, kind| scan.arg("TYPE").arg(kind));
        let (cursor, keys) = self.store.call_one(self.operation, scan.at(node.clone())).await?;
        self.cursor = cursor;
        if cursor == 0 {
            self.nodes.pop();
        }
        Ok(Some(keys))
    }
}

/// What begins like this, as a pattern in which no character means anything else.
fn pattern(beginning: &str) -> String {
    let mut pattern = String::with_capacity(beginning.len() + 8);
    for character in beginning.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_no_pattern() {
        assert_eq!(pattern("user:profile:"), "user:profile:*");
        assert_eq!(pattern("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\*");
    }
}
