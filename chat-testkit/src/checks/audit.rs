//! Promises of the `audit` port: what was done, by whom, to whom and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::audit::{AuditAction, AuditActor, AuditEntry, AuditRecord, AuditState, AuditTrigger};
use chat_core::domain::page::{MAX_PAGE, Page, Paged};
use chat_core::domain::{AuditId, ConversationId, Seq};
use chat_core::error::{Code, Result};
use chat_core::store::audit::{AuditFilter, AuditOutcome, AuditStats, AuditVerdict};
use chat_core::store::{AuditLog, AuditLogExt};

use crate::expect::{at_once, refused, unavailable};
use crate::mutants::{AuditBug, Bugged};
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;
use crate::walk::walk;

checks! {
    "audit" needs [audit]:
    an_entry_is_written_down_as_it_is,
    a_repeated_entry_answers_the_record_there_is,
    another_entry_cannot_take_the_id,
    every_chain_has_places_of_its_own,
    racing_entries_leave_no_gap,
    a_deed_is_settled_once,
    racing_outcomes_have_one_winner,
    records_line_up_with_the_question,
    a_chain_is_listed_newest_first_in_pages_of_any_size,
    a_filter_admits_what_is_all_of_it,
    what_is_pending_is_found_oldest_first_in_all_chains,
    a_record_outlives_what_it_tells_of,
    time_does_not_go_back_in_a_chain,
    statistics_equal_a_count_by_hand,
    what_was_changed_cut_out_or_put_between_is_found,
    what_is_too_large_is_refused,
    hostile_ids_are_only_ids,
    an_outage_is_never_an_empty_answer + outage,
}

struct Desk {
    log: Arc<dyn AuditLog>,
    clock: ManualClock,
    here: ConversationId,
}

impl Desk {
    fn new(offer: &Offer) -> Arc<Self> {
        let (log, clock) = (offer.audit.clone().expect("an audit log"), offer.clock.clone());
        Arc::new(Self { log, clock, here: sample::conversation("here") })
    }

    /// A warning of ann to eve.
    fn warning(&self, name: &str) -> AuditEntry {
        AuditEntry {
            audit_id: id(name),
            conversation_id: Some(self.here.clone()),
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

    async fn warn(&self, name: &str) -> AuditRecord {
        self.log.append(&self.warning(name)).await.unwrap()
    }

    async fn get(&self, name: &str) -> Option<AuditRecord> {
        self.log.get(&id(name)).await.unwrap()
    }

    async fn listed(
        &self,
        chain: Option<&ConversationId>,
        filter: &AuditFilter,
        limit: usize,
    ) -> Vec<AuditRecord> {
        walk(limit, |page| async move { self.log.list(chain, filter, &page).await }).await
    }

    async fn all(&self) -> Vec<AuditRecord> {
        self.listed(Some(&self.here), &AuditFilter::default(), MAX_PAGE).await
    }

    async fn pending(&self, before: Timestamp, limit: usize) -> Vec<String> {
        let found = walk(limit, |page| async move { self.log.pending(before, &page).await }).await;
        found.iter().map(|record| record.entry.audit_id.to_string()).collect()
    }

    async fn verdict(&self) -> AuditVerdict {
        self.log.verify(Some(&self.here)).await.unwrap()
    }
}

fn id(name: &str) -> AuditId {
    AuditId::new(name).expect("an audit id")
}

async fn an_entry_is_written_down_as_it_is(offer: Offer) {
    let desk = Desk::new(&offer);
    let full = AuditEntry {
        actor: AuditActor::System("links".to_owned()),
        action: AuditAction::Mute,
        trigger: AuditTrigger::Auto,
        message_id: Some(sample::message("m")),
        reason: Some("Too many links,\n\"again\"".to_owned()),
        expires_at: Some(desk.clock.now().after(Duration::from_secs(60))),
        metadata: [("list", "7"), ("a.b", ""), ("$ne", "{}"), ("", "é")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..desk.warning("full")
    };
    let bare = AuditEntry { conversation_id: None, target_user_id: None, ..desk.warning("bare") };
    for entry in [full, bare] {
        let record = desk.log.append(&entry).await.unwrap();
        assert_eq!(record.entry, entry);
        assert_eq!((record.seq, record.at, record.previous), (Seq(1), desk.clock.now(), None));
        assert_eq!((record.state, record.settled_at), (AuditState::Pending, None));
        assert!(record.is_intact());
        assert_eq!(desk.log.get(&entry.audit_id).await.unwrap(), Some(record));
    }
    for action in AuditAction::ALL {
        let entry = AuditEntry { action: *action, ..desk.warning(action.as_str()) };
        desk.log.append(&entry).await.unwrap();
        assert_eq!(desk.get(action.as_str()).await.map(|record| record.entry), Some(entry));
    }
}

async fn a_repeated_entry_answers_the_record_there_is(offer: Offer) {
    let desk = Desk::new(&offer);
    let first = desk.warn("first").await;
    desk.warn("second").await;
    desk.clock.advance(Duration::from_secs(60));
    assert_eq!(desk.warn("first").await, first, "when it was is when it was first");
    let settled = desk.log.settle(&id("first"), AuditOutcome::Applied).await.unwrap();
    assert_eq!(desk.warn("first").await, settled, "it is not pending again");
    assert_eq!(desk.all().await.len(), 2);
    assert_eq!(desk.pending(desk.clock.now(), 10).await, ["second"]);
}

async fn another_entry_cannot_take_the_id(offer: Offer) {
    let desk = Desk::new(&offer);
    let first = desk.warn("first").await;
    let warning = desk.warning("first");
    for other in [
        AuditEntry { conversation_id: None, ..warning.clone() },
        AuditEntry { conversation_id: Some(sample::conversation("there")), ..warning.clone() },
        AuditEntry { actor: AuditActor::System("ann".to_owned()), ..warning.clone() },
        AuditEntry { action: AuditAction::Ban, ..warning.clone() },
        AuditEntry { trigger: AuditTrigger::Report, ..warning.clone() },
        AuditEntry { target_user_id: None, ..warning.clone() },
        AuditEntry { message_id: Some(sample::message("m")), ..warning.clone() },
        AuditEntry { reason: Some(String::new()), ..warning.clone() },
        AuditEntry { expires_at: Some(desk.clock.now()), ..warning.clone() },
        AuditEntry { metadata: BTreeMap::from([(String::new(), String::new())]), ..warning.clone() },
    ] {
        refused(desk.log.append(&other).await, Code::Conflict);
    }
    assert_eq!(desk.all().await, [first]);
    assert_eq!(desk.listed(None, &AuditFilter::default(), 10).await, []);
}

async fn every_chain_has_places_of_its_own(offer: Offer) {
    let desk = Desk::new(&offer);
    let chains = [Some("here"), Some("there"), None];
    for nth in 1..=3 {
        for chain in chains {
            let conversation_id = chain.map(sample::conversation);
            let entry = AuditEntry { conversation_id, ..desk.warning(&format!("{nth} of {chain:?}")) };
            assert_eq!(desk.log.append(&entry).await.unwrap().seq, Seq(nth));
        }
    }
    for chain in chains {
        let conversation = chain.map(sample::conversation);
        let records = desk.listed(conversation.as_ref(), &AuditFilter::default(), 10).await;
        let names: Vec<_> = records.iter().map(|record| record.entry.audit_id.as_str()).collect();
        assert_eq!(names, [3, 2, 1].map(|nth| format!("{nth} of {chain:?}")));
        assert!(records.windows(2).all(|pair| pair[0].follows(Some(&pair[1]))));
    }
}

async fn racing_entries_leave_no_gap(offer: Offer) {
    let desk = Desk::new(&offer);
    // Each twice, as from a host that asks again; and somebody looks on.
    let looks_on = {
        let desk = Arc::clone(&desk);
        async move {
            let mut highest = 0;
            while highest < 24 {
                let records = desk.all().await;
                let places: Vec<_> = records.iter().map(|record| record.seq.0).collect();
                let here = records.len() as u64;
                assert_eq!(places, (1..=here).rev().collect::<Vec<_>>(), "whoever sees one sees all before");
                assert!(here >= highest);
                highest = here;
                tokio::task::yield_now().await;
            }
        }
    };
    let looks_on = tokio::spawn(looks_on);
    let records = at_once(48, |nth| {
        let desk = Arc::clone(&desk);
        async move { desk.warn(&format!("warning {}", nth / 2)).await }
    })
    .await;
    looks_on.await.expect("an onlooker who is content");
    let places: BTreeSet<_> = records.iter().map(|record| record.seq).collect();
    assert_eq!(places, (1..=24).map(Seq).collect());
    assert_eq!(desk.all().await.len(), 24);
    assert!(matches!(desk.verdict().await, AuditVerdict::Whole { records: 24, .. }));
}

async fn a_deed_is_settled_once(offer: Offer) {
    use AuditOutcome::{Applied, Failed};
    let desk = Desk::new(&offer);
    for (name, said, other) in [("done", Applied, Failed), ("given up", Failed, Applied)] {
        let written = desk.warn(name).await;
        desk.clock.advance(Duration::from_secs(1));
        let settled_at = Some(desk.clock.now());
        let expected = AuditRecord { state: said.into(), settled_at, ..written };
        assert_eq!(desk.log.settle(&id(name), said).await.unwrap(), expected);
        desk.clock.advance(Duration::from_secs(1));
        assert_eq!(desk.log.settle(&id(name), said).await.unwrap(), expected, "again");
        refused(desk.log.settle(&id(name), other).await, Code::Conflict);
        assert_eq!(desk.get(name).await, Some(expected));
    }
    refused(desk.log.settle(&id("nothing"), Applied).await, Code::AuditNotFound);
    assert_eq!(desk.get("nothing").await, None);
}

async fn racing_outcomes_have_one_winner(offer: Offer) {
    let desk = Desk::new(&offer);
    for round in 0..8 {
        let name = format!("deed {round}");
        desk.warn(&name).await;
        let answers = at_once(16, |nth| {
            let (desk, name) = (Arc::clone(&desk), name.clone());
            let outcome = if nth % 2 == 0 { AuditOutcome::Applied } else { AuditOutcome::Failed };
            async move { desk.log.settle(&id(&name), outcome).await }
        })
        .await;
        let state = desk.get(&name).await.map(|record| record.state);
        let (told, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((told.len(), refusals.len()), (8, 8));
        assert!(told.into_iter().all(|record| record.ok().map(|record| record.state) == state));
        refusals.into_iter().for_each(|refusal| refused(refusal, Code::Conflict));
    }
    assert_eq!(desk.pending(Timestamp::from_millis(u64::MAX >> 2), 10).await, [""; 0]);
}

async fn records_line_up_with_the_question(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.log.get_many(&[]).await.unwrap().is_empty());
    let (one, two) = (desk.warn("one").await, desk.warn("two").await);
    let question = ["two", "nothing", "one", "two"].map(id);
    assert_eq!(desk.log.get_many(&question).await.unwrap(), [Some(two.clone()), None, Some(one), Some(two)]);
}

async fn a_chain_is_listed_newest_first_in_pages_of_any_size(offer: Offer) {
    let desk = Desk::new(&offer);
    for nth in 0..23 {
        desk.warn(&format!("warning {}", (nth * 7) % 23)).await;
    }
    for limit in [1, 2, 5, 23, MAX_PAGE] {
        let listed = desk.listed(Some(&desk.here), &AuditFilter::default(), limit).await;
        let places: Vec<_> = listed.iter().map(|record| record.seq.0).collect();
        assert_eq!(places, (1..=23).rev().collect::<Vec<_>>(), "by {limit}");
    }
    let nowhere = sample::conversation("nowhere");
    assert_eq!(desk.listed(Some(&nowhere), &AuditFilter::default(), 7).await, []);
    let everything = AuditFilter::default();
    for limit in [0, MAX_PAGE + 1] {
        let page = Page::first(limit);
        refused(desk.log.list(Some(&desk.here), &everything, &page).await, Code::PageInvalid);
        refused(desk.log.pending(desk.clock.now(), &Page::first(limit)).await, Code::PageInvalid);
    }
    for (after, left) in [(0, 0), (1, 0), (2, 1), (24, 23), (u64::MAX, 23)] {
        let page = Page::after(Seq(after), 1_000);
        let found = desk.log.list(Some(&desk.here), &everything, &page).await.unwrap();
        assert_eq!((found.items.len(), found.next), (left, None), "below {after}");
    }
}

/// Twelve deeds of three actors to three people, some of each action.
async fn deeds(desk: &Desk) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    for nth in 0..36_usize {
        let who = ["ann", "ben", "an"][nth % 3];
        let actor = if nth % 5 == 4 {
            AuditActor::System(who.to_owned())
        } else {
            AuditActor::User(sample::user(who))
        };
        let entry = AuditEntry {
            actor,
            action: [AuditAction::Warn, AuditAction::Mute, AuditAction::Ban, AuditAction::Warn][nth % 4],
            target_user_id: [Some("eve"), Some("ann"), None, Some("ev"), Some("eve")][nth / 2 % 5]
                .map(sample::user),
            ..desk.warning(&format!("deed {nth}"))
        };
        desk.clock.advance(Duration::from_secs(1));
        records.push(desk.log.append(&entry).await.unwrap());
        let elsewhere =
            AuditEntry { conversation_id: None, audit_id: id(&format!("elsewhere {nth}")), ..entry };
        desk.log.append(&elsewhere).await.unwrap();
    }
    records
}

async fn a_filter_admits_what_is_all_of_it(offer: Offer) {
    let desk = Desk::new(&offer);
    let mut records = deeds(&desk).await;
    records.reverse();
    let people =
        [None, Some("ann"), Some("ben"), Some("eve"), Some("nobody")].map(|name| name.map(sample::user));
    let actions = [None, Some(AuditAction::Warn), Some(AuditAction::Ban), Some(AuditAction::Unmute)];
    for actor in &people {
        for target in &people {
            for action in actions {
                let (actor, target) = (actor.clone(), target.clone());
                let filter = AuditFilter { actor, target, action };
                let expected: Vec<_> = records
                    .iter()
                    .filter(|AuditRecord { entry, .. }| {
                        let by = filter.actor.clone().map(AuditActor::User);
                        by.is_none_or(|by| entry.actor == by)
                            && (filter.target.is_none() || entry.target_user_id == filter.target)
                            && filter.action.is_none_or(|action| entry.action == action)
                    })
                    .cloned()
                    .collect();
                assert_eq!(desk.listed(Some(&desk.here), &filter, 5).await, expected, "{filter:?}");
            }
        }
    }
}

async fn what_is_pending_is_found_oldest_first_in_all_chains(offer: Offer) {
    let desk = Desk::new(&offer);
    let start = desk.clock.now();
    let mut names = Vec::new();
    for nth in 0..12 {
        let conversation_id = ["here", "there", ""].get(nth % 3).filter(|name| !name.is_empty());
        let conversation_id = conversation_id.map(|name| sample::conversation(name));
        // Three at each moment, so that ids decide.
        let name = format!("deed {nth:02}");
        desk.log.append(&AuditEntry { conversation_id, ..desk.warning(&name) }).await.unwrap();
        names.push(name);
        if nth % 3 == 2 {
            desk.clock.advance(Duration::from_secs(1));
        }
    }
    for limit in [1, 2, 5, 100] {
        assert_eq!(desk.pending(desk.clock.now(), limit).await, names, "by {limit}");
    }
    assert_eq!(desk.pending(start.after(Duration::from_secs(2)), 4).await, names[..6]);
    assert_eq!(desk.pending(start, 4).await, [""; 0], "what is of that very moment is not before it");
    for (nth, name) in names.iter().enumerate().filter(|(nth, _)| nth % 2 == 0) {
        let outcome = if nth % 4 == 0 { AuditOutcome::Applied } else { AuditOutcome::Failed };
        desk.log.settle(&id(name), outcome).await.unwrap();
    }
    let left: Vec<_> = names.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(desk.pending(desk.clock.now(), 4).await, left);
}

async fn a_record_outlives_what_it_tells_of(offer: Offer) {
    let desk = Desk::new(&offer);
    let expires_at = Some(desk.clock.now().after(Duration::from_secs(60)));
    let mute = AuditEntry { action: AuditAction::Mute, expires_at, ..desk.warning("mute") };
    desk.log.append(&mute).await.unwrap();
    let settled = desk.log.settle(&id("mute"), AuditOutcome::Applied).await.unwrap();
    desk.clock.advance(Duration::from_secs(10 * 365 * 24 * 60 * 60));
    desk.warn("ten years later").await;
    assert_eq!(desk.get("mute").await, Some(settled));
    assert_eq!(desk.all().await.len(), 2);
}

async fn time_does_not_go_back_in_a_chain(offer: Offer) {
    let desk = Desk::new(&offer);
    let first = desk.warn("first").await;
    desk.clock.set(first.at.before(Duration::from_secs(3_600)));
    let second = desk.warn("second").await;
    assert_eq!(second.at, first.at);
    desk.clock.set(first.at.after(Duration::from_secs(1)));
    assert!(desk.warn("third").await.at > second.at);
    assert!(matches!(desk.verdict().await, AuditVerdict::Whole { records: 3, .. }));
}

async fn statistics_equal_a_count_by_hand(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.log.stats(Some(&desk.here), Timestamp::EPOCH).await.unwrap(), AuditStats::default());
    let records = deeds(&desk).await;
    for since in [
        Timestamp::EPOCH,
        records[0].at,
        records[17].at,
        records[35].at,
        desk.clock.now().after(Duration::from_secs(1)),
    ] {
        let mut expected = AuditStats::default();
        let mut moderators = BTreeSet::new();
        for AuditRecord { entry, .. } in records.iter().filter(|record| record.at >= since) {
            expected.total += 1;
            *expected.by_action.entry(entry.action).or_default() += 1;
            if let AuditActor::User(user) = &entry.actor {
                moderators.insert(user.to_string());
            }
        }
        expected.moderators = moderators.len() as u64;
        assert_eq!(desk.log.stats(Some(&desk.here), since).await.unwrap(), expected, "since {since}");
        assert_eq!(desk.log.stats(None, since).await.unwrap(), expected, "the platform's chain is as long");
    }
}

/// Somebody who has access to the database.
#[derive(Debug, Clone, Copy)]
struct Tampers(fn(&mut Vec<AuditRecord>));

#[async_trait]
impl AuditBug for Tampers {
    async fn list(
        &self,
        port: &dyn AuditLog,
        chain: Option<&ConversationId>,
        filter: &AuditFilter,
        page: &Page<Seq>,
    ) -> Result<Paged<AuditRecord, Seq>> {
        let mut found = port.list(chain, filter, page).await?;
        (self.0)(&mut found.items);
        Ok(found)
    }
}

async fn what_was_changed_cut_out_or_put_between_is_found(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.verdict().await, AuditVerdict::Whole { records: 0, head: None });
    for nth in 1..=6 {
        desk.warn(&format!("warning {nth}")).await;
    }
    desk.log.settle(&id("warning 3"), AuditOutcome::Applied).await.unwrap();
    let newest = desk.get("warning 6").await.map(|record| record.digest);
    assert_eq!(desk.verdict().await, AuditVerdict::Whole { records: 6, head: newest });
    // The newest comes first: the record at place n is at 6 - n.
    let crimes: [(Tampers, u64); 8] = [
        (Tampers(|records| records[2].entry.reason = Some("another".to_owned())), 4),
        (Tampers(|records| records[2].entry.actor = AuditActor::User(sample::user("eve"))), 4),
        (Tampers(|records| records[0].at = Timestamp::EPOCH), 6),
        (Tampers(|records| drop(records.remove(2))), 4),
        (Tampers(|records| drop(records.pop())), 1),
        (Tampers(|records| records.swap(1, 2)), 5),
        (Tampers(|records| records.insert(3, records[2].clone())), 3),
        // Sealed anew, with everything that is known of it.
        (
            Tampers(|records| {
                let entry = AuditEntry { reason: Some("another".to_owned()), ..records[2].entry.clone() };
                records[2] = AuditRecord::following(Some(&records[3].clone()), entry, records[2].at);
            }),
            4,
        ),
    ];
    for (nth, (crime, place)) in crimes.into_iter().enumerate() {
        let tampered = Bugged::new(Arc::clone(&desk.log), crime);
        let verdict = tampered.verify(Some(&desk.here)).await.unwrap();
        assert_eq!(verdict, AuditVerdict::Broken { at: Seq(place) }, "crime {nth}");
    }
    // What is cut off at the end shows in the head.
    let cut = Bugged::new(Arc::clone(&desk.log), Tampers(|records| drop(records.remove(0))));
    let fifth = desk.get("warning 5").await.map(|record| record.digest);
    assert_eq!(cut.verify(Some(&desk.here)).await.unwrap(), AuditVerdict::Whole { records: 5, head: fifth });
}

async fn what_is_too_large_is_refused(offer: Offer) {
    let desk = Desk::new(&offer);
    let reason = |length: usize| Some("é".repeat(length));
    let system = |name: &str| AuditActor::System(name.to_owned());
    for bad in [
        AuditEntry { reason: reason(1_001), ..desk.warning("bad") },
        AuditEntry { actor: system(""), ..desk.warning("bad") },
        AuditEntry { actor: system(&"x".repeat(65)), ..desk.warning("bad") },
    ] {
        refused(desk.log.append(&bad).await, Code::AuditInvalid);
    }
    assert_eq!(desk.all().await, []);
    let largest = AuditEntry {
        reason: reason(1_000),
        actor: system(&"é".repeat(64)),
        metadata: (0..20).map(|nth| (format!("{nth:064}"), "é".repeat(1_000))).collect(),
        ..desk.warning("largest")
    };
    assert_eq!(desk.log.append(&largest).await.unwrap().entry, largest);
    assert_eq!(desk.get("largest").await.map(|record| record.entry), Some(largest));
}

async fn hostile_ids_are_only_ids(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = sample::hostile_ids();
    let hostile = |name: &str| AuditEntry {
        conversation_id: Some(sample::conversation(name)),
        actor: AuditActor::User(sample::user(name)),
        target_user_id: Some(sample::user(name)),
        message_id: Some(sample::message(name)),
        ..desk.warning(name)
    };
    for name in &names {
        assert_eq!(desk.log.append(&hostile(name)).await.unwrap().seq, Seq(1), "{name:?}");
    }
    for name in &names {
        let (chain, user) = (sample::conversation(name), sample::user(name));
        let filter = AuditFilter { actor: Some(user.clone()), target: Some(user), action: None };
        let found = desk.listed(Some(&chain), &filter, 3).await;
        assert_eq!(found.into_iter().map(|record| record.entry).collect::<Vec<_>>(), [hostile(name)]);
        let stats = desk.log.stats(Some(&chain), Timestamp::EPOCH).await.unwrap();
        assert_eq!((stats.total, stats.moderators), (1, 1));
        desk.log.settle(&id(name), AuditOutcome::Failed).await.unwrap();
    }
    assert_eq!(desk.log.stats(None, Timestamp::EPOCH).await.unwrap().total, 0);
}

async fn an_outage_is_never_an_empty_answer(offer: Offer) {
    let desk = Desk::new(&offer);
    let outage = offer.outage.expect("an outage");
    let written = desk.warn("first").await;
    outage.begin();
    unavailable(desk.log.append(&desk.warning("second")).await);
    unavailable(desk.log.settle(&id("first"), AuditOutcome::Applied).await);
    unavailable(desk.log.get_many(&[id("nothing")]).await);
    unavailable(desk.log.list(Some(&desk.here), &AuditFilter::default(), &Page::first(10)).await);
    unavailable(desk.log.pending(desk.clock.now(), &Page::first(10)).await);
    unavailable(desk.log.stats(None, Timestamp::EPOCH).await);
    unavailable(desk.log.verify(Some(&desk.here)).await);
    outage.end();
    assert_eq!(desk.all().await, [written], "nothing changed meanwhile");
}
