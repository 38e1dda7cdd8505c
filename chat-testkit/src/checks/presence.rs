//! Promises of the `presence` port.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::presence::{ChosenStatus, Device, Lapse};
use chat_core::domain::{
    DeviceId, Page, Presence, PresenceStatus, SessionId, Transition, UserId, Visibility,
};
use chat_core::error::Code;
use chat_core::store::presence::{Connect, Renewal};
use chat_core::store::{PresenceStore, PresenceStoreExt};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::model::presence::agrees_with_the_model_on_random_histories;
use crate::run::checks;
use crate::sample::{hostile_ids, session, user};
use crate::walk::walk;

checks! { "presence" needs [presence]:
    only_the_first_session_goes_online,
    only_the_last_session_goes_offline,
    repeating_a_connect_is_a_renewal,
    ending_a_session_that_is_not_there_changes_nothing,
    a_user_is_online_while_a_lease_lives,
    every_lease_has_its_own_deadline,
    an_expired_lease_is_swept_once,
    a_sweep_tells_when_the_last_lease_ran_out,
    a_sweep_leaves_who_has_another_lease,
    a_sweep_answers_no_more_than_asked_for,
    whoever_comes_back_is_told_when_the_last_lease_ran_out,
    coming_back_with_the_same_session_is_coming_back,
    coming_back_after_a_sweep_is_going_online,
    a_renewed_lease_lives_until_its_new_deadline,
    renewing_revives_what_nobody_knows_to_have_ended,
    renewing_never_brings_a_session_back,
    ending_a_session_that_lapsed_goes_offline_once,
    ending_the_last_live_session_takes_the_lapsed_along,
    of_racing_connects_one_goes_online,
    of_racing_disconnects_one_goes_offline,
    of_racing_ends_of_one_session_one_counts,
    every_edge_goes_to_one_of_racing_sweepers,
    a_sweep_racing_a_connect_hands_out_the_edge_once,
    a_sweep_racing_a_renewal_hands_out_the_edge_or_nothing,
    a_sweep_racing_a_disconnect_hands_out_the_edge_once,
    edges_alternate_while_everything_races,
    answers_line_up_with_the_question,
    an_empty_batch_is_an_empty_answer,
    a_large_batch_is_answered_whole,
    live_sessions_are_shown_as_they_are,
    an_unknown_user_is_offline,
    touching_ends_being_idle_once,
    touching_records_the_activity,
    the_last_activity_never_goes_back,
    renewing_is_no_activity,
    only_who_is_online_and_inactive_becomes_idle,
    of_racing_callers_one_marks_a_user_idle,
    of_racing_touches_one_ends_being_idle,
    being_idle_ends_with_the_last_session,
    a_chosen_status_survives_disconnecting,
    a_chosen_status_ends_at_its_time,
    a_chosen_status_is_replaced_and_cleared,
    choosing_online_or_offline_is_choosing_nothing,
    visibility_is_kept,
    users_online_are_listed_once_in_order,
    a_page_has_a_limit,
    a_page_begins_after_somebody_who_left,
    whoever_lapsed_is_not_listed,
    who_stays_is_listed_once_while_others_come_and_go,
    statistics_equal_a_recount,
    the_distribution_sums_up_to_the_users,
    statistics_equal_a_recount_after_racing_changes,
    the_peak_is_the_most_that_were_online_and_when,
    sessions_of_the_last_hour_are_counted,
    the_average_is_over_closed_sessions,
    hostile_ids_reach_nobody_else,
    an_outage_is_never_offline + outage,
    agrees_with_the_model_on_random_histories,
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn presence(offer: &Offer) -> Arc<dyn PresenceStore> {
    offer.presence.clone().expect("presence")
}

fn connect(user_name: &str, session_name: &str, lease: Duration) -> Connect {
    Connect { user: user(user_name), session: session(session_name), device: None, lease }
}

async fn connected(presence: &dyn PresenceStore, user: &str, session: &str, lease: Duration) -> Transition {
    presence.connect(&connect(user, session, lease)).await.unwrap()
}

/// Lets a user come who was offline.
async fn comes(presence: &dyn PresenceStore, user: &str, session: &str, lease: Duration) {
    assert_eq!(connected(presence, user, session, lease).await, Transition::WentOnline, "{user:?}");
}

async fn disconnected(presence: &dyn PresenceStore, user_name: &str, session_name: &str) -> Transition {
    presence.disconnect(&user(user_name), &session(session_name)).await.unwrap()
}

async fn renewed(presence: &dyn PresenceStore, user_name: &str, session_name: &str) -> Renewal {
    presence.renew(&user(user_name), &session(session_name), LEASE).await.unwrap()
}

async fn known(presence: &dyn PresenceStore, name: &str) -> Presence {
    presence.get(&user(name)).await.unwrap()
}

async fn touched(presence: &dyn PresenceStore, name: &str) -> bool {
    let was_idle = presence.touch_many(&[user(name)]).await.unwrap();
    assert_eq!(was_idle.len(), 1);
    was_idle[0]
}

async fn became_idle(presence: &dyn PresenceStore, name: &str, after: Duration) -> bool {
    let became = presence.idle_many(&[user(name)], after).await.unwrap();
    assert_eq!(became.len(), 1);
    became[0]
}

async fn listed(presence: &dyn PresenceStore, limit: usize) -> Vec<UserId> {
    walk(limit, |page| async move { presence.online(&page).await }).await
}

/// Online or offline, and every way to ask says the same.
async fn stands(presence: &dyn PresenceStore, name: &str, online: bool) {
    assert_eq!(presence.is_online(&user(name)).await.unwrap(), online, "are_online of {name:?}");
    assert_eq!(known(presence, name).await.is_online(), online, "get_many of {name:?}");
    let listed = listed(presence, 1_000).await;
    assert_eq!(listed.contains(&user(name)), online, "{name:?} in {listed:?}");
}

async fn nothing_is_swept(presence: &dyn PresenceStore) {
    assert_eq!(presence.sweep(1_000).await.unwrap(), []);
}

/// The numbers are those of the leases that live, by what is known of these users, who are all there are.
async fn recounted(presence: &dyn PresenceStore, everybody: &[UserId], now: Timestamp) {
    let (mut users, mut sessions, mut by_status) = (0, 0, BTreeMap::new());
    for known in presence.get_many(everybody).await.unwrap().iter().filter(|known| known.is_online()) {
        users += 1;
        sessions += known.sessions.len() as u64;
        *by_status.entry(known.status(now)).or_insert(0) += 1;
    }
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), (users, sessions), "{stats:?}");
    assert_eq!(distribution(&stats.by_status), by_status, "{stats:?}");
    assert_eq!(stats.by_status.values().sum::<u64>(), stats.users, "{stats:?}");
    assert!(stats.peak_users >= stats.users, "{stats:?}");
}

/// Without the zeros, which may be there or not.
fn distribution(by_status: &BTreeMap<PresenceStatus, u64>) -> BTreeMap<PresenceStatus, u64> {
    by_status.iter().filter(|(_, users)| **users > 0).map(|(status, users)| (*status, *users)).collect()
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth:03}")).collect()
}

fn sorted_lapses(lapses: Vec<Lapse>) -> Vec<(UserId, Timestamp)> {
    let mut lapses: Vec<_> = lapses.into_iter().map(|lapse| (lapse.user, lapse.at)).collect();
    lapses.sort();
    lapses
}

fn sessions_of(known: &Presence) -> BTreeMap<&SessionId, Timestamp> {
    let sessions: BTreeMap<_, _> =
        known.sessions.iter().map(|session| (&session.id, session.lease_until)).collect();
    assert_eq!(sessions.len(), known.sessions.len(), "a session is shown twice: {known:?}");
    sessions
}

async fn only_the_first_session_goes_online(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    assert_eq!(connected(&*presence, "ann", "2", LEASE).await, Transition::None);
    assert_eq!(connected(&*presence, "ann", "3", HOUR).await, Transition::None);
    comes(&*presence, "ben", "1", LEASE).await;
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None);
    assert_eq!(connected(&*presence, "ann", "1", LEASE).await, Transition::None);
    stands(&*presence, "ann", true).await;
}

async fn only_the_last_session_goes_offline(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    connected(&*presence, "ann", "2", LEASE).await;
    comes(&*presence, "ben", "1", LEASE).await;
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None);
    stands(&*presence, "ann", true).await;
    assert_eq!(disconnected(&*presence, "ann", "2").await, Transition::WentOffline);
    stands(&*presence, "ann", false).await;
    stands(&*presence, "ben", true).await;
    comes(&*presence, "ann", "1", LEASE).await;
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
    offer.clock.advance(LEASE / 2);
    nothing_is_swept(&*presence).await;
}

async fn repeating_a_connect_is_a_renewal(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", LEASE).await;
    offer.clock.advance(LEASE / 2);
    for _ in 0..3 {
        assert_eq!(connected(&*presence, "ann", "1", LEASE).await, Transition::None);
    }
    let known = known(&*presence, "ann").await;
    assert_eq!(known.sessions.len(), 1, "{known:?}");
    assert_eq!(known.sessions[0].connected_at, start, "a renewal begins nothing");
    assert_eq!(known.sessions[0].lease_until, offer.clock.now().after(LEASE));
    assert_eq!(presence.stats().await.unwrap().connected_last_hour, 1, "a renewal begins nothing");
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
    stands(&*presence, "ann", false).await;
}

async fn ending_a_session_that_is_not_there_changes_nothing(offer: Offer) {
    let presence = presence(&offer);
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None);
    comes(&*presence, "ann", "1", LEASE).await;
    comes(&*presence, "ben", "2", LEASE).await;
    let before = (known(&*presence, "ann").await, presence.stats().await.unwrap());
    for (user, session) in [("ann", "2"), ("ann", "x"), ("ben", "1"), ("cid", "1")] {
        assert_eq!(disconnected(&*presence, user, session).await, Transition::None);
    }
    assert_eq!((known(&*presence, "ann").await, presence.stats().await.unwrap()), before);
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
    let before = (known(&*presence, "ann").await, presence.stats().await.unwrap());
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None, "the repetition");
    assert_eq!((known(&*presence, "ann").await, presence.stats().await.unwrap()), before);
}

async fn a_user_is_online_while_a_lease_lives(offer: Offer) {
    let presence = presence(&offer);
    for swept in [false, true] {
        let name = if swept { "ann" } else { "ben" };
        comes(&*presence, name, "1", LEASE).await;
        offer.clock.advance(LEASE - MILLI);
        if swept {
            let lapses = presence.sweep(1_000).await.unwrap();
            assert!(lapses.iter().all(|lapse| lapse.user != user(name)), "{lapses:?}");
        }
        stands(&*presence, name, true).await;
        offer.clock.advance(MILLI);
        stands(&*presence, name, false).await;
        if swept {
            assert!(presence.sweep(1_000).await.unwrap().iter().any(|lapse| lapse.user == user(name)));
            stands(&*presence, name, false).await;
        }
        offer.clock.advance(DAY);
        stands(&*presence, name, false).await;
    }
}

async fn every_lease_has_its_own_deadline(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    for nth in 1..=5_u32 {
        connected(&*presence, "ann", &nth.to_string(), SECOND * nth).await;
        comes(&*presence, &format!("u{nth}"), "1", SECOND * nth).await;
    }
    for nth in 1..=5_u32 {
        offer.clock.set(start.after(SECOND * nth).before(MILLI));
        assert_eq!(known(&*presence, "ann").await.sessions.len() as u32, 6 - nth);
        stands(&*presence, &format!("u{nth}"), true).await;
        offer.clock.advance(MILLI);
        assert_eq!(known(&*presence, "ann").await.sessions.len() as u32, 5 - nth);
        stands(&*presence, &format!("u{nth}"), false).await;
    }
    stands(&*presence, "ann", false).await;
}

async fn an_expired_lease_is_swept_once(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", LEASE).await;
    comes(&*presence, "ben", "1", HOUR).await;
    offer.clock.advance(LEASE - MILLI);
    nothing_is_swept(&*presence).await;
    offer.clock.advance(MILLI);
    let lapses = presence.sweep(10).await.unwrap();
    assert_eq!(lapses, [Lapse { user: user("ann"), at: start.after(LEASE) }]);
    nothing_is_swept(&*presence).await;
    offer.clock.advance(LEASE);
    nothing_is_swept(&*presence).await;
    stands(&*presence, "ann", false).await;
    stands(&*presence, "ben", true).await;
    comes(&*presence, "ann", "1", LEASE).await;
    let until = offer.clock.now().after(LEASE);
    offer.clock.advance(LEASE + SECOND);
    assert_eq!(presence.sweep(10).await.unwrap(), [Lapse { user: user("ann"), at: until }]);
    nothing_is_swept(&*presence).await;
}

async fn a_sweep_tells_when_the_last_lease_ran_out(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    for (session, lease) in [("1", 20), ("2", 50), ("3", 30)] {
        connected(&*presence, "ann", session, SECOND * lease).await;
    }
    offer.clock.advance(DAY);
    let lapses = presence.sweep(10).await.unwrap();
    assert_eq!(lapses, [Lapse { user: user("ann"), at: start.after(SECOND * 50) }]);
}

async fn a_sweep_leaves_who_has_another_lease(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    connected(&*presence, "ann", "2", HOUR).await;
    offer.clock.advance(LEASE);
    nothing_is_swept(&*presence).await;
    stands(&*presence, "ann", true).await;
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Lost, "it was swept");
    assert_eq!(disconnected(&*presence, "ann", "2").await, Transition::WentOffline);
    nothing_is_swept(&*presence).await;
}

async fn a_sweep_answers_no_more_than_asked_for(offer: Offer) {
    let presence = presence(&offer);
    let names = numbered("u", 600);
    for name in &names {
        comes(&*presence, name, "1", LEASE).await;
        connected(&*presence, name, "2", LEASE).await;
    }
    comes(&*presence, "stays", "1", HOUR).await;
    offer.clock.advance(LEASE);
    let mut swept = Vec::new();
    for limit in [1, 2, 7, 300] {
        let lapses = presence.sweep(limit).await.unwrap();
        assert_eq!(lapses.len(), limit, "there are more");
        swept.extend(lapses);
    }
    loop {
        let lapses = presence.sweep(100).await.unwrap();
        assert!(lapses.len() <= 100, "{}", lapses.len());
        if lapses.is_empty() {
            break;
        }
        swept.extend(lapses);
    }
    let expected: Vec<_> = names.iter().map(|name| (user(name), offer.clock.now())).collect();
    assert_eq!(sorted_lapses(swept), expected, "everybody once");
    stands(&*presence, "stays", true).await;
}

async fn whoever_comes_back_is_told_when_the_last_lease_ran_out(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", SECOND * 10).await;
    connected(&*presence, "ann", "2", SECOND * 20).await;
    offer.clock.advance(SECOND * 20);
    let lapsed_at = start.after(SECOND * 20);
    assert_eq!(connected(&*presence, "ann", "3", LEASE).await, Transition::CameBack { lapsed_at });
    stands(&*presence, "ann", true).await;
    assert_eq!(known(&*presence, "ann").await.sessions.len(), 1);
    nothing_is_swept(&*presence).await;
    assert_eq!(connected(&*presence, "ann", "4", LEASE).await, Transition::None);
    for session in ["1", "2"] {
        assert_eq!(renewed(&*presence, "ann", session).await, Renewal::Lost, "its end was announced");
    }
    offer.clock.advance(LEASE);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
}

async fn coming_back_with_the_same_session_is_coming_back(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    let lapsed_at = offer.clock.now().after(LEASE);
    offer.clock.advance(LEASE + SECOND);
    assert_eq!(connected(&*presence, "ann", "1", LEASE).await, Transition::CameBack { lapsed_at });
    nothing_is_swept(&*presence).await;
    assert_eq!(known(&*presence, "ann").await.sessions[0].connected_at, offer.clock.now(), "it is a new one");
    assert_eq!(connected(&*presence, "ann", "1", LEASE).await, Transition::None);
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
}

async fn coming_back_after_a_sweep_is_going_online(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    offer.clock.advance(LEASE);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
    comes(&*presence, "ann", "1", LEASE).await;
    nothing_is_swept(&*presence).await;
}

async fn a_renewed_lease_lives_until_its_new_deadline(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    for _ in 0..5 {
        offer.clock.advance(LEASE - MILLI);
        assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Alive);
        let until = offer.clock.now().after(LEASE);
        assert_eq!(known(&*presence, "ann").await.sessions[0].lease_until, until);
    }
    let renewal = presence.renew(&user("ann"), &session("1"), SECOND).await.unwrap();
    assert_eq!(renewal, Renewal::Alive, "also to an earlier one");
    offer.clock.advance(SECOND - MILLI);
    stands(&*presence, "ann", true).await;
    nothing_is_swept(&*presence).await;
    offer.clock.advance(MILLI);
    stands(&*presence, "ann", false).await;
    let lapses = presence.sweep(10).await.unwrap();
    assert_eq!(lapses, [Lapse { user: user("ann"), at: offer.clock.now() }]);
}

async fn renewing_revives_what_nobody_knows_to_have_ended(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", LEASE).await;
    offer.clock.advance(LEASE + SECOND);
    stands(&*presence, "ann", false).await;
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Alive);
    stands(&*presence, "ann", true).await;
    nothing_is_swept(&*presence).await;
    assert_eq!(known(&*presence, "ann").await.sessions[0].connected_at, start, "it is the same session");
    assert_eq!(connected(&*presence, "ann", "2", LEASE).await, Transition::None, "nobody was told");
    recounted(&*presence, &users(&["ann"]), offer.clock.now()).await;
    offer.clock.advance(LEASE);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
}

async fn renewing_never_brings_a_session_back(offer: Offer) {
    let presence = presence(&offer);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Lost, "it never was");
    stands(&*presence, "ann", false).await;
    comes(&*presence, "ann", "1", LEASE).await;
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Lost, "it was ended");
    stands(&*presence, "ann", false).await;
    comes(&*presence, "ann", "2", LEASE).await;
    offer.clock.advance(LEASE);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
    for session in ["1", "2", "3"] {
        assert_eq!(renewed(&*presence, "ann", session).await, Renewal::Lost, "{session}");
    }
    stands(&*presence, "ann", false).await;
    comes(&*presence, "ann", "4", LEASE).await;
    for session in ["1", "2", "3"] {
        assert_eq!(renewed(&*presence, "ann", session).await, Renewal::Lost, "{session}");
    }
    assert_eq!(known(&*presence, "ann").await.sessions.len(), 1);
    assert_eq!(renewed(&*presence, "ben", "4").await, Renewal::Lost, "it is somebody else's");
    assert_eq!(presence.stats().await.unwrap().sessions, 1);
}

async fn ending_a_session_that_lapsed_goes_offline_once(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    connected(&*presence, "ann", "2", LEASE).await;
    offer.clock.advance(LEASE + SECOND);
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
    assert_eq!(disconnected(&*presence, "ann", "2").await, Transition::None, "it was announced");
    assert_eq!(renewed(&*presence, "ann", "2").await, Renewal::Lost, "its end was announced");
    nothing_is_swept(&*presence).await;
    stands(&*presence, "ann", false).await;
    comes(&*presence, "ann", "1", LEASE).await;
}

async fn ending_the_last_live_session_takes_the_lapsed_along(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", LEASE).await;
    connected(&*presence, "ann", "2", HOUR).await;
    offer.clock.advance(LEASE);
    assert_eq!(disconnected(&*presence, "ann", "2").await, Transition::WentOffline);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Lost, "its end was announced");
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None);
    nothing_is_swept(&*presence).await;
    comes(&*presence, "ann", "1", LEASE).await;
}

async fn of_racing_connects_one_goes_online(offer: Offer) {
    let presence = presence(&offer);
    for name in ["ann", "ben", "cid"] {
        let transitions = at_once(64, |nth| {
            let presence = Arc::clone(&presence);
            async move { connected(&*presence, name, &nth.to_string(), LEASE).await }
        })
        .await;
        let went = transitions.iter().filter(|transition| **transition == Transition::WentOnline).count();
        let silent = transitions.iter().filter(|transition| **transition == Transition::None).count();
        assert_eq!((went, silent), (1, 63), "{transitions:?}");
        assert_eq!(known(&*presence, name).await.sessions.len(), 64);
    }
    assert_eq!(presence.stats().await.unwrap().sessions, 3 * 64);
}

async fn of_racing_disconnects_one_goes_offline(offer: Offer) {
    let presence = presence(&offer);
    for name in ["ann", "ben", "cid"] {
        for nth in 0..64 {
            connected(&*presence, name, &nth.to_string(), LEASE).await;
        }
        let transitions = at_once(64, |nth| {
            let presence = Arc::clone(&presence);
            async move { disconnected(&*presence, name, &nth.to_string()).await }
        })
        .await;
        let went = transitions.iter().filter(|transition| **transition == Transition::WentOffline).count();
        let silent = transitions.iter().filter(|transition| **transition == Transition::None).count();
        assert_eq!((went, silent), (1, 63), "{transitions:?}");
        stands(&*presence, name, false).await;
    }
    nothing_is_swept(&*presence).await;
}

async fn of_racing_ends_of_one_session_one_counts(offer: Offer) {
    let presence = presence(&offer);
    for _ in 0..20 {
        comes(&*presence, "ann", "1", LEASE).await;
        let transitions = at_once(16, |_| {
            let presence = Arc::clone(&presence);
            async move { disconnected(&*presence, "ann", "1").await }
        })
        .await;
        let went = transitions.iter().filter(|transition| **transition == Transition::WentOffline).count();
        assert_eq!(went, 1, "{transitions:?}");
    }
    assert_eq!(presence.stats().await.unwrap().closed_sessions, 20);
}

async fn every_edge_goes_to_one_of_racing_sweepers(offer: Offer) {
    let presence = presence(&offer);
    let names = numbered("u", 200);
    for name in &names {
        comes(&*presence, name, "1", LEASE).await;
    }
    offer.clock.advance(LEASE);
    let swept = at_once(16, |nth| {
        let presence = Arc::clone(&presence);
        async move {
            let mut swept = Vec::new();
            loop {
                let lapses = presence.sweep(1 + nth).await.unwrap();
                if lapses.is_empty() {
                    return swept;
                }
                swept.extend(lapses);
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let expected: Vec<_> = names.iter().map(|name| (user(name), offer.clock.now())).collect();
    assert_eq!(sorted_lapses(swept.into_iter().flatten().collect()), expected, "everybody once");
    nothing_is_swept(&*presence).await;
}

/// Somebody whose lease ran out and was not swept, and when.
async fn lapsed(offer: &Offer, name: &str) -> Timestamp {
    let presence = presence(offer);
    comes(&*presence, name, "1", LEASE).await;
    offer.clock.advance(LEASE);
    offer.clock.now()
}

async fn a_sweep_racing_a_connect_hands_out_the_edge_once(offer: Offer) {
    let presence = presence(&offer);
    for nth in 0..50 {
        let name = format!("u{nth}");
        let lapsed_at = lapsed(&offer, &name).await;
        let sweep = tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.sweep(10).await.unwrap() }
        });
        let transition = connected(&*presence, &name, "2", DAY).await;
        let swept = sweep.await.expect("a task of the check");
        match transition {
            Transition::WentOnline => assert_eq!(swept, [Lapse { user: user(&name), at: lapsed_at }]),
            came_back => {
                assert_eq!(came_back, Transition::CameBack { lapsed_at });
                assert_eq!(swept, []);
            }
        }
        assert!(presence.is_online(&user(&name)).await.unwrap());
        nothing_is_swept(&*presence).await;
    }
}

async fn a_sweep_racing_a_renewal_hands_out_the_edge_or_nothing(offer: Offer) {
    let presence = presence(&offer);
    for nth in 0..50 {
        let name = format!("u{nth}");
        lapsed(&offer, &name).await;
        let sweep = tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.sweep(10).await.unwrap() }
        });
        let renewal = presence.renew(&user(&name), &session("1"), DAY).await.unwrap();
        let swept = sweep.await.expect("a task of the check");
        assert_eq!(renewal == Renewal::Lost, swept.len() == 1, "{renewal:?} and {swept:?}");
        assert_eq!(renewal == Renewal::Alive, presence.is_online(&user(&name)).await.unwrap());
        nothing_is_swept(&*presence).await;
    }
}

async fn a_sweep_racing_a_disconnect_hands_out_the_edge_once(offer: Offer) {
    let presence = presence(&offer);
    for nth in 0..50 {
        let name = format!("u{nth}");
        lapsed(&offer, &name).await;
        let sweep = tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.sweep(10).await.unwrap() }
        });
        let transition = disconnected(&*presence, &name, "1").await;
        let swept = sweep.await.expect("a task of the check");
        assert_eq!(transition == Transition::WentOffline, swept.is_empty(), "{transition:?} and {swept:?}");
        nothing_is_swept(&*presence).await;
    }
}

/// An edge somebody was handed, and between which ticks of a shared counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    online: bool,
    from: u64,
    to: u64,
}

/// Whether there is an order of these edges, within their times, in which they alternate and begin with going online.
///
/// Whoever comes next must not have begun after another one ended; of those who may, the one that ended first leaves
/// the most room for the rest.
fn alternate(mut edges: Vec<Edge>) -> bool {
    let mut online = true;
    while !edges.is_empty() {
        let first_end = edges.iter().map(|edge| edge.to).min().unwrap_or_default();
        let may_be_next = |edge: &&Edge| edge.online == online && edge.from <= first_end;
        let Some(next) = edges.iter().filter(may_be_next).min_by_key(|edge| edge.to).copied() else {
            return false;
        };
        let at = edges.iter().position(|edge| *edge == next).expect("one of them");
        edges.swap_remove(at);
        online = !online;
    }
    true
}

/// Does something at random to one of few; answers the edges it was handed.
async fn stormed(presence: &dyn PresenceStore, clock: &chat_core::clock::ManualClock) -> Vec<(UserId, bool)> {
    let (name, session_name) = (STORMED[rand::random_range(0..3)], SESSIONS[rand::random_range(0..3)]);
    let lease = MILLI * rand::random_range(1..20);
    let who = user(name);
    match rand::random_range(0..10) {
        0..=2 => match connected(presence, name, session_name, lease).await {
            Transition::None => vec![],
            Transition::WentOnline => vec![(who, true)],
            Transition::CameBack { .. } => vec![(who.clone(), false), (who, true)],
            Transition::WentOffline => panic!("a connect went offline"),
        },
        3..=4 => match disconnected(presence, name, session_name).await {
            Transition::None => vec![],
            Transition::WentOffline => vec![(who, false)],
            other => panic!("a disconnect answered {other:?}"),
        },
        5..=6 => {
            presence.renew(&who, &session(session_name), lease).await.unwrap();
            vec![]
        }
        7 => {
            clock.advance(MILLI * rand::random_range(1..5));
            vec![]
        }
        _ => {
            let lapses = presence.sweep(rand::random_range(1..4)).await.unwrap();
            lapses.into_iter().map(|lapse| (lapse.user, false)).collect()
        }
    }
}

const STORMED: [&str; 3] = ["ann", "ben", "cid"];
const SESSIONS: [&str; 3] = ["1", "2", "3"];

async fn edges_alternate_while_everything_races(offer: Offer) {
    let presence = presence(&offer);
    let ticks = Arc::new(AtomicU64::new(0));
    let tick = |ticks: &AtomicU64| ticks.fetch_add(1, Ordering::SeqCst);
    let seen = at_once(16, |_| {
        let (presence, clock, ticks) = (Arc::clone(&presence), offer.clock.clone(), Arc::clone(&ticks));
        async move {
            let mut edges = Vec::new();
            for _ in 0..200 {
                let from = tick(&ticks);
                let handed = stormed(&*presence, &clock).await;
                let to = tick(&ticks);
                edges.extend(handed.into_iter().map(|(user, online)| (user, Edge { online, from, to })));
                tokio::task::yield_now().await;
            }
            edges
        }
    })
    .await;
    let mut edges: Vec<_> = seen.into_iter().flatten().collect();
    let from = tick(&ticks);
    let last = presence.sweep(1_000).await.unwrap();
    let to = tick(&ticks);
    edges.extend(last.into_iter().map(|lapse| (lapse.user, Edge { online: false, from, to })));
    for name in STORMED {
        let own: Vec<_> = edges.iter().filter(|(who, _)| *who == user(name)).map(|(_, edge)| *edge).collect();
        let ons = own.iter().filter(|edge| edge.online).count();
        let is_online = presence.is_online(&user(name)).await.unwrap();
        assert_eq!(ons - usize::from(is_online), own.len() - ons, "edges of {name} do not balance");
        assert!(alternate(own.clone()), "edges of {name} do not alternate: {own:?}");
    }
    recounted(&*presence, &users(&STORMED), offer.clock.now()).await;
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", HOUR).await;
    comes(&*presence, "ben", "1", HOUR).await;
    let asked = users(&["ben", "nobody", "ann", "ben"]);
    assert_eq!(presence.are_online(&asked).await.unwrap(), [true, false, true, true]);
    let known = presence.get_many(&asked).await.unwrap();
    assert_eq!(known.iter().map(|known| known.user.clone()).collect::<Vec<_>>(), asked);
    assert_eq!(known.iter().map(Presence::is_online).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(known[0], known[3]);
    let sessions: Vec<_> = [("ben", "1"), ("ben", "2"), ("nobody", "1"), ("ann", "1"), ("ben", "1")]
        .map(|(name, id)| (user(name), session(id)))
        .into();
    let (alive, lost) = (Renewal::Alive, Renewal::Lost);
    assert_eq!(presence.renew_many(&sessions, HOUR).await.unwrap(), [alive, lost, lost, alive, alive]);
    offer.clock.advance(MINUTE);
    assert_eq!(presence.idle_many(&asked, MINUTE).await.unwrap(), [true, false, true, false]);
    assert_eq!(presence.touch_many(&asked).await.unwrap(), [true, false, true, false]);
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", HOUR).await;
    assert_eq!(presence.renew_many(&[], LEASE).await.unwrap(), []);
    assert_eq!(presence.get_many(&[]).await.unwrap(), []);
    assert_eq!(presence.are_online(&[]).await.unwrap(), [false; 0]);
    assert_eq!(presence.touch_many(&[]).await.unwrap(), [false; 0]);
    assert_eq!(presence.idle_many(&[], MILLI).await.unwrap(), [false; 0]);
}

async fn a_large_batch_is_answered_whole(offer: Offer) {
    let presence = presence(&offer);
    let names = numbered("u", 1_500);
    for name in names.iter().step_by(2) {
        comes(&*presence, name, "1", HOUR).await;
    }
    let asked: Vec<_> = names.iter().map(|name| user(name)).collect();
    let expected: Vec<_> = (0..names.len()).map(|nth| nth % 2 == 0).collect();
    assert_eq!(presence.are_online(&asked).await.unwrap(), expected);
    let known = presence.get_many(&asked).await.unwrap();
    assert!(known.iter().map(|known| &known.user).eq(&asked));
    assert!(known.iter().map(Presence::is_online).eq(expected.iter().copied()));
    let sessions: Vec<_> = asked.iter().map(|user| (user.clone(), session("1"))).collect();
    let renewals = presence.renew_many(&sessions, HOUR).await.unwrap();
    assert!(renewals.iter().map(|renewal| *renewal == Renewal::Alive).eq(expected.iter().copied()));
    offer.clock.advance(MINUTE);
    assert_eq!(presence.idle_many(&asked, MINUTE).await.unwrap(), expected);
    assert_eq!(presence.touch_many(&asked).await.unwrap(), expected);
}

async fn live_sessions_are_shown_as_they_are(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    let phone = Device {
        id: DeviceId::new("phone").expect("a device id"),
        name: Some("Téléphone d'Ann \"{}\"".to_owned()),
        platform: Some("android".to_owned()),
    };
    let bare = Device { id: DeviceId::new("tab").expect("a device id"), name: None, platform: None };
    let devices = [("1", Some(phone), LEASE), ("2", Some(bare), HOUR), ("3", None, HOUR * 2)];
    for (nth, (id, device, lease)) in devices.iter().enumerate() {
        let connect = Connect { device: device.clone(), ..connect("ann", id, *lease) };
        presence.connect(&connect).await.unwrap();
        assert_eq!(known(&*presence, "ann").await.sessions.len(), nth + 1);
        offer.clock.advance(SECOND);
    }
    let shown = |mut known: Presence| {
        known.sessions.sort_by(|a, b| a.id.cmp(&b.id));
        known.sessions
    };
    let expected: Vec<_> = (0_u32..)
        .zip(&devices)
        .map(|(nth, (id, device, lease))| chat_core::domain::presence::Session {
            id: session(id),
            device: device.clone(),
            connected_at: start.after(SECOND * nth),
            lease_until: start.after(SECOND * nth + *lease),
        })
        .collect();
    assert_eq!(shown(known(&*presence, "ann").await), expected);
    offer.clock.set(start.after(LEASE));
    assert_eq!(shown(known(&*presence, "ann").await), expected[1..], "one lapsed and was not swept");
    presence.sweep(10).await.unwrap();
    assert_eq!(shown(known(&*presence, "ann").await), expected[1..]);
    disconnected(&*presence, "ann", "3").await;
    assert_eq!(shown(known(&*presence, "ann").await), expected[1..2]);
}

async fn an_unknown_user_is_offline(offer: Offer) {
    let presence = presence(&offer);
    assert_eq!(known(&*presence, "ann").await, Presence::unknown(user("ann")));
    stands(&*presence, "ann", false).await;
    assert!(!became_idle(&*presence, "ann", Duration::ZERO).await);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Lost);
    assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::None);
    nothing_is_swept(&*presence).await;
    assert_eq!(known(&*presence, "ann").await, Presence::unknown(user("ann")), "asking changes nothing");
    recounted(&*presence, &users(&["ann"]), offer.clock.now()).await;
}

async fn touching_ends_being_idle_once(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", HOUR).await;
    assert!(!touched(&*presence, "ann").await, "it was not idle");
    for _ in 0..3 {
        offer.clock.advance(MINUTE);
        assert!(became_idle(&*presence, "ann", MINUTE).await);
        assert!(known(&*presence, "ann").await.idle);
        assert!(touched(&*presence, "ann").await);
        assert!(!known(&*presence, "ann").await.idle);
        assert!(!touched(&*presence, "ann").await);
    }
}

async fn touching_records_the_activity(offer: Offer) {
    let presence = presence(&offer);
    assert!(!touched(&*presence, "ann").await);
    let first = known(&*presence, "ann").await;
    assert_eq!((first.last_active, first.is_online()), (Some(offer.clock.now()), false), "also offline");
    offer.clock.advance(SECOND);
    comes(&*presence, "ann", "1", LEASE).await;
    offer.clock.advance(SECOND);
    presence.touch_many(&users(&["ann", "ben"])).await.unwrap();
    for name in ["ann", "ben"] {
        assert_eq!(known(&*presence, name).await.last_active, Some(offer.clock.now()));
    }
    let last = offer.clock.now();
    disconnected(&*presence, "ann", "1").await;
    offer.clock.advance(DAY);
    assert!(known(&*presence, "ann").await.last_active >= Some(last), "it outlives the session");
}

async fn the_last_activity_never_goes_back(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", DAY).await;
    offer.clock.advance(HOUR);
    touched(&*presence, "ann").await;
    let last = known(&*presence, "ann").await.last_active;
    assert_eq!(last, Some(start.after(HOUR)));
    offer.clock.set(start.after(MINUTE));
    touched(&*presence, "ann").await;
    assert_eq!(known(&*presence, "ann").await.last_active, last, "the clock was set back");
    connected(&*presence, "ann", "2", DAY).await;
    assert_eq!(known(&*presence, "ann").await.last_active, last, "nor by another session");
    offer.clock.set(start.after(HOUR + MILLI));
    touched(&*presence, "ann").await;
    assert_eq!(known(&*presence, "ann").await.last_active, Some(start.after(HOUR + MILLI)));
}

async fn renewing_is_no_activity(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", HOUR).await;
    touched(&*presence, "ann").await;
    let before = known(&*presence, "ann").await.last_active;
    offer.clock.advance(MINUTE);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Alive);
    assert_eq!(known(&*presence, "ann").await.last_active, before);
    assert!(became_idle(&*presence, "ann", MINUTE).await);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Alive);
    assert!(known(&*presence, "ann").await.idle, "a heartbeat is nobody's finger");
}

async fn only_who_is_online_and_inactive_becomes_idle(offer: Offer) {
    let (presence, after) = (presence(&offer), MINUTE * 5);
    comes(&*presence, "ann", "1", HOUR).await;
    comes(&*presence, "gone", "1", HOUR).await;
    comes(&*presence, "lapsed", "1", after).await;
    comes(&*presence, "busy", "1", HOUR).await;
    disconnected(&*presence, "gone", "1").await;
    for name in ["ann", "gone", "lapsed", "busy", "never"] {
        touched(&*presence, name).await;
    }
    let asked = users(&["ann", "gone", "lapsed", "busy", "never"]);
    offer.clock.advance(after - MILLI);
    touched(&*presence, "busy").await;
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [false; 5], "a millisecond is missing");
    assert!(!known(&*presence, "ann").await.idle);
    offer.clock.advance(MILLI);
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [true, false, false, false, false]);
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [false; 5], "once per idle time");
    let idle: Vec<_> = presence.get_many(&asked).await.unwrap().iter().map(|known| known.idle).collect();
    assert_eq!(idle, [true, false, false, false, false]);
    assert_eq!(known(&*presence, "ann").await.status(offer.clock.now()), PresenceStatus::Away);
    offer.clock.advance(after - MILLI * 2);
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [false; 5]);
    offer.clock.advance(MILLI);
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [false, false, false, true, false]);
    assert!(touched(&*presence, "ann").await);
    assert_eq!(presence.idle_many(&asked, after).await.unwrap(), [false; 5], "ann was active now");
    offer.clock.advance(after);
    assert!(became_idle(&*presence, "ann", after).await, "the next idle time");
}

async fn of_racing_callers_one_marks_a_user_idle(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", DAY).await;
    for _ in 0..20 {
        offer.clock.advance(MINUTE);
        let became = at_once(16, |_| {
            let presence = Arc::clone(&presence);
            async move { became_idle(&*presence, "ann", MINUTE).await }
        })
        .await;
        assert_eq!(became.iter().filter(|became| **became).count(), 1, "{became:?}");
        assert!(touched(&*presence, "ann").await);
    }
}

async fn of_racing_touches_one_ends_being_idle(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", DAY).await;
    for _ in 0..20 {
        offer.clock.advance(MINUTE);
        assert!(became_idle(&*presence, "ann", MINUTE).await);
        let ended = at_once(16, |_| {
            let presence = Arc::clone(&presence);
            async move { touched(&*presence, "ann").await }
        })
        .await;
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1, "{ended:?}");
    }
}

async fn being_idle_ends_with_the_last_session(offer: Offer) {
    let presence = presence(&offer);
    for lapses in [false, true] {
        comes(&*presence, "ann", "1", HOUR).await;
        offer.clock.advance(MINUTE);
        assert!(became_idle(&*presence, "ann", MINUTE).await);
        if lapses {
            offer.clock.advance(HOUR);
            assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
        } else {
            assert_eq!(disconnected(&*presence, "ann", "1").await, Transition::WentOffline);
        }
        assert!(!known(&*presence, "ann").await.idle, "idle is who is connected");
        assert!(!touched(&*presence, "ann").await);
        comes(&*presence, "ann", "2", HOUR).await;
        assert!(!known(&*presence, "ann").await.idle, "it is a new beginning");
        assert!(!touched(&*presence, "ann").await);
        disconnected(&*presence, "ann", "2").await;
    }
}

/// A status for good.
fn chosen(status: PresenceStatus) -> ChosenStatus {
    ChosenStatus { status, until: None }
}

async fn a_chosen_status_survives_disconnecting(offer: Offer) {
    let presence = presence(&offer);
    let dnd = chosen(PresenceStatus::Dnd);
    presence.choose(&user("ann"), Some(&dnd)).await.unwrap();
    assert_eq!(known(&*presence, "ann").await.chosen, Some(dnd), "also before any session");
    stands(&*presence, "ann", false).await;
    comes(&*presence, "ann", "1", LEASE).await;
    assert_eq!(known(&*presence, "ann").await.status(offer.clock.now()), PresenceStatus::Dnd);
    disconnected(&*presence, "ann", "1").await;
    assert_eq!(known(&*presence, "ann").await.chosen, Some(dnd));
    comes(&*presence, "ann", "2", LEASE).await;
    assert_eq!(known(&*presence, "ann").await.chosen, Some(dnd));
    offer.clock.advance(DAY);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
    comes(&*presence, "ann", "3", LEASE).await;
    assert_eq!(known(&*presence, "ann").await.chosen, Some(dnd), "also a lapse");
    assert_eq!(known(&*presence, "ben").await.chosen, None);
}

async fn a_chosen_status_ends_at_its_time(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", DAY).await;
    let until = offer.clock.now().after(HOUR);
    let away = ChosenStatus { status: PresenceStatus::Away, until: Some(until) };
    presence.choose(&user("ann"), Some(&away)).await.unwrap();
    offer.clock.set(until.before(MILLI));
    assert_eq!(known(&*presence, "ann").await.chosen, Some(away));
    let by_status = presence.stats().await.unwrap().by_status;
    assert_eq!(distribution(&by_status), BTreeMap::from([(PresenceStatus::Away, 1)]));
    offer.clock.set(until);
    let known = known(&*presence, "ann").await;
    assert_eq!((known.chosen, known.status(until)), (None, PresenceStatus::Online));
    let by_status = presence.stats().await.unwrap().by_status;
    assert_eq!(distribution(&by_status), BTreeMap::from([(PresenceStatus::Online, 1)]));
}

async fn a_chosen_status_is_replaced_and_cleared(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", DAY).await;
    for status in [PresenceStatus::Dnd, PresenceStatus::Invisible, PresenceStatus::Away] {
        let timed = ChosenStatus { status, until: Some(offer.clock.now().after(HOUR)) };
        for choice in [timed, chosen(status)] {
            presence.choose(&user("ann"), Some(&choice)).await.unwrap();
            assert_eq!(known(&*presence, "ann").await.chosen, Some(choice), "nothing of the last is left");
            stands(&*presence, "ann", true).await;
        }
    }
    for _ in 0..2 {
        presence.choose(&user("ann"), None).await.unwrap();
        assert_eq!(known(&*presence, "ann").await.chosen, None);
    }
    recounted(&*presence, &users(&["ann"]), offer.clock.now()).await;
}

async fn choosing_online_or_offline_is_choosing_nothing(offer: Offer) {
    let (presence, now) = (presence(&offer), offer.clock.now());
    comes(&*presence, "ann", "1", DAY).await;
    for status in [PresenceStatus::Online, PresenceStatus::Offline] {
        presence.choose(&user("ann"), Some(&chosen(PresenceStatus::Dnd))).await.unwrap();
        presence.choose(&user("ann"), Some(&chosen(status))).await.unwrap();
        assert_eq!(known(&*presence, "ann").await.status(now), PresenceStatus::Online);
        stands(&*presence, "ann", true).await;
        recounted(&*presence, &users(&["ann"]), now).await;
    }
}

async fn visibility_is_kept(offer: Offer) {
    let presence = presence(&offer);
    for visibility in [Visibility::Nobody, Visibility::Contacts, Visibility::Everyone, Visibility::Contacts] {
        presence.set_visibility(&user("ann"), visibility).await.unwrap();
        assert_eq!(known(&*presence, "ann").await.last_seen_visibility, visibility);
    }
    comes(&*presence, "ann", "1", LEASE).await;
    disconnected(&*presence, "ann", "1").await;
    comes(&*presence, "ann", "1", LEASE).await;
    offer.clock.advance(DAY);
    presence.sweep(10).await.unwrap();
    touched(&*presence, "ann").await;
    let known_now = known(&*presence, "ann").await;
    assert_eq!(known_now.last_seen_visibility, Visibility::Contacts);
    assert!(known_now.last_active.is_some(), "nothing is masked here");
    assert_eq!(known(&*presence, "ben").await.last_seen_visibility, Visibility::Everyone);
}

async fn users_online_are_listed_once_in_order(offer: Offer) {
    let presence = presence(&offer);
    let names = numbered("u", 23);
    for nth in 0..names.len() {
        let name = &names[nth * 7 % names.len()];
        comes(&*presence, name, "1", HOUR).await;
        connected(&*presence, name, "2", HOUR).await;
    }
    comes(&*presence, "gone", "1", HOUR).await;
    disconnected(&*presence, "gone", "1").await;
    let order = listed(&*presence, 1_000).await;
    let everybody: BTreeSet<_> = names.iter().map(|name| user(name)).collect();
    assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), everybody);
    assert_eq!(order.len(), everybody.len(), "somebody is listed twice: {order:?}");
    for limit in [1, 2, 3, 22, 23, 24, 1_000] {
        assert_eq!(listed(&*presence, limit).await, order, "{limit} a page");
    }
    let whole = presence.online(&Page::first(names.len())).await.unwrap();
    assert_eq!(whole.next, None, "there is no more");
}

async fn a_page_has_a_limit(offer: Offer) {
    let presence = presence(&offer);
    comes(&*presence, "ann", "1", HOUR).await;
    for limit in [0, 1_001, usize::MAX] {
        refused(presence.online(&Page::first(limit)).await, Code::PageInvalid);
        refused(presence.online(&Page::after(user("a"), limit)).await, Code::PageInvalid);
    }
    for limit in [1, 1_000] {
        assert_eq!(presence.online(&Page::first(limit)).await.unwrap().items, users(&["ann"]));
    }
}

async fn a_page_begins_after_somebody_who_left(offer: Offer) {
    let presence = presence(&offer);
    for name in numbered("u", 10) {
        comes(&*presence, &name, "1", HOUR).await;
    }
    let order = listed(&*presence, 1_000).await;
    let first = presence.online(&Page::first(4)).await.unwrap();
    let cursor = first.next.expect("there is more");
    disconnected(&*presence, order[3].as_str(), "1").await;
    let rest = presence.online(&Page::after(cursor, 1_000)).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), (&order[4..], None));
}

async fn whoever_lapsed_is_not_listed(offer: Offer) {
    let presence = presence(&offer);
    let names = numbered("u", 30);
    for (nth, name) in names.iter().enumerate() {
        comes(&*presence, name, "1", if nth % 3 == 0 { HOUR } else { LEASE }).await;
    }
    offer.clock.advance(LEASE);
    let expected: Vec<_> = names.iter().step_by(3).map(|name| user(name)).collect();
    for swept in [false, true] {
        if swept {
            assert_eq!(presence.sweep(1_000).await.unwrap().len(), 20);
        }
        for limit in [1, 2, 1_000] {
            let mut found = listed(&*presence, limit).await;
            found.sort();
            assert_eq!(found, expected, "{limit} a page, swept: {swept}");
        }
    }
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

async fn who_stays_is_listed_once_while_others_come_and_go(offer: Offer) {
    let presence = presence(&offer);
    let stay: Vec<_> = (0..20).map(|nth| format!("u{nth:02}5")).collect();
    for name in &stay {
        comes(&*presence, name, "1", DAY).await;
    }
    let churn = {
        let presence = Arc::clone(&presence);
        move |round: usize| {
            let presence = Arc::clone(&presence);
            async move {
                let names = [2, 7].map(|digit| format!("u{:02}{digit}", round * 7 % 20));
                for name in &names {
                    comes(&*presence, name, "1", DAY).await;
                }
                for name in &names {
                    assert_eq!(disconnected(&*presence, name, "1").await, Transition::WentOffline);
                }
            }
        }
    };
    during(churn, async {
        for nth in 0..60 {
            let seen = listed(&*presence, 1 + nth % 7).await;
            for name in &stay {
                let times = seen.iter().filter(|user| user.as_str() == name).count();
                assert_eq!(times, 1, "{name} in {seen:?}");
            }
        }
    })
    .await;
}

async fn statistics_equal_a_recount(offer: Offer) {
    let presence = presence(&offer);
    let everybody = users(&["ann", "ben", "cid", "dan"]);
    recounted(&*presence, &everybody, offer.clock.now()).await;
    comes(&*presence, "ann", "1", LEASE).await;
    connected(&*presence, "ann", "2", HOUR).await;
    comes(&*presence, "ben", "1", LEASE).await;
    comes(&*presence, "cid", "1", HOUR).await;
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), (3, 4));
    offer.clock.advance(LEASE);
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), (2, 2), "who lapsed is not there, swept or not");
    recounted(&*presence, &everybody, offer.clock.now()).await;
    presence.sweep(10).await.unwrap();
    recounted(&*presence, &everybody, offer.clock.now()).await;
    disconnected(&*presence, "cid", "1").await;
    disconnected(&*presence, "cid", "1").await;
    comes(&*presence, "dan", "1", LEASE).await;
    recounted(&*presence, &everybody, offer.clock.now()).await;
    offer.clock.advance(LEASE);
    assert_eq!(renewed(&*presence, "dan", "1").await, Renewal::Alive);
    recounted(&*presence, &everybody, offer.clock.now()).await;
    offer.clock.advance(LEASE);
    connected(&*presence, "dan", "2", LEASE).await;
    recounted(&*presence, &everybody, offer.clock.now()).await;
    offer.clock.advance(DAY);
    let stats = presence.stats().await.unwrap();
    assert_eq!((stats.users, stats.sessions), (0, 0));
    assert_eq!(distribution(&stats.by_status), BTreeMap::new());
}

async fn the_distribution_sums_up_to_the_users(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    let names = ["online", "idle", "away", "dnd", "invisible", "timed", "lapses", "gone"];
    for name in names {
        comes(&*presence, name, "1", if name == "lapses" { MINUTE * 5 } else { DAY }).await;
        connected(&*presence, name, "2", MINUTE * 5).await;
    }
    for (name, status) in [
        ("away", PresenceStatus::Away),
        ("dnd", PresenceStatus::Dnd),
        ("invisible", PresenceStatus::Invisible),
        ("gone", PresenceStatus::Dnd),
        ("lapses", PresenceStatus::Dnd),
        ("never", PresenceStatus::Dnd),
    ] {
        presence.choose(&user(name), Some(&chosen(status))).await.unwrap();
    }
    let timed = ChosenStatus { status: PresenceStatus::Dnd, until: Some(start.after(MINUTE * 10)) };
    presence.choose(&user("timed"), Some(&timed)).await.unwrap();
    for session in ["1", "2"] {
        disconnected(&*presence, "gone", session).await;
    }
    offer.clock.advance(MINUTE);
    assert!(became_idle(&*presence, "idle", MINUTE).await);
    let everybody: Vec<_> = users(&names).into_iter().chain([user("never")]).collect();
    let told = async |online, away, dnd, invisible| {
        recounted(&*presence, &everybody, offer.clock.now()).await;
        let statuses =
            [PresenceStatus::Online, PresenceStatus::Away, PresenceStatus::Dnd, PresenceStatus::Invisible];
        let expected = statuses.into_iter().zip([online, away, dnd, invisible]).collect();
        assert_eq!(distribution(&presence.stats().await.unwrap().by_status), distribution(&expected));
    };
    told(1, 2, 3, 1).await;
    offer.clock.set(start.after(MINUTE * 5));
    told(1, 2, 2, 1).await;
    offer.clock.set(start.after(MINUTE * 10));
    told(2, 2, 1, 1).await;
    touched(&*presence, "idle").await;
    presence.choose(&user("away"), None).await.unwrap();
    told(4, 0, 1, 1).await;
    presence.sweep(1_000).await.unwrap();
    told(4, 0, 1, 1).await;
}

async fn statistics_equal_a_recount_after_racing_changes(offer: Offer) {
    let presence = presence(&offer);
    at_once(16, |_| {
        let (presence, clock) = (Arc::clone(&presence), offer.clock.clone());
        async move {
            for _ in 0..100 {
                let name = STORMED[rand::random_range(0..3)];
                match rand::random_range(0..4) {
                    0 => drop(presence.touch_many(&[user(name)]).await.unwrap()),
                    1 => drop(presence.idle_many(&[user(name)], MILLI * 2).await.unwrap()),
                    2 => {
                        let until = Some(clock.now().after(MILLI * 5));
                        let away = ChosenStatus { status: PresenceStatus::Dnd, until };
                        presence.choose(&user(name), Some(&away)).await.unwrap();
                    }
                    _ => drop(stormed(&*presence, &clock).await),
                }
                let stats = presence.stats().await.unwrap();
                assert_eq!(stats.by_status.values().sum::<u64>(), stats.users, "{stats:?}");
                assert!(stats.users <= stats.sessions && stats.users <= stats.peak_users, "{stats:?}");
                assert!(stats.peak_users <= 3 && stats.sessions <= 9, "{stats:?}");
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    recounted(&*presence, &users(&STORMED), offer.clock.now()).await;
    offer.clock.advance(MILLI * 3);
    recounted(&*presence, &users(&STORMED), offer.clock.now()).await;
    offer.clock.advance(DAY);
    recounted(&*presence, &users(&STORMED), offer.clock.now()).await;
    assert_eq!(presence.stats().await.unwrap().users, 0);
}

async fn the_peak_is_the_most_that_were_online_and_when(offer: Offer) {
    let presence = presence(&offer);
    let peak = async || {
        let stats = presence.stats().await.unwrap();
        (stats.peak_users, stats.peak_at)
    };
    assert_eq!(peak().await, (0, None));
    let mut at = None;
    for (nth, name) in ["ann", "ben", "cid"].into_iter().enumerate() {
        offer.clock.advance(SECOND);
        comes(&*presence, name, "1", HOUR).await;
        at = Some(offer.clock.now());
        assert_eq!(peak().await, (nth as u64 + 1, at));
    }
    offer.clock.advance(SECOND);
    connected(&*presence, "ann", "2", HOUR).await;
    assert_eq!(peak().await, (3, at), "a second session is no second user");
    disconnected(&*presence, "ben", "1").await;
    assert_eq!(peak().await, (3, at));
    offer.clock.advance(HOUR);
    assert_eq!(peak().await, (3, at));
    // The others lapsed, whether or not anybody has swept.
    for name in ["dan", "eve"] {
        comes(&*presence, name, "1", HOUR).await;
    }
    assert_eq!(peak().await, (3, at));
    for name in ["fay", "gus"] {
        offer.clock.advance(SECOND);
        comes(&*presence, name, "1", HOUR).await;
    }
    assert_eq!(peak().await, (4, Some(offer.clock.now())));
}

async fn sessions_of_the_last_hour_are_counted(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    let recently = async || presence.stats().await.unwrap().connected_last_hour;
    assert_eq!(recently().await, 0);
    comes(&*presence, "ann", "1", DAY).await;
    connected(&*presence, "ann", "2", DAY).await;
    connected(&*presence, "ann", "2", DAY).await;
    comes(&*presence, "ben", "1", DAY).await;
    assert_eq!(recently().await, 3);
    assert_eq!(renewed(&*presence, "ann", "1").await, Renewal::Alive);
    disconnected(&*presence, "ben", "1").await;
    assert_eq!(recently().await, 3, "begun is begun");
    offer.clock.advance(MINUTE * 30);
    comes(&*presence, "ben", "1", DAY).await;
    assert_eq!(recently().await, 4);
    offer.clock.set(start.after(MINUTE * 59));
    assert_eq!(recently().await, 4);
    offer.clock.set(start.after(MINUTE * 61));
    assert_eq!(recently().await, 1);
    offer.clock.set(start.after(MINUTE * 89));
    assert_eq!(recently().await, 1);
    offer.clock.set(start.after(MINUTE * 91));
    assert_eq!(recently().await, 0);
}

async fn the_average_is_over_closed_sessions(offer: Offer) {
    let presence = presence(&offer);
    let closed = async || {
        let stats = presence.stats().await.unwrap();
        (stats.closed_sessions, stats.average_session_ms)
    };
    assert_eq!(closed().await, (0, 0));
    comes(&*presence, "ann", "1", LEASE).await;
    comes(&*presence, "ben", "1", LEASE).await;
    connected(&*presence, "ben", "2", SECOND * 50).await;
    comes(&*presence, "stays", "1", DAY).await;
    assert_eq!(closed().await, (0, 0), "none is closed yet");
    offer.clock.advance(SECOND * 10);
    disconnected(&*presence, "ann", "1").await;
    disconnected(&*presence, "ann", "1").await;
    assert_eq!(closed().await, (1, 10_000));
    offer.clock.advance(SECOND * 20);
    assert_eq!(renewed(&*presence, "ben", "1").await, Renewal::Alive);
    disconnected(&*presence, "ben", "1").await;
    assert_eq!(closed().await, (2, 20_000), "renewed or not, it is one session");
    offer.clock.advance(HOUR);
    assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
    assert_eq!(closed().await, (3, 30_000), "what lapsed lasted as long as its lease");
    comes(&*presence, "cid", "1", LEASE).await;
    offer.clock.advance(HOUR);
    assert!(matches!(connected(&*presence, "cid", "2", LEASE).await, Transition::CameBack { .. }));
    assert_eq!(closed().await, (4, 37_500));
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let (presence, start) = (presence(&offer), offer.clock.now());
    let ids = hostile_ids();
    let leases = |nth: usize| if nth.is_multiple_of(3) { LEASE } else { HOUR };
    for (nth, id) in ids.iter().enumerate() {
        for (inner, own) in ids.iter().enumerate() {
            let transition = connected(&*presence, id, own, leases(nth)).await;
            let expected = if inner == 0 { Transition::WentOnline } else { Transition::None };
            assert_eq!(transition, expected, "{id:?} with {own:?}");
        }
        assert_eq!(sessions_of(&known(&*presence, id).await).len(), ids.len(), "{id:?}");
    }
    let order = listed(&*presence, 1).await;
    assert_eq!(
        order.iter().map(UserId::as_str).collect::<BTreeSet<_>>(),
        ids.iter().map(String::as_str).collect()
    );
    assert_eq!(order.len(), ids.len());
    assert_eq!(listed(&*presence, 1_000).await, order);
    for (nth, id) in ids.iter().enumerate() {
        let before = presence.stats().await.unwrap().sessions;
        assert_eq!(disconnected(&*presence, id, &ids[nth]).await, Transition::None);
        assert_eq!(presence.stats().await.unwrap().sessions, before - 1, "{id:?}");
        assert!(!sessions_of(&known(&*presence, id).await).contains_key(&session(&ids[nth])));
        presence.choose(&user(id), Some(&chosen(PresenceStatus::Dnd))).await.unwrap();
        let others = &ids[nth + 1..];
        for other in others {
            let known = known(&*presence, other).await;
            assert_eq!((known.sessions.len(), known.chosen), (ids.len(), None), "{other:?} after {id:?}");
        }
    }
    offer.clock.advance(LEASE);
    let mut expected: Vec<_> = ids.iter().step_by(3).map(|id| (user(id), start.after(LEASE))).collect();
    expected.sort();
    assert_eq!(sorted_lapses(presence.sweep(1_000).await.unwrap()), expected);
    for (nth, id) in ids.iter().enumerate() {
        assert_eq!(presence.is_online(&user(id)).await.unwrap(), nth % 3 != 0, "{id:?}");
    }
}

async fn an_outage_is_never_offline(offer: Offer) {
    let presence = presence(&offer);
    let outage = offer.outage.clone().expect("an outage");
    comes(&*presence, "ann", "1", LEASE).await;
    comes(&*presence, "ben", "1", DAY).await;
    comes(&*presence, "idle", "1", DAY).await;
    presence.choose(&user("ben"), Some(&chosen(PresenceStatus::Dnd))).await.unwrap();
    offer.clock.advance(LEASE);
    touched(&*presence, "ben").await;
    assert!(became_idle(&*presence, "idle", LEASE).await);
    let all = users(&["ann", "ben", "idle", "nobody"]);
    let before = (presence.get_many(&all).await.unwrap(), presence.stats().await.unwrap());

    outage.begin();
    let sessions: Vec<_> = all.iter().map(|user| (user.clone(), session("1"))).collect();
    unavailable(presence.connect(&connect("ann", "2", LEASE)).await);
    unavailable(presence.connect(&connect("nobody", "1", LEASE)).await);
    unavailable(presence.renew_many(&sessions, HOUR).await);
    unavailable(presence.renew(&user("ben"), &session("1"), HOUR).await);
    unavailable(presence.disconnect(&user("ben"), &session("1")).await);
    unavailable(presence.disconnect(&user("nobody"), &session("1")).await);
    unavailable(presence.sweep(10).await);
    unavailable(presence.get_many(&all).await);
    unavailable(presence.get(&user("ben")).await);
    unavailable(presence.are_online(&all).await);
    unavailable(presence.is_online(&user("nobody")).await);
    unavailable(presence.touch_many(&all).await);
    unavailable(presence.idle_many(&all, Duration::ZERO).await);
    unavailable(presence.choose(&user("ben"), None).await);
    unavailable(presence.set_visibility(&user("ben"), Visibility::Nobody).await);
    unavailable(presence.online(&Page::first(10)).await);
    unavailable(presence.stats().await);
    outage.end();

    assert_eq!((presence.get_many(&all).await.unwrap(), presence.stats().await.unwrap()), before);
    assert_eq!(presence.are_online(&all).await.unwrap(), [false, true, true, false]);
    assert_eq!(presence.sweep(10).await.unwrap(), [Lapse { user: user("ann"), at: offer.clock.now() }]);
    assert!(touched(&*presence, "idle").await, "it still was idle");
    assert_eq!(disconnected(&*presence, "ben", "1").await, Transition::WentOffline);
}
