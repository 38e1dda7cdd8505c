//! Asking for a long list in pieces.

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// The most items one page may hold.
pub const MAX_PAGE: usize = 1_000;

/// Up to `limit` items that come after `after` in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<C> {
    /// The cursor of the last item already seen; `None` starts at the beginning.
    pub after: Option<C>,
    /// How many items at most: 1 to [`MAX_PAGE`].
    pub limit: usize,
}

impl<C> Page<C> {
    /// The first `limit` items.
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// The next `limit` items after a cursor.
    pub fn after(cursor: C, limit: usize) -> Self {
        Self { after: Some(cursor), limit }
    }

    /// # Errors
    /// [`Code::PageInvalid`] unless the limit lies between 1 and [`MAX_PAGE`].
    pub fn check(&self) -> Result<()> {
        check_limit(self.limit, MAX_PAGE)
    }
}

/// # Errors
/// [`Code::PageInvalid`] unless `limit` lies between 1 and `max`.
pub fn check_limit(limit: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&limit) { Ok(()) } else { Err(Error::new(Code::PageInvalid).with("max", max)) }
}

/// One page of a list. Whoever is in the list during the whole walk is returned exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Paged<T, C> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<C>,
}

impl<T, C> Paged<T, C> {
    /// A page that is also the last.
    pub fn last(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// Makes a page from up to `limit + 1` items in order: the surplus item only shows that there is more.
    pub fn from_surplus(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }

    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Paged<U, C> {
        Paged { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}
