//! Promises of presence: who is told what about whom.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::Freshness;
use chat_core::domain::presence::VisiblePresence;
use chat_core::domain::{
    Actor, ConversationId, Device, DeviceId, Page, PresenceStatus, Transition, UserId, Visibility,
};
use chat_core::error::Code;
use chat_core::event::Event;
use chat_core::service::ChatSettings;
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::presence::Renewal;

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::faulty::{Faulty, Outage, Switch};
use crate::sample::{conversation, session, user};
use crate::stage::{Stage, actor, on, platform_admin};

promises! {
    "service::presence":
    two_devices_are_one_coming_and_one_going,
    connecting_again_renews,
    who_falls_silent_goes_offline_once,
    heartbeats_keep_a_session,
    who_comes_back_unnoticed_went_and_came,
    racing_devices_come_and_go_once,
    events_name_the_conversations_of_the_user,
    large_conversations_are_not_told,
    who_is_alone_is_announced_to_nobody,
    idle_is_told_once_and_coming_back_too,
    a_status_is_told_when_it_changes_what_others_see,
    a_chosen_status_hides_what_is_observed,
    a_status_ends_by_itself,
    offline_is_no_status_to_choose,
    an_invisible_user_shows_nothing,
    what_was_done_invisibly_stays_unknown,
    the_last_activity_is_told_to_whom_it_may_be,
    only_members_are_looked_up,
    lists_show_presence,
    lists_are_there_while_presence_is_away,
    a_session_is_needed_to_connect,
    numbers_are_for_platform_admins,
}

/// What was announced since the last time: `+ada`, `-ada` and `~ada` for online, offline and idle, with the reason.
async fn told(stage: &Stage) -> Vec<String> {
    stage.events().await.iter().filter_map(said).map(|(said, _)| said).collect()
}

fn said(event: &Event) -> Option<(String, Vec<ConversationId>)> {
    match event {
        Event::PresenceOnline(it) => {
            Some((format!("+{} {}", it.user_id, it.reason), it.conversations.clone()))
        }
        Event::PresenceOffline(it) => {
            Some((format!("-{} {}", it.user_id, it.reason), it.conversations.clone()))
        }
        Event::PresenceIdle(it) => Some((format!("~{} {}", it.user_id, it.reason), it.conversations.clone())),
        _ => None,
    }
}

async fn look(stage: &Stage, viewer: &Actor, group: &ConversationId, whom: &str) -> VisiblePresence {
    let seen = stage.chat.presence(viewer, group, &[user(whom)]).await.unwrap();
    seen.into_iter().next().expect("an answer")
}

async fn two_devices_are_one_coming_and_one_going(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, desk, bob) = (on("ada", "phone"), on("ada", "desk"), actor("bob"));
    let group = stage.group("Engines", &[&phone, &bob]).await;
    assert_eq!(stage.chat.connect(&phone, None).await.unwrap().transition, Transition::WentOnline);
    assert_eq!(stage.chat.connect(&desk, None).await.unwrap().transition, Transition::None);
    assert_eq!(told(&stage).await, ["+ada connected"]);
    let seen = look(&stage, &bob, &group, "ada").await;
    assert_eq!((seen.status, seen.devices), (PresenceStatus::Online, 2));
    assert_eq!(stage.chat.disconnect(&phone).await.unwrap(), Transition::None);
    assert_eq!(told(&stage).await, [""; 0]);
    assert_eq!(look(&stage, &bob, &group, "ada").await.devices, 1);
    assert_eq!(stage.chat.disconnect(&desk).await.unwrap(), Transition::WentOffline);
    for device in [&phone, &desk] {
        assert_eq!(stage.chat.disconnect(device).await.unwrap(), Transition::None);
    }
    assert_eq!(told(&stage).await, ["-ada disconnected"]);
    let seen = look(&stage, &bob, &group, "ada").await;
    assert_eq!((seen.status, seen.devices), (PresenceStatus::Offline, 0));
    assert_eq!(stage.chat.sweep_presence().await.unwrap(), 0, "nothing is left to sweep");
}

async fn connecting_again_renews(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&phone, &bob]).await;
    for _ in 0..5 {
        stage.chat.connect(&phone, None).await.unwrap();
        stage.pass(Duration::from_secs(40)).await;
    }
    assert_eq!(told(&stage).await, ["+ada connected"]);
    assert_eq!(look(&stage, &bob, &group, "ada").await.devices, 1);
}

async fn who_falls_silent_goes_offline_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, desk, bob) = (on("ada", "phone"), on("ada", "desk"), actor("bob"));
    let group = stage.group("Engines", &[&phone, &bob]).await;
    for device in [&phone, &desk] {
        stage.chat.connect(device, None).await.unwrap();
    }
    stage.quiet().await;
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Offline, "swept or not");
    let swept = at_once(8, |_| {
        let chat = stage.chat.clone();
        async move { chat.sweep_presence().await.unwrap() }
    })
    .await;
    assert_eq!(swept.into_iter().sum::<usize>(), 1);
    assert_eq!(told(&stage).await, ["-ada lapsed"]);
    let sessions = [(phone.user.clone(), session("phone"))];
    assert_eq!(stage.chat.heartbeat(&sessions).await.unwrap(), [Renewal::Lost]);
    assert_eq!(stage.chat.disconnect(&phone).await.unwrap(), Transition::None);
    assert_eq!(stage.chat.connect(&phone, None).await.unwrap().transition, Transition::WentOnline);
    assert_eq!(told(&stage).await, ["+ada connected"]);
}

async fn heartbeats_keep_a_session(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, bob) = (on("ada", "phone"), on("bob", "phone"));
    stage.group("Engines", &[&phone, &bob]).await;
    for one in [&phone, &bob] {
        stage.chat.connect(one, None).await.unwrap();
    }
    stage.quiet().await;
    let sessions = [(phone.user.clone(), session("phone")), (bob.user.clone(), session("desk"))];
    for _ in 0..6 {
        let renewed = stage.chat.heartbeat(&sessions).await.unwrap();
        assert_eq!(renewed, [Renewal::Alive, Renewal::Lost]);
        stage.pass(Duration::from_secs(20)).await;
    }
    assert_eq!(told(&stage).await, ["-bob lapsed"]);
}

async fn who_comes_back_unnoticed_went_and_came(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (phone, bob) = (on("ada", "phone"), actor("bob"));
    stage.group("Engines", &[&phone, &bob]).await;
    stage.chat.connect(&phone, None).await.unwrap();
    let lapsed_at = stage.chat.now().after(Duration::from_secs(60));
    stage.quiet().await;
    stage.clock.advance(Duration::from_secs(100));
    let back = stage.chat.connect(&on("ada", "desk"), None).await.unwrap();
    assert_eq!(back.transition, Transition::CameBack { lapsed_at });
    assert_eq!(told(&stage).await, ["-ada lapsed", "+ada connected"], "both, in this order");
    assert_eq!(stage.chat.sweep_presence().await.unwrap(), 0);
    assert_eq!(told(&stage).await, [""; 0]);
}

async fn racing_devices_come_and_go_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let other = stage.another();
    let (ada, bob) = (actor("ada"), actor("bob"));
    stage.group("Engines", &[&ada, &bob]).await;
    let chat_of = |nth: usize| if nth.is_multiple_of(2) { stage.chat.clone() } else { other.clone() };
    for _ in 0..5 {
        at_once(16, |nth| {
            let chat = chat_of(nth);
            async move { chat.connect(&on("ada", &nth.to_string()), None).await.unwrap() }
        })
        .await;
        assert_eq!(told(&stage).await, ["+ada connected"]);
        at_once(16, |nth| {
            let chat = chat_of(nth);
            async move { chat.disconnect(&on("ada", &nth.to_string())).await.unwrap() }
        })
        .await;
        assert_eq!(told(&stage).await, ["-ada disconnected"]);
    }
}

async fn events_name_the_conversations_of_the_user(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (on("ada", "phone"), actor("bob"), actor("eve"));
    let mut shared = vec![stage.group("One", &[&ada, &bob]).await, stage.group("Two", &[&bob, &ada]).await];
    shared.push(stage.chat.send(&bob, &ada.user, "psst", None).await.unwrap().message.conversation_id);
    stage.group("Others", &[&bob, &eve]).await;
    let left = stage.group("Left", &[&bob, &ada]).await;
    stage.chat.leave(&ada, &left).await.unwrap();
    stage.quiet().await;
    shared.sort();
    stage.chat.connect(&ada, None).await.unwrap();
    stage.chat.mark_idle(&[]).await.unwrap();
    stage.chat.disconnect(&ada).await.unwrap();
    let events = stage.events().await;
    assert_eq!(events.len(), 2);
    for (said, mut conversations) in events.iter().filter_map(said) {
        conversations.sort();
        assert_eq!(conversations, shared, "{said}");
    }
}

async fn large_conversations_are_not_told(offer: Offer) {
    let settings = ChatSettings::default().with_announce_max(3);
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let people = [on("ada", "phone"), actor("bob"), actor("cid"), actor("dot")];
    let all: Vec<&Actor> = people.iter().collect();
    let small = stage.group("Three", &all[..3]).await;
    stage.group("Four", &all).await;
    stage.chat.connect(&people[0], None).await.unwrap();
    let events = stage.events().await;
    let told: Vec<_> = events.iter().filter_map(said).collect();
    assert_eq!(told, [("+ada connected".to_owned(), vec![small.clone()])]);
    stage.chat.add_members(&people[0], &small, &[user("dot")]).await.unwrap();
    stage.quiet().await;
    stage.chat.disconnect(&people[0]).await.unwrap();
    let events = stage.events().await;
    let told: Vec<_> = events.iter().filter_map(said).collect();
    assert_eq!(told, [("-ada disconnected".to_owned(), vec![])]);
    assert_eq!(
        look(&stage, &people[1], &small, "ada").await.status,
        PresenceStatus::Offline,
        "who asks is told"
    );
}

async fn who_is_alone_is_announced_to_nobody(offer: Offer) {
    let stage = Stage::new(offer).await;
    stage.chat.connect(&on("ada", "phone"), None).await.unwrap();
    let events = stage.events().await;
    let named: usize = events.iter().filter_map(said).map(|(_, conversations)| conversations.len()).sum();
    assert_eq!(named, 0);
}

async fn idle_is_told_once_and_coming_back_too(offer: Offer) {
    let settings = ChatSettings::default().with_presence_lease(Duration::from_secs(10_000));
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (ada, bob) = (on("ada", "phone"), on("bob", "phone"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for one in [&ada, &bob] {
        stage.chat.connect(one, None).await.unwrap();
    }
    stage.quiet().await;
    let people = ["ada", "bob", "eve"].map(user);
    stage.clock.advance(Duration::from_millis(299_999));
    assert_eq!(stage.chat.mark_idle(&people).await.unwrap(), 0);
    stage.chat.touch(from_ref(&bob.user)).await.unwrap();
    stage.clock.advance(Duration::from_millis(1));
    let marked = at_once(8, |_| {
        let (chat, people) = (stage.chat.clone(), people.clone());
        async move { chat.mark_idle(&people).await.unwrap() }
    })
    .await;
    assert_eq!(marked.into_iter().sum::<usize>(), 1);
    assert_eq!(told(&stage).await, ["~ada inactive"]);
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Away);
    assert_eq!(look(&stage, &ada, &group, "bob").await.status, PresenceStatus::Online);
    for _ in 0..3 {
        stage.chat.touch(&people).await.unwrap();
    }
    assert_eq!(told(&stage).await, ["+ada active"]);
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Online);
}

async fn a_status_is_told_when_it_changes_what_others_see(offer: Offer) {
    use PresenceStatus::{Away, Dnd, Invisible, Offline, Online};
    let stage = Stage::new(offer).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.set_status(&ada, Dnd, None).await.unwrap();
    assert_eq!(told(&stage).await, [""; 0], "who is not here shows nothing");
    stage.chat.set_status(&ada, Online, None).await.unwrap();
    stage.chat.connect(&ada, None).await.unwrap();
    stage.quiet().await;
    let steps = [
        (Online, "", Online),
        (Away, "~ada status", Away),
        (Away, "", Away),
        (Dnd, "+ada status", Dnd),
        (Invisible, "-ada status", Offline),
        (Invisible, "", Offline),
        (Dnd, "+ada status", Dnd),
        (Online, "+ada status", Online),
        (Invisible, "-ada status", Offline),
        (Online, "+ada status", Online),
    ];
    for (status, said, seen) in steps {
        stage.chat.set_status(&ada, status, None).await.unwrap();
        assert_eq!(told(&stage).await, if said.is_empty() { vec![] } else { vec![said] }, "{status:?}");
        assert_eq!(look(&stage, &bob, &group, "ada").await.status, seen);
        assert_eq!(look(&stage, &ada, &group, "ada").await.status, status, "oneself sees what was chosen");
    }
}

async fn a_chosen_status_hides_what_is_observed(offer: Offer) {
    let settings = ChatSettings::default().with_presence_lease(Duration::from_secs(10_000));
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for (status, coming) in
        [(PresenceStatus::Away, "~ada connected"), (PresenceStatus::Dnd, "+ada connected")]
    {
        stage.chat.set_status(&ada, status, None).await.unwrap();
        stage.chat.connect(&ada, None).await.unwrap();
        assert_eq!(told(&stage).await, [coming], "as others see it");
        stage.clock.advance(Duration::from_secs(600));
        stage.chat.mark_idle(from_ref(&ada.user)).await.unwrap();
        assert_eq!(look(&stage, &bob, &group, "ada").await.status, status);
        stage.chat.touch(from_ref(&ada.user)).await.unwrap();
        assert_eq!(look(&stage, &bob, &group, "ada").await.status, status);
        assert_eq!(told(&stage).await, [""; 0], "nobody sees a difference");
        stage.chat.disconnect(&ada).await.unwrap();
        assert_eq!(told(&stage).await, ["-ada disconnected"]);
    }
}

async fn a_status_ends_by_itself(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    let until = stage.chat.now().after(Duration::from_secs(30));
    stage.chat.set_status(&ada, PresenceStatus::Dnd, Some(until)).await.unwrap();
    stage.clock.advance(Duration::from_millis(29_999));
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Dnd);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Online);
    stage.chat.disconnect(&ada).await.unwrap();
    stage.chat.connect(&ada, None).await.unwrap();
    assert_eq!(look(&stage, &bob, &group, "ada").await.status, PresenceStatus::Online);
}

async fn offline_is_no_status_to_choose(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = on("ada", "phone");
    stage.chat.connect(&ada, None).await.unwrap();
    stage.quiet().await;
    refused(stage.chat.set_status(&ada, PresenceStatus::Offline, None).await, Code::RequestInvalid);
    assert_eq!(told(&stage).await, [""; 0]);
}

async fn an_invisible_user_shows_nothing(offer: Offer) {
    let settings = ChatSettings::default().with_presence_lease(Duration::from_secs(1_000));
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.set_status(&ada, PresenceStatus::Invisible, None).await.unwrap();
    let shows_nothing = async || {
        assert_eq!(told(&stage).await, [""; 0]);
        let unknown = VisiblePresence {
            user_id: user("ada"),
            status: PresenceStatus::Offline,
            devices: 0,
            last_active: None,
            freshness: Freshness::default(),
        };
        assert_eq!(look(&stage, &bob, &group, "ada").await, unknown);
        let listed = stage.chat.conversation(&bob, &group).await.unwrap().participants;
        assert_eq!(listed[0].presence.as_ref(), Some(&unknown));
    };
    stage.chat.connect(&ada, None).await.unwrap();
    shows_nothing().await;
    stage.chat.connect(&on("ada", "desk"), None).await.unwrap();
    let own = look(&stage, &ada, &group, "ada").await;
    assert_eq!((own.status, own.devices), (PresenceStatus::Invisible, 2), "but to oneself");
    assert_eq!(own.last_active, Some(stage.chat.now()));
    stage.clock.advance(Duration::from_secs(600));
    stage.chat.mark_idle(from_ref(&ada.user)).await.unwrap();
    shows_nothing().await;
    stage.chat.touch(from_ref(&ada.user)).await.unwrap();
    shows_nothing().await;
    stage.chat.disconnect(&ada).await.unwrap();
    shows_nothing().await;
    // The last device is left behind, swept or found on the way back.
    stage.pass(Duration::from_secs(2_000)).await;
    shows_nothing().await;
    stage.chat.connect(&ada, None).await.unwrap();
    stage.clock.advance(Duration::from_secs(2_000));
    stage.chat.connect(&on("ada", "desk"), None).await.unwrap();
    shows_nothing().await;
    stage.chat.disconnect(&on("ada", "desk")).await.unwrap();
    shows_nothing().await;
}

async fn what_was_done_invisibly_stays_unknown(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    let seen_at: Timestamp = stage.chat.now();
    assert_eq!(look(&stage, &bob, &group, "ada").await.last_active, Some(seen_at));
    stage.chat.set_status(&ada, PresenceStatus::Invisible, None).await.unwrap();
    for _ in 0..5 {
        stage.clock.advance(Duration::from_secs(10));
        stage.chat.touch(from_ref(&ada.user)).await.unwrap();
        let told = look(&stage, &bob, &group, "ada").await.last_active;
        assert!(told.is_none_or(|told| told <= seen_at), "{told:?} was after {seen_at}");
    }
    stage.chat.disconnect(&ada).await.unwrap();
    let told = look(&stage, &bob, &group, "ada").await.last_active;
    assert!(told.is_none_or(|told| told <= seen_at), "also when gone: {told:?} was after {seen_at}");
}

async fn the_last_activity_is_told_to_whom_it_may_be(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (on("ada", "phone"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    let now = Some(stage.chat.now());
    for (visibility, contact) in
        [(Visibility::Nobody, None), (Visibility::Contacts, now), (Visibility::Everyone, now)]
    {
        stage.chat.set_privacy(&ada, visibility).await.unwrap();
        for online in [true, false] {
            if !online {
                stage.chat.disconnect(&ada).await.unwrap();
            }
            assert_eq!(look(&stage, &bob, &group, "ada").await.last_active, contact, "{visibility:?}");
            assert_eq!(look(&stage, &ada, &group, "ada").await.last_active, now, "oneself knows");
            refused(stage.chat.presence(&eve, &group, &[user("ada")]).await, Code::Forbidden);
        }
        // It survives coming back.
        stage.chat.connect(&ada, None).await.unwrap();
        assert_eq!(look(&stage, &bob, &group, "ada").await.last_active, contact, "{visibility:?}");
    }
}

async fn only_members_are_looked_up(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (on("ada", "phone"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let own = stage.group("Of her own", &[&eve]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    for cold in [false, true] {
        if cold {
            stage.cool(&own).await;
        }
        let asked = ["ada", "eve", "nobody", "ada"].map(user);
        let seen = stage.chat.presence(&eve, &own, &asked).await.unwrap();
        let users: Vec<UserId> = seen.iter().map(|seen| seen.user_id.clone()).collect();
        assert_eq!(users, asked, "in the order asked");
        for seen in &seen {
            let shown = (seen.status, seen.devices, seen.last_active);
            assert_eq!(shown, (PresenceStatus::Offline, 0, None), "{} is no business of hers", seen.user_id);
        }
    }
    stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap();
    refused(stage.chat.presence(&bob, &group, &[user("ada")]).await, Code::Forbidden);
    refused(stage.chat.presence(&ada, &conversation("nowhere"), &[user("ada")]).await, Code::Forbidden);
}

async fn lists_show_presence(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (on("ada", "phone"), on("bob", "phone"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    stage.chat.set_privacy(&ada, Visibility::Nobody).await.unwrap();
    let list =
        stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    let one = stage.chat.conversation(&bob, &group).await.unwrap();
    for participants in [&list.items[0].participants, &one.participants] {
        let shown: Vec<_> = participants
            .iter()
            .map(|one| (one.member.user_id.as_str(), one.presence.as_ref().unwrap()))
            .map(|(user, presence)| (user, presence.status, presence.last_active))
            .collect();
        assert_eq!(shown, [("ada", PresenceStatus::Online, None), ("bob", PresenceStatus::Offline, None)]);
    }
}

async fn lists_are_there_while_presence_is_away(offer: Offer) {
    let switch = Switch::default();
    let presence = Arc::new(Faulty::new(offer.presence.clone().expect("presence"), &switch));
    let stage = Stage::with(offer, |chat| chat.presence(presence)).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    switch.begin();
    let list =
        stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    let one = stage.chat.conversation(&bob, &group).await.unwrap();
    for participants in [&list.items[0].participants, &one.participants] {
        assert_eq!(participants.len(), 2);
        assert!(participants.iter().all(|one| one.presence.is_none()), "not known is not offline");
    }
    switch.end();
    let one = stage.chat.conversation(&bob, &group).await.unwrap();
    assert!(one.participants.iter().all(|one| one.presence.is_some()));
}

async fn a_session_is_needed_to_connect(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    refused(stage.chat.connect(&ada, None).await, Code::RequestInvalid);
    refused(stage.chat.disconnect(&ada).await, Code::RequestInvalid);
    let device = |name: usize, platform: usize| Device {
        id: DeviceId::new("d").unwrap(),
        name: Some("é".repeat(name)),
        platform: Some("é".repeat(platform)),
    };
    let ada = on("ada", "phone");
    for bad in [device(101, 1), device(1, 101)] {
        refused(stage.chat.connect(&ada, Some(bad)).await, Code::RequestInvalid);
    }
    assert_eq!(told(&stage).await, [""; 0]);
    stage.chat.connect(&ada, Some(device(100, 100))).await.unwrap();
    assert_eq!(told(&stage).await, ["+ada connected"]);
}

async fn numbers_are_for_platform_admins(offer: Offer) {
    let stage = Stage::new(offer).await;
    for device in ["phone", "desk"] {
        stage.chat.connect(&on("ada", device), None).await.unwrap();
    }
    refused(stage.chat.presence_stats(&on("ada", "phone")).await, Code::Forbidden);
    let stats = stage.chat.presence_stats(&platform_admin()).await.unwrap();
    assert_eq!((stats.users, stats.sessions), (1, 2));
}
