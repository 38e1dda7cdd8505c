//! Search, within what the actor may read.

use super::Chat;
use crate::domain::page::{MAX_PAGE, Page, Paged};
use crate::domain::text::Query;
use crate::domain::{Actor, ConversationId};
use crate::error::{Code, Error, Result};
use crate::moderation::Action;
use crate::store::conversations::ConversationFilter;
use crate::store::messages::{Hit, SearchCursor, SearchQuery};

/// The shortest search, in characters.
pub const MIN_SEARCH: usize = 2;
/// The longest search, in characters.
pub const MAX_SEARCH: usize = 256;

/// A page of hits, newest first.
pub type Found = Paged<Hit, SearchCursor>;

impl Chat {
    /// Messages by their words, in one conversation or in all of the actor's (the 1 000 latest active ones).
    ///
    /// # Errors
    /// [`Code::SearchTooShort`] for less than two characters or no word; [`Code::RequestInvalid`] for more than 256
    /// characters or 10 words; [`Code::Forbidden`]; [`Code::PageInvalid`].
    pub async fn search(
        &self,
        actor: &Actor,
        text: &str,
        conversation: Option<&ConversationId>,
        page: &Page<SearchCursor>,
    ) -> Result<Found> {
        let words = words(text)?;
        let conversations = match conversation {
            Some(conversation) => {
                self.inner.guard.check(actor, conversation, Action::Read).await?;
                vec![conversation.clone()]
            }
            None => {
                let all = Page::first(MAX_PAGE);
                let filter = ConversationFilter::default();
                let found = self.inner.ports.conversations.list(&actor.user, &filter, &all).await?;
                found.items.into_iter().map(|membership| membership.conversation.id).collect()
            }
        };
        let query = SearchQuery {
            conversations,
            viewer: actor.user.clone(),
            words,
            after: page.after.clone(),
            limit: page.limit,
        };
        self.inner.ports.messages.search(&query).await
    }
}

fn words(text: &str) -> Result<Query> {
    let length = text.trim().chars().count();
    if length < MIN_SEARCH {
        return Err(Error::new(Code::SearchTooShort).with("min", MIN_SEARCH));
    }
    if length > MAX_SEARCH {
        return Err(Error::invalid(Code::RequestInvalid, format!("at most {MAX_SEARCH} characters")));
    }
    if crate::domain::text::words(text).is_empty() {
        return Err(Error::new(Code::SearchTooShort).with("min", MIN_SEARCH));
    }
    Query::new(text).ok_or_else(|| Error::invalid(Code::RequestInvalid, "too many words"))
}
