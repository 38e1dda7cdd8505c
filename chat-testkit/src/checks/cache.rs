//! Promises of the `cache` port, and of the typed cache over it.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_core::clock::Clock;
use chat_core::domain::Page;
use chat_core::error::{Code, Error};
use chat_core::store::cache::{
    Cache, CacheEntry, CacheExt, CacheScope, FENCE, Generation, MAX_KEY_BYTES, MAX_VALUE_BYTES, Put,
    TypedCache,
};
use tokio::sync::{Notify, Semaphore};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::model::cache::agrees_with_the_model_on_random_histories;
use crate::run::checks;
use crate::sample::hostile_ids;
use crate::walk::walk;

checks! { "cache" needs [cache]:
    what_was_put_is_found,
    a_key_never_put_is_a_miss,
    answers_line_up_with_the_question,
    an_empty_batch_is_an_empty_answer,
    entries_of_a_batch_follow_each_other,
    repeating_a_put_changes_nothing_but_the_time_to_live,
    a_value_is_gone_at_its_time_to_live,
    every_entry_has_its_own_time_to_live,
    a_lookup_says_for_how_long_a_value_lives_on,
    renewing_sets_the_remaining_time,
    renewing_never_brings_a_value_back,
    removing_forgets_once,
    a_bad_key_is_refused,
    a_bad_entry_refuses_its_whole_batch,
    a_large_value_is_kept_whole,
    invalidation_forgets_the_scope_and_nothing_else,
    every_invalidation_begins_a_new_generation,
    a_fill_is_kept_after_a_miss,
    a_fill_never_replaces_a_value,
    a_fill_from_before_an_invalidation_is_refused,
    a_removed_key_refuses_fills_for_the_fence,
    scopes_are_apart,
    hostile_keys_reach_nobody_else,
    keys_are_listed_by_prefix_in_order,
    what_is_over_is_not_listed,
    a_page_has_a_limit,
    keys_that_stay_are_listed_once_while_others_come_and_go,
    a_prefix_is_removed_and_nothing_else,
    a_claim_has_one_owner_until_it_ends,
    the_owner_of_a_claim_renews_it,
    only_the_owner_releases_a_claim,
    a_claim_is_not_a_key,
    a_claim_survives_invalidation,
    hostile_claims_reach_nobody_else,
    of_racing_claims_one_wins,
    of_racing_fills_one_is_kept,
    a_fill_racing_an_invalidation_does_not_outlive_it,
    a_fill_racing_a_removal_does_not_outlive_it,
    a_clock_set_back_ends_nothing,
    a_typed_value_comes_back,
    a_miss_is_loaded_once_and_kept,
    racing_readers_load_once,
    keys_load_beside_each_other,
    a_cancelled_load_is_taken_over,
    a_failed_load_is_not_remembered,
    nothing_is_remembered_only_if_asked,
    unreadable_bytes_are_a_miss,
    jitter_only_shortens,
    a_load_overtaken_by_a_removal_is_not_kept,
    an_outage_is_never_a_miss + outage,
    a_failing_cache_is_passed_by + outage,
    agrees_with_the_model_on_random_histories,
}

const MILLI: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

fn cache(offer: &Offer) -> Arc<dyn Cache> {
    offer.cache.clone().expect("a cache")
}

fn scope(name: &str) -> CacheScope {
    CacheScope::new(name).expect("a scope")
}

fn names(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn entry(key: &str, value: &str, ttl: Duration) -> CacheEntry {
    CacheEntry { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), ttl }
}

fn bytes(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

async fn generation(cache: &dyn Cache, scope: &CacheScope) -> Generation {
    cache.get_many(scope, &[]).await.unwrap().generation
}

async fn filled(cache: &dyn Cache, scope: &CacheScope, key: &str, value: &str, begun: Generation) -> bool {
    cache.put_many(scope, &[entry(key, value, MINUTE)], Put::Fill(begun)).await.unwrap() == [true]
}

async fn all_keys(cache: &dyn Cache, scope: &CacheScope, prefix: &str, limit: usize) -> Vec<String> {
    walk(limit, |page| async move { cache.keys(scope, prefix, &page).await }).await
}

async fn what_was_put_is_found(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    for value in [&b"plain"[..], b"", b"\0\xff\xfe\r\n", "日本".as_bytes()] {
        cache.put(&s, "k", Bytes::copy_from_slice(value), MINUTE).await.unwrap();
        assert_eq!(
            cache.get(&s, "k").await.unwrap().as_deref(),
            Some(value),
            "the last put holds, an empty one too"
        );
    }
}

async fn a_key_never_put_is_a_miss(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    assert_eq!(cache.get(&s, "k").await.unwrap(), None);
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    for other in ["K", "k ", " k", "kk", "s", "s:k"] {
        assert_eq!(cache.get(&s, other).await.unwrap(), None, "{other:?}");
    }
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let entries = [entry("a", "1", MINUTE), entry("b", "2", MINUTE), entry("c", "3", MINUTE)];
    assert_eq!(cache.put_many(&s, &entries, Put::Always).await.unwrap(), [true, true, true]);
    let asked = names(&["c", "x", "a", "c", "y", "b"]);
    let found = cache.get_many(&s, &asked).await.unwrap().values;
    assert_eq!(found, [bytes("3"), None, bytes("1"), bytes("3"), None, bytes("2")]);
    assert_eq!(cache.renew_many(&s, &asked, MINUTE).await.unwrap(), [true, false, true, true, false, true]);
    let begun = generation(&*cache, &s).await;
    let fills = [entry("a", "9", MINUTE), entry("x", "9", MINUTE), entry("b", "9", MINUTE)];
    assert_eq!(cache.put_many(&s, &fills, Put::Fill(begun)).await.unwrap(), [false, true, false]);
    let removed = cache.remove_many(&s, &names(&["y", "c", "x", "z", "a"])).await.unwrap();
    assert_eq!(removed, [false, true, true, false, true]);
}

async fn an_empty_batch_is_an_empty_answer(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    assert!(cache.get_many(&s, &[]).await.unwrap().values.is_empty());
    assert!(cache.put_many(&s, &[], Put::Always).await.unwrap().is_empty());
    assert!(cache.renew_many(&s, &[], MINUTE).await.unwrap().is_empty());
    assert!(cache.remove_many(&s, &[]).await.unwrap().is_empty());
    assert!(cache.keys(&s, "", &Page::first(10)).await.unwrap().items.is_empty());
}

async fn entries_of_a_batch_follow_each_other(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let twice = [entry("k", "first", MINUTE), entry("k", "second", MINUTE)];
    assert_eq!(cache.put_many(&s, &twice, Put::Always).await.unwrap(), [true, true]);
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("second"));
    let begun = generation(&*cache, &s).await;
    let twice = [entry("f", "first", MINUTE), entry("f", "second", MINUTE)];
    assert_eq!(cache.put_many(&s, &twice, Put::Fill(begun)).await.unwrap(), [true, false]);
    assert_eq!(cache.get(&s, "f").await.unwrap(), bytes("first"));
    assert_eq!(cache.remove_many(&s, &names(&["k", "k"])).await.unwrap(), [true, false]);
}

async fn repeating_a_put_changes_nothing_but_the_time_to_live(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    for _ in 0..3 {
        let kept = cache.put_many(&s, &[entry("k", "v", MINUTE)], Put::Always).await.unwrap();
        assert_eq!(kept, [true]);
        offer.clock.advance(MINUTE / 2);
    }
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("v"), "the last put began a new minute");
    assert_eq!(generation(&*cache, &s).await, begun);
    assert_eq!(all_keys(&*cache, &s, "", 10).await, ["k"]);
    offer.clock.advance(MINUTE / 2);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None);
}

async fn a_value_is_gone_at_its_time_to_live(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    offer.clock.advance(MINUTE - MILLI);
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("v"), "a millisecond before");
    offer.clock.advance(MILLI);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "at the end");
    offer.clock.advance(MINUTE);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "after it");
    assert_eq!(cache.remove_many(&s, &names(&["k"])).await.unwrap(), [false]);
}

async fn every_entry_has_its_own_time_to_live(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let entries =
        [entry("short", "1", MILLI), entry("long", "2", MINUTE), entry("longer", "3", MINUTE * 60 * 24 * 30)];
    cache.put_many(&s, &entries, Put::Always).await.unwrap();
    let asked = names(&["short", "long", "longer"]);
    assert_eq!(cache.get_many(&s, &asked).await.unwrap().values, [bytes("1"), bytes("2"), bytes("3")]);
    offer.clock.advance(MILLI);
    assert_eq!(cache.get_many(&s, &asked).await.unwrap().values, [None, bytes("2"), bytes("3")]);
    offer.clock.advance(MINUTE);
    assert_eq!(cache.get_many(&s, &asked).await.unwrap().values, [None, None, bytes("3")]);
}

async fn a_lookup_says_for_how_long_a_value_lives_on(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let large = CacheEntry { value: vec![7; 100_000].into(), ..entry("large", "", MINUTE) };
    cache.put_many(&s, &[entry("k", "v", MINUTE / 2), large], Put::Always).await.unwrap();
    let asked = names(&["large", "nothing", "k"]);
    let left = || async { cache.get_many(&s, &asked).await.unwrap().left };
    assert_eq!(left().await, [MINUTE, Duration::ZERO, MINUTE / 2]);
    offer.clock.advance(MINUTE / 2 - MILLI);
    assert_eq!(left().await, [MINUTE / 2 + MILLI, Duration::ZERO, MILLI]);
    offer.clock.advance(MILLI);
    assert_eq!(left().await, [MINUTE / 2, Duration::ZERO, Duration::ZERO], "no time for what is gone");
    cache.renew_many(&s, &asked, MINUTE).await.unwrap();
    assert_eq!(left().await, [MINUTE, Duration::ZERO, Duration::ZERO]);
}

async fn renewing_sets_the_remaining_time(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.put_many(&s, &[entry("up", "v", MINUTE), entry("down", "v", MINUTE)], Put::Always).await.unwrap();
    offer.clock.advance(MINUTE / 2);
    assert_eq!(cache.renew_many(&s, &names(&["up"]), MINUTE).await.unwrap(), [true]);
    assert_eq!(cache.renew_many(&s, &names(&["down"]), MILLI).await.unwrap(), [true]);
    offer.clock.advance(MILLI);
    assert_eq!(cache.get(&s, "down").await.unwrap(), None, "it was shortened");
    offer.clock.advance(MINUTE - MILLI * 2);
    assert_eq!(cache.get(&s, "up").await.unwrap(), bytes("v"), "it was lengthened, and is the same value");
    offer.clock.advance(MILLI);
    assert_eq!(cache.get(&s, "up").await.unwrap(), None);
}

async fn renewing_never_brings_a_value_back(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let key = names(&["k"]);
    assert_eq!(cache.renew_many(&s, &key, MINUTE).await.unwrap(), [false], "never put");
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    cache.remove(&s, "k").await.unwrap();
    assert_eq!(cache.renew_many(&s, &key, MINUTE).await.unwrap(), [false], "removed");
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    cache.invalidate(&s).await.unwrap();
    assert_eq!(cache.renew_many(&s, &key, MINUTE).await.unwrap(), [false], "invalidated");
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    offer.clock.advance(MINUTE);
    assert_eq!(cache.renew_many(&s, &key, MINUTE).await.unwrap(), [false], "expired");
    assert_eq!(cache.get(&s, "k").await.unwrap(), None);
}

async fn removing_forgets_once(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.put_many(&s, &[entry("k", "v", MINUTE), entry("other", "v", MINUTE)], Put::Always).await.unwrap();
    assert!(cache.remove(&s, "k").await.unwrap());
    assert!(!cache.remove(&s, "k").await.unwrap());
    assert_eq!(cache.get(&s, "k").await.unwrap(), None);
    assert_eq!(cache.get(&s, "other").await.unwrap(), bytes("v"));
    cache.put(&s, "k", "again", MINUTE).await.unwrap();
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("again"), "a put that is no fill is not held back");
}

async fn a_bad_key_is_refused(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let longest = "x".repeat(MAX_KEY_BYTES);
    cache.put(&s, &longest, "v", MINUTE).await.unwrap();
    assert_eq!(cache.get(&s, &longest).await.unwrap(), bytes("v"));
    for bad in [String::new(), "x".repeat(MAX_KEY_BYTES + 1), "é".repeat(MAX_KEY_BYTES / 2 + 1)] {
        refused(cache.get_many(&s, &[longest.clone(), bad.clone()]).await, Code::CacheKey);
        refused(cache.put_many(&s, &[entry(&bad, "v", MINUTE)], Put::Always).await, Code::CacheKey);
    }
    for bad in ["", "A", "a b", "a:b", "a*", &"x".repeat(65)] {
        refused(CacheScope::new(bad), Code::CacheKey);
    }
}

async fn a_bad_entry_refuses_its_whole_batch(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let too_large =
        CacheEntry { key: "k".to_owned(), value: vec![0; MAX_VALUE_BYTES + 1].into(), ttl: MINUTE };
    let bad = [
        (entry("", "v", MINUTE), Code::CacheKey),
        (entry("k", "v", Duration::ZERO), Code::CacheKey),
        (too_large, Code::PayloadTooLarge),
    ];
    for (bad, code) in bad {
        let batch = [entry("before", "v", MINUTE), bad, entry("after", "v", MINUTE)];
        refused(cache.put_many(&s, &batch, Put::Always).await, code);
        let begun = generation(&*cache, &s).await;
        refused(cache.put_many(&s, &batch, Put::Fill(begun)).await, code);
        let found = cache.get_many(&s, &names(&["before", "after", "k"])).await.unwrap().values;
        assert_eq!(found, [None, None, None], "nothing of the batch was kept");
    }
}

async fn a_large_value_is_kept_whole(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let large: Bytes = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    cache.put(&s, "k", large.clone(), MINUTE).await.unwrap();
    assert!(cache.get(&s, "k").await.unwrap() == Some(large), "a megabyte came back changed");
}

async fn invalidation_forgets_the_scope_and_nothing_else(offer: Offer) {
    let cache = cache(&offer);
    let (gone, kept) = (scope("s"), [scope("s2"), scope("s.s"), scope("r")]);
    for s in kept.iter().chain([&gone]) {
        cache.put_many(s, &[entry("k", "v", MINUTE), entry("k2", "v", MINUTE)], Put::Always).await.unwrap();
    }
    cache.invalidate(&gone).await.unwrap();
    assert_eq!(cache.get_many(&gone, &names(&["k", "k2"])).await.unwrap().values, [None, None]);
    assert_eq!(all_keys(&*cache, &gone, "", 10).await, names(&[]));
    assert!(!cache.remove(&gone, "k").await.unwrap());
    for s in &kept {
        assert_eq!(cache.get(s, "k").await.unwrap(), bytes("v"), "{s:?}");
        assert_eq!(all_keys(&*cache, s, "", 10).await, ["k", "k2"], "{s:?}");
    }
    cache.put(&gone, "k", "new", MINUTE).await.unwrap();
    assert_eq!(cache.get(&gone, "k").await.unwrap(), bytes("new"));
    assert_eq!(cache.get(&gone, "k2").await.unwrap(), None, "the life before does not come back");
}

async fn every_invalidation_begins_a_new_generation(offer: Offer) {
    let (cache, s, other) = (cache(&offer), scope("s"), scope("other"));
    let elsewhere = generation(&*cache, &other).await;
    let mut seen = vec![generation(&*cache, &s).await];
    for _ in 0..5 {
        cache.put(&s, "k", "v", MINUTE).await.unwrap();
        cache.remove(&s, "k").await.unwrap();
        assert_eq!(generation(&*cache, &s).await, seen[seen.len() - 1], "only invalidation begins a new one");
        let next = cache.invalidate(&s).await.unwrap();
        assert_eq!(generation(&*cache, &s).await, next, "what it answered");
        assert!(!seen.contains(&next), "{next:?} was there before");
        seen.push(next);
    }
    assert_eq!(generation(&*cache, &other).await, elsewhere);
}

async fn a_fill_is_kept_after_a_miss(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let looked_up = cache.get_many(&s, &names(&["k"])).await.unwrap();
    assert_eq!(looked_up.values, [None]);
    assert!(filled(&*cache, &s, "k", "v", looked_up.generation).await);
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("v"));
    offer.clock.advance(MINUTE);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "a fill has a time to live too");
    assert!(filled(&*cache, &s, "k", "new", looked_up.generation).await, "an expired value is none");
}

async fn a_fill_never_replaces_a_value(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    cache.put(&s, "k", "newer", MINUTE).await.unwrap();
    assert!(!filled(&*cache, &s, "k", "loaded", begun).await);
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("newer"));
    offer.clock.advance(MINUTE - MILLI);
    assert!(!filled(&*cache, &s, "k", "loaded", begun).await);
    offer.clock.advance(MILLI);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "a refused fill renews nothing");
}

async fn a_fill_from_before_an_invalidation_is_refused(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    let now = cache.invalidate(&s).await.unwrap();
    assert!(!filled(&*cache, &s, "k", "old", begun).await);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None);
    offer.clock.advance(FENCE * 10);
    assert!(!filled(&*cache, &s, "k", "old", begun).await, "however late it comes");
    assert!(filled(&*cache, &s, "k", "new", now).await);
    cache.invalidate(&s).await.unwrap();
    cache.invalidate(&s).await.unwrap();
    assert!(!filled(&*cache, &s, "k", "old", begun).await);
    assert!(!filled(&*cache, &s, "k", "old", now).await);
}

async fn a_removed_key_refuses_fills_for_the_fence(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    cache.put(&s, "there", "v", MINUTE).await.unwrap();
    cache.remove_many(&s, &names(&["there", "not there"])).await.unwrap();
    assert!(filled(&*cache, &s, "other", "v", begun).await, "another key is free");
    for wait in [Duration::ZERO, FENCE - MILLI] {
        offer.clock.advance(wait);
        for key in ["there", "not there"] {
            assert!(!filled(&*cache, &s, key, "late", begun).await, "{key}, {wait:?} later");
            assert_eq!(cache.get(&s, key).await.unwrap(), None, "{key}");
        }
    }
    offer.clock.advance(MILLI);
    for key in ["there", "not there"] {
        assert!(filled(&*cache, &s, key, "loaded anew", begun).await, "{key}: the fence is over");
    }
}

async fn scopes_are_apart(offer: Offer) {
    let cache = cache(&offer);
    let scopes: Vec<_> = ["a", "a.b", "a-b", "a_b", "b", "0", "a0", &"x".repeat(64)].map(scope).into();
    for (nth, s) in scopes.iter().enumerate() {
        cache.put(s, "k", nth.to_string(), MINUTE).await.unwrap();
    }
    for (nth, s) in scopes.iter().enumerate() {
        assert_eq!(cache.get(s, "k").await.unwrap(), bytes(&nth.to_string()), "{s:?}");
        assert_eq!(all_keys(&*cache, s, "", 10).await, ["k"], "{s:?}");
    }
    cache.remove(&scopes[0], "k").await.unwrap();
    for s in &scopes[1..] {
        assert!(cache.get(s, "k").await.unwrap().is_some(), "{s:?}");
    }
}

/// Keys that every ambiguous way of joining, matching or cutting confuses.
fn hostile_keys() -> Vec<String> {
    let control =
        ["\0", "a\0b", "\n", "\r\n", "\t", "\u{7f}", " ", "a", "ab", "b", "a*b", "s:a", "::", "{s}a"];
    hostile_ids().into_iter().chain(names(&control)).collect::<BTreeSet<_>>().into_iter().collect()
}

async fn hostile_keys_reach_nobody_else(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let keys = hostile_keys();
    for key in &keys {
        cache.put(&s, key, format!("value of {key}"), MINUTE).await.unwrap();
    }
    let expected: Vec<_> = keys.iter().map(|key| bytes(&format!("value of {key}"))).collect();
    assert_eq!(cache.get_many(&s, &keys).await.unwrap().values, expected);
    assert_eq!(all_keys(&*cache, &s, "", 3).await, keys);
    for (nth, key) in keys.iter().enumerate() {
        assert!(cache.remove(&s, key).await.unwrap(), "{key:?}");
        let left = cache.get_many(&s, &keys).await.unwrap().values;
        assert!(
            left[..=nth].iter().all(Option::is_none) && left[nth + 1..] == expected[nth + 1..],
            "{key:?}"
        );
    }
}

async fn keys_are_listed_by_prefix_in_order(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let keys = names(&["", "b", "a", "ab", "a*", "a?", "[a]", "a[b]", "aa", "é", "a\\*", "z"]);
    for key in &keys[1..] {
        cache.put(&s, key, "v", MINUTE).await.unwrap();
        cache.put(&scope("s2"), &format!("{key} elsewhere"), "v", MINUTE).await.unwrap();
    }
    for prefix in ["", "a", "a*", "a?", "a[", "[a]", "*", "aab", "é", "\u{e9}", "z", "a\\"] {
        let mut expected: Vec<_> = keys[1..].iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        expected.sort();
        for limit in [1, 2, 1_000] {
            assert_eq!(all_keys(&*cache, &s, prefix, limit).await, expected, "{prefix:?}, {limit} a page");
        }
    }
}

async fn what_is_over_is_not_listed(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let entries =
        [entry("a", "v", MILLI), entry("b", "v", MINUTE), entry("c", "v", MILLI), entry("d", "v", MINUTE)];
    cache.put_many(&s, &entries, Put::Always).await.unwrap();
    assert_eq!(all_keys(&*cache, &s, "", 1).await, ["a", "b", "c", "d"]);
    offer.clock.advance(MILLI);
    assert_eq!(all_keys(&*cache, &s, "", 1).await, ["b", "d"]);
    cache.remove(&s, "b").await.unwrap();
    assert_eq!(all_keys(&*cache, &s, "", 1).await, ["d"]);
    cache.invalidate(&s).await.unwrap();
    assert_eq!(all_keys(&*cache, &s, "", 1).await, names(&[]));
}

async fn a_page_has_a_limit(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    for limit in [0, 1_001, usize::MAX] {
        refused(cache.keys(&s, "", &Page::first(limit)).await, Code::PageInvalid);
    }
    cache.keys(&s, "", &Page::first(1_000)).await.unwrap();
    let after_the_end = Page::after("zzz".to_owned(), 10);
    assert!(cache.keys(&s, "", &after_the_end).await.unwrap().items.is_empty());
}

async fn keys_that_stay_are_listed_once_while_others_come_and_go(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let staying: Vec<String> = (0..100).map(|nth| format!("{nth:03} stays")).collect();
    for key in &staying {
        cache.put(&s, key, "v", MINUTE).await.unwrap();
    }
    let walks = at_once(4, |task| {
        let (cache, s) = (Arc::clone(&cache), s.clone());
        async move {
            if task == 0 {
                for nth in 0..400 {
                    let (come, gone) =
                        (format!("{:03} comes", nth % 100), format!("{:03} comes", (nth + 50) % 100));
                    cache.put(&s, &come, "v", MINUTE).await.unwrap();
                    cache.remove(&s, &gone).await.unwrap();
                    tokio::task::yield_now().await;
                }
                return Vec::new();
            }
            all_keys(&*cache, &s, "", task).await
        }
    })
    .await;
    for walk in &walks[1..] {
        let stayed: Vec<_> = walk.iter().filter(|key| key.ends_with("stays")).cloned().collect();
        assert_eq!(stayed, staying);
    }
}

async fn a_prefix_is_removed_and_nothing_else(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let many: Vec<_> = (0..1_200).map(|nth| entry(&format!("user*:{nth}"), "v", MINUTE)).collect();
    cache.put_many(&s, &many, Put::Always).await.unwrap();
    let others = names(&["user", "user:1", "userx:1", "User*:1", " user*:1", "x user*:1"]);
    for key in &others {
        cache.put(&s, key, "v", MINUTE).await.unwrap();
    }
    cache.put(&scope("s2"), "user*:1", "v", MINUTE).await.unwrap();
    assert_eq!(cache.remove_prefix(&s, "user*:").await.unwrap(), 1_200);
    assert_eq!(cache.remove_prefix(&s, "user*:").await.unwrap(), 0);
    let left: BTreeSet<_> = all_keys(&*cache, &s, "", 1_000).await.into_iter().collect();
    assert_eq!(left, others.into_iter().collect());
    assert!(cache.get(&scope("s2"), "user*:1").await.unwrap().is_some());
}

async fn a_claim_has_one_owner_until_it_ends(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    assert!(cache.claim(&s, "job", "ann", MINUTE).await.unwrap());
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    assert!(cache.claim(&s, "other job", "ben", MINUTE).await.unwrap());
    assert!(cache.claim(&scope("s2"), "job", "ben", MINUTE).await.unwrap());
    offer.clock.advance(MINUTE - MILLI);
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap(), "a millisecond before the end");
    offer.clock.advance(MILLI);
    assert!(cache.claim(&s, "job", "ben", MINUTE).await.unwrap(), "at the end; asking before did not renew");
    assert!(!cache.claim(&s, "job", "ann", MINUTE).await.unwrap());
}

async fn the_owner_of_a_claim_renews_it(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    for _ in 0..3 {
        assert!(cache.claim(&s, "job", "ann", MINUTE).await.unwrap());
        offer.clock.advance(MINUTE - MILLI);
        assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    }
    offer.clock.advance(MILLI);
    assert!(cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
}

async fn only_the_owner_releases_a_claim(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    assert!(!cache.release(&s, "job", "ann").await.unwrap(), "nobody holds it");
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    assert!(!cache.release(&s, "job", "ben").await.unwrap());
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    assert!(cache.release(&s, "job", "ann").await.unwrap());
    assert!(!cache.release(&s, "job", "ann").await.unwrap(), "once");
    assert!(cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    offer.clock.advance(MINUTE);
    assert!(!cache.release(&s, "job", "ben").await.unwrap(), "it has ended");
}

async fn a_claim_is_not_a_key(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    assert_eq!(cache.get(&s, "job").await.unwrap(), None);
    assert_eq!(all_keys(&*cache, &s, "", 10).await, names(&[]));
    assert!(!cache.remove(&s, "job").await.unwrap());
    cache.put(&s, "job", "v", MINUTE).await.unwrap();
    assert_eq!(all_keys(&*cache, &s, "", 10).await, ["job"]);
    assert!(
        !cache.claim(&s, "job", "ben", MINUTE).await.unwrap(),
        "neither removing nor putting a key ends a claim"
    );
    cache.release(&s, "job", "ann").await.unwrap();
    assert_eq!(cache.get(&s, "job").await.unwrap(), bytes("v"));
}

async fn a_claim_survives_invalidation(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    cache.invalidate(&s).await.unwrap();
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    assert!(cache.release(&s, "job", "ann").await.unwrap());
}

async fn hostile_claims_reach_nobody_else(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let names = hostile_keys();
    for (name, owner) in names.iter().zip(names.iter().rev()) {
        assert!(cache.claim(&s, name, owner, MINUTE).await.unwrap(), "{name:?}");
    }
    for (name, owner) in names.iter().zip(names.iter().rev()) {
        assert!(!cache.claim(&s, name, "somebody else", MINUTE).await.unwrap(), "{name:?}");
        assert!(cache.release(&s, name, owner).await.unwrap(), "{name:?} of {owner:?}");
    }
}

async fn of_racing_claims_one_wins(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    for round in 0..20 {
        let won =
            at_once(32, |nth| {
                let (cache, s) = (Arc::clone(&cache), s.clone());
                async move {
                    cache.claim(&s, &format!("job {round}"), &format!("owner {nth}"), MINUTE).await.unwrap()
                }
            })
            .await;
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "of 32 owners in round {round}");
        let winner = won.iter().position(|won| *won).expect("a winner");
        assert!(cache.release(&s, &format!("job {round}"), &format!("owner {winner}")).await.unwrap());
    }
}

async fn of_racing_fills_one_is_kept(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    for round in 0..20 {
        let kept = at_once(32, |nth| {
            let (cache, s) = (Arc::clone(&cache), s.clone());
            async move { filled(&*cache, &s, &format!("k {round}"), &nth.to_string(), begun).await }
        })
        .await;
        let winners: Vec<_> = (0..32).filter(|nth| kept[*nth]).collect();
        assert_eq!(winners.len(), 1, "{winners:?} were all told that theirs was kept");
        let found = cache.get(&s, &format!("k {round}")).await.unwrap();
        assert_eq!(found, bytes(&winners[0].to_string()));
    }
}

async fn a_fill_racing_an_invalidation_does_not_outlive_it(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    for round in 0..50 {
        let key = format!("k {round}");
        let begun = generation(&*cache, &s).await;
        at_once(16, |nth| {
            let (cache, s, key) = (Arc::clone(&cache), s.clone(), key.clone());
            async move {
                if nth == 7 {
                    cache.invalidate(&s).await.unwrap();
                } else {
                    filled(&*cache, &s, &key, "loaded before", begun).await;
                }
            }
        })
        .await;
        assert_eq!(cache.get(&s, &key).await.unwrap(), None, "round {round}");
    }
}

async fn a_fill_racing_a_removal_does_not_outlive_it(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    let begun = generation(&*cache, &s).await;
    for round in 0..50 {
        let key = format!("k {round}");
        at_once(16, |nth| {
            let (cache, s, key) = (Arc::clone(&cache), s.clone(), key.clone());
            async move {
                if nth == 7 {
                    cache.remove(&s, &key).await.unwrap();
                } else {
                    filled(&*cache, &s, &key, "loaded before", begun).await;
                }
            }
        })
        .await;
        assert_eq!(cache.get(&s, &key).await.unwrap(), None, "round {round}");
    }
}

async fn a_clock_set_back_ends_nothing(offer: Offer) {
    let (cache, s) = (cache(&offer), scope("s"));
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    cache.put(&s, "removed", "v", MINUTE).await.unwrap();
    cache.remove(&s, "removed").await.unwrap();
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    offer.clock.set(offer.clock.now().before(MINUTE * 10));
    assert_eq!(cache.get(&s, "k").await.unwrap(), bytes("v"));
    assert_eq!(cache.get(&s, "removed").await.unwrap(), None);
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    assert_eq!(all_keys(&*cache, &s, "", 10).await, ["k"]);
    cache.put(&s, "new", "v", MINUTE).await.unwrap();
    offer.clock.advance(MINUTE - MILLI);
    assert_eq!(cache.get(&s, "new").await.unwrap(), bytes("v"), "a whole minute on the clock as it is now");
}

// The typed cache.

type Names = TypedCache<String, dyn Cache>;

fn typed(offer: &Offer) -> Names {
    cache(offer).typed(scope("names"), MINUTE).with_jitter(0.0)
}

/// A loader that says how often it was asked.
#[derive(Clone, Default)]
struct Loads(Arc<AtomicUsize>);

impl Loads {
    async fn of(&self, value: Option<&str>) -> chat_core::error::Result<Option<String>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok(value.map(str::to_owned))
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn a_typed_value_comes_back(offer: Offer) {
    let names = typed(&offer);
    assert_eq!(names.get("7").await.unwrap(), None);
    for name in ["Ada", "", "日本", "\0\""] {
        names.put("7", &name.to_owned()).await.unwrap();
        assert_eq!(names.get("7").await.unwrap().as_deref(), Some(name));
    }
    assert!(names.remove("7").await.unwrap());
    assert!(!names.remove("7").await.unwrap());
    assert_eq!(names.get("7").await.unwrap(), None);
    refused(names.get("").await, Code::CacheKey);
    let loads = Loads::default();
    refused(names.get_or_load("", || loads.of(Some("Ada"))).await, Code::CacheKey);
    assert_eq!(loads.so_far(), 0);
}

async fn a_miss_is_loaded_once_and_kept(offer: Offer) {
    let (names, loads) = (typed(&offer), Loads::default());
    for _ in 0..3 {
        assert_eq!(names.get_or_load("7", || loads.of(Some("Ada"))).await.unwrap().as_deref(), Some("Ada"));
    }
    assert_eq!(names.get("7").await.unwrap().as_deref(), Some("Ada"));
    assert_eq!(loads.so_far(), 1);
    offer.clock.advance(MINUTE);
    assert_eq!(names.get_or_load("7", || loads.of(Some("Eve"))).await.unwrap().as_deref(), Some("Eve"));
    assert_eq!(loads.so_far(), 2);
    names.remove("7").await.unwrap();
    assert_eq!(names.get_or_load("7", || loads.of(Some("Joy"))).await.unwrap().as_deref(), Some("Joy"));
    assert_eq!(loads.so_far(), 3, "after a removal the next reader loads");
}

async fn racing_readers_load_once(offer: Offer) {
    let (names, loads) = (typed(&offer), Loads::default());
    for round in 0..10 {
        let found = at_once(64, |_| {
            let (names, loads) = (names.clone(), loads.clone());
            async move { names.get_or_load(&round.to_string(), || loads.of(Some("Ada"))).await.unwrap() }
        })
        .await;
        assert!(found.iter().all(|name| name.as_deref() == Some("Ada")));
        assert_eq!(loads.so_far(), round + 1, "64 readers, one load");
    }
}

async fn keys_load_beside_each_other(offer: Offer) {
    let (names, started) = (typed(&offer), Arc::new(Notify::new()));
    let stuck = tokio::spawn({
        let (names, started) = (names.clone(), Arc::clone(&started));
        async move {
            names
                .get_or_load("stuck", || async {
                    started.notify_one();
                    pending().await
                })
                .await
        }
    });
    started.notified().await;
    let found = names.get_or_load("free", || async { Ok(Some("Ada".to_owned())) }).await.unwrap();
    assert_eq!(found.as_deref(), Some("Ada"));
    assert!(!stuck.is_finished());
    stuck.abort();
}

async fn a_cancelled_load_is_taken_over(offer: Offer) {
    let (names, loads, started) = (typed(&offer), Loads::default(), Arc::new(Notify::new()));
    let leader = tokio::spawn({
        let (names, started) = (names.clone(), Arc::clone(&started));
        async move {
            names
                .get_or_load("7", || async {
                    started.notify_one();
                    pending().await
                })
                .await
        }
    });
    started.notified().await;
    let followers: Vec<_> = (0..16)
        .map(|_| {
            let (names, loads) = (names.clone(), loads.clone());
            tokio::spawn(async move { names.get_or_load("7", || loads.of(Some("Ada"))).await.unwrap() })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(loads.so_far(), 0, "they wait for the first");
    leader.abort();
    for follower in followers {
        assert_eq!(follower.await.unwrap().as_deref(), Some("Ada"));
    }
    assert_eq!(loads.so_far(), 1, "one of them took over, for all");
}

async fn a_failed_load_is_not_remembered(offer: Offer) {
    let (names, loads) = (typed(&offer).with_absent_ttl(MINUTE), Loads::default());
    for code in [Code::Timeout, Code::UserNotFound, Code::Unavailable] {
        let failed = names.get_or_load("7", || async { Err(Error::new(code)) }).await;
        assert_eq!(failed.unwrap_err().code(), code, "the loader's own error");
        assert_eq!(names.get("7").await.unwrap(), None);
    }
    let found = at_once(16, |nth| {
        let (names, loads) = (names.clone(), loads.clone());
        async move {
            let load = || async move {
                if nth % 2 == 0 { Err(Error::new(Code::Timeout)) } else { loads.of(Some("Ada")).await }
            };
            names.get_or_load("8", load).await
        }
    })
    .await;
    assert!(
        found.iter().flatten().all(|name| name.as_deref() == Some("Ada")),
        "one's failure is nobody else's"
    );
    assert!((1..16).step_by(2).all(|nth| found[nth].is_ok()));
    assert_eq!(loads.so_far(), 1);
}

async fn nothing_is_remembered_only_if_asked(offer: Offer) {
    let (names, loads) = (typed(&offer), Loads::default());
    for nth in 1..=3 {
        assert_eq!(names.get_or_load("nobody", || loads.of(None)).await.unwrap(), None);
        assert_eq!(loads.so_far(), nth, "not asked to remember");
    }
    let (names, loads) = (names.with_absent_ttl(MINUTE / 2), Loads::default());
    for _ in 0..3 {
        assert_eq!(names.get_or_load("nobody", || loads.of(None)).await.unwrap(), None);
        assert_eq!(names.get("nobody").await.unwrap(), None);
    }
    assert_eq!(loads.so_far(), 1, "a remembered nothing is not a miss");
    offer.clock.advance(MINUTE / 2 - MILLI);
    assert_eq!(names.get_or_load("nobody", || loads.of(None)).await.unwrap(), None);
    assert_eq!(loads.so_far(), 1);
    offer.clock.advance(MILLI);
    assert_eq!(names.get_or_load("nobody", || loads.of(Some("Ada"))).await.unwrap().as_deref(), Some("Ada"));
    assert_eq!(loads.so_far(), 2, "it has its own time to live");
    assert_eq!(names.get("nobody").await.unwrap().as_deref(), Some("Ada"));
    names.get_or_load("late", || loads.of(None)).await.unwrap();
    names.put("late", &"Eve".to_owned()).await.unwrap();
    assert_eq!(
        names.get("late").await.unwrap().as_deref(),
        Some("Eve"),
        "a put replaces a remembered nothing"
    );
}

async fn unreadable_bytes_are_a_miss(offer: Offer) {
    let (names, loads) = (typed(&offer), Loads::default());
    for garbage in [&b"\xff\xfe"[..], b"", b"7", b"{\"v\":7}", b"null"] {
        cache(&offer).put(&scope("names"), "7", Bytes::from_static(garbage), MINUTE).await.unwrap();
        assert_eq!(names.get("7").await.unwrap(), None, "{garbage:?}");
        let found = names.get_or_load("7", || loads.of(Some("Ada"))).await.unwrap();
        assert_eq!(found.as_deref(), Some("Ada"), "{garbage:?}");
    }
    assert_eq!(loads.so_far(), 5);
}

async fn jitter_only_shortens(offer: Offer) {
    const KEYS: usize = 100;
    let names: Names = cache(&offer).typed(scope("names"), MINUTE).with_jitter(0.5);
    let keys: Vec<_> = (0..KEYS).map(|nth| nth.to_string()).collect();
    let mut lived = Vec::new();
    for _ in 0..2 {
        for key in &keys {
            names.put(key, &"Ada".to_owned()).await.unwrap();
        }
        offer.clock.advance(MINUTE / 2 - MILLI);
        let mut left = Vec::new();
        for _ in 0..10 {
            left.push(cache(&offer).get_many(&scope("names"), &keys).await.unwrap().values);
            offer.clock.advance(MINUTE / 20);
        }
        assert!(left[0].iter().all(Option::is_some), "none lives shorter than asked for");
        let in_the_middle = left[5].iter().flatten().count();
        assert!((1..KEYS).contains(&in_the_middle), "{in_the_middle} of {KEYS} live as long");
        offer.clock.advance(MILLI);
        let at_the_end = cache(&offer).get_many(&scope("names"), &keys).await.unwrap().values;
        assert!(at_the_end.iter().all(Option::is_none), "none lives longer than its time to live");
        lived.push(left);
    }
    assert_eq!(lived[0], lived[1], "the same key always lives as long");
}

async fn a_load_overtaken_by_a_removal_is_not_kept(offer: Offer) {
    let (names, cache) = (typed(&offer), cache(&offer));
    for (key, invalidate) in [("removed", false), ("invalidated", true)] {
        let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
        let loading = tokio::spawn({
            let (names, started, go_on) = (names.clone(), Arc::clone(&started), Arc::clone(&go_on));
            async move {
                let load = || async {
                    started.notify_one();
                    go_on.acquire().await.expect("open").forget();
                    Ok(Some("old".to_owned()))
                };
                names.get_or_load(key, load).await
            }
        });
        started.notified().await;
        if invalidate {
            cache.invalidate(&scope("names")).await.unwrap();
        } else {
            names.remove(key).await.unwrap();
        }
        go_on.add_permits(1);
        assert_eq!(loading.await.unwrap().unwrap().as_deref(), Some("old"), "its caller asked before");
        assert_eq!(names.get(key).await.unwrap(), None, "whoever asks now does not get the old value: {key}");
    }
}

async fn an_outage_is_never_a_miss(offer: Offer) {
    let (cache, s, outage) = (cache(&offer), scope("s"), offer.outage.clone().expect("an outage"));
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    let begun = generation(&*cache, &s).await;
    let keys = names(&["k", "k2"]);
    outage.begin();
    unavailable(cache.get_many(&s, &keys).await);
    unavailable(cache.put_many(&s, &[entry("k", "w", MINUTE), entry("k2", "w", MINUTE)], Put::Always).await);
    unavailable(cache.put_many(&s, &[entry("k2", "w", MINUTE)], Put::Fill(begun)).await);
    unavailable(cache.renew_many(&s, &keys, MINUTE * 9).await);
    unavailable(cache.remove_many(&s, &keys).await);
    unavailable(cache.invalidate(&s).await);
    unavailable(cache.keys(&s, "", &Page::first(10)).await);
    unavailable(cache.claim(&s, "job", "ben", MINUTE).await);
    unavailable(cache.claim(&s, "job 2", "ben", MINUTE).await);
    unavailable(cache.release(&s, "job", "ann").await);
    outage.end();
    let now = cache.get_many(&s, &keys).await.unwrap();
    assert_eq!((now.generation, now.values), (begun, vec![bytes("v"), None]), "as before");
    assert_eq!(all_keys(&*cache, &s, "", 10).await, ["k"]);
    assert!(filled(&*cache, &s, "k2", "v", begun).await, "no fence was raised");
    assert!(!cache.claim(&s, "job", "ben", MINUTE).await.unwrap());
    assert!(cache.claim(&s, "job 2", "cid", MINUTE).await.unwrap());
    offer.clock.advance(MINUTE);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "not renewed either");
}

async fn a_failing_cache_is_passed_by(offer: Offer) {
    let (names, loads, outage) = (typed(&offer), Loads::default(), offer.outage.clone().expect("an outage"));
    names.put("known", &"Ada".to_owned()).await.unwrap();
    outage.begin();
    for key in ["known", "unknown"] {
        for _ in 0..2 {
            assert_eq!(
                names.get_or_load(key, || loads.of(Some("Eve"))).await.unwrap().as_deref(),
                Some("Eve")
            );
        }
        unavailable(names.get(key).await);
        unavailable(names.put(key, &"Joy".to_owned()).await);
        unavailable(names.remove(key).await);
    }
    assert_eq!(loads.so_far(), 4, "every caller loads");
    outage.end();
    assert_eq!(names.get("known").await.unwrap().as_deref(), Some("Ada"));
    assert_eq!(names.get("unknown").await.unwrap(), None);
    let found = names
        .get_or_load("begun before", || async {
            outage.begin();
            Ok(Some("Ada".to_owned()))
        })
        .await;
    assert_eq!(found.unwrap().as_deref(), Some("Ada"), "what was loaded is good though it cannot be kept");
    outage.end();
}
