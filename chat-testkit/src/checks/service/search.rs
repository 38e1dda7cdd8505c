//! Promises of search: within what one may read.

use std::time::Duration;

use chat_core::domain::{Actor, ConversationId, Mentions, Page};
use chat_core::error::Code;
use chat_core::event::DeleteType;
use chat_core::service::{MAX_SEARCH, MIN_SEARCH};

use crate::Offer;
use crate::expect::refused;
use crate::sample::conversation;
use crate::stage::{Stage, actor, platform_admin};
use crate::walk::walk;

promises! {
    "service::search":
    only_ones_own_conversations_are_searched,
    who_is_out_finds_nothing_more,
    words_are_found_as_people_write_them,
    what_changed_is_found_as_it_is,
    hits_are_read_page_by_page_newest_first,
    bad_searches_are_refused,
    a_search_is_no_pattern,
}

async fn hits(stage: &Stage, who: &Actor, text: &str, within: Option<&ConversationId>) -> Vec<String> {
    let found = stage.chat.search(who, text, within, &Page::first(50)).await.unwrap();
    found.items.into_iter().map(|hit| hit.message.content).collect()
}

async fn only_ones_own_conversations_are_searched(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let other = stage.group("Others", &[&bob, &eve]).await;
    for (who, place, text) in [(&ada, &group, "secret of engines"), (&bob, &other, "secret of others")] {
        stage.clock.advance(Duration::from_secs(1));
        stage.say(who, place, text).await;
    }
    stage.clock.advance(Duration::from_secs(1));
    let direct =
        stage.chat.send(&ada, &bob.user, "secret of two", None).await.unwrap().message.conversation_id;
    assert_eq!(hits(&stage, &ada, "secret", None).await, ["secret of two", "secret of engines"]);
    assert_eq!(
        hits(&stage, &bob, "secret", None).await,
        ["secret of two", "secret of others", "secret of engines"]
    );
    assert_eq!(hits(&stage, &eve, "secret", None).await, ["secret of others"]);
    assert_eq!(hits(&stage, &actor("nobody"), "secret", None).await, [""; 0]);
    assert_eq!(hits(&stage, &platform_admin(), "secret", None).await, [""; 0], "its own are none");
    assert_eq!(hits(&stage, &bob, "secret", Some(&group)).await, ["secret of engines"]);
    for place in [&group, &direct, &conversation("nowhere")] {
        refused(stage.chat.search(&eve, "secret", Some(place), &Page::first(10)).await, Code::Forbidden);
    }
}

async fn who_is_out_finds_nothing_more(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&bob, &group, "words of bob").await;
    assert_eq!(hits(&stage, &bob, "words", None).await, ["words of bob"]);
    stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap();
    assert_eq!(hits(&stage, &bob, "words", None).await, [""; 0]);
    refused(stage.chat.search(&bob, "words", Some(&group), &Page::first(10)).await, Code::Forbidden);
}

async fn words_are_found_as_people_write_them(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for text in ["Un café brûlant à Genève", "CAFE froid", "decaffeinated", "日本語 text"] {
        stage.clock.advance(Duration::from_secs(1));
        stage.say(&ada, &group, text).await;
    }
    for (text, found) in [
        ("cafe", vec!["CAFE froid", "Un café brûlant à Genève"]),
        ("CAFÉ BRU", vec!["Un café brûlant à Genève"]),
        ("geneve cafe", vec!["Un café brûlant à Genève"]),
        ("caf", vec!["CAFE froid", "Un café brûlant à Genève"]),
        ("caf froid", vec![]),
        ("affe", vec![]),
    ] {
        assert_eq!(hits(&stage, &ada, text, None).await, found, "{text}");
    }
    let found = stage.chat.search(&ada, "cafe gen", None, &Page::first(10)).await.unwrap();
    let hit = &found.items[0];
    let words: Vec<&str> = hit.highlights.iter().map(|(from, to)| &hit.message.content[*from..*to]).collect();
    assert_eq!(words, ["café", "Genève"]);
}

async fn what_changed_is_found_as_it_is(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "before").await;
    stage.chat.edit(&ada, &said.id, "after", Mentions::default(), None).await.unwrap();
    assert_eq!(hits(&stage, &bob, "before", None).await, [""; 0]);
    assert_eq!(hits(&stage, &bob, "after", None).await, ["after"]);
    stage.chat.delete(&bob, &said.id, DeleteType::ForMe).await.unwrap();
    assert_eq!(hits(&stage, &bob, "after", None).await, [""; 0]);
    assert_eq!(hits(&stage, &ada, "after", None).await, ["after"]);
    stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    assert_eq!(hits(&stage, &ada, "after", None).await, [""; 0]);
}

async fn hits_are_read_page_by_page_newest_first(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let one = stage.group("One", &[&ada]).await;
    let two = stage.group("Two", &[&ada]).await;
    for n in 0..24 {
        // Some of one moment.
        if n % 2 == 0 {
            stage.clock.advance(Duration::from_secs(1));
        }
        stage.say(&ada, if n % 3 == 0 { &one } else { &two }, &format!("number {n}")).await;
    }
    let whole = stage.chat.search(&ada, "number", None, &Page::first(50)).await.unwrap().items;
    assert_eq!(whole.len(), 24);
    assert!(whole.windows(2).all(|two| two[0].message.created_at >= two[1].message.created_at));
    for limit in [1, 5, 24] {
        let (chat, ada) = (&stage.chat, &ada);
        let walked = walk(limit, |page| async move { chat.search(ada, "number", None, &page).await }).await;
        assert_eq!(walked, whole, "{limit} a page");
    }
}

async fn bad_searches_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.say(&ada, &group, "hello").await;
    let page = Page::first(10);
    for short in ["", "a", " a ", "é", "\"-(", "   ", "!?", "\u{200b}\u{200b}"] {
        let found = stage.chat.search(&ada, short, None, &page).await;
        let error = found.expect_err(short);
        assert_eq!((error.code(), error.detail("min")), (Code::SearchTooShort, Some("2")), "{short:?}");
    }
    let long = "x".repeat(MAX_SEARCH + 1);
    for many in [long.as_str(), "a b c d e f g h i j k"] {
        refused(stage.chat.search(&ada, many, None, &page).await, Code::RequestInvalid);
    }
    for limit in [0, 51, usize::MAX] {
        refused(stage.chat.search(&ada, "hello", None, &Page::first(limit)).await, Code::PageInvalid);
        let nobody = actor("nobody");
        refused(stage.chat.search(&nobody, "hello", None, &Page::first(limit)).await, Code::PageInvalid);
    }
    for fine in ["h".repeat(MAX_SEARCH).as_str(), "he".repeat(MIN_SEARCH / 2).as_str(), "a b c d e f g h i j"]
    {
        stage.chat.search(&ada, fine, None, &page).await.unwrap();
    }
}

async fn a_search_is_no_pattern(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.say(&ada, &group, "hello world").await;
    for hostile in [
        ".*",
        "h.*o",
        "h%llo",
        "h_llo",
        "hello|none",
        "^hello",
        "$where 1",
        "{\"$ne\": 1}",
        "[a-z]+",
        "-hello none",
    ] {
        let found = stage.chat.search(&ada, hostile, None, &Page::first(10)).await;
        let hits = found.map(|found| found.items.len()).unwrap_or_default();
        assert!(hits == 0 || hostile == "^hello", "{hostile}: {hits}");
    }
    assert_eq!(hits(&stage, &ada, "\"hello\" (world)", None).await, ["hello world"], "signs are no words");
}
