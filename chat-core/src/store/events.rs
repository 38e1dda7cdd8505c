//! The ports of the event log: [`EventPublisher`], [`EventConsumer`], [`EventTail`], [`DeadLetters`].

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::only;
use crate::clock::Timestamp;
use crate::domain::page::{MAX_PAGE, Page, Paged};
use crate::error::{Error, Result};
use crate::event::{Envelope, Topic, Undecodable};

/// For how long a publisher recognises a repeated event at least: 10 minutes.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(600);

/// A place in a topic, opaque; only the log that gave it can order it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is in the log.
    Durable(Position),
    /// It is kept to be published when the log is back.
    Buffered,
    /// It was in the log already, at this position.
    Suppressed(Position),
}

port! {
    /// Writes facts. At least once; order holds per [`Envelope::key`] and topic, not across.
    pub trait EventPublisher as "publisher" {
        /// Appends events, in order. Answers what became of each.
        ///
        /// # Idempotency
        /// By event id, for [`REPEAT_WINDOW`] at least: a repeat is [`Published::Suppressed`].
        ///
        /// # Errors
        /// Any prefix of the batch may be in the log then. [`Code::QueueFull`](crate::error::Code::QueueFull) when a
        /// registered group is so far behind that nothing may be trimmed: nothing was appended.
        already async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>>;
    }
}

/// Sugar over any [`EventPublisher`]; implemented for all of them.
pub trait EventPublisherExt: EventPublisher {
    /// Appends one event.
    fn publish(&self, event: &Envelope) -> impl Future<Output = Result<Published>> + Send {
        async move { only(self.publish_many(std::slice::from_ref(event)).await?) }
    }
}

impl<P: EventPublisher + ?Sized> EventPublisherExt for P {}

/// Names a delivery to the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The topic it came from.
    pub topic: Topic,
    /// Where it stands there.
    pub position: Position,
}

/// One entry handed to one member of a group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to acknowledge.
    pub receipt: Receipt,
    /// How often it was handed out, this time included.
    pub attempt: u32,
    /// The event, or why it could not be read; either way it has to be acknowledged or buried.
    pub event: Result<Envelope, Undecodable>,
}

port! {
    /// One member of one consumer group. Pull only: what is not fetched is not buffered anywhere else.
    ///
    /// A group is registered when its first consumer is made and then receives every event of its topics from that
    /// moment (or from the beginning, if asked to), each by one member. Nothing it has not acknowledged is trimmed.
    ///
    /// A member is one consumer at a time. One that is made under a name in use took its place, as after a crash: what the
    /// former one had is with neither of them until it is acknowledged or reclaimed, so nothing of its keys overtakes it.
    pub trait EventConsumer as "consumer" {
        /// Up to `max` entries nobody in the group has had yet; waits up to `wait` for the first one.
        ///
        /// # Atomicity
        /// Racing members get different entries. While an entry of a key is with one member, no other member gets a
        /// later entry of that key.
        once(wait) async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

        /// Says that entries are done with.
        ///
        /// # Idempotency
        /// Acknowledging again changes nothing.
        write async fn ack(&self, receipts: &[Receipt]) -> Result<()>;

        /// Takes over up to `max` entries whose member has neither acknowledged them nor had them handed out again for
        /// `idle`, oldest first, and counts the attempt. What the same member holds of the same key comes along, so
        /// that order per key survives.
        once async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>>;

        /// Puts an entry among the dead letters with its cause, whole, and then acknowledges it: never the other way
        /// round.
        write async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()>;

        /// How far behind the group is.
        read async fn lag(&self) -> Result<Lag>;
    }
}

/// How far behind a consumer group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Entries no member has had yet.
    pub waiting: u64,
    /// Entries handed out and not acknowledged.
    pub pending: u64,
}

/// An event that could not be handled.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its name among the dead letters.
    pub id: String,
    /// Which group gave it up.
    pub group: String,
    /// Where it came from.
    pub receipt: Receipt,
    /// The event, or why it could not be read.
    pub event: Result<Envelope, Undecodable>,
    /// How often it was tried.
    pub attempts: u32,
    /// The code of the last failure, and what else it said.
    pub cause: String,
    /// When it was buried.
    pub at: Timestamp,
}

port! {
    /// Events set aside, so that one poisoned entry does not hold up its neighbours.
    pub trait DeadLetters as "dead_letters" {
        /// The dead letters, oldest first.
        read async fn list(&self, page: &Page<String>) -> Result<Paged<DeadLetter, String>>;

        /// Hands letters back to the group that gave them up, as its next deliveries, and takes them off the list;
        /// says how many. What cannot be read stays.
        already async fn replay(&self, ids: &[String]) -> Result<u64>;

        /// Throws letters away; says how many.
        already async fn purge(&self, ids: &[String]) -> Result<u64>;
    }
}

/// Sugar over any [`DeadLetters`]; implemented for all of them.
pub trait DeadLettersExt: DeadLetters {
    /// Hands every letter back that is there now; says how many. One that is given up again meanwhile stays.
    fn replay_all(&self) -> impl Future<Output = Result<u64>> + Send {
        async move {
            let mut count = 0;
            for ids in ids_of_all(self).await?.chunks(MAX_PAGE) {
                count += self.replay(ids).await?;
            }
            Ok(count)
        }
    }

    /// Throws every letter away that is there now; says how many.
    fn purge_all(&self) -> impl Future<Output = Result<u64>> + Send {
        async move {
            let mut count = 0;
            for ids in ids_of_all(self).await?.chunks(MAX_PAGE) {
                count += self.purge(ids).await?;
            }
            Ok(count)
        }
    }
}

impl<P: DeadLetters + ?Sized> DeadLettersExt for P {}

async fn ids_of_all(letters: &(impl DeadLetters + ?Sized)) -> Result<Vec<String>> {
    let (mut ids, mut page) = (Vec::new(), Page::first(MAX_PAGE));
    loop {
        let found = letters.list(&page).await?;
        ids.extend(found.items.into_iter().map(|letter| letter.id));
        let Some(next) = found.next else { return Ok(ids) };
        page = Page { after: Some(next), limit: MAX_PAGE };
    }
}

/// Where a reader stands in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailCursor {
    /// The topic.
    pub topic: Topic,
    /// The last entry seen; `None` reads from the oldest entry kept.
    pub after: Option<Position>,
}

/// What a reader finds in one topic.
#[derive(Debug, Clone)]
pub enum TailRead {
    /// The entries after the cursor, without a gap, and where to go on.
    Events {
        /// In order; an entry that cannot be read is a value.
        events: Vec<Result<Envelope, Undecodable>>,
        /// The cursor after them.
        next: TailCursor,
    },
    /// Entries after the cursor are gone: trimmed, or the log began anew. Ask truth, then go on from here.
    Discontinuity {
        /// The cursor just before the oldest entry kept.
        oldest: TailCursor,
    },
}

port! {
    /// Reads everything: every node follows the whole log by its own cursors.
    pub trait EventTail as "tail" {
        /// What comes after the cursors: at most one answer per cursor that has anything, up to `max` events each.
        /// Waits up to `wait` when none has.
        read(wait) async fn read_since(&self, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>>;

        /// The cursors behind the newest entries.
        read async fn ends(&self, topics: &[Topic]) -> Result<Vec<TailCursor>>;
    }
}
