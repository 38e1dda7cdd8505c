//! [`AuditLog`]: what moderators and rules did, written down before they did it.

use std::collections::BTreeMap;
use std::future::Future;

use super::only;
use crate::clock::Timestamp;
use crate::domain::audit::{AuditAction, AuditDigest, AuditEntry, AuditRecord, AuditState};
use crate::domain::page::{MAX_PAGE, Page, Paged};
use crate::domain::{AuditId, ConversationId, Seq, UserId};
use crate::error::{Code, Error, Result};

/// What became of a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditOutcome {
    /// It was done.
    Applied,
    /// It was not done.
    Failed,
}

impl From<AuditOutcome> for AuditState {
    fn from(outcome: AuditOutcome) -> Self {
        match outcome {
            AuditOutcome::Applied => Self::Applied,
            AuditOutcome::Failed => Self::Failed,
        }
    }
}

/// Which records of a chain are asked for: those that are all of this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// By this person.
    pub actor: Option<UserId>,
    /// To this person.
    pub target: Option<UserId>,
    /// Of this kind.
    pub action: Option<AuditAction>,
}

impl AuditFilter {
    /// Whether a record is asked for.
    pub fn admits(&self, record: &AuditRecord) -> bool {
        let AuditEntry { actor, target_user_id, action, .. } = &record.entry;
        let by = |user: &UserId| matches!(actor, crate::domain::audit::AuditActor::User(it) if it == user);
        self.actor.as_ref().is_none_or(by)
            && self.target.as_ref().is_none_or(|user| target_user_id.as_ref() == Some(user))
            && self.action.is_none_or(|asked| *action == asked)
    }
}

/// How much was done in a chain: the statistics of seed 003.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditStats {
    /// Records.
    pub total: u64,
    /// Records of each action there was.
    pub by_action: BTreeMap<AuditAction, u64>,
    /// Different people who acted.
    pub moderators: u64,
}

/// Where a walk through what is pending stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingCursor {
    /// When the last record seen was written down.
    pub at: Timestamp,
    /// Which one it was.
    pub id: AuditId,
}

impl From<&AuditRecord> for PendingCursor {
    fn from(record: &AuditRecord) -> Self {
        Self { at: record.at, id: record.entry.audit_id.clone() }
    }
}

impl From<&AuditRecord> for Seq {
    fn from(record: &AuditRecord) -> Self {
        record.seq
    }
}

port! {
    /// What was done, by whom, to whom and why; kind of state: **truth**. Append-only: nothing removes a record, also not
    /// when the effect of what it tells of has ended, and nothing changes one but its one step from pending to what
    /// became of it.
    ///
    /// The records of a conversation are a chain, those of the whole platform (`None`) another: gapless places, and each
    /// record sealed together with the one before, so that [`AuditLogExt::verify`] finds what was changed, removed from
    /// the middle, or put between. Who may read is the caller's to decide.
    ///
    /// A host writes the record, does the deed, and settles the record. What a crash left [`pending`](Self::pending) is
    /// done again or given up by whoever finds it. If nothing can be written down, nothing may be done.
    pub trait AuditLog as "audit" {
        /// Writes an entry down as the next of its chain, pending; answers its record.
        ///
        /// # Atomicity
        /// Whoever sees a record sees every earlier one of its chain.
        ///
        /// # Idempotency
        /// By id: the same entry again answers the record there is, whatever became of it.
        ///
        /// # Errors
        /// [`Code::AuditInvalid`]; [`Code::Conflict`] when another entry has this id.
        write async fn append(&self, entry: &AuditEntry) -> Result<AuditRecord>;

        /// Says what became of a deed; answers its record.
        ///
        /// # Idempotency
        /// The same outcome again changes nothing.
        ///
        /// # Errors
        /// [`Code::AuditNotFound`]; [`Code::Conflict`] when the other outcome was said before.
        write async fn settle(&self, id: &AuditId, outcome: AuditOutcome) -> Result<AuditRecord>;

        /// Records by id.
        read async fn get_many(&self, ids: &[AuditId]) -> Result<Vec<Option<AuditRecord>>>;

        /// The records of a chain that `filter` admits, newest first. The cursor is a place.
        read async fn list(
            &self,
            chain: Option<&ConversationId>,
            filter: &AuditFilter,
            page: &Page<Seq>,
        ) -> Result<Paged<AuditRecord, Seq>>;

        /// What was written down before `before` and is still pending, of all chains, oldest first.
        read async fn pending(
            &self,
            before: Timestamp,
            page: &Page<PendingCursor>,
        ) -> Result<Paged<AuditRecord, PendingCursor>>;

        /// How much was done in a chain at `since` or later.
        read async fn stats(&self, chain: Option<&ConversationId>, since: Timestamp) -> Result<AuditStats>;
    }
}

/// What [`AuditLogExt::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditVerdict {
    /// The chain is whole: so many records, and the digest of the newest. Whoever keeps that elsewhere also notices when
    /// the newest are cut off.
    Whole {
        /// How many records.
        records: u64,
        /// The newest one's digest.
        head: Option<AuditDigest>,
    },
    /// The record that should stand here was changed or is not there, or another one stands in its place.
    Broken {
        /// The highest place where it is so; zero when even the newest cannot be read.
        at: Seq,
    },
}

/// Sugar over any [`AuditLog`]; implemented for all of them.
pub trait AuditLogExt: AuditLog {
    /// One record.
    fn get(&self, id: &AuditId) -> impl Future<Output = Result<Option<AuditRecord>>> + Send {
        let one = [id.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// Reads a whole chain and says whether it is as it was written. One page of [`MAX_PAGE`] records at a time.
    fn verify(&self, chain: Option<&ConversationId>) -> impl Future<Output = Result<AuditVerdict>> + Send {
        async move {
            let mut page = Page::first(MAX_PAGE);
            let (mut head, mut above) = (None, None::<AuditRecord>);
            loop {
                let found = match self.list(chain, &AuditFilter::default(), &page).await {
                    // One was changed into what cannot even be read: one by one shows which.
                    Err(error) if error.code() == Code::DataCorrupt && page.limit > 1 => {
                        page.limit = 1;
                        continue;
                    }
                    Err(error) if error.code() == Code::DataCorrupt => {
                        return Ok(AuditVerdict::Broken { at: below(above.as_ref()) });
                    }
                    found => found?,
                };
                for record in found.items {
                    let is_of_it = record.entry.conversation_id.as_ref() == chain;
                    if !record.is_intact() || !is_of_it {
                        return Ok(AuditVerdict::Broken { at: record.seq });
                    }
                    if above.as_ref().is_some_and(|above| !above.follows(Some(&record))) {
                        return Ok(AuditVerdict::Broken { at: below(above.as_ref()) });
                    }
                    head = head.or(Some((record.seq, record.digest)));
                    above = Some(record);
                }
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => break,
                }
            }
            if above.as_ref().is_some_and(|first| !first.follows(None)) {
                return Ok(AuditVerdict::Broken { at: below(above.as_ref()) });
            }
            let (records, head) = head.map_or((0, None), |(seq, digest)| (seq.0, Some(digest)));
            Ok(AuditVerdict::Whole { records, head })
        }
    }
}

/// The place below the last record that was fine.
fn below(above: Option<&AuditRecord>) -> Seq {
    above.map_or(Seq::ZERO, |above| above.seq.previous())
}

impl<A: AuditLog + ?Sized> AuditLogExt for A {}

/// For backends: the same entry again answers the record there is.
///
/// # Errors
/// [`Code::Conflict`] when it is another entry.
pub fn repeated(known: AuditRecord, entry: &AuditEntry) -> Result<AuditRecord> {
    if known.entry == *entry { Ok(known) } else { Err(Error::new(Code::Conflict)) }
}
