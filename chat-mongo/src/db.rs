//! [`Db`]: what every port of this crate is made of: a database, the server's time, and how an operation is run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ServerClock, Stopwatch, Timestamp};
use chat_core::error::{Code, Error, Result};
use chat_core::observe::took;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;
use mongodb::{Client, ClientSession, Collection, Database};
use tokio::time::timeout;
use tracing::Instrument;

use crate::config::MongoConfig;
use crate::error::{Trouble, error, is_transient, silent};
use crate::operation::Operation;
use crate::stamp::Stamps;
use crate::transaction::Attempts;

/// How far nodes may disagree about the server's time. What is held from later than that, by a clock that was wrong, is free.
pub(crate) const SKEW: Duration = Duration::from_secs(5);

const CONNECT: Operation = Operation::read("mongo.connect");

/// A database and how to talk to it. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    database: Database,
    clock: ServerClock,
    watch: Stopwatch,
    stamps: Stamps,
    patience: Duration,
}

impl Db {
    /// Connects, and makes sure that the server can keep the promises of this crate.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for a server without sessions and transactions, or one that does not let us in;
    /// [`Code::Unavailable`] when there is none.
    pub(crate) async fn connect(config: &MongoConfig) -> Result<Self> {
        let client = Client::with_options(config.options().await?)
            .map_err(|said| error(CONNECT, Trouble::Said(said)))?;
        let database = client.database(&config.database);
        let watch = Stopwatch::start();
        let clock = ServerClock::new(config.clock.clone(), watch);
        let (stamps, patience) = (Stamps::default(), config.operation);
        let db = Self(Arc::new(Inner { client, database, clock, watch, stamps, patience }));
        let hello = db.run(CONNECT, db.hello()).await?;
        let is_sharded = hello.get_str("msg").is_ok_and(|said| said == "isdbgrid");
        if !is_sharded && !hello.contains_key("setName") {
            let reason = "MongoDB: a replica set is needed, if only of one member: transactions need it";
            return Err(Error::invalid(Code::ConfigInvalid, reason).during(CONNECT.name));
        }
        Ok(db)
    }

    /// What the server says of itself; teaches the clock.
    pub(crate) async fn hello(&self) -> Result<Document, Trouble> {
        let asked = self.0.watch.elapsed();
        let hello = self.0.database.run_command(doc! { "hello": 1 }).await?;
        if let Ok(said) = hello.get_datetime("localTime") {
            let millis = u64::try_from(said.timestamp_millis()).unwrap_or(0);
            self.0.clock.learn(Timestamp::from_millis(millis), asked);
        }
        Ok(hello)
    }

    /// Ends the driver's own tasks. Cursors and sessions of operations under way are not waited for.
    pub(crate) async fn close(&self) {
        self.0.client.clone().shutdown().immediate(true).await;
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        self.0.database.collection(name)
    }

    /// The server's time, as good as this node knows it.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The first of `count` stamps in a row for the outbox: greater than `after`, and than all this node has given or seen.
    pub(crate) fn stamps(&self, after: i64, count: i64) -> i64 {
        self.0.stamps.next(self.now(), after, count)
    }

    /// Takes notice of a stamp that was read.
    pub(crate) fn see(&self, stamp: i64) {
        self.0.stamps.see(stamp);
    }

    /// Runs an operation within the time it has, measured and traced, and says what became of it in our own words.
    pub(crate) async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T> {
        let began = self.0.watch.elapsed();
        let span = tracing::debug_span!(
            "mongo",
            backend = "mongo",
            operation = operation.name,
            outcome = tracing::field::Empty
        );
        let work = async {
            if self.0.clock.is_stale() {
                self.hello().await?;
            }
            work.await
        };
        let answer = match timeout(self.0.patience, work.instrument(span.clone())).await {
            Ok(answer) => answer.map_err(|trouble| error(operation, trouble)),
            Err(_) => Err(silent(operation)),
        };
        let outcome = answer.as_ref().err().map_or("ok", |failure| failure.code().as_str());
        span.record("outcome", outcome);
        took("mongo", operation.name, outcome, self.0.watch.elapsed().saturating_sub(began));
        answer
    }

    /// Attempts at a transaction: see [`transaction!`](crate::transaction::transaction).
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.clone())
    }

    pub(crate) async fn session(&self) -> Result<ClientSession, Trouble> {
        let mut session = self.0.client.start_session().await?;
        session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
        Ok(session)
    }
}

/// Does something again as long as another writer was in the way: what is compared and set, and single writes that conflict.
/// The time of the operation bounds it.
pub(crate) async fn until_settled<T, F: Future<Output = Result<Option<T>, Trouble>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, Trouble> {
    let mut pause = crate::transaction::Pause::default();
    loop {
        match attempt().await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(Trouble::InTheWay) => {}
            Err(Trouble::Said(said)) if is_transient(&said) => {}
            Err(trouble) => return Err(trouble),
        }
        pause.wait().await;
    }
}
