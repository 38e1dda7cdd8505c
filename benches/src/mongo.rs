//! Where it takes place on MongoDB: a server, our ports and the raw driver, each in a database of its own.

use std::time::Duration;

use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::server::{Mongo as Server, fresh_database};
use mongodb::bson::{Document, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, IndexOptions, ReadConcern, ReadConcernLevel, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};

use crate::ring::Ring;

/// A server, and those who talk to it.
#[derive(Debug)]
pub struct MongoStage {
    /// Ours.
    pub mongo: Mongo,
    /// The raw driver, on connections of its own, with the same concerns: the database ours is in.
    pub ours: Database,
    /// The same: a database of its own.
    pub raw: Database,
    ring: Ring,
    server: Server,
}

impl MongoStage {
    /// Sets the stage; says why and gives none where there is no server.
    pub fn set() -> Option<Self> {
        let server = match Server::find_or_spawn() {
            Ok(server) => server,
            Err(absent) => {
                println!("nothing is measured: {}", absent.0);
                return None;
            }
        };
        let is_found = std::env::var_os("CHAT_TEST_MONGO_URL").is_some();
        let ring = Ring::new((!is_found).then(|| server.process().id()), 0);
        let (mongo, ours, raw) = ring.prepare(async {
            let config = MongoConfig::from_url(server.url()).expect("a good URL");
            let mut config = config.with_database(&fresh_database()).expect("a good name");
            // A machine that is busy makes slow figures, not none.
            config.operation = Duration::from_secs(60);
            let mongo = Mongo::connect(&config).await.expect("a connection");
            mongo.ensure().await.expect("a schema");
            let mut options = ClientOptions::parse(server.url()).await.expect("a good URL");
            options.max_pool_size = Some(config.max_pool_size);
            options.read_concern = Some(ReadConcern::from(ReadConcernLevel::Majority));
            options.write_concern =
                Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
            let client = Client::with_options(options).expect("a client");
            (mongo, client.database(&config.database), client.database(&fresh_database()))
        });
        Some(Self { mongo, ours, raw, ring, server })
    }

    /// Whether it is a real `mongod`. The other one looks through a whole index for each question, so that more data only makes
    /// everything slower alike.
    pub fn is_mongod(&self) -> bool {
        self.server.is_mongod()
    }

    /// Does something before the contest.
    pub fn prepare<T>(&self, work: impl Future<Output = T>) -> T {
        self.ring.prepare(work)
    }

    /// A collection of the raw driver's with these unique indexes.
    pub fn collection(&self, name: &str, unique: &[&[&str]]) -> Collection<Document> {
        let collection = self.raw.collection(name);
        let index = |fields: &&[&str]| {
            let keys: Document = fields.iter().map(|field| ((*field).to_owned(), 1.into())).collect();
            let options = IndexOptions::builder().unique(true).build();
            IndexModel::builder().keys(keys).options(options).build()
        };
        self.prepare(async {
            collection.create_indexes(unique.iter().map(index)).await.expect("indexes");
        });
        collection
    }

    /// A collection of the raw driver's with every index that ours of this name has.
    pub fn twin(&self, name: &str) -> Collection<Document> {
        let collection = self.raw.collection(&format!("{name}_indexed"));
        self.prepare(async {
            let list = self.ours.run_command(doc! { "listIndexes": name }).await.expect("indexes");
            let cursor = list.get_document("cursor").expect("a cursor");
            let indexes = cursor.get_array("firstBatch").expect("indexes");
            let own: Vec<_> = indexes
                .iter()
                .filter_map(|index| index.as_document().cloned())
                .filter(|index| !index.get_str("name").is_ok_and(|name| name == "_id_"))
                .map(|mut index| {
                    index.remove("ns");
                    index
                })
                .collect();
            let make = doc! { "createIndexes": collection.name(), "indexes": own };
            self.raw.run_command(make).await.expect("indexes");
        });
        collection
    }
}

impl Drop for MongoStage {
    fn drop(&mut self) {
        for database in [&self.ours, &self.raw] {
            let dropped = self.prepare(async { database.drop().await });
            if let Err(error) = dropped {
                println!("{} is still there: {error}", database.name());
            }
        }
    }
}

impl AsRef<Ring> for MongoStage {
    fn as_ref(&self) -> &Ring {
        &self.ring
    }
}
