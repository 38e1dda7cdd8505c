//! Promises of members: letting in, taking out, leaving, roles.

use std::future::Future;
use std::slice::from_ref;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::domain::{
    Actor, ConversationId, ConversationKind, Page, RoomId, RoomRole, Seq, UserId, UserProfile,
};
use chat_core::error::{Code, Result};
use chat_core::event::Event;
use chat_core::service::{Chat, ChatSettings, NewGroup};
use chat_core::store::conversations::{Change, Changed, ConversationFilter};
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::rooms::NewRoom;
use chat_core::store::{ConversationStore, RoomStore, UserSource};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::mutants::{ConversationBug, RoomBug, plant};
use crate::sample::user;
use crate::stage::{Stage, actor, platform_admin};
use crate::walk::walk;

promises! {
    "service::members":
    who_is_let_in_is_said_once_each,
    letting_in_is_for_those_who_keep_order,
    a_limit_lets_in_all_or_nobody,
    racing_newcomers_keep_the_limit,
    taking_out_is_for_a_higher_role,
    taking_out_is_said_once,
    taking_oneself_out_is_leaving,
    leaving_is_said_once,
    the_last_admin_stays,
    racing_last_admins_leave_one,
    a_group_of_one_may_be_left,
    roles_are_for_admins,
    a_role_is_said_once,
    a_lower_role_counts_at_once,
    a_direct_conversation_has_two_members_for_good,
    who_is_out_sees_nothing_more,
    who_is_out_stays_out_while_the_index_is_made,
    who_is_demoted_stays_so_while_the_index_is_made,
    who_is_let_in_is_in_while_the_index_is_made,
    who_is_out_stays_out_when_the_index_is_lost_again,
    who_is_out_is_in_no_list,
    events_say_what_people_are_called,
    members_are_read_page_by_page,
}

async fn roles(stage: &Stage, group: &ConversationId) -> Vec<(UserId, RoomRole)> {
    stage.members(group).await.into_iter().map(|member| (member.user_id, member.role)).collect()
}

/// A group with one of each role: admin `ada`, moderator `mod`, members `bob` and `cid`.
async fn ranked(stage: &Stage) -> (ConversationId, [Actor; 4]) {
    let people = ["ada", "mod", "bob", "cid"].map(actor);
    let group = NewGroup::named("Engines").with_role(user("mod"), RoomRole::Moderator);
    let group = group.with_member(user("bob")).with_member(user("cid"));
    let made = stage.chat.create_group(&people[0], group).await.unwrap();
    stage.quiet().await;
    (made.id, people)
}

async fn who_is_let_in_is_said_once_each(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, ..]) = ranked(&stage).await;
    let asked = ["dot", "bob", "eli", "dot"].map(user);
    assert_eq!(stage.chat.add_members(&ada, &group, &asked).await.unwrap(), ["dot", "eli"].map(user));
    let events = stage.events().await;
    let added: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ParticipantAdded(event) => {
                Some((event.participant_id.as_str(), event.role, event.total_participants))
            }
            _ => None,
        })
        .collect();
    assert_eq!(added, [("dot", RoomRole::Member, 5), ("eli", RoomRole::Member, 6)]);
    assert_eq!(events.len(), 3, "and one note: {events:?}");
    assert_eq!(stage.chat.add_members(&ada, &group, &asked).await.unwrap(), []);
    assert_eq!(stage.chat.add_members(&ada, &group, &[]).await.unwrap(), []);
    assert_eq!(stage.kinds().await, [""; 0]);
    stage.say(&actor("dot"), &group, "hello").await;
}

async fn letting_in_is_for_those_who_keep_order(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [_, moderator, bob, _]) = ranked(&stage).await;
    let before = stage.truth(from_ref(&group), &[]).await;
    for who in [&bob, &actor("eve")] {
        refused(stage.chat.add_members(who, &group, from_ref(&user("eve"))).await, Code::Forbidden);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    assert_eq!(stage.chat.add_members(&moderator, &group, from_ref(&user("dot"))).await.unwrap().len(), 1);
}

async fn a_limit_lets_in_all_or_nobody(offer: Offer) {
    let settings = ChatSettings::default().with_max_members(6);
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (group, [ada, ..]) = ranked(&stage).await;
    let before = stage.truth(from_ref(&group), &[]).await;
    let three = ["x", "y", "z"].map(user);
    refused(stage.chat.add_members(&ada, &group, &three).await, Code::MemberLimit);
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    refused(stage.chat.send(&actor("x"), &group, "hello", None).await, Code::Forbidden);
    assert_eq!(stage.chat.add_members(&ada, &group, &three[..2]).await.unwrap().len(), 2);
    assert_eq!(stage.chat.add_members(&ada, &group, &three[..2]).await.unwrap(), [], "who is in fits");
    refused(stage.chat.add_members(&ada, &group, &three).await, Code::MemberLimit);
}

async fn racing_newcomers_keep_the_limit(offer: Offer) {
    let settings = ChatSettings::default().with_max_members(10);
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (group, [ada, ..]) = ranked(&stage).await;
    let outcomes = at_once(16, |nth| {
        let (chat, ada, group) = (stage.chat.clone(), ada.clone(), group.clone());
        async move { chat.add_members(&ada, &group, from_ref(&user(&format!("n{nth}")))).await }
    })
    .await;
    let (let_in, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|outcome| outcome.is_ok());
    assert_eq!((let_in.len(), refusals.len()), (6, 10));
    refusals.into_iter().for_each(|refusal| refused(refusal, Code::MemberLimit));
    assert_eq!(stage.members(&group).await.len(), 10);
    let added = stage.kinds().await.into_iter().filter(|kind| kind == "conversation.participant.added");
    assert_eq!(added.count(), 6);
}

async fn taking_out_is_for_a_higher_role(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, moderator, bob, cid]) = ranked(&stage).await;
    stage.chat.add_members(&ada, &group, &["adb", "mob"].map(user)).await.unwrap();
    stage.chat.set_role(&ada, &group, &user("adb"), RoomRole::Admin).await.unwrap();
    stage.chat.set_role(&ada, &group, &user("mob"), RoomRole::Moderator).await.unwrap();
    stage.quiet().await;
    let before = stage.truth(from_ref(&group), &[]).await;
    let denied = [
        (&bob, "cid"),
        (&bob, "mod"),
        (&bob, "ada"),
        (&moderator, "mob"),
        (&moderator, "ada"),
        (&ada, "adb"),
        (&actor("eve"), "bob"),
        (&actor("eve"), "eve"),
        (&platform_admin(), "ada"),
    ];
    for (who, whom) in denied {
        refused(stage.chat.remove_member(who, &group, &user(whom)).await, Code::Forbidden);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    for (who, whom) in [(&moderator, "bob"), (&ada, "mob"), (&ada, "cid"), (&platform_admin(), "mod")] {
        assert!(stage.chat.remove_member(who, &group, &user(whom)).await.unwrap(), "{} {whom}", who.user);
    }
    assert_eq!(roles(&stage, &group).await, ["ada", "adb"].map(|name| (user(name), RoomRole::Admin)));
    refused(stage.chat.send(&cid, &group, "still here?", None).await, Code::Forbidden);
}

async fn taking_out_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, _, bob, _]) = ranked(&stage).await;
    assert!(stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap());
    for nobody in ["bob", "eve"] {
        assert!(!stage.chat.remove_member(&ada, &group, &user(nobody)).await.unwrap());
    }
    let mut events = stage.events().await;
    events.sort_by_key(|event| event.name().to_owned());
    let [Event::ParticipantRemoved(gone), Event::MessageSent(note)] = events.as_slice() else {
        panic!("the removal and a note of it: {events:?}");
    };
    assert_eq!((&gone.participant_id, &gone.removed_by, gone.total_participants), (&bob.user, &ada.user, 3));
    assert_eq!(note.metadata.get("subType").map(String::as_str), Some("PARTICIPANT_REMOVED"));
}

async fn taking_oneself_out_is_leaving(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, _, bob, _]) = ranked(&stage).await;
    assert!(stage.chat.remove_member(&bob, &group, &bob.user).await.unwrap());
    assert_eq!(stage.kinds().await, ["conversation.participant.left", "message.sent"]);
    refused(stage.chat.remove_member(&ada, &group, &ada.user).await, Code::MemberLastAdmin);
}

async fn leaving_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [.., bob, _]) = ranked(&stage).await;
    assert!(stage.chat.leave(&bob, &group).await.unwrap());
    refused(stage.chat.leave(&bob, &group).await, Code::Forbidden);
    let events = stage.events().await;
    let left = events.iter().find_map(|event| match event {
        Event::ParticipantLeft(left) => Some((left.participant_id.as_str(), left.total_participants)),
        _ => None,
    });
    assert_eq!((left, events.len()), (Some(("bob", 3)), 2), "and a note");
}

async fn the_last_admin_stays(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, ..]) = ranked(&stage).await;
    let before = stage.truth(from_ref(&group), &[]).await;
    refused(stage.chat.leave(&ada, &group).await, Code::MemberLastAdmin);
    for lower in [RoomRole::Moderator, RoomRole::Member] {
        refused(stage.chat.set_role(&ada, &group, &ada.user, lower).await, Code::MemberLastAdmin);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    stage.say(&ada, &group, "still the admin").await;
    stage.chat.set_role(&ada, &group, &user("bob"), RoomRole::Admin).await.unwrap();
    assert!(stage.chat.leave(&ada, &group).await.unwrap(), "once another one is named");
    refused(stage.chat.leave(&actor("bob"), &group).await, Code::MemberLastAdmin);
}

async fn racing_last_admins_leave_one(offer: Offer) {
    let stage = Stage::new(offer).await;
    for round in 0..8 {
        let group =
            NewGroup::named("Engines").with_role(user("adb"), RoomRole::Admin).with_member(user("bob"));
        let group = stage.chat.create_group(&actor("ada"), group).await.unwrap().id;
        let outcomes = at_once(2, |nth| {
            let (chat, group) = (stage.chat.clone(), group.clone());
            async move {
                let who = actor(["ada", "adb"][nth]);
                match round % 2 {
                    0 => chat.leave(&who, &group).await,
                    _ => chat.set_role(&who, &group, &who.user, RoomRole::Member).await,
                }
            }
        })
        .await;
        let (gone, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|outcome| outcome.is_ok());
        assert_eq!(gone.len(), 1);
        refusals.into_iter().for_each(|refusal| refused(refusal, Code::MemberLastAdmin));
        let admins = roles(&stage, &group).await.into_iter().filter(|(_, role)| *role == RoomRole::Admin);
        assert_eq!(admins.count(), 1);
    }
}

async fn a_group_of_one_may_be_left(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Mine", &[&ada]).await;
    assert!(stage.chat.leave(&ada, &group).await.unwrap());
    assert_eq!(stage.members(&group).await, []);
    refused(stage.chat.conversation(&ada, &group).await, Code::Forbidden);
}

async fn roles_are_for_admins(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, moderator, bob, _]) = ranked(&stage).await;
    let before = stage.truth(from_ref(&group), &[]).await;
    for (who, whom) in [(&moderator, "mod"), (&moderator, "bob"), (&bob, "bob"), (&actor("eve"), "eve")] {
        refused(stage.chat.set_role(who, &group, &user(whom), RoomRole::Admin).await, Code::Forbidden);
    }
    refused(stage.chat.set_role(&ada, &group, &user("eve"), RoomRole::Member).await, Code::RoomNotMember);
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
}

async fn a_role_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, _, bob, _]) = ranked(&stage).await;
    assert!(stage.chat.set_role(&ada, &group, &bob.user, RoomRole::Moderator).await.unwrap());
    for _ in 0..2 {
        assert!(!stage.chat.set_role(&ada, &group, &bob.user, RoomRole::Moderator).await.unwrap());
    }
    let events = stage.events().await;
    let [Event::ParticipantRoleChanged(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!(
        (&event.participant_id, event.role, &event.changed_by),
        (&bob.user, RoomRole::Moderator, &ada.user)
    );
    stage.chat.remove_member(&bob, &group, &user("cid")).await.unwrap();
}

async fn a_lower_role_counts_at_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    for cold in [false, true] {
        let (group, [ada, moderator, ..]) = ranked(&stage).await;
        if cold {
            stage.cool(&group).await;
        }
        stage.chat.set_role(&ada, &group, &moderator.user, RoomRole::Member).await.unwrap();
        refused(stage.chat.remove_member(&moderator, &group, &user("bob")).await, Code::Forbidden);
        refused(stage.chat.add_members(&moderator, &group, from_ref(&user("eve"))).await, Code::Forbidden);
    }
}

async fn a_direct_conversation_has_two_members_for_good(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let direct = stage.chat.direct(&ada, &bob.user).await.unwrap().conversation.id;
    stage.quiet().await;
    let before = stage.truth(from_ref(&direct), &[]).await;
    for (who, code) in [
        (&ada, Code::ConversationInvalid),
        (&platform_admin(), Code::ConversationInvalid),
        (&eve, Code::Forbidden),
    ] {
        refused(stage.chat.add_members(who, &direct, from_ref(&user("eve"))).await, code);
        refused(stage.chat.remove_member(who, &direct, &user("bob")).await, code);
        refused(stage.chat.set_role(who, &direct, &user("bob"), RoomRole::Admin).await, code);
        refused(stage.chat.leave(who, &direct).await, code);
    }
    assert_eq!(stage.truth(from_ref(&direct), &[]).await, before);
}

/// Whether somebody may still do anything: every one of these asks the guard in its own way.
async fn is_out(stage: &Stage, chat: &Chat, who: &Actor, group: &ConversationId) {
    refused(chat.send(who, group, "still here", None).await, Code::Forbidden);
    refused(chat.history(who, group, HistoryScope::Main, Anchor::Latest, 10).await, Code::Forbidden);
    refused(chat.start_typing(who, group, None).await, Code::Forbidden);
    refused(chat.conversation(who, group).await, Code::Forbidden);
    let missed = chat.catch_up(who, &[(group.clone(), Seq::ZERO)]).await.unwrap();
    assert_eq!((missed.messages, missed.forbidden), (vec![], vec![group.clone()]));
    assert_eq!(chat.guard().role(&who.user, group).await.unwrap(), None);
    assert!(!stage.members(group).await.iter().any(|member| member.user_id == who.user));
}

async fn who_is_out_sees_nothing_more(offer: Offer) {
    let stage = Stage::new(offer).await;
    let other = stage.another();
    for cold in [false, true] {
        for leaves in [false, true] {
            let (group, [ada, _, bob, _]) = ranked(&stage).await;
            for chat in [&stage.chat, &other] {
                chat.history(&bob, &group, HistoryScope::Main, Anchor::Latest, 10).await.unwrap();
            }
            if cold {
                stage.cool(&group).await;
            }
            match leaves {
                true => stage.chat.leave(&bob, &group).await.unwrap(),
                false => stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap(),
            };
            for chat in [&stage.chat, &other] {
                is_out(&stage, chat, &bob, &group).await;
            }
            stage.cool(&group).await;
            for chat in [&stage.chat, &other] {
                is_out(&stage, chat, &bob, &group).await;
            }
            // A late repeat of what was before brings nobody back.
            for envelope in stage.envelopes().await {
                stage.chat.apply(&envelope).await.unwrap();
                is_out(&stage, &stage.chat, &bob, &group).await;
            }
        }
    }
}

/// Stops the next one who brings a room into the index, between asking truth and making the room.
#[derive(Debug, Clone, Default)]
struct SlowIndex(Arc<Mutex<Option<Stop>>>);

#[derive(Debug)]
struct Stop {
    here: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
    /// Whose right is taken away meanwhile and what is left of it, where nobody may ever be told otherwise.
    at_once: Option<(UserId, Option<RoomRole>)>,
}

#[async_trait]
impl RoomBug for SlowIndex {
    async fn create(&self, port: &dyn RoomStore, room: &NewRoom) -> Result<bool> {
        let stop = self.0.lock().take();
        let Some(Stop { here, go_on, at_once }) = stop else { return port.create(room).await };
        here.send(()).unwrap();
        go_on.await.unwrap();
        let created = port.create(room).await;
        // Somebody asks before the one who made it does anything else.
        if let Some((whom, left)) = at_once {
            let roles = port.roles(&room.id, from_ref(&whom)).await?.map(|roles| roles[0]);
            assert_eq!(roles, Some(left), "the index gives a right that truth has taken away");
        }
        created
    }
}

/// Something that happens just before truth changes, once.
#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

#[async_trait]
impl ConversationBug for Meanwhile {
    async fn change(
        &self,
        port: &dyn ConversationStore,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Changed> {
        let meanwhile = self.0.lock().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        port.change(id, by, change).await
    }
}

/// Changes who is in while somebody else brings the room into the index as it was before; then `whom` has this `role`.
async fn changed_while_indexed<F>(
    offer: Offer,
    (whom, role): (&str, Option<RoomRole>),
    at_once: bool,
    change: impl FnOnce(Chat, ConversationId) -> F,
) where
    F: Future<Output = ()>,
{
    let (slow, meanwhile) = (SlowIndex::default(), Meanwhile::default());
    let offer = plant!(offer, rooms, slow.clone());
    let offer = plant!(offer, conversations, meanwhile.clone());
    let stage = Stage::new(offer).await;
    let (group, [.., cid]) = ranked(&stage).await;
    let ((here, reached), (may, go_on)) = (oneshot::channel(), oneshot::channel());
    let reader = Arc::new(Mutex::new(None));
    let (chat, place, slot) = (stage.another(), group.clone(), Arc::clone(&reader));
    let stop = Stop { here, go_on, at_once: at_once.then(|| (user(whom), role)) };
    // The guard has let the change through. Now the index is lost, and a reader brings it back, slowly.
    *meanwhile.0.lock() = Some(Box::pin(async move {
        chat.ports().rooms.delete(&RoomId::from(&place)).await.unwrap();
        *slow.0.lock() = Some(stop);
        *slot.lock() = Some(tokio::spawn(async move { chat.unread(&cid, &place).await }));
        reached.await.unwrap();
    }));
    change(stage.chat.clone(), group.clone()).await;
    // It is acknowledged.
    may.send(()).unwrap();
    let reader = reader.lock().take().expect("a reader");
    reader.await.expect("the index is as truth says").unwrap();
    let guard = stage.chat.guard();
    assert_eq!(guard.role(&user(whom), &group).await.unwrap(), role);
    assert_eq!(
        guard.role(&user("cid"), &group).await.unwrap(),
        Some(RoomRole::Member),
        "the others are in it"
    );
    assert!(stage.ports().rooms.roles(&RoomId::from(&group), &[]).await.unwrap().is_some());
}

async fn who_is_out_stays_out_while_the_index_is_made(offer: Offer) {
    for leaves in [false, true] {
        changed_while_indexed(offer.fresh().await, ("bob", None), true, |chat, group| async move {
            let out = match leaves {
                true => chat.leave(&actor("bob"), &group).await,
                false => chat.remove_member(&actor("ada"), &group, &user("bob")).await,
            };
            assert!(out.unwrap());
        })
        .await;
    }
}

async fn who_is_demoted_stays_so_while_the_index_is_made(offer: Offer) {
    let demoted = ("mod", Some(RoomRole::Member));
    changed_while_indexed(offer, demoted, true, |chat, group| async move {
        assert!(chat.set_role(&actor("ada"), &group, &user("mod"), RoomRole::Member).await.unwrap());
    })
    .await;
}

async fn who_is_let_in_is_in_while_the_index_is_made(offer: Offer) {
    let let_in = ("dot", Some(RoomRole::Member));
    changed_while_indexed(offer, let_in, false, |chat, group| async move {
        let added = chat.add_members(&actor("ada"), &group, &[user("dot")]).await.unwrap();
        assert_eq!(added, [user("dot")]);
    })
    .await;
}

async fn who_is_out_stays_out_when_the_index_is_lost_again(offer: Offer) {
    changed_while_indexed(offer, ("bob", None), false, |chat, group| async move {
        assert!(chat.remove_member(&actor("ada"), &group, &user("bob")).await.unwrap());
        chat.ports().rooms.delete(&RoomId::from(&group)).await.unwrap();
    })
    .await;
}

async fn who_is_out_is_in_no_list(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, _, bob, _]) = ranked(&stage).await;
    stage.say(&ada, &group, "unread words").await;
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 1);
    stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap();
    let list =
        stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    assert_eq!(list.items, []);
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 0);
    assert_eq!(stage.chat.search(&bob, "words", None, &Page::first(10)).await.unwrap().items, []);
    let listed = stage.chat.conversation(&ada, &group).await.unwrap();
    assert!(listed.participants.iter().all(|one| one.member.user_id != bob.user));
}

async fn events_say_what_people_are_called(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (group, [ada, ..]) = ranked(&stage).await;
    let profiles =
        ["bob", "dot"].map(|name| UserProfile::new(user(name), format!("{name} called"), stage.chat.now()));
    stage.ports().source.create_many(&profiles).await.unwrap();
    stage.chat.add_members(&ada, &group, &["dot", "eli"].map(user)).await.unwrap();
    stage.chat.remove_member(&ada, &group, &user("bob")).await.unwrap();
    stage.chat.leave(&actor("dot"), &group).await.unwrap();
    let names: Vec<_> = stage
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::ParticipantAdded(event) => Some(event.participant_name),
            Event::ParticipantRemoved(event) => Some(event.participant_name),
            Event::ParticipantLeft(event) => Some(event.participant_name),
            _ => None,
        })
        .collect();
    let called = |name: &str| Some(format!("{name} called"));
    assert_eq!(names, [called("dot"), None, called("bob"), called("dot")]);
}

async fn members_are_read_page_by_page(offer: Offer) {
    let stage = Stage::new(offer).await;
    let people: Vec<Actor> = (0..25).map(|n| actor(&format!("u{n:02}"))).collect();
    let all: Vec<&Actor> = people.iter().collect();
    let group = NewGroup::named("News").of_kind(ConversationKind::Broadcast);
    let group = all.iter().fold(group, |group, one| group.with_member(one.user.clone()));
    let group = stage.chat.create_group(&people[0], group).await.unwrap().id;
    let everybody: Vec<UserId> = people.iter().map(|one| one.user.clone()).collect();
    for limit in [1, 7, 25, 1_000] {
        let (chat, who, group) = (&stage.chat, &people[24], &group);
        let walked = walk(limit, |page| async move { chat.members(who, group, &page).await }).await;
        assert_eq!(walked.into_iter().map(|member| member.user_id).collect::<Vec<_>>(), everybody);
    }
    refused(stage.chat.members(&actor("eve"), &group, &Page::first(10)).await, Code::Forbidden);
}
