//! Reading: receipts and unread counts.

use super::{Chat, derived};
use crate::domain::page::{MAX_PAGE, Page, Paged};
use crate::domain::{Actor, ConversationId, Member, MessageId, Receipts, Seq, Unread, UserId};
use crate::error::Result;
use crate::moderation::Action;
use crate::store::PositionStoreExt;
use crate::store::conversations::ConversationFilter;
use crate::store::positions::{Moved, PositionStep, Step};
use crate::store::unread::{Advance, AdvanceTo};

/// What a step did to the actor's own counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadChange {
    /// The receipts before and after.
    pub moved: Moved,
    /// What is unread in the conversation now.
    pub unread: Unread,
}

/// Who has a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readers {
    /// Who has read it, without its sender.
    pub read_by: Vec<UserId>,
    /// To whom it was delivered, readers included.
    pub delivered_to: Vec<UserId>,
}

impl Chat {
    /// Says that everything up to `seq` has reached one of the actor's devices.
    ///
    /// # Idempotency
    /// A maximum: an older `seq` changes nothing, one beyond the newest message means that.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn mark_delivered(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        seq: Seq,
    ) -> Result<Moved> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let moved = self.inner.ports.positions.step(&actor.user, conversation, Step::Delivered(seq)).await?;
        if moved.changed() {
            self.wrote();
        }
        Ok(moved)
    }

    /// Says that the actor has read everything up to `seq`.
    ///
    /// # Idempotency
    /// A maximum: an older `seq` changes nothing, one beyond the newest message means that.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn mark_read(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        seq: Seq,
    ) -> Result<UnreadChange> {
        self.step(actor, conversation, Step::Read(seq)).await
    }

    /// Makes everything from `from` on unread again: the only way down.
    ///
    /// # Idempotency
    /// Nothing that is unread already changes.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn mark_unread(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        from: Seq,
    ) -> Result<UnreadChange> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let receipts = self.inner.ports.positions.receipts(&actor.user, conversation).await?;
        self.step(actor, conversation, Step::Unread { from, epoch: receipts.read.epoch }).await
    }

    async fn step(&self, actor: &Actor, conversation: &ConversationId, step: Step) -> Result<UnreadChange> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let ports = &self.inner.ports;
        let moved = ports.positions.step(&actor.user, conversation, step).await?;
        // Also when truth had it already: the unread store may have lost it.
        let advance = advance(actor.user.clone(), conversation.clone(), &moved);
        derived("unread", ports.unread.advance_many(&[advance]).await);
        // Whoever hears of it sees the count, too.
        if moved.changed() {
            self.wrote();
        }
        let unread = self.counts(&actor.user, std::slice::from_ref(conversation)).await?;
        Ok(UnreadChange { moved, unread: unread.into_iter().sum() })
    }

    /// Who has read a message, and whom it has reached: the first 1 000 of each.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn readers(&self, actor: &Actor, message: &MessageId) -> Result<Readers> {
        let message = self.message(actor, message, Action::Read).await?;
        let (positions, page) = (&self.inner.ports.positions, Page::first(MAX_PAGE));
        let (conversation, seq) = (&message.conversation_id, message.seq);
        let (read, delivered) = futures::try_join!(
            positions.readers(conversation, seq, &page),
            positions.receivers(conversation, seq, &page),
        )?;
        Ok(Readers { read_by: read.items, delivered_to: delivered.items })
    }

    /// What the actor has not read in a conversation.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn unread(&self, actor: &Actor, conversation: &ConversationId) -> Result<Unread> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        Ok(self.counts(&actor.user, std::slice::from_ref(conversation)).await?.into_iter().sum())
    }

    /// What the actor has not read anywhere, but for muted and archived conversations.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn total_unread(&self, actor: &Actor) -> Result<Unread> {
        let mut total = Unread::default();
        let filter = ConversationFilter { archived: Some(false), kind: None };
        let mut page = Page::first(MAX_PAGE);
        loop {
            let Paged { items, next } =
                self.inner.ports.conversations.list(&actor.user, &filter, &page).await?;
            let now = self.now();
            let counting = items.into_iter().filter(|membership| membership.settings.counts_in_total(now));
            let ids: Vec<_> = counting.map(|membership| membership.conversation.id).collect();
            total = total + self.counts(&actor.user, &ids).await?.into_iter().sum();
            match next {
                Some(cursor) => page.after = Some(cursor),
                None => return Ok(total),
            }
        }
    }

    /// Counts, asking truth for what is not known and keeping its answer.
    pub(super) async fn counts(
        &self,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Unread>> {
        let ports = &self.inner.ports;
        let known = match ports.unread.counts(user, conversations).await {
            Ok(known) => known,
            // Truth can answer while the derived store is away.
            Err(error) if error.is_transient() => vec![None; conversations.len()],
            Err(error) => return Err(error),
        };
        let missing: Vec<ConversationId> = known
            .iter()
            .zip(conversations)
            .filter(|(count, _)| count.is_none())
            .map(|(_, id)| id.clone())
            .collect();
        if missing.is_empty() {
            return Ok(known.into_iter().flatten().collect());
        }
        let truth = ports.positions.recount(user, &missing).await?;
        let truth: Vec<_> = missing.into_iter().zip(truth).collect();
        derived("unread", ports.unread.rebuild(user, &truth).await);
        let mut recounted = truth.iter().map(|(_, truth)| truth.unread());
        Ok(known.into_iter().map(|count| count.or_else(|| recounted.next()).unwrap_or_default()).collect())
    }

    /// Lets members begin in a conversation: nothing said before they joined is unread. Harmless to repeat, also when
    /// they have read or marked as unread since.
    pub(super) async fn begin(&self, conversation: &ConversationId, members: &[Member]) -> Result<()> {
        let positions = &self.inner.ports.positions;
        let places: Vec<_> =
            members.iter().map(|member| (member.user_id.clone(), conversation.clone())).collect();
        let receipts = positions.receipts_many(&places).await?;
        let joining =
            members.iter().zip(receipts).filter(|(member, receipts)| receipts.joined < member.joined_seq);
        let steps: Vec<_> = joining
            .map(|(member, _)| PositionStep {
                user: member.user_id.clone(),
                conversation: conversation.clone(),
                step: Step::Joined(member.joined_seq),
            })
            .collect();
        if steps.is_empty() {
            return Ok(());
        }
        let moved = positions.step_many(&steps).await?;
        let advances =
            steps.into_iter().zip(&moved).map(|(step, moved)| advance(step.user, step.conversation, moved));
        derived("unread", self.inner.ports.unread.advance_many(&advances.collect::<Vec<_>>()).await);
        Ok(())
    }
}

/// What the unread store is told of a step.
fn advance(user: UserId, conversation: ConversationId, moved: &Moved) -> Advance {
    let Receipts { read, own, .. } = moved.after;
    Advance { user, conversation, to: AdvanceTo::Position(read), own }
}
