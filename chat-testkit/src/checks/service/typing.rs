//! Promises of typing: it begins once and ends once.

use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::{ConversationId, MessageId};
use chat_core::error::{Code, Result};
use chat_core::event::{Envelope, Event};
use chat_core::service::{Chat, NewGroup};
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use futures::FutureExt;

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::faulty::{Faulty, Outage, Switch};
use crate::mutants::{PublisherBug, plant};
use crate::sample::conversation;
use crate::stage::{Stage, actor, on};

promises! {
    "service::typing":
    it_begins_once_however_often_it_is_renewed,
    stopping_ends_it_once,
    the_timeout_ends_it_once,
    a_renewal_within_the_debounce_is_ignored,
    sending_ends_it_once,
    the_last_device_that_goes_ends_it_once,
    being_taken_out_ends_it_once,
    racing_starts_begin_once,
    racing_starts_and_stops_alternate,
    a_start_that_is_dropped_halfway_blocks_nothing,
    conversations_and_people_are_apart,
    two_processes_announce_it_once,
    another_process_goes_on_with_it,
    without_claims_it_is_announced_all_the_same,
    strangers_do_not_type,
    recipients_of_a_broadcast_type,
    it_is_said_in_which_thread,
}

/// What was announced of typing since the last time: `+ada` for a start, `-ada` for a stop.
async fn typed(stage: &Stage) -> Vec<String> {
    stage.events().await.iter().filter_map(said).collect()
}

fn said(event: &Event) -> Option<String> {
    match event {
        Event::TypingStarted(start) => Some(format!("+{}", start.user_id)),
        Event::TypingStopped(stop) => Some(format!("-{}", stop.user_id)),
        _ => None,
    }
}

async fn it_begins_once_however_often_it_is_renewed(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for _ in 0..10 {
        stage.chat.start_typing(&ada, &group, None).await.unwrap();
        stage.pass(Duration::from_secs(3)).await;
    }
    assert_eq!(typed(&stage).await, ["+ada"]);
    let kinds = stage.kinds().await;
    assert!(kinds.is_empty(), "{kinds:?}");
}

async fn stopping_ends_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.stop_typing(&ada, &group).await;
    assert_eq!(typed(&stage).await, [""; 0], "what has not begun does not end");
    for _ in 0..3 {
        stage.chat.start_typing(&ada, &group, None).await.unwrap();
        stage.chat.stop_typing(&bob, &group).await;
        stage.chat.stop_typing(&ada, &group).await;
        stage.chat.stop_typing(&ada, &group).await;
        stage.pass(Duration::from_secs(60)).await;
        assert_eq!(typed(&stage).await, ["+ada", "-ada"], "and may begin again at once");
    }
}

async fn the_timeout_ends_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    stage.pass(Duration::from_millis(5_999)).await;
    assert_eq!(typed(&stage).await, ["+ada"]);
    for _ in 0..3 {
        stage.pass(Duration::from_millis(1)).await;
    }
    stage.chat.stop_typing(&ada, &group).await;
    assert_eq!(typed(&stage).await, ["-ada"]);
    // A renewal makes it last six seconds from then.
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    stage.pass(Duration::from_secs(4)).await;
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    stage.pass(Duration::from_millis(5_999)).await;
    assert_eq!(typed(&stage).await, ["+ada"]);
    stage.pass(Duration::from_millis(1)).await;
    assert_eq!(typed(&stage).await, ["-ada"]);
}

async fn a_renewal_within_the_debounce_is_ignored(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    for _ in 0..19 {
        stage.clock.advance(Duration::from_millis(100));
        stage.chat.start_typing(&ada, &group, None).await.unwrap();
    }
    stage.pass(Duration::from_millis(4_100)).await;
    assert_eq!(typed(&stage).await, ["+ada", "-ada"]);
}

async fn sending_ends_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let other = stage.group("Other", &[&ada, &bob]).await;
    for one in [&ada, &bob] {
        stage.chat.start_typing(one, &group, None).await.unwrap();
    }
    stage.chat.start_typing(&ada, &other, None).await.unwrap();
    stage.quiet().await;
    stage.say(&ada, &group, "done").await;
    assert_eq!(typed(&stage).await, ["-ada"], "only the sender's, only there");
    stage.chat.stop_typing(&ada, &group).await;
    stage.say(&ada, &group, "more").await;
    assert_eq!(typed(&stage).await, [""; 0]);
}

async fn the_last_device_that_goes_ends_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, desk, bob) = (on("ada", "phone"), on("ada", "desk"), actor("bob"));
    let group = stage.group("Engines", &[&phone, &bob]).await;
    let other = stage.group("Other", &[&phone, &bob]).await;
    for device in [&phone, &desk] {
        stage.chat.connect(device, None).await.unwrap();
    }
    for group in [&group, &other] {
        stage.chat.start_typing(&phone, group, None).await.unwrap();
    }
    stage.chat.start_typing(&bob, &group, None).await.unwrap();
    stage.chat.disconnect(&phone).await.unwrap();
    assert_eq!(typed(&stage).await.iter().filter(|said| said.starts_with('-')).count(), 0);
    for _ in 0..2 {
        stage.chat.disconnect(&desk).await.unwrap();
    }
    assert_eq!(typed(&stage).await, ["-ada", "-ada"]);
    // A device that just falls silent is a device that goes.
    stage.chat.connect(&phone, None).await.unwrap();
    stage.chat.start_typing(&phone, &group, None).await.unwrap();
    stage.pass(Duration::from_secs(3_600)).await;
    let typed = typed(&stage).await;
    assert_eq!(typed.iter().filter(|said| *said == "-ada").count(), 1, "{typed:?}");
}

async fn being_taken_out_ends_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    for one in [&bob, &cid] {
        stage.chat.start_typing(one, &group, None).await.unwrap();
    }
    stage.quiet().await;
    stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap();
    stage.chat.leave(&cid, &group).await.unwrap();
    stage.pass(Duration::from_secs(60)).await;
    assert_eq!(typed(&stage).await, ["-bob", "-cid"]);
}

async fn racing_starts_begin_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let start = |_| {
        let (chat, ada, group) = (stage.chat.clone(), ada.clone(), group.clone());
        async move { chat.start_typing(&ada, &group, None).await.unwrap() }
    };
    at_once(16, start).await;
    assert_eq!(typed(&stage).await, ["+ada"]);
    let stop = |_| {
        let (chat, ada, group) = (stage.chat.clone(), ada.clone(), group.clone());
        async move { chat.stop_typing(&ada, &group).await }
    };
    at_once(16, stop).await;
    assert_eq!(typed(&stage).await, ["-ada"]);
}

async fn racing_starts_and_stops_alternate(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for round in 0..10 {
        at_once(16, |nth| {
            let (chat, ada, group) = (stage.chat.clone(), ada.clone(), group.clone());
            async move {
                for n in 0..5 {
                    match (nth + n + round) % 4 {
                        0 => chat.stop_typing(&ada, &group).await,
                        1 => drop(chat.send(&ada, &group, "done", None).await.unwrap()),
                        _ => chat.start_typing(&ada, &group, None).await.unwrap(),
                    }
                }
            }
        })
        .await;
        stage.chat.stop_typing(&ada, &group).await;
        let typed = typed(&stage).await;
        let due = typed.iter().enumerate().all(|(n, said)| *said == if n % 2 == 0 { "+ada" } else { "-ada" });
        assert!(due && typed.len() % 2 == 0, "each start is followed by its stop: {typed:?}");
    }
}

/// Never answers while its switch is thrown.
#[derive(Debug)]
struct Hangs(Switch);

#[async_trait]
impl PublisherBug for Hangs {
    async fn publish_many(&self, port: &dyn EventPublisher, events: &[Envelope]) -> Result<Vec<Published>> {
        if self.0.pass().is_err() {
            std::future::pending::<()>().await;
        }
        port.publish_many(events).await
    }
}

async fn a_start_that_is_dropped_halfway_blocks_nothing(offer: Offer) {
    let switch = Switch::default();
    let offer = plant!(offer, publisher, Hangs(switch.clone()));
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for stopped in [false, true] {
        switch.begin();
        {
            let mut start = Box::pin(stage.chat.start_typing(&ada, &group, None));
            for _ in 0..1_000 {
                assert!((&mut start).now_or_never().is_none(), "nothing is announced");
                tokio::task::yield_now().await;
            }
            if stopped {
                stage.chat.stop_typing(&ada, &group).await;
            }
        }
        switch.end();
        stage.pass(Duration::from_secs(6)).await;
        let typed_before = typed(&stage).await;
        assert!(typed_before.len() <= 1, "at most a stop, in case the start got through: {typed_before:?}");
        stage.chat.start_typing(&ada, &group, None).await.unwrap();
        stage.chat.stop_typing(&ada, &group).await;
        assert_eq!(typed(&stage).await, ["+ada", "-ada"]);
    }
}

async fn conversations_and_people_are_apart(offer: Offer) {
    let stage = Stage::new(offer).await;
    // Ids that look alike once they are run together.
    let (one, two) = (actor("b"), actor("a:b"));
    let people = |id: &str| {
        let made = NewGroup::named(id).with_id(conversation(id));
        made.with_member(one.user.clone()).with_member(two.user.clone())
    };
    let mut groups: Vec<ConversationId> = Vec::new();
    for id in ["c:a", "c", "1:c", ":"] {
        groups.push(stage.chat.create_group(&one, people(id)).await.unwrap().id);
    }
    stage.quiet().await;
    for who in [&one, &two] {
        for group in &groups {
            stage.chat.start_typing(who, group, None).await.unwrap();
            assert_eq!(typed(&stage).await, [format!("+{}", who.user)]);
        }
    }
    stage.chat.stop_typing(&one, &groups[0]).await;
    assert_eq!(typed(&stage).await, ["-b"]);
    let long = "é".repeat(64);
    let group = NewGroup::named("long").with_id(conversation(&long));
    let group = stage.chat.create_group(&actor(&long), group).await.unwrap().id;
    stage.quiet().await;
    stage.chat.start_typing(&actor(&long), &group, None).await.unwrap();
    assert_eq!(typed(&stage).await.len(), 1);
}

async fn two_processes_announce_it_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let other = stage.another();
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    at_once(16, |nth| {
        let chat = if nth % 2 == 0 { stage.chat.clone() } else { other.clone() };
        let (ada, group) = (ada.clone(), group.clone());
        async move { chat.start_typing(&ada, &group, None).await.unwrap() }
    })
    .await;
    assert_eq!(typed(&stage).await, ["+ada"]);
    for chat in [&stage.chat, &other, &stage.chat] {
        chat.stop_typing(&ada, &group).await;
        chat.expire_typing().await;
    }
    assert_eq!(typed(&stage).await, ["-ada"]);
}

async fn another_process_goes_on_with_it(offer: Offer) {
    let stage = Stage::new(offer).await;
    let other = stage.another();
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let renew = async |chat: &Chat| chat.start_typing(&ada, &group, None).await.unwrap();
    renew(&stage.chat).await;
    renew(&other).await;
    assert_eq!(typed(&stage).await, ["+ada"]);
    stage.chat.stop_typing(&ada, &group).await;
    assert_eq!(typed(&stage).await, ["-ada"]);
    // The other device has not stopped: its next renewal shows it again, once.
    for _ in 0..3 {
        stage.clock.advance(Duration::from_secs(3));
        renew(&other).await;
        renew(&stage.chat).await;
    }
    assert_eq!(typed(&stage).await, ["+ada"]);
    for chat in [&stage.chat, &other] {
        chat.stop_typing(&ada, &group).await;
    }
    assert_eq!(typed(&stage).await, ["-ada"]);
}

async fn without_claims_it_is_announced_all_the_same(offer: Offer) {
    let switch = Switch::default();
    let cache = std::sync::Arc::new(Faulty::new(offer.cache.clone().expect("a cache"), &switch));
    let stage = Stage::with(offer, |chat| chat.cache(cache)).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    switch.begin();
    for _ in 0..2 {
        stage.chat.start_typing(&ada, &group, None).await.unwrap();
        stage.chat.stop_typing(&ada, &group).await;
        assert_eq!(typed(&stage).await, ["+ada", "-ada"]);
    }
}

async fn strangers_do_not_type(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, eve) = (actor("ada"), actor("eve"));
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    stage.quiet().await;
    for group in [&group, &conversation("nowhere")] {
        refused(stage.chat.start_typing(&eve, group, None).await, Code::Forbidden);
        stage.chat.stop_typing(&eve, group).await;
    }
    assert_eq!(typed(&stage).await, [""; 0]);
}

async fn recipients_of_a_broadcast_type(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let news = NewGroup::named("News").with_member(bob.user.clone());
    let news = stage.chat.create_broadcast(&ada, news).await.unwrap().id;
    stage.chat.start_typing(&bob, &news, None).await.unwrap();
    assert_eq!(typed(&stage).await, ["+bob"]);
}

async fn it_is_said_in_which_thread(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let thread = MessageId::new("root").unwrap();
    stage.chat.start_typing(&ada, &group, Some(&thread)).await.unwrap();
    stage.chat.stop_typing(&ada, &group).await;
    let events = stage.events().await;
    let [Event::TypingStarted(start), Event::TypingStopped(stop)] = events.as_slice() else {
        panic!("a start and a stop: {events:?}");
    };
    assert_eq!((&start.thread, &stop.thread), (&Some(thread.clone()), &Some(thread)));
    assert_eq!((&start.conversation_id, &stop.conversation_id), (&group, &group));
}
