#![doc = include_str!("../README.md")]

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

mod db;
mod error;
mod message_index;
mod operation;
mod record;
mod transaction;

use std::sync::Arc;

use chat_core::error::Result;
use chat_core::service::ChatBuilder;

pub use config::MongoConfig;
pub use conversations::MongoConversations;
pub use files::MongoFiles;
pub use health::Health;
pub use messages::MongoMessages;
pub use outbox::MongoOutbox;
pub use positions::MongoPositions;
pub use source::MongoSource;

use db::Db;
use schema::Step;

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
            source: Arc::new(MongoSource::new(db.clone())),
            db,
        })
    }

    /// What [`ensure`](Self::ensure) would do, as far as nobody does it meanwhile.
    ///
    /// # Errors
    /// Those of [`ensure`](Self::ensure).
    pub async fn plan(&self) -> Result<Vec<Step>> {
        schema::plan(&self.db, schema::ALL, schema::MIGRATIONS).await
    }

    /// Makes the collections, validators and indexes that are missing, and takes the migrations that were not taken. Safe to
    /// repeat, and from many nodes at once.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`](chat_core::error::Code::ConfigInvalid) when a newer program has made the schema.
    pub async fn ensure(&self) -> Result<()> {
        schema::ensure(&self.db, schema::ALL, schema::MIGRATIONS).await
    }

    /// How the database is, asked for now.
    pub async fn health(&self) -> Health {
        health::health(&self.db).await
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
