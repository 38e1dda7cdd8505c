#![doc = include_str!("../README.md")]

pub mod audit;
pub mod config;
pub mod conversations;
pub mod files;
pub mod health;
pub mod life;
pub mod messages;
pub mod outbox;
pub mod positions;
pub mod schema;
pub mod source;
pub mod stamp;
pub mod wake;

mod db;
mod error;
mod message_index;
mod operation;
mod record;
mod transaction;

use std::sync::Arc;

use chat_core::Chat;
use chat_core::error::Result;
use chat_core::service::ChatBuilder;

pub use audit::MongoAudit;
pub use config::MongoConfig;
pub use conversations::MongoConversations;
pub use files::MongoFiles;
pub use health::Health;
pub use messages::MongoMessages;
pub use outbox::MongoOutbox;
pub use positions::MongoPositions;
pub use source::MongoSource;
pub use wake::Waking;

use db::Db;
use schema::{Migration, Step};

/// Every port of this crate, in one database.
#[derive(Debug, Clone)]
pub struct Mongo {
    /// What was said.
    pub messages: Arc<MongoMessages>,
    /// What truth has written and nobody has published yet.
    pub outbox: Arc<MongoOutbox>,
    /// Read positions.
    pub positions: Arc<MongoPositions>,
    /// Who talks where.
    pub conversations: Arc<MongoConversations>,
    /// What files there are.
    pub files: Arc<MongoFiles>,
    /// What moderators and rules did.
    pub audit: Arc<MongoAudit>,
    /// The truth about users.
    pub source: Arc<MongoSource>,
    db: Db,
}

impl Mongo {
    /// Connects, without a look at the schema: see [`ensure`](Self::ensure).
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid) for a server without transactions, or one that does
    /// not let us in; [`Code::Unavailable`](chat_core::error::Code::Unavailable) when there is none.
    pub async fn connect(config: &MongoConfig) -> Result<Self> {
        let db = Db::connect(config).await?;
        Ok(Self {
            messages: Arc::new(MongoMessages::new(db.clone())),
            outbox: Arc::new(MongoOutbox::new(db.clone())),
            positions: Arc::new(MongoPositions::new(db.clone())),
            conversations: Arc::new(MongoConversations::new(db.clone())),
            files: Arc::new(MongoFiles::new(db.clone())),
            audit: Arc::new(MongoAudit::new(db.clone())),
            source: Arc::new(MongoSource::new(db.clone())),
            db,
        })
    }

    /// What [`ensure`](Self::ensure) would do, as far as nobody does it meanwhile.
    ///
    /// # Errors
    /// Those of [`ensure`](Self::ensure).
    pub async fn plan(&self) -> Result<Vec<Step>> {
        self.plan_with(schema::MIGRATIONS).await
    }

    /// [`plan`](Self::plan), of these migrations: for tests.
    ///
    /// # Errors
    /// Those of [`ensure`](Self::ensure).
    #[doc(hidden)]
    pub async fn plan_with(&self, migrations: &[Migration]) -> Result<Vec<Step>> {
        schema::plan(&self.db, schema::ALL, migrations).await
    }

    /// Makes the collections, validators and indexes that are missing, and takes the migrations that were not taken. Safe to
    /// repeat, and from many nodes at once.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid) when a newer program has made the schema.
    pub async fn ensure(&self) -> Result<()> {
        self.ensure_with(schema::MIGRATIONS).await
    }

    /// [`ensure`](Self::ensure), of these migrations: for tests.
    ///
    /// # Errors
    /// Those of [`ensure`](Self::ensure).
    #[doc(hidden)]
    pub async fn ensure_with(&self, migrations: &[Migration]) -> Result<()> {
        schema::ensure(&self.db, schema::ALL, migrations).await
    }

    /// How the database is, asked for now.
    pub async fn health(&self) -> Health {
        health::health(&self.db).await
    }

    /// Wakes the relay of `chat` when another node has written what nobody has published: see [`wake`]. A hint, on which
    /// nothing depends. Needs a Tokio runtime.
    ///
    /// ```no_run
    /// # async fn example() -> chat_core::Result<()> {
    /// let mongo = chat_mongo::connect("mongodb://localhost:27017/chat").await?;
    /// let chat = mongo.clone().equip(chat_core::Chat::builder()).build();
    /// let _running = chat.start();
    /// let _waking = mongo.wake(&chat);
    /// # Ok(()) }
    /// ```
    pub fn wake(&self, chat: &Chat) -> Waking {
        Waking::start(self.db.clone(), chat.clone())
    }

    /// Ends what the driver does by itself, its connections and sessions included, for every clone: in the last lines of a
    /// program, before its runtime goes away under the driver's tasks. What is asked later is refused as unavailable.
    pub async fn close(self) {
        self.db.close().await;
    }

    /// The builder with every port of this crate instead of its own: the truth lives in MongoDB then.
    #[must_use]
    pub fn equip(self, builder: ChatBuilder) -> ChatBuilder {
        builder
            .messages(self.messages)
            .outbox(self.outbox)
            .positions(self.positions)
            .conversations(self.conversations)
            .files(self.files)
            .source(self.source)
    }
}

/// Connects to MongoDB, makes sure of the schema, and offers every port of this crate: see [`MongoConfig::from_url`].
///
/// # Errors
/// Those of [`MongoConfig::from_url`], [`Mongo::connect`] and [`Mongo::ensure`].
pub async fn connect(url: &str) -> Result<Mongo> {
    let mongo = Mongo::connect(&MongoConfig::from_url(url)?).await?;
    mongo.ensure().await?;
    Ok(mongo)
}
