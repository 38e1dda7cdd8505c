//! Promises of the `outbox` port: the way of events out of the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::EventId;
use chat_core::domain::page::{MAX_PAGE, Page, Paged};
use chat_core::error::Code;
use chat_core::event::{Envelope, Event};
use chat_core::store::events::{Published, TailRead};
use chat_core::store::outbox::OutboxStats;
use chat_core::store::{EventPublisher, EventTail, MessageStore, MessageStoreExt, Outbox};
use parking_lot::Mutex;

use crate::expect::{at_once, unavailable};
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;

checks! {
    "outbox" needs [messages, outbox]:
    what_truth_wrote_waits_until_it_is_cleared,
    entries_come_oldest_first_and_as_many_as_asked,
    the_owner_of_a_claim_gets_the_same_entries_again,
    no_other_owner_gets_a_key_while_a_claim_lasts,
    another_owner_takes_over_when_the_claim_runs_out,
    claiming_again_renews_the_claim,
    clearing_again_changes_nothing,
    clearing_takes_only_what_is_named,
    racing_owners_keep_the_order_of_every_key,
    a_crash_between_publishing_and_clearing_repeats_the_same_id,
    what_is_published_twice_is_in_the_log_once + publisher + tail,
    waiting_entries_are_counted,
    what_waits_is_listed_whoever_has_it,
    a_walk_through_what_waits_misses_nothing_and_repeats_nothing,
    hostile_ids_are_only_keys,
    an_outage_is_never_an_empty_outbox + outage,
}

const LEASE: Duration = Duration::from_secs(30);

struct Desk {
    messages: Arc<dyn MessageStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
}

impl Desk {
    fn new(offer: &Offer) -> Arc<Self> {
        Arc::new(Self {
            messages: offer.messages.clone().expect("messages"),
            outbox: offer.outbox.clone().expect("an outbox"),
            clock: offer.clock.clone(),
        })
    }

    /// Something is said in each of these conversations, in this order; every conversation is a key.
    async fn write(&self, keys: &[&str]) {
        for key in keys {
            let new = sample::text(&sample::conversation(key), &sample::user("ann"), "text");
            self.messages.append(&new).await.unwrap();
        }
    }

    async fn claim(&self, owner: &str, limit: usize) -> Vec<Envelope> {
        let claimed = self.outbox.claim(owner, limit, LEASE).await.unwrap();
        assert!(claimed.len() <= limit, "more than asked for");
        claimed
    }

    async fn clear(&self, owner: &str, entries: &[Envelope]) {
        self.outbox.clear(owner, &ids(entries)).await.unwrap();
    }

    async fn list(&self, after: Option<String>, limit: usize) -> Paged<Envelope, String> {
        self.outbox.list(&Page { after, limit }).await.unwrap()
    }

    async fn pending(&self) -> u64 {
        self.outbox.stats().await.unwrap().pending
    }
}

fn ids(entries: &[Envelope]) -> Vec<EventId> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}

/// Keys with the place of the message, such as `a1`.
fn places(entries: &[Envelope]) -> Vec<String> {
    entries.iter().map(|entry| format!("{}{}", entry.key(), seq(entry))).collect()
}

fn seq(entry: &Envelope) -> u64 {
    match &entry.event {
        Event::MessageSent(sent) => sent.seq.0,
        other => panic!("{other:?}"),
    }
}

async fn what_truth_wrote_waits_until_it_is_cleared(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.claim("one", 10).await, []);
    desk.write(&["a", "b", "a"]).await;
    let claimed = desk.claim("one", 10).await;
    assert_eq!(places(&claimed), ["a1", "b1", "a2"]);
    desk.clear("one", &claimed).await;
    assert_eq!(desk.claim("one", 10).await, []);
    desk.clock.advance(LEASE * 2);
    assert_eq!(desk.claim("two", 10).await, [], "cleared for everybody");
}

async fn entries_come_oldest_first_and_as_many_as_asked(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "b", "a", "c", "b", "a"]).await;
    for limit in [1, 2, 4, 6, 100] {
        let claimed = places(&desk.claim("one", limit).await);
        assert_eq!(claimed, ["a1", "b1", "a2", "c1", "b2", "a3"][..limit.min(6)]);
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        let claimed = desk.claim("one", 1).await;
        desk.clear("one", &claimed).await;
        seen.extend(places(&claimed));
    }
    assert_eq!(seen, ["a1", "b1", "a2", "c1", "b2", "a3"]);
}

async fn the_owner_of_a_claim_gets_the_same_entries_again(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "b", "a"]).await;
    let first = desk.claim("one", 10).await;
    assert_eq!(desk.claim("one", 10).await, first, "the same ids, the same events");
    desk.write(&["a"]).await;
    assert_eq!(places(&desk.claim("one", 10).await), ["a1", "b1", "a2", "a3"]);
}

async fn no_other_owner_gets_a_key_while_a_claim_lasts(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "b", "a", "b"]).await;
    let one = desk.claim("one", 1).await;
    assert_eq!(places(&one), ["a1"]);
    desk.write(&["a", "b", "c"]).await;
    assert_eq!(places(&desk.claim("two", 10).await), ["b1", "b2", "b3", "c1"], "not what follows a1");
    desk.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(desk.claim("three", 10).await, [], "every key is with somebody");
    desk.clear("one", &one).await;
    assert_eq!(desk.claim("two", 1).await.iter().filter(|entry| entry.key() == "a").count(), 0);
    assert_eq!(places(&desk.claim("one", 10).await), ["a2", "a3"]);
}

async fn another_owner_takes_over_when_the_claim_runs_out(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "a", "a"]).await;
    let claimed = desk.claim("one", 10).await;
    desk.clear("one", &claimed[..1]).await;
    desk.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(desk.claim("two", 10).await, []);
    desk.clock.advance(Duration::from_millis(1));
    let taken_over = desk.claim("two", 10).await;
    assert_eq!(taken_over, claimed[1..], "from the first entry not cleared");
    assert_eq!(desk.claim("one", 10).await, [], "and now the first owner waits");
    desk.clear("two", &taken_over).await;
    assert_eq!(desk.pending().await, 0);
}

async fn claiming_again_renews_the_claim(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "a"]).await;
    for _ in 0..5 {
        assert_eq!(places(&desk.claim("one", 10).await), ["a1", "a2"]);
        desk.clock.advance(LEASE - Duration::from_millis(1));
        assert_eq!(desk.claim("two", 10).await, []);
    }
    desk.clock.advance(Duration::from_millis(1));
    assert_eq!(places(&desk.claim("two", 10).await), ["a1", "a2"]);
}

async fn clearing_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "a", "b"]).await;
    let claimed = desk.claim("one", 10).await;
    for _ in 0..3 {
        desk.clear("one", &claimed[..1]).await;
        desk.clear("one", &[]).await;
        desk.outbox.clear("one", &[EventId::new("nothing of the kind").expect("an id")]).await.unwrap();
        assert_eq!(places(&desk.claim("one", 10).await), ["a2", "b1"]);
    }
    desk.clear("one", &claimed).await;
    desk.clear("one", &claimed).await;
    desk.write(&["a"]).await;
    assert_eq!(places(&desk.claim("one", 10).await), ["a3"]);
}

async fn clearing_takes_only_what_is_named(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "b", "a", "b", "a"]).await;
    let claimed = desk.claim("one", 10).await;
    desk.clear("one", &claimed[2..4]).await;
    assert_eq!(places(&desk.claim("one", 10).await), ["a1", "b1", "a3"]);
    assert_eq!(desk.pending().await, 3);
}

async fn racing_owners_keep_the_order_of_every_key(offer: Offer) {
    const OWNERS: usize = 6;
    let desk = Desk::new(&offer);
    let keys = ["a", "b", "c", "d", "e"];
    // What each key's entries were published as, and by whom each key is claimed.
    let published: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    at_once(OWNERS + 2, |nth| {
        let (desk, published) = (Arc::clone(&desk), Arc::clone(&published));
        async move {
            if nth >= OWNERS {
                for _ in 0..30 {
                    desk.write(&keys).await;
                    tokio::task::yield_now().await;
                }
                return;
            }
            let owner = format!("owner {nth}");
            let mut idle = 0;
            while idle < 200 {
                let claimed = desk.claim(&owner, 1 + nth).await;
                idle = if claimed.is_empty() { idle + 1 } else { 0 };
                for entry in &claimed {
                    tokio::task::yield_now().await;
                    published.lock().entry(entry.key()).or_default().push(seq(entry));
                }
                desk.clear(&owner, &claimed).await;
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    // Owners may have given up while writers were late or a key was with one of them.
    desk.clock.advance(LEASE);
    loop {
        let claimed = desk.claim("the last one", 10).await;
        if claimed.is_empty() {
            break;
        }
        claimed.iter().for_each(|entry| published.lock().entry(entry.key()).or_default().push(seq(entry)));
        desk.clear("the last one", &claimed).await;
    }
    for (key, seqs) in published.lock().iter() {
        assert!(seqs.iter().copied().eq(1..=60), "{key} was published as {seqs:?}");
    }
    assert_eq!(published.lock().len(), keys.len());
    assert_eq!(desk.pending().await, 0);
}

async fn a_crash_between_publishing_and_clearing_repeats_the_same_id(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.write(&["a", "b", "a"]).await;
    // Each owner publishes and dies before it clears.
    let mut runs = Vec::new();
    for owner in ["one", "two", "three"] {
        runs.push(desk.claim(owner, 10).await);
        desk.clock.advance(LEASE);
    }
    assert_eq!(runs[0].len(), 3);
    assert!(runs.iter().all(|run| *run == runs[0]), "the same events under the same ids: {runs:?}");
    assert_eq!(ids(&runs[0]).into_iter().collect::<BTreeSet<_>>().len(), 3);
}

async fn what_is_published_twice_is_in_the_log_once(offer: Offer) {
    let desk = Desk::new(&offer);
    let publisher: Arc<dyn EventPublisher> = offer.publisher.clone().expect("a publisher");
    let tail: Arc<dyn EventTail> = offer.tail.clone().expect("a tail");
    desk.write(&["a", "b", "a"]).await;
    let claimed = desk.claim("one", 10).await;
    let topics: Vec<_> = claimed.iter().map(Envelope::topic).collect();
    let cursors = tail.ends(&topics[..1]).await.unwrap();
    publisher.publish_many(&claimed).await.unwrap();
    // The relay dies here, and another one does it all again.
    desk.clock.advance(LEASE);
    let claimed = desk.claim("two", 10).await;
    for answer in publisher.publish_many(&claimed).await.unwrap() {
        assert!(matches!(answer, Published::Suppressed(_)), "{answer:?}");
    }
    desk.clear("two", &claimed).await;
    let read = tail.read_since(&cursors, 100, Duration::ZERO).await.unwrap();
    let [TailRead::Events { events, .. }] = read.as_slice() else { panic!("{read:?}") };
    let events: Vec<_> = events.iter().flatten().cloned().collect();
    assert_eq!(places(&events), ["a1", "b1", "a2"]);
}

async fn waiting_entries_are_counted(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.outbox.stats().await.unwrap(), OutboxStats::default());
    desk.write(&["a", "b", "a"]).await;
    assert_eq!(desk.pending().await, 3);
    let claimed = desk.claim("one", 2).await;
    assert_eq!(desk.pending().await, 3, "claimed is not cleared");
    desk.clear("one", &claimed).await;
    desk.clear("one", &claimed).await;
    assert_eq!(desk.pending().await, 1);
}

async fn what_waits_is_listed_whoever_has_it(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.list(None, 10).await, Paged::last(Vec::new()));
    desk.write(&["a", "b", "a"]).await;
    let claimed = desk.claim("one", 1).await;
    for _ in 0..2 {
        let listed = desk.list(None, 10).await;
        assert_eq!((places(&listed.items), listed.next), (vec!["a1".into(), "b1".into(), "a2".into()], None));
        assert_eq!(listed.items[..1], claimed, "the same ids, the same events");
    }
    assert_eq!(places(&desk.claim("two", 10).await), ["b1"], "who lists claims nothing");
    desk.clear("one", &claimed).await;
    assert_eq!(places(&desk.list(None, 10).await.items), ["b1", "a2"]);
}

async fn a_walk_through_what_waits_misses_nothing_and_repeats_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    for nth in 0..30 {
        desk.write(if nth % 3 == 0 { &["a", "b"] } else { &["a"] }).await;
    }
    let all = desk.list(None, 100).await.items;
    assert_eq!(all.len(), 40);
    for limit in [1, 7, 39, 40] {
        let (mut walked, mut after) = (Vec::new(), None);
        loop {
            let page = desk.list(after, limit).await;
            assert!(page.items.len() == limit || page.next.is_none(), "a page is full or the last");
            walked.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(walked, all, "in pages of {limit}");
    }
    for (page, code) in [
        (Page::first(0), Code::PageInvalid),
        (Page::first(MAX_PAGE + 1), Code::PageInvalid),
        (Page::after("no cursor".to_owned(), 10), Code::CursorInvalid),
    ] {
        assert_eq!(desk.outbox.list(&page).await.unwrap_err().code(), code, "{page:?}");
    }
}

async fn hostile_ids_are_only_keys(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = sample::hostile_ids();
    let keys: Vec<_> = names.iter().map(String::as_str).collect();
    desk.write(&keys).await;
    // Every name is the name of an owner too: each takes one key, and then none is left.
    let mut taken = BTreeSet::new();
    for owner in &names {
        let claimed = desk.claim(owner, 1).await;
        assert_eq!(claimed.len(), 1, "{owner:?}");
        taken.insert(claimed[0].key());
    }
    assert_eq!(taken, names.iter().cloned().collect());
    assert_eq!(desk.claim("one more", 10).await, []);
    for owner in &names {
        let claimed = desk.claim(owner, 10).await;
        assert_eq!(claimed.len(), 1, "{owner:?}");
        desk.clear(owner, &claimed).await;
    }
    assert_eq!(desk.pending().await, 0);
}

async fn an_outage_is_never_an_empty_outbox(offer: Offer) {
    let desk = Desk::new(&offer);
    let outage = offer.outage.expect("an outage");
    desk.write(&["a", "b"]).await;
    let claimed = desk.claim("one", 1).await;
    outage.begin();
    unavailable(desk.outbox.claim("two", 10, LEASE).await);
    unavailable(desk.outbox.clear("one", &ids(&claimed)).await);
    unavailable(desk.outbox.list(&Page::first(10)).await);
    unavailable(desk.outbox.stats().await);
    outage.end();
    assert_eq!(places(&desk.claim("one", 10).await), ["a1", "b1"], "nothing changed meanwhile");
}
