//! Promises of the `conversations` port: who talks where.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::conversation::direct_id;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{
    Conversation, ConversationId, ConversationKind, LastActivity, Member, MemberSettings, Mute, RoomRole,
    Seq, UserId,
};
use chat_core::error::{Code, Result};
use chat_core::event::{
    ConversationArchived, ConversationAvatarUpdated, ConversationCreated, ConversationMuted,
    ConversationNameUpdated, ConversationPinned, ConversationUnarchived, ConversationUnmuted,
    ConversationUnpinned, Event, EventKind, ParticipantAdded, ParticipantLeft, ParticipantRemoved,
    ParticipantRoleChanged,
};
use chat_core::store::conversations::{
    Change, Changed, ConversationFilter, Created, Membership, NewConversation,
};
use chat_core::store::{ConversationStore, ConversationStoreExt, Outbox};

use crate::expect::{at_once, drained, events, refused, unavailable};
use crate::model::conversations::agrees_with_the_model_on_random_histories;
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;
use crate::walk::walk;

checks! {
    "conversations" needs [conversations, outbox]:
    a_conversation_is_made_with_its_members_and_its_event,
    making_it_again_answers_what_is_there,
    a_different_conversation_cannot_take_the_id,
    a_direct_conversation_is_the_same_whoever_makes_it,
    sixty_four_callers_make_one_direct_conversation,
    a_conversation_with_too_many_members_is_not_made,
    conversations_line_up_with_the_question,
    an_unknown_conversation_is_not_changed,
    names_and_pictures_are_changed_for_everybody,
    members_are_let_in_with_the_place_they_begin_at,
    who_is_in_already_is_not_added,
    an_addition_that_does_not_fit_adds_nobody,
    racing_additions_keep_the_member_limit,
    members_are_taken_out_and_leave,
    who_is_not_in_is_not_taken_out,
    the_last_admin_of_several_members_stays,
    the_last_member_may_leave,
    racing_leaves_and_demotions_leave_one_admin,
    roles_are_changed_for_members_alone,
    settings_are_felt_by_one_user_alone,
    settings_of_who_is_not_in_are_refused,
    a_direct_conversation_stays_as_it_is,
    every_change_for_everybody_raises_the_version_by_one,
    racing_changes_each_get_a_version,
    members_come_in_the_order_of_their_ids,
    a_walk_over_members_misses_nobody_while_others_come_and_go,
    members_by_id_line_up_with_the_question,
    first_members_line_up_with_the_question,
    memberships_line_up_with_the_question,
    lists_show_pinned_ones_first_and_then_the_newest,
    lists_come_in_pages_of_any_size,
    lists_can_be_filtered,
    a_walk_over_a_list_misses_nothing_that_stays_in_its_place,
    the_active_ones_are_those_with_a_message_since_then_newest_first,
    the_active_ones_come_in_pages_of_any_size,
    a_walk_over_the_active_ones_and_one_since_it_began_miss_nothing,
    activity_is_a_maximum_and_writes_no_event,
    every_change_writes_exactly_one_event_and_no_change_writes_none,
    hostile_ids_are_only_ids,
    an_outage_is_never_an_empty_answer + outage,
    agrees_with_the_model_on_random_histories,
}

/// The store, and a group called `g` once it is made.
struct Desk {
    store: Arc<dyn ConversationStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
    id: ConversationId,
}

impl Desk {
    fn new(offer: &Offer) -> Arc<Self> {
        Arc::new(Self {
            store: offer.conversations.clone().expect("conversations"),
            outbox: offer.outbox.clone().expect("an outbox"),
            clock: offer.clock.clone(),
            id: sample::conversation("g"),
        })
    }

    /// With a group of these, the first of them its only admin.
    async fn with(offer: &Offer, members: &[&str]) -> Arc<Self> {
        let desk = Self::new(offer);
        desk.make(&sample::group("g", members)).await;
        desk.events().await;
        desk
    }

    async fn make(&self, new: &NewConversation) -> Conversation {
        let made = self.store.create(new).await.unwrap();
        assert!(made.created);
        made.conversation
    }

    async fn get(&self) -> Conversation {
        self.store.get(&self.id).await.unwrap().expect("the group is there")
    }

    async fn try_change(&self, by: &str, change: Change) -> Result<Changed> {
        self.store.change(&self.id, &sample::user(by), &change).await
    }

    /// A change that has to change something.
    async fn changes(&self, by: &str, change: Change) -> Changed {
        let changed = self.try_change(by, change.clone()).await.unwrap();
        assert!(changed.changed, "{change:?} changes something");
        assert_eq!(self.get().await, changed.conversation);
        changed
    }

    /// A change that must not change anything.
    async fn stays(&self, by: &str, change: Change) {
        let before = self.get().await;
        let changed = self.try_change(by, change.clone()).await.unwrap();
        assert!(!changed.changed && changed.members.is_empty(), "{change:?} changes nothing: {changed:?}");
        assert_eq!(changed.conversation, before);
        assert_eq!(self.get().await, before);
    }

    async fn members(&self) -> Vec<Member> {
        let page = self.store.members(&self.id, &Page::first(MAX_PAGE)).await.unwrap();
        assert_eq!(page.next, None);
        page.items
    }

    async fn names(&self) -> Vec<String> {
        self.members().await.iter().map(|member| member.user_id.to_string()).collect()
    }

    /// The members of a conversation, page by page.
    async fn walked(&self, id: &ConversationId, limit: usize) -> Vec<String> {
        let members = walk(limit, |page| async move {
            tokio::task::yield_now().await;
            self.store.members(id, &page).await
        })
        .await;
        members.iter().map(|member| member.user_id.to_string()).collect()
    }

    async fn settings(&self, name: &str) -> MemberSettings {
        let one = std::slice::from_ref(&self.id);
        let mine = self.store.memberships(&sample::user(name), one).await.unwrap().remove(0);
        mine.expect("a member").settings
    }

    async fn events(&self) -> Vec<Event> {
        events(&*self.outbox).await
    }

    async fn list(&self, name: &str, filter: ConversationFilter, limit: usize) -> Vec<Membership> {
        let (user, filter) = (&sample::user(name), &filter);
        walk(limit, |page| async move { self.store.list(user, filter, &page).await }).await
    }

    async fn listed(&self, name: &str) -> Vec<String> {
        let all = self.list(name, ConversationFilter::default(), MAX_PAGE).await;
        all.iter().map(|mine| mine.conversation.id.to_string()).collect()
    }

    /// Everything with a message since then, page by page.
    async fn active(&self, since: Timestamp, limit: usize) -> Vec<String> {
        let found = walk(limit, |page| async move { self.store.active(since, &page).await }).await;
        found.iter().map(|conversation| conversation.id.to_string()).collect()
    }

    async fn touch(&self, id: &ConversationId, seq: u64) {
        let activity = LastActivity {
            at: self.clock.now(),
            seq: Seq(seq),
            message_id: Some(sample::message(&format!("{id} {seq}"))),
        };
        self.store.touch_many(&[(id.clone(), activity)]).await.unwrap();
    }
}

fn add(names: &[&str]) -> Change {
    let members = names.iter().map(|name| sample::member(name, RoomRole::Member)).collect();
    Change::Add { members, head: Seq(7) }
}

fn remove(name: &str) -> Change {
    Change::Remove { user: sample::user(name), name: Some(format!("The one called {name}")) }
}

fn leave() -> Change {
    Change::Leave { name: Some("One of us".to_owned()) }
}

fn role(name: &str, role: RoomRole) -> Change {
    Change::SetRole { user: sample::user(name), role }
}

fn direct(made_by: &str, other: &str) -> NewConversation {
    let members = vec![sample::member(made_by, RoomRole::Member), sample::member(other, RoomRole::Member)];
    let id = direct_id(&members[0].user, &members[1].user).expect("two people");
    NewConversation {
        id,
        kind: ConversationKind::Direct,
        name: None,
        avatar: None,
        created_by: sample::user(made_by),
        members,
        max_members: 2,
    }
}

// Making

async fn a_conversation_is_made_with_its_members_and_its_event(offer: Offer) {
    let desk = Desk::new(&offer);
    let now = desk.clock.now();
    let mut new = sample::group("g", &["zoe", "ben", "ann"]);
    new.avatar = Some("https://pictures.invalid/1".to_owned());
    new.members[1].role = RoomRole::Moderator;
    let made = desk.make(&new).await;
    let expected = Conversation {
        id: new.id.clone(),
        kind: ConversationKind::Group,
        name: new.name.clone(),
        avatar: new.avatar.clone(),
        created_by: sample::user("zoe"),
        created_at: now,
        member_count: 3,
        max_members: 200,
        version: made.version,
        last_activity: LastActivity { at: now, seq: Seq::ZERO, message_id: None },
    };
    assert_eq!(made, expected);
    assert_eq!(desk.get().await, expected);
    let member = |name: &str, role| Member {
        user_id: sample::user(name),
        role,
        joined_at: now,
        joined_seq: Seq::ZERO,
        version: made.version,
    };
    let members =
        [member("ann", RoomRole::Member), member("ben", RoomRole::Moderator), member("zoe", RoomRole::Admin)];
    assert_eq!(desk.members().await, members);
    for name in ["ann", "ben", "zoe"] {
        assert_eq!(desk.listed(name).await, ["g"]);
        assert_eq!(desk.settings(name).await, MemberSettings::default());
    }
    let written = drained(&*desk.outbox).await;
    assert_eq!(written.len(), 1);
    assert_eq!((written[0].key(), written[0].at), ("g".to_owned(), now));
    let Event::ConversationCreated(event) = &written[0].event else { panic!("{written:?}") };
    let in_it: BTreeSet<_> = event.participants.iter().map(UserId::as_str).collect();
    assert_eq!(in_it, ["ann", "ben", "zoe"].into());
    let expected = ConversationCreated::new(&made, event.participants.clone());
    assert_eq!((event, event.participants.len()), (&expected, 3));
}

async fn making_it_again_answers_what_is_there(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let now = desk.changes("ann", Change::Rename("Renamed since".to_owned())).await.conversation;
    desk.events().await;
    desk.clock.advance(Duration::from_secs(60));
    let mut again = sample::group("g", &["ann", "ben"]);
    for _ in 0..2 {
        let answer = desk.store.create(&again).await.unwrap();
        assert_eq!(answer, Created { conversation: now.clone(), created: false });
        again = sample::group("g", &["ann", "ben", "eve"]);
    }
    assert_eq!(desk.names().await, ["ann", "ben"], "nobody comes in that way");
    assert_eq!(desk.events().await, []);
}

async fn a_different_conversation_cannot_take_the_id(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let before = desk.get().await;
    let other_maker = sample::group("g", &["eve", "ben"]);
    let other_kind =
        NewConversation { kind: ConversationKind::Channel, ..sample::group("g", &["ann", "ben"]) };
    for other in [other_maker, other_kind] {
        refused(desk.store.create(&other).await, Code::Conflict);
    }
    let one = direct("ann", "ben");
    desk.make(&one).await;
    let other_people = NewConversation { id: one.id.clone(), ..direct("ann", "eve") };
    refused(desk.store.create(&other_people).await, Code::Conflict);
    assert_eq!(desk.get().await, before);
    assert_eq!(desk.names().await, ["ann", "ben"]);
    assert_eq!(desk.listed("eve").await, [""; 0], "who tried is not in");
    assert_eq!(desk.events().await.len(), 1, "the direct one");
}

async fn a_direct_conversation_is_the_same_whoever_makes_it(offer: Offer) {
    let desk = Desk::new(&offer);
    let made = desk.make(&direct("ann", "ben")).await;
    for new in [direct("ben", "ann"), direct("ann", "ben")] {
        let again = desk.store.create(&new).await.unwrap();
        assert_eq!(again, Created { conversation: made.clone(), created: false });
    }
    let others = [direct("ann", "eve"), direct("ben", "eve"), direct("a", "nnben")];
    for other in &others {
        desk.make(other).await;
    }
    assert_eq!(desk.listed("ann").await.len(), 2);
    assert_eq!(desk.events().await.len(), 4);
}

async fn sixty_four_callers_make_one_direct_conversation(offer: Offer) {
    let desk = Desk::new(&offer);
    for pair in 0..4 {
        let (one, other) = (format!("one {pair}"), format!("other {pair}"));
        let answers = at_once(64, |nth| {
            let desk = Arc::clone(&desk);
            let new = if nth % 2 == 0 { direct(&one, &other) } else { direct(&other, &one) };
            async move { desk.store.create(&new).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1, "one makes it");
        assert!(answers.iter().all(|answer| answer.conversation == answers[0].conversation));
        assert_eq!(answers[0].conversation.member_count, 2);
        let id = answers[0].conversation.id.to_string();
        assert_eq!((desk.listed(&one).await, desk.listed(&other).await), (vec![id.clone()], vec![id]));
        assert_eq!(desk.events().await.len(), 1);
    }
}

async fn a_conversation_with_too_many_members_is_not_made(offer: Offer) {
    let desk = Desk::new(&offer);
    let new = NewConversation { max_members: 2, ..sample::group("g", &["ann", "ben", "eve"]) };
    refused(desk.store.create(&new).await, Code::MemberLimit);
    assert_eq!(desk.store.get(&desk.id).await.unwrap(), None);
    assert_eq!(desk.listed("ann").await, [""; 0]);
    assert_eq!(desk.events().await, []);
    desk.make(&NewConversation { max_members: 3, ..new }).await;
    assert_eq!(desk.names().await.len(), 3);
}

async fn conversations_line_up_with_the_question(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.store.get_many(&[]).await.unwrap().is_empty());
    let (one, two) =
        (desk.make(&sample::group("g", &["ann"])).await, desk.make(&sample::group("h", &["ben"])).await);
    let question = [two.id.clone(), sample::conversation("nowhere"), one.id.clone(), two.id.clone()];
    assert_eq!(
        desk.store.get_many(&question).await.unwrap(),
        [Some(two.clone()), None, Some(one), Some(two)]
    );
}

// Changing

async fn an_unknown_conversation_is_not_changed(offer: Offer) {
    let desk = Desk::new(&offer);
    for change in [
        Change::Rename("name".to_owned()),
        add(&["ben"]),
        remove("ben"),
        leave(),
        role("ben", RoomRole::Admin),
        Change::Archive(true),
    ] {
        refused(desk.try_change("ann", change).await, Code::ConversationNotFound);
    }
    refused(desk.store.members(&desk.id, &Page::first(10)).await, Code::ConversationNotFound);
    assert_eq!(desk.store.get(&desk.id).await.unwrap(), None);
    desk.touch(&desk.id, 1).await;
    assert_eq!(desk.store.get(&desk.id).await.unwrap(), None);
    assert_eq!(desk.listed("ann").await, [""; 0]);
    assert_eq!(desk.events().await, []);
}

async fn names_and_pictures_are_changed_for_everybody(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let renamed = desk.changes("ben", Change::Rename("Élan".to_owned())).await.conversation;
    assert_eq!(renamed.name.as_deref(), Some("Élan"));
    desk.stays("ann", Change::Rename("Élan".to_owned())).await;
    let picture = Some("https://pictures.invalid/2".to_owned());
    assert_eq!(desk.changes("ann", Change::SetAvatar(picture.clone())).await.conversation.avatar, picture);
    desk.stays("ann", Change::SetAvatar(picture)).await;
    let none = desk.changes("ann", Change::SetAvatar(None)).await.conversation;
    assert_eq!((none.avatar, none.name), (None, renamed.name));
    desk.stays("ann", Change::SetAvatar(None)).await;
    assert_eq!(desk.events().await.len(), 3);
}

async fn members_are_let_in_with_the_place_they_begin_at(offer: Offer) {
    let desk = Desk::with(&offer, &["ann"]).await;
    desk.clock.advance(Duration::from_secs(60));
    let added = desk.changes("ann", add(&["eve", "ben"])).await;
    assert_eq!(added.conversation.member_count, 3);
    for name in ["ben", "eve"] {
        let member = desk.store.member(&desk.id, &sample::user(name)).await.unwrap().expect("a member now");
        assert_eq!(
            (member.role, member.joined_seq, member.joined_at),
            (RoomRole::Member, Seq(7), desk.clock.now())
        );
        assert!(added.members.contains(&member), "{added:?}");
        assert_eq!(desk.listed(name).await, ["g"]);
    }
    assert_eq!(added.members.len(), 2);
    let new_admin = Change::Add { members: vec![sample::member("zoe", RoomRole::Admin)], head: Seq(9) };
    assert_eq!(desk.changes("ben", new_admin).await.members[0].role, RoomRole::Admin);
}

async fn who_is_in_already_is_not_added(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let before = desk.members().await;
    desk.stays("ann", add(&["ben"])).await;
    desk.stays("ann", add(&[])).await;
    desk.stays("ben", add(&["ann", "ben"])).await;
    assert_eq!(desk.members().await, before, "roles and places stay");
    let added = desk.changes("ann", add(&["ben", "eve", "ann"])).await;
    assert!(added.members.iter().map(|member| member.user_id.as_str()).eq(["eve"]));
    assert_eq!(desk.names().await, ["ann", "ben", "eve"]);
    let written = desk.events().await;
    assert!(
        matches!(written.as_slice(), [Event::ParticipantAdded(one)] if one.participant_id == sample::user("eve"))
    );
}

async fn an_addition_that_does_not_fit_adds_nobody(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.make(&NewConversation { max_members: 4, ..sample::group("g", &["ann", "ben"]) }).await;
    desk.events().await;
    let before = desk.get().await;
    refused(desk.try_change("ann", add(&["eve", "max", "zoe"])).await, Code::MemberLimit);
    assert_eq!((desk.get().await, desk.names().await), (before, vec!["ann".to_owned(), "ben".to_owned()]));
    for name in ["eve", "max", "zoe"] {
        assert_eq!(desk.listed(name).await, [""; 0], "{name}");
    }
    assert_eq!(desk.events().await, []);
    desk.changes("ann", add(&["ben", "eve", "max"])).await;
    desk.stays("ann", add(&["eve"])).await;
    refused(desk.try_change("ann", add(&["zoe"])).await, Code::MemberLimit);
}

async fn racing_additions_keep_the_member_limit(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.make(&NewConversation { max_members: 20, ..sample::group("g", &["ann"]) }).await;
    desk.events().await;
    let answers = at_once(24, |nth| {
        let desk = Arc::clone(&desk);
        async move {
            let names: Vec<_> = (0..1 + nth % 3).map(|one| format!("user {nth} {one}")).collect();
            let change = add(&names.iter().map(String::as_str).collect::<Vec<_>>());
            (names, desk.try_change("ann", change).await)
        }
    })
    .await;
    let mut expected: Vec<_> = vec!["ann".to_owned()];
    for (names, answer) in answers {
        match answer {
            Ok(changed) => {
                assert_eq!(changed.members.len(), names.len());
                assert!(changed.conversation.member_count <= 20);
                expected.extend(names);
            }
            Err(_) => refused(answer, Code::MemberLimit),
        }
    }
    expected.sort();
    assert_eq!(desk.names().await, expected, "all of an addition or none of it");
    let total = desk.get().await.member_count as usize;
    assert_eq!(total, expected.len());
    assert!((18..=20).contains(&total), "{total}: only additions that do not fit are refused");
    assert_eq!(desk.events().await.len(), total - 1);
}

async fn members_are_taken_out_and_leave(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben", "eve"]).await;
    desk.changes("eve", Change::Archive(true)).await;
    let removed = desk.changes("ann", remove("ben")).await;
    assert!(removed.members.iter().map(|member| member.user_id.as_str()).eq(["ben"]));
    let left = desk.changes("eve", leave()).await;
    assert!(left.members.iter().map(|member| member.user_id.as_str()).eq(["eve"]));
    assert_eq!((desk.names().await, left.conversation.member_count), (vec!["ann".to_owned()], 1));
    for name in ["ben", "eve"] {
        assert_eq!(desk.listed(name).await, [""; 0], "{name}");
        assert_eq!(desk.store.member(&desk.id, &sample::user(name)).await.unwrap(), None);
    }
    desk.changes("ann", add(&["ben"])).await;
    assert_eq!(desk.listed("ben").await, ["g"], "and may come back");
}

async fn who_is_not_in_is_not_taken_out(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    desk.stays("ann", remove("eve")).await;
    desk.stays("eve", leave()).await;
    desk.changes("ann", remove("ben")).await;
    desk.stays("ann", remove("ben")).await;
    desk.stays("ben", leave()).await;
    assert_eq!(desk.events().await.len(), 1);
}

async fn the_last_admin_of_several_members_stays(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben", "eve"]).await;
    let before = (desk.get().await, desk.members().await);
    let goes = [
        ("ann", leave()),
        ("ann", remove("ann")),
        ("ben", remove("ann")),
        ("ann", role("ann", RoomRole::Moderator)),
        ("ben", role("ann", RoomRole::Member)),
    ];
    for (by, change) in &goes {
        refused(desk.try_change(by, change.clone()).await, Code::MemberLastAdmin);
    }
    assert_eq!((desk.get().await, desk.members().await), before);
    assert_eq!(desk.listed("ann").await, ["g"]);
    assert_eq!(desk.events().await, []);
    desk.stays("ann", role("ann", RoomRole::Admin)).await;

    desk.changes("ann", role("ben", RoomRole::Admin)).await;
    desk.changes("ann", role("ann", RoomRole::Member)).await;
    desk.changes("ann", leave()).await;
    refused(desk.try_change("ben", leave()).await, Code::MemberLastAdmin);
    desk.changes("ben", remove("eve")).await;
}

async fn the_last_member_may_leave(offer: Offer) {
    let desk = Desk::with(&offer, &["ann"]).await;
    desk.changes("ann", role("ann", RoomRole::Member)).await;
    desk.changes("ann", role("ann", RoomRole::Admin)).await;
    assert_eq!(desk.changes("ann", leave()).await.conversation.member_count, 0);
    assert_eq!(desk.members().await, []);
    assert_eq!(desk.listed("ann").await, [""; 0]);
}

async fn racing_leaves_and_demotions_leave_one_admin(offer: Offer) {
    let desk = Desk::new(&offer);
    for round in 0..10 {
        let names: Vec<_> = (0..8).map(|nth| format!("admin {nth}")).chain(["member".to_owned()]).collect();
        let mut new =
            sample::group(&format!("g{round}"), &names.iter().map(String::as_str).collect::<Vec<_>>());
        new.members.iter_mut().take(8).for_each(|member| member.role = RoomRole::Admin);
        desk.make(&new).await;
        let answers = at_once(8, |nth| {
            let (desk, id, name) = (Arc::clone(&desk), new.id.clone(), format!("admin {nth}"));
            let change = match nth % 3 {
                0 => leave(),
                1 => remove(&name),
                _ => role(&name, RoomRole::Member),
            };
            async move { desk.store.change(&id, &sample::user(&name), &change).await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7, "all but one");
        answers.into_iter().filter(Result::is_err).for_each(|answer| refused(answer, Code::MemberLastAdmin));
        let members = desk.store.members(&new.id, &Page::first(20)).await.unwrap().items;
        assert_eq!(members.iter().filter(|member| member.role == RoomRole::Admin).count(), 1);
    }
}

async fn roles_are_changed_for_members_alone(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let changed = desk.changes("ann", role("ben", RoomRole::Moderator)).await;
    assert_eq!(changed.members.iter().map(|member| member.role).collect::<Vec<_>>(), [RoomRole::Moderator]);
    assert_eq!(changed.members[0].version, changed.conversation.version);
    desk.stays("ann", role("ben", RoomRole::Moderator)).await;
    refused(desk.try_change("ann", role("eve", RoomRole::Admin)).await, Code::RoomNotMember);
    assert_eq!(desk.store.member(&desk.id, &sample::user("eve")).await.unwrap(), None);
    assert_eq!(desk.events().await.len(), 1);
}

async fn settings_are_felt_by_one_user_alone(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let (before, members) = (desk.get().await, desk.members().await);
    let until = Mute::Until(desk.clock.now().after(Duration::from_secs(60)));
    let expected = MemberSettings { archived: true, muted: Some(until), pinned: true };
    for change in [
        Change::Archive(true),
        Change::Mute(Some(Mute::Always)),
        Change::Mute(Some(until)),
        Change::Pin(true),
    ] {
        desk.changes("ann", change.clone()).await;
        desk.stays("ann", change).await;
    }
    assert_eq!(desk.settings("ann").await, expected);
    assert_eq!(desk.settings("ben").await, MemberSettings::default());
    desk.changes("ann", add(&["eve"])).await;
    desk.changes("ann", remove("eve")).await;
    desk.changes("ann", Change::Rename("Another".to_owned())).await;
    assert_eq!(desk.settings("ann").await, expected, "what others do does not touch them");
    for change in [Change::Archive(false), Change::Mute(None), Change::Pin(false)] {
        desk.changes("ann", change.clone()).await;
        desk.stays("ann", change.clone()).await;
        desk.stays("ben", change).await;
    }
    assert_eq!(desk.settings("ann").await, MemberSettings::default());
    let after = desk.get().await;
    assert_eq!(after.version, before.version + 3, "only the three changes for everybody");
    assert_eq!((after.last_activity, desk.members().await), (before.last_activity, members));
}

async fn settings_of_who_is_not_in_are_refused(offer: Offer) {
    let desk = Desk::with(&offer, &["ann"]).await;
    for change in
        [Change::Archive(true), Change::Archive(false), Change::Mute(Some(Mute::Always)), Change::Pin(true)]
    {
        refused(desk.try_change("eve", change).await, Code::RoomNotMember);
    }
    assert_eq!(desk.listed("eve").await, [""; 0]);
    assert_eq!(desk.events().await, []);
}

async fn a_direct_conversation_stays_as_it_is(offer: Offer) {
    let desk = Desk::new(&offer);
    let new = direct("ann", "ben");
    let made = desk.make(&new).await;
    desk.events().await;
    for (by, change) in [
        ("ann", Change::Rename("name".to_owned())),
        ("ann", Change::SetAvatar(Some("https://pictures.invalid/3".to_owned()))),
        ("ann", add(&["eve"])),
        ("ann", remove("ben")),
        ("ben", leave()),
        ("ann", role("ben", RoomRole::Admin)),
    ] {
        let answer = desk.store.change(&new.id, &sample::user(by), &change).await;
        refused(answer, Code::ConversationInvalid);
    }
    assert_eq!(desk.store.get(&new.id).await.unwrap(), Some(made.clone()));
    assert_eq!(desk.store.members(&new.id, &Page::first(10)).await.unwrap().items.len(), 2);
    assert_eq!(desk.events().await, []);
    let pinned = desk.store.change(&new.id, &sample::user("ann"), &Change::Pin(true)).await.unwrap();
    assert_eq!((pinned.changed, pinned.conversation), (true, made), "its members' own settings are theirs");
}

async fn every_change_for_everybody_raises_the_version_by_one(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let mut version = desk.get().await.version;
    for own in [Change::Pin(true), Change::Archive(true), Change::Mute(Some(Mute::Always))] {
        assert_eq!(
            desk.changes("ben", own).await.conversation.version,
            version,
            "what is one's own is not counted"
        );
    }
    for (by, change) in [
        ("ann", Change::Rename("Another".to_owned())),
        ("ann", Change::SetAvatar(Some("https://pictures.invalid/4".to_owned()))),
        ("ann", add(&["eve"])),
        ("ann", role("eve", RoomRole::Admin)),
        ("ann", remove("ben")),
        ("ann", leave()),
    ] {
        let changed = desk.changes(by, change.clone()).await;
        version += 1;
        assert_eq!(changed.conversation.version, version, "{change:?}");
        assert!(changed.members.iter().all(|member| member.version == version), "{changed:?}");
        desk.touch(&desk.id, version).await;
        desk.store.create(&sample::group("g", &["ann"])).await.unwrap();
    }
    assert_eq!(desk.get().await.version, version);
    let several = desk.changes("eve", add(&["max", "zoe", "eve", "ann"])).await;
    let each: Vec<u64> = several.members.iter().map(|member| member.version).collect();
    assert_eq!(each, [version + 1, version + 2, version + 3], "one for each who is let in");
    assert_eq!(several.conversation.version, version + 3);
    let mut versions: Vec<_> = desk.events().await.iter().filter_map(version_of).collect();
    versions.dedup();
    let last = several.conversation.version;
    assert_eq!(versions.last(), Some(&last), "the last event says the version from then on");
    assert!(versions.is_sorted() && versions.len() as u64 <= last, "{versions:?}");
}

fn version_of(event: &Event) -> Option<u64> {
    match event {
        Event::ConversationNameUpdated(event) => Some(event.version),
        Event::ConversationAvatarUpdated(event) => Some(event.version),
        Event::ParticipantAdded(event) => Some(event.version),
        Event::ParticipantRemoved(event) => Some(event.version),
        Event::ParticipantLeft(event) => Some(event.version),
        Event::ParticipantRoleChanged(event) => Some(event.version),
        _ => None,
    }
}

async fn racing_changes_each_get_a_version(offer: Offer) {
    let desk = Desk::with(&offer, &["ann"]).await;
    let before = desk.get().await.version;
    let mut versions = at_once(32, |nth| {
        let desk = Arc::clone(&desk);
        let (name, user) = (format!("Name {nth}"), format!("user {nth}"));
        let change = if nth % 2 == 0 { Change::Rename(name) } else { add(&[&user]) };
        async move { desk.try_change("ann", change).await.unwrap().conversation.version }
    })
    .await;
    versions.sort_unstable();
    assert!(versions.into_iter().eq(before + 1..=before + 32), "each its own");
    let written: Vec<_> = desk.events().await.iter().filter_map(version_of).collect();
    assert!(written.into_iter().eq(before + 1..=before + 32), "and the events in their order");
    assert_eq!(desk.get().await.member_count, 17);
}

// Reading

async fn members_come_in_the_order_of_their_ids(offer: Offer) {
    let names: Vec<_> = (0..23).map(|nth| format!("user {:02}", (nth * 7) % 23)).collect();
    let desk = Desk::with(&offer, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut expected = names.clone();
    expected.sort();
    for limit in [1, 2, 5, 23, MAX_PAGE] {
        assert_eq!(desk.walked(&desk.id, limit).await, expected, "by {limit}");
    }
    for limit in [0, MAX_PAGE + 1] {
        refused(desk.store.members(&desk.id, &Page::first(limit)).await, Code::PageInvalid);
        let filter = ConversationFilter::default();
        refused(
            desk.store.list(&sample::user("user 01"), &filter, &Page::first(limit)).await,
            Code::PageInvalid,
        );
    }
}

async fn a_walk_over_members_misses_nobody_while_others_come_and_go(offer: Offer) {
    let names: Vec<_> = (0..40).map(|nth| format!("user {nth:02}")).collect();
    let desk = Desk::with(&offer, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    at_once(6, |nth| {
        let (desk, names) = (Arc::clone(&desk), names.clone());
        async move {
            for round in 0..20 {
                if nth < 3 {
                    // Somebody between any two others, who comes and goes.
                    let guest = format!("user {:02}x{nth}", (round * 13 + nth) % 40);
                    desk.try_change("user 00", add(&[&guest])).await.unwrap();
                    tokio::task::yield_now().await;
                    desk.try_change("user 00", remove(&guest)).await.unwrap();
                    continue;
                }
                let seen = desk.walked(&desk.id, [1, 3, 10][nth - 3]).await;
                assert!(
                    seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]),
                    "none twice: {seen:?}"
                );
                let stayed: Vec<_> = seen.into_iter().filter(|name| names.contains(name)).collect();
                assert_eq!(stayed, names, "none missed");
            }
        }
    })
    .await;
    assert_eq!(desk.names().await, names);
}

async fn members_by_id_line_up_with_the_question(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    assert!(desk.store.members_by_id(&desk.id, &[]).await.unwrap().is_empty());
    let question = ["ben", "eve", "ann", "ben"].map(sample::user);
    let found = desk.store.members_by_id(&desk.id, &question).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|member| member.map(|member| member.user_id)).collect();
    assert_eq!(
        found,
        [Some(question[0].clone()), None, Some(question[2].clone()), Some(question[3].clone())]
    );
    let nowhere = desk.store.members_by_id(&sample::conversation("nowhere"), &question).await.unwrap();
    assert_eq!(nowhere, [const { None }; 4]);
}

async fn first_members_line_up_with_the_question(offer: Offer) {
    let desk = Desk::with(&offer, &["zoe", "ben", "ann", "eve"]).await;
    let other = desk.make(&sample::group("h", &["max"])).await;
    assert!(desk.store.first_members(&[], 3).await.unwrap().is_empty());
    let question = [other.id, sample::conversation("nowhere"), desk.id.clone(), desk.id.clone()];
    let all = desk.members().await;
    for limit in [1, 3, 100] {
        let found = desk.store.first_members(&question, limit).await.unwrap();
        let names: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(names, [1, 0, limit.min(4), limit.min(4)]);
        assert_eq!(found[2], all[..limit.min(4)], "in the order of their ids");
    }
    for limit in [0, 101] {
        refused(desk.store.first_members(&question, limit).await, Code::PageInvalid);
    }
}

async fn memberships_line_up_with_the_question(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let other = desk.make(&sample::group("h", &["ann"])).await;
    desk.changes("ben", Change::Pin(true)).await;
    let ben = sample::user("ben");
    assert!(desk.store.memberships(&ben, &[]).await.unwrap().is_empty());
    let question = [desk.id.clone(), sample::conversation("nowhere"), other.id, desk.id.clone()];
    let mine = Membership {
        conversation: desk.get().await,
        member: desk.store.member(&desk.id, &ben).await.unwrap().expect("a member"),
        settings: MemberSettings { pinned: true, ..MemberSettings::default() },
    };
    let expected = [Some(mine.clone()), None, None, Some(mine)];
    assert_eq!(desk.store.memberships(&ben, &question).await.unwrap(), expected);
}

/// Ten groups of Ann, `g0` the oldest; Ben is in the even ones.
async fn ten(offer: &Offer) -> Arc<Desk> {
    let desk = Desk::new(offer);
    for nth in 0..10 {
        let members = if nth % 2 == 0 { vec!["ann", "ben"] } else { vec!["ann"] };
        desk.make(&sample::group(&format!("g{nth}"), &members)).await;
        desk.clock.advance(Duration::from_secs(1));
    }
    desk
}

async fn pin(desk: &Desk, id: &str, on: bool) {
    desk.store.change(&sample::conversation(id), &sample::user("ann"), &Change::Pin(on)).await.unwrap();
}

async fn lists_show_pinned_ones_first_and_then_the_newest(offer: Offer) {
    let desk = ten(&offer).await;
    assert_eq!(desk.listed("ann").await, ["g9", "g8", "g7", "g6", "g5", "g4", "g3", "g2", "g1", "g0"]);
    desk.touch(&sample::conversation("g4"), 1).await;
    desk.clock.advance(Duration::from_secs(1));
    desk.touch(&sample::conversation("g2"), 1).await;
    pin(&desk, "g3", true).await;
    pin(&desk, "g6", true).await;
    assert_eq!(desk.listed("ann").await, ["g6", "g3", "g2", "g4", "g9", "g8", "g7", "g5", "g1", "g0"]);
    assert_eq!(desk.listed("ben").await, ["g2", "g4", "g8", "g6", "g0"], "Ann's pins are Ann's");
    pin(&desk, "g6", false).await;
    assert_eq!(desk.listed("ann").await, ["g3", "g2", "g4", "g9", "g8", "g7", "g6", "g5", "g1", "g0"]);
    assert_eq!(desk.listed("nobody").await, [""; 0]);
}

async fn lists_come_in_pages_of_any_size(offer: Offer) {
    let desk = ten(&offer).await;
    // Several at one moment, pinned and not: a cursor made of times alone would skip some.
    for nth in [1, 3, 4, 7, 8] {
        desk.touch(&sample::conversation(&format!("g{nth}")), 1).await;
    }
    for name in ["g2", "g3", "g4", "g5"] {
        pin(&desk, name, true).await;
    }
    let whole = desk.list("ann", ConversationFilter::default(), MAX_PAGE).await;
    assert_eq!(whole.len(), 10);
    assert!(whole.is_sorted_by_key(|mine| std::cmp::Reverse((
        mine.settings.pinned,
        mine.conversation.last_activity.at
    ))));
    for limit in [1, 2, 3, 9, 10] {
        assert_eq!(desk.list("ann", ConversationFilter::default(), limit).await, whole, "by {limit}");
    }
}

async fn lists_can_be_filtered(offer: Offer) {
    let desk = ten(&offer).await;
    let ann = sample::user("ann");
    desk.make(&direct("ann", "ben")).await;
    for name in ["g1", "g4", "g6"] {
        desk.store.change(&sample::conversation(name), &ann, &Change::Archive(true)).await.unwrap();
    }
    let listed = async |archived, kind, limit| {
        let found = desk.list("ann", ConversationFilter { archived, kind }, limit).await;
        found.iter().map(|mine| mine.conversation.id.to_string()).collect::<Vec<_>>()
    };
    let one = direct("ann", "ben").id.to_string();
    for limit in [1, 2, 10] {
        assert_eq!(listed(Some(true), None, limit).await, ["g6", "g4", "g1"]);
        let here = listed(Some(false), None, limit).await;
        assert_eq!(here, [one.as_str(), "g9", "g8", "g7", "g5", "g3", "g2", "g0"]);
        assert_eq!(listed(None, Some(ConversationKind::Direct), limit).await, [one.as_str()]);
        assert_eq!(listed(Some(true), Some(ConversationKind::Group), limit).await.len(), 3);
        assert_eq!(listed(Some(true), Some(ConversationKind::Direct), limit).await, [""; 0]);
        assert_eq!(listed(None, None, limit).await.len(), 11);
    }
    assert_eq!(desk.list("ben", ConversationFilter { archived: Some(true), kind: None }, 10).await, []);
}

async fn a_walk_over_a_list_misses_nothing_that_stays_in_its_place(offer: Offer) {
    let desk = ten(&offer).await;
    for limit in [1, 2, 4] {
        let (mut page, mut seen, mut round) = (Page::first(limit), Vec::new(), 0_u64);
        let moving = ["g0", "g3", "g9"];
        loop {
            let part =
                desk.store.list(&sample::user("ann"), &ConversationFilter::default(), &page).await.unwrap();
            seen.extend(part.items.iter().map(|mine| mine.conversation.id.to_string()));
            desk.clock.advance(Duration::from_secs(1));
            round += 1;
            for name in moving {
                desk.touch(&sample::conversation(name), desk.clock.now().as_millis() + round).await;
            }
            desk.make(&sample::group(&format!("new {limit} {round}"), &["ann"])).await;
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        let stays: Vec<_> = seen.iter().filter(|name| !moving.contains(&name.as_str())).collect();
        let stays: Vec<_> = stays.into_iter().filter(|name| !name.starts_with("new")).collect();
        assert_eq!(stays, ["g8", "g7", "g6", "g5", "g4", "g2", "g1"], "by {limit}");
        let once: BTreeSet<_> = seen.iter().collect();
        assert_eq!(once.len(), seen.len(), "none twice");
    }
}

async fn the_active_ones_are_those_with_a_message_since_then_newest_first(offer: Offer) {
    let desk = ten(&offer).await;
    let long_ago = desk.clock.now();
    assert_eq!(desk.active(Timestamp::EPOCH, 10).await, [""; 0], "nothing was said anywhere");
    desk.touch(&sample::conversation("g7"), 1).await;
    desk.clock.advance(Duration::from_secs(60));
    let lately = desk.clock.now();
    let (direct, channel) = (direct("eve", "ben"), sample::group("channel", &["max"]));
    desk.make(&direct).await;
    desk.make(&NewConversation { kind: ConversationKind::Channel, ..channel.clone() }).await;
    for id in [sample::conversation("g3"), channel.id, sample::conversation("g5"), direct.id.clone()] {
        desk.touch(&id, 1).await;
        desk.clock.advance(Duration::from_secs(1));
    }
    desk.touch(&sample::conversation("g3"), 2).await;
    let (by, put_away) = (sample::user("ann"), Change::Archive(true));
    desk.store.change(&sample::conversation("g5"), &by, &put_away).await.unwrap();
    let direct = direct.id.to_string();
    let newest = ["g3", &direct, "g5", "channel"];
    assert_eq!(desk.active(lately, 10).await, newest, "g7 was active before");
    assert_eq!(desk.active(Timestamp::EPOCH, 10).await, [&newest[..], &["g7"]].concat());
    assert_eq!(desk.active(long_ago, 10).await.last().unwrap(), "g7", "that moment is in it");
    let after = long_ago.after(Duration::from_millis(1));
    assert_eq!(desk.active(after, 10).await, newest, "and the one before the next is not");
    assert_eq!(desk.active(desk.clock.now().after(Duration::from_millis(1)), 10).await, [""; 0]);
    let found = desk.store.active(lately, &Page::first(1)).await.unwrap().items;
    let there = desk.store.get(&sample::conversation("g3")).await.unwrap();
    assert_eq!(found, [there.unwrap()], "as it is");
}

async fn the_active_ones_come_in_pages_of_any_size(offer: Offer) {
    let desk = ten(&offer).await;
    // Several at one moment: a cursor made of times alone would skip some.
    for some in [[8, 1, 4], [0, 9, 5]] {
        for nth in some {
            desk.touch(&sample::conversation(&format!("g{nth}")), 1).await;
        }
        desk.clock.advance(Duration::from_secs(1));
    }
    for limit in [1, 2, 3, 5, 6, 7] {
        let found = desk.active(Timestamp::EPOCH, limit).await;
        assert_eq!(found, ["g0", "g5", "g9", "g1", "g4", "g8"], "by {limit}");
    }
    for limit in [0, MAX_PAGE + 1] {
        refused(desk.store.active(Timestamp::EPOCH, &Page::first(limit)).await, Code::PageInvalid);
    }
}

async fn a_walk_over_the_active_ones_and_one_since_it_began_miss_nothing(offer: Offer) {
    let desk = ten(&offer).await;
    for nth in 0..10 {
        desk.touch(&sample::conversation(&format!("g{nth}")), 1).await;
        desk.clock.advance(Duration::from_secs(1));
    }
    let (moving, since) = (["g0", "g3", "g9"], Timestamp::EPOCH);
    for limit in [1, 2, 4] {
        let (began, mut page, mut seen) = (desk.clock.now(), Page::first(limit), Vec::new());
        loop {
            let part = desk.store.active(since, &page).await.unwrap();
            seen.extend(part.items.iter().map(|conversation| conversation.id.to_string()));
            for name in moving {
                desk.touch(&sample::conversation(name), desk.clock.now().as_millis()).await;
            }
            let new = sample::group(&format!("new {limit} {}", seen.len()), &["ann"]);
            desk.make(&new).await;
            desk.touch(&new.id, 1).await;
            desk.clock.advance(Duration::from_secs(1));
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(once.len(), seen.len(), "none twice: {seen:?}");
        let stay = |name: &&String| !moving.contains(&name.as_str()) && !name.starts_with("new");
        assert!(
            seen.iter().filter(stay).eq(["g8", "g7", "g6", "g5", "g4", "g2", "g1"]),
            "by {limit}: {seen:?}"
        );
        let late: BTreeSet<_> = desk.active(began, limit).await.into_iter().collect();
        let all: BTreeSet<_> = desk.active(since, MAX_PAGE).await.into_iter().collect();
        assert_eq!(once.union(&late).cloned().collect::<BTreeSet<_>>(), all, "by {limit}");
    }
}

async fn activity_is_a_maximum_and_writes_no_event(offer: Offer) {
    let desk = Desk::with(&offer, &["ann"]).await;
    let made = desk.get().await;
    let start = desk.clock.now();
    let activity = |seq: u64| LastActivity {
        at: start.after(Duration::from_secs(seq)),
        seq: Seq(seq),
        message_id: Some(sample::message(&format!("m{seq}"))),
    };
    desk.store.touch_many(&[]).await.unwrap();
    let nowhere = sample::conversation("nowhere");
    let batch = [(nowhere, activity(9)), (desk.id.clone(), activity(3)), (desk.id.clone(), activity(2))];
    desk.store.touch_many(&batch).await.unwrap();
    assert_eq!(desk.get().await, Conversation { last_activity: activity(3), ..made.clone() });
    let mut order: Vec<_> = (1..=40).collect();
    order.rotate_left(17);
    at_once(8, |nth| {
        let desk = Arc::clone(&desk);
        let mine: Vec<_> =
            order.iter().skip(nth).step_by(8).map(|seq| (desk.id.clone(), activity(*seq))).collect();
        async move { desk.store.touch_many(&mine).await.unwrap() }
    })
    .await;
    assert_eq!(desk.get().await, Conversation { last_activity: activity(40), ..made });
    assert_eq!(desk.events().await, []);
}

// Everything together

async fn every_change_writes_exactly_one_event_and_no_change_writes_none(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    desk.clock.advance(Duration::from_secs(60));
    let (now, id) = (desk.clock.now(), desk.id.clone());
    let version = desk.get().await.version;
    let (ann, ben, eve) = (sample::user("ann"), sample::user("ben"), sample::user("eve"));
    let until: Timestamp = now.after(Duration::from_secs(5));
    let picture = Some("https://pictures.invalid/5".to_owned());
    // Everything twice: a repeat writes no second event.
    for (by, change) in [
        ("ann", Change::Rename("New".to_owned())),
        ("ben", Change::SetAvatar(picture.clone())),
        ("ann", add(&["eve"])),
        ("ann", role("eve", RoomRole::Admin)),
        ("ben", Change::Archive(true)),
        ("ben", Change::Archive(false)),
        ("ben", Change::Mute(Some(Mute::Until(until)))),
        ("ben", Change::Mute(Some(Mute::Always))),
        ("ben", Change::Mute(None)),
        ("ben", Change::Pin(true)),
        ("ben", Change::Pin(false)),
        ("ann", remove("ben")),
        ("eve", leave()),
    ] {
        desk.try_change(by, change.clone()).await.unwrap();
        desk.try_change(by, change).await.unwrap();
    }
    let conversation_id = || id.clone();
    let named = |name: &str| Some(format!("The one called {name}"));
    let own = |user: &UserId| ConversationArchived { conversation_id: id.clone(), user_id: user.clone() };
    let muted = |until| ConversationMuted { conversation_id: id.clone(), user_id: ben.clone(), until };
    let ConversationArchived { conversation_id: here, user_id } = own(&ben);
    let expected: Vec<Event> = vec![
        ConversationNameUpdated {
            conversation_id: conversation_id(),
            name: "New".to_owned(),
            updated_by: ann.clone(),
            version: version + 1,
        }
        .into(),
        ConversationAvatarUpdated {
            conversation_id: conversation_id(),
            avatar: picture,
            updated_by: ben.clone(),
            version: version + 2,
        }
        .into(),
        ParticipantAdded {
            conversation_id: conversation_id(),
            participant_id: eve.clone(),
            participant_name: named("eve"),
            added_by: ann.clone(),
            role: RoomRole::Member,
            added_at: now,
            total_participants: 3,
            version: version + 3,
        }
        .into(),
        ParticipantRoleChanged {
            conversation_id: conversation_id(),
            participant_id: eve.clone(),
            role: RoomRole::Admin,
            changed_by: ann.clone(),
            version: version + 4,
        }
        .into(),
        own(&ben).into(),
        ConversationUnarchived { conversation_id: here.clone(), user_id: user_id.clone() }.into(),
        muted(Some(until)).into(),
        muted(None).into(),
        ConversationUnmuted { conversation_id: here.clone(), user_id: user_id.clone() }.into(),
        ConversationPinned { conversation_id: here.clone(), user_id: user_id.clone() }.into(),
        ConversationUnpinned { conversation_id: here, user_id }.into(),
        ParticipantRemoved {
            conversation_id: conversation_id(),
            participant_id: ben.clone(),
            participant_name: named("ben"),
            removed_by: ann.clone(),
            removed_at: now,
            total_participants: 2,
            version: version + 5,
        }
        .into(),
        ParticipantLeft {
            conversation_id: conversation_id(),
            participant_id: eve,
            participant_name: Some("One of us".to_owned()),
            left_at: now,
            total_participants: 1,
            version: version + 6,
        }
        .into(),
    ];
    let written = drained(&*desk.outbox).await;
    assert!(written.iter().all(|envelope| envelope.key() == "g" && envelope.at == now));
    let ids: BTreeSet<_> = written.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), written.len(), "every change has an id of its own");
    for (nth, (envelope, event)) in written.iter().zip(&expected).enumerate() {
        assert_eq!(&envelope.event, event, "number {nth}");
    }
    assert_eq!(written.len(), expected.len());
}

async fn hostile_ids_are_only_ids(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = sample::hostile_ids();
    // Each is the name of a group and of a user; the nth user is in the first n groups.
    for (nth, name) in names.iter().enumerate() {
        let members: Vec<_> = names.iter().skip(nth).map(String::as_str).collect();
        desk.make(&sample::group(name, &members)).await;
    }
    for (nth, name) in names.iter().enumerate() {
        let user = sample::user(name);
        let mine: BTreeSet<_> = desk.listed(name).await.into_iter().collect();
        assert_eq!(mine, names.iter().take(nth + 1).cloned().collect::<BTreeSet<_>>(), "{name:?}");
        let id = sample::conversation(name);
        let mut expected: Vec<_> = names.iter().skip(nth).cloned().collect();
        expected.sort();
        assert_eq!(desk.walked(&id, 4).await, expected, "{name:?}");
        desk.store.change(&id, &user, &Change::Pin(true)).await.unwrap();
    }
    for name in &names {
        let pinned = desk.list(name, ConversationFilter::default(), 5).await;
        let pinned: Vec<_> = pinned.iter().filter(|mine| mine.settings.pinned).collect();
        assert!(pinned.iter().map(|mine| mine.conversation.id.as_str()).eq([name]), "{name:?}");
    }
    let written = drained(&*desk.outbox).await;
    for name in &names {
        let mine =
            written.iter().filter(|envelope| envelope.key() == *name).filter_map(|envelope| envelope.kind());
        assert!(mine.eq([EventKind::ConversationCreated, EventKind::ConversationPinned]), "{name:?}");
    }
    assert!(desk.store.create(&direct(&names[0], &names[1])).await.unwrap().created);
}

async fn an_outage_is_never_an_empty_answer(offer: Offer) {
    let desk = Desk::with(&offer, &["ann", "ben"]).await;
    let outage = offer.outage.expect("an outage");
    let (store, id, ann) = (&desk.store, &desk.id, sample::user("ann"));
    let before = desk.get().await;
    let activity = LastActivity { at: desk.clock.now(), seq: Seq(1), message_id: None };
    outage.begin();
    unavailable(store.create(&sample::group("h", &["ann"])).await);
    unavailable(store.get_many(std::slice::from_ref(id)).await);
    unavailable(store.get(id).await);
    for change in [Change::Rename("New".to_owned()), add(&["eve"]), remove("ben"), Change::Pin(true)] {
        unavailable(store.change(id, &ann, &change).await);
    }
    unavailable(store.members_by_id(id, std::slice::from_ref(&ann)).await);
    unavailable(store.member(id, &sample::user("nobody")).await);
    unavailable(store.members(id, &Page::first(10)).await);
    unavailable(store.first_members(std::slice::from_ref(id), 10).await);
    unavailable(store.list(&sample::user("nobody"), &ConversationFilter::default(), &Page::first(10)).await);
    unavailable(store.memberships(&ann, std::slice::from_ref(id)).await);
    unavailable(store.active(Timestamp::EPOCH, &Page::first(10)).await);
    unavailable(store.touch_many(&[(id.clone(), activity)]).await);
    outage.end();
    assert_eq!(desk.get().await, before, "nothing changed meanwhile");
    assert_eq!(desk.names().await, ["ann", "ben"]);
    assert_eq!(desk.listed("ann").await, ["g"]);
    assert_eq!(desk.events().await, []);
}
