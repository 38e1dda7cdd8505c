//! The schema is made by whoever comes first, and never harmed by whoever comes later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, SystemClock};
use chat_core::domain::UserProfile;
use chat_core::error::Code;
use chat_core::store::{FileStore, UserSource};
use chat_mongo::schema::{Migration, Step};
use chat_mongo::{Health, Mongo, MongoConfig};
use chat_testkit::expect::unavailable;
use chat_testkit::server::Mongo as Server;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use futures::TryStreamExt;
use futures::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::{CommandEvent, CommandStartedEvent};
use mongodb::{Client, Database, IndexModel};

use super::desk::{fresh, patient, server};

trials! { needs "mongo":
    a_plan_says_what_ensure_does,
    many_nodes_ensure_at_once,
    a_newer_schema_is_refused,
    an_older_database_is_migrated_once,
    a_migration_of_a_dead_node_is_taken_over,
    what_is_declared_is_there,
    graves_are_removed_in_their_time,
    a_document_of_another_shape_is_refused,
    nobody_there_is_unavailable,
    a_server_that_answers_is_healthy,
    what_is_closed_is_unavailable,
}

async fn database(config: &MongoConfig) -> mongodb::Database {
    Client::with_uri_str(config.url.expose()).await.unwrap().database(&config.database)
}

async fn a_plan_says_what_ensure_does() -> Result<(), Absent> {
    let config = fresh(server()?.url());
    let mongo = Mongo::connect(&config).await.unwrap();
    let plan = mongo.plan().await.unwrap();
    assert!(plan.contains(&Step::Collection("messages".to_owned())), "{plan:?}");
    let index = Step::Index { collection: "messages".to_owned(), name: "due".to_owned() };
    assert!(plan.contains(&index), "{plan:?}");
    assert!(database(&config).await.list_collection_names().await.unwrap().is_empty(), "a plan does nothing");
    mongo.ensure().await.unwrap();
    assert_eq!(mongo.plan().await.unwrap(), []);
    mongo.ensure().await.unwrap();
    Ok(())
}

async fn many_nodes_ensure_at_once() -> Result<(), Absent> {
    let config = fresh(server()?.url());
    let nodes = join_all((0..8).map(|_| Mongo::connect(&config))).await;
    let ensured = join_all(nodes.iter().map(|node| node.as_ref().unwrap().ensure())).await;
    assert!(ensured.iter().all(Result::is_ok), "{ensured:?}");
    assert_eq!(nodes[0].as_ref().unwrap().plan().await.unwrap(), []);
    Ok(())
}

async fn a_newer_schema_is_refused() -> Result<(), Absent> {
    let config = fresh(server()?.url());
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.ensure().await.unwrap();
    let versions = database(&config).await.collection::<Document>("schema");
    versions.update_one(doc! { "_id": "version" }, doc! { "$set": { "version": 99 } }).await.unwrap();
    for refused in [mongo.ensure().await.unwrap_err(), mongo.plan().await.unwrap_err()] {
        assert_eq!(refused.code(), Code::ConfigInvalid);
        assert!(refused.detail("reason").unwrap().contains("version 99"), "{refused:?}");
    }
    Ok(())
}

async fn a_document_of_another_shape_is_refused() -> Result<(), Absent> {
    let config = fresh(server()?.url());
    Mongo::connect(&config).await.unwrap().ensure().await.unwrap();
    let outbox = database(&config).await.collection::<Document>("outbox");
    let refused = outbox.insert_one(doc! { "_id": "x", "outbox": "a text" }).await.unwrap_err();
    assert!(format!("{refused:?}").contains("121"), "{refused:?}");
    Ok(())
}

async fn nobody_there_is_unavailable() -> Result<(), Absent> {
    let url = "mongodb://127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=100";
    let refused = Mongo::connect(&fresh(url)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    Ok(())
}

async fn a_server_that_answers_is_healthy() -> Result<(), Absent> {
    let mongo = super::desk::mongo().await?;
    assert_eq!(mongo.health().await, Health::Ok);
    Ok(())
}

async fn what_is_closed_is_unavailable() -> Result<(), Absent> {
    let mongo = super::desk::mongo().await?;
    let clone = mongo.clone();
    mongo.close().await;
    assert_eq!(clone.health().await, Health::Disconnected);
    let ann = UserProfile::new(sample::user("ann"), "Ann", SystemClock.now());
    unavailable(clone.source.fetch_many(std::slice::from_ref(&ann.id)).await);
    unavailable(clone.source.create_many(&[ann]).await);
    Ok(())
}

/// A database of version 1, in which users are called by `name`, and `count` of them.
async fn older(config: &MongoConfig, count: usize) -> Database {
    Mongo::connect(config).await.unwrap().ensure().await.unwrap();
    let database = database(config).await;
    let user = |nth: usize| doc! { "_id": format!("user {nth}"), "stamp": 1_i64, "name": "Ada", "updatedAt": DateTime::now() };
    database.collection("users").insert_many((0..count).map(user)).await.unwrap();
    database
}

async fn version(database: &Database) -> i32 {
    let versions = database.collection::<Document>("schema");
    versions.find_one(doc! { "_id": "version" }).await.unwrap().unwrap().get_i32("version").unwrap()
}

async fn renamed(database: &Database) -> u64 {
    let users = database.collection::<Document>("users");
    users.count_documents(doc! { "fullName": { "$exists": true } }).await.unwrap()
}

async fn rename(database: &Database, which: Document) -> mongodb::error::Result<()> {
    let users = database.collection::<Document>("users");
    users.update_many(which, doc! { "$rename": { "name": "fullName" } }).await.map(drop)
}

async fn an_older_database_is_migrated_once() -> Result<(), Absent> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    const MIGRATIONS: [Migration; 1] = [Migration {
        to: 2,
        what: "users have a fullName",
        run: |database| {
            RUNS.fetch_add(1, Ordering::SeqCst);
            Box::pin(rename(database, doc! { "name": { "$exists": true } }))
        },
    }];
    let config = patient(fresh(server()?.url()));
    let database = older(&config, 100).await;
    let nodes = join_all((0..8).map(|_| Mongo::connect(&config))).await;
    let nodes: Vec<_> = nodes.into_iter().map(Result::unwrap).collect();
    // What would be done is said, and not done.
    let step = Step::Migration { to: 2, what: "users have a fullName".to_owned() };
    assert_eq!(step.to_string(), "to version 2: users have a fullName");
    assert_eq!(nodes[0].plan_with(&MIGRATIONS).await.unwrap(), [step]);
    assert_eq!((RUNS.load(Ordering::SeqCst), version(&database).await, renamed(&database).await), (0, 1, 0));
    let ensured = join_all(nodes.iter().map(|node| node.ensure_with(&MIGRATIONS))).await;
    assert!(ensured.iter().all(Result::is_ok), "{ensured:?}");
    assert_eq!(
        (RUNS.load(Ordering::SeqCst), version(&database).await, renamed(&database).await),
        (1, 2, 100)
    );
    assert_eq!(nodes[0].plan_with(&MIGRATIONS).await.unwrap(), []);
    let ada = nodes[1].source.fetch_many(&[sample::user("user 7")]).await.unwrap().remove(0).unwrap();
    assert_eq!(ada.full_name, "Ada");
    // The program of before keeps away from it, and a new database begins where it ends.
    for refused in [nodes[2].ensure().await, nodes[2].plan().await.map(drop)] {
        assert_eq!(refused.unwrap_err().code(), Code::ConfigInvalid);
    }
    let new = fresh(server()?.url());
    Mongo::connect(&new).await.unwrap().ensure_with(&MIGRATIONS).await.unwrap();
    assert_eq!((RUNS.load(Ordering::SeqCst), version(&self::database(&new).await).await), (1, 2));
    Ok(())
}

async fn a_migration_of_a_dead_node_is_taken_over() -> Result<(), Absent> {
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    static SECOND: AtomicUsize = AtomicUsize::new(0);
    const MIGRATIONS: [Migration; 2] = [
        Migration {
            to: 2,
            what: "half of it",
            run: |database| {
                FIRST.fetch_add(1, Ordering::SeqCst);
                Box::pin(rename(database, doc! { "name": { "$exists": true }, "_id": { "$lt": "user 5" } }))
            },
        },
        Migration {
            to: 3,
            what: "the rest, in the middle of which a node dies",
            run: |database| {
                Box::pin(async move {
                    if SECOND.fetch_add(1, Ordering::SeqCst) == 0 {
                        rename(database, doc! { "_id": "user 7" }).await?;
                        std::future::pending::<()>().await;
                    }
                    rename(database, doc! { "name": { "$exists": true } }).await
                })
            },
        },
    ];
    let clock = ManualClock::new(SystemClock.now());
    let config = patient(fresh(server()?.url())).with_clock(Arc::new(clock.clone()));
    let database = older(&config, 10).await;
    // How often somebody has asked for a step.
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = Arc::clone(&asked);
    let config = config.on_command(EventHandler::callback(move |event| {
        let is_asked = |started: &CommandStartedEvent| {
            started.command.get_str("findAndModify").is_ok_and(|of| of == "schema")
        };
        if matches!(&event, CommandEvent::Started(started) if is_asked(started)) {
            asking.fetch_add(1, Ordering::SeqCst);
        }
    }));
    let turned_away = async || {
        let more = asked.load(Ordering::SeqCst) + 2;
        eventually("two more attempts", || async { (asked.load(Ordering::SeqCst) >= more).then_some(()) })
            .await;
    };
    let begin = || {
        let config = config.clone();
        tokio::spawn(async move { Mongo::connect(&config).await.unwrap().ensure_with(&MIGRATIONS).await })
    };
    let dying = begin();
    eventually("the middle", || async { (renamed(&database).await == 6).then_some(()) }).await;
    let next = begin();
    turned_away().await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    // As long as nobody knows that it is dead, the others wait; then one of them goes on where it stood.
    clock.advance(Duration::from_secs(59));
    turned_away().await;
    assert_eq!(
        (version(&database).await, renamed(&database).await, SECOND.load(Ordering::SeqCst)),
        (2, 6, 1)
    );
    clock.advance(Duration::from_secs(1));
    next.await.unwrap().unwrap();
    assert_eq!((version(&database).await, renamed(&database).await), (3, 10));
    assert_eq!((FIRST.load(Ordering::SeqCst), SECOND.load(Ordering::SeqCst)), (1, 2));
    // What a clock has taken that was an hour ahead is nobody's.
    let ahead = DateTime::from_millis(clock.now().after(Duration::from_secs(3_660)).as_millis() as i64);
    let taken = doc! { "$set": { "version": 2, "by": 1_i64, "until": ahead } };
    database.collection::<Document>("schema").update_one(doc! { "_id": "version" }, taken).await.unwrap();
    begin().await.unwrap().unwrap();
    assert_eq!((version(&database).await, SECOND.load(Ordering::SeqCst)), (3, 3));
    Ok(())
}

/// The indexes of a collection: name, keys, whether each is unique, what is in it, and after how long it is removed.
async fn indexes(database: &Database, collection: &str) -> Vec<IndexModel> {
    let collection = database.collection::<Document>(collection);
    collection.list_indexes().await.unwrap().try_collect().await.unwrap()
}

async fn what_is_declared_is_there() -> Result<(), Absent> {
    let config = fresh(server()?.url());
    Mongo::connect(&config).await.unwrap().ensure().await.unwrap();
    let database = database(&config).await;
    let (mut expiring, mut unique) = (Vec::new(), Vec::new());
    let mut names = database.list_collection_names().await.unwrap();
    names.sort();
    for collection in &names {
        for index in indexes(&database, collection).await {
            let options = index.options.unwrap_or_default();
            let name = format!("{collection}.{}", options.name.unwrap_or_default());
            if let Some(after) = options.expire_after {
                assert_eq!((after, &index.keys), (Duration::ZERO, &doc! { "expiresAt": 1 }), "{name}");
                let partial = options.partial_filter_expression;
                assert_eq!(partial, Some(doc! { "expiresAt": { "$exists": true } }), "{name}");
                expiring.push(name.clone());
            }
            if options.unique == Some(true) {
                unique.push(name);
            }
        }
    }
    assert_eq!(expiring, ["files.graves", "users.graves"], "nothing else goes by itself");
    unique.sort();
    assert_eq!(unique, ["audit.of_chain", "messages.client_key", "messages.place"]);
    Ok(())
}

/// The server removes graves that have had their month, by its own clock; and nothing else.
async fn graves_are_removed_in_their_time() -> Result<(), Absent> {
    // How often it looks is everybody's.
    let server = Server::spawn()?;
    let soon = chat_testkit::server::op_msg::Document::new();
    server.command("admin", &soon.int("setParameter", 1).int("ttlMonitorSleepSecs", 1));
    let now = SystemClock.now();
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let clock = ManualClock::new(now);
    let mongo = Mongo::connect(&fresh(server.url()).with_clock(Arc::new(clock.clone()))).await.unwrap();
    mongo.ensure().await.unwrap();
    let ann = sample::user("ann");
    for (name, at) in [("old", now.before(month + Duration::from_secs(1))), ("new", now.before(month / 2))] {
        clock.set(at);
        let user = UserProfile::new(sample::user(name), "Name", at);
        let file = sample::file(&sample::conversation("here"), name);
        mongo.source.create_many(std::slice::from_ref(&user)).await.unwrap();
        mongo.files.register(&file).await.unwrap();
        assert!(mongo.source.delete(&user.id).await.unwrap().is_some());
        assert!(mongo.files.delete(&file.file_id, &ann, true).await.unwrap());
    }
    mongo.source.create_many(&[UserProfile::new(sample::user("alive"), "Name", now)]).await.unwrap();
    mongo.files.register(&sample::file(&sample::conversation("here"), "alive")).await.unwrap();
    let url = server.url();
    let database = Client::with_uri_str(url).await.unwrap();
    let names = database.list_database_names().await.unwrap();
    let name = names.into_iter().find(|name| name.starts_with("it-")).unwrap();
    let database = database.database(&name);
    for collection in ["users", "files"] {
        let documents = database.collection::<Document>(collection);
        let left = async || {
            let left =
                documents.find(doc! {}).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 }).await.unwrap();
            let left: Vec<_> = left.try_collect().await.unwrap();
            left.iter().map(|one| one.get_str("_id").unwrap().to_owned()).collect::<Vec<_>>()
        };
        eventually("the old grave to go", || async { (left().await.len() == 2).then_some(()) }).await;
        assert_eq!(left().await, ["alive", "new"]);
    }
    Ok(())
}
