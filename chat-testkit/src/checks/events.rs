//! Promises of the event log: `publisher`, `consumers`, `tail` and `dead_letters`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock};
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{EventId, FileId};
use chat_core::error::{Code, Error};
use chat_core::event::{Envelope, Event, FileUploaded, Topic};
use chat_core::store::events::{
    DeadLetter, Delivery, Lag, Position, Published, REPEAT_WINDOW, Receipt, TailCursor, TailRead,
};
use chat_core::store::{
    DeadLetters, DeadLettersExt, EventConsumer, EventPublisher, EventPublisherExt, EventTail,
};
use parking_lot::Mutex;

use crate::expect::{at_once, refused, unavailable};
use crate::model::events::agrees_with_the_model_on_random_histories;
use crate::offer::{Consumers, Offer};
use crate::run::checks;
use crate::sample;
use crate::walk::walk;

checks! {
    "events" needs [publisher]:
    publishing_answers_in_order,
    a_repeated_event_is_suppressed_where_it_stands,
    racing_repeats_are_in_the_log_once + tail,
    a_group_receives_what_is_published_once_it_is_there + consumers,
    a_group_from_the_beginning_receives_what_is_kept + consumers,
    every_group_receives_everything + consumers,
    every_event_goes_to_exactly_one_member + consumers,
    racing_members_keep_the_order_of_every_key + consumers,
    no_other_member_gets_a_key_while_one_has_it + consumers,
    fetching_hands_out_as_many_as_asked_and_waits_for_the_first + consumers,
    acknowledging_again_changes_nothing + consumers,
    what_is_not_acknowledged_is_reclaimed_when_it_was_idle + consumers,
    reclaiming_keeps_the_order_of_every_key + consumers,
    a_member_made_again_is_not_given_what_comes_after + consumers,
    racing_reclaims_take_every_entry_once + consumers,
    a_buried_event_is_kept_whole_with_its_cause + consumers + dead_letters,
    burying_again_changes_nothing + consumers + dead_letters,
    a_buried_event_does_not_hold_up_its_neighbours + consumers + dead_letters,
    dead_letters_come_in_pages_of_any_size + consumers + dead_letters,
    replayed_letters_go_to_the_group_that_gave_them_up + consumers + dead_letters,
    purged_letters_are_gone + consumers + dead_letters,
    all_letters_are_replayed_or_purged_at_once + consumers + dead_letters,
    what_a_group_has_not_acknowledged_is_never_dropped + consumers,
    lag_counts_what_waits_and_what_is_pending + consumers,
    every_reader_sees_everything_in_order + tail,
    readers_follow_racing_publishers_without_a_gap + tail,
    a_reader_that_fell_behind_is_told_so + tail,
    a_position_of_another_log_is_no_position_here + tail,
    ends_stand_behind_the_newest_entries + tail,
    a_reader_from_the_end_of_an_empty_topic_misses_nothing + tail,
    a_reader_waits_for_what_comes_next + tail,
    hostile_names_are_only_names + consumers + dead_letters + tail,
    an_outage_is_never_an_empty_log + consumers + dead_letters + tail + outage,
    agrees_with_the_model_on_random_histories + consumers + dead_letters + tail,
}

const IDLE: Duration = Duration::from_secs(30);
/// Longer than any check may take.
const LONG: Duration = Duration::from_secs(600);
const TOPIC: Topic = Topic::Notifications;

struct Log {
    publisher: Arc<dyn EventPublisher>,
    clock: ManualClock,
    consumers: Option<Consumers>,
    tail: Option<Arc<dyn EventTail>>,
    letters: Option<Arc<dyn DeadLetters>>,
}

impl Log {
    fn new(offer: &Offer) -> Arc<Self> {
        Arc::new(Self {
            publisher: offer.publisher.clone().expect("a publisher"),
            clock: offer.clock.clone(),
            consumers: offer.consumers.clone(),
            tail: offer.tail.clone(),
            letters: offer.dead_letters.clone(),
        })
    }

    /// Publishes events named by key and number, such as `a1`.
    async fn publish(&self, names: &[&str]) -> Vec<Published> {
        let events: Vec<_> = names.iter().map(|name| notice(name)).collect();
        self.publisher.publish_many(&events).await.unwrap()
    }

    async fn consumer(&self, group: &str, member: &str, from_beginning: bool) -> Arc<dyn EventConsumer> {
        let consumers = self.consumers.as_ref().expect("consumers");
        consumers(group, member, &[TOPIC], from_beginning).await.unwrap()
    }

    /// A member of the group `g`.
    async fn member(&self, name: &str) -> Arc<dyn EventConsumer> {
        self.consumer("g", name, false).await
    }

    fn tail(&self) -> &dyn EventTail {
        self.tail.as_deref().expect("a tail")
    }

    fn letters(&self) -> &dyn DeadLetters {
        self.letters.as_deref().expect("dead letters")
    }

    async fn end(&self) -> TailCursor {
        self.tail().ends(&[TOPIC]).await.unwrap().remove(0)
    }

    async fn read(&self, cursor: &TailCursor, max: usize) -> Option<TailRead> {
        let mut reads =
            self.tail().read_since(std::slice::from_ref(cursor), max, Duration::ZERO).await.unwrap();
        assert!(reads.len() <= 1, "one answer for one cursor");
        reads.pop()
    }

    /// Everything after a cursor, to the end, without a gap.
    async fn read_on(&self, cursor: &mut TailCursor, max: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(read) = self.read(cursor, max).await {
            let TailRead::Events { events, next } = read else { panic!("a gap: {read:?}") };
            assert!(!events.is_empty() && events.len() <= max);
            seen.extend(events.into_iter().map(|event| name(&event.expect("an event"))));
            *cursor = next;
        }
        seen
    }

    async fn listed(&self) -> Vec<DeadLetter> {
        self.letters().list(&Page::first(MAX_PAGE)).await.unwrap().items
    }
}

/// The event of this name: everything but its last digits is its key.
fn notice(name: &str) -> Envelope {
    let key = name.trim_end_matches(|c: char| c.is_ascii_digit());
    sample::notice(key, &name[key.len()..])
}

fn name(envelope: &Envelope) -> String {
    match &envelope.event {
        Event::ChatNotificationCreated(notice) => format!("{}{}", notice.user_id, notice.notification_id),
        other => panic!("{other:?}"),
    }
}

fn numbered(key: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|nth| format!("{key}{nth}")).collect()
}

fn named(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| name(delivery.event.as_ref().expect("an event"))).collect()
}

/// What the next fetch finds, without waiting.
async fn fetch(member: &Arc<dyn EventConsumer>, max: usize) -> Vec<Delivery> {
    let deliveries = member.fetch(max, Duration::ZERO).await.unwrap();
    assert!(deliveries.len() <= max, "more than asked for");
    deliveries
}

async fn ack(member: &Arc<dyn EventConsumer>, deliveries: &[Delivery]) {
    let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
    member.ack(&receipts).await.unwrap();
}

async fn bury(member: &Arc<dyn EventConsumer>, delivery: &Delivery) {
    member.bury(delivery, &Error::new(Code::DataCorrupt).with("reason", "a poisoned entry")).await.unwrap();
}

async fn lag(member: &Arc<dyn EventConsumer>) -> (u64, u64) {
    let Lag { waiting, pending } = member.lag().await.unwrap();
    (waiting, pending)
}

// Publishing

async fn publishing_answers_in_order(offer: Offer) {
    let log = Log::new(&offer);
    assert!(log.publisher.publish_many(&[]).await.unwrap().is_empty());
    let answers = log.publish(&["a1", "b1", "a1", "a2"]).await;
    let [
        Published::Durable(a1),
        Published::Durable(b1),
        Published::Suppressed(again),
        Published::Durable(a2),
    ] = answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    assert_eq!(a1, again);
    assert_eq!([a1, b1, a2].into_iter().collect::<BTreeSet<_>>().len(), 3, "each stands somewhere else");
}

async fn a_repeated_event_is_suppressed_where_it_stands(offer: Offer) {
    let log = Log::new(&offer);
    let first = log.publish(&["a1", "b1"]).await;
    let stands = |answer: &Published| match answer {
        Published::Durable(position) | Published::Suppressed(position) => position.clone(),
        Published::Buffered => panic!("the log is there"),
    };
    for _ in 0..3 {
        log.publish(&["a2", "c1"]).await;
        let again = log.publish(&["b1", "a1"]).await;
        assert!(again.iter().all(|answer| matches!(answer, Published::Suppressed(_))), "{again:?}");
        assert_eq!([stands(&again[1]), stands(&again[0])], [stands(&first[0]), stands(&first[1])]);
    }
    log.clock.advance(REPEAT_WINDOW - Duration::from_millis(1));
    let late = log.publisher.publish(&notice("a1")).await.unwrap();
    assert_eq!(late, Published::Suppressed(stands(&first[0])), "for ten minutes at least");
    let mut other = notice("a3");
    other.id = notice("a1").id;
    assert!(matches!(log.publisher.publish(&other).await.unwrap(), Published::Suppressed(_)), "by id");
}

async fn racing_repeats_are_in_the_log_once(offer: Offer) {
    let log = Log::new(&offer);
    let mut cursor = log.end().await;
    for round in 1..=10 {
        let name = format!("a{round}");
        let answers = at_once(16, |_| {
            let (log, event) = (Arc::clone(&log), notice(&name));
            async move { log.publisher.publish(&event).await.unwrap() }
        })
        .await;
        let durable = answers.iter().filter(|answer| matches!(answer, Published::Durable(_))).count();
        assert_eq!(durable, 1, "one wrote it: {answers:?}");
        assert_eq!(log.read_on(&mut cursor, 100).await, [name]);
    }
}

// Consuming

async fn a_group_receives_what_is_published_once_it_is_there(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1", "b1"]).await;
    let one = log.member("one").await;
    assert_eq!(named(&fetch(&one, 10).await), [""; 0], "not what came before");
    log.publish(&["a2", "b2"]).await;
    let file = FileUploaded::from(&sample::file(&sample::conversation("a"), "photo"));
    log.publisher.publish(&Envelope::new(&["a file"], log.clock.now(), file)).await.unwrap();
    let two = log.member("two").await;
    assert_eq!(
        named(&fetch(&two, 10).await),
        ["a2", "b2"],
        "of its topics; a later member does not begin anew"
    );
    assert_eq!(lag(&one).await, (0, 2));
    let again = log.consumer("g", "one", true).await;
    assert_eq!(named(&fetch(&again, 10).await), [""; 0], "nor does one that asks for the beginning");
}

async fn a_group_from_the_beginning_receives_what_is_kept(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1", "b1", "a2"]).await;
    let one = log.consumer("late", "one", true).await;
    log.publish(&["a3"]).await;
    let deliveries = fetch(&one, 10).await;
    assert_eq!(named(&deliveries), ["a1", "b1", "a2", "a3"]);
    assert!(deliveries.iter().all(|delivery| delivery.attempt == 1 && delivery.receipt.topic == TOPIC));
    assert_eq!(deliveries[0].event.as_ref().unwrap(), &notice("a1"), "as it was published");
}

async fn every_group_receives_everything(offer: Offer) {
    let log = Log::new(&offer);
    let (mut groups, mut all) = (Vec::new(), Vec::new());
    for group in ["g", "h", "gh"] {
        groups.push(log.consumer(group, "one", false).await);
    }
    for nth in 1..=10 {
        all.push(format!("a{nth}"));
        log.publish(&[&all[nth - 1]]).await;
        ack(&groups[0], &fetch(&groups[0], 1).await).await;
    }
    assert_eq!(named(&fetch(&groups[0], 100).await), [""; 0]);
    assert_eq!(named(&fetch(&groups[1], 100).await), all);
    assert_eq!(named(&fetch(&groups[2], 100).await), all);
}

async fn every_event_goes_to_exactly_one_member(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two, three) = (log.member("one").await, log.member("two").await, log.member("three").await);
    log.publish(&["a1", "b1", "c1", "a2", "b2", "d1"]).await;
    let mut seen = Vec::new();
    for (member, max) in [(&one, 2), (&two, 1), (&three, 10), (&one, 10), (&two, 10), (&three, 10)] {
        seen.extend(named(&fetch(member, max).await));
    }
    seen.sort();
    assert_eq!(seen, ["a1", "a2", "b1", "b2", "c1", "d1"]);
}

/// What members were given, by key, in the order they were given it.
type Given = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn give(given: &Given, deliveries: &[Delivery]) {
    for (delivery, name) in deliveries.iter().zip(named(deliveries)) {
        let key = delivery.event.as_ref().expect("an event").key();
        given.lock().entry(key).or_default().push(name);
    }
}

async fn racing_members_keep_the_order_of_every_key(offer: Offer) {
    const MEMBERS: usize = 6;
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    const EACH: u64 = 40;
    let log = Log::new(&offer);
    let mut members = Vec::new();
    for nth in 0..MEMBERS {
        members.push(log.member(&format!("member {nth}")).await);
    }
    let (given, done) = (Given::default(), Arc::new(AtomicUsize::new(0)));
    at_once(MEMBERS + 1, |nth| {
        let (log, given, done) = (Arc::clone(&log), Arc::clone(&given), Arc::clone(&done));
        let member = members.get(nth).cloned();
        async move {
            let Some(member) = member else {
                for nth in 1..=EACH {
                    let names = KEYS.map(|key| format!("{key}{nth}"));
                    log.publish(&names.each_ref().map(String::as_str)).await;
                    tokio::task::yield_now().await;
                }
                done.store(1, Ordering::SeqCst);
                return;
            };
            loop {
                let last = done.load(Ordering::SeqCst) == 1;
                let deliveries = fetch(&member, 1 + nth).await;
                tokio::task::yield_now().await;
                // While they are here nobody else has anything of their keys: this is their order.
                give(&given, &deliveries);
                ack(&member, &deliveries).await;
                if last && deliveries.is_empty() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let rest = fetch(&members[0], 1_000).await;
    give(&given, &rest);
    for (key, names) in given.lock().iter() {
        assert_eq!(*names, numbered(key, 1..=EACH), "each once, in order");
    }
    assert_eq!(given.lock().len(), KEYS.len());
    ack(&members[0], &rest).await;
    assert_eq!(lag(&members[0]).await, (0, 0));
}

async fn no_other_member_gets_a_key_while_one_has_it(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "b1", "a3", "b2"]).await;
    let first = fetch(&one, 1).await;
    assert_eq!(named(&first), ["a1"]);
    let second = fetch(&two, 10).await;
    assert_eq!(named(&second), ["b1", "b2"], "nothing that comes after a1");
    log.publish(&["a4", "b3"]).await;
    assert_eq!(named(&fetch(&two, 10).await), ["b3"]);
    assert_eq!(named(&fetch(&one, 1).await), ["a2"]);
    ack(&one, &first).await;
    assert_eq!(named(&fetch(&two, 10).await), [""; 0], "a2 is still with the other one");
    assert_eq!(named(&fetch(&one, 10).await), ["a3", "a4"]);
    ack(&two, &second).await;
    log.publish(&["c1"]).await;
    assert_eq!(named(&fetch(&one, 10).await), ["c1"]);
}

async fn fetching_hands_out_as_many_as_asked_and_waits_for_the_first(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    assert!(fetch(&one, 10).await.is_empty(), "nothing there, and no time to wait");
    let waiting = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.fetch(2, LONG).await }
    });
    tokio::task::yield_now().await;
    log.publish(&["a1"]).await;
    let first = tokio::time::timeout(LONG / 10, waiting).await.expect("it wakes up").unwrap().unwrap();
    assert_eq!(named(&first), ["a1"], "the first one is enough");
    log.publish(&["a2", "a3", "a4", "b1"]).await;
    assert_eq!(named(&one.fetch(3, LONG).await.unwrap()), ["a2", "a3", "a4"]);
    assert_eq!(named(&one.fetch(3, LONG).await.unwrap()), ["b1"]);
    // What waits for its key wakes nobody; what is free does.
    let two = log.member("two").await;
    log.publish(&["b2"]).await;
    let waiting = tokio::spawn(async move { two.fetch(2, LONG).await });
    tokio::task::yield_now().await;
    log.publish(&["b3", "c1"]).await;
    let woken = tokio::time::timeout(LONG / 10, waiting).await.expect("it wakes up").unwrap().unwrap();
    assert_eq!(named(&woken), ["c1"]);
}

async fn acknowledging_again_changes_nothing(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two, other) =
        (log.member("one").await, log.member("two").await, log.consumer("h", "one", false).await);
    log.publish(&["a1", "b1"]).await;
    let deliveries = fetch(&one, 10).await;
    one.ack(&[]).await.unwrap();
    for _ in 0..3 {
        ack(&one, &deliveries[..1]).await;
        assert_eq!(lag(&one).await, (0, 1));
    }
    ack(&one, &deliveries).await;
    ack(&two, &deliveries).await;
    assert_eq!((lag(&one).await, lag(&other).await), ((0, 0), (2, 0)), "another group is not concerned");
    log.clock.advance(IDLE * 10);
    assert!(two.reclaim(IDLE, 10).await.unwrap().is_empty(), "done with is done with");
    assert_eq!(named(&fetch(&one, 10).await), [""; 0]);
    assert_eq!(named(&fetch(&other, 10).await), ["a1", "b1"]);
}

async fn what_is_not_acknowledged_is_reclaimed_when_it_was_idle(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "b1", "c1"]).await;
    let first = fetch(&one, 10).await;
    ack(&one, &first[1..2]).await;
    log.clock.advance(IDLE - Duration::from_millis(1));
    log.publish(&["d1"]).await;
    fetch(&one, 10).await;
    assert!(two.reclaim(IDLE, 10).await.unwrap().is_empty(), "not yet");
    log.clock.advance(Duration::from_millis(1));
    let taken = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a1", "c1"], "oldest first; neither what is done with nor what came later");
    assert!(taken.iter().all(|delivery| delivery.attempt == 2), "{taken:?}");
    let receipts =
        |deliveries: &[Delivery]| deliveries.iter().map(|one| one.receipt.clone()).collect::<Vec<_>>();
    assert_eq!(receipts(&taken), [first[0].receipt.clone(), first[2].receipt.clone()]);
    assert!(one.reclaim(IDLE, 10).await.unwrap().is_empty(), "it was handed out just now");
    ack(&two, &taken[..1]).await;
    log.clock.advance(IDLE);
    let back = one.reclaim(IDLE, 10).await.unwrap();
    let attempts: Vec<_> =
        named(&back).into_iter().zip(back.iter().map(|delivery| delivery.attempt)).collect();
    assert_eq!(attempts, [("c1".to_owned(), 3), ("d1".to_owned(), 2)], "one's own as well");
    ack(&one, &back).await;
    assert_eq!(lag(&one).await, (0, 0));
}

async fn reclaiming_keeps_the_order_of_every_key(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two, three) = (log.member("one").await, log.member("two").await, log.member("three").await);
    log.publish(&["a1", "b1", "a2", "a3", "b2", "a4"]).await;
    assert_eq!(fetch(&one, 4).await.len(), 4);
    log.clock.advance(IDLE);
    let given = Given::default();
    // However few are taken over at once, what follows of a key goes to the same member or waits.
    loop {
        let mut progress = 0;
        for (member, max) in [(&two, 1), (&three, 2)] {
            let taken = member.reclaim(IDLE, max).await.unwrap();
            let fresh = fetch(member, max).await;
            give(&given, &taken);
            give(&given, &fresh);
            progress += taken.len() + fresh.len();
            ack(member, &taken).await;
            ack(member, &fresh).await;
        }
        if progress == 0 {
            break;
        }
    }
    assert_eq!(given.lock()["a"], numbered("a", 1..=4));
    assert_eq!(given.lock()["b"], numbered("b", 1..=2));
    assert_eq!(lag(&one).await, (0, 0));

    log.publish(&["c1", "c2", "c3"]).await;
    assert_eq!(named(&fetch(&one, 2).await), ["c1", "c2"]);
    log.clock.advance(IDLE);
    let taken = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["c1", "c2"]);
    assert_eq!(named(&fetch(&one, 10).await), [""; 0], "the key went with them");
    assert_eq!(named(&fetch(&three, 10).await), [""; 0]);
    assert_eq!(named(&fetch(&two, 10).await), ["c3"]);
}

async fn a_member_made_again_is_not_given_what_comes_after(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    log.publish(&["a1", "a2", "b1"]).await;
    let held = fetch(&one, 1).await;
    assert_eq!(named(&held), ["a1"]);
    let again = log.member("one").await;
    assert_eq!(named(&fetch(&again, 10).await), ["b1"], "nobody knows what became of a1");
    let third = log.member("one").await;
    assert_eq!(named(&fetch(&third, 10).await), [""; 0]);
    log.clock.advance(IDLE);
    let taken = third.reclaim(IDLE, 10).await.unwrap();
    assert_eq!((named(&taken), taken[0].attempt), (vec!["a1".to_owned(), "b1".to_owned()], 2));
    // What the first was done with counts, however late it says so.
    ack(&one, &held).await;
    assert_eq!(lag(&third).await, (1, 1));
    assert_eq!(named(&fetch(&third, 10).await), ["a2"]);
}

async fn racing_reclaims_take_every_entry_once(offer: Offer) {
    let log = Log::new(&offer);
    let dead = log.member("dead").await;
    let names: Vec<_> = ('a'..='t').map(|key| format!("{key}1")).collect();
    log.publish(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(fetch(&dead, 100).await.len(), 20);
    log.clock.advance(IDLE);
    let mut members = Vec::new();
    for nth in 0..8 {
        members.push(log.member(&format!("member {nth}")).await);
    }
    let taken = at_once(8, |nth| {
        let member = Arc::clone(&members[nth]);
        async move {
            let mut mine = Vec::new();
            for _ in 0..4 {
                mine.extend(named(&member.reclaim(IDLE, 3).await.unwrap()));
                tokio::task::yield_now().await;
            }
            mine
        }
    })
    .await;
    let mut taken = taken.concat();
    taken.sort();
    assert_eq!(taken, names);
}

// Dead letters

async fn a_buried_event_is_kept_whole_with_its_cause(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two) = (log.member("one").await, log.member("two").await);
    assert!(log.listed().await.is_empty());
    log.publish(&["a1"]).await;
    fetch(&one, 10).await;
    log.clock.advance(IDLE);
    let second = two.reclaim(IDLE, 10).await.unwrap();
    bury(&two, &second[0]).await;
    let letters = log.listed().await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.event.as_ref().unwrap(), &notice("a1"), "all of it");
    assert_eq!((letter.group.as_str(), &letter.receipt, letter.attempts), ("g", &second[0].receipt, 2));
    assert!(letter.cause.contains(Code::DataCorrupt.as_str()) && letter.cause.contains("a poisoned entry"));
    assert_eq!(letter.at, log.clock.now());
    assert_eq!(lag(&one).await, (0, 0), "and the group is done with it");
    log.clock.advance(IDLE);
    assert!(one.reclaim(IDLE, 10).await.unwrap().is_empty());
}

async fn burying_again_changes_nothing(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    log.publish(&["a1", "b1"]).await;
    let deliveries = fetch(&one, 10).await;
    for _ in 0..3 {
        bury(&one, &deliveries[0]).await;
    }
    assert_eq!(log.listed().await.len(), 1);
    ack(&one, &deliveries).await;
    assert_eq!((log.listed().await.len(), lag(&one).await), (1, (0, 0)), "acknowledging does not dig it up");
}

async fn a_buried_event_does_not_hold_up_its_neighbours(offer: Offer) {
    let log = Log::new(&offer);
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "a3"]).await;
    let first = fetch(&one, 1).await;
    assert_eq!(named(&fetch(&two, 10).await), [""; 0]);
    bury(&one, &first[0]).await;
    assert_eq!(named(&fetch(&two, 10).await), ["a2", "a3"]);
}

async fn dead_letters_come_in_pages_of_any_size(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    let names = numbered("a", 1..=12);
    log.publish(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for delivery in fetch(&one, 100).await {
        bury(&one, &delivery).await;
        log.clock.advance(Duration::from_secs(1));
    }
    for limit in [1, 2, 5, 12, MAX_PAGE] {
        let letters = walk(limit, |page| {
            let log = &log;
            async move { log.letters().list(&page).await }
        })
        .await;
        let seen: Vec<_> = letters.iter().map(|letter| name(letter.event.as_ref().unwrap())).collect();
        assert_eq!(seen, names, "oldest first, by {limit}");
    }
    for limit in [0, MAX_PAGE + 1] {
        refused(log.letters().list(&Page::first(limit)).await, Code::PageInvalid);
    }
}

async fn replayed_letters_go_to_the_group_that_gave_them_up(offer: Offer) {
    let log = Log::new(&offer);
    let (one, other) = (log.member("one").await, log.consumer("h", "one", false).await);
    log.publish(&["a1", "b1", "c1"]).await;
    let deliveries = fetch(&one, 10).await;
    for delivery in &deliveries {
        bury(&one, delivery).await;
    }
    let ids: Vec<_> = log.listed().await.into_iter().map(|letter| letter.id).collect();
    ack(&other, &fetch(&other, 10).await).await;
    log.publish(&["a2", "b2"]).await;
    let nobody = ["nobody".to_owned(), String::new()];
    assert_eq!(log.letters().replay(&nobody).await.unwrap(), 0);
    assert_eq!(log.letters().replay(&[]).await.unwrap(), 0);
    let wanted = [ids[0].clone(), ids[2].clone(), ids[0].clone()];
    assert_eq!(log.letters().replay(&wanted).await.unwrap(), 2, "each once");
    assert_eq!(log.letters().replay(&wanted).await.unwrap(), 0, "they are off the list");
    let left: Vec<_> = log.listed().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(left, ids[1..2]);
    assert_eq!(lag(&one).await, (4, 0));
    let again = fetch(&one, 2).await;
    assert_eq!(named(&again), ["a1", "c1"], "its next deliveries");
    assert_eq!(again[0].event.as_ref().unwrap(), &notice("a1"));
    assert_eq!(named(&fetch(&one, 10).await), ["a2", "b2"]);
    assert_eq!(named(&fetch(&other, 10).await), ["a2", "b2"], "not of the other group");
    bury(&one, &again[0]).await;
    assert_eq!(log.listed().await.len(), 2, "it can be given up again");
    ack(&one, &again).await;
    assert_eq!(lag(&one).await, (0, 2));
}

async fn purged_letters_are_gone(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    log.publish(&["a1", "b1", "c1"]).await;
    for delivery in fetch(&one, 10).await {
        bury(&one, &delivery).await;
    }
    let ids: Vec<_> = log.listed().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.letters().purge(&[ids[1].clone(), "nobody".to_owned()]).await.unwrap(), 1);
    assert_eq!(log.letters().purge(&ids[1..2]).await.unwrap(), 0);
    assert_eq!(log.letters().replay(&ids[1..2]).await.unwrap(), 0);
    let left: Vec<_> = log.listed().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(left, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(log.letters().purge(&ids).await.unwrap(), 2);
    assert!(log.listed().await.is_empty());
    assert_eq!(named(&fetch(&one, 10).await), [""; 0]);
}

async fn all_letters_are_replayed_or_purged_at_once(offer: Offer) {
    let log = Log::new(&offer);
    let one = log.member("one").await;
    let count = u64::try_from(MAX_PAGE).unwrap() + 2;
    log.publisher
        .publish_many(&(1..=count).map(|nth| sample::notice("a", nth)).collect::<Vec<_>>())
        .await
        .unwrap();
    let take_all = async || {
        let mut taken = Vec::new();
        while taken.len() < usize::try_from(count).unwrap() {
            taken.extend(fetch(&one, 100).await);
        }
        taken
    };
    for delivery in take_all().await {
        bury(&one, &delivery).await;
    }
    assert_eq!(log.letters().replay_all().await.unwrap(), count);
    assert_eq!(log.letters().replay_all().await.unwrap(), 0);
    let again = take_all().await;
    assert_eq!(named(&again), (1..=count).map(|nth| format!("a{nth}")).collect::<Vec<_>>(), "in their order");
    for delivery in &again {
        bury(&one, delivery).await;
    }
    assert_eq!(log.letters().purge_all().await.unwrap(), count);
    assert_eq!(log.letters().purge_all().await.unwrap(), 0);
    assert!(log.listed().await.is_empty());
}

async fn what_a_group_has_not_acknowledged_is_never_dropped(offer: Offer) {
    const BATCH: u64 = 250;
    let log = Log::new(&offer);
    let (slow, quick) = (log.member("slow").await, log.consumer("quick", "one", false).await);
    let (most, mut published) = (TOPIC.max_len() * 12, 0);
    let batch =
        |from: u64| -> Vec<_> { (from + 1..=from + BATCH).map(|nth| sample::notice("a", nth)).collect() };
    log.publisher.publish_many(&batch(0)).await.unwrap();
    published += BATCH;
    let held = fetch(&slow, 10).await;
    while published < most {
        match log.publisher.publish_many(&batch(published)).await {
            Ok(_) => published += BATCH,
            Err(error) => {
                refused::<()>(Err(error), Code::QueueFull);
                assert!(published > TOPIC.max_len(), "full before it holds what it says");
                break;
            }
        }
        ack(&quick, &fetch(&quick, 1_000).await).await;
    }
    assert_eq!(lag(&slow).await, (published - 10, 10), "nothing of a refused batch is there either");
    log.clock.advance(IDLE);
    let taken = slow.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), named(&held), "also what was handed out and forgotten");
    ack(&slow, &taken).await;
    let mut next = 11;
    loop {
        let deliveries = fetch(&slow, 1_000).await;
        if deliveries.is_empty() {
            break;
        }
        assert_eq!(
            named(&deliveries),
            numbered("a", next..=next + deliveries.len() as u64 - 1),
            "every one of them"
        );
        next += deliveries.len() as u64;
        ack(&slow, &deliveries).await;
    }
    assert_eq!(next, published + 1);
    ack(&quick, &fetch(&quick, usize::try_from(published).unwrap()).await).await;
    let answers = log.publisher.publish_many(&batch(published)).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Published::Durable(_))), "there is room again");
    assert_eq!(lag(&slow).await, (BATCH, 0));
}

async fn lag_counts_what_waits_and_what_is_pending(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1"]).await;
    let (one, two) = (log.member("one").await, log.member("two").await);
    assert_eq!(lag(&one).await, (0, 0));
    log.publish(&["a2", "a3", "b1", "a2"]).await;
    assert_eq!(lag(&one).await, (3, 0));
    let first = fetch(&one, 1).await;
    assert_eq!((lag(&one).await, lag(&two).await), ((2, 1), (2, 1)), "of the group, whoever asks");
    let second = fetch(&two, 10).await;
    assert_eq!(named(&second), ["b1"]);
    assert_eq!(lag(&one).await, (1, 2), "what waits for its key waits");
    ack(&one, &first).await;
    assert_eq!(lag(&one).await, (1, 1));
    log.clock.advance(IDLE);
    ack(&one, &one.reclaim(IDLE, 10).await.unwrap()).await;
    ack(&one, &fetch(&one, 10).await).await;
    assert_eq!(lag(&two).await, (0, 0));
}

// Following

async fn every_reader_sees_everything_in_order(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1", "b1"]).await;
    let (mut early, beginning) = (log.end().await, TailCursor { topic: TOPIC, after: None });
    let names: Vec<_> = (10..40).map(|nth| format!("{}{nth}", ["a", "b", "c"][nth % 3])).collect();
    for name in &names {
        log.publish(&[name]).await;
    }
    let whole: Vec<_> = ["a1", "b1"].into_iter().map(str::to_owned).chain(names.clone()).collect();
    for max in [1, 2, 7, 100] {
        assert_eq!(log.read_on(&mut early.clone(), max).await, names, "from its place on, by {max}");
        assert_eq!(log.read_on(&mut beginning.clone(), max).await, whole, "from the oldest kept, by {max}");
    }
    assert_eq!(log.read_on(&mut early, 100).await.len(), names.len());
    assert!(log.read(&early, 100).await.is_none(), "nothing new");
    let file = FileUploaded::from(&sample::file(&sample::conversation("a"), "photo"));
    log.publisher.publish(&Envelope::new(&["a file"], log.clock.now(), file)).await.unwrap();
    assert!(log.read(&early, 100).await.is_none(), "nothing new in this topic");
    log.publish(&["a99"]).await;
    let cursors = [early.clone(), TailCursor { topic: Topic::Files, after: None }, early];
    let reads = log.tail().read_since(&cursors, 100, Duration::ZERO).await.unwrap();
    let lengths: Vec<_> = reads
        .iter()
        .map(|read| match read {
            TailRead::Events { events, next } => (next.topic, events.len()),
            TailRead::Discontinuity { .. } => panic!("{read:?}"),
        })
        .collect();
    assert_eq!(lengths, [(TOPIC, 1), (Topic::Files, 1), (TOPIC, 1)], "one answer for each cursor, in order");
    assert!(log.tail().read_since(&[], 100, Duration::ZERO).await.unwrap().is_empty());
}

async fn readers_follow_racing_publishers_without_a_gap(offer: Offer) {
    const PUBLISHERS: usize = 4;
    const EACH: u64 = 60;
    let log = Log::new(&offer);
    let start = log.end().await;
    let done = Arc::new(AtomicUsize::new(0));
    let seen = at_once(PUBLISHERS + 3, |nth| {
        let (log, done, mut cursor) = (Arc::clone(&log), Arc::clone(&done), start.clone());
        async move {
            let mut seen = Vec::new();
            if nth < PUBLISHERS {
                let key = ["a", "b", "c", "d"][nth];
                for nth in 1..=EACH {
                    log.publish(&[&format!("{key}{nth}")]).await;
                    tokio::task::yield_now().await;
                }
                done.fetch_add(1, Ordering::SeqCst);
                return seen;
            }
            loop {
                let last = done.load(Ordering::SeqCst) == PUBLISHERS;
                seen.extend(log.read_on(&mut cursor, [1, 3, 100][nth - PUBLISHERS]).await);
                if last {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let readers = &seen[PUBLISHERS..];
    assert!(readers.iter().all(|seen| *seen == readers[0]), "every reader sees the same");
    for key in ["a", "b", "c", "d"] {
        let of_key: Vec<_> = readers[0].iter().filter(|name| name.starts_with(key)).cloned().collect();
        assert_eq!(of_key, numbered(key, 1..=EACH));
    }
    assert_eq!(readers[0].len() as u64, EACH * PUBLISHERS as u64);
}

async fn a_reader_that_fell_behind_is_told_so(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1"]).await;
    let mut behind = log.end().await;
    let last = TOPIC.max_len() * 3;
    for from in (2..last).step_by(500) {
        let batch: Vec<_> = (from..from + 500).map(|nth| sample::notice("a", nth)).collect();
        log.publisher.publish_many(&batch).await.unwrap();
    }
    let newest = log.end().await;
    let first = match log.read(&behind, 10).await {
        // Everything is still kept.
        Some(TailRead::Events { events, .. }) => {
            assert_eq!(name(events[0].as_ref().unwrap()), "a2", "no silent gap");
            2
        }
        Some(TailRead::Discontinuity { oldest }) => {
            assert!(
                matches!(log.read(&behind, 10).await, Some(TailRead::Discontinuity { .. })),
                "and told so again"
            );
            behind = oldest;
            let Some(TailRead::Events { events, .. }) = log.read(&behind, 1).await else {
                panic!("from there on")
            };
            name(events[0].as_ref().unwrap())[1..].parse().unwrap()
        }
        None => panic!("a reader that fell behind sees nothing"),
    };
    let seen = log.read_on(&mut behind, 1_000).await;
    assert_eq!(seen, numbered("a", first..=first + seen.len() as u64 - 1), "without a gap from there on");
    assert_eq!(
        seen.last().map(String::as_str),
        Some(format!("a{}", 1 + (last - 2).div_ceil(500) * 500).as_str())
    );
    assert_eq!(behind, newest);
    let from_oldest = log.read_on(&mut TailCursor { topic: TOPIC, after: None }, 1_000).await;
    assert_eq!(from_oldest.last(), seen.last());
}

async fn a_position_of_another_log_is_no_position_here(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1", "a2"]).await;
    for foreign in ["nowhere", "18446744073709551615-0", "5f1c-00000000000000000000"] {
        let cursor = TailCursor { topic: TOPIC, after: Some(Position(foreign.to_owned())) };
        match log.read(&cursor, 10).await {
            Some(TailRead::Discontinuity { mut oldest }) => {
                assert_eq!(
                    log.read_on(&mut oldest, 10).await,
                    ["a1", "a2"],
                    "what is kept, from the oldest on"
                );
            }
            other => panic!("{foreign:?} is never silently taken for a place here: {other:?}"),
        }
    }
}

async fn ends_stand_behind_the_newest_entries(offer: Offer) {
    let log = Log::new(&offer);
    assert!(log.tail().ends(&[]).await.unwrap().is_empty());
    log.publish(&["a1", "a2"]).await;
    let ends = log.tail().ends(&[Topic::Files, TOPIC, Topic::Rooms]).await.unwrap();
    let topics: Vec<_> = ends.iter().map(|end| end.topic).collect();
    assert_eq!(topics, [Topic::Files, TOPIC, Topic::Rooms]);
    assert!(
        log.tail().read_since(&ends, 10, Duration::ZERO).await.unwrap().is_empty(),
        "nothing comes after them"
    );
    let mut cursor = ends[1].clone();
    log.publish(&["a3"]).await;
    assert_eq!(log.read_on(&mut cursor, 10).await, ["a3"]);
    assert_eq!(cursor, log.end().await);
}

async fn a_reader_from_the_end_of_an_empty_topic_misses_nothing(offer: Offer) {
    let log = Log::new(&offer);
    let mut cursor = log.end().await;
    let (last, mut published) = (TOPIC.max_len() + 500, 0);
    while published < last {
        let batch: Vec<_> = (published + 1..=published + 500).map(|nth| sample::notice("a", nth)).collect();
        log.publisher.publish_many(&batch).await.unwrap();
        published += 500;
    }
    match log.read(&cursor, 1).await {
        Some(TailRead::Discontinuity { .. }) => {}
        Some(TailRead::Events { .. }) => {
            assert_eq!(
                log.read_on(&mut cursor, 1_000).await,
                numbered("a", 1..=published),
                "all of it, or told so"
            );
        }
        None => panic!("a reader that fell behind sees nothing"),
    }
}

async fn a_reader_waits_for_what_comes_next(offer: Offer) {
    let log = Log::new(&offer);
    log.publish(&["a1"]).await;
    let cursors = log.tail().ends(&[Topic::Files, TOPIC]).await.unwrap();
    let waiting = tokio::spawn({
        let (log, cursors) = (Arc::clone(&log), cursors.clone());
        async move { log.tail().read_since(&cursors, 10, LONG).await }
    });
    tokio::task::yield_now().await;
    log.publish(&["a2"]).await;
    let reads = tokio::time::timeout(LONG / 10, waiting).await.expect("it wakes up").unwrap().unwrap();
    let [TailRead::Events { events, next }] = reads.as_slice() else { panic!("{reads:?}") };
    assert_eq!((name(events[0].as_ref().unwrap()).as_str(), next.topic), ("a2", TOPIC));
    let at_once = log.tail().read_since(&cursors, 10, LONG).await.unwrap();
    assert_eq!(at_once.len(), 1, "what is there already is not waited for");
}

// Everything together

async fn hostile_names_are_only_names(offer: Offer) {
    let log = Log::new(&offer);
    let names = sample::hostile_ids();
    let mut cursor = log.end().await;
    let mut groups = Vec::new();
    for group in &names {
        groups.push((log.consumer(group, "one", false).await, log.consumer(group, group, false).await));
    }
    let events: Vec<_> = names.iter().map(|key| sample::notice(key, 1)).collect();
    let ids: BTreeSet<EventId> = events.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids.len(), names.len());
    log.publisher.publish_many(&events).await.unwrap();
    let expected: Vec<_> = names.iter().map(|key| format!("{key}1")).collect();
    assert_eq!(log.read_on(&mut cursor, 5).await, expected);
    for (nth, (one, other)) in groups.iter().enumerate() {
        let (mine, theirs) = (fetch(one, nth).await, fetch(other, 1_000).await);
        let all: Vec<_> = named(&mine).into_iter().chain(named(&theirs)).collect();
        assert_eq!(all, expected, "{:?}", names[nth]);
        bury(other, &theirs[0]).await;
        ack(one, &mine).await;
        ack(other, &theirs).await;
        assert_eq!(lag(one).await, (0, 0));
    }
    let letters = log.listed().await;
    assert_eq!(letters.iter().map(|letter| letter.group.clone()).collect::<Vec<_>>(), names);
    let letters: Vec<_> = letters.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.letters().replay(&letters).await.unwrap(), names.len() as u64);
    for (nth, (one, _)) in groups.iter().enumerate() {
        assert_eq!(named(&fetch(one, 10).await), expected[nth..=nth], "each group its own");
    }
    assert!(FileId::new(&names[0]).is_ok(), "they are ids");
}

async fn an_outage_is_never_an_empty_log(offer: Offer) {
    let log = Log::new(&offer);
    let outage = offer.outage.clone().expect("an outage");
    let one = log.member("one").await;
    let mut cursor = log.end().await;
    log.publish(&["a1", "b1"]).await;
    let held = fetch(&one, 2).await;
    bury(&one, &held[1]).await;
    let letters: Vec<_> = log.listed().await.into_iter().map(|letter| letter.id).collect();
    log.publish(&["c1"]).await;
    log.clock.advance(IDLE);
    outage.begin();
    unavailable(log.publisher.publish_many(&[notice("a2")]).await);
    unavailable(log.publisher.publish(&notice("a1")).await);
    unavailable(one.fetch(10, Duration::ZERO).await);
    unavailable(one.ack(&[held[0].receipt.clone()]).await);
    unavailable(one.reclaim(IDLE, 10).await);
    unavailable(one.bury(&held[0], &Error::new(Code::Internal)).await);
    unavailable(one.lag().await);
    unavailable(log.letters().list(&Page::first(10)).await);
    unavailable(log.letters().replay(&letters).await);
    unavailable(log.letters().purge(&letters).await);
    unavailable(log.tail().read_since(std::slice::from_ref(&cursor), 10, Duration::ZERO).await);
    unavailable(log.tail().ends(&[TOPIC]).await);
    outage.end();
    assert_eq!(log.read_on(&mut cursor, 10).await, ["a1", "b1", "c1"], "nothing changed meanwhile");
    assert_eq!((log.listed().await.len(), lag(&one).await), (1, (1, 1)));
    assert_eq!(named(&one.reclaim(IDLE, 10).await.unwrap()), ["a1"]);
}
