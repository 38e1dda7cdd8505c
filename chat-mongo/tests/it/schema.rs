//! The schema is made by whoever comes first, and never harmed by whoever comes later.

use chat_core::error::Code;
use chat_mongo::schema::Step;
use chat_mongo::{Health, Mongo, MongoConfig};
use chat_testkit::{Absent, trials};
use futures::future::join_all;
use mongodb::Client;
use mongodb::bson::{Document, doc};

use super::desk::{fresh, server};

trials! { needs "mongo":
    a_plan_says_what_ensure_does,
    many_nodes_ensure_at_once,
    a_newer_schema_is_refused,
    a_document_of_another_shape_is_refused,
    nobody_there_is_unavailable,
    a_server_that_answers_is_healthy,
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
