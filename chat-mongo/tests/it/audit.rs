//! The audit log: two nodes, lost replies, hands in the database, and what operations cost.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::audit::{AuditAction, AuditActor, AuditEntry, AuditState, AuditTrigger};
use chat_core::domain::{AuditId, ConversationId, Page, Seq};
use chat_core::store::audit::{AuditFilter, AuditOutcome, AuditVerdict};
use chat_core::store::{AuditLog, AuditLogExt};
use chat_mongo::Mongo;
use chat_testkit::expect::at_once;
use chat_testkit::proxy::Request;
use chat_testkit::{Absent, sample, trials};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use super::count::counted;
use super::desk::{behind_a_proxy, fresh, nodes, patient, server};

trials! { needs "mongo":
    two_nodes_write_one_chain_without_a_gap,
    a_lost_reply_loses_and_doubles_nothing,
    hands_in_the_database_are_found,
    operations_cost_what_is_said,
}

fn here() -> ConversationId {
    sample::conversation("here")
}

pub(crate) fn id(name: &str) -> AuditId {
    AuditId::new(name).unwrap()
}

/// A ban of eve by ann.
pub(crate) fn ban(name: &str) -> AuditEntry {
    AuditEntry {
        audit_id: id(name),
        conversation_id: Some(here()),
        actor: AuditActor::User(sample::user("ann")),
        action: AuditAction::Ban,
        trigger: AuditTrigger::Report,
        target_user_id: Some(sample::user("eve")),
        message_id: None,
        reason: Some("spam".to_owned()),
        expires_at: None,
        metadata: BTreeMap::new(),
    }
}

async fn two_nodes_write_one_chain_without_a_gap() -> Result<(), Absent> {
    let nodes = nodes().await?;
    // Each deed by both nodes, as after a restart that does not know whether the first came through.
    let records = at_once(64, |nth| {
        let audit = nodes[nth % 2].audit.clone();
        async move { audit.append(&ban(&format!("deed {}", nth / 2))).await.unwrap() }
    })
    .await;
    for pair in records.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    let mut places: Vec<_> = records.iter().step_by(2).map(|record| record.seq.0).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=32).collect::<Vec<_>>());
    let verdict = nodes[0].audit.verify(Some(&here())).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Whole { records: 32, .. }), "{verdict:?}");
    Ok(())
}

async fn a_lost_reply_loses_and_doubles_nothing() -> Result<(), Absent> {
    let (proxy, behind, straight) = behind_a_proxy().await?;
    for nth in 1..=3 {
        let name = format!("deed {nth}");
        let lost = Request::command_on("insert", "audit");
        let written = proxy.losing(lost, behind.audit.append(&ban(&name))).await.unwrap();
        assert_eq!((written.seq, written.state), (Seq(nth), AuditState::Pending));
        let lost = Request::command_on("findAndModify", "audit");
        let settled =
            proxy.losing(lost, behind.audit.settle(&id(&name), AuditOutcome::Applied)).await.unwrap();
        assert_eq!(settled.state, AuditState::Applied);
        assert_eq!(straight.audit.get(&id(&name)).await.unwrap(), Some(settled));
    }
    let verdict = straight.audit.verify(Some(&here())).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Whole { records: 3, .. }), "{verdict:?}");
    Ok(())
}

async fn hands_in_the_database_are_found() -> Result<(), Absent> {
    let config = patient(fresh(server()?.url()));
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.ensure().await.unwrap();
    for nth in 1..=5 {
        mongo.audit.append(&ban(&format!("deed {nth}"))).await.unwrap();
    }
    let client = Client::with_uri_str(server()?.url()).await.unwrap();
    let audit: Collection<Document> = client.database(&config.database).collection("audit");
    let verdict = async || mongo.audit.verify(Some(&here())).await.unwrap();
    let third = doc! { "_id": "deed 3" };
    let whole = audit.find_one(third.clone()).await.unwrap().unwrap();

    let pardon = doc! { "$set": { "targetUserId": "bob" } };
    audit.update_one(third.clone(), pardon).await.unwrap();
    assert_eq!(verdict().await, AuditVerdict::Broken { at: Seq(3) });
    // Also when it cannot be read any more.
    audit.update_one(third.clone(), doc! { "$unset": { "trigger": "" } }).await.unwrap();
    assert_eq!(verdict().await, AuditVerdict::Broken { at: Seq(3) });
    audit.delete_one(third.clone()).await.unwrap();
    assert_eq!(verdict().await, AuditVerdict::Broken { at: Seq(3) });
    audit.insert_one(&whole).await.unwrap();
    assert!(matches!(verdict().await, AuditVerdict::Whole { records: 5, .. }));
    Ok(())
}

/// The table in the documentation.
async fn operations_cost_what_is_said() -> Result<(), Absent> {
    let (mongo, count) = counted(&patient(fresh(server()?.url()))).await;
    let audit = &mongo.audit;
    let (place, everything, page) = (here(), AuditFilter::default(), Page::first(10));
    let by_ann = AuditFilter { actor: Some(sample::user("ann")), ..AuditFilter::default() };
    let mut costs = Vec::new();
    macro_rules! cost {
        ($name:literal, $work:expr) => {{
            count.take();
            $work.await.unwrap();
            costs.push(($name, count.take()));
        }};
    }
    cost!("append", audit.append(&ban("deed")));
    cost!("append again", audit.append(&ban("deed")));
    cost!("settle", audit.settle(&id("deed"), AuditOutcome::Failed));
    cost!("settle again", audit.settle(&id("deed"), AuditOutcome::Failed));
    cost!("get_many", audit.get_many(&[id("deed"), id("nothing")]));
    cost!("list", audit.list(Some(&place), &everything, &page));
    cost!("list by somebody", audit.list(Some(&place), &by_ann, &page));
    cost!("pending", audit.pending(Timestamp::from_millis(u64::MAX >> 2), &Page::first(10)));
    cost!("stats", audit.stats(Some(&place), Timestamp::EPOCH));
    let expected = [
        ("append", 2),
        ("append again", 3),
        ("settle", 1),
        ("settle again", 2),
        ("get_many", 1),
        ("list", 1),
        ("list by somebody", 1),
        ("pending", 1),
        ("stats", 1),
    ];
    assert_eq!(costs, expected);
    Ok(())
}
