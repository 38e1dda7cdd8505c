//! [`AuditLog`] on MongoDB.
//!
//! `audit` has one document for each record: the fields of [`AuditRecord`] under their names, `_id` is the id of the deed,
//! times are dates, the metadata a list of pairs. `chain` is the conversation's id, or empty for the platform's chain.
//! `pending` is there as long as the record is. No index expires anything, and nothing here deletes.
//!
//! A unique index over chain and place makes places gapless: a record is inserted after the newest one that was seen, and
//! whoever was slower looks again. A crash leaves the record or nothing.
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `append` | 2; 3 when it is there already | as many |
//! | `settle` | 1; 2 when it is settled already | as many |
//! | `get_many` | 1 for each 1 000 | as many |
//! | `list`, `pending`, `stats` | 1 | 1 |

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::audit::{AuditEntry, AuditRecord, AuditState};
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{AuditId, ConversationId, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::store::AuditLog;
use chat_core::store::audit::{AuditFilter, AuditOutcome, AuditStats, PendingCursor, repeated};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::{Hint, ReturnDocument};
use serde::Deserialize;

use crate::db::{Db, until_settled};
use crate::error::{Trouble, corrupt, is_duplicate};
use crate::life;
use crate::messages::turn::Turns;
use crate::operation::Operation;
use crate::record::{date, from_document, from_pairs, pairs, place, to_document};
use crate::schema::{Index, Schema};

const APPEND: Operation = Operation::write("audit.append");
const SETTLE: Operation = Operation::write("audit.settle");
const GET: Operation = Operation::read("audit.get_many");
const LIST: Operation = Operation::read("audit.list");
const PENDING: Operation = Operation::read("audit.pending");
const STATS: Operation = Operation::read("audit.stats");

const AUDIT: &str = "audit";

/// `append`: the newest of a chain, and that no two stand in one place. `list` of a whole chain.
const OF_CHAIN: Index =
    Index { name: "of_chain", keys: &[("chain", 1), ("seq", 1)], unique: true, partial: &[] };
/// `list`: what was done to somebody.
const BY_TARGET: Index = Index {
    name: "by_target",
    keys: &[("chain", 1), ("targetUserId", 1), ("seq", 1)],
    unique: false,
    partial: &["targetUserId"],
};
/// `list`: what somebody did.
const BY_ACTOR: Index = Index {
    name: "by_actor",
    keys: &[("chain", 1), ("actor.user", 1), ("seq", 1)],
    unique: false,
    partial: &["actor.user"],
};
/// `list`: what was done of one kind.
const BY_ACTION: Index = Index {
    name: "by_action",
    keys: &[("chain", 1), ("action", 1), ("seq", 1)],
    unique: false,
    partial: &[],
};
/// `stats`: what was done lately.
const SINCE: Index = Index { name: "since", keys: &[("chain", 1), ("at", 1)], unique: false, partial: &[] };
/// `pending`: what is pending, of all chains.
const IS_PENDING: Index =
    Index { name: "pending", keys: &[("at", 1), ("_id", 1)], unique: false, partial: &["pending"] };

pub(crate) const SCHEMA: Schema = Schema {
    name: AUDIT,
    fields: &[
        ("chain", &["string"]),
        ("seq", &["long"]),
        ("at", &["date"]),
        ("action", &["string"]),
        ("state", &["string"]),
        ("digest", &["string"]),
    ],
    indexes: &[OF_CHAIN, BY_TARGET, BY_ACTOR, BY_ACTION, SINCE, IS_PENDING],
};

/// What was done, by whom, to whom and why. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoAudit {
    db: Db,
    turns: Arc<Turns>,
}

/// The name of a chain. No conversation has an empty id.
fn chain_of(conversation: Option<&ConversationId>) -> &str {
    conversation.map_or("", ConversationId::as_str)
}

fn document(record: &AuditRecord) -> Result<Document, Trouble> {
    let mut document = to_document(record)?;
    document.remove("auditId");
    document.insert("_id", record.entry.audit_id.as_str());
    document.insert("chain", chain_of(record.entry.conversation_id.as_ref()));
    document.insert("metadata", pairs(&record.entry.metadata));
    document.insert("pending", true);
    Ok(document)
}

fn record(mut document: Document) -> Result<AuditRecord, Trouble> {
    let id = document.remove("_id").ok_or_else(|| corrupt("_id"))?;
    document.insert("auditId", id);
    let metadata = document.remove("metadata").as_ref().and_then(from_pairs);
    let mut record: AuditRecord = from_document(document)?;
    record.entry.metadata = metadata.ok_or_else(|| corrupt("metadata"))?;
    Ok(record)
}

/// Everything but what is only for the server.
fn visible() -> Document {
    doc! { "chain": 0, "pending": 0 }
}

fn named(index: &Index) -> Hint {
    Hint::Name(index.name.to_owned())
}

/// How often something was done by one actor.
#[derive(Deserialize)]
struct Done {
    #[serde(rename = "_id")]
    by: By,
    count: i64,
}

#[derive(Deserialize)]
struct By {
    action: chat_core::domain::AuditAction,
    user: Option<UserId>,
}

impl MongoAudit {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, turns: Arc::default() }
    }

    async fn read(&self, id: &AuditId) -> Result<Option<AuditRecord>, Trouble> {
        let audit = self.db.collection(AUDIT);
        audit.find_one(doc! { "_id": id.as_str() }).projection(visible()).await?.map(record).transpose()
    }

    /// One attempt to write an entry down; `None` when somebody else took the place.
    async fn attempt(&self, entry: &AuditEntry) -> Result<Option<AuditRecord>, Trouble> {
        let audit = self.db.collection(AUDIT);
        let chain = chain_of(entry.conversation_id.as_ref());
        let newest = audit.find_one(doc! { "chain": chain }).sort(doc! { "chain": -1, "seq": -1 });
        let newest = newest.hint(named(&OF_CHAIN)).projection(visible()).await?.map(record).transpose()?;
        let new = AuditRecord::following(newest.as_ref(), entry.clone(), self.db.now());
        match audit.insert_one(document(&new)?).await {
            Ok(_) => Ok(Some(new)),
            Err(said) if is_duplicate(&said) => match self.read(&entry.audit_id).await? {
                Some(known) => Ok(Some(repeated(known, entry)?)),
                None => Ok(None),
            },
            Err(said) => Err(said.into()),
        }
    }

    /// A page of records. The surplus one is not looked into: it may be one that cannot be read.
    async fn find<C>(
        &self,
        these: Document,
        sort: Document,
        index: &Index,
        page: &Page<C>,
    ) -> Result<Paged<AuditRecord, C>, Trouble>
    where
        C: for<'a> From<&'a AuditRecord> + Sync,
    {
        let audit = self.db.collection(AUDIT);
        let surplus = u32::try_from(page.limit).unwrap_or(u32::MAX).saturating_add(1);
        let find = audit.find(these).sort(sort).projection(visible()).hint(named(index));
        let cursor = find.limit(i64::from(surplus)).batch_size(surplus).await?;
        let found: Vec<Document> = cursor.try_collect().await?;
        let more = found.len() > page.limit;
        let items = found.into_iter().take(page.limit).map(record).collect::<Result<Vec<_>, _>>()?;
        let next = items.last().filter(|_| more).map(C::from);
        Ok(Paged { items, next })
    }
}

#[async_trait]
impl AuditLog for MongoAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<AuditRecord> {
        entry.check()?;
        self.db
            .run(APPEND, async {
                // Of a rush on one chain one of each node tries at a time.
                let _turn = self.turns.of(chain_of(entry.conversation_id.as_ref())).lock().await;
                until_settled(|| self.attempt(entry)).await
            })
            .await
    }

    async fn settle(&self, id: &AuditId, outcome: AuditOutcome) -> Result<AuditRecord> {
        let settled = self.db.run(SETTLE, async {
            let state = AuditState::from(outcome);
            let said = doc! {
                "$set": { "state": state.as_str(), "settledAt": date(self.db.now()) },
                "$unset": { "pending": "" },
            };
            let pending = doc! { "_id": id.as_str(), "pending": true };
            let audit = self.db.collection(AUDIT);
            let settled = audit.find_one_and_update(pending, said).return_document(ReturnDocument::After);
            match settled.projection(visible()).await? {
                Some(settled) => record(settled),
                None => {
                    let known = self.read(id).await?.ok_or(Code::AuditNotFound)?;
                    if known.state == state { Ok(known) } else { Err(Code::Conflict.into()) }
                }
            }
        });
        settled.await
    }

    async fn get_many(&self, ids: &[AuditId]) -> Result<Vec<Option<AuditRecord>>> {
        let found = self.db.run(GET, async {
            let found = life::by_id(&self.db, AUDIT, ids.iter().map(AuditId::as_str), visible()).await?;
            let one = |id: &AuditId| found.get(id.as_str()).cloned().map(record).transpose();
            ids.iter().map(one).collect::<Result<Vec<_>, Trouble>>()
        });
        found.await
    }

    async fn list(
        &self,
        chain: Option<&ConversationId>,
        filter: &AuditFilter,
        page: &Page<Seq>,
    ) -> Result<Paged<AuditRecord, Seq>> {
        page.check()?;
        let mut these = doc! { "chain": chain_of(chain) };
        // The last that names one is the narrowest.
        let mut index = (&OF_CHAIN, None);
        if let Some(action) = filter.action {
            these.insert("action", action.as_str());
            index = (&BY_ACTION, Some("action"));
        }
        if let Some(actor) = &filter.actor {
            these.insert("actor.user", actor.as_str());
            index = (&BY_ACTOR, Some("actor.user"));
        }
        if let Some(target) = &filter.target {
            these.insert("targetUserId", target.as_str());
            index = (&BY_TARGET, Some("targetUserId"));
        }
        these.insert("seq", doc! { "$lt": place(page.after.unwrap_or(Seq(u64::MAX))) });
        let mut sort = doc! { "chain": -1 };
        if let Some(field) = index.1 {
            sort.insert(field, -1);
        }
        sort.insert("seq", -1);
        self.db.run(LIST, self.find(these, sort, index.0, page)).await
    }

    async fn pending(
        &self,
        before: Timestamp,
        page: &Page<PendingCursor>,
    ) -> Result<Paged<AuditRecord, PendingCursor>> {
        page.check()?;
        let mut these = doc! { "pending": true, "at": { "$lt": date(before) } };
        if let Some(PendingCursor { at, id }) = &page.after {
            these = doc! {
                "pending": true,
                "at": { "$gte": date(*at), "$lt": date(before) },
                "$or": [{ "at": { "$gt": date(*at) } }, { "at": date(*at), "_id": { "$gt": id.as_str() } }],
            };
        }
        let sort = doc! { "at": 1, "_id": 1 };
        self.db.run(PENDING, self.find(these, sort, &IS_PENDING, page)).await
    }

    async fn stats(&self, chain: Option<&ConversationId>, since: Timestamp) -> Result<AuditStats> {
        let done = self.db.run(STATS, async {
            let steps = [
                doc! { "$match": { "chain": chain_of(chain), "at": { "$gte": date(since) } } },
                doc! { "$group": {
                    "_id": { "action": "$action", "user": "$actor.user" },
                    "count": { "$sum": 1_i64 },
                } },
            ];
            let mut cursor = self.db.collection(AUDIT).aggregate(steps).hint(named(&SINCE)).await?;
            let mut done = Vec::new();
            while let Some(document) = cursor.try_next().await? {
                done.push(from_document::<Done>(document)?);
            }
            Ok(done)
        });
        let (mut stats, mut moderators) = (AuditStats::default(), BTreeSet::new());
        for Done { by, count } in done.await? {
            let count = u64::try_from(count).unwrap_or(0);
            stats.total += count;
            *stats.by_action.entry(by.action).or_default() += count;
            moderators.extend(by.user);
        }
        stats.moderators = moderators.len() as u64;
        Ok(stats)
    }
}
