//! Promises of the `rooms` port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::{Page, RoomId, RoomRole, Transition, UserId};
use chat_core::error::Code;
use chat_core::store::presence::Connect;
use chat_core::store::rooms::{
    NewRoom, REMOVAL_MEMORY, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomPeak, RoomState,
    RoomStats,
};
use chat_core::store::{PresenceStore, RoomStore, RoomStoreExt};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::model::rooms::agrees_with_the_model_on_random_histories;
use crate::run::checks;
use crate::sample::{hostile_ids, room, session, user};
use crate::walk::{eventually, walk};

checks! { "rooms" needs [rooms]:
    a_new_room_is_as_it_was_asked_for,
    a_room_and_its_first_members_come_together,
    nobody_sees_a_room_without_its_first_members,
    first_members_may_fill_a_room_and_no_more,
    first_members_without_a_role_are_none,
    creating_the_same_room_again_changes_nothing,
    a_different_room_of_the_same_id_is_a_conflict,
    of_racing_creators_one_wins,
    answers_line_up_with_the_question,
    an_empty_batch_is_an_empty_answer,
    a_room_that_is_not_there_is_not_found,
    a_member_is_known_on_both_sides,
    joining_twice_is_one_membership,
    leaving_a_room_one_is_not_in_changes_nothing,
    a_new_role_keeps_the_membership,
    coming_back_is_a_new_membership,
    changes_of_a_batch_follow_each_other,
    a_large_batch_is_applied_whole,
    an_older_change_is_outdated,
    the_last_version_is_remembered_though_nothing_changed,
    a_late_join_does_not_undo_a_removal,
    a_removal_is_remembered_for_its_time,
    a_removal_of_nobody_is_remembered_too,
    version_zero_is_always_applied,
    versions_are_apart_per_member_and_room,
    a_full_room_lets_nobody_else_in,
    a_full_room_still_changes_its_members,
    the_limit_holds_under_racing_joins,
    the_limit_holds_while_members_come_and_go,
    of_racing_joins_of_one_user_one_changes,
    both_sides_agree_after_racing_changes,
    roles_are_of_members_only,
    roles_of_an_unknown_room_are_unknown,
    a_page_has_a_limit,
    pages_of_every_size_tell_the_same,
    a_page_begins_after_somebody_who_left,
    members_who_stay_are_listed_once_while_others_come_and_go,
    rooms_of_a_user_are_listed_once_while_others_come_and_go,
    hostile_ids_reach_nobody_else,
    online_are_members_with_a_session + presence,
    whoever_lapsed_is_not_online + presence,
    whoever_left_is_not_online_there + presence,
    online_tells_of_one_instant + presence,
    online_who_stay_are_listed_once_while_others_come_and_go + presence,
    the_numbers_add_up + presence,
    the_numbers_tell_of_one_instant + presence,
    the_peak_is_the_most_that_were_online_and_when + presence,
    the_peak_covers_every_count_answered + presence,
    only_a_change_is_activity,
    a_touch_is_activity,
    unknown_rooms_are_passed_over,
    a_room_is_idle_and_then_archived_at_its_time,
    a_room_that_is_touched_is_active_again,
    a_change_wakes_a_room,
    ageing_hands_out_no_more_than_asked_for,
    each_step_is_handed_to_one_of_racing_callers,
    a_touch_racing_the_ageing_leaves_the_room_active,
    ageing_deletes_nothing,
    removals_are_forgotten_while_others_come_and_go,
    a_deleted_room_is_gone_on_both_sides,
    of_racing_deletions_one_wins,
    a_room_made_again_begins_anew,
    both_sides_agree_after_racing_deletions,
    an_outage_is_never_an_empty_room + presence + outage,
    agrees_with_the_model_on_random_histories + presence,
}

const MILLI: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MEMBER: RoomRole = RoomRole::Member;
const MODERATOR: RoomRole = RoomRole::Moderator;
const ADMIN: RoomRole = RoomRole::Admin;

fn rooms(offer: &Offer) -> Arc<dyn RoomStore> {
    offer.rooms.clone().expect("rooms")
}

fn presence(offer: &Offer) -> Arc<dyn PresenceStore> {
    offer.presence.clone().expect("presence")
}

fn new(name: &str) -> NewRoom {
    NewRoom { id: room(name), kind: "group".to_owned(), name: None, max_members: None, members: Vec::new() }
}

fn with_limit(name: &str, max: u32) -> NewRoom {
    NewRoom { max_members: Some(max), ..new(name) }
}

/// A room with these members, whose truth is at version 1.
fn with_members<N: AsRef<str>>(name: &str, members: &[N]) -> NewRoom {
    NewRoom { members: members.iter().map(|member| join(member.as_ref(), 1)).collect(), ..new(name) }
}

fn change(name: &str, role: impl Into<Option<RoomRole>>, version: u64) -> RoomChange {
    RoomChange { user: user(name), role: role.into(), version }
}

fn join(name: &str, version: u64) -> RoomChange {
    change(name, MEMBER, version)
}

fn leave(name: &str, version: u64) -> RoomChange {
    change(name, None, version)
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth:04}")).collect()
}

async fn made(rooms: &dyn RoomStore, new: &NewRoom) -> RoomId {
    assert!(rooms.create(new).await.unwrap(), "{new:?} was there before");
    new.id.clone()
}

/// What became of one change.
async fn became(rooms: &dyn RoomStore, room: &RoomId, change: RoomChange) -> RoomChanged {
    let outcomes = rooms.change_members(room, &[change]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

async fn info(rooms: &dyn RoomStore, room: &RoomId) -> Room {
    rooms.get(room).await.unwrap().expect("a room")
}

async fn members(rooms: &dyn RoomStore, room: &RoomId) -> Vec<RoomMember> {
    walk(1_000, |page| async move { rooms.members(room, &page).await }).await
}

/// Who is in a room; everybody is listed once.
async fn names(rooms: &dyn RoomStore, room: &RoomId) -> BTreeSet<String> {
    as_set(members(rooms, room).await.into_iter().map(|member| member.user))
}

async fn online(rooms: &dyn RoomStore, room: &RoomId) -> BTreeSet<String> {
    as_set(walk(1_000, |page| async move { rooms.online(room, &page).await }).await)
}

async fn rooms_of(rooms: &dyn RoomStore, name: &str) -> BTreeSet<String> {
    let user = &user(name);
    let found = walk(1_000, |page| async move { rooms.rooms_of(user, &page).await }).await;
    let names: BTreeSet<_> = found.iter().map(|room| room.as_str().to_owned()).collect();
    assert_eq!(names.len(), found.len(), "a room is listed twice: {found:?}");
    names
}

/// The index is allowed to lag, and nothing else.
async fn rooms_become<N: AsRef<str> + Sync>(rooms: &dyn RoomStore, name: &str, expected: &[N]) {
    let expected = set(expected);
    eventually(&format!("{name:?} is in {expected:?}"), || async { rooms_of(rooms, name).await == expected })
        .await;
}

/// Every room lists exactly those users who list it.
async fn sides_agree(rooms: &dyn RoomStore, all_rooms: &[String], all_users: &[String]) {
    for name in all_users {
        let mut expected = Vec::new();
        for id in all_rooms {
            let role = rooms.roles(&room(id), &[user(name)]).await.unwrap();
            if role.is_some_and(|roles| roles[0].is_some()) {
                expected.push(id);
            }
        }
        rooms_become(rooms, name, &expected).await;
    }
    for id in all_rooms {
        let Some(found) = rooms.get(&room(id)).await.unwrap() else { continue };
        let listed = names(rooms, &found.id).await;
        assert_eq!(found.members, listed.len() as u64, "{id}");
        let asked: Vec<_> = all_users.iter().map(|name| user(name)).collect();
        let roles = rooms.roles(&found.id, &asked).await.unwrap().expect("a room");
        for (name, role) in all_users.iter().zip(roles) {
            assert_eq!(role.is_some(), listed.contains(name), "{name} in {id}");
        }
    }
}

fn set<N: AsRef<str>>(names: &[N]) -> BTreeSet<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}

#[track_caller]
fn as_set(found: impl IntoIterator<Item = UserId>) -> BTreeSet<String> {
    let found: Vec<_> = found.into_iter().map(|user| user.as_str().to_owned()).collect();
    let names: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(names.len(), found.len(), "somebody is listed twice: {found:?}");
    names
}

async fn connect(presence: &dyn PresenceStore, name: &str, device: &str, lease: Duration) -> Transition {
    let connect =
        Connect { user: user(name), session: session(&format!("{name}-{device}")), device: None, lease };
    presence.connect(&connect).await.unwrap()
}

async fn disconnect(presence: &dyn PresenceStore, name: &str, device: &str) -> Transition {
    presence.disconnect(&user(name), &session(&format!("{name}-{device}"))).await.unwrap()
}

/// Runs `task` again and again until `meanwhile` is done.
async fn during<F, M>(task: impl Fn(usize) -> F + Send + 'static, meanwhile: M)
where
    F: Future<Output = ()> + Send,
    M: Future<Output = ()>,
{
    let done = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut round = 0;
            while !done.load(Ordering::SeqCst) {
                task(round).await;
                round += 1;
                tokio::task::yield_now().await;
            }
        }
    });
    meanwhile.await;
    done.store(true, Ordering::SeqCst);
    busy.await.expect("a task of the check");
}

async fn a_new_room_is_as_it_was_asked_for(offer: Offer) {
    let (rooms, now) = (rooms(&offer), offer.clock.now());
    let texts = ["group", "", "a:b", "{}", "日本", "\0\r\n\"'\\", "null"];
    for (nth, text) in texts.into_iter().enumerate() {
        for (limit, max_members) in [None, Some(1), Some(u32::MAX)].into_iter().enumerate() {
            for name in [None, Some(text.to_owned())] {
                let id = room(&format!("{nth}-{limit}-{}", name.is_some()));
                let new =
                    NewRoom { id: id.clone(), kind: text.to_owned(), name, max_members, members: Vec::new() };
                assert!(rooms.create(&new).await.unwrap());
                let expected = Room {
                    id: id.clone(),
                    kind: text.to_owned(),
                    name: new.name.clone(),
                    max_members,
                    members: 0,
                    state: RoomState::Active,
                    created_at: now,
                    last_activity: now,
                };
                assert_eq!(rooms.get(&id).await.unwrap(), Some(expected));
                assert_eq!(members(&*rooms, &id).await, []);
            }
        }
    }
}

async fn a_room_and_its_first_members_come_together(offer: Offer) {
    let (rooms, now) = (rooms(&offer), offer.clock.now());
    let first = vec![change("ann", ADMIN, 7), change("ben", MODERATOR, 0), change("cid", MEMBER, 7)];
    let r = made(&*rooms, &NewRoom { members: first, ..new("r") }).await;
    assert_eq!(info(&*rooms, &r).await.members, 3);
    let roles = rooms.roles(&r, &users(&["cid", "ann", "dan", "ben"])).await.unwrap();
    assert_eq!(roles, Some(vec![Some(MEMBER), Some(ADMIN), None, Some(MODERATOR)]));
    let found = members(&*rooms, &r).await;
    assert!(found.iter().all(|member| member.joined_at == now));
    assert_eq!(as_set(found.into_iter().map(|member| member.user)), set(&["ann", "ben", "cid"]));
    for name in ["ann", "ben", "cid"] {
        rooms_become(&*rooms, name, &["r"]).await;
    }
    assert_eq!(
        became(&*rooms, &r, change("ann", MEMBER, 6)).await,
        RoomChanged::Outdated,
        "their versions count"
    );
    assert_eq!(became(&*rooms, &r, leave("ann", 7)).await, RoomChanged::Changed);
}

async fn nobody_sees_a_room_without_its_first_members(offer: Offer) {
    let rooms = rooms(&offer);
    for round in 0..20 {
        let new = with_members(&format!("r{round}"), &numbered("u", 20));
        let asked: Vec<_> = new.members.iter().map(|member| member.user.clone()).collect();
        at_once(8, |nth| {
            let (rooms, new, asked) = (Arc::clone(&rooms), new.clone(), asked.clone());
            async move {
                match nth {
                    7 => assert!(rooms.create(&new).await.unwrap()),
                    _ if nth % 2 == 0 => loop {
                        match rooms.roles(&new.id, &asked).await.unwrap() {
                            None => tokio::task::yield_now().await,
                            Some(roles) => {
                                assert!(
                                    roles.iter().all(Option::is_some),
                                    "a room without somebody: {roles:?}"
                                );
                                break;
                            }
                        }
                    },
                    _ => loop {
                        match rooms.get(&new.id).await.unwrap() {
                            None => tokio::task::yield_now().await,
                            Some(found) => {
                                assert_eq!(found.members, 20);
                                break;
                            }
                        }
                    },
                }
            }
        })
        .await;
    }
}

async fn first_members_may_fill_a_room_and_no_more(offer: Offer) {
    let rooms = rooms(&offer);
    let r =
        made(&*rooms, &NewRoom { max_members: Some(3), ..with_members("r", &["ann", "ben", "cid"]) }).await;
    assert_eq!(became(&*rooms, &r, join("dan", 1)).await, RoomChanged::Full);
    let too_many = NewRoom { max_members: Some(2), ..with_members("s", &["ann", "ben", "cid"]) };
    for _ in 0..2 {
        refused(rooms.create(&too_many).await, Code::RoomFull);
        assert_eq!(rooms.get(&too_many.id).await.unwrap(), None);
        assert_eq!(rooms.roles(&too_many.id, &users(&["ann"])).await.unwrap(), None);
    }
    rooms_become(&*rooms, "ann", &["r"]).await;
    // The same one twice is one, and those without a role are none.
    let members = vec![join("ann", 1), change("ann", ADMIN, 2), join("ben", 1), leave("cid", 1)];
    let s = made(&*rooms, &NewRoom { members, ..too_many }).await;
    assert_eq!(names(&*rooms, &s).await, set(&["ann", "ben"]));
    assert_eq!(rooms.roles(&s, &users(&["ann"])).await.unwrap(), Some(vec![Some(ADMIN)]));
}

async fn first_members_without_a_role_are_none(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &NewRoom { members: vec![leave("ann", 3), leave("ben", 0)], ..new("r") }).await;
    assert_eq!(info(&*rooms, &r).await.members, 0);
    assert_eq!(members(&*rooms, &r).await, []);
    rooms_become::<&str>(&*rooms, "ann", &[]).await;
}

async fn creating_the_same_room_again_changes_nothing(offer: Offer) {
    let rooms = rooms(&offer);
    let first =
        NewRoom { name: Some("n".to_owned()), max_members: Some(9), ..with_members("r", &["ann", "ben"]) };
    let r = made(&*rooms, &first).await;
    became(&*rooms, &r, leave("ben", 2)).await;
    became(&*rooms, &r, change("ann", ADMIN, 2)).await;
    let (before, who) = (info(&*rooms, &r).await, members(&*rooms, &r).await);
    offer.clock.advance(MINUTE);
    for members in [first.members.clone(), Vec::new(), vec![join("cid", 9)]] {
        assert!(!rooms.create(&NewRoom { members, ..first.clone() }).await.unwrap());
        assert_eq!(info(&*rooms, &r).await, before);
        assert_eq!(self::members(&*rooms, &r).await, who, "the members stay as they are");
    }
    rooms_become::<&str>(&*rooms, "ben", &[]).await;
    rooms_become::<&str>(&*rooms, "cid", &[]).await;
}

async fn a_different_room_of_the_same_id_is_a_conflict(offer: Offer) {
    let rooms = rooms(&offer);
    let first = NewRoom { name: Some(String::new()), ..with_members("r", &["ann"]) };
    let r = made(&*rooms, &first).await;
    let before = info(&*rooms, &r).await;
    let others = [
        NewRoom { kind: "channel".to_owned(), ..first.clone() },
        NewRoom { kind: "Group".to_owned(), ..first.clone() },
        NewRoom { name: None, ..first.clone() },
        NewRoom { name: Some("n".to_owned()), ..first.clone() },
        NewRoom { max_members: Some(9), ..first.clone() },
    ];
    for other in others {
        let other = NewRoom { members: vec![join("eve", 1)], ..other };
        refused(rooms.create(&other).await, Code::Conflict);
        assert_eq!(info(&*rooms, &r).await, before, "{other:?}");
        assert_eq!(names(&*rooms, &r).await, set(&["ann"]));
    }
    rooms_become::<&str>(&*rooms, "eve", &[]).await;
    assert!(!rooms.create(&first).await.unwrap());
    let limited = made(&*rooms, &with_limit("s", 5)).await;
    for other in [with_limit("s", 6), new("s")] {
        refused(rooms.create(&other).await, Code::Conflict);
        assert_eq!(info(&*rooms, &limited).await.max_members, Some(5));
    }
}

async fn of_racing_creators_one_wins(offer: Offer) {
    let rooms = rooms(&offer);
    for round in 0..10 {
        let name = format!("r{round}");
        let made = at_once(16, |nth| {
            let (rooms, new) =
                (Arc::clone(&rooms), with_members(&name, &[format!("a{nth}"), format!("b{nth}")]));
            async move { rooms.create(&new).await.unwrap() }
        })
        .await;
        let winners: Vec<_> = (0..made.len()).filter(|nth| made[*nth]).collect();
        let [winner] = winners[..] else { panic!("made by {winners:?}") };
        assert_eq!(names(&*rooms, &room(&name)).await, set(&[format!("a{winner}"), format!("b{winner}")]));
    }
    let all_rooms: Vec<_> = (0..10).map(|round| format!("r{round}")).collect();
    let all_users: Vec<_> = (0..16).flat_map(|nth| [format!("a{nth}"), format!("b{nth}")]).collect();
    sides_agree(&*rooms, &all_rooms, &all_users).await;
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let rooms = rooms(&offer);
    for (name, limit) in [("a", 1), ("b", 2), ("c", 3)] {
        made(&*rooms, &with_limit(name, limit)).await;
    }
    let found = rooms.get_many(&["c", "x", "a", "c", "y", "b"].map(room)).await.unwrap();
    let limits: Vec<_> = found.iter().map(|room| room.as_ref().and_then(|room| room.max_members)).collect();
    assert_eq!(limits, [Some(3), None, Some(1), Some(3), None, Some(2)]);
    let changes =
        [join("ann", 5), join("ben", 5), leave("dan", 5), join("ann", 5), join("cid", 5), join("ben", 4)];
    let outcomes = rooms.change_members(&room("b"), &changes).await.unwrap();
    use RoomChanged::{Changed, Full, Outdated, Unchanged};
    assert_eq!(outcomes, [Changed, Changed, Unchanged, Unchanged, Full, Outdated]);
    let roles = rooms.roles(&room("b"), &users(&["cid", "ben", "ann", "ben"])).await.unwrap();
    assert_eq!(roles, Some(vec![None, Some(MEMBER), Some(MEMBER), Some(MEMBER)]));
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    assert_eq!(rooms.get_many(&[]).await.unwrap(), []);
    assert_eq!(rooms.change_members(&r, &[]).await.unwrap(), []);
    assert_eq!(rooms.roles(&r, &[]).await.unwrap(), Some(Vec::new()));
    rooms.touch_many(&[]).await.unwrap();
    assert_eq!(rooms.age(MINUTE, MINUTE, 10).await.unwrap(), []);
}

async fn a_room_that_is_not_there_is_not_found(offer: Offer) {
    let (rooms, r) = (rooms(&offer), room("r"));
    made(&*rooms, &with_members("r2", &["ann"])).await;
    for _ in 0..2 {
        assert_eq!(rooms.get(&r).await.unwrap(), None);
        refused(rooms.change_members(&r, &[join("ann", 1)]).await, Code::RoomNotFound);
        refused(rooms.join(&r, &user("ann"), ADMIN).await, Code::RoomNotFound);
        refused(rooms.leave(&r, &user("ann")).await, Code::RoomNotFound);
        refused(rooms.members(&r, &Page::first(10)).await, Code::RoomNotFound);
        refused(rooms.online(&r, &Page::first(10)).await, Code::RoomNotFound);
        refused(rooms.stats(&r).await, Code::RoomNotFound);
        assert!(!rooms.delete(&r).await.unwrap());
    }
    rooms_become(&*rooms, "ann", &["r2"]).await;
}

async fn a_member_is_known_on_both_sides(offer: Offer) {
    let rooms = rooms(&offer);
    for name in ["r", "s"] {
        made(&*rooms, &new(name)).await;
    }
    assert_eq!(rooms_of(&*rooms, "ann").await, set::<&str>(&[]), "nobody knows her yet");
    offer.clock.advance(MINUTE);
    let now = offer.clock.now();
    assert_eq!(rooms.join(&room("r"), &user("ann"), MODERATOR).await.unwrap(), RoomChanged::Changed);
    let ann = RoomMember { user: user("ann"), role: MODERATOR, joined_at: now };
    assert_eq!(members(&*rooms, &room("r")).await, [ann]);
    assert_eq!(info(&*rooms, &room("r")).await.members, 1);
    rooms_become(&*rooms, "ann", &["r"]).await;
    assert_eq!(rooms.join(&room("s"), &user("ann"), MEMBER).await.unwrap(), RoomChanged::Changed);
    rooms_become(&*rooms, "ann", &["r", "s"]).await;
    assert_eq!(rooms.leave(&room("r"), &user("ann")).await.unwrap(), RoomChanged::Changed);
    assert_eq!(members(&*rooms, &room("r")).await, []);
    assert_eq!(info(&*rooms, &room("r")).await.members, 0);
    rooms_become(&*rooms, "ann", &["s"]).await;
    assert_eq!(names(&*rooms, &room("s")).await, set(&["ann"]), "she only left one of them");
}

async fn joining_twice_is_one_membership(offer: Offer) {
    let (rooms, since) = (rooms(&offer), offer.clock.now());
    let r = made(&*rooms, &new("r")).await;
    for version in [0, 1] {
        let name = format!("ann{version}");
        assert_eq!(became(&*rooms, &r, join(&name, version)).await, RoomChanged::Changed);
    }
    for version in [0, 1, 1, 2, 0] {
        offer.clock.advance(MINUTE);
        for name in ["ann0", "ann1"] {
            assert_eq!(became(&*rooms, &r, join(name, version)).await, RoomChanged::Unchanged);
        }
        let found = members(&*rooms, &r).await;
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|member| member.joined_at == since), "{found:?}");
        assert_eq!(info(&*rooms, &r).await.members, 2);
    }
    rooms_become(&*rooms, "ann0", &["r"]).await;
}

async fn leaving_a_room_one_is_not_in_changes_nothing(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    assert_eq!(became(&*rooms, &r, leave("cid", 0)).await, RoomChanged::Unchanged);
    assert_eq!(became(&*rooms, &r, leave("ann", 2)).await, RoomChanged::Changed);
    for version in [2, 2, 0, 3] {
        assert_eq!(became(&*rooms, &r, leave("ann", version)).await, RoomChanged::Unchanged);
        assert_eq!(names(&*rooms, &r).await, set(&["ben"]));
        assert_eq!(info(&*rooms, &r).await.members, 1);
    }
    rooms_become::<&str>(&*rooms, "ann", &[]).await;
}

async fn a_new_role_keeps_the_membership(offer: Offer) {
    let (rooms, since) = (rooms(&offer), offer.clock.now());
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    for (role, version) in [(ADMIN, 2), (MEMBER, 3), (MODERATOR, 3), (ADMIN, 0)] {
        offer.clock.advance(MINUTE);
        assert_eq!(became(&*rooms, &r, change("ann", role, version)).await, RoomChanged::Changed);
        assert_eq!(became(&*rooms, &r, change("ann", role, version)).await, RoomChanged::Unchanged);
        let roles = rooms.roles(&r, &users(&["ann", "ben"])).await.unwrap();
        assert_eq!(roles, Some(vec![Some(role), Some(MEMBER)]));
        let found = members(&*rooms, &r).await;
        let ann = found.iter().find(|member| member.user == user("ann")).expect("a member");
        assert_eq!((ann.role, ann.joined_at, found.len()), (role, since, 2));
    }
    rooms_become(&*rooms, "ann", &["r"]).await;
}

async fn coming_back_is_a_new_membership(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &NewRoom { members: vec![change("ann", ADMIN, 1)], ..new("r") }).await;
    became(&*rooms, &r, leave("ann", 2)).await;
    offer.clock.advance(MINUTE);
    assert_eq!(became(&*rooms, &r, join("ann", 3)).await, RoomChanged::Changed);
    let ann = RoomMember { user: user("ann"), role: MEMBER, joined_at: offer.clock.now() };
    assert_eq!(members(&*rooms, &r).await, [ann]);
    rooms_become(&*rooms, "ann", &["r"]).await;
}

async fn changes_of_a_batch_follow_each_other(offer: Offer) {
    use RoomChanged::{Changed, Full, Outdated, Unchanged};
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_limit("r", 1)).await;
    let changes = [
        join("ann", 1),
        join("ben", 1),
        change("ann", ADMIN, 2),
        change("ann", MODERATOR, 1),
        leave("ann", 3),
        join("ben", 1),
        join("ann", 2),
        join("ann", 4),
        leave("ben", 1),
        join("ann", 5),
    ];
    let outcomes = rooms.change_members(&r, &changes).await.unwrap();
    let expected = [Changed, Full, Changed, Outdated, Changed, Changed, Outdated, Full, Changed, Changed];
    assert_eq!(outcomes, expected);
    assert_eq!(names(&*rooms, &r).await, set(&["ann"]));
    assert_eq!(became(&*rooms, &r, join("ann", 5)).await, Unchanged);
    rooms_become(&*rooms, "ann", &["r"]).await;
    rooms_become::<&str>(&*rooms, "ben", &[]).await;
}

async fn a_large_batch_is_applied_whole(offer: Offer) {
    let rooms = rooms(&offer);
    let all = numbered("u", 1_001);
    let changes: Vec<_> = all.iter().map(|name| join(name, 1)).collect();
    let r = made(&*rooms, &new("r")).await;
    assert_eq!(rooms.change_members(&r, &changes).await.unwrap(), vec![RoomChanged::Changed; 1_001]);
    let s = made(&*rooms, &with_members("s", &all)).await;
    for id in [&r, &s] {
        assert_eq!(info(&*rooms, id).await.members, 1_001);
        assert_eq!(names(&*rooms, id).await, set(&all));
        let asked: Vec<_> = changes.iter().map(|change| change.user.clone()).collect();
        assert_eq!(rooms.roles(id, &asked).await.unwrap(), Some(vec![Some(MEMBER); 1_001]));
    }
    assert_eq!(rooms.members(&r, &Page::first(1_000)).await.unwrap().items.len(), 1_000);
    rooms_become(&*rooms, &all[1_000], &["r", "s"]).await;
    assert!(rooms.delete(&r).await.unwrap());
    for name in [&all[0], &all[500], &all[1_000]] {
        rooms_become(&*rooms, name, &["s"]).await;
    }
}

async fn an_older_change_is_outdated(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    assert_eq!(became(&*rooms, &r, change("ann", MODERATOR, 10)).await, RoomChanged::Changed);
    let before = (members(&*rooms, &r).await, info(&*rooms, &r).await);
    offer.clock.advance(MINUTE);
    for version in [1, 9] {
        for role in [None, Some(MEMBER), Some(MODERATOR), Some(ADMIN)] {
            assert_eq!(
                became(&*rooms, &r, change("ann", role, version)).await,
                RoomChanged::Outdated,
                "{role:?}"
            );
            assert_eq!((members(&*rooms, &r).await, info(&*rooms, &r).await), before, "nothing changed");
        }
    }
    assert_eq!(
        became(&*rooms, &r, change("ann", ADMIN, 10)).await,
        RoomChanged::Changed,
        "as old is not older"
    );
    assert_eq!(became(&*rooms, &r, leave("ann", u64::MAX)).await, RoomChanged::Changed);
    assert_eq!(
        became(&*rooms, &r, join("ann", u64::MAX - 1)).await,
        RoomChanged::Outdated,
        "every bit counts"
    );
    assert_eq!(became(&*rooms, &r, join("ann", u64::MAX)).await, RoomChanged::Changed);
}

async fn the_last_version_is_remembered_though_nothing_changed(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann"])).await;
    assert_eq!(became(&*rooms, &r, join("ann", 10)).await, RoomChanged::Unchanged);
    assert_eq!(became(&*rooms, &r, leave("ann", 9)).await, RoomChanged::Outdated);
    assert_eq!(became(&*rooms, &r, leave("ann", 11)).await, RoomChanged::Changed);
    assert_eq!(became(&*rooms, &r, leave("ann", 20)).await, RoomChanged::Unchanged);
    assert_eq!(became(&*rooms, &r, join("ann", 19)).await, RoomChanged::Outdated);
    assert_eq!(became(&*rooms, &r, join("ann", 20)).await, RoomChanged::Changed);
}

async fn a_late_join_does_not_undo_a_removal(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    assert_eq!(became(&*rooms, &r, leave("ann", 5)).await, RoomChanged::Changed);
    for version in [1, 4] {
        assert_eq!(became(&*rooms, &r, join("ann", version)).await, RoomChanged::Outdated);
        assert_eq!(names(&*rooms, &r).await, set(&["ben"]));
    }
    assert_eq!(became(&*rooms, &r, leave("ann", 4)).await, RoomChanged::Outdated);
    rooms_become::<&str>(&*rooms, "ann", &[]).await;
    assert_eq!(became(&*rooms, &r, join("ann", 6)).await, RoomChanged::Changed);
    assert_eq!(
        became(&*rooms, &r, leave("ann", 5)).await,
        RoomChanged::Outdated,
        "nor a late removal a join"
    );
    assert_eq!(names(&*rooms, &r).await, set(&["ann", "ben"]));
}

async fn a_removal_is_remembered_for_its_time(offer: Offer) {
    let rooms = rooms(&offer);
    let everybody = ["ann", "ben", "cid"];
    let r = made(&*rooms, &with_members("r", &everybody)).await;
    for (name, version) in [("ann", 5), ("ben", 5), ("cid", 1)] {
        became(&*rooms, &r, leave(name, version)).await;
    }
    offer.clock.advance(REMOVAL_MEMORY / 2);
    assert_eq!(became(&*rooms, &r, join("cid", 5)).await, RoomChanged::Changed);
    assert_eq!(became(&*rooms, &r, leave("cid", 5)).await, RoomChanged::Changed);
    offer.clock.advance(REMOVAL_MEMORY / 2 - MILLI);
    assert_eq!(became(&*rooms, &r, join("ann", 4)).await, RoomChanged::Outdated, "a millisecond before");
    offer.clock.advance(MILLI);
    assert_eq!(became(&*rooms, &r, join("ann", 4)).await, RoomChanged::Changed, "at the end");
    assert_eq!(became(&*rooms, &r, join("cid", 4)).await, RoomChanged::Outdated, "removed later");
    offer.clock.advance(REMOVAL_MEMORY / 2 - MILLI);
    assert_eq!(became(&*rooms, &r, join("cid", 4)).await, RoomChanged::Outdated);
    offer.clock.advance(MILLI);
    assert_eq!(became(&*rooms, &r, join("cid", 4)).await, RoomChanged::Changed);
    offer.clock.advance(REMOVAL_MEMORY);
    assert_eq!(became(&*rooms, &r, join("ben", 1)).await, RoomChanged::Changed, "long after it");
    assert_eq!(
        became(&*rooms, &r, leave("ann", 3)).await,
        RoomChanged::Outdated,
        "a member's version does not end"
    );
    assert_eq!(names(&*rooms, &r).await, set(&everybody));
}

async fn a_removal_of_nobody_is_remembered_too(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    assert_eq!(became(&*rooms, &r, leave("ann", 5)).await, RoomChanged::Unchanged);
    assert_eq!(
        became(&*rooms, &r, join("ann", 4)).await,
        RoomChanged::Outdated,
        "the removal overtook the join"
    );
    assert_eq!(members(&*rooms, &r).await, []);
    assert_eq!(became(&*rooms, &r, join("ann", 5)).await, RoomChanged::Changed);
}

async fn version_zero_is_always_applied(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &NewRoom { members: vec![change("ann", ADMIN, 10)], ..new("r") }).await;
    assert_eq!(became(&*rooms, &r, change("ann", MEMBER, 0)).await, RoomChanged::Changed);
    assert_eq!(
        became(&*rooms, &r, change("ann", ADMIN, 9)).await,
        RoomChanged::Outdated,
        "the newer one is known yet"
    );
    assert_eq!(became(&*rooms, &r, leave("ann", 0)).await, RoomChanged::Changed);
    assert_eq!(became(&*rooms, &r, join("ann", 9)).await, RoomChanged::Outdated, "after the removal too");
    assert_eq!(became(&*rooms, &r, join("ann", 0)).await, RoomChanged::Changed);
    assert_eq!(became(&*rooms, &r, leave("ann", 9)).await, RoomChanged::Outdated);
    assert_eq!(became(&*rooms, &r, leave("ann", 10)).await, RoomChanged::Changed);
    for _ in 0..3 {
        assert_eq!(rooms.join(&r, &user("ben"), MEMBER).await.unwrap(), RoomChanged::Changed);
        assert_eq!(rooms.join(&r, &user("ben"), ADMIN).await.unwrap(), RoomChanged::Changed);
        assert_eq!(rooms.leave(&r, &user("ben")).await.unwrap(), RoomChanged::Changed);
    }
    assert_eq!(members(&*rooms, &r).await, []);
}

async fn versions_are_apart_per_member_and_room(offer: Offer) {
    let rooms = rooms(&offer);
    let (r, s) = (made(&*rooms, &new("r")).await, made(&*rooms, &new("s")).await);
    became(&*rooms, &r, join("ann", 100)).await;
    became(&*rooms, &r, leave("ben", 100)).await;
    for (id, name) in [(&r, "cid"), (&s, "ann"), (&s, "ben")] {
        assert_eq!(became(&*rooms, id, join(name, 1)).await, RoomChanged::Changed, "{name} in {id}");
        assert_eq!(became(&*rooms, id, leave(name, 2)).await, RoomChanged::Changed, "{name} in {id}");
    }
    assert_eq!(names(&*rooms, &r).await, set(&["ann"]));
    assert_eq!(became(&*rooms, &r, join("ben", 2)).await, RoomChanged::Outdated);
}

async fn a_full_room_lets_nobody_else_in(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_limit("r", 2)).await;
    for name in ["ann", "ben"] {
        assert_eq!(became(&*rooms, &r, join(name, 1)).await, RoomChanged::Changed);
    }
    let before = (members(&*rooms, &r).await, info(&*rooms, &r).await);
    offer.clock.advance(MINUTE);
    for version in [0, 1, 9] {
        assert_eq!(became(&*rooms, &r, join("cid", version)).await, RoomChanged::Full);
        assert_eq!((members(&*rooms, &r).await, info(&*rooms, &r).await), before);
    }
    rooms_become::<&str>(&*rooms, "cid", &[]).await;
    assert_eq!(became(&*rooms, &r, leave("ann", 2)).await, RoomChanged::Changed);
    assert_eq!(
        became(&*rooms, &r, join("cid", 1)).await,
        RoomChanged::Changed,
        "one place is free, and what found none is not a version that is known"
    );
    assert_eq!(became(&*rooms, &r, join("ann", 3)).await, RoomChanged::Full);
    assert_eq!(names(&*rooms, &r).await, set(&["ben", "cid"]));
}

async fn a_full_room_still_changes_its_members(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &NewRoom { max_members: Some(2), ..with_members("r", &["ann", "ben"]) }).await;
    assert_eq!(became(&*rooms, &r, join("ann", 2)).await, RoomChanged::Unchanged);
    assert_eq!(became(&*rooms, &r, change("ann", ADMIN, 3)).await, RoomChanged::Changed);
    assert_eq!(became(&*rooms, &r, change("ann", MEMBER, 2)).await, RoomChanged::Outdated);
    let swap = [leave("ben", 2), join("cid", 1)];
    assert_eq!(rooms.change_members(&r, &swap).await.unwrap(), [RoomChanged::Changed; 2]);
    assert_eq!(names(&*rooms, &r).await, set(&["ann", "cid"]));
}

async fn the_limit_holds_under_racing_joins(offer: Offer) {
    const LIMIT: usize = 10;
    let rooms = rooms(&offer);
    for round in 0..5 {
        let r = made(&*rooms, &with_limit(&format!("r{round}"), 10)).await;
        let outcomes = at_once(64, |nth| {
            let (rooms, r) = (Arc::clone(&rooms), r.clone());
            async move { became(&*rooms, &r, join(&format!("u{nth}"), nth as u64 % 2)).await }
        })
        .await;
        let inside: Vec<_> = (0..64).filter(|nth| outcomes[*nth] == RoomChanged::Changed).collect();
        assert_eq!(inside.len(), LIMIT, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == RoomChanged::Full).count(), 64 - LIMIT);
        let expected: Vec<_> = inside.iter().map(|nth| format!("u{nth}")).collect();
        assert_eq!(names(&*rooms, &r).await, set(&expected), "those who were told so are in");
        assert_eq!(info(&*rooms, &r).await.members, LIMIT as u64);
    }
    let all_rooms: Vec<_> = (0..5).map(|round| format!("r{round}")).collect();
    let all_users: Vec<_> = (0..64).map(|nth| format!("u{nth}")).collect();
    sides_agree(&*rooms, &all_rooms, &all_users).await;
}

async fn the_limit_holds_while_members_come_and_go(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_limit("r", 5)).await;
    at_once(64, |nth| {
        let (rooms, r, name) = (Arc::clone(&rooms), r.clone(), format!("u{nth}"));
        async move {
            for _ in 0..10 {
                if became(&*rooms, &r, join(&name, 0)).await == RoomChanged::Changed {
                    let found = info(&*rooms, &r).await.members;
                    assert!((1..=5).contains(&found), "{found} members");
                    assert!(names(&*rooms, &r).await.len() <= 5);
                    if nth % 4 != 0 {
                        assert_eq!(became(&*rooms, &r, leave(&name, 0)).await, RoomChanged::Changed);
                    }
                }
            }
        }
    })
    .await;
    let all_users: Vec<_> = (0..64).map(|nth| format!("u{nth}")).collect();
    sides_agree(&*rooms, &["r".to_owned()], &all_users).await;
}

async fn of_racing_joins_of_one_user_one_changes(offer: Offer) {
    let rooms = rooms(&offer);
    for round in 0..10 {
        let r = made(&*rooms, &with_limit(&format!("r{round}"), 2)).await;
        for (step, role) in [(1, Some(MEMBER)), (2, None)] {
            let outcomes = at_once(16, |_| {
                let (rooms, r) = (Arc::clone(&rooms), r.clone());
                async move { became(&*rooms, &r, change("ann", role, step)).await }
            })
            .await;
            let changed = outcomes.iter().filter(|outcome| **outcome == RoomChanged::Changed).count();
            assert_eq!(changed, 1, "{outcomes:?}");
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == RoomChanged::Unchanged).count(), 15);
            assert_eq!(info(&*rooms, &r).await.members, u64::from(role.is_some()));
        }
    }
}

async fn both_sides_agree_after_racing_changes(offer: Offer) {
    let rooms = rooms(&offer);
    let (all_rooms, all_users) = (numbered("r", 4), numbered("u", 6));
    for (nth, name) in all_rooms.iter().enumerate() {
        made(&*rooms, &if nth % 2 == 0 { new(name) } else { with_limit(name, 3) }).await;
    }
    at_once(32, |nth| {
        let (rooms, all_rooms, all_users) = (Arc::clone(&rooms), all_rooms.clone(), all_users.clone());
        async move {
            for step in 0..20 {
                let name = &all_users[(nth + step) % all_users.len()];
                let role = ((nth + step) % 3 != 0).then_some(if step % 2 == 0 { MEMBER } else { ADMIN });
                let version = if nth % 2 == 0 { 0 } else { (step * nth) as u64 % 7 + 1 };
                let r = room(&all_rooms[(nth * 5 + step) % all_rooms.len()]);
                let also = join(&all_users[step % all_users.len()], 0);
                let outcomes = rooms.change_members(&r, &[change(name, role, version), also]).await.unwrap();
                assert_eq!(outcomes.len(), 2);
            }
        }
    })
    .await;
    sides_agree(&*rooms, &all_rooms, &all_users).await;
}

async fn roles_are_of_members_only(offer: Offer) {
    let rooms = rooms(&offer);
    let members = RoomRole::ALL.into_iter().map(|role| change(role.as_str(), role, 1)).collect();
    let r = made(&*rooms, &NewRoom { members, ..new("r") }).await;
    let asked = users(&["admin", "nobody", "member", "admin", "moderator"]);
    let expected = vec![Some(ADMIN), None, Some(MEMBER), Some(ADMIN), Some(MODERATOR)];
    assert_eq!(rooms.roles(&r, &asked).await.unwrap(), Some(expected));
    became(&*rooms, &r, leave("admin", 2)).await;
    let expected = vec![None, None, Some(MEMBER), None, Some(MODERATOR)];
    assert_eq!(
        rooms.roles(&r, &asked).await.unwrap(),
        Some(expected),
        "out as soon as the removal is answered"
    );
}

async fn roles_of_an_unknown_room_are_unknown(offer: Offer) {
    let rooms = rooms(&offer);
    for asked in [users(&["ann", "ben"]), users(&[])] {
        assert_eq!(rooms.roles(&room("r"), &asked).await.unwrap(), None, "the truth has to be asked");
    }
    let r = made(&*rooms, &new("r")).await;
    assert_eq!(
        rooms.roles(&r, &users(&["ann", "ben"])).await.unwrap(),
        Some(vec![None, None]),
        "an empty room is known"
    );
    became(&*rooms, &r, join("ann", 0)).await;
    became(&*rooms, &r, leave("ann", 0)).await;
    assert_eq!(
        rooms.roles(&r, &users(&["ann"])).await.unwrap(),
        Some(vec![None]),
        "a room all have left too"
    );
    rooms.delete(&r).await.unwrap();
    assert_eq!(rooms.roles(&r, &users(&["ann"])).await.unwrap(), None);
}

async fn a_page_has_a_limit(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    for limit in [0, 1_001, usize::MAX] {
        refused(rooms.members(&r, &Page::first(limit)).await, Code::PageInvalid);
        refused(rooms.online(&r, &Page::first(limit)).await, Code::PageInvalid);
        refused(rooms.rooms_of(&user("ann"), &Page::first(limit)).await, Code::PageInvalid);
        refused(rooms.members(&r, &Page::after(user("ann"), limit)).await, Code::PageInvalid);
        refused(rooms.rooms_of(&user("nobody"), &Page::after(room("a"), limit)).await, Code::PageInvalid);
    }
    for limit in [1, 1_000] {
        assert!(rooms.members(&r, &Page::first(limit)).await.is_ok());
        assert!(rooms.online(&r, &Page::first(limit)).await.is_ok());
        assert!(rooms.rooms_of(&user("ann"), &Page::first(limit)).await.is_ok());
    }
}

async fn pages_of_every_size_tell_the_same(offer: Offer) {
    let rooms = rooms(&offer);
    let everybody = ["u10", "u9", "U9", "é", "a:b", "{}", "u1"];
    let r = made(&*rooms, &with_members("r", &everybody)).await;
    for name in everybody {
        made(&*rooms, &with_members(name, &["ann"])).await;
    }
    rooms_become(&*rooms, "ann", &everybody).await;
    let (mut who, mut of_ann) = (Vec::new(), Vec::new());
    for limit in [1, 2, 7, 1_000] {
        let (rooms, r, ann) = (&rooms, &r, &user("ann"));
        who.push(walk(limit, |page| async move { rooms.members(r, &page).await }).await);
        of_ann.push(walk(limit, |page| async move { rooms.rooms_of(ann, &page).await }).await);
    }
    assert_eq!(as_set(who[0].iter().map(|member| member.user.clone())), set(&everybody));
    assert_eq!(of_ann[0].len(), everybody.len());
    assert!(who.iter().all(|again| *again == who[0]), "in a stable order: {who:?}");
    assert!(of_ann.iter().all(|again| *again == of_ann[0]), "in a stable order: {of_ann:?}");
    assert_eq!(rooms.rooms_of(&user("nobody"), &Page::first(10)).await.unwrap().next, None);
}

async fn a_page_begins_after_somebody_who_left(offer: Offer) {
    let rooms = rooms(&offer);
    let everybody = numbered("u", 6);
    let r = made(&*rooms, &with_members("r", &everybody)).await;
    for name in &everybody {
        made(&*rooms, &with_members(name, &["ann"])).await;
    }
    rooms_become(&*rooms, "ann", &everybody).await;
    let first = rooms.members(&r, &Page::first(3)).await.unwrap();
    let whole = members(&*rooms, &r).await;
    let last_seen = first.items.last().expect("a member").user.clone();
    became(&*rooms, &r, leave(last_seen.as_str(), 2)).await;
    let cursor = first.next.expect("a second page");
    let rest = rooms.members(&r, &Page::after(cursor, 1_000)).await.unwrap();
    assert_eq!(rest.items, whole[first.items.len()..]);
    let first = rooms.rooms_of(&user("ann"), &Page::first(3)).await.unwrap();
    rooms.delete(first.items.last().expect("a room")).await.unwrap();
    let rest =
        rooms.rooms_of(&user("ann"), &Page::after(first.next.expect("a second page"), 1_000)).await.unwrap();
    assert_eq!((first.items.len() + rest.items.len(), rest.next), (6, None));
}

async fn members_who_stay_are_listed_once_while_others_come_and_go(offer: Offer) {
    let rooms = rooms(&offer);
    let stay: Vec<_> = (0..20).map(|nth| format!("u{nth:02}5")).collect();
    let r = made(&*rooms, &with_members("r", &stay)).await;
    let churn = churn(&rooms, &r, "u");
    during(churn, async {
        for nth in 0..30 {
            let (rooms, r) = (&rooms, &r);
            let seen = walk(1 + nth % 7, |page| async move { rooms.members(r, &page).await }).await;
            for name in &stay {
                let times = seen.iter().filter(|member| member.user.as_str() == name).count();
                assert_eq!(times, 1, "{name} in {seen:?}");
            }
        }
    })
    .await;
}

/// Lets some in and out of a room, between those called `<prefix>??5`.
fn churn(
    rooms: &Arc<dyn RoomStore>,
    r: &RoomId,
    prefix: &str,
) -> impl Fn(usize) -> futures::future::BoxFuture<'static, ()> + Send + 'static {
    let (rooms, r, prefix) = (Arc::clone(rooms), r.clone(), prefix.to_owned());
    move |round| {
        let (rooms, r) = (Arc::clone(&rooms), r.clone());
        let names: Vec<_> =
            [2, 7].iter().map(|digit| format!("{prefix}{:02}{digit}", round * 7 % 20)).collect();
        Box::pin(async move {
            let come: Vec<_> = names.iter().map(|name| join(name, 0)).collect();
            rooms.change_members(&r, &come).await.unwrap();
            let go: Vec<_> = names.iter().map(|name| leave(name, 0)).collect();
            rooms.change_members(&r, &go).await.unwrap();
        })
    }
}

async fn rooms_of_a_user_are_listed_once_while_others_come_and_go(offer: Offer) {
    let rooms = rooms(&offer);
    let stay: Vec<_> = (0..20).map(|nth| format!("r{nth:02}5")).collect();
    for name in &stay {
        made(&*rooms, &with_members(name, &["ann"])).await;
    }
    for nth in 0..20 {
        made(&*rooms, &new(&format!("r{nth:02}2"))).await;
    }
    rooms_become(&*rooms, "ann", &stay).await;
    let churn = {
        let rooms = Arc::clone(&rooms);
        move |round: usize| {
            let rooms = Arc::clone(&rooms);
            async move {
                let there = room(&format!("r{:02}2", round * 7 % 20));
                became(&*rooms, &there, join("ann", 0)).await;
                let fleeting = format!("r{:02}7", round * 7 % 20);
                rooms.create(&with_members(&fleeting, &["ann"])).await.unwrap();
                became(&*rooms, &there, leave("ann", 0)).await;
                rooms.delete(&room(&fleeting)).await.unwrap();
            }
        }
    };
    during(churn, async {
        for nth in 0..30 {
            let (rooms, ann) = (&rooms, &user("ann"));
            let seen = walk(1 + nth % 7, |page| async move { rooms.rooms_of(ann, &page).await }).await;
            for name in &stay {
                assert_eq!(seen.iter().filter(|room| room.as_str() == name).count(), 1, "{name} in {seen:?}");
            }
        }
    })
    .await;
    rooms_become(&*rooms, "ann", &stay).await;
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let rooms = rooms(&offer);
    let mut ids = hostile_ids();
    ids.extend(["a", "b", "a:b:c", "b:c", "a:", ":a", "a{", "a}"].map(str::to_owned));
    let asked: Vec<_> = ids.iter().map(|id| user(id)).collect();
    // Everybody is in the room of the same id and in the next one.
    let is_in = |user: usize, room: usize| user == room || (user + 1) % ids.len() == room;
    for (nth, id) in ids.iter().enumerate() {
        let kind = format!("kind {nth}");
        let members = vec![change(id, RoomRole::ALL[nth % 3], 1)];
        assert!(rooms.create(&NewRoom { kind, members, ..new(id) }).await.unwrap(), "{id:?}");
    }
    for (nth, id) in ids.iter().enumerate() {
        let next = &ids[(nth + 1) % ids.len()];
        assert_eq!(
            became(&*rooms, &room(next), join(id, 1)).await,
            RoomChanged::Changed,
            "{id:?} in {next:?}"
        );
    }
    for (nth, id) in ids.iter().enumerate() {
        assert_eq!(info(&*rooms, &room(id)).await.kind, format!("kind {nth}"));
        let roles = rooms.roles(&room(id), &asked).await.unwrap().expect("a room");
        for (other, role) in roles.iter().enumerate() {
            let expected =
                if other == nth { Some(RoomRole::ALL[nth % 3]) } else { is_in(other, nth).then_some(MEMBER) };
            assert_eq!(*role, expected, "{:?} in {id:?}", ids[other]);
        }
        let before = &ids[(nth + ids.len() - 1) % ids.len()];
        assert_eq!(names(&*rooms, &room(id)).await, set(&[id, before]), "{id:?}");
        rooms_become(&*rooms, id, &[id, &ids[(nth + 1) % ids.len()]]).await;
    }
    for (nth, id) in ids.iter().enumerate() {
        let members: u64 = if nth == 0 { 2 } else { 1 };
        assert_eq!(info(&*rooms, &room(id)).await.members, members, "{id:?}");
        assert_eq!(became(&*rooms, &room(id), leave(id, 2)).await, RoomChanged::Changed, "{id:?}");
        let next = &ids[(nth + 1) % ids.len()];
        if nth + 1 < ids.len() {
            assert_eq!(became(&*rooms, &room(next), leave(id, 2)).await, RoomChanged::Changed, "{id:?}");
        }
    }
    assert_eq!(names(&*rooms, &room(&ids[0])).await, set(&[&ids[ids.len() - 1]]));
    for (nth, id) in ids.iter().enumerate() {
        assert!(rooms.delete(&room(id)).await.unwrap(), "{id:?}");
        let left: Vec<_> = rooms.get_many(&ids.iter().map(|id| room(id)).collect::<Vec<_>>()).await.unwrap();
        let expected: Vec<_> = (0..ids.len()).map(|other| other > nth).collect();
        assert_eq!(
            left.iter().map(Option::is_some).collect::<Vec<_>>(),
            expected,
            "after {id:?} was deleted"
        );
    }
}

async fn online_are_members_with_a_session(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let (r, s) = (
        made(&*rooms, &with_members("r", &["ann", "ben", "cid"])).await,
        made(&*rooms, &with_members("s", &["cid"])).await,
    );
    assert_eq!(online(&*rooms, &r).await, set::<&str>(&[]));
    for name in ["ann", "cid", "stranger"] {
        connect(&*presence, name, "phone", HOUR).await;
    }
    assert_eq!(online(&*rooms, &r).await, set(&["ann", "cid"]));
    assert_eq!(online(&*rooms, &s).await, set(&["cid"]));
    connect(&*presence, "ann", "web", HOUR).await;
    disconnect(&*presence, "ann", "phone").await;
    assert_eq!(online(&*rooms, &r).await, set(&["ann", "cid"]), "one session is enough");
    disconnect(&*presence, "ann", "web").await;
    assert_eq!(online(&*rooms, &r).await, set(&["cid"]));
    became(&*rooms, &r, join("stranger", 1)).await;
    assert_eq!(online(&*rooms, &r).await, set(&["cid", "stranger"]), "whoever joins may be online already");
    connect(&*presence, "ben", "phone", HOUR).await;
    let mut found = Vec::new();
    for limit in [1, 2, 3, 1_000] {
        let (rooms, r) = (&rooms, &r);
        found.push(walk(limit, |page| async move { rooms.online(r, &page).await }).await);
    }
    assert_eq!(as_set(found[0].clone()), set(&["ben", "cid", "stranger"]));
    assert!(found.iter().all(|again| *again == found[0]), "in a stable order: {found:?}");
}

async fn whoever_lapsed_is_not_online(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    connect(&*presence, "ann", "phone", MINUTE).await;
    connect(&*presence, "ben", "phone", MINUTE * 2).await;
    offer.clock.advance(MINUTE - MILLI);
    assert_eq!(online(&*rooms, &r).await, set(&["ann", "ben"]));
    assert_eq!(rooms.stats(&r).await.unwrap().online, 2);
    offer.clock.advance(MILLI);
    assert_eq!(online(&*rooms, &r).await, set(&["ben"]), "whether or not anybody has swept");
    assert_eq!(rooms.stats(&r).await.unwrap().online, 1);
    presence.sweep(10).await.unwrap();
    assert_eq!(online(&*rooms, &r).await, set(&["ben"]));
    connect(&*presence, "ann", "phone", MINUTE * 2).await;
    assert_eq!(online(&*rooms, &r).await, set(&["ann", "ben"]));
    offer.clock.advance(MINUTE);
    assert_eq!(online(&*rooms, &r).await, set(&["ann"]));
    let asked = users(&["ann", "ben"]);
    assert_eq!(presence.are_online(&asked).await.unwrap(), [true, false], "presence says the same");
}

async fn whoever_left_is_not_online_there(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    let s = made(&*rooms, &with_members("s", &["ann"])).await;
    connect(&*presence, "ann", "phone", HOUR).await;
    became(&*rooms, &r, leave("ann", 2)).await;
    assert_eq!(online(&*rooms, &r).await, set::<&str>(&[]));
    assert_eq!(rooms.stats(&r).await.unwrap().online, 0);
    assert_eq!(online(&*rooms, &s).await, set(&["ann"]));
    rooms.delete(&s).await.unwrap();
    refused(rooms.online(&s, &Page::first(10)).await, Code::RoomNotFound);
    made(&*rooms, &new("s")).await;
    assert_eq!(online(&*rooms, &s).await, set::<&str>(&[]));
    became(&*rooms, &s, join("ann", 0)).await;
    assert_eq!(online(&*rooms, &s).await, set(&["ann"]));
}

async fn online_tells_of_one_instant(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    // In the one at least one is online at every instant, in the other at most one.
    let overlap = made(&*rooms, &with_members("overlap", &["ann", "ben"])).await;
    let gap = made(&*rooms, &with_members("gap", &["cid", "dan"])).await;
    // Here everybody is online, and at every instant one or two are members.
    let guests = made(&*rooms, &with_members("guests", &["eve"])).await;
    // Here nobody is online while a member.
    let shy = made(&*rooms, &with_members("shy", &["gil"])).await;
    connect(&*presence, "ann", "x", HOUR).await;
    for name in ["eve", "fay"] {
        connect(&*presence, name, "x", HOUR).await;
    }
    let shift = {
        let (rooms, presence) = (Arc::clone(&rooms), Arc::clone(&presence));
        let (guests, shy) = (guests.clone(), shy.clone());
        move |round: usize| {
            let (rooms, presence) = (Arc::clone(&rooms), Arc::clone(&presence));
            let (guests, shy) = (guests.clone(), shy.clone());
            let turn = move |names: [&'static str; 2]| (names[round % 2], names[(round + 1) % 2]);
            async move {
                let (here, other) = turn(["ann", "ben"]);
                connect(&*presence, other, "x", HOUR).await;
                disconnect(&*presence, here, "x").await;
                let (here, other) = turn(["cid", "dan"]);
                disconnect(&*presence, here, "x").await;
                connect(&*presence, other, "x", HOUR).await;
                let (here, other) = turn(["eve", "fay"]);
                became(&*rooms, &guests, join(other, 0)).await;
                became(&*rooms, &guests, leave(here, 0)).await;
                became(&*rooms, &shy, leave("gil", 0)).await;
                connect(&*presence, "gil", "x", HOUR).await;
                disconnect(&*presence, "gil", "x").await;
                became(&*rooms, &shy, join("gil", 0)).await;
            }
        }
    };
    during(shift, async {
        for _ in 0..200 {
            let found = online(&*rooms, &overlap).await;
            assert!(!found.is_empty(), "nobody, though ann or ben was online all the time");
            let found = online(&*rooms, &gap).await;
            assert!(found.len() < 2, "{found:?} were never online at once");
            let found = online(&*rooms, &guests).await;
            assert!(!found.is_empty(), "nobody, though eve or fay was in all the time");
            for _ in 0..10 {
                let found = online(&*rooms, &shy).await;
                assert!(found.is_empty(), "gil was never online while a member");
            }
            for (id, allowed) in [(&overlap, 1..=2), (&gap, 0..=1), (&guests, 1..=2), (&shy, 0..=0)] {
                let found = rooms.stats(id).await.unwrap();
                assert!(allowed.contains(&found.online), "{found:?} in {id}");
                assert!(allowed.contains(&found.peak.online), "{found:?} in {id}");
            }
        }
    })
    .await;
}

async fn online_who_stay_are_listed_once_while_others_come_and_go(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let stay: Vec<_> = (0..20).map(|nth| format!("u{nth:02}5")).collect();
    let fickle: Vec<_> = (0..20).map(|nth| format!("u{nth:02}3")).collect();
    let r = made(&*rooms, &with_members("r", &[&stay[..], &fickle[..]].concat())).await;
    for name in &stay {
        connect(&*presence, name, "x", HOUR).await;
    }
    let churn = {
        let (members, presence) = (churn(&rooms, &r, "u"), Arc::clone(&presence));
        move |round: usize| {
            let (members, presence, name) =
                (members(round), Arc::clone(&presence), fickle[round * 7 % 20].clone());
            async move {
                connect(&*presence, &name, "x", HOUR).await;
                members.await;
                disconnect(&*presence, &name, "x").await;
            }
        }
    };
    during(churn, async {
        for nth in 0..30 {
            let (rooms, r) = (&rooms, &r);
            let seen = walk(1 + nth % 7, |page| async move { rooms.online(r, &page).await }).await;
            for name in &stay {
                assert_eq!(seen.iter().filter(|user| user.as_str() == name).count(), 1, "{name} in {seen:?}");
            }
        }
    })
    .await;
    assert_eq!(online(&*rooms, &r).await, set(&stay));
}

async fn the_numbers_add_up(offer: Offer) {
    let (rooms, presence, now) = (rooms(&offer), presence(&offer), offer.clock.now());
    let r = made(&*rooms, &new("r")).await;
    let none = RoomStats { members: 0, online: 0, peak: RoomPeak::default(), roles: BTreeMap::new() };
    assert_eq!(counted(&*rooms, &r).await, none);
    let changes = [change("ann", ADMIN, 1), join("ben", 1), join("cid", 1), change("dan", MODERATOR, 1)];
    rooms.change_members(&r, &changes).await.unwrap();
    let roles = BTreeMap::from([(MEMBER, 2), (MODERATOR, 1), (ADMIN, 1)]);
    assert_eq!(counted(&*rooms, &r).await, RoomStats { members: 4, roles: roles.clone(), ..none.clone() });
    for name in ["ann", "ben", "stranger"] {
        connect(&*presence, name, "x", HOUR).await;
        connect(&*presence, name, "y", HOUR).await;
    }
    let peak = RoomPeak { online: 2, at: Some(now) };
    assert_eq!(counted(&*rooms, &r).await, RoomStats { members: 4, online: 2, peak, roles });
    let changes = [change("ben", ADMIN, 2), leave("ann", 2), leave("dan", 2), join("cid", 2)];
    rooms.change_members(&r, &changes).await.unwrap();
    let roles = BTreeMap::from([(MEMBER, 1), (ADMIN, 1)]);
    assert_eq!(counted(&*rooms, &r).await, RoomStats { members: 2, online: 1, peak, roles });
}

/// The numbers, without roles that nobody has.
async fn counted(rooms: &dyn RoomStore, room: &RoomId) -> RoomStats {
    let mut stats = rooms.stats(room).await.unwrap();
    stats.roles.retain(|_, members| *members > 0);
    stats
}

async fn the_numbers_tell_of_one_instant(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let r = made(&*rooms, &NewRoom { max_members: Some(8), ..with_members("r", &["u0", "u1"]) }).await;
    for name in ["u0", "u1"] {
        connect(&*presence, name, "x", HOUR).await;
    }
    let busy = {
        let (rooms, presence, r) = (Arc::clone(&rooms), Arc::clone(&presence), r.clone());
        move |round: usize| {
            let (rooms, presence, r) = (Arc::clone(&rooms), Arc::clone(&presence), r.clone());
            async move {
                let (name, other) = (format!("u{}", 2 + round % 6), format!("u{}", round % 2));
                let role = RoomRole::ALL[round % 3];
                rooms.change_members(&r, &[join(&name, 0), join(&format!("{name}-twin"), 0)]).await.unwrap();
                connect(&*presence, &name, "x", HOUR).await;
                became(&*rooms, &r, change(&other, role, 0)).await;
                rooms
                    .change_members(&r, &[leave(&name, 0), leave(&format!("{name}-twin"), 0)])
                    .await
                    .unwrap();
                disconnect(&*presence, &name, "x").await;
            }
        }
    };
    during(busy, async {
        for _ in 0..200 {
            let stats = rooms.stats(&r).await.unwrap();
            assert_eq!(stats.roles.values().sum::<u64>(), stats.members, "{stats:?}");
            assert!(stats.online <= stats.members && stats.online <= stats.peak.online, "{stats:?}");
            assert!((2..=3).contains(&stats.online), "{stats:?}");
            assert!((2..=4).contains(&stats.members), "{stats:?}");
        }
    })
    .await;
}

async fn the_peak_is_the_most_that_were_online_and_when(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let r = made(&*rooms, &with_members("r", &["ann", "ben", "cid", "dan"])).await;
    let s = made(&*rooms, &with_members("s", &["ann"])).await;
    let peak = |online, at| RoomPeak { online, at: Some(at) };
    assert_eq!(rooms.stats(&r).await.unwrap().peak, RoomPeak::default(), "nobody ever was");
    let mut last = RoomPeak::default();
    for (online, name) in [(1, "ann"), (2, "ben"), (3, "cid")] {
        offer.clock.advance(MINUTE);
        connect(&*presence, name, "x", HOUR).await;
        last = peak(online, offer.clock.now());
        assert_eq!(rooms.stats(&r).await.unwrap().peak, last, "this instant included");
    }
    for name in ["ben", "cid"] {
        offer.clock.advance(MINUTE);
        disconnect(&*presence, name, "x").await;
        let stats = rooms.stats(&r).await.unwrap();
        assert_eq!(stats.peak, last, "a peak does not sink");
    }
    connect(&*presence, "dan", "x", HOUR).await;
    assert_eq!(rooms.stats(&r).await.unwrap().peak, last, "nor is it moved by less");
    offer.clock.advance(HOUR * 2);
    let stats = rooms.stats(&r).await.unwrap();
    assert_eq!((stats.online, stats.peak), (0, last), "all of them lapsed");
    offer.clock.advance(MINUTE);
    for name in ["ann", "ben", "cid", "dan"] {
        connect(&*presence, name, "x", HOUR).await;
    }
    assert_eq!(online(&*rooms, &r).await.len(), 4, "seen by a listing");
    let seen = offer.clock.now();
    offer.clock.advance(MINUTE);
    for name in ["ann", "ben", "cid", "dan"] {
        disconnect(&*presence, name, "x").await;
    }
    let stats = rooms.stats(&r).await.unwrap();
    assert_eq!((stats.online, stats.peak), (0, peak(4, seen)));
    assert!(rooms.stats(&s).await.unwrap().peak.online <= 1, "every room has its own");
}

async fn the_peak_covers_every_count_answered(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let everybody = numbered("u", 16);
    let r = made(&*rooms, &with_members("r", &everybody)).await;
    let most = at_once(16, |nth| {
        let (rooms, presence, r, name) =
            (Arc::clone(&rooms), Arc::clone(&presence), r.clone(), everybody[nth].clone());
        async move {
            let mut most = 0;
            for step in 0..20 {
                if step % 2 == 0 {
                    connect(&*presence, &name, "x", HOUR).await;
                } else {
                    disconnect(&*presence, &name, "x").await;
                }
                let seen = if nth % 2 == 0 {
                    online(&*rooms, &r).await.len() as u64
                } else {
                    rooms.stats(&r).await.unwrap().online
                };
                most = seen.max(most);
                let peak = rooms.stats(&r).await.unwrap().peak;
                assert!(peak.online >= most, "{peak:?} though {most} were seen");
            }
            most
        }
    })
    .await;
    let peak = rooms.stats(&r).await.unwrap().peak;
    assert!(most.iter().all(|most| *most <= peak.online), "{peak:?} though {most:?} were seen");
    assert!(peak.online <= 16);
    assert_eq!(peak.at, Some(offer.clock.now()));
}

async fn activity(rooms: &dyn RoomStore, room: &RoomId) -> Timestamp {
    info(rooms, room).await.last_activity
}

async fn only_a_change_is_activity(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &NewRoom { max_members: Some(2), ..with_members("r", &["ann"]) }).await;
    let created = offer.clock.now();
    let mut expected = created;
    let steps = [
        (change("ann", ADMIN, 2), true),
        (change("ann", ADMIN, 3), false),
        (join("ann", 1), false),
        (leave("cid", 1), false),
        (join("ben", 1), true),
        (join("cid", 2), false),
        (leave("ann", 4), true),
        (leave("ann", 4), false),
        (join("ann", 3), false),
    ];
    for (change, counts) in steps {
        offer.clock.advance(MINUTE);
        let outcome = became(&*rooms, &r, change.clone()).await;
        assert_eq!(outcome == RoomChanged::Changed, counts, "{change:?}");
        if counts {
            expected = offer.clock.now();
        }
        assert_eq!(activity(&*rooms, &r).await, expected, "{change:?}");
    }
    offer.clock.advance(MINUTE);
    rooms.change_members(&r, &[join("ben", 1), join("dan", 1)]).await.unwrap();
    expected = offer.clock.now();
    offer.clock.advance(MINUTE);
    rooms.members(&r, &Page::first(10)).await.unwrap();
    rooms.online(&r, &Page::first(10)).await.unwrap();
    rooms.stats(&r).await.unwrap();
    rooms.roles(&r, &users(&["ann"])).await.unwrap();
    rooms.rooms_of(&user("ben"), &Page::first(10)).await.unwrap();
    let found = info(&*rooms, &r).await;
    assert_eq!(
        (found.last_activity, found.created_at),
        (expected, created),
        "one change of a batch counts, reading does not"
    );
}

async fn a_touch_is_activity(offer: Offer) {
    let rooms = rooms(&offer);
    let (r, s) = (made(&*rooms, &with_members("r", &["ann"])).await, made(&*rooms, &new("s")).await);
    let created = offer.clock.now();
    for _ in 0..3 {
        offer.clock.advance(MINUTE);
        let before = info(&*rooms, &r).await;
        rooms.touch_many(&[r.clone(), r.clone()]).await.unwrap();
        let now = offer.clock.now();
        assert_eq!(info(&*rooms, &r).await, Room { last_activity: now, ..before });
        assert_eq!(activity(&*rooms, &s).await, created, "the other was not touched");
    }
}

async fn unknown_rooms_are_passed_over(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    offer.clock.advance(MINUTE);
    rooms.touch_many(&[room("x"), r.clone(), room("y"), room("x")]).await.unwrap();
    assert_eq!(activity(&*rooms, &r).await, offer.clock.now());
    assert_eq!(rooms.get_many(&[room("x"), room("y")]).await.unwrap(), [None, None], "a touch makes no room");
    offer.clock.advance(DAY * 365);
    assert_eq!(steps(&*rooms, 10).await, [aged("r", RoomState::Idle)]);
}

const IDLE: Duration = HOUR;
const ARCHIVE: Duration = Duration::from_secs(24 * 60 * 60);

fn aged(name: &str, state: RoomState) -> RoomAged {
    RoomAged { room: room(name), state }
}

async fn steps(rooms: &dyn RoomStore, limit: usize) -> Vec<RoomAged> {
    rooms.age(IDLE, ARCHIVE, limit).await.unwrap()
}

/// Every step there is to take, in order.
async fn all_steps(rooms: &dyn RoomStore) -> Vec<RoomAged> {
    let mut all = Vec::new();
    loop {
        let some = steps(rooms, 1_000).await;
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

async fn a_room_is_idle_and_then_archived_at_its_time(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    let active = info(&*rooms, &r).await;
    let in_state = |state| Room { state, ..active.clone() };
    offer.clock.advance(IDLE - MILLI);
    assert_eq!(all_steps(&*rooms).await, [], "a millisecond before");
    assert_eq!(info(&*rooms, &r).await, active);
    offer.clock.advance(MILLI);
    assert_eq!(info(&*rooms, &r).await, active, "nobody aged it yet");
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)]);
    assert_eq!(info(&*rooms, &r).await, in_state(RoomState::Idle), "that was no activity");
    offer.clock.advance(ARCHIVE - IDLE - MILLI);
    assert_eq!(all_steps(&*rooms).await, [], "since the last activity, not since it was idle");
    offer.clock.advance(MILLI);
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Archived)]);
    assert_eq!(info(&*rooms, &r).await, in_state(RoomState::Archived));
    offer.clock.advance(ARCHIVE * 365);
    assert_eq!(all_steps(&*rooms).await, [], "the end of its life, until something happens");
    made(&*rooms, &new("s")).await;
    offer.clock.advance(ARCHIVE * 2);
    assert_eq!(
        all_steps(&*rooms).await,
        [aged("s", RoomState::Idle), aged("s", RoomState::Archived)],
        "step by step"
    );
    made(&*rooms, &new("t")).await;
    offer.clock.advance(ARCHIVE * 2);
    assert_eq!(rooms.age(Duration::MAX, Duration::MAX, 10).await.unwrap(), [], "never is a time too");
    assert_eq!(rooms.age(IDLE, Duration::MAX, usize::MAX).await.unwrap(), [aged("t", RoomState::Idle)]);
}

async fn a_room_that_is_touched_is_active_again(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &new("r")).await;
    offer.clock.advance(IDLE - MILLI);
    rooms.touch_many(std::slice::from_ref(&r)).await.unwrap();
    offer.clock.advance(IDLE - MILLI);
    assert_eq!(all_steps(&*rooms).await, [], "its time began anew");
    offer.clock.advance(MILLI);
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)]);
    for (state, wait) in [(RoomState::Idle, IDLE), (RoomState::Archived, ARCHIVE)] {
        assert_eq!(info(&*rooms, &r).await.state, state);
        rooms.touch_many(std::slice::from_ref(&r)).await.unwrap();
        let found = info(&*rooms, &r).await;
        assert_eq!((found.state, found.last_activity), (RoomState::Active, offer.clock.now()));
        assert_eq!(all_steps(&*rooms).await, []);
        offer.clock.advance(IDLE - MILLI);
        assert_eq!(all_steps(&*rooms).await, []);
        offer.clock.advance(MILLI);
        assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)], "the same step once more");
        if wait == IDLE {
            offer.clock.advance(ARCHIVE - IDLE);
            assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Archived)]);
        }
    }
}

async fn a_change_wakes_a_room(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann"])).await;
    offer.clock.advance(ARCHIVE);
    assert_eq!(all_steps(&*rooms).await.len(), 2);
    let asleep = info(&*rooms, &r).await;
    assert_eq!(became(&*rooms, &r, join("ann", 2)).await, RoomChanged::Unchanged);
    assert_eq!(became(&*rooms, &r, leave("ann", 1)).await, RoomChanged::Outdated);
    assert!(!rooms.create(&with_members("r", &["ben"])).await.unwrap());
    assert_eq!(info(&*rooms, &r).await, asleep, "nothing happened");
    assert_eq!(became(&*rooms, &r, join("ben", 2)).await, RoomChanged::Changed);
    let found = info(&*rooms, &r).await;
    assert_eq!((found.state, found.last_activity), (RoomState::Active, offer.clock.now()));
    offer.clock.advance(IDLE);
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)]);
    assert_eq!(rooms.leave(&r, &user("ben")).await.unwrap(), RoomChanged::Changed);
    assert_eq!(info(&*rooms, &r).await.state, RoomState::Active);
}

async fn ageing_hands_out_no_more_than_asked_for(offer: Offer) {
    let rooms = rooms(&offer);
    let all = numbered("r", 5);
    for name in &all {
        made(&*rooms, &new(name)).await;
    }
    offer.clock.advance(IDLE);
    assert_eq!(steps(&*rooms, 0).await, []);
    for state in [RoomState::Idle, RoomState::Archived] {
        let mut handed_out = Vec::new();
        for expected in [2, 2, 1, 0] {
            let some = steps(&*rooms, 2).await;
            assert_eq!(some.len(), expected);
            handed_out.extend(some);
        }
        assert!(handed_out.iter().all(|aged| aged.state == state), "{handed_out:?}");
        let which: BTreeSet<_> = handed_out.iter().map(|aged| aged.room.as_str().to_owned()).collect();
        assert_eq!(which, set(&all), "each once");
        offer.clock.advance(ARCHIVE);
    }
}

async fn each_step_is_handed_to_one_of_racing_callers(offer: Offer) {
    let rooms = rooms(&offer);
    let all = numbered("r", 60);
    for name in &all {
        made(&*rooms, &new(name)).await;
    }
    for (wait, state) in [(IDLE, RoomState::Idle), (ARCHIVE - IDLE, RoomState::Archived)] {
        offer.clock.advance(wait);
        let handed_out = at_once(16, |nth| {
            let rooms = Arc::clone(&rooms);
            async move {
                let mut mine = Vec::new();
                loop {
                    let some = steps(&*rooms, 1 + nth % 3).await;
                    if some.is_empty() {
                        return mine;
                    }
                    mine.extend(some);
                    tokio::task::yield_now().await;
                }
            }
        })
        .await
        .concat();
        assert_eq!(handed_out.len(), all.len(), "each step once: {handed_out:?}");
        let which: BTreeSet<_> = handed_out.iter().map(|aged| aged.room.as_str().to_owned()).collect();
        assert_eq!(which, set(&all));
        assert!(handed_out.iter().all(|aged| aged.state == state));
        for name in &all {
            assert_eq!(info(&*rooms, &room(name)).await.state, state);
        }
    }
}

async fn a_touch_racing_the_ageing_leaves_the_room_active(offer: Offer) {
    let rooms = rooms(&offer);
    for round in 0..20 {
        let name = format!("r{round}");
        let r = made(&*rooms, &with_members(&name, &["ann"])).await;
        offer.clock.advance(ARCHIVE);
        let handed_out = at_once(8, |nth| {
            let (rooms, r) = (Arc::clone(&rooms), r.clone());
            async move {
                match nth {
                    3 => rooms.touch_many(&[r]).await.map(|()| Vec::new()).unwrap(),
                    5 => rooms.change_members(&r, &[join("ben", 1)]).await.map(|_| Vec::new()).unwrap(),
                    _ => steps(&*rooms, 10).await,
                }
            }
        })
        .await
        .concat();
        assert!(handed_out.iter().filter(|aged| aged.room == r).count() <= 2, "{handed_out:?}");
        let found = info(&*rooms, &r).await;
        assert_eq!((found.state, found.last_activity), (RoomState::Active, offer.clock.now()));
        offer.clock.advance(IDLE);
        let later = all_steps(&*rooms).await;
        assert!(later.contains(&aged(&name, RoomState::Idle)), "it was not lost: {later:?}");
        assert!(rooms.delete(&r).await.unwrap());
    }
}

async fn ageing_deletes_nothing(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    let (before, who) = (info(&*rooms, &r).await, members(&*rooms, &r).await);
    for _ in 0..3 {
        offer.clock.advance(DAY * 400);
        all_steps(&*rooms).await;
        assert_eq!(info(&*rooms, &r).await, Room { state: RoomState::Archived, ..before.clone() });
        assert_eq!(members(&*rooms, &r).await, who);
        let roles = rooms.roles(&r, &users(&["ann", "cid"])).await.unwrap();
        assert_eq!(roles, Some(vec![Some(MEMBER), None]));
        rooms_become(&*rooms, "ann", &["r"]).await;
        assert_eq!(rooms.stats(&r).await.unwrap().members, 2);
    }
    assert_eq!(became(&*rooms, &r, leave("ann", 0)).await, RoomChanged::Changed);
    assert!(!rooms.create(&new("r")).await.unwrap());
}

async fn removals_are_forgotten_while_others_come_and_go(offer: Offer) {
    use RoomChanged::{Changed, Outdated, Unchanged};
    let rooms = rooms(&offer);
    let (all_rooms, gone) = (numbered("r", 4), numbered("gone", 300));
    for name in &all_rooms {
        made(&*rooms, &new(name)).await;
    }
    for round in 0..30 {
        // Many removals end at once, while in every room new ones are made.
        let leave_all: Vec<_> = gone.iter().map(|name| leave(name, 9)).collect();
        for name in &all_rooms {
            assert_eq!(
                rooms.change_members(&room(name), &leave_all).await.unwrap(),
                vec![Unchanged; gone.len()]
            );
        }
        offer.clock.advance(REMOVAL_MEMORY);
        at_once(8, |nth| {
            let (rooms, r) = (Arc::clone(&rooms), room(&all_rooms[nth % 4]));
            async move {
                for step in 0..10 {
                    let name = format!("u{nth}-{step}");
                    let come_and_go = [join(&name, 2), leave(&name, 3), join(&name, 1)];
                    let outcomes = rooms.change_members(&r, &come_and_go).await.unwrap();
                    assert_eq!(outcomes, [Changed, Changed, Outdated], "round {round}");
                }
                steps(&*rooms, 10).await;
            }
        })
        .await;
    }
    for name in &all_rooms {
        assert_eq!(info(&*rooms, &room(name)).await.members, 0);
        assert_eq!(became(&*rooms, &room(name), join(&gone[0], 8)).await, Changed);
    }
}

async fn a_deleted_room_is_gone_on_both_sides(offer: Offer) {
    let rooms = rooms(&offer);
    let r = made(&*rooms, &with_members("r", &["ann", "ben"])).await;
    let s = made(&*rooms, &with_members("s", &["ann"])).await;
    became(&*rooms, &r, leave("ben", 5)).await;
    assert!(rooms.delete(&r).await.unwrap());
    for _ in 0..2 {
        assert_eq!(rooms.get_many(&[r.clone(), s.clone()]).await.unwrap().iter().flatten().count(), 1);
        assert_eq!(rooms.roles(&r, &users(&["ann"])).await.unwrap(), None);
        refused(rooms.members(&r, &Page::first(10)).await, Code::RoomNotFound);
        refused(rooms.online(&r, &Page::first(10)).await, Code::RoomNotFound);
        refused(rooms.stats(&r).await, Code::RoomNotFound);
        refused(rooms.change_members(&r, &[join("ann", 9)]).await, Code::RoomNotFound);
        rooms_become(&*rooms, "ann", &["s"]).await;
        rooms_become::<&str>(&*rooms, "ben", &[]).await;
        assert!(!rooms.delete(&r).await.unwrap());
    }
    offer.clock.advance(ARCHIVE);
    let expected = [aged("s", RoomState::Idle), aged("s", RoomState::Archived)];
    assert_eq!(all_steps(&*rooms).await, expected, "what is gone does not age");
    assert_eq!(names(&*rooms, &s).await, set(&["ann"]));
}

async fn of_racing_deletions_one_wins(offer: Offer) {
    let rooms = rooms(&offer);
    for round in 0..10 {
        let r = made(&*rooms, &with_members(&format!("r{round}"), &["ann", "ben"])).await;
        let deleted = at_once(16, |_| {
            let (rooms, r) = (Arc::clone(&rooms), r.clone());
            async move { rooms.delete(&r).await.unwrap() }
        })
        .await;
        assert_eq!(deleted.iter().filter(|deleted| **deleted).count(), 1);
    }
    rooms_become::<&str>(&*rooms, "ann", &[]).await;
}

async fn a_room_made_again_begins_anew(offer: Offer) {
    let rooms = rooms(&offer);
    let first = NewRoom { max_members: Some(5), ..with_members("r", &["ann", "ben"]) };
    let r = made(&*rooms, &first).await;
    became(&*rooms, &r, leave("ben", 9)).await;
    offer.clock.advance(ARCHIVE);
    all_steps(&*rooms).await;
    assert!(rooms.delete(&r).await.unwrap());
    offer.clock.advance(MINUTE);
    let now = offer.clock.now();
    made(&*rooms, &NewRoom { kind: "channel".to_owned(), name: Some("n".to_owned()), ..new("r") }).await;
    let expected = Room {
        id: r.clone(),
        kind: "channel".to_owned(),
        name: Some("n".to_owned()),
        max_members: None,
        members: 0,
        state: RoomState::Active,
        created_at: now,
        last_activity: now,
    };
    assert_eq!(info(&*rooms, &r).await, expected);
    assert_eq!(members(&*rooms, &r).await, []);
    let none = RoomStats { members: 0, online: 0, peak: RoomPeak::default(), roles: BTreeMap::new() };
    assert_eq!(counted(&*rooms, &r).await, none);
    assert_eq!(
        became(&*rooms, &r, join("ben", 1)).await,
        RoomChanged::Changed,
        "the members of before are forgotten"
    );
    offer.clock.advance(IDLE);
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)]);
}

async fn both_sides_agree_after_racing_deletions(offer: Offer) {
    let rooms = rooms(&offer);
    let (all_rooms, all_users) = (numbered("r", 3), numbered("u", 6));
    at_once(32, |nth| {
        let (rooms, all_rooms, all_users) = (Arc::clone(&rooms), all_rooms.clone(), all_users.clone());
        async move {
            for step in 0..20 {
                let name = &all_rooms[(nth + step) % all_rooms.len()];
                match (nth + step * 3) % 8 {
                    0 => drop(rooms.delete(&room(name)).await.unwrap()),
                    1 | 2 => drop(
                        rooms.create(&with_members(name, &all_users[step % 3..step % 3 + 3])).await.unwrap(),
                    ),
                    _ => {
                        let changes = [join(&all_users[nth % 6], 0), leave(&all_users[(nth + step) % 6], 0)];
                        if let Err(error) = rooms.change_members(&room(name), &changes).await {
                            assert_eq!(error.code(), Code::RoomNotFound, "{error:?}");
                        }
                    }
                }
            }
        }
    })
    .await;
    sides_agree(&*rooms, &all_rooms, &all_users).await;
    for name in &all_rooms {
        rooms.delete(&room(name)).await.unwrap();
    }
    sides_agree(&*rooms, &all_rooms, &all_users).await;
}

async fn an_outage_is_never_an_empty_room(offer: Offer) {
    let (rooms, presence) = (rooms(&offer), presence(&offer));
    let outage = offer.outage.clone().expect("an outage");
    let r = made(&*rooms, &NewRoom { max_members: Some(9), ..with_members("r", &["ann", "ben"]) }).await;
    connect(&*presence, "ann", "x", DAY * 365).await;
    rooms_become(&*rooms, "ann", &["r"]).await;
    offer.clock.advance(IDLE);
    let before = (info(&*rooms, &r).await, members(&*rooms, &r).await, counted(&*rooms, &r).await);
    offer.clock.advance(MINUTE);
    let first = Page::first(10);
    outage.begin();
    unavailable(rooms.create(&with_members("s", &["ann"])).await);
    unavailable(rooms.create(&with_members("r", &["ann"])).await);
    unavailable(rooms.get_many(&[r.clone(), room("x")]).await);
    unavailable(rooms.get(&r).await);
    unavailable(rooms.change_members(&r, &[leave("ann", 9), join("cid", 9), change("ben", ADMIN, 9)]).await);
    unavailable(rooms.change_members(&room("x"), &[join("cid", 9)]).await);
    unavailable(rooms.join(&r, &user("cid"), MEMBER).await);
    unavailable(rooms.leave(&r, &user("ann")).await);
    unavailable(rooms.roles(&r, &users(&["ann"])).await);
    unavailable(rooms.roles(&room("x"), &users(&["ann"])).await);
    unavailable(rooms.members(&r, &Page::first(10)).await);
    unavailable(rooms.online(&r, &first).await);
    unavailable(rooms.rooms_of(&user("ann"), &Page::first(10)).await);
    unavailable(rooms.stats(&r).await);
    unavailable(rooms.touch_many(std::slice::from_ref(&r)).await);
    unavailable(rooms.age(IDLE, ARCHIVE, 10).await);
    unavailable(rooms.delete(&r).await);
    outage.end();
    let after = (info(&*rooms, &r).await, members(&*rooms, &r).await, counted(&*rooms, &r).await);
    assert_eq!(after, before, "as before");
    assert_eq!(rooms.get(&room("s")).await.unwrap(), None);
    assert_eq!(
        rooms.roles(&r, &users(&["ann", "ben", "cid"])).await.unwrap(),
        Some(vec![Some(MEMBER), Some(MEMBER), None])
    );
    assert_eq!(online(&*rooms, &r).await, set(&["ann"]));
    rooms_become(&*rooms, "ann", &["r"]).await;
    rooms_become::<&str>(&*rooms, "cid", &[]).await;
    assert_eq!(all_steps(&*rooms).await, [aged("r", RoomState::Idle)], "no step was lost");
    assert_eq!(became(&*rooms, &r, join("cid", 2)).await, RoomChanged::Changed, "no version was noted");
}
