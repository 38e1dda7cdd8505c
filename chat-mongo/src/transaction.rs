//! Transactions: attempted again while others are in the way.

use std::time::Duration;

use mongodb::ClientSession;
use mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT;
use rand::Rng;

use crate::db::Db;
use crate::error::{Trouble, is_transient};

/// Runs `$body` in a transaction of `$session` and commits it; again from the beginning, with another session, while other
/// writers are in the way. The body answers a `Result<_, Trouble>`; what it refuses takes back everything.
macro_rules! transaction {
    ($db:expr, $operation:expr, |$session:ident| $body:expr) => {{
        let db: &$crate::db::Db = $db;
        db.run($operation, async {
            let mut attempts = db.attempts();
            loop {
                let mut session = attempts.begin().await?;
                let outcome = {
                    let $session = &mut session;
                    $body.await
                };
                if let Some(done) = attempts.end(session, outcome).await? {
                    break Ok(done);
                }
            }
        })
    }};
}
pub(crate) use transaction;

/// Runs `$body` in a transaction of `$session` and commits it; `None` when another writer was in the way: for what is
/// compared and set after a look from outside.
macro_rules! together {
    ($db:expr, |$session:ident| $body:expr) => {{
        let mut attempts = $crate::db::Db::attempts($db);
        let mut session = attempts.begin().await?;
        let outcome = {
            let $session = &mut session;
            $body.await
        };
        attempts.end(session, outcome).await
    }};
}
pub(crate) use together;

/// The first pause before something is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A pause that grows, and is never the same for two who are in each other's way.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSES.0)
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        let pause = rand::rng().random_range(0..=nanos);
        self.0 = (self.0 * 2).min(PAUSES.1);
        tokio::time::sleep(Duration::from_nanos(pause)).await;
    }
}

/// Attempts at one transaction.
#[derive(Debug)]
pub(crate) struct Attempts {
    db: Db,
    pause: Pause,
}

impl Attempts {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, pause: Pause::default() }
    }

    /// A session with a transaction begun.
    pub(crate) async fn begin(&mut self) -> Result<ClientSession, Trouble> {
        self.db.session().await
    }

    /// Commits what went well and takes back what did not; `None` when it is to be attempted again.
    pub(crate) async fn end<T>(
        &mut self,
        mut session: ClientSession,
        outcome: Result<T, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        let done = match outcome {
            Ok(done) => done,
            Err(trouble) => {
                // If this is not heard, the server does it after a while by itself.
                let _ = session.abort_transaction().await;
                return match trouble {
                    Trouble::InTheWay => {
                        self.pause.wait().await;
                        Ok(None)
                    }
                    Trouble::Said(said) if is_transient(&said) => {
                        self.pause.wait().await;
                        Ok(None)
                    }
                    trouble => Err(trouble),
                };
            }
        };
        loop {
            match session.commit_transaction().await {
                Ok(()) => return Ok(Some(done)),
                Err(said) if said.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                    self.pause.wait().await;
                }
                Err(said) if is_transient(&said) => {
                    self.pause.wait().await;
                    return Ok(None);
                }
                Err(said) => return Err(Trouble::Said(said)),
            }
        }
    }
}
