//! Promises of the `users` port.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::domain::{UserId, UserProfile};
use chat_core::store::users::{PROFILE_TTL, UserStoreStats};
use chat_core::store::{UserStore, UserStoreExt};

use crate::Offer;
use crate::expect::{at_once, unavailable};
use crate::run::checks;
use crate::sample::{hostile_ids, user};
use crate::walk::eventually;

checks! { "users" needs [users]:
    what_was_put_is_found,
    a_miss_is_a_miss,
    answers_line_up_with_the_question,
    an_empty_batch_is_an_empty_answer,
    profiles_of_a_batch_follow_each_other,
    fields_come_back_as_they_were,
    a_newer_profile_replaces_the_whole,
    an_older_profile_changes_nothing,
    repeating_a_put_changes_nothing,
    a_profile_is_gone_at_its_time_to_live,
    every_put_begins_a_new_time_to_live,
    a_refused_put_keeps_nothing_alive,
    a_removed_profile_is_a_miss,
    a_profile_older_than_its_removal_is_refused,
    a_removal_of_nobody_known_is_remembered,
    a_removal_spares_a_newer_profile,
    an_older_removal_takes_nothing_back,
    removals_reach_nobody_else,
    hostile_ids_reach_nobody_else,
    the_newest_of_racing_puts_is_kept,
    racing_puts_never_mix_their_fields,
    a_put_racing_a_removal_does_not_outlive_it,
    the_numbers_count_what_is_kept,
    an_outage_is_never_a_miss + outage,
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn users(offer: &Offer) -> Arc<dyn UserStore> {
    offer.users.clone().expect("a profile cache")
}

fn profile(id: &str, name: &str, at: Timestamp) -> UserProfile {
    UserProfile::new(user(id), name, at)
}

/// A profile with every field there is.
fn full(id: &str, name: &str, at: Timestamp) -> UserProfile {
    UserProfile {
        avatar: Some(format!("https://pictures.invalid/{name}.png")),
        matricule: Some(format!("number of {name}")),
        ministere: Some(format!("ministry of {name}")),
        sexe: Some(format!("sex of {name}")),
        ..profile(id, name, at)
    }
}

fn ids(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

/// The numbers, once they had their minute to be right.
async fn cached_becomes(offer: &Offer, expected: u64) {
    let users = users(offer);
    offer.clock.advance(MINUTE);
    eventually(&format!("{expected} profiles are counted"), || async {
        users.stats().await.unwrap()
            == UserStoreStats { cached: expected, ttl_seconds: PROFILE_TTL.as_secs() }
    })
    .await;
}

async fn what_was_put_is_found(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    for ada in [profile("ada", "Ada", now), full("ada", "Ada Lovelace", now.after(SECOND))] {
        assert!(users.put(&ada).await.unwrap());
        assert_eq!(users.get(&ada.id).await.unwrap(), Some(ada));
    }
}

async fn a_miss_is_a_miss(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    assert_eq!(users.get(&user("ada")).await.unwrap(), None, "never a stub");
    users.put(&profile("ada", "Ada", now)).await.unwrap();
    for other in ["Ada", "ada ", " ada", "adaa", "ad", "ada:"] {
        assert_eq!(users.get(&user(other)).await.unwrap(), None, "{other:?}");
    }
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let [a, b, c] = ["a", "b", "c"].map(|id| profile(id, id, now));
    assert_eq!(users.put_many(&[a.clone(), b.clone(), c.clone()]).await.unwrap(), [true, true, true]);
    let found = users.get_many(&ids(&["c", "x", "a", "c", "y", "b"])).await.unwrap();
    assert_eq!(found, [Some(c.clone()), None, Some(a), Some(c), None, Some(b)]);
    let (older, newer) = (now.before(SECOND), now.after(SECOND));
    let put = [
        profile("b", "b", older),
        profile("x", "x", older),
        profile("c", "c", newer),
        profile("a", "a", older),
    ];
    assert_eq!(users.put_many(&put).await.unwrap(), [false, true, true, false]);
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    let users = users(&offer);
    assert!(users.get_many(&[]).await.unwrap().is_empty());
    assert!(users.put_many(&[]).await.unwrap().is_empty());
    users.remove_many(&[]).await.unwrap();
}

async fn profiles_of_a_batch_follow_each_other(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let (first, second) = (full("ada", "first", now), profile("ada", "second", now.after(MILLI)));
    assert_eq!(users.put_many(&[first.clone(), second.clone()]).await.unwrap(), [true, true]);
    assert_eq!(users.get(&first.id).await.unwrap(), Some(second.clone()));
    let (first, second) = (full("eve", "first", now), profile("eve", "second", now.after(MILLI)));
    assert_eq!(users.put_many(&[second.clone(), first]).await.unwrap(), [true, false]);
    assert_eq!(users.get(&second.id).await.unwrap(), Some(second.clone()));
    users.remove_many(&[(user("ada"), now.before(SECOND)), (user("ada"), now.after(SECOND))]).await.unwrap();
    assert_eq!(users.get(&user("ada")).await.unwrap(), None);
}

async fn fields_come_back_as_they_were(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let texts = [" ", "null", "日本 é", "\0\r\n\"'\\", "{\"fullName\":1}", &"x".repeat(5_000)];
    for (nth, text) in texts.into_iter().enumerate() {
        let id = format!("u{nth}");
        let with = full(&id, text, now);
        assert!(users.put(&with).await.unwrap());
        assert_eq!(users.get(&with.id).await.unwrap(), Some(with), "{text:?}");
        let bare = UserProfile { avatar: Some(text.to_owned()), ..profile(&id, text, now.after(MILLI)) };
        assert!(users.put(&bare).await.unwrap());
        assert_eq!(users.get(&bare.id).await.unwrap(), Some(bare), "{text:?}");
    }
    let first = profile("old", "Ada", Timestamp::EPOCH);
    assert!(users.put(&first).await.unwrap());
    assert_eq!(users.get(&first.id).await.unwrap(), Some(first), "from the beginning of time");
}

async fn a_newer_profile_replaces_the_whole(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    users.put(&full("ada", "Ada", now)).await.unwrap();
    let newer = profile("ada", "Ada King", now.after(MILLI));
    assert!(users.put(&newer).await.unwrap());
    assert_eq!(users.get(&newer.id).await.unwrap(), Some(newer), "no field of the old one survives");
}

async fn an_older_profile_changes_nothing(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let kept = profile("ada", "Ada", now);
    users.put(&kept).await.unwrap();
    for before in [MILLI, SECOND, PROFILE_TTL] {
        for _ in 0..2 {
            assert!(!users.put(&full("ada", "old", now.before(before))).await.unwrap(), "{before:?}");
            assert_eq!(users.get(&kept.id).await.unwrap(), Some(kept.clone()), "{before:?}");
        }
    }
    // What is newer is decided by numbers, not by text.
    let (nine, ten) = (Timestamp::from_millis(999), Timestamp::from_millis(1_000));
    assert!(users.put(&profile("eve", "ten", ten)).await.unwrap());
    assert!(!users.put(&profile("eve", "nine", nine)).await.unwrap());
}

async fn repeating_a_put_changes_nothing(offer: Offer) {
    let (users, ada) = (users(&offer), full("ada", "Ada", offer.clock.now()));
    for _ in 0..3 {
        assert_eq!(users.put_many(&[ada.clone(), ada.clone()]).await.unwrap(), [true, true]);
        assert_eq!(users.get(&ada.id).await.unwrap(), Some(ada.clone()));
    }
    cached_becomes(&offer, 1).await;
}

async fn a_profile_is_gone_at_its_time_to_live(offer: Offer) {
    let (users, ada) = (users(&offer), profile("ada", "Ada", offer.clock.now().before(DAY * 365)));
    users.put(&ada).await.unwrap();
    offer.clock.advance(PROFILE_TTL - MILLI);
    assert_eq!(users.get(&ada.id).await.unwrap(), Some(ada.clone()), "a millisecond before");
    offer.clock.advance(MILLI);
    assert_eq!(users.get(&ada.id).await.unwrap(), None, "at the end");
    offer.clock.advance(PROFILE_TTL);
    assert_eq!(users.get(&ada.id).await.unwrap(), None, "after it");
    assert!(users.put(&ada).await.unwrap(), "to expire is not to be removed");
    assert_eq!(users.get(&ada.id).await.unwrap(), Some(ada));
}

async fn every_put_begins_a_new_time_to_live(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let (same, newer) = (profile("same", "Ada", now), profile("newer", "Eve", now));
    let left = profile("left", "Joy", now);
    users.put_many(&[same.clone(), newer.clone(), left.clone()]).await.unwrap();
    offer.clock.advance(DAY);
    let newer = UserProfile { updated_at: now.after(MILLI), ..newer };
    assert_eq!(users.put_many(&[same.clone(), newer.clone()]).await.unwrap(), [true, true]);
    offer.clock.advance(PROFILE_TTL - DAY);
    let asked = ids(&["same", "newer", "left"]);
    assert_eq!(users.get_many(&asked).await.unwrap(), [Some(same.clone()), Some(newer.clone()), None]);
    offer.clock.advance(DAY - MILLI);
    assert_eq!(users.get_many(&asked).await.unwrap(), [Some(same), Some(newer), None]);
    offer.clock.advance(MILLI);
    assert_eq!(users.get_many(&asked).await.unwrap(), [None, None, None]);
}

async fn a_refused_put_keeps_nothing_alive(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let ada = profile("ada", "Ada", now);
    users.put(&ada).await.unwrap();
    offer.clock.advance(PROFILE_TTL - MILLI);
    assert!(!users.put(&profile("ada", "old", now.before(MILLI))).await.unwrap());
    assert!(users.get(&ada.id).await.unwrap().is_some(), "nor does reading");
    offer.clock.advance(MILLI);
    assert_eq!(users.get(&ada.id).await.unwrap(), None);
}

async fn a_removed_profile_is_a_miss(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    users.put(&full("ada", "Ada", now)).await.unwrap();
    for _ in 0..3 {
        users.remove_many(&[(user("ada"), now.after(MILLI)), (user("ada"), now.after(MILLI))]).await.unwrap();
        assert_eq!(users.get(&user("ada")).await.unwrap(), None);
    }
    cached_becomes(&offer, 0).await;
}

async fn a_profile_older_than_its_removal_is_refused(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let deleted = now.after(MINUTE);
    users.put(&profile("ada", "Ada", now)).await.unwrap();
    users.remove_many(&[(user("ada"), deleted)]).await.unwrap();
    for wait in [Duration::ZERO, MINUTE, MINUTE, DAY, PROFILE_TTL - DAY - MINUTE * 2 - MILLI] {
        offer.clock.advance(wait);
        for at in [now, deleted.before(MILLI), deleted] {
            assert!(!users.put(&full("ada", "late", at)).await.unwrap(), "{at} after another {wait:?}");
            assert_eq!(users.get(&user("ada")).await.unwrap(), None);
        }
    }
    let again = profile("ada", "Ada again", deleted.after(MILLI));
    assert!(users.put(&again).await.unwrap(), "whoever came back is welcome");
    assert_eq!(users.get(&again.id).await.unwrap(), Some(again.clone()));
    assert!(!users.put(&profile("ada", "late", deleted.before(MILLI))).await.unwrap());
    assert_eq!(users.get(&again.id).await.unwrap(), Some(again));
}

async fn a_removal_of_nobody_known_is_remembered(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    users.remove_many(&[(user("ada"), now)]).await.unwrap();
    assert_eq!(users.get(&user("ada")).await.unwrap(), None);
    assert!(!users.put(&profile("ada", "late", now.before(MILLI))).await.unwrap());
    assert_eq!(users.get(&user("ada")).await.unwrap(), None);
    assert!(users.put(&profile("ada", "Ada", now.after(MILLI))).await.unwrap());
}

async fn a_removal_spares_a_newer_profile(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let again = profile("ada", "Ada again", now);
    users.put(&again).await.unwrap();
    users.remove_many(&[(user("ada"), now.before(MILLI))]).await.unwrap();
    assert_eq!(
        users.get(&again.id).await.unwrap(),
        Some(again.clone()),
        "the removal was of the life before"
    );
    assert!(!users.put(&profile("ada", "late", now.before(SECOND))).await.unwrap());
    offer.clock.advance(PROFILE_TTL);
    assert_eq!(users.get(&again.id).await.unwrap(), None);
}

async fn an_older_removal_takes_nothing_back(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    users.remove_many(&[(user("ada"), now)]).await.unwrap();
    users.remove_many(&[(user("ada"), now.before(MINUTE))]).await.unwrap();
    assert!(
        !users.put(&profile("ada", "late", now.before(SECOND))).await.unwrap(),
        "the later removal holds"
    );
    users.remove_many(&[(user("ada"), now.after(MINUTE))]).await.unwrap();
    assert!(!users.put(&profile("ada", "late", now.after(SECOND))).await.unwrap());
}

async fn removals_reach_nobody_else(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let [a, b, c] = ["a", "ab", "c"].map(|id| full(id, id, now));
    users.put_many(&[a.clone(), b.clone(), c.clone()]).await.unwrap();
    users
        .remove_many(&[(a.id.clone(), now.after(MILLI)), (user("x"), now), (c.id.clone(), now.after(MILLI))])
        .await
        .unwrap();
    assert_eq!(users.get_many(&ids(&["a", "ab", "c"])).await.unwrap(), [None, Some(b), None]);
    assert!(users.put(&profile("b", "b", now)).await.unwrap());
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let hostile = hostile_ids();
    let all: Vec<_> =
        hostile.iter().enumerate().map(|(nth, id)| full(id, &format!("name {nth}"), now)).collect();
    assert_eq!(users.put_many(&all).await.unwrap(), vec![true; all.len()]);
    let asked: Vec<_> = hostile.iter().map(|id| user(id)).collect();
    let mut expected: Vec<_> = all.into_iter().map(Some).collect();
    assert_eq!(users.get_many(&asked).await.unwrap(), expected);
    for (nth, id) in hostile.iter().enumerate() {
        assert_eq!(users.get(&user(id)).await.unwrap(), expected[nth], "{id:?}");
        users.remove_many(&[(user(id), now.after(MILLI))]).await.unwrap();
        expected[nth] = None;
        assert_eq!(users.get_many(&asked).await.unwrap(), expected, "after the removal of {id:?}");
    }
}

async fn the_newest_of_racing_puts_is_kept(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    for round in 0..10 {
        let id = format!("u{round}");
        at_once(32, |nth| {
            let (users, id) = (Arc::clone(&users), id.clone());
            let at = now.after(MILLI * u32::try_from(nth * 13 % 32).expect("few tasks"));
            async move { users.put(&full(&id, &at.to_string(), at)).await.unwrap() }
        })
        .await;
        let newest = now.after(MILLI * 31);
        assert_eq!(users.get(&user(&id)).await.unwrap(), Some(full(&id, &newest.to_string(), newest)));
    }
}

async fn racing_puts_never_mix_their_fields(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    at_once(16, |nth| {
        let users = Arc::clone(&users);
        async move {
            for step in 0..20 {
                if nth % 2 == 0 {
                    let at = now.after(MILLI * (step * 16 + u32::try_from(nth).expect("few tasks")));
                    let name = at.to_string();
                    let new = if nth % 4 == 0 { full("ada", &name, at) } else { profile("ada", &name, at) };
                    users.put(&new).await.unwrap();
                } else if let Some(seen) = users.get(&user("ada")).await.unwrap() {
                    let (name, at) = (seen.full_name.clone(), seen.updated_at);
                    assert_eq!(name, at.to_string());
                    let whole = [full("ada", &name, at), profile("ada", &name, at)];
                    assert!(whole.contains(&seen), "fields of different profiles: {seen:?}");
                }
            }
        }
    })
    .await;
}

async fn a_put_racing_a_removal_does_not_outlive_it(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    for round in 0..20 {
        let id = format!("u{round}");
        at_once(8, |nth| {
            let (users, id) = (Arc::clone(&users), id.clone());
            async move {
                if nth == 3 {
                    users.remove_many(&[(user(&id), now.after(MILLI))]).await.unwrap();
                } else {
                    users.put(&profile(&id, "late", now)).await.unwrap();
                }
            }
        })
        .await;
        assert_eq!(users.get(&user(&id)).await.unwrap(), None);
    }
}

async fn the_numbers_count_what_is_kept(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    cached_becomes(&offer, 0).await;
    let all: Vec<_> = (0..10).map(|nth| profile(&format!("u{nth}"), "Ada", now)).collect();
    for _ in 0..2 {
        users.put_many(&all).await.unwrap();
    }
    cached_becomes(&offer, 10).await;
    users.put(&profile("u0", "old", now.before(MILLI))).await.unwrap();
    users.remove_many(&[(user("u1"), now.after(MILLI)), (user("nobody"), now)]).await.unwrap();
    users.put(&profile("u1", "late", now)).await.unwrap();
    cached_becomes(&offer, 9).await;
    offer.clock.advance(DAY);
    users.put(&profile("u9", "Ada", now.after(SECOND))).await.unwrap();
    offer.clock.advance(PROFILE_TTL - DAY);
    cached_becomes(&offer, 1).await;
    offer.clock.advance(DAY);
    cached_becomes(&offer, 0).await;
}

async fn an_outage_is_never_a_miss(offer: Offer) {
    let (users, now) = (users(&offer), offer.clock.now());
    let outage = offer.outage.clone().expect("an outage");
    let ada = full("ada", "Ada", now);
    users.put(&ada).await.unwrap();
    outage.begin();
    unavailable(users.get_many(&ids(&["ada", "eve"])).await);
    unavailable(users.get(&ada.id).await);
    unavailable(
        users.put_many(&[profile("ada", "new", now.after(SECOND)), profile("eve", "Eve", now)]).await,
    );
    unavailable(users.put(&profile("eve", "Eve", now)).await);
    unavailable(users.remove_many(&[(user("ada"), now.after(MILLI)), (user("joy"), now.after(MILLI))]).await);
    unavailable(users.stats().await);
    outage.end();
    assert_eq!(users.get_many(&ids(&["ada", "eve"])).await.unwrap(), [Some(ada.clone()), None], "as before");
    assert!(users.put(&profile("joy", "Joy", now)).await.unwrap(), "nobody was removed");
    cached_becomes(&offer, 2).await;
}
