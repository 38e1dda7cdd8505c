//! How the database is.

use std::fmt;
use std::time::Duration;

use chat_core::clock::Stopwatch;

use crate::db::Db;
use crate::operation::Operation;

const HEALTH: Operation = Operation::read("mongo.health");

/// An answer that takes longer is a concern.
const SLOW: Duration = Duration::from_millis(500);

/// How the database is.
pub type Health = chat_core::observe::Health<Concern>;

/// What is wrong with a database that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// An answer took so long.
    Slow(Duration),
    /// No primary takes writes.
    ReadOnly,
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(time) => write!(f, "it takes {} ms to answer", time.as_millis()),
            Self::ReadOnly => f.write_str("no primary takes writes"),
        }
    }
}

/// How it is, asked for now.
pub(crate) async fn health(db: &Db) -> Health {
    let began = Stopwatch::start();
    let Ok(hello) = db.run(HEALTH, db.hello()).await else { return Health::Disconnected };
    let time = began.elapsed();
    let is_primary = hello.get_bool("isWritablePrimary").unwrap_or(false);
    Health::answering([(time > SLOW, Concern::Slow(time)), (!is_primary, Concern::ReadOnly)])
}
