//! Promises of profiles: a cache in front of the truth.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::Code;
use chat_core::event::Event;
use chat_core::store::{UserSource, UserSourceExt, UserStore, UserStoreExt};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::faulty::{Faulty, Outage, Switch};
use crate::sample::user;
use crate::stage::{Stage, actor, counted, platform_admin};

promises! {
    "service::profiles":
    profiles_come_from_the_cache_else_from_truth,
    a_failing_cache_is_passed_by,
    an_outage_of_truth_is_no_missing_profile,
    one_changes_ones_own_profile,
    a_change_is_in_truth_and_cache_and_said_once,
    a_missing_profile_is_made_if_it_is_named,
    bad_profiles_are_refused,
    a_profile_is_made_once_from_a_name,
    racing_sign_ins_make_one_profile,
    a_deleted_profile_is_gone_everywhere,
    a_late_fill_does_not_bring_a_profile_back,
}

fn named(name: &str) -> ProfileUpdate {
    ProfileUpdate { full_name: Some(name.to_owned()), ..ProfileUpdate::default() }
}

async fn known(stage: &Stage, name: &str) -> UserProfile {
    stage.chat.ensure_profile(&user(name), &format!("{name} called")).await.unwrap();
    stage.quiet().await;
    stage.ports().source.fetch(&user(name)).await.unwrap().expect("a profile")
}

async fn profiles_come_from_the_cache_else_from_truth(offer: Offer) {
    let (offer, calls) = counted(offer);
    let stage = Stage::new(offer).await;
    let profiles: Vec<UserProfile> = ["ada", "bob"]
        .map(|name| UserProfile {
            avatar: Some("https://pictures.example/1".to_owned()),
            matricule: Some("M-1".to_owned()),
            ministere: Some("Works".to_owned()),
            sexe: Some("F".to_owned()),
            ..UserProfile::new(user(name), name, stage.chat.now())
        })
        .into();
    stage.ports().source.create_many(&profiles).await.unwrap();
    let asked = ["bob", "nobody", "ada", "bob"].map(user);
    let expected = [Some(profiles[1].clone()), None, Some(profiles[0].clone()), Some(profiles[1].clone())];
    let fetches = async |asked: &[UserId]| {
        let _ = calls.taken();
        let found = stage.chat.profiles(asked).await.unwrap();
        (found, calls.taken().remove("UserSource::fetch_many").unwrap_or_default())
    };
    assert_eq!(fetches(&asked).await, (expected.to_vec(), 1), "in the order asked, in one question");
    assert_eq!(
        fetches(&asked).await,
        (expected.to_vec(), 1),
        "a miss is asked again: nobody is remembered as missing"
    );
    let there = [asked[0].clone(), asked[2].clone()];
    assert_eq!(fetches(&there).await, ([expected[0].clone(), expected[2].clone()].to_vec(), 0));
    assert_eq!(fetches(&[]).await, (vec![], 0));
}

async fn a_failing_cache_is_passed_by(offer: Offer) {
    let switch = Switch::default();
    let users = Arc::new(Faulty::new(offer.users.clone().expect("users"), &switch));
    let stage = Stage::with(offer, |chat| chat.users(users)).await;
    let ada = known(&stage, "ada").await;
    switch.begin();
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [Some(ada)]);
    let renamed = stage.chat.update_profile(&actor("ada"), &user("ada"), &named("Ada")).await.unwrap();
    assert_eq!(stage.chat.profiles(from_ref(&renamed.id)).await.unwrap(), [Some(renamed)]);
    // What must not be shown again is said to have failed, and may be tried again.
    unavailable(stage.chat.delete_profile(&actor("ada"), &user("ada")).await);
    switch.end();
}

async fn an_outage_of_truth_is_no_missing_profile(offer: Offer) {
    let switch = Switch::default();
    let source = Arc::new(Faulty::new(offer.source.clone().expect("a source"), &switch));
    let stage = Stage::with(offer, |chat| chat.source(source)).await;
    let ada = known(&stage, "ada").await;
    stage.chat.profiles(from_ref(&ada.id)).await.unwrap();
    switch.begin();
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [Some(ada)], "what is cached is known");
    unavailable(stage.chat.profiles(&["ada", "bob"].map(user)).await);
    unavailable(stage.chat.update_profile(&actor("ada"), &user("ada"), &named("Ada")).await);
    unavailable(stage.chat.ensure_profile(&user("bob"), "Bob").await);
    unavailable(stage.chat.delete_profile(&actor("ada"), &user("ada")).await);
    switch.end();
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn one_changes_ones_own_profile(offer: Offer) {
    let stage = Stage::new(offer).await;
    known(&stage, "ada").await;
    let before = stage.truth(&[], from_ref(&user("ada"))).await;
    for whom in ["ada", "nobody"] {
        let update = stage.chat.update_profile(&actor("eve"), &user(whom), &named("Eve was here")).await;
        refused(update, Code::Forbidden);
        refused(stage.chat.delete_profile(&actor("eve"), &user(whom)).await, Code::Forbidden);
    }
    assert_eq!(stage.truth(&[], from_ref(&user("ada"))).await, before);
    for (who, name) in [(actor("ada"), "Ada"), (platform_admin(), "Ada Lovelace")] {
        let changed = stage.chat.update_profile(&who, &user("ada"), &named(name)).await.unwrap();
        assert_eq!(changed.full_name, name);
    }
    assert!(stage.chat.delete_profile(&platform_admin(), &user("ada")).await.unwrap());
}

async fn a_change_is_in_truth_and_cache_and_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = known(&stage, "ada").await;
    stage.chat.profiles(from_ref(&ada.id)).await.unwrap();
    let update = ProfileUpdate {
        avatar: Some(Some("https://pictures.example/1".to_owned())),
        sexe: Some(Some("F".to_owned())),
        ..ProfileUpdate::default()
    };
    let changed = stage.chat.update_profile(&actor("ada"), &ada.id, &update).await.unwrap();
    assert_eq!((changed.full_name.as_str(), changed.sexe.as_deref()), ("ada called", Some("F")));
    assert!(
        changed.updated_at > ada.updated_at,
        "the newer of two is known by its time, on a clock that stands"
    );
    assert_eq!(stage.ports().source.fetch(&ada.id).await.unwrap().as_ref(), Some(&changed));
    assert_eq!(stage.ports().users.get(&ada.id).await.unwrap().as_ref(), Some(&changed));
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [Some(changed.clone())]);
    let again = stage.chat.update_profile(&actor("ada"), &ada.id, &update).await.unwrap();
    assert_eq!(again, changed);
    let events = stage.events().await;
    let [Event::UserProfileUpdated(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!(UserProfile::from(event.clone()), changed);
    let cleared = ProfileUpdate { avatar: Some(None), ..ProfileUpdate::default() };
    assert_eq!(stage.chat.update_profile(&actor("ada"), &ada.id, &cleared).await.unwrap().avatar, None);
}

async fn a_missing_profile_is_made_if_it_is_named(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let nameless = ProfileUpdate { sexe: Some(Some("F".to_owned())), ..ProfileUpdate::default() };
    refused(stage.chat.update_profile(&ada, &ada.user, &nameless).await, Code::UserNotFound);
    assert_eq!(stage.kinds().await, [""; 0]);
    let update = ProfileUpdate { full_name: Some("Ada".to_owned()), ..nameless };
    let made = stage.chat.update_profile(&ada, &ada.user, &update).await.unwrap();
    assert_eq!((made.full_name.as_str(), made.sexe.as_deref()), ("Ada", Some("F")));
    assert_eq!(stage.chat.profiles(from_ref(&ada.user)).await.unwrap(), [Some(made)]);
    assert_eq!(stage.kinds().await, ["user.profile.created"]);
}

async fn bad_profiles_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = known(&stage, "ada").await;
    let long = |n: usize| Some(Some("é".repeat(n)));
    let nothing = ProfileUpdate::default;
    let bad = [
        named(""),
        named(" \n"),
        named(&"é".repeat(201)),
        ProfileUpdate { avatar: long(0), ..nothing() },
        ProfileUpdate { avatar: long(2_049), ..nothing() },
        ProfileUpdate { matricule: long(201), ..nothing() },
        ProfileUpdate { ministere: long(201), ..nothing() },
        ProfileUpdate { sexe: long(21), ..nothing() },
    ];
    for bad in bad {
        refused(stage.chat.update_profile(&actor("ada"), &ada.id, &bad).await, Code::UserInvalid);
    }
    for bad in ["", " ", &"é".repeat(201)] {
        refused(stage.chat.ensure_profile(&user("bob"), bad).await, Code::UserInvalid);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
    assert_eq!(stage.ports().source.fetch(&ada.id).await.unwrap(), Some(ada));
}

async fn a_profile_is_made_once_from_a_name(offer: Offer) {
    let stage = Stage::new(offer).await;
    for name in ["Ada", "Ada", "Eve"] {
        stage.chat.ensure_profile(&user("ada"), name).await.unwrap();
        let profile = stage.ports().source.fetch(&user("ada")).await.unwrap().expect("a profile");
        assert_eq!(profile.full_name, "Ada", "what is there stays");
    }
    assert_eq!(stage.kinds().await, ["user.profile.created"]);
}

async fn racing_sign_ins_make_one_profile(offer: Offer) {
    let stage = Stage::new(offer).await;
    at_once(16, |_| {
        let chat = stage.chat.clone();
        async move { chat.ensure_profile(&user("ada"), "Ada").await.unwrap() }
    })
    .await;
    assert_eq!(stage.kinds().await, ["user.profile.created"]);
}

async fn a_deleted_profile_is_gone_everywhere(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = known(&stage, "ada").await;
    stage.chat.profiles(from_ref(&ada.id)).await.unwrap();
    assert!(stage.chat.delete_profile(&actor("ada"), &ada.id).await.unwrap());
    assert!(!stage.chat.delete_profile(&actor("ada"), &ada.id).await.unwrap());
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [None]);
    assert_eq!(stage.ports().users.get(&ada.id).await.unwrap(), None);
    assert_eq!(stage.kinds().await, ["user.profile.deleted"]);
    // Somebody of this name may come again.
    stage.clock.advance(Duration::from_secs(1));
    stage.chat.ensure_profile(&ada.id, "Ada again").await.unwrap();
    let again = stage.chat.profiles(from_ref(&ada.id)).await.unwrap().remove(0).expect("a profile");
    assert_eq!(again.full_name, "Ada again");
}

async fn a_late_fill_does_not_bring_a_profile_back(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = known(&stage, "ada").await;
    let changed = stage.chat.update_profile(&actor("ada"), &ada.id, &named("Ada")).await.unwrap();
    // Read before the change, kept after it.
    stage.ports().users.put_many(from_ref(&ada)).await.unwrap();
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [Some(changed.clone())]);
    stage.chat.delete_profile(&actor("ada"), &ada.id).await.unwrap();
    stage.ports().users.put_many(&[ada.clone(), changed]).await.unwrap();
    assert_eq!(stage.chat.profiles(from_ref(&ada.id)).await.unwrap(), [None]);
}
