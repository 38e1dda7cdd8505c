//! Who is online, page by page: by shard, and in a shard by the bytes of the id.

use chat_core::domain::UserId;
use chat_core::domain::page::{Page, Paged};
use chat_core::error::Result;

use super::{PART, RedisPresence, shard_of};
use crate::connection::Operation;
use crate::error::corrupt;
use crate::keys::Shard;
use crate::script::scripts;

scripts! {
    LIST_SCRIPT = "presence", "presence_list";
}

const LIST: Operation = Operation::read("presence.online");

/// Where a shard is read on: after this user, or from its beginning.
struct Place {
    shard: Shard,
    after: String,
}

/// What a script answers: whether somebody may be left, the last user looked at, and who is online.
type Answer = (bool, String, Vec<String>);

impl RedisPresence {
    /// Asks one shard, then the next two, four and eight: a page that one shard fills costs one command, and one that all
    /// shards together do not fill costs five round trips.
    pub(super) async fn list(&self, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        let wanted = page.limit + 1;
        let first = page.after.as_ref().map(shard_of);
        let mut open: Vec<Place> = Shard::all()
            .filter(|shard| first.is_none_or(|first| *shard >= first))
            .map(|shard| Place { shard, after: String::new() })
            .collect();
        if let (Some(place), Some(after)) = (open.first_mut(), &page.after) {
            after.as_str().clone_into(&mut place.after);
        }
        let (mut found, mut at_once) = (Vec::new(), 1);
        while found.len() < wanted && !open.is_empty() {
            let later = open.split_off(at_once.min(open.len()));
            let left = wanted - found.len();
            let of_place =
                |place: &Place| self.script(&LIST_SCRIPT, place.shard).arg(place.after.as_str()).arg(left);
            let operation = if left > PART { LIST.bulk() } else { LIST };
            let answers: Vec<Answer> =
                self.store.call(operation, open.iter().map(of_place).collect()).await?;
            let mut asked = open.into_iter().zip(answers);
            let mut next = Vec::new();
            for (place, (more, after, users)) in asked.by_ref() {
                for user in users {
                    found.push(UserId::new(user).map_err(|error| corrupt(LIST, error))?);
                }
                if more {
                    next.push(Place { after, ..place });
                    break;
                }
            }
            // What follows a shard that is not done is read again when its turn comes.
            next.extend(asked.map(|(place, _)| place));
            next.extend(later);
            open = next;
            at_once *= 2;
        }
        found.truncate(wanted);
        Ok(Paged::from_surplus(found, page.limit, UserId::clone))
    }
}
