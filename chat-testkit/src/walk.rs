//! Reading long lists page by page, and answers that are allowed to be late.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use chat_core::domain::{Page, Paged};
use chat_core::error::Result;

/// What no list of the kit exceeds: a longer walk goes in circles.
const TOO_LONG: usize = 20_000;
/// How often a late answer is asked for, and how long lies between.
const ATTEMPTS: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Walks through a whole list, `limit` items a page.
///
/// # Panics
/// When a page is longer than asked for, or the walk goes in circles.
pub async fn walk<T, C, F>(limit: usize, mut page_of: impl FnMut(Page<C>) -> F) -> Vec<T>
where
    C: Debug + Clone + PartialEq,
    F: Future<Output = Result<Paged<T, C>>>,
{
    let mut page = Page::first(limit);
    let mut items = Vec::new();
    loop {
        let found = page_of(page.clone()).await.unwrap();
        assert!(found.items.len() <= limit, "a page of {limit} holds {}", found.items.len());
        items.extend(found.items);
        assert!(items.len() < TOO_LONG, "the walk does not end");
        match found.next {
            None => return items,
            next @ Some(_) => {
                assert_ne!(next, page.after, "the next page begins where this one began");
                page.after = next;
            }
        }
    }
}

/// Asks until it is so: for answers that may lag by their port's own words.
///
/// # Panics
/// When it has not become so after 5 seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    for _ in 0..ATTEMPTS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("never became so: {what}");
}
