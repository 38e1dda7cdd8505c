//! The audit log: written down, settled, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_benches::acting;
use chat_core::domain::audit::{AuditAction, AuditActor, AuditEntry, AuditTrigger};
use chat_core::domain::{AuditId, ConversationId, Page};
use chat_core::store::AuditLog;
use chat_core::store::audit::{AuditFilter, AuditOutcome};
use chat_testkit::sample;

use crate::field::Field;

/// How many records a chain has.
const CHAIN: usize = 1_000;

pub(crate) fn rows(field: &mut Field) {
    field.row("audit append and settle", 1, |_, memory| {
        acting(move |task, nth| {
            let audit = Arc::clone(&memory.audit);
            // A chain for each task: in one they wait for one another, as they must.
            let entry = warning(&sample::conversation(&format!("r{task}")), &format!("{task}-{nth}"));
            async move {
                audit.append(&entry).await.unwrap();
                audit.settle(&entry.audit_id, AuditOutcome::Applied).await.unwrap();
            }
        })
    });
    field.row("audit list 50", 50, |field, memory| {
        let (audit, here) = (Arc::clone(&memory.audit), sample::conversation("r"));
        field.prepare(async {
            for nth in 0..CHAIN {
                audit.append(&warning(&here, &format!("a{nth}"))).await.unwrap();
            }
        });
        acting(move |_, _| {
            let (audit, here) = (Arc::clone(&audit), here.clone());
            async move {
                let found = audit.list(Some(&here), &AuditFilter::default(), &Page::first(50)).await.unwrap();
                assert_eq!(found.items.len(), 50);
            }
        })
    });
}

fn warning(here: &ConversationId, name: &str) -> AuditEntry {
    AuditEntry {
        audit_id: AuditId::new(name).unwrap(),
        conversation_id: Some(here.clone()),
        actor: AuditActor::User(sample::user("ann")),
        action: AuditAction::Warn,
        trigger: AuditTrigger::Manual,
        target_user_id: Some(sample::user("eve")),
        message_id: None,
        reason: None,
        expires_at: None,
        metadata: BTreeMap::new(),
    }
}
