//! What a port declares of repeats, seen from a retry whose first reply was lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::message::Mentions;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{Page, RoomRole, Seq, UserProfile};
use chat_core::error::{Code, Effect, Error, Result};
use chat_core::event::{DeleteType, Topic};
use chat_core::layer::{Attempt, Call, Operation, Policy, Repeat, Retry, RetryOptions, Stack};
use chat_core::store::cache::{CacheEntry, CacheScope, Put};
use chat_core::store::conversations::Change;
use chat_core::store::events::Published;
use chat_core::store::limits::{Attempt as Try, Decision, Limit, Rule, Subject};
use chat_core::store::messages::{Edit, MessageChanged, Purge};
use chat_core::store::positions::{PositionStep, Step};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::unread::{Advance, AdvanceTo};
use chat_core::store::{EventPublisherExt, MessageStoreExt, PresenceStoreExt, RateLimiterExt, UserSourceExt};
use chat_testkit::guarded::{DECLARED, Tally, guarded};
use chat_testkit::{Offer, expect, sample};
use parking_lot::Mutex;

/// Loses the reply of the next call when told to, and knows what it did that to.
#[derive(Debug, Default)]
struct Loses {
    next: AtomicBool,
    lost: Mutex<BTreeSet<&'static str>>,
}

impl Policy for Loses {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let answer = attempt.start().await?;
        if !self.next.swap(false, Ordering::SeqCst) {
            return Ok(answer);
        }
        self.lost.lock().insert(call.operation.name);
        Err(Error::new(Code::Timeout).effect_unknown())
    }
}

type Layers = Arc<Stack<Retry, Loses>>;

struct Stage {
    offer: Offer,
    layers: Layers,
    tally: Tally,
}

impl Stage {
    fn new() -> Self {
        let (memory, tally) = (Offer::memory(), Tally::default());
        let options = RetryOptions { pause: Duration::ZERO, ..RetryOptions::default() };
        let retry = Retry::new("memory", options, Arc::new(memory.clock.clone()));
        let layers = Arc::new(Stack(retry, Loses::default()));
        Self { offer: guarded(tally.of(memory), &layers), layers, tally }
    }

    /// The reply of the next call is lost.
    fn lose(&self) {
        assert!(!self.layers.1.next.swap(true, Ordering::SeqCst), "the last one was not lost");
    }

    fn lost(&self) -> BTreeSet<&'static str> {
        self.layers.1.lost.lock().clone()
    }

    /// How many events wait in the outbox; none afterwards.
    async fn events(&self) -> usize {
        expect::drained(self.offer.outbox.as_deref().unwrap()).await.len()
    }
}

fn declared(repeat: Repeat) -> BTreeSet<&'static str> {
    let is = |operation: &&Operation| operation.repeat == repeat;
    DECLARED.iter().flat_map(|port| port.operations).filter(is).map(|operation| operation.name).collect()
}

/// Calls a port; the reply of the first attempt is lost.
macro_rules! lost {
    ($stage:ident.$port:ident.$method:ident($($arg:expr),*)) => {{
        $stage.lose();
        $stage.offer.$port.as_ref().unwrap().$method($($arg),*).await
    }};
}

#[tokio::test]
async fn what_was_so_already_is_done_once_and_says_so() {
    let stage = Stage::new();
    let (ann, ben) = (sample::user("ann"), sample::user("ben"));
    let here = sample::conversation("here");

    let created = lost!(stage.conversations.create(&sample::group("here", &["ann"]))).unwrap();
    assert!(!created.created);
    assert_eq!(stage.events().await, 1);

    // Known again by its id, without a client key.
    let new = sample::text(&here, &ann, "hello");
    let appended = lost!(stage.messages.append(&new)).unwrap();
    assert!(appended.duplicate);
    assert_eq!((appended.message.id.clone(), appended.message.seq), (new.id.clone(), Seq(1)));
    let edit = Edit {
        message: new.id.clone(),
        by: ann.clone(),
        content: "hello!".to_owned(),
        mentions: Mentions::default(),
        expect: Some(appended.message.revision),
    };
    let unchanged = |changed: Result<MessageChanged>| {
        let changed = changed.unwrap();
        assert!(!changed.changed);
        changed.message
    };
    assert_eq!(unchanged(lost!(stage.messages.edit(&edit))).content, "hello!");
    unchanged(lost!(stage.messages.react(&new.id, &ben, "👍", true)));
    let step = PositionStep { user: ben.clone(), conversation: here.clone(), step: Step::Read(Seq(1)) };
    let moved = lost!(stage.positions.step_many(std::slice::from_ref(&step))).unwrap();
    assert_eq!((moved[0].changed(), moved[0].after.read.seq), (false, Seq(1)));
    unchanged(lost!(stage.messages.delete(&new.id, &ann, DeleteType::ForEveryone)));
    assert_eq!(stage.events().await, 5, "one of each");
    assert_eq!(stage.offer.messages.as_ref().unwrap().head(&here).await.unwrap(), Seq(1));

    let file = sample::file(&here, "picture");
    stage.offer.files.as_ref().unwrap().register(&file).await.unwrap();
    assert!(!lost!(stage.files.delete(&file.file_id, &ann, true)).unwrap());
    assert_eq!(stage.events().await, 2);

    let later = file.uploaded_at.after(Duration::from_secs(1));
    let profile = UserProfile::new(ann.clone(), "Ann", file.uploaded_at);
    let users = [profile.clone(), UserProfile { full_name: "Ada".to_owned(), updated_at: later, ..profile }];
    assert_eq!(lost!(stage.users.put_many(&users)).unwrap(), [false, true], "the first was replaced");
    let advance = |seq| Advance {
        user: ben.clone(),
        conversation: here.clone(),
        to: AdvanceTo::Read(Seq(seq)),
        own: Seq::ZERO,
    };
    let advanced = lost!(stage.unread.advance_many(&[advance(1), advance(2)])).unwrap();
    assert_eq!(advanced.iter().map(|at| at.seq.0).collect::<Vec<_>>(), [2, 2], "after all of it");

    let names = CacheScope::new("names").unwrap();
    let cache = stage.offer.cache.clone().unwrap();
    let keys = ["k".to_owned()];
    let generation = cache.get_many(&names, &keys).await.unwrap().generation;
    let entry = CacheEntry { key: "k".to_owned(), value: "v".into(), ttl: Duration::from_secs(9) };
    assert_eq!(lost!(stage.cache.put_many(&names, &[entry], Put::Fill(generation))).unwrap(), [false]);
    assert!(cache.get_many(&names, &keys).await.unwrap().values[0].is_some(), "it is kept all the same");
    assert_eq!(lost!(stage.cache.remove_many(&names, &keys)).unwrap(), [false]);
    assert!(cache.claim(&names, "c", "me", Duration::from_secs(9)).await.unwrap());
    assert!(!lost!(stage.cache.release(&names, "c", "me")).unwrap());
    assert!(cache.claim(&names, "c", "you", Duration::from_secs(9)).await.unwrap(), "it was given up");

    let rule = Rule::new("r", Limit::per_minute(2));
    let attempt = |op| Try::new(Subject::user(&ann), sample::key(op)).under(rule.clone());
    assert_eq!(lost!(stage.limits.check(&attempt("1"))).unwrap(), Decision::Allow { remaining: 1 });
    let next = stage.offer.limits.as_ref().unwrap().check(&attempt("2")).await.unwrap();
    assert_eq!(next, Decision::Allow { remaining: 0 }, "charged once");

    let consumer = consumer(&stage).await;
    assert!(matches!(
        lost!(stage.publisher.publish(&sample::notice("ann", 1))),
        Ok(Published::Suppressed(_))
    ));
    for handed_back in [true, false] {
        let delivery = consumer.fetch(10, Duration::ZERO).await.unwrap().remove(0);
        consumer.bury(&delivery, &Error::new(Code::Internal)).await.unwrap();
        let letters = stage.offer.dead_letters.as_ref().unwrap();
        let ids: Vec<_> =
            letters.list(&Page::first(9)).await.unwrap().items.into_iter().map(|l| l.id).collect();
        assert_eq!(ids.len(), 1);
        let count = match handed_back {
            true => lost!(stage.dead_letters.replay(&ids)),
            false => lost!(stage.dead_letters.purge(&ids)),
        };
        assert_eq!(count.unwrap(), 0);
    }
    assert!(
        consumer.fetch(10, Duration::ZERO).await.unwrap().is_empty(),
        "handed back once, then thrown away"
    );

    assert_eq!(stage.lost(), declared(Repeat::Already), "all of them");
}

fn room(members: &[&str]) -> NewRoom {
    NewRoom {
        id: sample::room("r"),
        kind: "group".to_owned(),
        name: None,
        max_members: None,
        members: members.iter().map(|name| joins(name)).collect(),
    }
}

fn joins(name: &str) -> RoomChange {
    RoomChange { user: sample::user(name), role: Some(RoomRole::Member), version: 0 }
}

async fn consumer(stage: &Stage) -> Arc<dyn chat_core::store::EventConsumer> {
    let make = stage.offer.consumers.clone().unwrap();
    make("group", "one", &[Topic::Notifications], true).await.unwrap()
}

#[tokio::test]
async fn what_is_handed_out_once_or_would_undo_another_change_is_not_repeated() {
    let stage = Stage::new();
    let clock: ManualClock = stage.offer.clock.clone();
    let (ann, phone, here) = (sample::user("ann"), sample::session("phone"), sample::conversation("here"));
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    let unknown = |error: Error| {
        assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
        assert_eq!(error.detail("attempts"), None);
    };
    let connect = Connect { user: ann.clone(), session: phone.clone(), device: None, lease: minute };
    unknown(lost!(stage.presence.connect(&connect)).unwrap_err());
    assert!(stage.offer.presence.as_ref().unwrap().is_online(&ann).await.unwrap(), "it may have held");
    unknown(lost!(stage.presence.idle_many(std::slice::from_ref(&ann), Duration::ZERO)).unwrap_err());
    unknown(lost!(stage.presence.touch_many(std::slice::from_ref(&ann))).unwrap_err());
    unknown(lost!(stage.presence.disconnect(&ann, &phone)).unwrap_err());
    unknown(lost!(stage.presence.sweep(9)).unwrap_err());

    unknown(lost!(stage.rooms.create(&room(&["ann"]))).unwrap_err());
    unknown(lost!(stage.rooms.change_members(&sample::room("r"), &[joins("ben")])).unwrap_err());
    clock.advance(hour);
    unknown(lost!(stage.rooms.age(minute, hour, 9)).unwrap_err());
    unknown(lost!(stage.rooms.delete(&sample::room("r"))).unwrap_err());

    stage.offer.conversations.as_ref().unwrap().create(&sample::group("here", &["ann"])).await.unwrap();
    unknown(lost!(stage.conversations.change(&here, &ann, &Change::Rename("Other".to_owned()))).unwrap_err());
    let new = sample::text(&here, &ann, "old");
    stage.offer.messages.as_ref().unwrap().append(&new).await.unwrap();
    unknown(lost!(stage.messages.pin(&new.id, &ann, true, None)).unwrap_err());
    let file = sample::file(&here, "picture");
    unknown(lost!(stage.files.register(&file)).unwrap_err());
    let profile = UserProfile::new(ann.clone(), "Ann", file.uploaded_at);
    unknown(lost!(stage.source.create_many(&[profile])).unwrap_err());
    let update = ProfileUpdate { full_name: Some("Ada".to_owned()), ..ProfileUpdate::default() };
    unknown(lost!(stage.source.update(&ann, &update)).unwrap_err());
    unknown(lost!(stage.source.delete(&ann)).unwrap_err());
    assert!(stage.offer.source.as_ref().unwrap().fetch(&ann).await.unwrap().is_none());
    let purge = Purge {
        conversation: here,
        before: chat_core::clock::Clock::now(&clock).after(hour),
        hold: Vec::new(),
        after: Seq::ZERO,
        limit: 9,
    };
    unknown(lost!(stage.messages.purge(&purge)).unwrap_err());

    let consumer = consumer(&stage).await;
    stage.offer.publisher.as_ref().unwrap().publish(&sample::notice("ann", 1)).await.unwrap();
    stage.lose();
    unknown(consumer.fetch(9, Duration::ZERO).await.unwrap_err());
    stage.lose();
    unknown(consumer.reclaim(Duration::ZERO, 9).await.unwrap_err());

    assert_eq!(stage.lost(), declared(Repeat::Once), "all of them");
    for port in DECLARED {
        for (method, operation) in port.methods.iter().zip(port.operations) {
            if operation.repeat == Repeat::Once {
                assert_eq!(stage.tally.calls(port.port, method), 1, "{}", operation.name);
            }
        }
    }
}
