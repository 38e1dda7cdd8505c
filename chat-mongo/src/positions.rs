//! [`PositionStore`] on MongoDB: one document per member of a conversation, compared and set.
//!
//! What a member wrote last is not written down: the messages tell it, so that an append touches no position. The event of a
//! step waits in the document it changes; a crash leaves both or none.
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `step_many`, each | 3; 2 more when it moves something, 1 or 2 more when it is announced | 1; 2 or 3 |
//! | `receipts_many` | 1 per 1 000, and 1 per member | 1 |
//! | `readers`, `receivers` | 2 | 2 |
//! | `recount`, each | 5 | 3 |

use std::collections::HashMap;

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{ConversationId, MessageId, ReadPosition, Receipts, Seq, UserId};
use chat_core::error::{Error, Result};
use chat_core::event::Envelope;
use chat_core::event::payload::MAX_COVERED_IDS;
use chat_core::store::PositionStore;
use chat_core::store::positions::{Covered, Moved, PositionStep};
use chat_core::store::unread::UnreadTruth;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

use crate::db::{Db, until_settled};
use crate::error::{Trouble, corrupt, is_duplicate};
use crate::message_index::MessageIndex;
use crate::operation::Operation;
use crate::outbox::{self, BY_EVENT, DUE};
use crate::record::{place, seq};
use crate::schema::{Index, Schema};

const STEP: Operation = Operation::write("positions.step");
const RECEIPTS: Operation = Operation::read("positions.receipts");
const REACHED: Operation = Operation::read("positions.reached");
const RECOUNT: Operation = Operation::read("positions.recount");

/// The collection.
pub(crate) const POSITIONS: &str = "positions";

/// How many members or conversations are looked at side by side.
const AT_ONCE: usize = 16;

/// How many positions one question names.
const NAMED_AT_ONCE: usize = 1_000;

/// Who has read or received a message, in the order of the users' ids, out of the index alone.
const MEMBERS: Index = Index {
    name: "members",
    keys: &[("conversationId", 1), ("userId", 1), ("seen", 1), ("delivered", 1), ("joined", 1)],
    unique: false,
    partial: &[],
};

pub(crate) const SCHEMA: Schema = Schema {
    name: POSITIONS,
    fields: &[
        ("conversationId", &["string"]),
        ("userId", &["string"]),
        ("delivered", &["long"]),
        ("seen", &["long"]),
        ("joined", &["long"]),
        ("read", &["object"]),
        ("version", &["long"]),
    ],
    indexes: &[MEMBERS, DUE, BY_EVENT],
};

/// Who has received and read what. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoPositions {
    db: Db,
    messages: MessageIndex,
}

/// A member's document, as it was read.
#[derive(Debug)]
struct Position {
    receipts: Receipts,
    /// Zero for one that is not there.
    version: i64,
    stamp: i64,
    /// Whether another event of it may wait.
    room: Result<(), Error>,
}

/// The id of a member's document.
fn id_of(user: &UserId, conversation: &ConversationId) -> Document {
    doc! { "c": conversation.as_str(), "u": user.as_str() }
}

impl Position {
    /// Of somebody who has received nothing.
    fn none() -> Self {
        Self { receipts: Receipts::default(), version: 0, stamp: 0, room: Ok(()) }
    }

    fn read(document: &Document) -> Result<Self, Trouble> {
        let number = |document: &Document, name| document.get_i64(name).map_err(|_| corrupt("a position"));
        let read = document.get_document("read").map_err(|_| corrupt("a position"))?;
        let epoch = u32::try_from(number(read, "epoch")?).map_err(|_| corrupt("an epoch"))?;
        let read = ReadPosition {
            epoch,
            seq: seq(number(read, "seq")?),
            rewound_at: seq(number(read, "rewoundAt")?),
        };
        let receipts = Receipts {
            delivered: seq(number(document, "delivered")?),
            read,
            seen: seq(number(document, "seen")?),
            own: Seq::ZERO,
            joined: seq(number(document, "joined")?),
        };
        let stamp = document.get_i64("stamp").unwrap_or(0);
        let room = outbox::check_room(document);
        Ok(Self { receipts, version: number(document, "version")?, stamp, room })
    }
}

/// What of a member's receipts is written down.
fn fields(receipts: &Receipts) -> Document {
    let ReadPosition { epoch, seq, rewound_at } = receipts.read;
    doc! {
        "delivered": place(receipts.delivered),
        "seen": place(receipts.seen),
        "joined": place(receipts.joined),
        "read": { "epoch": i64::from(epoch), "seq": place(seq), "rewoundAt": place(rewound_at) },
    }
}

impl MongoPositions {
    pub(crate) fn new(db: Db) -> Self {
        Self { messages: MessageIndex::new(db.clone()), db }
    }

    async fn position(&self, user: &UserId, conversation: &ConversationId) -> Result<Position, Trouble> {
        let found = self.db.collection(POSITIONS).find_one(doc! { "_id": id_of(user, conversation) }).await?;
        found.as_ref().map_or_else(|| Ok(Position::none()), Position::read)
    }

    /// Takes a step, unless somebody else moves the same position meanwhile.
    async fn attempt(&self, step: &PositionStep) -> Result<Option<Moved>, Trouble> {
        let PositionStep { user, conversation, .. } = step;
        let (mut position, head, own) = futures::try_join!(
            self.position(user, conversation),
            self.messages.head(conversation),
            self.messages.last_of(conversation, user),
        )?;
        position.receipts.own = own;
        let before = position.receipts;
        let moved = Moved { before, after: step.step.taken(before, head.seq) };
        if !moved.changed() {
            return Ok(Some(moved));
        }
        let covered = match step.covers(&moved) {
            Some((after, to)) => self.covered(conversation, user, after, to).await?,
            None => Covered::default(),
        };
        position.room?;
        let (version, now) = (position.version + 1, self.db.now());
        let cause = ["position", conversation.as_str(), user.as_str(), &version.to_string()];
        let event = step.event(&moved, covered, now).map(|event| Envelope::new(&cause, now, event));
        let events: Vec<_> = event.into_iter().collect();
        // After the messages it is about.
        let stamp = self.db.stamps(position.stamp.max(head.stamp), 1);
        let is_set = self.set(step, &moved.after, version, &events, stamp).await?;
        Ok(is_set.then_some(moved))
    }

    /// Writes a version of a position; false when somebody else did.
    async fn set(
        &self,
        step: &PositionStep,
        after: &Receipts,
        version: i64,
        events: &[Envelope],
        stamp: i64,
    ) -> Result<bool, Trouble> {
        let PositionStep { user, conversation, .. } = step;
        let positions = self.db.collection(POSITIONS);
        let mut fields = fields(after);
        fields.extend(doc! { "version": version, "stamp": stamp });
        if version > 1 {
            let this = doc! { "_id": id_of(user, conversation), "version": version - 1 };
            let mut update = doc! { "$set": fields };
            outbox::push(&mut update, events, stamp)?;
            return Ok(positions.update_one(this, update).await?.matched_count == 1);
        }
        let mut document = doc! {
            "_id": id_of(user, conversation),
            "conversationId": conversation.as_str(),
            "userId": user.as_str(),
        };
        document.extend(fields);
        outbox::put(&mut document, events, stamp);
        match positions.insert_one(document).await {
            Ok(_) => Ok(true),
            Err(said) if is_duplicate(&said) => Ok(false),
            Err(said) => Err(said.into()),
        }
    }

    /// Others' messages after one place up to another. As places have no gaps, they are all but the user's own.
    async fn covered(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        after: Seq,
        to: Seq,
    ) -> Result<Covered, Trouble> {
        let all = to.0.saturating_sub(after.0);
        let enough = MAX_COVERED_IDS + 1;
        let (ids, own) = futures::try_join!(
            self.messages.of_others(conversation, user, after, to, enough),
            self.messages.count_of(conversation, user, after, to),
        )?;
        let ids = ids.into_iter().map(MessageId::new).collect::<Result<_>>()?;
        Ok(Covered { ids, count: all.saturating_sub(own) })
    }

    async fn reached(
        &self,
        conversation: &ConversationId,
        at: Seq,
        page: &Page<UserId>,
        field: &'static str,
    ) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        self.db
            .run(REACHED, async {
                let Some(sender) = self.messages.sender_at(conversation, at).await? else {
                    return Ok(Paged::last(Vec::new()));
                };
                let mut users = doc! { "$gt": page.after.as_ref().map_or("", UserId::as_str) };
                if let Some(sender) = sender {
                    users.insert("$ne", sender);
                }
                let these = doc! {
                    "conversationId": conversation.as_str(), "userId": users,
                    field: { "$gte": place(at) }, "joined": { "$lt": place(at) },
                };
                let positions = self.db.collection(POSITIONS);
                let find = positions
                    .find(these)
                    .sort(doc! { "userId": 1 })
                    .projection(doc! { "_id": 0, "userId": 1 });
                let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
                let found = find.limit(limit).hint(Hint::Name(MEMBERS.name.to_owned())).await?;
                let user = |document: Document| {
                    let user = document.get_str("userId").map_err(|_| corrupt("a position"))?;
                    Ok::<_, Trouble>(UserId::new(user)?)
                };
                let found: Vec<_> = found
                    .map_err(Trouble::from)
                    .and_then(|found| async { user(found) })
                    .try_collect()
                    .await?;
                Ok(Paged::from_surplus(found, page.limit, UserId::clone))
            })
            .await
    }

    async fn recount_one(
        &self,
        user: &UserId,
        conversation: &ConversationId,
    ) -> Result<UnreadTruth, Trouble> {
        // What the user says meanwhile must not be in the head and missing in what it wrote.
        let head = self.messages.head(conversation).await?;
        let (position, own) = futures::try_join!(
            self.position(user, conversation),
            self.messages.last_of(conversation, user),
        )?;
        let head = head.seq.max(own);
        let read = position.receipts.read;
        let after = read.reached(own);
        let (uncounted, mentions) = futures::try_join!(
            self.messages.uncounted(conversation, after, head),
            self.messages.mentioning(conversation, user, after, head),
        )?;
        Ok(UnreadTruth { head, position: read, own, uncounted, mentions })
    }
}

#[async_trait]
impl PositionStore for MongoPositions {
    async fn step_many(&self, steps: &[PositionStep]) -> Result<Vec<Moved>> {
        // The steps of one position follow each other.
        let mut of_position: HashMap<_, Vec<usize>> = HashMap::new();
        for (nth, step) in steps.iter().enumerate() {
            of_position.entry((&step.user, &step.conversation)).or_default().push(nth);
        }
        let take = |nths: Vec<usize>| async move {
            let mut taken = Vec::with_capacity(nths.len());
            for nth in nths {
                let Some(step) = steps.get(nth) else { continue };
                taken.push((nth, until_settled(|| self.attempt(step)).await?));
            }
            Ok::<_, Trouble>(taken)
        };
        let mut moved = self
            .db
            .run(
                STEP,
                stream::iter(of_position.into_values()).map(take).buffer_unordered(AT_ONCE).try_concat(),
            )
            .await?;
        moved.sort_unstable_by_key(|(nth, _)| *nth);
        Ok(moved.into_iter().map(|(_, moved)| moved).collect())
    }

    async fn receipts_many(&self, members: &[(UserId, ConversationId)]) -> Result<Vec<Receipts>> {
        self.db
            .run(RECEIPTS, async {
                let mut known = HashMap::new();
                for members in members.chunks(NAMED_AT_ONCE) {
                    let ids: Vec<_> =
                        members.iter().map(|(user, conversation)| id_of(user, conversation)).collect();
                    let mut found =
                        self.db.collection(POSITIONS).find(doc! { "_id": { "$in": ids } }).await?;
                    while let Some(document) = found.try_next().await? {
                        let part = |name| document.get_str(name).map(str::to_owned);
                        let (Ok(user), Ok(conversation)) = (part("userId"), part("conversationId")) else {
                            return Err(corrupt("a position").into());
                        };
                        known.insert((user, conversation), Position::read(&document)?.receipts);
                    }
                }
                let receipts = |(user, conversation): &(UserId, ConversationId)| {
                    let known = known.get(&(user.as_str().to_owned(), conversation.as_str().to_owned()));
                    let known = known.copied().unwrap_or_default();
                    let (user, conversation) = (user.clone(), conversation.clone());
                    async move {
                        let own = self.messages.last_of(&conversation, &user).await?;
                        Ok::<_, Trouble>(Receipts { own, ..known })
                    }
                };
                stream::iter(members).map(receipts).buffered(AT_ONCE).try_collect().await
            })
            .await
    }

    async fn readers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        self.reached(conversation, seq, page, "seen").await
    }

    async fn receivers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        self.reached(conversation, seq, page, "delivered").await
    }

    async fn recount(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<UnreadTruth>> {
        let recounts: Vec<_> =
            conversations.iter().map(|conversation| self.recount_one(user, conversation)).collect();
        self.db.run(RECOUNT, stream::iter(recounts).buffered(AT_ONCE).try_collect()).await
    }
}
