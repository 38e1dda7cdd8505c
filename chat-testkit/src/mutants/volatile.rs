//! Bugs of volatile and derived state.

use std::collections::{HashMap, HashSet};

use chat_core::clock::{Clock, ManualClock};
use chat_core::store::rooms::RoomPeak;
use chat_core::store::unread::AdvanceTo;
use chat_core::store::{PresenceStoreExt, UnreadStoreExt, UserStoreExt};
use parking_lot::Mutex;
use tokio::task::yield_now;

use super::*;

macro_rules! mutants {
    ($offer:ident: $($name:literal, $origin:literal: $port:ident, $bug:expr => $killed_by:literal;)*) => {
        /// Bugs of caches, presence, rooms, unread counts and profiles.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            name: $name,
            origin: $origin,
            killed_by: $killed_by,
            apply: |$offer| {
                let bug = $bug;
                plant!($offer, $port, bug)
            },
        },)*];
    };
}

mutants! { offer:
    "every device goes online", "seed 001, a.4: connects of two tabs interleave between seven commands":
        presence, EveryDeviceGoesOnline => "presence::only_the_first_session_goes_online";
    "a ghost session", "seed 001, a.4: a crash between the ten commands of `setUserOffline`":
        presence, DisconnectIsLost => "presence::only_the_last_session_goes_offline";
    "expiry is silent", "seed 001, F02: the expiry listener parses the wrong part of the key":
        presence, ExpiryIsSilent => "presence::an_expired_lease_is_swept_once";
    "an edge for every sweeper", "seed 001, F02b and F02c: every process announces every expiry":
        presence, EdgeForEverySweeper::default() => "presence::an_expired_lease_is_swept_once";
    "nothing ever expires", "Centrifuge, W3: presence in memory never expires":
        presence, NothingExpires => "presence::an_expired_lease_is_swept_once";
    "phantom users", "Centrifuge, W1: reaping a connection leaves its user in the statistics":
        presence, PhantomUsers::default() => "presence::statistics_equal_a_recount";
    "a heartbeat revives the dead", "seed 001, a.4: `updateLastActivity` recreates what was closed":
        presence, HeartbeatRevives => "presence::renewing_never_brings_a_session_back";
    "the last activity goes back", "Centrifuge, W2: times of each node's own clock, as they come":
        presence, ActivityGoesBack::new(&offer.clock) => "presence::the_last_activity_never_goes_back";
    "an outage is offline", "an error handler that answers false":
        presence, OutageIsOffline => "presence::an_outage_is_never_offline";
    "a listing skips", "seed 001, a.4: an offset taken for a cursor":
        presence, ListingSkips => "presence::users_online_are_listed_once_in_order";

    "a count wraps around", "a decrement below zero in an unsigned counter":
        unread, CountWraps => "unread::adjusting_never_goes_below_zero";
    "a replay counts twice", "seed 001, a.6: every save increments, also an edit and a repeat":
        unread, ReplayCounts::default() => "unread::repeating_a_message_changes_nothing";
    "a late read undoes a rewind", "positions without epochs, and a receipt still under way":
        unread, LateReadUndoesRewind => "unread::a_late_read_does_not_undo_a_rewind";
    "unknown is zero", "seed 001, F16: a counter that expired begins at zero again":
        unread, UnknownIsZero => "unread::the_unknown_is_none_and_never_zero";
    "a lost past counts as zero", "seed 001, F16: a counter that expired begins again, as if nothing had been before":
        unread, LostPastIsZero => "unread::a_store_that_lost_its_past_says_that_it_does_not_know";
    "an outage is zero", "an error handler that answers 0":
        unread, OutageIsZero => "unread::an_outage_is_never_a_zero";
    "reading a part reads all", "seed 001, a.6: reading part of a conversation zeroes it":
        unread, ReadingAPartReadsAll => "unread::reading_never_goes_back";
    "an early deletion is lost", "a counter is decremented before the message was counted":
        unread, EarlyDeletionIsLost::default() => "unread::a_deletion_may_be_known_before_its_message";
    "own messages count", "counters raised for every member, the author too":
        unread, OwnMessagesCount => "unread::a_message_counts_for_everybody_but_its_author";
    "one id is another's prefix", "seed 001, F16: the total of user \"a\" includes user \"a:b\"":
        unread, IdsShareAPrefix => "unread::hostile_ids_reach_nobody_else";
    "a recount overwrites", "seed 001, F16: a stale number of the database replaces newer increments":
        unread, RecountOverwrites => "unread::rebuilding_keeps_what_was_recorded_meanwhile";
    "a retried increment counts twice", "seed 001, a.6: INCR, repeated after a timeout":
        unread, RetriedAdjustmentCounts::default() => "unread::an_adjustment_counts_once_per_key";

    "the limit is a number", "seed 001, a.5: `maxUsers` is never enforced":
        rooms, LimitIsIgnored => "rooms::the_limit_holds_under_racing_joins";
    "a late join resurrects", "events of membership applied in the order they arrive":
        rooms, LateJoinResurrects => "rooms::a_late_join_does_not_undo_a_removal";
    "joining again is joining anew", "seed 001, a.5: `joinedAt` is reset by every join":
        rooms, JoiningAgainIsAnew => "rooms::joining_twice_is_one_membership";
    "the peak lags", "seed 001, a.5: the peak is read, compared and written in three commands":
        rooms, PeakLags::default() => "rooms::the_peak_is_the_most_that_were_online_and_when";

    "an old value outlives invalidation", "seed 001, a.3: a load that began before a write fills the cache after it":
        cache, OldFillIsKept => "cache::a_fill_from_before_an_invalidation_is_refused";
    "a claim with two winners", "GET and SET instead of SET NX":
        cache, TwoWinners::default() => "cache::of_racing_claims_one_wins";
    "a prefix is a pattern", "seed 001, a.3: `delete` treats `*` in a key as a pattern":
        cache, PrefixIsAPattern => "cache::a_prefix_is_removed_and_nothing_else";
    "nothing has a time to live", "seed 001, a.6: a crash between INCR and EXPIRE":
        cache, NoTimeToLive => "cache::a_value_is_gone_at_its_time_to_live";
    "an outage is a miss", "an error handler that answers null":
        cache, OutageIsAMiss => "cache::an_outage_is_never_a_miss";
    "a listing repeats", "seed 001, F16: SCAN may return a key twice":
        cache, ListingRepeats => "cache::keys_are_listed_by_prefix_in_order";

    "an older profile overwrites", "seed 002, c.1: no version check":
        users, OlderOverwrites => "users::an_older_profile_changes_nothing";
    "a miss is a stub", "seed 002, F17: a miss is `Utilisateur inconnu` and counts as a hit":
        users, MissIsAStub => "users::a_miss_is_a_miss";
    "old fields survive", "seed 002, c.1: HSET over the profile before":
        users, OldFieldsSurvive => "users::a_newer_profile_replaces_the_whole";
}

// Presence.

#[derive(Debug)]
struct EveryDeviceGoesOnline;

#[async_trait]
impl PresenceBug for EveryDeviceGoesOnline {
    async fn connect(&self, port: &dyn PresenceStore, connect: &Connect) -> Result<Transition> {
        let new =
            !port.get(&connect.user).await?.sessions.iter().any(|session| session.id == connect.session);
        let transition = port.connect(connect).await?;
        Ok(if new && transition == Transition::None { Transition::WentOnline } else { transition })
    }
}

#[derive(Debug)]
struct DisconnectIsLost;

#[async_trait]
impl PresenceBug for DisconnectIsLost {
    async fn disconnect(&self, _: &dyn PresenceStore, _: &UserId, _: &SessionId) -> Result<Transition> {
        Ok(Transition::None)
    }
}

#[derive(Debug)]
struct ExpiryIsSilent;

#[async_trait]
impl PresenceBug for ExpiryIsSilent {
    async fn sweep(&self, port: &dyn PresenceStore, limit: usize) -> Result<Vec<Lapse>> {
        port.sweep(limit).await.map(|_| Vec::new())
    }
}

#[derive(Debug, Default)]
struct EdgeForEverySweeper {
    last: Mutex<Vec<Lapse>>,
}

#[async_trait]
impl PresenceBug for EdgeForEverySweeper {
    async fn sweep(&self, port: &dyn PresenceStore, limit: usize) -> Result<Vec<Lapse>> {
        let lapses = port.sweep(limit).await?;
        let last = std::mem::replace(&mut *self.last.lock(), lapses.clone());
        Ok(last.into_iter().chain(lapses).take(limit).collect())
    }
}

const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[derive(Debug)]
struct NothingExpires;

#[async_trait]
impl PresenceBug for NothingExpires {
    async fn connect(&self, port: &dyn PresenceStore, connect: &Connect) -> Result<Transition> {
        port.connect(&Connect { lease: FOR_EVER, ..connect.clone() }).await
    }
}

#[derive(Debug, Default)]
struct PhantomUsers {
    seen: Mutex<HashSet<UserId>>,
}

#[async_trait]
impl PresenceBug for PhantomUsers {
    async fn connect(&self, port: &dyn PresenceStore, connect: &Connect) -> Result<Transition> {
        self.seen.lock().insert(connect.user.clone());
        port.connect(connect).await
    }
    async fn disconnect(
        &self,
        port: &dyn PresenceStore,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Transition> {
        let transition = port.disconnect(user, session).await?;
        if transition == Transition::WentOffline {
            self.seen.lock().remove(user);
        }
        Ok(transition)
    }
    async fn stats(&self, port: &dyn PresenceStore) -> Result<PresenceStats> {
        let stats = port.stats().await?;
        Ok(PresenceStats { users: self.seen.lock().len() as u64, ..stats })
    }
}

#[derive(Debug)]
struct HeartbeatRevives;

#[async_trait]
impl PresenceBug for HeartbeatRevives {
    async fn renew_many(
        &self,
        port: &dyn PresenceStore,
        sessions: &[(UserId, SessionId)],
        lease: Duration,
    ) -> Result<Vec<Renewal>> {
        for (user, session) in sessions {
            port.connect(&Connect { user: user.clone(), session: session.clone(), device: None, lease })
                .await?;
        }
        Ok(vec![Renewal::Alive; sessions.len()])
    }
}

#[derive(Debug)]
struct ActivityGoesBack {
    clock: ManualClock,
    last: Mutex<HashMap<UserId, Timestamp>>,
}

impl ActivityGoesBack {
    fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), last: Mutex::default() }
    }
}

#[async_trait]
impl PresenceBug for ActivityGoesBack {
    async fn touch_many(&self, port: &dyn PresenceStore, users: &[UserId]) -> Result<Vec<bool>> {
        let was = port.touch_many(users).await?;
        let now = self.clock.now();
        self.last.lock().extend(users.iter().map(|user| (user.clone(), now)));
        Ok(was)
    }
    async fn get_many(&self, port: &dyn PresenceStore, users: &[UserId]) -> Result<Vec<Presence>> {
        let mut known = port.get_many(users).await?;
        let last = self.last.lock();
        for presence in &mut known {
            presence.last_active = last.get(&presence.user).copied().or(presence.last_active);
        }
        Ok(known)
    }
}

#[derive(Debug)]
struct OutageIsOffline;

#[async_trait]
impl PresenceBug for OutageIsOffline {
    async fn are_online(&self, port: &dyn PresenceStore, users: &[UserId]) -> Result<Vec<bool>> {
        Ok(port.are_online(users).await.unwrap_or_else(|_| vec![false; users.len()]))
    }
}

#[derive(Debug)]
struct ListingSkips;

#[async_trait]
impl PresenceBug for ListingSkips {
    async fn online(&self, port: &dyn PresenceStore, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        let mut found = port.online(page).await?;
        if let Some(next) = found.next.take() {
            found.next = port.online(&Page::after(next, 1)).await?.items.pop();
        }
        Ok(found)
    }
}

// Unread counts.

#[derive(Debug)]
struct CountWraps;

#[async_trait]
impl UnreadBug for CountWraps {
    async fn adjust(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        conversation: &ConversationId,
        by: i64,
        key: &ClientKey,
    ) -> Result<Option<Unread>> {
        let before = port.count(user, conversation).await?;
        port.adjust(user, conversation, by, key).await?;
        let wrapped = |count: Unread| Unread { messages: count.messages.wrapping_add_signed(by), ..count };
        Ok(before.map(wrapped))
    }
}

#[derive(Debug, Default)]
struct ReplayCounts {
    /// How many messages were counted.
    counted: Mutex<HashMap<ConversationId, u64>>,
}

#[async_trait]
impl UnreadBug for ReplayCounts {
    async fn record_many(&self, port: &dyn UnreadStore, messages: &[Recorded]) -> Result<()> {
        for message in messages {
            let head = {
                let mut counted = self.counted.lock();
                let counted = counted.entry(message.conversation.clone()).or_default();
                *counted += u64::from(message.countable);
                Seq(message.seq.0.max(*counted))
            };
            port.record_many(&[message.clone(), Recorded { seq: head, countable: true, ..message.clone() }])
                .await?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct LateReadUndoesRewind;

#[async_trait]
impl UnreadBug for LateReadUndoesRewind {
    async fn advance_many(&self, port: &dyn UnreadStore, advances: &[Advance]) -> Result<Vec<ReadPosition>> {
        let without_epoch = |to: AdvanceTo| match to {
            AdvanceTo::Position(position) if position.epoch == 0 => AdvanceTo::Read(position.seq),
            to => to,
        };
        let advances: Vec<_> = advances
            .iter()
            .map(|advance| Advance { to: without_epoch(advance.to), ..advance.clone() })
            .collect();
        port.advance_many(&advances).await
    }
}

#[derive(Debug)]
struct UnknownIsZero;

#[async_trait]
impl UnreadBug for UnknownIsZero {
    async fn counts(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Unread>>> {
        let counts = port.counts(user, conversations).await?;
        Ok(counts.into_iter().map(|count| Some(count.unwrap_or_default())).collect())
    }
}

/// Whatever it hears of a conversation first is taken for its beginning.
#[derive(Debug)]
struct LostPastIsZero;

#[async_trait]
impl UnreadBug for LostPastIsZero {
    async fn record_many(&self, port: &dyn UnreadStore, messages: &[Recorded]) -> Result<()> {
        for message in messages {
            let begun = Recorded { seq: Seq::ZERO, ..message.clone() };
            port.record_many(&[begun, message.clone()]).await?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct OutageIsZero;

#[async_trait]
impl UnreadBug for OutageIsZero {
    async fn counts(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Unread>>> {
        let nothing = |_| vec![Some(Unread::default()); conversations.len()];
        Ok(port.counts(user, conversations).await.unwrap_or_else(nothing))
    }
}

#[derive(Debug)]
struct ReadingAPartReadsAll;

#[async_trait]
impl UnreadBug for ReadingAPartReadsAll {
    async fn advance_many(&self, port: &dyn UnreadStore, advances: &[Advance]) -> Result<Vec<ReadPosition>> {
        let all = |to: AdvanceTo| match to {
            AdvanceTo::Read(_) => AdvanceTo::Read(Seq(u64::from(u32::MAX))),
            to @ AdvanceTo::Position(_) => to,
        };
        let advances: Vec<_> =
            advances.iter().map(|advance| Advance { to: all(advance.to), ..advance.clone() }).collect();
        port.advance_many(&advances).await
    }
}

#[derive(Debug, Default)]
struct EarlyDeletionIsLost {
    heads: Mutex<HashMap<ConversationId, Seq>>,
}

#[async_trait]
impl UnreadBug for EarlyDeletionIsLost {
    async fn record_many(&self, port: &dyn UnreadStore, messages: &[Recorded]) -> Result<()> {
        for message in messages {
            let mut heads = self.heads.lock();
            let head = heads.entry(message.conversation.clone()).or_default();
            *head = message.seq.max(*head);
        }
        port.record_many(messages).await
    }
    async fn uncount_many(
        &self,
        port: &dyn UnreadStore,
        conversation: &ConversationId,
        messages: &[Seq],
    ) -> Result<()> {
        let head = self.heads.lock().get(conversation).copied().unwrap_or_default();
        let known: Vec<Seq> = messages.iter().copied().filter(|seq| *seq <= head).collect();
        port.uncount_many(conversation, &known).await
    }
}

#[derive(Debug)]
struct OwnMessagesCount;

#[async_trait]
impl UnreadBug for OwnMessagesCount {
    async fn record_many(&self, port: &dyn UnreadStore, messages: &[Recorded]) -> Result<()> {
        let messages: Vec<_> =
            messages.iter().map(|message| Recorded { sender: None, ..message.clone() }).collect();
        port.record_many(&messages).await
    }
}

#[derive(Debug)]
struct IdsShareAPrefix;

#[async_trait]
impl UnreadBug for IdsShareAPrefix {
    async fn counts(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Unread>>> {
        let before_the_colon = user.as_str().split(':').next().and_then(|name| UserId::new(name).ok());
        port.counts(&before_the_colon.unwrap_or_else(|| user.clone()), conversations).await
    }
}

#[derive(Debug)]
struct RecountOverwrites;

#[async_trait]
impl UnreadBug for RecountOverwrites {
    async fn rebuild(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        truth: &[(ConversationId, UnreadTruth)],
    ) -> Result<()> {
        let known: Vec<_> =
            truth.iter().map(|(conversation, _)| (user.clone(), conversation.clone())).collect();
        port.forget_many(&known).await?;
        port.rebuild(user, truth).await
    }
}

#[derive(Debug, Default)]
struct RetriedAdjustmentCounts {
    calls: Mutex<u64>,
}

#[async_trait]
impl UnreadBug for RetriedAdjustmentCounts {
    async fn adjust(
        &self,
        port: &dyn UnreadStore,
        user: &UserId,
        conversation: &ConversationId,
        by: i64,
        _: &ClientKey,
    ) -> Result<Option<Unread>> {
        let call = {
            let mut calls = self.calls.lock();
            *calls += 1;
            ClientKey::new(calls.to_string())?
        };
        port.adjust(user, conversation, by, &call).await
    }
}

// Rooms.

#[derive(Debug)]
struct LimitIsIgnored;

#[async_trait]
impl RoomBug for LimitIsIgnored {
    async fn create(&self, port: &dyn RoomStore, room: &NewRoom) -> Result<bool> {
        port.create(&NewRoom { max_members: None, ..room.clone() }).await
    }
}

#[derive(Debug)]
struct LateJoinResurrects;

#[async_trait]
impl RoomBug for LateJoinResurrects {
    async fn change_members(
        &self,
        port: &dyn RoomStore,
        room: &RoomId,
        changes: &[RoomChange],
    ) -> Result<Vec<RoomChanged>> {
        let changes: Vec<_> =
            changes.iter().map(|change| RoomChange { version: 0, ..change.clone() }).collect();
        port.change_members(room, &changes).await
    }
}

#[derive(Debug)]
struct JoiningAgainIsAnew;

#[async_trait]
impl RoomBug for JoiningAgainIsAnew {
    async fn change_members(
        &self,
        port: &dyn RoomStore,
        room: &RoomId,
        changes: &[RoomChange],
    ) -> Result<Vec<RoomChanged>> {
        for change in changes.iter().filter(|change| change.role.is_some()) {
            port.change_members(room, &[RoomChange { role: None, version: 0, ..change.clone() }]).await?;
        }
        port.change_members(room, changes).await
    }
}

#[derive(Debug, Default)]
struct PeakLags {
    known: Mutex<HashMap<RoomId, RoomPeak>>,
}

#[async_trait]
impl RoomBug for PeakLags {
    async fn stats(&self, port: &dyn RoomStore, room: &RoomId) -> Result<RoomStats> {
        let stats = port.stats(room).await?;
        let before = self.known.lock().insert(room.clone(), stats.peak).unwrap_or_default();
        Ok(RoomStats { peak: before, ..stats })
    }
}

// The cache.

#[derive(Debug)]
struct OldFillIsKept;

#[async_trait]
impl CacheBug for OldFillIsKept {
    async fn put_many(
        &self,
        port: &dyn Cache,
        scope: &CacheScope,
        entries: &[CacheEntry],
        put: Put,
    ) -> Result<Vec<bool>> {
        let put = match put {
            Put::Fill(_) => Put::Fill(port.get_many(scope, &[]).await?.generation),
            Put::Always => Put::Always,
        };
        port.put_many(scope, entries, put).await
    }
}

#[derive(Debug, Default)]
struct TwoWinners {
    held: Mutex<HashMap<String, String>>,
}

#[async_trait]
impl CacheBug for TwoWinners {
    async fn claim(
        &self,
        port: &dyn Cache,
        scope: &CacheScope,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool> {
        let held = self.held.lock().get(name).is_some_and(|held| held != owner);
        yield_now().await;
        if held {
            return Ok(false);
        }
        self.held.lock().insert(name.to_owned(), owner.to_owned());
        port.claim(scope, name, owner, ttl).await?;
        Ok(true)
    }
}

#[derive(Debug)]
struct PrefixIsAPattern;

#[async_trait]
impl CacheBug for PrefixIsAPattern {
    async fn keys(
        &self,
        port: &dyn Cache,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        let before_the_star = prefix.split('*').next().unwrap_or_default();
        port.keys(scope, before_the_star, page).await
    }
}

#[derive(Debug)]
struct NoTimeToLive;

#[async_trait]
impl CacheBug for NoTimeToLive {
    async fn put_many(
        &self,
        port: &dyn Cache,
        scope: &CacheScope,
        entries: &[CacheEntry],
        put: Put,
    ) -> Result<Vec<bool>> {
        let entries: Vec<_> =
            entries.iter().map(|entry| CacheEntry { ttl: FOR_EVER, ..entry.clone() }).collect();
        port.put_many(scope, &entries, put).await
    }
}

#[derive(Debug)]
struct OutageIsAMiss;

#[async_trait]
impl CacheBug for OutageIsAMiss {
    async fn get_many(&self, port: &dyn Cache, scope: &CacheScope, keys: &[String]) -> Result<Lookup> {
        let miss = |_| Lookup {
            generation: Generation(0),
            values: vec![None; keys.len()],
            left: vec![Duration::ZERO; keys.len()],
        };
        Ok(port.get_many(scope, keys).await.unwrap_or_else(miss))
    }
}

#[derive(Debug)]
struct ListingRepeats;

#[async_trait]
impl CacheBug for ListingRepeats {
    async fn keys(
        &self,
        port: &dyn Cache,
        scope: &CacheScope,
        prefix: &str,
        page: &Page<String>,
    ) -> Result<Paged<String, String>> {
        let mut found = port.keys(scope, prefix, page).await?;
        if let (Some(_), [.., last_but_one, _]) = (&found.next, &*found.items) {
            found.next = Some(last_but_one.clone());
        }
        Ok(found)
    }
}

// Profiles.

#[derive(Debug)]
struct OlderOverwrites;

#[async_trait]
impl UserBug for OlderOverwrites {
    async fn put_many(&self, port: &dyn UserStore, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        for profile in profiles {
            let known = port.get(&profile.id).await?.map(|known| known.updated_at);
            let updated_at = known.max(Some(profile.updated_at)).unwrap_or(profile.updated_at);
            port.put(&UserProfile { updated_at, ..profile.clone() }).await?;
        }
        Ok(vec![true; profiles.len()])
    }
}

#[derive(Debug)]
struct MissIsAStub;

#[async_trait]
impl UserBug for MissIsAStub {
    async fn get_many(&self, port: &dyn UserStore, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let stub =
            |user: &UserId| UserProfile::new(user.clone(), "Utilisateur inconnu", Timestamp::from_millis(0));
        let found = port.get_many(users).await?;
        Ok(found.into_iter().zip(users).map(|(known, user)| known.or_else(|| Some(stub(user)))).collect())
    }
}

#[derive(Debug)]
struct OldFieldsSurvive;

#[async_trait]
impl UserBug for OldFieldsSurvive {
    async fn put_many(&self, port: &dyn UserStore, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        let mut kept = Vec::new();
        for profile in profiles {
            let mut merged = profile.clone();
            if let Some(old) = port.get(&profile.id).await? {
                merged.avatar = merged.avatar.or(old.avatar);
                merged.matricule = merged.matricule.or(old.matricule);
                merged.ministere = merged.ministere.or(old.ministere);
                merged.sexe = merged.sexe.or(old.sexe);
            }
            kept.push(port.put(&merged).await?);
        }
        Ok(kept)
    }
}
