//! The schema as code: collections, what their documents must have, and indexes, each declared beside the query it serves.
//!
//! [`Mongo::ensure`](crate::Mongo::ensure) makes what is missing; it repeats harmlessly and from many nodes at once. What
//! changes documents is a migration: numbered, made once, by one node at a time. A node refuses a schema newer than its own.

use std::fmt;
use std::time::Duration;

use chat_core::error::{Code, Error, Result};
use futures::future::BoxFuture;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Database, IndexModel};

use crate::db::{Db, SKEW};
use crate::error::{Trouble, code, is_duplicate};
use crate::operation::Operation;
use crate::record::date;

const PLAN: Operation = Operation::read("schema.plan");
const ENSURE: Operation = Operation::write("schema.ensure");
const MIGRATE: Operation = Operation::write("schema.migrate");

/// Where the version of the schema is written down.
const VERSIONS: &str = "schema";

/// How long a node has a migration to itself without a word from it.
const LEASE: Duration = Duration::from_secs(60);

/// How often others look whether it is done.
const WAIT: Duration = Duration::from_millis(200);

/// A collection.
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    /// Fields every document has, and the BSON types they may be of.
    pub(crate) fields: &'static [(&'static str, &'static [&'static str])],
    pub(crate) indexes: &'static [Index],
}

/// An index. One over `expiresAt` alone has the server remove what has expired.
pub(crate) struct Index {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [(&'static str, i32)],
    pub(crate) unique: bool,
    /// Only documents that have these fields are in it. A question that names it must imply so.
    pub(crate) partial: &'static [&'static str],
}

/// A change of documents that are there. Made by one node at a time, as long as that one lives.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version there is afterwards: one more than before.
    pub to: i32,
    /// What is changed, for people.
    pub what: &'static str,
    /// Changes it. Repeats harmlessly: a node may die in the middle, and the next one begins it again.
    pub run: for<'a> fn(&'a Database) -> BoxFuture<'a, mongodb::error::Result<()>>,
}

/// Every collection but the one of versions.
pub(crate) const ALL: &[Schema] = &[
    crate::messages::SCHEMA,
    crate::messages::HIDDEN_SCHEMA,
    crate::messages::PINS_SCHEMA,
    crate::positions::SCHEMA,
    crate::conversations::SCHEMA,
    crate::conversations::MEMBERS_SCHEMA,
    crate::files::SCHEMA,
    crate::audit::SCHEMA,
    crate::source::SCHEMA,
    crate::outbox::SCHEMA,
    crate::outbox::CLAIMS_SCHEMA,
];

/// Every migration, oldest first. Version 1 is the first there was.
pub(crate) const MIGRATIONS: &[Migration] = &[];

/// What has to be done to a database before it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Make a collection.
    Collection(String),
    /// Make an index.
    Index {
        /// Of which collection.
        collection: String,
        /// Called what.
        name: String,
    },
    /// Change documents.
    Migration {
        /// The version there is afterwards.
        to: i32,
        /// What is changed.
        what: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(name) => write!(f, "make the collection {name}"),
            Self::Index { collection, name } => write!(f, "make the index {name} of {collection}"),
            Self::Migration { to, what } => write!(f, "to version {to}: {what}"),
        }
    }
}

/// The version of a set of migrations.
fn version_of(migrations: &[Migration]) -> i32 {
    migrations.last().map_or(1, |migration| migration.to)
}

impl Index {
    fn model(&self) -> IndexModel {
        let keys: Document =
            self.keys.iter().map(|(field, way)| ((*field).to_owned(), Bson::Int32(*way))).collect();
        let partial: Document = self
            .partial
            .iter()
            .map(|field| ((*field).to_owned(), Bson::Document(doc! { "$exists": true })))
            .collect();
        let options = IndexOptions::builder()
            .name(self.name.to_owned())
            .unique(self.unique.then_some(true))
            .expire_after((self.keys == [("expiresAt", 1)]).then_some(Duration::ZERO))
            .partial_filter_expression((!partial.is_empty()).then_some(partial))
            .build();
        IndexModel::builder().keys(keys).options(options).build()
    }
}

impl Schema {
    fn validator(&self) -> Document {
        let fields = self.fields.iter().map(|(name, kinds)| {
            let kinds: Vec<Bson> = kinds.iter().map(|kind| Bson::String((*kind).to_owned())).collect();
            ((*name).to_owned(), Bson::Document(doc! { "bsonType": kinds }))
        });
        let fields: Document = fields.collect();
        let required: Vec<Bson> =
            self.fields.iter().map(|(name, _)| Bson::String((*name).to_owned())).collect();
        doc! { "$jsonSchema": { "bsonType": "object", "required": required, "properties": fields } }
    }

    /// The names of its indexes that are there; `None` when the collection is not.
    async fn indexes_there(&self, db: &Db) -> Result<Option<Vec<String>>, Trouble> {
        match db.collection(self.name).list_index_names().await {
            Ok(names) => Ok(Some(names)),
            Err(said) if code(&said) == Some(26) => Ok(None),
            Err(said) => Err(said.into()),
        }
    }

    async fn ensure(&self, db: &Db) -> Result<(), Trouble> {
        match db.database().create_collection(self.name).validator(self.validator()).await {
            Ok(()) => {}
            // It is there, perhaps with an older validator.
            Err(said) if code(&said) == Some(48) => {
                let change = doc! { "collMod": self.name, "validator": self.validator() };
                db.database().run_command(change).await?;
            }
            Err(said) => return Err(said.into()),
        }
        let indexes: Vec<_> = self.indexes.iter().map(Index::model).collect();
        if !indexes.is_empty() {
            db.collection(self.name).create_indexes(indexes).await?;
        }
        Ok(())
    }
}

/// What [`ensure`] would do.
pub(crate) async fn plan(db: &Db, all: &[Schema], migrations: &[Migration]) -> Result<Vec<Step>> {
    db.run(PLAN, async {
        let there = version(db, migrations).await?;
        let mut steps = Vec::new();
        for schema in all {
            let indexes = schema.indexes_there(db).await?;
            if indexes.is_none() {
                steps.push(Step::Collection(schema.name.to_owned()));
            }
            let there = indexes.unwrap_or_default();
            for index in schema.indexes.iter().filter(|index| !there.iter().any(|name| name == index.name)) {
                let (collection, name) = (schema.name.to_owned(), index.name.to_owned());
                steps.push(Step::Index { collection, name });
            }
        }
        // A new database begins with the newest version.
        for migration in migrations.iter().filter(|migration| there.is_some_and(|there| migration.to > there))
        {
            steps.push(Step::Migration { to: migration.to, what: migration.what.to_owned() });
        }
        Ok(steps)
    })
    .await
}

/// Makes what is missing and migrates what is old.
///
/// # Errors
/// [`Code::ConfigInvalid`] for a schema newer than this.
pub(crate) async fn ensure(db: &Db, all: &[Schema], migrations: &[Migration]) -> Result<()> {
    let newest = version_of(migrations);
    // A version that is not there yet belongs to a database that is not there yet.
    db.run(ENSURE, async {
        if version(db, migrations).await?.is_none() {
            let first = doc! { "_id": "version", "version": newest };
            match db.collection(VERSIONS).insert_one(first).await {
                Err(said) if !is_duplicate(&said) => return Err(said.into()),
                _ => {}
            }
        }
        Ok(())
    })
    .await?;
    for schema in all {
        db.run(ENSURE, schema.ensure(db)).await?;
    }
    for migration in migrations {
        migrate(db, migration, migrations).await?;
    }
    Ok(())
}

/// The version that is there; `None` in a new database.
async fn version(db: &Db, migrations: &[Migration]) -> Result<Option<i32>, Trouble> {
    let found = db.collection(VERSIONS).find_one(doc! { "_id": "version" }).await?;
    let there = found.and_then(|document| document.get_i32("version").ok());
    let newest = version_of(migrations);
    match there {
        Some(there) if there > newest => {
            let reason =
                format!("the database has version {there} of the schema, this program knows {newest}");
            Err(Error::invalid(Code::ConfigInvalid, reason).into())
        }
        there => Ok(there),
    }
}

/// Takes one step, unless it was taken; waits while another node takes it.
async fn migrate(db: &Db, migration: &Migration, migrations: &[Migration]) -> Result<()> {
    let node = rand::random::<i64>();
    loop {
        match take(db, migration, migrations, node).await? {
            None => return Ok(()),
            Some(false) => tokio::time::sleep(WAIT).await,
            Some(true) => {
                tracing::info!(to = migration.to, what = migration.what, "migrating");
                tokio::select! {
                    done = (migration.run)(db.database()) => {
                        done.map_err(|said| crate::error::error(MIGRATE, Trouble::Said(said)))?;
                        finish(db, migration, node).await?;
                    }
                    () = hold(db, migration, node) => {}
                }
            }
        }
    }
}

/// Whether a step is this node's to take now; `None` when it was taken.
async fn take(db: &Db, migration: &Migration, migrations: &[Migration], node: i64) -> Result<Option<bool>> {
    db.run(MIGRATE, async {
        if version(db, migrations).await?.is_some_and(|there| there >= migration.to) {
            return Ok(None);
        }
        let now = db.now();
        let free = doc! {
            "_id": "version",
            "version": migration.to - 1,
            "$or": [
                { "until": { "$exists": false } },
                { "until": { "$lte": date(now) } },
                // Held by a clock that was wrong.
                { "until": { "$gt": date(now.after(LEASE + SKEW)) } },
                { "by": node },
            ],
        };
        let mine = doc! { "$set": { "by": node, "until": date(now.after(LEASE)) } };
        let versions = db.collection(VERSIONS);
        let taken = versions.find_one_and_update(free, mine).return_document(ReturnDocument::After).await?;
        Ok(Some(taken.is_some()))
    })
    .await
}

/// Holds a step for this node; ends when another has it.
async fn hold(db: &Db, migration: &Migration, node: i64) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        let held = db.run(MIGRATE, async {
            let mine = doc! { "_id": "version", "version": migration.to - 1, "by": node };
            let longer = doc! { "$set": { "until": date(db.now().after(LEASE)) } };
            Ok(db.collection(VERSIONS).update_one(mine, longer).await?.matched_count == 1)
        });
        // What cannot be said now may be said the next time.
        if matches!(held.await, Ok(false)) {
            return;
        }
    }
}

async fn finish(db: &Db, migration: &Migration, node: i64) -> Result<()> {
    db.run(MIGRATE, async {
        let mine = doc! { "_id": "version", "version": migration.to - 1, "by": node };
        let done = doc! { "$set": { "version": migration.to }, "$unset": { "by": "", "until": "" } };
        db.collection(VERSIONS).update_one(mine, done).await?;
        Ok(())
    })
    .await
}
