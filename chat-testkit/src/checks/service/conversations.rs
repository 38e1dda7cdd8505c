//! Promises of conversations: making them, naming them, listing them.

use std::slice::from_ref;
use std::time::Duration;

use chat_core::domain::conversation::direct_id;
use chat_core::domain::{
    Actor, ConversationId, ConversationKind, MemberSettings, MessageKind, Mute, Page, RoomRole, Seq,
    UserProfile,
};
use chat_core::error::Code;
use chat_core::event::{DeleteType, Event};
use chat_core::service::{ChatSettings, LISTED_PARTICIPANTS, MAX_LIST, NewGroup};
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::{ConversationStoreExt, UserSource};

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::sample::{conversation, user};
use crate::stage::{Stage, actor, counted};
use crate::walk::walk;

promises! {
    "service::conversations":
    two_people_share_one_direct_conversation,
    racing_askers_share_one_direct_conversation,
    nobody_takes_the_place_of_a_direct_conversation,
    who_makes_a_group_is_its_admin,
    making_a_group_says_so_once,
    a_group_with_an_id_is_made_once,
    racing_makers_of_one_id_make_one_group,
    an_id_in_use_is_a_conflict,
    who_left_is_told_nothing_by_making_it_again,
    a_group_has_a_limit,
    bad_groups_are_refused,
    recipients_of_a_broadcast_do_not_send,
    a_new_name_and_picture_are_said_once,
    bad_names_and_pictures_are_refused,
    a_direct_conversation_has_no_name_of_its_own,
    what_one_keeps_for_itself_nobody_else_feels,
    what_one_keeps_for_itself_is_said_once,
    a_list_shows_everything_at_once,
    a_list_is_pinned_first_then_newest_first,
    a_list_is_filtered,
    a_list_is_read_page_by_page,
    a_list_costs_the_same_whatever_its_length,
    a_conversation_shows_all_its_participants,
    list_limits_are_checked,
}

async fn two_people_share_one_direct_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let made = stage.chat.direct(&ada, &bob.user).await.unwrap();
    assert!(made.created);
    assert_eq!(made.conversation.id, direct_id(&bob.user, &ada.user).unwrap());
    assert_eq!((made.conversation.kind, made.conversation.member_count), (ConversationKind::Direct, 2));
    for (one, other) in [(&ada, &bob), (&bob, &ada)] {
        let again = stage.chat.direct(one, &other.user).await.unwrap();
        assert_eq!((again.created, again.conversation), (false, made.conversation.clone()));
    }
    let other = stage.chat.direct(&ada, &eve.user).await.unwrap();
    assert_ne!(other.conversation.id, made.conversation.id);
    assert_eq!(stage.kinds().await, ["conversation.created"; 2]);
    for member in stage.members(&made.conversation.id).await {
        assert_eq!(member.role, RoomRole::Member, "both are alike");
    }
}

async fn racing_askers_share_one_direct_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let chats = [stage.chat.clone(), stage.another()];
    let made = at_once(32, |nth| {
        let chat = chats[(nth / 2) % 2].clone();
        async move {
            let (one, other) = if nth.is_multiple_of(2) { ("ada", "bob") } else { ("bob", "ada") };
            chat.direct(&actor(one), &user(other)).await.unwrap()
        }
    })
    .await;
    assert_eq!(made.iter().filter(|made| made.created).count(), 1);
    assert!(made.iter().all(|one| one.conversation.id == made[0].conversation.id));
    assert_eq!(stage.kinds().await, ["conversation.created"]);
    assert_eq!(stage.members(&made[0].conversation.id).await.len(), 2);
}

async fn nobody_takes_the_place_of_a_direct_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let place = direct_id(&ada.user, &bob.user).unwrap();
    // Eve would be the admin of a "conversation of two", and read along.
    for kind in ConversationKind::ALL {
        let trap = NewGroup::named("Ada and Bob").of_kind(kind).with_id(place.clone());
        let trap = trap.with_member(ada.user.clone()).with_member(bob.user.clone());
        refused(stage.chat.create_group(&eve, trap).await, Code::ConversationInvalid);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
    let sent = stage.chat.send(&ada, &bob.user, "between us", None).await.unwrap().message;
    assert_eq!((&sent.conversation_id, sent.conversation_kind), (&place, ConversationKind::Direct));
    refused(stage.chat.find(&eve, &sent.id).await, Code::Forbidden);
    // Nor afterwards.
    let trap = NewGroup::named("Ada and Bob").with_id(place.clone());
    refused(stage.chat.create_group(&ada, trap).await, Code::ConversationInvalid);
    assert_eq!(stage.members(&place).await.len(), 2);
}

async fn who_makes_a_group_is_its_admin(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    for kind in [ConversationKind::Group, ConversationKind::Channel, ConversationKind::EventRoom] {
        let group = NewGroup::named("  Engines ✨  ").of_kind(kind).with_avatar("https://pictures.example/1");
        let group = group.with_member(user("bob")).with_role(user("cid"), RoomRole::Moderator);
        // Whoever is named twice is in once, as the higher of both.
        let group =
            group.with_member(user("cid")).with_member(user("ada")).with_role(user("bob"), RoomRole::Member);
        let made = stage.chat.create_group(&ada, group).await.unwrap();
        assert_eq!((made.kind, made.name.as_deref()), (kind, Some("  Engines ✨  ")));
        assert_eq!(made.avatar.as_deref(), Some("https://pictures.example/1"));
        assert_eq!((made.created_by, made.member_count, made.max_members), (user("ada"), 3, 200));
        let roles: Vec<_> =
            stage.members(&made.id).await.into_iter().map(|one| (one.user_id, one.role)).collect();
        let expected = [("ada", RoomRole::Admin), ("bob", RoomRole::Member), ("cid", RoomRole::Moderator)];
        assert_eq!(roles, expected.map(|(name, role)| (user(name), role)));
    }
}

async fn making_a_group_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    for (kind, sub_type) in
        [(ConversationKind::Group, "GROUP_CREATED"), (ConversationKind::Broadcast, "BROADCAST_CREATED")]
    {
        let group = NewGroup::named("Engines").of_kind(kind).with_member(user("bob"));
        let made = stage.chat.create_group(&ada, group).await.unwrap();
        let mut events = stage.events().await;
        events.sort_by_key(|event| event.name().to_owned());
        let [Event::ConversationCreated(created), Event::MessageSent(note)] = events.as_slice() else {
            panic!("the making and a note of it: {events:?}");
        };
        assert_eq!((&created.conversation_id, &created.created_by), (&made.id, &ada.user));
        assert_eq!((created.kind, created.name.as_deref()), (kind, Some("Engines")));
        assert_eq!(
            (created.participant_count, created.participants.as_slice()),
            (2, &["ada", "bob"].map(user)[..])
        );
        assert_eq!((note.kind, &note.sender_id), (MessageKind::System, &None));
        assert_eq!(note.metadata.get("subType").map(String::as_str), Some(sub_type));
    }
}

async fn a_group_with_an_id_is_made_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = || NewGroup::named("Engines").with_id(conversation("engines")).with_member(user("bob"));
    let made = stage.chat.create_group(&ada, group()).await.unwrap();
    assert_eq!(made.id, conversation("engines"));
    stage.quiet().await;
    for chat in [&stage.chat, &stage.another()] {
        assert_eq!(chat.create_group(&ada, group()).await.unwrap().id, made.id);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
    assert_eq!(stage.messages(&made.id).await.len(), 1, "one note");
}

async fn racing_makers_of_one_id_make_one_group(offer: Offer) {
    let stage = Stage::new(offer).await;
    let made = at_once(16, |nth| {
        let chat = stage.chat.clone();
        async move {
            let group = NewGroup::named("Engines").with_id(conversation("engines"));
            let maker = actor(&format!("u{}", nth % 2));
            chat.create_group(&maker, group).await
        }
    })
    .await;
    let (made, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(|made| made.is_ok());
    assert_eq!((made.len(), lost.len()), (8, 8), "one of the two has made it, the other one has not");
    lost.into_iter().for_each(|lost| refused(lost, Code::Conflict));
    assert_eq!(stage.kinds().await, ["conversation.created", "message.sent"]);
    assert_eq!(stage.members(&conversation("engines")).await.len(), 1);
}

async fn an_id_in_use_is_a_conflict(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, eve) = (actor("ada"), actor("eve"));
    let group = || NewGroup::named("Engines").with_id(conversation("engines"));
    stage.chat.create_group(&ada, group()).await.unwrap();
    stage.quiet().await;
    let ids = [conversation("engines")];
    let people = ["ada", "eve"].map(user);
    let before = stage.truth(&ids, &people).await;
    refused(stage.chat.create_group(&eve, group()).await, Code::Conflict);
    refused(stage.chat.create_group(&eve, group().with_member(user("ada"))).await, Code::Conflict);
    refused(stage.chat.create_group(&ada, group().of_kind(ConversationKind::Channel)).await, Code::Conflict);
    let renamed = NewGroup::named("Other").with_id(conversation("engines"));
    refused(stage.chat.create_group(&ada, renamed).await, Code::Conflict);
    assert_eq!(stage.truth(&ids, &people).await, before);
}

async fn who_left_is_told_nothing_by_making_it_again(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = || NewGroup::named("Engines").with_id(conversation("engines"));
    let made = stage.chat.create_group(&ada, group().with_role(user("bob"), RoomRole::Admin)).await.unwrap();
    stage.chat.leave(&ada, &made.id).await.unwrap();
    stage.chat.set_avatar(&bob, &made.id, Some("https://secret.example")).await.unwrap();
    let before = stage.truth(from_ref(&made.id), &[]).await;
    for cold in [false, true] {
        if cold {
            stage.cool(&made.id).await;
        }
        refused(stage.chat.create_group(&ada, group()).await, Code::Conflict);
    }
    assert_eq!(stage.truth(from_ref(&made.id), &[]).await, before);
}

async fn a_group_has_a_limit(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let of = |others: usize| {
        let group = NewGroup::named("Many").with_id(conversation("many"));
        (0..others).fold(group, |group, n| group.with_member(user(&format!("u{n}"))))
    };
    refused(stage.chat.create_group(&ada, of(200)).await, Code::MemberLimit);
    assert_eq!(stage.kinds().await, [""; 0]);
    assert_eq!(stage.members(&conversation("many")).await, []);
    let made = stage.chat.create_group(&ada, of(199)).await.unwrap();
    assert_eq!((made.member_count, made.max_members), (200, 200), "the maker included");
    let settings = ChatSettings::default().with_max_members(2);
    let small = Stage::with(stage.offer().clone(), |chat| chat.settings(settings)).await;
    let group = NewGroup::named("Few").with_member(user("bob")).with_member(user("bob"));
    small.chat.create_group(&ada, group.clone()).await.unwrap();
    refused(small.chat.create_group(&ada, group.with_member(user("cid"))).await, Code::MemberLimit);
}

async fn bad_groups_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let long = "é".repeat(101);
    for bad in ["", " ", "\n\t", &long] {
        refused(stage.chat.create_group(&ada, NewGroup::named(bad)).await, Code::ConversationInvalid);
    }
    for bad in ["", " ", &"é".repeat(2_049)] {
        let group = NewGroup::named("Engines").with_avatar(bad);
        refused(stage.chat.create_group(&ada, group).await, Code::ConversationInvalid);
    }
    let direct = NewGroup::named("Us").of_kind(ConversationKind::Direct).with_member(user("bob"));
    refused(stage.chat.create_group(&ada, direct).await, Code::ConversationInvalid);
    assert_eq!(stage.kinds().await, [""; 0]);
    stage.chat.create_group(&ada, NewGroup::named("é".repeat(100))).await.unwrap();
}

async fn recipients_of_a_broadcast_do_not_send(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let news =
        NewGroup::named("News").with_member(bob.user.clone()).with_role(cid.user.clone(), RoomRole::Admin);
    let news = stage.chat.create_broadcast(&ada, news).await.unwrap();
    assert_eq!(news.kind, ConversationKind::Broadcast);
    let said = stage.say(&cid, &news.id, "hello").await;
    stage.quiet().await;
    let before = stage.truth(from_ref(&news.id), &[]).await;
    refused(stage.chat.send(&bob, &news.id, "hello", None).await, Code::Forbidden);
    let file = super::sending::file("f", &news.id);
    refused(stage.chat.register_file(&bob, file).await, Code::Forbidden);
    assert_eq!(stage.truth(from_ref(&news.id), &[]).await, before);
    assert_eq!(stage.unread(&bob, &news.id).await, (1, 0));
    assert_eq!(stage.chat.find(&bob, &said.id).await.unwrap().content, "hello");
    stage.chat.mark_read(&bob, &news.id, said.seq).await.unwrap();
    assert_eq!(stage.chat.readers(&ada, &said.id).await.unwrap().read_by, [user("bob")]);
}

async fn a_new_name_and_picture_are_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for _ in 0..2 {
        let renamed = stage.chat.rename(&ada, &group, "Machines").await.unwrap();
        assert_eq!(renamed.name.as_deref(), Some("Machines"));
        let pictured = stage.chat.set_avatar(&ada, &group, Some("https://pictures.example/2")).await.unwrap();
        assert_eq!(pictured.avatar.as_deref(), Some("https://pictures.example/2"));
    }
    assert_eq!(stage.kinds().await, ["conversation.avatar.updated", "conversation.name.updated"]);
    for _ in 0..2 {
        assert_eq!(stage.chat.set_avatar(&ada, &group, None).await.unwrap().avatar, None);
    }
    let events = stage.events().await;
    let [Event::ConversationAvatarUpdated(event)] = events.as_slice() else {
        panic!("one event: {events:?}")
    };
    assert_eq!((&event.avatar, &event.updated_by), (&None, &ada.user));
    assert_eq!(
        stage.chat.conversation(&bob, &group).await.unwrap().membership.conversation.version,
        event.version
    );
}

async fn bad_names_and_pictures_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let before = stage.truth(from_ref(&group), &[]).await;
    for bad in ["", " ", &"é".repeat(101)] {
        refused(stage.chat.rename(&ada, &group, bad).await, Code::ConversationInvalid);
    }
    for bad in ["", " ", &"é".repeat(2_049)] {
        refused(stage.chat.set_avatar(&ada, &group, Some(bad)).await, Code::ConversationInvalid);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
}

async fn a_direct_conversation_has_no_name_of_its_own(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let direct = stage.chat.direct(&ada, &bob.user).await.unwrap().conversation;
    assert_eq!((&direct.name, &direct.avatar), (&None, &None));
    stage.quiet().await;
    refused(stage.chat.rename(&ada, &direct.id, "Us").await, Code::Forbidden);
    refused(stage.chat.set_avatar(&ada, &direct.id, None).await, Code::Forbidden);
    assert_eq!(stage.kinds().await, [""; 0]);
    let view = stage.chat.conversation(&ada, &direct.id).await.unwrap();
    assert_eq!(view.other().expect("the other one").member.user_id, bob.user);
    let group = stage.group("Engines", &[&ada, &bob]).await;
    assert_eq!(stage.chat.conversation(&ada, &group).await.unwrap().other(), None);
}

async fn what_one_keeps_for_itself_nobody_else_feels(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let of = async |who: &Actor| stage.chat.conversation(who, &group).await.unwrap().membership;
    let before = of(&ada).await;
    let until = stage.chat.now().after(Duration::from_secs(60));
    stage.chat.archive(&bob, &group, true).await.unwrap();
    stage.chat.mute(&bob, &group, Some(Mute::Until(until))).await.unwrap();
    let kept = stage.chat.pin_conversation(&bob, &group, true).await.unwrap();
    assert_eq!(kept, MemberSettings { archived: true, muted: Some(Mute::Until(until)), pinned: true });
    assert_eq!(of(&bob).await.settings, kept);
    assert_eq!(of(&ada).await, before, "also the version is as it was");
    // Who comes back begins anew.
    stage.chat.leave(&bob, &group).await.unwrap();
    stage.chat.add_members(&ada, &group, from_ref(&bob.user)).await.unwrap();
    assert_eq!(of(&bob).await.settings, MemberSettings::default());
}

async fn what_one_keeps_for_itself_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let until = Mute::Until(stage.chat.now().after(Duration::from_secs(60)));
    for _ in 0..2 {
        stage.chat.archive(&bob, &group, true).await.unwrap();
        stage.chat.mute(&bob, &group, Some(Mute::Always)).await.unwrap();
        stage.chat.pin_conversation(&bob, &group, true).await.unwrap();
    }
    let events = stage.events().await;
    let own = |event: &Event| match event {
        Event::ConversationArchived(event) => (1, event.user_id.clone()),
        Event::ConversationMuted(event) if event.until.is_none() => (2, event.user_id.clone()),
        Event::ConversationPinned(event) => (3, event.user_id.clone()),
        other => panic!("{other:?}"),
    };
    let said: Vec<_> = events.iter().map(own).collect();
    assert_eq!(said, [(1, user("bob")), (2, user("bob")), (3, user("bob"))]);
    stage.chat.mute(&bob, &group, Some(until)).await.unwrap();
    assert_eq!(stage.kinds().await, ["conversation.muted"], "another end is a change");
    for _ in 0..2 {
        stage.chat.archive(&bob, &group, false).await.unwrap();
        stage.chat.mute(&bob, &group, None).await.unwrap();
        stage.chat.pin_conversation(&bob, &group, false).await.unwrap();
    }
    let undone = ["conversation.unarchived", "conversation.unmuted", "conversation.unpinned"];
    assert_eq!(stage.kinds().await, undone);
}

async fn a_list_shows_everything_at_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let profile = UserProfile::new(bob.user.clone(), "Bob Bobson", stage.chat.now());
    stage.ports().source.create_many(from_ref(&profile)).await.unwrap();
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let read = stage.say(&bob, &group, "one").await;
    stage.chat.mark_read(&ada, &group, read.seq).await.unwrap();
    let last = stage.say(&bob, &group, "two").await;
    let list =
        stage.chat.conversations(&ada, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    assert_eq!((list.items.len(), &list.next), (1, &None));
    let item = &list.items[0];
    assert_eq!(item.membership.conversation.name.as_deref(), Some("Engines"));
    assert_eq!(item.membership.member.role, RoomRole::Admin);
    assert_eq!((item.head, item.last_message.as_ref()), (last.seq, Some(&last)));
    assert_eq!((item.unread.messages, item.receipts.read.seq), (1, read.seq));
    let people: Vec<_> = item
        .participants
        .iter()
        .map(|one| {
            (one.member.user_id.as_str(), one.receipts.read.seq, one.receipts.own, one.profile.clone())
        })
        .collect();
    assert_eq!(people, [("ada", read.seq, Seq::ZERO, None), ("bob", Seq::ZERO, last.seq, Some(profile))]);
    assert_eq!(stage.chat.conversation(&ada, &group).await.unwrap(), *item);
    // What one has deleted for itself is not the newest message one sees.
    stage.chat.delete(&ada, &last.id, DeleteType::ForMe).await.unwrap();
    let item = stage.chat.conversation(&ada, &group).await.unwrap();
    assert_eq!((item.head, item.last_message), (last.seq, Some(read)));
}

/// The names of a user's conversations, as listed.
async fn names(stage: &Stage, who: &Actor, filter: ConversationFilter) -> Vec<String> {
    let list = stage.chat.conversations(who, &filter, &Page::first(50)).await.unwrap();
    list.items.into_iter().map(|item| item.membership.conversation.name.unwrap_or_default()).collect()
}

async fn a_list_is_pinned_first_then_newest_first(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let mut groups = Vec::new();
    for name in ["a", "b", "c", "d"] {
        stage.clock.advance(Duration::from_secs(1));
        groups.push(stage.group(name, &[&ada, &bob]).await);
    }
    let all = ConversationFilter::default();
    assert_eq!(names(&stage, &ada, all).await, ["d", "c", "b", "a"]);
    stage.clock.advance(Duration::from_secs(1));
    stage.say(&bob, &groups[1], "hello").await;
    assert_eq!(names(&stage, &ada, all).await, ["b", "d", "c", "a"], "at once");
    stage.chat.pin_conversation(&ada, &groups[0], true).await.unwrap();
    assert_eq!(names(&stage, &ada, all).await, ["a", "b", "d", "c"]);
    assert_eq!(names(&stage, &bob, all).await, ["b", "d", "c", "a"]);
    // Neither reading nor an edit moves anything.
    stage.chat.mark_read(&ada, &groups[3], Seq(u64::MAX)).await.unwrap();
    assert_eq!(names(&stage, &ada, all).await, ["a", "b", "d", "c"]);
}

async fn a_list_is_filtered(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("group", &[&ada, &bob]).await;
    stage.chat.create_broadcast(&ada, NewGroup::named("news")).await.unwrap();
    stage.chat.direct(&ada, &bob.user).await.unwrap();
    stage.chat.archive(&ada, &group, true).await.unwrap();
    let filter = |archived, kind| ConversationFilter { archived, kind };
    assert_eq!(names(&stage, &ada, filter(Some(true), None)).await, ["group"]);
    assert_eq!(names(&stage, &ada, filter(None, None)).await.len(), 3);
    assert_eq!(names(&stage, &ada, filter(Some(false), None)).await.len(), 2);
    assert_eq!(names(&stage, &ada, filter(None, Some(ConversationKind::Broadcast))).await, ["news"]);
    assert_eq!(names(&stage, &ada, filter(Some(true), Some(ConversationKind::Direct))).await, [""; 0]);
    assert_eq!(names(&stage, &bob, filter(Some(true), None)).await, [""; 0]);
}

async fn a_list_is_read_page_by_page(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let mut made = Vec::new();
    for n in 0..23 {
        // Some of one moment.
        if n % 3 == 0 {
            stage.clock.advance(Duration::from_secs(1));
        }
        made.push(stage.group(&format!("{n}"), &[&ada]).await);
    }
    for group in &made[5..9] {
        stage.chat.pin_conversation(&ada, group, true).await.unwrap();
    }
    let filter = ConversationFilter::default();
    let list = stage.chat.conversations(&ada, &filter, &Page::first(50)).await.unwrap();
    assert!(list.next.is_none());
    let whole: Vec<ConversationId> =
        list.items.iter().map(|item| item.membership.conversation.id.clone()).collect();
    assert_eq!(whole.len(), 23);
    for limit in [1, 4, 23] {
        let (chat, ada, filter) = (&stage.chat, &ada, &filter);
        let walked = walk(limit, |page| async move {
            let list = chat.conversations(ada, filter, &page).await?;
            Ok(chat_core::domain::Paged { items: list.items, next: list.next })
        })
        .await;
        let walked: Vec<_> = walked.into_iter().map(|item| item.membership.conversation.id).collect();
        assert_eq!(walked, whole, "{limit} a page");
    }
}

async fn a_list_costs_the_same_whatever_its_length(offer: Offer) {
    let (offer, calls) = counted(offer);
    let stage = Stage::new(offer).await;
    let people: Vec<Actor> = (0..5).map(|n| actor(&format!("u{n}"))).collect();
    let all: Vec<&Actor> = people.iter().collect();
    let mut cost = Vec::new();
    let mut made = 0;
    for length in [1, 10, 50] {
        while made < length {
            let group = stage.group(&format!("{made}"), &all).await;
            stage.say(&people[1], &group, "hello").await;
            made += 1;
        }
        // Warm: what was never asked for is asked once.
        for _ in 0..2 {
            let _ = calls.taken();
            let page = Page::first(MAX_LIST);
            let list =
                stage.chat.conversations(&people[0], &ConversationFilter::default(), &page).await.unwrap();
            assert_eq!((list.items.len(), list.items[0].participants.len()), (length, 5));
        }
        cost.push(calls.taken());
    }
    assert_eq!(cost[1], cost[0], "10 conversations against 1");
    assert_eq!(cost[2], cost[0], "50 conversations against 1");
    let calls: u64 = cost[0].values().sum();
    assert!(calls <= 9, "one of them counts what is new: {:?}", cost[0]);
}

async fn a_conversation_shows_all_its_participants(offer: Offer) {
    let stage = Stage::new(offer).await;
    let people: Vec<Actor> = (0..30).map(|n| actor(&format!("u{n:02}"))).collect();
    let all: Vec<&Actor> = people.iter().collect();
    let group = stage.group("Many", &all).await;
    let ada = &people[29];
    let list = stage.chat.conversations(ada, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    assert_eq!(list.items[0].participants.len(), LISTED_PARTICIPANTS);
    assert_eq!(list.items[0].membership.member.user_id, ada.user);
    assert_eq!(list.items[0].membership.conversation.member_count, 30);
    let one = stage.chat.conversation(ada, &group).await.unwrap();
    let shown: Vec<_> = one.participants.iter().map(|one| &one.member.user_id).collect();
    assert_eq!(shown, people.iter().map(|one| &one.user).collect::<Vec<_>>());
    refused(stage.chat.conversation(&actor("eve"), &group).await, Code::Forbidden);
    assert!(stage.ports().conversations.get(&group).await.unwrap().is_some());
}

async fn list_limits_are_checked(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for limit in [0, MAX_LIST + 1, usize::MAX] {
        let list = stage.chat.conversations(&ada, &ConversationFilter::default(), &Page::first(limit)).await;
        refused(list, Code::PageInvalid);
    }
    for limit in [0, 1_001] {
        refused(stage.chat.members(&ada, &group, &Page::first(limit)).await, Code::PageInvalid);
    }
}
