//! What a planner sees of a command: filter, order and index, without the values; and every shape that was ever explained.

use mongodb::bson::{Bson, Document, doc};

/// Commands nobody plans: what is written where it belongs, what goes on, and what is about the server.
const PLANLESS: [&str; 15] = [
    "abortTransaction",
    "collMod",
    "commitTransaction",
    "create",
    "createIndexes",
    "dropDatabase",
    "endSessions",
    "getMore",
    "hello",
    "insert",
    "killCursors",
    "listCollections",
    "listIndexes",
    "ping",
    "saslStart",
];

/// A question within a command.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Equal for those that differ in values alone.
    pub(crate) shape: String,
    /// What is to be explained.
    pub(crate) command: Document,
}

/// The questions of a command: none in one that is not planned, several in one of several statements.
pub(crate) fn questions(name: &str, command: &Document) -> Vec<Question> {
    if PLANLESS.contains(&name) {
        return Vec::new();
    }
    let collection = command.get_str(name).unwrap_or_default();
    let head = |filter: String, of: &Document| {
        let part = |key: &str, said: &str| match of.get(key) {
            Some(Bson::Document(keys)) => format!(" {said} {keys}"),
            Some(Bson::String(index)) => format!(" {said} {index}"),
            _ => String::new(),
        };
        format!("{name} {collection} {filter}{}{}", part("sort", "by"), part("hint", "from"))
    };
    let statements = |list: &str| -> Vec<Question> {
        let statements = command.get_array(list).unwrap().iter().map(|one| one.as_document().unwrap());
        let question = |one: &Document| Question {
            shape: head(filter(one.get_document("q").unwrap()), one),
            command: doc! { name: collection, list: [one.clone()] },
        };
        statements.map(question).collect()
    };
    match name {
        "find" => {
            vec![Question { shape: head(filter_of(command, "filter"), command), command: bare(command) }]
        }
        "findAndModify" => {
            vec![Question { shape: head(filter_of(command, "query"), command), command: bare(command) }]
        }
        "update" => statements("updates"),
        "delete" => statements("deletes"),
        "aggregate" => {
            let stages = command.get_array("pipeline").unwrap().iter().map(|stage| {
                let (operator, body) = stage.as_document().unwrap().iter().next().unwrap();
                match body {
                    Bson::Document(body) if operator == "$match" => format!("{operator} {}", filter(body)),
                    _ => operator.clone(),
                }
            });
            let stages = stages.collect::<Vec<_>>().join(", ");
            vec![Question { shape: head(stages, command), command: bare(command) }]
        }
        _ => vec![Question {
            shape: format!("{name}, of which nobody knows whether it is planned"),
            command: bare(command),
        }],
    }
}

/// A command without its session.
fn bare(command: &Document) -> Document {
    let of_session = [
        "$clusterTime",
        "$db",
        "$readPreference",
        "autocommit",
        "lsid",
        "maxTimeMS",
        "readConcern",
        "startTransaction",
        "txnNumber",
        "writeConcern",
    ];
    let mine = command.iter().filter(|(name, _)| !of_session.contains(&name.as_str()));
    mine.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn filter_of(command: &Document, name: &str) -> String {
    command.get_document(name).map(filter).unwrap_or_default()
}

fn filter(of: &Document) -> String {
    let part = |(name, value): (&String, &Bson)| match (name.as_str(), value) {
        ("$or" | "$and", Bson::Array(parts)) => {
            let parts = parts.iter().filter_map(Bson::as_document).map(filter);
            format!("{name}: [{}]", parts.collect::<Vec<_>>().join(", "))
        }
        ("$exists" | "$nin", value) => {
            format!("{name}: {}", if name == "$nin" { "?".to_owned() } else { value.to_string() })
        }
        (_, Bson::Document(inner)) if inner.keys().any(|key| key.starts_with('$')) => {
            format!("{name}: {}", filter(inner))
        }
        _ => format!("{name}: ?"),
    };
    format!("{{{}}}", of.iter().map(part).collect::<Vec<_>>().join(", "))
}

/// Every shape there is, and the index that answers it. `plans` explains each; conformance sends no other.
#[rustfmt::skip]
pub(crate) const EXPLAINED: &[(&str, &str)] = &[
    ("aggregate audit $match {chain: ?, at: {$gte: ?}}, $group from since", "since"),
    ("aggregate messages $match {conversationId: ?, senderId: ?, seq: {$gt: ?, $lte: ?}}, $group from sender", "sender"),
    ("aggregate messages $match {due: {$exists: true}}, $group from due", "due"),
    ("aggregate outbox $match {due: {$exists: true}}, $group from due", "due"),
    ("aggregate positions $match {due: {$exists: true}}, $group from due", "due"),
    ("delete claims {_id: {$in: ?}, owner: ?}", "_id_"),
    ("delete members {_id: ?}", "_id_"),
    ("delete outbox {_id: {$in: ?}}", "_id_"),
    ("find audit {_id: ?}", "_id_"),
    ("find audit {_id: {$in: ?}}", "_id_"),
    ("find audit {chain: ?, action: ?, actor.user: ?, seq: {$lt: ?}} by { \"chain\": -1, \"actor.user\": -1, \"seq\": -1 } from by_actor", "by_actor"),
    ("find audit {chain: ?, action: ?, actor.user: ?, targetUserId: ?, seq: {$lt: ?}} by { \"chain\": -1, \"targetUserId\": -1, \"seq\": -1 } from by_target", "by_target"),
    ("find audit {chain: ?, action: ?, seq: {$lt: ?}} by { \"chain\": -1, \"action\": -1, \"seq\": -1 } from by_action", "by_action"),
    ("find audit {chain: ?, action: ?, targetUserId: ?, seq: {$lt: ?}} by { \"chain\": -1, \"targetUserId\": -1, \"seq\": -1 } from by_target", "by_target"),
    ("find audit {chain: ?, actor.user: ?, seq: {$lt: ?}} by { \"chain\": -1, \"actor.user\": -1, \"seq\": -1 } from by_actor", "by_actor"),
    ("find audit {chain: ?, actor.user: ?, targetUserId: ?, seq: {$lt: ?}} by { \"chain\": -1, \"targetUserId\": -1, \"seq\": -1 } from by_target", "by_target"),
    ("find audit {chain: ?, seq: {$lt: ?}} by { \"chain\": -1, \"seq\": -1 } from of_chain", "of_chain"),
    ("find audit {chain: ?, targetUserId: ?, seq: {$lt: ?}} by { \"chain\": -1, \"targetUserId\": -1, \"seq\": -1 } from by_target", "by_target"),
    ("find audit {chain: ?} by { \"chain\": -1, \"seq\": -1 } from of_chain", "of_chain"),
    ("find audit {pending: ?, at: {$gte: ?, $lt: ?}, $or: [{at: {$gt: ?}}, {at: ?, _id: {$gt: ?}}]} by { \"at\": 1, \"_id\": 1 } from pending", "pending"),
    ("find audit {pending: ?, at: {$lt: ?}} by { \"at\": 1, \"_id\": 1 } from pending", "pending"),
    ("find claims {_id: {$in: ?}}", "_id_"),
    ("find conversations {_id: ?}", "_id_"),
    ("find conversations {_id: {$in: ?}}", "_id_"),
    ("find conversations {lastActivity.at: {$gte: ?, $lte: ?}, lastActivity.seq: {$gt: ?}, $or: [{lastActivity.at: {$lt: ?}}, {lastActivity.at: ?, _id: {$gt: ?}}]} by { \"lastActivity.at\": -1, \"_id\": 1 } from active", "active"),
    ("find conversations {lastActivity.at: {$gte: ?}, lastActivity.seq: {$gt: ?}} by { \"lastActivity.at\": -1, \"_id\": 1 } from active", "active"),
    ("find files {_id: ?}", "_id_"),
    ("find files {_id: {$in: ?}}", "_id_"),
    ("find files {conversationId: ?, _id: {$gt: ?}} by { \"conversationId\": 1, \"_id\": 1 } from of_conversation", "of_conversation"),
    ("find hidden {_id.user: ?, conversationId: ?, seq: {$gt: ?}} by { \"seq\": -1 } from place", "place"),
    ("find hidden {_id.user: ?, conversationId: ?, seq: {$gt: ?}} by { \"seq\": 1 } from place", "place"),
    ("find hidden {_id.user: ?, conversationId: ?, seq: {$lt: ?}} by { \"seq\": -1 } from place", "place"),
    ("find hidden {_id: ?}", "_id_"),
    ("find hidden {_id: {$in: ?}}", "_id_"),
    ("find members {_id: {$gt: ?, $lt: ?}} by { \"_id\": 1 }", "_id_"),
    ("find members {_id: {$in: ?}}", "_id_"),
    ("find members {userId: ?, settings.archived: ?} from of_user", "of_user"),
    ("find members {userId: ?, type: ?, settings.archived: ?} from of_user", "of_user"),
    ("find members {userId: ?, type: ?} from of_user", "of_user"),
    ("find members {userId: ?} from of_user", "of_user"),
    ("find messages {_id: ?}", "_id_"),
    ("find messages {_id: {$in: ?}, conversationId: ?}", "_id_"),
    ("find messages {_id: {$in: ?}}", "_id_"),
    ("find messages {conversationId: ?, main: {$gt: ?}} by { \"main\": -1 } from main", "main"),
    ("find messages {conversationId: ?, main: {$gt: ?}} by { \"main\": 1 } from main", "main"),
    ("find messages {conversationId: ?, main: {$lt: ?}} by { \"main\": -1 } from main", "main"),
    ("find messages {conversationId: ?, mentioned: {$in: ?}, seq: {$gt: ?, $lte: ?}} from mentioned", "mentioned"),
    ("find messages {conversationId: ?, senderId: ?} by { \"seq\": -1 } from sender", "sender"),
    ("find messages {conversationId: ?, senderId: {$in: ?}, clientKey: {$in: ?}} from client_key", "client_key"),
    ("find messages {conversationId: ?, senderId: {$ne: ?}, seq: {$gt: ?, $lte: ?}} by { \"seq\": 1 } from place", "place"),
    ("find messages {conversationId: ?, seq: ?} from place", "place"),
    ("find messages {conversationId: ?, seq: {$gt: ?, $lte: ?}, uncounted: ?} from uncounted", "uncounted"),
    ("find messages {conversationId: ?, seq: {$gt: ?}} by { \"seq\": -1 } from place", "place"),
    ("find messages {conversationId: ?, seq: {$gt: ?}} by { \"seq\": 1 } from place", "place"),
    ("find messages {conversationId: ?, seq: {$lt: ?}} by { \"seq\": -1 } from place", "place"),
    ("find messages {conversationId: ?, terms: ?, createdAt: {$lt: ?}, seq: {$gt: ?}, _id: {$nin: ?}} by { \"createdAt\": 1, \"seq\": 1 } from terms", "terms"),
    ("find messages {conversationId: ?, terms: {$all: ?}, createdAt: {$lt: ?}} by { \"createdAt\": -1, \"seq\": -1 } from terms", "terms"),
    ("find messages {conversationId: ?, terms: {$all: ?}, createdAt: {$lte: ?}, seq: {$lt: ?}} by { \"createdAt\": -1, \"seq\": -1 } from terms", "terms"),
    ("find messages {conversationId: ?, terms: {$all: ?}, createdAt: {$lte: ?}} by { \"createdAt\": -1, \"seq\": -1 } from terms", "terms"),
    ("find messages {conversationId: ?, terms: {$all: ?}} by { \"createdAt\": -1, \"seq\": -1 } from terms", "terms"),
    ("find messages {conversationId: ?, thread.root: ?, deleted: ?} by { \"seq\": -1 } from thread", "thread"),
    ("find messages {conversationId: ?, thread.root: ?, seq: {$gt: ?}} by { \"seq\": -1 } from thread", "thread"),
    ("find messages {conversationId: ?, thread.root: ?, seq: {$gt: ?}} by { \"seq\": 1 } from thread", "thread"),
    ("find messages {conversationId: ?, thread.root: ?, seq: {$lt: ?}} by { \"seq\": -1 } from thread", "thread"),
    ("find messages {conversationId: ?} by { \"seq\": -1 } from place", "place"),
    ("find messages {due: {$gte: ?}} by { \"due\": 1 } from due", "due"),
    ("find outbox {due: {$gte: ?}} by { \"due\": 1 } from due", "due"),
    ("find pins {_id: ?}", "_id_"),
    ("find positions {_id: ?}", "_id_"),
    ("find positions {_id: {$in: ?}}", "_id_"),
    ("find positions {conversationId: ?, userId: {$gt: ?, $ne: ?}, delivered: {$gte: ?}, joined: {$lt: ?}} by { \"userId\": 1 } from members", "members"),
    ("find positions {conversationId: ?, userId: {$gt: ?, $ne: ?}, seen: {$gte: ?}, joined: {$lt: ?}} by { \"userId\": 1 } from members", "members"),
    ("find positions {conversationId: ?, userId: {$gt: ?}, delivered: {$gte: ?}, joined: {$lt: ?}} by { \"userId\": 1 } from members", "members"),
    ("find positions {conversationId: ?, userId: {$gt: ?}, seen: {$gte: ?}, joined: {$lt: ?}} by { \"userId\": 1 } from members", "members"),
    ("find positions {due: {$gte: ?}} by { \"due\": 1 } from due", "due"),
    ("find schema {_id: ?}", "_id_"),
    ("find users {_id: ?}", "_id_"),
    ("find users {_id: {$in: ?}}", "_id_"),
    ("findAndModify audit {_id: ?, pending: ?}", "_id_"),
    ("findAndModify conversations {_id: ?}", "_id_"),
    ("findAndModify files {_id: ?, expiresAt: {$exists: false}, keys: {$ne: ?}}", "_id_"),
    ("findAndModify schema {_id: ?, version: ?, $or: [{until: {$exists: false}}, {until: {$lte: ?}}, {until: {$gt: ?}}, {by: ?}]}", "_id_"),
    ("update claims {_id: {$in: ?}}", "_id_"),
    ("update conversations {_id: ?, lastActivity.seq: {$lt: ?}}", "_id_"),
    ("update conversations {_id: ?, version: ?}", "_id_"),
    ("update files {_id: ?, stamp: ?}", "_id_"),
    ("update members {_id: ?, stamp: ?}", "_id_"),
    ("update members {_id: ?}", "_id_"),
    ("update messages {_id: ?, version: ?}", "_id_"),
    ("update messages {_id: ?}", "_id_"),
    ("update messages {_id: {$in: ?}}", "_id_"),
    ("update messages {due: {$exists: true}, outbox.id: {$in: ?}} from outbox_event", "outbox_event"),
    ("update pins {_id: ?}", "_id_"),
    ("update positions {_id: ?, version: ?}", "_id_"),
    ("update positions {due: {$exists: true}, outbox.id: {$in: ?}} from outbox_event", "outbox_event"),
    ("update schema {_id: ?, version: ?, by: ?}", "_id_"),
    ("update users {_id: ?, stamp: ?}", "_id_"),
];
