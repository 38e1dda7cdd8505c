//! [`AuditLog`] in memory.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::domain::audit::{AuditActor, AuditEntry, AuditRecord, AuditState};
use crate::domain::page::{Page, Paged};
use crate::domain::{AuditId, ConversationId, Seq};
use crate::error::{Code, Error, Result};
use crate::store::AuditLog;
use crate::store::audit::{AuditFilter, AuditOutcome, AuditStats, PendingCursor, repeated};

/// What was done, in memory.
#[derive(Debug)]
pub struct MemoryAudit {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
}

type Chain = Option<ConversationId>;

#[derive(Debug, Default)]
struct Log {
    /// The record at place `n` is at index `n - 1`.
    chains: HashMap<Chain, Vec<AuditRecord>>,
    places: HashMap<AuditId, (Chain, usize)>,
    pending: BTreeSet<PendingCursor>,
}

impl Log {
    fn get(&self, id: &AuditId) -> Option<&AuditRecord> {
        let (chain, index) = self.places.get(id)?;
        self.chains.get(chain)?.get(*index)
    }

    fn chain(&self, chain: Option<&ConversationId>) -> &[AuditRecord] {
        self.chains.get(&chain.cloned()).map_or(&[], Vec::as_slice)
    }
}

impl MemoryAudit {
    /// Nothing was done yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, log: Mutex::default() }
    }
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<AuditRecord> {
        entry.check()?;
        let log = &mut *self.log.lock();
        if let Some(known) = log.get(&entry.audit_id) {
            return repeated(known.clone(), entry);
        }
        let chain = log.chains.entry(entry.conversation_id.clone()).or_default();
        let record = AuditRecord::following(chain.last(), entry.clone(), self.clock.now());
        log.places.insert(entry.audit_id.clone(), (entry.conversation_id.clone(), chain.len()));
        log.pending.insert(PendingCursor::from(&record));
        chain.push(record.clone());
        Ok(record)
    }

    async fn settle(&self, id: &AuditId, outcome: AuditOutcome) -> Result<AuditRecord> {
        let log = &mut *self.log.lock();
        let record = log.places.get(id).and_then(|(chain, index)| log.chains.get_mut(chain)?.get_mut(*index));
        let record = record.ok_or_else(|| Error::new(Code::AuditNotFound))?;
        if record.state == AuditState::Pending {
            (record.state, record.settled_at) = (outcome.into(), Some(self.clock.now()));
            log.pending.remove(&PendingCursor::from(&*record));
        }
        if record.state == outcome.into() { Ok(record.clone()) } else { Err(Code::Conflict.into()) }
    }

    async fn get_many(&self, ids: &[AuditId]) -> Result<Vec<Option<AuditRecord>>> {
        let log = self.log.lock();
        Ok(ids.iter().map(|id| log.get(id).cloned()).collect())
    }

    async fn list(
        &self,
        chain: Option<&ConversationId>,
        filter: &AuditFilter,
        page: &Page<Seq>,
    ) -> Result<Paged<AuditRecord, Seq>> {
        page.check()?;
        let log = self.log.lock();
        let newest_first = log.chain(chain).iter().rev();
        let wanted = newest_first
            .filter(|record| page.after.is_none_or(|after| record.seq < after) && filter.admits(record));
        let found = wanted.take(page.limit + 1).cloned().collect();
        Ok(Paged::from_surplus(found, page.limit, |record: &AuditRecord| record.seq))
    }

    async fn pending(
        &self,
        before: Timestamp,
        page: &Page<PendingCursor>,
    ) -> Result<Paged<AuditRecord, PendingCursor>> {
        page.check()?;
        let log = self.log.lock();
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let old = log.pending.range((from, Bound::Unbounded)).take_while(|cursor| cursor.at < before);
        let found = old.take(page.limit + 1).filter_map(|cursor| log.get(&cursor.id).cloned()).collect();
        Ok(Paged::from_surplus(found, page.limit, |record: &AuditRecord| record.into()))
    }

    async fn stats(&self, chain: Option<&ConversationId>, since: Timestamp) -> Result<AuditStats> {
        let log = self.log.lock();
        let (mut stats, mut moderators) = (AuditStats::default(), BTreeSet::new());
        for AuditRecord { entry, .. } in log.chain(chain).iter().filter(|record| record.at >= since) {
            stats.total += 1;
            *stats.by_action.entry(entry.action).or_default() += 1;
            if let AuditActor::User(user) = &entry.actor {
                moderators.insert(user);
            }
        }
        stats.moderators = moderators.len() as u64;
        Ok(stats)
    }
}
