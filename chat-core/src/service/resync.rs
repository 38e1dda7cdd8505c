//! What is derived, compared with the truth and made equal to it.

use futures::StreamExt;

use super::Chat;
use crate::domain::{ConversationId, UserId};
use crate::error::Result;
use crate::sync::Resynced;

/// How many users are looked at once.
const AT_ONCE: usize = 8;

impl Chat {
    /// Compares unread counts with a recount from truth, and makes them equal: for a store that may have lost them. Each user
    /// with some of its conversations. What a host had adjusted by hand is gone afterwards, where a count was not equal.
    ///
    /// It is for after a loss: one recount a user, eight users at a time. What is never looked at is recounted by its next
    /// reader, if the store knows that it has lost it.
    ///
    /// # Idempotency
    /// Repeated, it finds nothing to repair.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn resync(&self, users: &[(UserId, Vec<ConversationId>)]) -> Result<Resynced> {
        let looking: Vec<_> = users.iter().map(|(user, places)| self.resync_user(user, places)).collect();
        let mut looking = futures::stream::iter(looking).buffer_unordered(AT_ONCE);
        let mut all = Resynced::default();
        while let Some(found) = looking.next().await {
            all += found?;
        }
        Ok(all)
    }

    async fn resync_user(&self, user: &UserId, places: &[ConversationId]) -> Result<Resynced> {
        let compared = places.len() as u64;
        let differing = self.differing(user, places).await?;
        if differing.is_empty() {
            return Ok(Resynced { compared, ..Resynced::default() });
        }
        let (unread, positions) = (&self.inner.ports.unread, &self.inner.ports.positions);
        let truth = positions.recount(user, &differing).await?;
        unread.rebuild(user, &differing.iter().cloned().zip(truth).collect::<Vec<_>>()).await?;
        let left = self.differing(user, &differing).await?.len() as u64;
        Ok(Resynced { compared, repaired: differing.len() as u64 - left, unequal: left })
    }

    /// The conversations whose count is not that of the truth, also when truth is asked again: what is said meanwhile comes
    /// to the two at different times.
    async fn differing(&self, user: &UserId, places: &[ConversationId]) -> Result<Vec<ConversationId>> {
        let mut differing = places.to_vec();
        for _ in 0..2 {
            let known = self.inner.ports.unread.counts(user, &differing).await?;
            let truth = self.inner.ports.positions.recount(user, &differing).await?;
            let both = known.into_iter().zip(truth);
            let mut equal = both.map(|(known, truth)| known == Some(truth.unread()));
            differing.retain(|_| !equal.next().unwrap_or(false));
            if differing.is_empty() {
                break;
            }
        }
        Ok(differing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Chat;
    use crate::domain::{Actor, UserId};
    use crate::memory::MemoryUnread;
    use crate::service::{NewGroup, Ports};
    use crate::store::UnreadStore;
    use crate::sync::Resynced;

    fn found(compared: u64, repaired: u64) -> Resynced {
        Resynced { compared, repaired, unequal: 0 }
    }

    #[tokio::test]
    async fn what_is_lost_or_wrong_becomes_the_truth_and_is_found_once() {
        let unread = Arc::new(MemoryUnread::new());
        let chat = Chat::builder().unread(Arc::clone(&unread) as _).build();
        let [ada, bob] = ["ada", "bob"].map(|name| Actor::user(UserId::new(name).unwrap()));
        let mut places = Vec::new();
        for n in 0..3 {
            let group = NewGroup::named(format!("group {n}")).with_member(bob.user.clone());
            let group = chat.create_group(&ada, group).await.unwrap().id;
            chat.send(&ada, &group, "hello", None).await.unwrap();
            places.push(group);
        }
        let everybody = [(ada.user.clone(), places.clone()), (bob.user.clone(), places.clone())];
        assert_eq!(chat.resync(&everybody).await.unwrap(), found(6, 0));

        // One count was lost, and one is behind: as after a failover to a replica that had not got the last message.
        unread.forget_many(&[(bob.user.clone(), places[0].clone())]).await.unwrap();
        let Ports { messages, positions, conversations, outbox, .. } = chat.ports().clone();
        let elsewhere = Chat::builder().messages(messages).positions(positions);
        let elsewhere = elsewhere.conversations(conversations).outbox(outbox).build();
        elsewhere.send(&ada, &places[1], "again", None).await.unwrap();
        let counts = async || {
            let counts = unread.counts(&bob.user, &places).await.unwrap();
            counts.into_iter().map(|count| count.map(|count| count.messages)).collect::<Vec<_>>()
        };
        assert_eq!(counts().await, [None, Some(1), Some(1)]);
        assert_eq!(chat.resync(&everybody[1..]).await.unwrap(), found(3, 2));
        assert_eq!(counts().await, [Some(1), Some(2), Some(1)]);
        assert_eq!(
            chat.resync(&everybody).await.unwrap(),
            found(6, 1),
            "what ada wrote elsewhere is her own place"
        );
        assert_eq!(chat.resync(&everybody).await.unwrap(), found(6, 0));
    }
}
