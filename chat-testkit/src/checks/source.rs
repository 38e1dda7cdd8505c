//! Promises of the `source` port.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::Code;
use chat_core::event::{
    Envelope, Event, EventKind, Topic, UserProfileCreated, UserProfileDeleted, UserProfileUpdated,
};
use chat_core::store::{Outbox, UserSource, UserSourceExt};

use crate::Offer;
use crate::expect::{at_once, drained, refused, unavailable};
use crate::run::checks;
use crate::sample::{hostile_ids, user};

checks! { "source" needs [source]:
    what_was_created_is_found,
    nobody_is_a_miss,
    answers_line_up_with_the_question,
    an_empty_batch_is_an_empty_answer,
    a_profile_that_is_there_stays_as_it_is,
    an_update_changes_what_it_names,
    an_update_clears_what_it_clears,
    updated_at_always_grows,
    what_is_so_already_changes_nothing,
    a_bad_update_is_refused,
    an_update_of_nobody_is_refused,
    a_deleted_profile_is_gone_once,
    a_deletion_is_later_than_what_it_deletes,
    a_deleted_user_can_come_back,
    hostile_ids_reach_nobody_else,
    of_racing_creators_one_wins,
    of_racing_deletions_one_wins,
    racing_updates_lose_no_field,
    every_change_writes_one_event + outbox,
    what_changes_nothing_writes_nothing + outbox,
    events_are_ordered_by_their_user + outbox,
    every_event_has_its_own_id + outbox,
    racing_changes_write_their_events_in_their_order + outbox,
    an_outage_is_never_a_miss + outbox + outage,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn source(offer: &Offer) -> Arc<dyn UserSource> {
    offer.source.clone().expect("a source of profiles")
}

fn outbox(offer: &Offer) -> Arc<dyn Outbox> {
    offer.outbox.clone().expect("an outbox")
}

fn profile(id: &str, name: &str, at: Timestamp) -> UserProfile {
    UserProfile::new(user(id), name, at)
}

/// A profile with every field there is.
fn full(id: &str, name: &str, at: Timestamp) -> UserProfile {
    UserProfile {
        avatar: Some("https://pictures.invalid/1.png".to_owned()),
        matricule: Some("4711".to_owned()),
        ministere: Some("Health".to_owned()),
        sexe: Some("F".to_owned()),
        ..profile(id, name, at)
    }
}

fn ids(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

fn named(name: &str) -> ProfileUpdate {
    ProfileUpdate { full_name: Some(name.to_owned()), ..ProfileUpdate::default() }
}

/// An update of one optional field.
fn field(nth: usize, value: Option<&str>) -> ProfileUpdate {
    let (mut update, value) = (ProfileUpdate::default(), Some(value.map(str::to_owned)));
    match nth {
        0 => update.avatar = value,
        1 => update.matricule = value,
        2 => update.ministere = value,
        _ => update.sexe = value,
    }
    update
}

const FIELDS: usize = 4;

async fn created(source: &dyn UserSource, profile: &UserProfile) -> bool {
    source.create_many(std::slice::from_ref(profile)).await.unwrap() == [true]
}

async fn what_was_created_is_found(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    for new in [
        full("ada", "Ada", now),
        profile("eve", "日本 \0\"'", now.before(DAY)),
        profile("joy", "Joy", Timestamp::EPOCH),
    ] {
        assert_eq!(source.create_many(std::slice::from_ref(&new)).await.unwrap(), [true]);
        assert_eq!(source.fetch(&new.id).await.unwrap(), Some(new));
    }
    offer.clock.advance(DAY * 365);
    assert_eq!(
        source.fetch(&user("ada")).await.unwrap(),
        Some(full("ada", "Ada", now)),
        "the truth does not expire"
    );
}

async fn nobody_is_a_miss(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    assert_eq!(source.fetch(&user("ada")).await.unwrap(), None, "never a stub");
    assert!(created(&*source, &profile("ada", "Ada", now)).await);
    for other in ["Ada", "ada ", "ad", "adaa"] {
        assert_eq!(source.fetch(&user(other)).await.unwrap(), None, "{other:?}");
    }
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let [a, b, c] = ["a", "b", "c"].map(|id| full(id, id, now));
    assert_eq!(source.create_many(&[a.clone(), b.clone()]).await.unwrap(), [true, true]);
    let again = profile("b", "other", now.after(SECOND));
    assert_eq!(
        source.create_many(&[again, c.clone(), a.clone(), c.clone()]).await.unwrap(),
        [false, true, false, false]
    );
    let found = source.fetch_many(&ids(&["c", "x", "a", "c", "y", "b"])).await.unwrap();
    assert_eq!(found, [Some(c.clone()), None, Some(a), Some(c), None, Some(b)]);
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    let source = source(&offer);
    assert!(source.fetch_many(&[]).await.unwrap().is_empty());
    assert!(source.create_many(&[]).await.unwrap().is_empty());
}

async fn a_profile_that_is_there_stays_as_it_is(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let ada = full("ada", "Ada", now);
    assert!(created(&*source, &ada).await);
    for other in
        [ada.clone(), profile("ada", "newer", now.after(DAY)), profile("ada", "older", now.before(DAY))]
    {
        assert!(!created(&*source, &other).await);
        assert_eq!(source.fetch(&ada.id).await.unwrap(), Some(ada.clone()));
    }
}

async fn an_update_changes_what_it_names(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let mut expected = full("ada", "Ada", now);
    let other = full("eve", "Eve", now);
    assert_eq!(source.create_many(&[expected.clone(), other.clone()]).await.unwrap(), [true, true]);
    let updates = (0..FIELDS).map(|nth| field(nth, Some("new"))).chain([named("Ada King")]);
    for update in updates {
        offer.clock.advance(SECOND);
        expected = update.apply(&expected, offer.clock.now());
        assert_eq!(source.update(&expected.id, &update).await.unwrap(), expected, "{update:?}");
        assert_eq!(
            source.fetch_many(&ids(&["ada", "eve"])).await.unwrap(),
            [Some(expected.clone()), Some(other.clone())]
        );
    }
}

async fn an_update_clears_what_it_clears(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let mut expected = full("ada", "Ada", now);
    assert!(created(&*source, &expected).await);
    for nth in 0..FIELDS {
        offer.clock.advance(SECOND);
        let update = field(nth, None);
        expected = update.apply(&expected, offer.clock.now());
        assert_eq!(source.update(&expected.id, &update).await.unwrap(), expected, "{update:?}");
    }
    assert_eq!(source.fetch(&expected.id).await.unwrap(), Some(profile("ada", "Ada", offer.clock.now())));
}

async fn updated_at_always_grows(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    // The host's clock was ahead when it made this one.
    let mut last = now.after(DAY);
    assert!(created(&*source, &profile("ada", "Ada", last)).await);
    for step in 0..10 {
        match step {
            3 => offer.clock.set(now.before(DAY)),
            6 => offer.clock.advance(DAY * 3),
            _ => {}
        }
        let changed = source.update(&user("ada"), &named(&format!("Ada {step}"))).await.unwrap();
        assert!(changed.updated_at > last, "{} is not after {last}", changed.updated_at);
        assert!(changed.updated_at >= offer.clock.now());
        assert_eq!(source.fetch(&user("ada")).await.unwrap(), Some(changed.clone()));
        last = changed.updated_at;
    }
}

async fn what_is_so_already_changes_nothing(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let ada = full("ada", "Ada", now);
    assert!(created(&*source, &ada).await);
    offer.clock.advance(DAY);
    let same = ProfileUpdate {
        full_name: Some(ada.full_name.clone()),
        avatar: Some(ada.avatar.clone()),
        matricule: Some(ada.matricule.clone()),
        ministere: Some(ada.ministere.clone()),
        sexe: Some(ada.sexe.clone()),
    };
    for update in [ProfileUpdate::default(), same, named("Ada"), field(1, ada.matricule.as_deref())] {
        for _ in 0..2 {
            assert_eq!(source.update(&ada.id, &update).await.unwrap(), ada, "{update:?}");
            assert_eq!(source.fetch(&ada.id).await.unwrap(), Some(ada.clone()));
        }
    }
    let once = source.update(&ada.id, &named("Ada King")).await.unwrap();
    offer.clock.advance(DAY);
    assert_eq!(source.update(&ada.id, &named("Ada King")).await.unwrap(), once, "the second time it was so");
}

async fn a_bad_update_is_refused(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let ada = full("ada", "Ada", now);
    assert!(created(&*source, &ada).await);
    offer.clock.advance(SECOND);
    let (long, too_long) = ("é".repeat(200), "é".repeat(201));
    let mut bad = vec![named(""), named(" \t"), named(&too_long)];
    for nth in 0..FIELDS {
        bad.extend([field(nth, Some("")), field(nth, Some("  ")), field(nth, Some(&"x".repeat(2_049)))]);
        // One bad field spoils the good one.
        bad.push(ProfileUpdate { full_name: Some("Ada King".to_owned()), ..field(nth, Some("")) });
    }
    for update in bad {
        refused(source.update(&ada.id, &update).await, Code::UserInvalid);
        assert_eq!(source.fetch(&ada.id).await.unwrap(), Some(ada.clone()), "nothing of {update:?} holds");
    }
    assert_eq!(
        source.update(&ada.id, &named(&long)).await.unwrap().full_name,
        long,
        "characters count, not bytes"
    );
}

async fn an_update_of_nobody_is_refused(offer: Offer) {
    let source = source(&offer);
    for update in [named("Ada"), ProfileUpdate::default(), field(0, None)] {
        refused(source.update(&user("ada"), &update).await, Code::UserNotFound);
        assert_eq!(source.fetch(&user("ada")).await.unwrap(), None, "nobody came into being");
    }
}

async fn a_deleted_profile_is_gone_once(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    assert_eq!(source.delete(&user("ada")).await.unwrap(), None);
    let eve = full("eve", "Eve", now);
    source.create_many(&[full("ada", "Ada", now), eve.clone()]).await.unwrap();
    assert!(source.delete(&user("ada")).await.unwrap().is_some());
    for _ in 0..2 {
        assert_eq!(source.delete(&user("ada")).await.unwrap(), None);
        assert_eq!(source.fetch_many(&ids(&["ada", "eve"])).await.unwrap(), [None, Some(eve.clone())]);
        refused(source.update(&user("ada"), &named("Ada")).await, Code::UserNotFound);
    }
}

async fn a_deletion_is_later_than_what_it_deletes(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    for (id, made) in [("past", now.before(DAY)), ("now", now), ("future", now.after(DAY))] {
        assert!(created(&*source, &profile(id, "Ada", made)).await);
        let deleted = source.delete(&user(id)).await.unwrap().expect("a deletion");
        assert!(
            deleted > made && deleted >= now,
            "{deleted} of {made} at {now}: a cache would keep the profile"
        );
    }
}

async fn a_deleted_user_can_come_back(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    assert!(created(&*source, &full("ada", "Ada", now)).await);
    source.delete(&user("ada")).await.unwrap();
    offer.clock.advance(SECOND);
    let again = profile("ada", "Ada", offer.clock.now());
    assert!(created(&*source, &again).await);
    assert_eq!(source.fetch(&again.id).await.unwrap(), Some(again), "nothing of the life before");
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    let hostile = hostile_ids();
    let all: Vec<_> =
        hostile.iter().enumerate().map(|(nth, id)| full(id, &format!("name {nth}"), now)).collect();
    assert_eq!(source.create_many(&all).await.unwrap(), vec![true; all.len()]);
    let asked: Vec<_> = hostile.iter().map(|id| user(id)).collect();
    let mut expected: Vec<_> = all.into_iter().map(Some).collect();
    for (nth, id) in hostile.iter().enumerate() {
        expected[nth] = Some(source.update(&user(id), &named(&format!("new name {nth}"))).await.unwrap());
        assert_eq!(source.fetch_many(&asked).await.unwrap(), expected, "after the update of {id:?}");
    }
    for (nth, id) in hostile.iter().enumerate() {
        assert!(source.delete(&user(id)).await.unwrap().is_some(), "{id:?}");
        expected[nth] = None;
        assert_eq!(source.fetch_many(&asked).await.unwrap(), expected, "after the deletion of {id:?}");
    }
}

async fn of_racing_creators_one_wins(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    for round in 0..10 {
        let id = format!("u{round}");
        let made = at_once(16, |nth| {
            let (source, id) = (Arc::clone(&source), id.clone());
            async move { created(&*source, &full(&id, &format!("maker {nth}"), now)).await }
        })
        .await;
        let winners: Vec<_> = (0..made.len()).filter(|nth| made[*nth]).collect();
        let [winner] = winners[..] else { panic!("made by {winners:?}") };
        assert_eq!(source.fetch(&user(&id)).await.unwrap(), Some(full(&id, &format!("maker {winner}"), now)));
    }
}

async fn of_racing_deletions_one_wins(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    for round in 0..10 {
        let id = user(&format!("u{round}"));
        assert!(created(&*source, &UserProfile::new(id.clone(), "Ada", now)).await);
        let deleted = at_once(16, |_| {
            let (source, id) = (Arc::clone(&source), id.clone());
            async move { source.delete(&id).await.unwrap() }
        })
        .await;
        assert_eq!(deleted.iter().flatten().count(), 1, "{deleted:?}");
        assert_eq!(source.fetch(&id).await.unwrap(), None);
    }
}

async fn racing_updates_lose_no_field(offer: Offer) {
    let (source, now) = (source(&offer), offer.clock.now());
    for round in 0..10 {
        let id = user(&format!("u{round}"));
        assert!(created(&*source, &UserProfile::new(id.clone(), "Ada", now)).await);
        let answers = at_once(FIELDS, |nth| {
            let (source, id) = (Arc::clone(&source), id.clone());
            async move { source.update(&id, &field(nth, Some(&format!("value {nth}")))).await.unwrap() }
        })
        .await;
        let found = source.fetch(&id).await.unwrap().expect("a profile");
        let values = [&found.avatar, &found.matricule, &found.ministere, &found.sexe]
            .map(|value| value.clone().unwrap_or_default());
        assert_eq!(values, ["value 0", "value 1", "value 2", "value 3"]);
        let times: BTreeSet<_> = answers.iter().map(|answer| answer.updated_at).collect();
        assert_eq!(times.len(), FIELDS, "every change has a time of its own");
        assert_eq!(times.last(), Some(&found.updated_at));
    }
}

/// The only event waiting.
async fn only_event(outbox: &dyn Outbox) -> Envelope {
    let mut events = drained(outbox).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

async fn every_change_writes_one_event(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    let ada = full("ada", "Ada", now);
    assert!(created(&*source, &ada).await);
    let event = only_event(&*outbox).await;
    assert_eq!(event.kind(), Some(EventKind::UserProfileCreated));
    assert_eq!(event.event, Event::from(UserProfileCreated::from(&ada)));
    offer.clock.advance(SECOND);
    let mut last = ada;
    for update in (0..FIELDS).map(|nth| field(nth, None)).chain([named("Ada King"), field(1, Some("4712"))]) {
        last = source.update(&last.id, &update).await.unwrap();
        let event = only_event(&*outbox).await;
        assert_eq!(event.kind(), Some(EventKind::UserProfileUpdated));
        assert_eq!(event.event, Event::from(UserProfileUpdated::from(&last)), "the whole of it");
        assert_eq!(event.at, last.updated_at);
    }
    let at = source.delete(&last.id).await.unwrap().expect("a deletion");
    let event = only_event(&*outbox).await;
    assert_eq!(event.kind(), Some(EventKind::UserProfileDeleted));
    let deleted = UserProfileDeleted { user_id: last.id.clone(), matricule: Some("4712".to_owned()) };
    assert_eq!(event.event, Event::from(deleted));
    assert_eq!(event.at, at, "when it was deleted, by which caches refuse what is older");
    let many: Vec<_> = (0..5).map(|nth| profile(&format!("u{nth}"), "Ada", now)).collect();
    source.create_many(&many).await.unwrap();
    let made: BTreeSet<_> = drained(&*outbox).await.iter().map(Envelope::key).collect();
    assert_eq!(made.len(), 5, "one for each of a batch");
}

async fn what_changes_nothing_writes_nothing(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    let ada = full("ada", "Ada", now);
    assert_eq!(source.create_many(&[ada.clone(), ada.clone()]).await.unwrap(), [true, false]);
    assert_eq!(drained(&*outbox).await.len(), 1, "one of a batch with a repetition");
    offer.clock.advance(SECOND);
    assert!(!created(&*source, &profile("ada", "other", now.after(DAY))).await);
    source.create_many(&[]).await.unwrap();
    source.update(&ada.id, &ProfileUpdate::default()).await.unwrap();
    source.update(&ada.id, &named("Ada")).await.unwrap();
    refused(source.update(&ada.id, &named("")).await, Code::UserInvalid);
    refused(source.update(&user("eve"), &named("Eve")).await, Code::UserNotFound);
    assert_eq!(source.delete(&user("eve")).await.unwrap(), None);
    source.fetch_many(&ids(&["ada", "eve"])).await.unwrap();
    assert_eq!(drained(&*outbox).await, []);
    source.delete(&ada.id).await.unwrap();
    source.delete(&ada.id).await.unwrap();
    assert_eq!(drained(&*outbox).await.len(), 1);
}

async fn events_are_ordered_by_their_user(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    let people: Vec<_> = hostile_ids().iter().map(|id| profile(id, "Ada", now)).collect();
    source.create_many(&people).await.unwrap();
    for person in &people {
        source.update(&person.id, &named("Eve")).await.unwrap();
    }
    for person in &people {
        source.delete(&person.id).await.unwrap();
    }
    let events = drained(&*outbox).await;
    assert_eq!(events.len(), people.len() * 3);
    assert!(events.iter().all(|event| event.topic() == Topic::Users));
    let keys: BTreeSet<_> = events.iter().map(Envelope::key).collect();
    assert_eq!(keys.len(), people.len(), "every user has a key of its own");
    for key in &keys {
        let kinds: Vec<_> =
            events.iter().filter(|event| event.key() == *key).filter_map(Envelope::kind).collect();
        let expected =
            [EventKind::UserProfileCreated, EventKind::UserProfileUpdated, EventKind::UserProfileDeleted];
        assert_eq!(kinds, expected, "{key}");
    }
}

async fn every_event_has_its_own_id(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    let ada = profile("ada", "Ada", now);
    for _ in 0..3 {
        // The same again at the same instant: changes of their own, each.
        assert!(created(&*source, &ada).await);
        source.update(&ada.id, &named("Eve")).await.unwrap();
        source.update(&ada.id, &named("Ada")).await.unwrap();
        source.update(&ada.id, &named("Eve")).await.unwrap();
        source.delete(&ada.id).await.unwrap();
    }
    let events = drained(&*outbox).await;
    let ids: BTreeSet<_> = events.iter().map(|event| event.id.as_str().to_owned()).collect();
    assert_eq!((events.len(), ids.len()), (15, 15), "a log that knows the id would drop the event");
}

async fn racing_changes_write_their_events_in_their_order(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    for round in 0..5 {
        let id = user(&format!("u{round}"));
        let changes = at_once(16, |nth| {
            let (source, id) = (Arc::clone(&source), id.clone());
            async move {
                let made = created(&*source, &UserProfile::new(id.clone(), "Ada", now)).await;
                let deleted = nth % 8 == 3 && source.delete(&id).await.unwrap().is_some();
                let updated = match source.update(&id, &named(&format!("Ada {nth}"))).await {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.code(), Code::UserNotFound);
                        false
                    }
                };
                [made, deleted, updated].into_iter().filter(|changed| *changed).count()
            }
        })
        .await;
        let events = drained(&*outbox).await;
        assert_eq!(events.len(), changes.iter().sum::<usize>(), "one event for each change");
        let mut there: Option<UserProfile> = None;
        for Envelope { event, .. } in events {
            there = match event {
                Event::UserProfileCreated(created) => {
                    assert_eq!(there, None, "created while it was there");
                    Some(created.into())
                }
                Event::UserProfileUpdated(updated) => {
                    let (before, after) =
                        (there.expect("updated while it was there"), UserProfile::from(updated));
                    assert!(after.updated_at > before.updated_at);
                    Some(after)
                }
                Event::UserProfileDeleted(_) => {
                    assert!(there.is_some(), "deleted while it was there");
                    None
                }
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(source.fetch(&id).await.unwrap(), there, "the events tell how it came to be so");
    }
}

async fn an_outage_is_never_a_miss(offer: Offer) {
    let (source, outbox, now) = (source(&offer), outbox(&offer), offer.clock.now());
    let outage = offer.outage.clone().expect("an outage");
    let ada = full("ada", "Ada", now);
    assert!(created(&*source, &ada).await);
    assert_eq!(drained(&*outbox).await.len(), 1);
    outage.begin();
    unavailable(source.fetch_many(&ids(&["ada", "eve"])).await);
    unavailable(source.fetch(&ada.id).await);
    unavailable(source.create_many(&[profile("eve", "Eve", now)]).await);
    unavailable(source.update(&ada.id, &named("Ada King")).await);
    unavailable(source.update(&user("eve"), &named("Eve")).await);
    unavailable(source.delete(&ada.id).await);
    unavailable(source.delete(&user("eve")).await);
    outage.end();
    assert_eq!(source.fetch_many(&ids(&["ada", "eve"])).await.unwrap(), [Some(ada), None], "as before");
    assert_eq!(drained(&*outbox).await, [], "and nobody is told otherwise");
}
