//! [`Outbox`] on MongoDB: events wait in the documents of what they are about, written by the same write.
//!
//! A document of `messages`, `positions` or `outbox` has, as long as anything waits, an array `outbox` of entries and their lowest stamp as
//! `due`. Stamps order what waits: see [`stamp`](crate::stamp). An entry holds the event as it was written, so nothing
//! that happens to its document changes what is published under its id. What a transaction writes to several documents has
//! its events in documents of their own, in the collection `outbox`.
//!
//! Who publishes the events of a key is written down in `claims`. Looking and claiming is one transaction, so that what
//! another owner has just cleared is not handed out again. Who has cleared all it was given of a key lets go of it. A claim
//! says since when it holds: should the server's clock go back, one that begins in the future is nobody's, so no key is held
//! for longer than a lease and five seconds. Both owners may publish then what one of them was given, under the same ids.
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `claim` | 7; 4 when nothing waits | as many |
//! | `clear` | 4 | 2 |
//! | `list` | 4 | as many |
//! | `stats` | 3 | 1 |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::EventId;
use chat_core::domain::page::{Page, Paged};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, wire};
use chat_core::store::Outbox;
use chat_core::store::outbox::OutboxStats;
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use parking_lot::Mutex;

use crate::db::{Db, SKEW};
use crate::error::{Trouble, corrupt};
use crate::operation::Operation;
use crate::record::date;
use crate::schema::{Index, Schema};
use crate::transaction::transaction;

const CLAIM: Operation = Operation::write("outbox.claim");
const CLEAR: Operation = Operation::write("outbox.clear");
const LIST: Operation = Operation::read("outbox.list");
const STATS: Operation = Operation::read("outbox.stats");

/// Where events wait.
pub(crate) const OUTBOX: &str = "outbox";
const CLAIMS: &str = "claims";

/// The collections whose documents may have events.
pub(crate) const SOURCES: [&str; 3] = [OUTBOX, crate::messages::MESSAGES, crate::positions::POSITIONS];

/// How many documents a look reads at least: others may have what comes first.
const AT_LEAST: usize = 64;

/// How many events may wait in one document, and how many bytes of them: a relay that is away for long stops what would fill
/// it.
const MAX_WAITING: usize = 1_000;
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// The longest event, in bytes: what a host puts into names may be of any length.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// The indexes every source has: by what is due, and by event.
pub(crate) const DUE: Index = Index { name: "due", keys: &[("due", 1)], unique: false, partial: &["due"] };
pub(crate) const BY_EVENT: Index =
    Index { name: "outbox_event", keys: &[("outbox.id", 1)], unique: false, partial: &["due"] };

pub(crate) const SCHEMA: Schema =
    Schema { name: OUTBOX, fields: &[("outbox", &["array"])], indexes: &[DUE, BY_EVENT] };

pub(crate) const CLAIMS_SCHEMA: Schema =
    Schema { name: CLAIMS, fields: &[("owner", &["string"]), ("until", &["date"])], indexes: &[] };

/// Entries of a document's outbox: `first` is the stamp of the first of them.
pub(crate) fn entries(events: &[Envelope], first: i64) -> Vec<Bson> {
    let entry = |(nth, envelope): (i64, &Envelope)| {
        Bson::Document(doc! {
            "id": envelope.id.as_str(),
            "key": envelope.key(),
            "stamp": first.saturating_add(nth),
            "event": wire::encode_payload(envelope),
        })
    };
    (0..).zip(events).map(entry).collect()
}

/// Puts events into a new document.
pub(crate) fn put(document: &mut Document, events: &[Envelope], first: i64) {
    if !events.is_empty() {
        document.insert("outbox", entries(events, first));
        document.insert("due", first);
    }
}

/// Adds events to an update of a document.
///
/// # Errors
/// [`Code::PayloadTooLarge`].
pub(crate) fn push(update: &mut Document, events: &[Envelope], first: i64) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let entries = entries(events, first);
    entries.iter().try_for_each(check_entry)?;
    let mut part = |operator: &str, name: &str, value: Bson| -> Result<()> {
        let fields = update.entry(operator.to_owned()).or_insert_with(|| Bson::Document(Document::new()));
        let fields = fields.as_document_mut().ok_or_else(|| corrupt("an update is a document"))?;
        fields.insert(name, value);
        Ok(())
    };
    part("$push", "outbox", doc! { "$each": entries }.into())?;
    part("$min", "due", first.into())
}

/// Refuses another event for a document in which too many wait.
///
/// # Errors
/// [`Code::QueueFull`].
pub(crate) fn check_room(document: &Document) -> Result<()> {
    let Ok(waiting) = document.get_array("outbox") else { return Ok(()) };
    if waiting.len() >= MAX_WAITING {
        return Err(Error::new(Code::QueueFull).with("max", MAX_WAITING));
    }
    if waiting.iter().map(size).sum::<usize>() >= MAX_WAITING_BYTES {
        return Err(Error::new(Code::QueueFull).with("max", MAX_WAITING_BYTES));
    }
    Ok(())
}

/// The bytes of an event in an entry.
fn size(entry: &Bson) -> usize {
    entry.as_document().and_then(|entry| entry.get_str("event").ok()).map_or(0, str::len)
}

fn check_entry(entry: &Bson) -> Result<()> {
    if size(entry) > MAX_EVENT_BYTES {
        return Err(Error::new(Code::PayloadTooLarge).with("max", MAX_EVENT_BYTES));
    }
    Ok(())
}

/// Writes events in a transaction, each to a document of its own.
pub(crate) async fn write(db: &Db, session: &mut ClientSession, events: &[Envelope]) -> Result<(), Trouble> {
    if events.is_empty() {
        return Ok(());
    }
    let first = db.stamps(0, i64::try_from(events.len()).unwrap_or(i64::MAX));
    write_from(db, session, events, first).await
}

/// [`write`], with the stamp of the first of them.
pub(crate) async fn write_from(
    db: &Db,
    session: &mut ClientSession,
    events: &[Envelope],
    first: i64,
) -> Result<(), Trouble> {
    let last = first.saturating_add(i64::try_from(events.len()).unwrap_or(i64::MAX));
    db.see(last);
    let document = |(nth, envelope): (i64, &Envelope)| {
        let mut document = doc! { "_id": envelope.id.as_str() };
        put(&mut document, std::slice::from_ref(envelope), first.saturating_add(nth));
        document.get_array("outbox").into_iter().flatten().try_for_each(check_entry)?;
        Ok(document)
    };
    let documents = (0..).zip(events).map(document).collect::<Result<Vec<_>>>()?;
    db.collection(OUTBOX).insert_many(documents).session(session).await?;
    Ok(())
}

/// What waits, as it is stored.
#[derive(Debug, Clone)]
struct Waiting {
    id: String,
    key: String,
    event: String,
}

impl Waiting {
    fn envelope(&self) -> Result<Envelope> {
        let origin = wire::Origin { stream: OUTBOX, entry: &self.id };
        wire::decode_payload(&self.event, origin).map_err(Error::from)
    }
}

/// The way of events out of the truth. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoOutbox {
    db: Db,
    /// By owner, what it was given and did not clear, and the key of each: lets a key go when all of it is cleared. Who
    /// forgets it, because the process ended, keeps the key until its claim runs out.
    given: Mutex<HashMap<String, HashMap<EventId, String>>>,
}

/// Where an event stands among all that wait. Nodes may give the same stamp in the same millisecond, though not for one key.
type Place = (i64, String);

/// One claim under way: looks further and further until enough is found.
#[derive(Debug, Clone)]
struct Search {
    /// Everything before this was looked at.
    from: Place,
    /// What of the owner's keys stands further on, in documents that were looked at.
    ahead: BTreeMap<Place, Waiting>,
    mine: BTreeSet<String>,
    /// The keys of others. What comes first of them was passed over, so nothing of them is given, though they be free now.
    refused: BTreeSet<String>,
    given: Vec<Waiting>,
    is_over: bool,
}

impl Search {
    fn new() -> Self {
        let (ahead, mine, refused, given) = Default::default();
        Self { from: (i64::MIN, String::new()), ahead, mine, refused, given, is_over: false }
    }
}

impl MongoOutbox {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, given: Mutex::default() }
    }

    /// The entries of the first documents of all sources from a place on; and before which place nothing is missing, unless
    /// that is all there is.
    async fn look(
        &self,
        session: &mut ClientSession,
        from: &Place,
        limit: usize,
    ) -> Result<(BTreeMap<Place, Waiting>, Option<Place>), Trouble> {
        let (mut waiting, mut horizon) = (BTreeMap::new(), None);
        for source in SOURCES {
            let source = self.db.collection(source);
            let mut at_once = i64::try_from(limit.max(AT_LEAST)).unwrap_or(i64::MAX);
            loop {
                let find = source.find(doc! { "due": { "$gte": from.0 } }).sort(doc! { "due": 1 });
                let find =
                    find.hint(Hint::Name(DUE.name.to_owned())).projection(doc! { "outbox": 1, "due": 1 });
                let mut found = find.limit(at_once).session(&mut *session).await?;
                let (mut count, mut last) = (0, from.0);
                while let Some(document) = found.next(&mut *session).await.transpose()? {
                    count += 1;
                    last = document.get_i64("due").map_err(|_| corrupt("due"))?;
                    for entry in document.get_array("outbox").map_err(|_| corrupt("outbox"))? {
                        let (stamp, entry) = read(entry)?;
                        self.db.see(stamp);
                        waiting.insert((stamp, entry.id.clone()), entry);
                    }
                }
                if count < at_once {
                    break;
                }
                if last > from.0 {
                    // There may be more with the last stamp.
                    let here = (last, String::new());
                    horizon = Some(
                        horizon.map_or_else(|| here.clone(), |horizon: Place| horizon.min(here.clone())),
                    );
                    break;
                }
                // All of them have one stamp.
                at_once = at_once.saturating_mul(2);
            }
        }
        waiting.retain(|place, _| place >= from);
        Ok((waiting, horizon))
    }

    /// Makes keys the owner's, but for those that another has.
    async fn claim_keys(
        &self,
        session: &mut ClientSession,
        owner: &str,
        keys: &BTreeSet<&str>,
        lease: Duration,
    ) -> Result<BTreeSet<String>, Trouble> {
        let claims = self.db.collection(CLAIMS);
        let now = self.db.now();
        let (since, until) = (date(now), date(now.after(lease)));
        let (mut new, mut free) = (keys.clone(), BTreeSet::new());
        let there = doc! { "_id": { "$in": keys.iter().copied().collect::<Vec<_>>() } };
        let mut found = claims.find(there).session(&mut *session).await?;
        while let Some(claim) = found.next(&mut *session).await.transpose()? {
            let key = claim.get_str("_id").map_err(|_| corrupt("claim"))?;
            let is_free = claim.get_str("owner").is_ok_and(|holder| holder == owner)
                || claim.get_datetime("until").is_ok_and(|until| *until <= date(now))
                || claim.get_datetime("since").is_ok_and(|since| *since > date(now.after(SKEW)));
            new.remove(key);
            if is_free {
                free.insert(key.to_owned());
            }
        }
        if !new.is_empty() {
            let claim = |key: &&str| doc! { "_id": *key, "owner": owner, "since": since, "until": until };
            claims.insert_many(new.iter().map(claim)).session(&mut *session).await?;
        }
        if !free.is_empty() {
            let these = doc! { "_id": { "$in": free.iter().cloned().collect::<Vec<_>>() } };
            let mine = doc! { "$set": { "owner": owner, "since": since, "until": until } };
            claims.update_many(these, mine).session(&mut *session).await?;
        }
        free.extend(new.into_iter().map(str::to_owned));
        Ok(free)
    }

    /// One look further, and what is given of it.
    async fn search(
        &self,
        session: &mut ClientSession,
        mut search: Search,
        owner: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Search, Trouble> {
        let limit = limit.saturating_sub(search.given.len());
        let (found, horizon) = self.look(session, &search.from, limit).await?;
        let mut waiting = std::mem::take(&mut search.ahead);
        waiting.extend(found);
        waiting.retain(|_, entry| !search.refused.contains(&entry.key));
        let full = waiting.keys().nth(limit).cloned();
        let horizon = match (horizon, full) {
            (Some(horizon), Some(full)) => Some(horizon.min(full)),
            (horizon, full) => horizon.or(full),
        };
        let mut ahead = horizon.as_ref().map_or_else(BTreeMap::new, |horizon| waiting.split_off(horizon));
        let new: BTreeSet<_> = waiting
            .values()
            .map(|entry| entry.key.as_str())
            .filter(|key| !search.mine.contains(*key))
            .collect();
        if !new.is_empty() {
            let mine = self.claim_keys(session, owner, &new, lease).await?;
            search.refused.extend(new.into_iter().filter(|key| !mine.contains(*key)).map(str::to_owned));
            search.mine.extend(mine);
        }
        ahead.retain(|_, entry| search.mine.contains(&entry.key));
        search.ahead = ahead;
        search.given.extend(waiting.into_values().filter(|entry| search.mine.contains(&entry.key)));
        search.is_over = horizon.is_none();
        search.from = horizon.unwrap_or(search.from);
        Ok(search)
    }

    /// The keys an owner has nothing of any more, once these events are cleared.
    fn let_go(&self, owner: &str, events: &[EventId]) -> Vec<String> {
        let mut given = self.given.lock();
        let Some(of_owner) = given.get_mut(owner) else { return Vec::new() };
        let mut keys: BTreeSet<_> = events.iter().filter_map(|event| of_owner.remove(event)).collect();
        for key in of_owner.values() {
            keys.remove(key);
        }
        if of_owner.is_empty() {
            given.remove(owner);
        }
        keys.into_iter().collect()
    }
}

/// A cursor: the stamp and the event.
fn place(cursor: &str) -> Result<Place> {
    let (stamp, id) = cursor.split_once('.').ok_or_else(|| Error::new(Code::CursorInvalid))?;
    Ok((stamp.parse().map_err(|error| Error::new(Code::CursorInvalid).caused_by(error))?, id.to_owned()))
}

fn read(entry: &Bson) -> Result<(i64, Waiting), Trouble> {
    let entry = entry.as_document().ok_or_else(|| corrupt("outbox"))?;
    let text = |name| entry.get_str(name).map(str::to_owned).map_err(|_| corrupt("outbox"));
    let stamp = entry.get_i64("stamp").map_err(|_| corrupt("outbox"))?;
    Ok((stamp, Waiting { id: text("id")?, key: text("key")?, event: text("event")? }))
}

#[async_trait]
impl Outbox for MongoOutbox {
    async fn claim(&self, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        let mut found = Search::new();
        // What others have may stand before what is free.
        while found.given.len() < limit && !found.is_over {
            let further = transaction!(&self.db, CLAIM, |session| self.search(
                session,
                found.clone(),
                owner,
                limit,
                lease
            ));
            found = further.await?;
        }
        let envelopes = found.given.iter().map(Waiting::envelope).collect::<Result<Vec<_>>>()?;
        let mut given = self.given.lock();
        let of_owner = given.entry(owner.to_owned()).or_default();
        for (envelope, entry) in envelopes.iter().zip(found.given) {
            of_owner.insert(envelope.id.clone(), entry.key);
        }
        Ok(envelopes)
    }

    async fn clear(&self, owner: &str, events: &[EventId]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = events.iter().map(EventId::as_str).collect();
        self.db
            .run(CLEAR, async {
                let these = doc! { "due": { "$exists": true }, "outbox.id": { "$in": &ids } };
                let left = doc! { "$filter": {
                    "input": "$outbox", "cond": { "$not": { "$in": ["$$this.id", &ids] } },
                } };
                let stamps = doc! { "$map": { "input": "$outbox", "in": "$$this.stamp" } };
                let none_left = doc! { "$eq": ["$outbox", []] };
                let rest = vec![
                    doc! { "$set": { "outbox": left } },
                    // A path through what a stage before has made is not followed by every server.
                    doc! { "$set": { "due": { "$cond": [&none_left, "$$REMOVE", { "$min": stamps }] } } },
                    doc! { "$set": { "outbox": { "$cond": [&none_left, "$$REMOVE", "$outbox"] } } },
                ];
                let embedded = SOURCES.into_iter().filter(|source| *source != OUTBOX);
                let cleared = embedded.map(|source| {
                    let (these, rest) = (these.clone(), rest.clone());
                    async move {
                        let source = self.db.collection(source);
                        let by_event = Hint::Name(BY_EVENT.name.to_owned());
                        source.update_many(these, rest).hint(by_event).await.map(drop)
                    }
                });
                let alone = async {
                    self.db.collection(OUTBOX).delete_many(doc! { "_id": { "$in": &ids } }).await.map(drop)
                };
                futures::future::try_join(try_join_all(cleared), alone).await?;
                let keys = self.let_go(owner, events);
                if !keys.is_empty() {
                    let mine = doc! { "_id": { "$in": keys }, "owner": owner };
                    self.db.collection(CLAIMS).delete_many(mine).await?;
                }
                Ok(())
            })
            .await
    }

    async fn list(&self, page: &Page<String>) -> Result<Paged<Envelope, String>> {
        page.check()?;
        let after = page.after.as_deref().map(place).transpose()?;
        let from = after.clone().unwrap_or_else(|| Search::new().from);
        let surplus = page.limit.saturating_add(2);
        let (mut found, mut horizon) = (BTreeMap::new(), Some(from));
        // Up to the horizon nothing is missing; what lies behind it is looked at again.
        while let Some(from) = horizon.take_if(|_| found.len() < surplus) {
            let further = transaction!(&self.db, LIST, |session| self.look(session, &from, surplus));
            let (mut further, end) = further.await?;
            if let Some(end) = &end {
                further.split_off(end);
            }
            found.extend(further);
            horizon = end;
        }
        let found = found.into_iter().filter(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        let found =
            found.map(|(place, entry)| Ok((place, entry.envelope()?))).take(page.limit.saturating_add(1));
        let found = found.collect::<Result<Vec<_>>>()?;
        let found = Paged::from_surplus(found, page.limit, |((stamp, id), _)| format!("{stamp}.{id}"));
        Ok(found.map(|(_, envelope)| envelope))
    }

    async fn stats(&self) -> Result<OutboxStats> {
        let count = |source| async move {
            let pipeline = [
                doc! { "$match": { "due": { "$exists": true } } },
                doc! { "$group": { "_id": Bson::Null, "waiting": { "$sum": { "$size": "$outbox" } } } },
            ];
            let source = self.db.collection(source);
            let counting = source.aggregate(pipeline);
            let mut found = counting.hint(Hint::Name(DUE.name.to_owned())).await?;
            let sum = found.try_next().await?;
            Ok(sum
                .and_then(|sum| sum.get_i32("waiting").map(i64::from).or(sum.get_i64("waiting")).ok())
                .unwrap_or(0))
        };
        let counts: Vec<i64> = self.db.run(STATS, try_join_all(SOURCES.map(count))).await?;
        Ok(OutboxStats { pending: u64::try_from(counts.iter().sum::<i64>()).unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_has_an_end_in_number_and_in_bytes() {
        let of = |count: usize, bytes: usize| {
            let entry = Bson::Document(doc! { "event": "x".repeat(bytes) });
            check_room(&doc! { "outbox": vec![entry; count] }).map_err(|error| error.code())
        };
        assert_eq!(check_room(&doc! {}).map_err(|error| error.code()), Ok(()));
        assert_eq!(of(MAX_WAITING - 1, 9), Ok(()));
        assert_eq!(of(MAX_WAITING, 9), Err(Code::QueueFull));
        assert_eq!(of(3, 1024 * 1024), Ok(()));
        assert_eq!(of(4, 1024 * 1024), Err(Code::QueueFull));
        let entry = |bytes| Bson::Document(doc! { "event": "x".repeat(bytes) });
        assert!(check_entry(&entry(MAX_EVENT_BYTES)).is_ok());
        assert!(check_entry(&entry(MAX_EVENT_BYTES + 1)).is_err());
    }
}
