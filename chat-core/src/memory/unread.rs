//! [`UnreadStore`] in memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use async_trait::async_trait;
use dashmap::DashMap;

use crate::domain::{ClientKey, ConversationId, ReadPosition, Seq, Unread, UserId};
use crate::error::Result;
use crate::store::UnreadStore;
use crate::store::unread::{Advance, AdvanceTo, MAX_UNCOUNTED, Recorded, UnreadTruth};

/// How many mentions are kept although they are read, for those who mark a conversation as unread again.
const MAX_READ_MENTIONS: usize = 100;
/// How many adjustments of one count are remembered to recognise a repeat.
const MAX_ADJUSTMENTS: usize = 1_000;

/// What is unread, in this process; a restart loses it, and truth brings it back.
///
/// One small record stays for every conversation and for every user who read, wrote or was mentioned in one. Of each
/// conversation the newest [`MAX_UNCOUNTED`] messages that do not count and that mention everyone are kept, of each
/// record as many mentions (of those read 100) and the last 1000 adjustments. Whoever would need older ones gets
/// `None` until they have read further; mentions by name come back with truth, too.
#[derive(Default)]
pub struct MemoryUnread {
    conversations: DashMap<ConversationId, Conversation>,
}

impl MemoryUnread {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryUnread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryUnread").field("conversations", &self.conversations.len()).finish()
    }
}

#[async_trait]
impl UnreadStore for MemoryUnread {
    async fn record_many(&self, messages: &[Recorded]) -> Result<()> {
        for message in messages {
            self.conversations.entry(message.conversation.clone()).or_default().record(message);
        }
        Ok(())
    }

    async fn uncount_many(&self, conversation: &ConversationId, messages: &[Seq]) -> Result<()> {
        if !messages.is_empty() {
            let mut conversation = self.conversations.entry(conversation.clone()).or_default();
            messages.iter().for_each(|seq| conversation.uncounted.insert(*seq));
        }
        Ok(())
    }

    async fn advance_many(&self, advances: &[Advance]) -> Result<Vec<ReadPosition>> {
        let advance = |advance: &Advance| {
            self.conversations.entry(advance.conversation.clone()).or_default().advance(advance)
        };
        Ok(advances.iter().map(advance).collect())
    }

    async fn counts(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Unread>>> {
        Ok(conversations.iter().map(|id| self.conversations.get(id)?.count(user)).collect())
    }

    async fn adjust(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        by: i64,
        key: &ClientKey,
    ) -> Result<Option<Unread>> {
        let Some(mut conversation) = self.conversations.get_mut(conversation) else { return Ok(None) };
        if let Some(reader) = conversation.readers.get_mut(user) {
            reader.adjust(by, key);
        }
        Ok(conversation.count(user))
    }

    async fn rebuild(&self, user: &UserId, truth: &[(ConversationId, UnreadTruth)]) -> Result<()> {
        for (conversation, truth) in truth {
            self.conversations.entry(conversation.clone()).or_default().rebuild(user, truth);
        }
        Ok(())
    }

    async fn forget_many(&self, users: &[(UserId, ConversationId)]) -> Result<()> {
        for (user, conversation) in users {
            if let Some(mut conversation) = self.conversations.get_mut(conversation) {
                conversation.forget(user);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Conversation {
    head: Option<Seq>,
    /// Up to here something is missing; of no meaning while nothing is known.
    floor: Seq,
    uncounted: Newest,
    /// Messages that mention everyone.
    everyone: Newest,
    readers: HashMap<UserId, Reader>,
}

impl Conversation {
    fn record(&mut self, message: &Recorded) {
        let seq = message.seq;
        if self.head.is_none() {
            self.floor = seq.previous();
        }
        self.head = self.head.max(Some(seq));
        if seq == Seq::ZERO {
            return;
        }
        if !message.countable {
            self.uncounted.insert(seq);
        }
        if message.mentions.everyone {
            self.everyone.insert(seq);
        }
        for user in &message.mentions.users {
            self.readers.entry(user.clone()).or_default().mentions.insert(seq);
        }
        if let Some(sender) = &message.sender {
            self.readers.entry(sender.clone()).or_default().wrote(seq);
        }
    }

    fn advance(&mut self, advance: &Advance) -> ReadPosition {
        let reader = self.readers.entry(advance.user.clone()).or_default();
        if reader.position.is_none() {
            reader.floor = self.head;
        }
        reader.advance(advance.to, advance.own)
    }

    fn count(&self, user: &UserId) -> Option<Unread> {
        let head = self.head?;
        let reader = self.readers.get(user)?;
        let reached = reader.position?.reached(reader.own);
        if reached < reader.floor_over(self.floor) {
            return None;
        }
        let uncounted = self.uncounted.between(reached, head)?;
        let own = reader.mentions.between(reached, head)?;
        let everyone = self.everyone.between(reached, head)?;
        let others = everyone.clone().filter(|seq| !reader.mentions.contains(**seq));
        let mentions = own.chain(others).filter(|seq| !self.uncounted.contains(**seq)).count() as u64;
        let messages = head.0.saturating_sub(reached.0).saturating_sub(uncounted.len() as u64);
        Some(Unread { messages: messages.saturating_add_signed(reader.adjustment()), mentions })
    }

    fn rebuild(&mut self, user: &UserId, truth: &UnreadTruth) {
        if self.head.is_none() {
            self.floor = truth.head;
        }
        self.head = self.head.max(Some(truth.head));
        truth.uncounted.iter().for_each(|seq| self.uncounted.insert(*seq));
        self.readers.entry(user.clone()).or_default().rebuild(truth, self.floor);
    }

    /// What the user wrote and who mentions it is kept: it stays true.
    fn forget(&mut self, user: &UserId) {
        let Some(reader) = self.readers.get_mut(user) else { return };
        reader.position = None;
        reader.floor = None;
        reader.adjusted = None;
        if reader.is_blank() {
            self.readers.remove(user);
        }
    }
}

/// One user in one conversation.
#[derive(Default)]
struct Reader {
    position: Option<ReadPosition>,
    /// Up to here something is missing; `None` where that is what is missing of the conversation.
    floor: Option<Seq>,
    /// The last message the user wrote.
    own: Seq,
    /// Messages that mention the user by name, or of which truth says that they mention it.
    mentions: Newest,
    adjusted: Option<Box<Adjusted>>,
}

#[derive(Default)]
struct Adjusted {
    by: i64,
    keys: HashSet<ClientKey>,
    oldest_first: VecDeque<ClientKey>,
}

impl Reader {
    fn is_blank(&self) -> bool {
        self.own == Seq::ZERO && self.mentions.is_blank()
    }

    fn wrote(&mut self, seq: Seq) {
        self.own = self.own.max(seq);
        self.prune();
    }

    fn floor_over(&self, conversation: Seq) -> Seq {
        self.floor.unwrap_or(conversation)
    }

    fn advance(&mut self, to: AdvanceTo, own: Seq) -> ReadPosition {
        let before = self.position.unwrap_or_default();
        let (position, beyond) = match to {
            AdvanceTo::Position(to) => (before.merge(to), before.merge(to) == to),
            AdvanceTo::Read(seq) => (before.read_up_to(seq), seq >= before.seq),
        };
        if beyond {
            self.adjusted = None;
        }
        self.position = Some(position);
        self.wrote(own);
        position
    }

    /// Truth brings back what is missing, if it is not older than that.
    fn rebuild(&mut self, truth: &UnreadTruth, conversation: Seq) {
        let floor = self.floor_over(conversation);
        if floor <= truth.head {
            self.floor = Some(floor.min(truth.reached()));
        }
        self.mentions.take_over(truth);
        self.adjusted = None;
        self.position = Some(self.position.map_or(truth.position, |known| known.merge(truth.position)));
        self.wrote(truth.own);
    }

    /// Drops the oldest mentions that are read.
    fn prune(&mut self) {
        if let Some(position) = self.position {
            self.mentions.prune(position.reached(self.own), MAX_READ_MENTIONS);
        }
    }

    fn adjustment(&self) -> i64 {
        self.adjusted.as_ref().map_or(0, |adjusted| adjusted.by)
    }

    /// An unknown position needs no adjustment: whatever makes it known clears it.
    fn adjust(&mut self, by: i64, key: &ClientKey) {
        if self.position.is_some() {
            self.adjusted.get_or_insert_default().add(by, key);
        }
    }
}

impl Adjusted {
    fn add(&mut self, by: i64, key: &ClientKey) {
        if !self.keys.insert(key.clone()) {
            return;
        }
        self.by = self.by.saturating_add(by);
        self.oldest_first.push_back(key.clone());
        if self.oldest_first.len() > MAX_ADJUSTMENTS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

/// The newest of some messages, in order.
#[derive(Default)]
struct Newest {
    seqs: VecDeque<Seq>,
    /// Up to here some were dropped.
    missing_to: Seq,
}

impl Newest {
    fn is_blank(&self) -> bool {
        self.seqs.is_empty() && self.missing_to == Seq::ZERO
    }

    fn contains(&self, seq: Seq) -> bool {
        self.seqs.binary_search(&seq).is_ok()
    }

    fn insert(&mut self, seq: Seq) {
        if let Err(place) = self.seqs.binary_search(&seq) {
            self.seqs.insert(place, seq);
        }
        while self.seqs.len() > MAX_UNCOUNTED {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        self.missing_to = self.missing_to.max(self.seqs.pop_front().unwrap_or_default());
    }

    /// Takes over the mentions there are after what truth says was reached.
    fn take_over(&mut self, truth: &UnreadTruth) {
        if self.missing_to <= truth.head {
            self.missing_to = self.missing_to.min(truth.reached());
        }
        truth.mentions.iter().for_each(|seq| self.insert(*seq));
    }

    /// Drops the oldest ones up to `to` while there are more than `keep`.
    fn prune(&mut self, to: Seq, keep: usize) {
        while self.seqs.len() > keep && self.seqs.front().is_some_and(|seq| *seq <= to) {
            self.drop_first();
        }
    }

    /// Those after `from` up to `to`; `None` when some of them may be missing.
    fn between(&self, from: Seq, to: Seq) -> Option<std::collections::vec_deque::Iter<'_, Seq>> {
        if from < self.missing_to {
            return None;
        }
        let first = self.seqs.partition_point(|seq| *seq <= from);
        let end = self.seqs.partition_point(|seq| *seq <= to);
        Some(self.seqs.range(first.min(end)..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mentions;
    use crate::store::UnreadStoreExt;

    fn ids() -> (UserId, ConversationId) {
        (UserId::new("ada").unwrap(), ConversationId::new("c").unwrap())
    }

    fn message(seq: u64, mentions: Mentions) -> Recorded {
        Recorded {
            conversation: ids().1,
            seq: Seq(seq),
            sender: None,
            countable: seq.is_multiple_of(2),
            mentions,
        }
    }

    #[tokio::test]
    async fn what_is_kept_of_a_conversation_is_bounded() {
        let unread = MemoryUnread::new();
        let (ada, c) = ids();
        let last = 3 * MAX_UNCOUNTED as u64;
        for seq in 1..=last {
            unread
                .record(&message(seq, Mentions { users: vec![ada.clone()], everyone: true }))
                .await
                .unwrap();
        }
        for n in 0..5_000 {
            unread.adjust(&ada, &c, 1, &ClientKey::new(n.to_string()).unwrap()).await.unwrap();
        }
        let sizes = |unread: &MemoryUnread| {
            let c = unread.conversations.get(&c).unwrap();
            (c.uncounted.seqs.len(), c.everyone.seqs.len(), c.readers[&ada].mentions.seqs.len())
        };
        assert_eq!(sizes(&unread), (MAX_UNCOUNTED, MAX_UNCOUNTED, MAX_UNCOUNTED));
        unread.mark_read(&ada, &c, Seq(10)).await.unwrap();
        assert_eq!(unread.count(&ada, &c).await.unwrap(), None);
        unread.mark_read(&ada, &c, Seq(last)).await.unwrap();
        assert_eq!(unread.count(&ada, &c).await.unwrap(), Some(Unread::default()));
        assert_eq!(sizes(&unread).2, MAX_READ_MENTIONS);
        for n in 0..5_000 {
            unread.adjust(&ada, &c, 1, &ClientKey::new(n.to_string()).unwrap()).await.unwrap();
        }
        assert_eq!(unread.count(&ada, &c).await.unwrap().unwrap().messages, 5_000);
        let c = unread.conversations.get(&c).unwrap();
        let adjusted = c.readers[&ada].adjusted.as_ref().unwrap();
        assert_eq!((adjusted.keys.len(), adjusted.oldest_first.len()), (MAX_ADJUSTMENTS, MAX_ADJUSTMENTS));
    }

    #[tokio::test]
    async fn truth_brings_dropped_mentions_back() {
        let unread = MemoryUnread::new();
        let (ada, c) = ids();
        for seq in 1..=400 {
            unread
                .record(&message(2 * seq, Mentions { users: vec![ada.clone()], everyone: false }))
                .await
                .unwrap();
        }
        let read = unread.mark_read(&ada, &c, Seq(800)).await.unwrap();
        let position = read.rewound_to(Seq(0), Seq(800));
        unread.advance(&ada, &c, AdvanceTo::Position(position)).await.unwrap();
        assert_eq!(unread.count(&ada, &c).await.unwrap(), None);
        let mentions = (1..=400).map(|seq| Seq(2 * seq)).collect();
        let truth = UnreadTruth { head: Seq(800), position, mentions, ..UnreadTruth::default() };
        unread.rebuild(&ada, &[(c.clone(), truth)]).await.unwrap();
        assert_eq!(unread.count(&ada, &c).await.unwrap(), Some(Unread { messages: 800, mentions: 400 }));
    }
}
