//! [`PresenceStore`] in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::clock::{Clock, Timestamp};
use crate::domain::page::{Page, Paged};
use crate::domain::presence::{ChosenStatus, Device, Lapse, PresenceStats, Session};
use crate::domain::{Presence, PresenceStatus, SessionId, Transition, UserId, Visibility};
use crate::error::Result;
use crate::store::PresenceStore;
use crate::store::presence::{Connect, Renewal};

/// How many users one turn of a sweep looks at before it lets others in.
const SWEEP_TURN: usize = 256;

/// Who is here, in this process; a restart loses it.
///
/// Sessions go when they end or are swept, so they are bounded by what is connected between two sweeps. One small
/// record stays for every user ever seen: status, last activity and who may know of it.
///
/// Renewing a lease, activity and asking for somebody's presence lock one user; what changes a count, an edge or a
/// listing also locks the ledger.
pub struct MemoryPresence {
    clock: Arc<dyn Clock>,
    people: DashMap<UserId, Person>,
    /// Locked before a person, never after one.
    ledger: RwLock<Ledger>,
}

impl MemoryPresence {
    /// Nobody is here yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, people: DashMap::new(), ledger: RwLock::default() }
    }

    /// The ledger as of now.
    fn settled(&self) -> (RwLockWriteGuard<'_, Ledger>, Timestamp) {
        let mut ledger = self.ledger.write();
        let now = self.clock.now();
        if now < ledger.settled_at {
            // The clock was set back: what seemed over may live again.
            for user in Vec::from_iter(ledger.present.iter().cloned()) {
                self.recount(&mut ledger, &user, now);
            }
        }
        ledger.settled_at = now;
        while let Some(user) = ledger.due(now) {
            self.recount(&mut ledger, &user, now);
        }
        (ledger, now)
    }

    fn recount(&self, ledger: &mut Ledger, user: &UserId, now: Timestamp) {
        if let Some(mut person) = self.people.get_mut(user) {
            ledger.unschedule(user, &mut person);
            ledger.account(user, &mut person, now);
        }
    }

    fn is_here(&self, user: &UserId, now: Timestamp) -> bool {
        self.people.get(user).is_some_and(|person| person.is_online(now))
    }

    /// Renews a lease where nothing that spans users changes by it.
    fn renew_alone(&self, user: &UserId, session: &SessionId, lease: Duration) -> Option<Renewal> {
        let Some(mut person) = self.people.get_mut(user) else { return Some(Renewal::Lost) };
        let person = &mut *person;
        let Some(held) = person.sessions.get_mut(session) else { return Some(Renewal::Lost) };
        let now = self.clock.now();
        let until = deadline(now, lease);
        let counted = held.until > now && person.counted.live == person.counted.held;
        let scheduled = person.check_at.is_some_and(|at| at <= until);
        (counted && scheduled).then(|| {
            held.until = until;
            Renewal::Alive
        })
    }

    fn renew_one(&self, user: &UserId, session: &SessionId, lease: Duration) -> Renewal {
        if let Some(renewal) = self.renew_alone(user, session, lease) {
            return renewal;
        }
        let (mut ledger, now) = self.settled();
        let Some(mut person) = self.people.get_mut(user) else { return Renewal::Lost };
        let Some(held) = person.sessions.get_mut(session) else { return Renewal::Lost };
        held.until = deadline(now, lease);
        ledger.account(user, &mut person, now);
        Renewal::Alive
    }

    fn touch_one(&self, user: &UserId) -> bool {
        {
            let mut person = self.people.entry(user.clone()).or_default();
            person.act(self.clock.now());
            if !person.idle {
                return false;
            }
        }
        let (mut ledger, now) = self.settled();
        let Some(mut person) = self.people.get_mut(user) else { return false };
        let was = person.idle && person.is_online(now);
        person.idle = false;
        ledger.account(user, &mut person, now);
        was
    }

    fn idle_one(&self, user: &UserId, after: Duration) -> bool {
        let now = self.clock.now();
        if !self.people.get(user).is_some_and(|person| person.is_inactive(now, after)) {
            return false;
        }
        let (mut ledger, now) = self.settled();
        let Some(mut person) = self.people.get_mut(user) else { return false };
        let becomes = person.is_inactive(now, after);
        person.idle |= becomes;
        ledger.account(user, &mut person, now);
        becomes
    }

    /// Sweeps some of those whose leases ran out; `false` when nobody is left.
    fn sweep_some(&self, limit: usize, lapses: &mut Vec<Lapse>) -> bool {
        let (mut ledger, now) = self.settled();
        for _ in 0..SWEEP_TURN {
            if lapses.len() >= limit {
                return false;
            }
            let Some(user) = ledger.lapsed.pop_front() else { return false };
            let Some(mut person) = self.people.get_mut(&user) else { continue };
            person.queued = false;
            let lapsed_at = person.drop_lapsed(now, &mut ledger.history);
            ledger.account(&user, &mut person, now);
            if let Some(at) = lapsed_at {
                lapses.push(Lapse { user: user.clone(), at });
            }
        }
        true
    }
}

impl fmt::Debug for MemoryPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPresence").field("known", &self.people.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl PresenceStore for MemoryPresence {
    async fn connect(&self, connect: &Connect) -> Result<Transition> {
        let (mut ledger, now) = self.settled();
        let mut person = self.people.entry(connect.user.clone()).or_default();
        let transition = person.connect(connect, now, &mut ledger.history);
        ledger.account(&connect.user, &mut person, now);
        Ok(transition)
    }

    async fn renew_many(&self, sessions: &[(UserId, SessionId)], lease: Duration) -> Result<Vec<Renewal>> {
        Ok(sessions.iter().map(|(user, session)| self.renew_one(user, session, lease)).collect())
    }

    async fn disconnect(&self, user: &UserId, session: &SessionId) -> Result<Transition> {
        let (mut ledger, now) = self.settled();
        let Some(mut person) = self.people.get_mut(user) else { return Ok(Transition::None) };
        let transition = person.disconnect(session, now, &mut ledger.history);
        ledger.account(user, &mut person, now);
        Ok(transition)
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Lapse>> {
        let mut lapses = Vec::new();
        while self.sweep_some(limit, &mut lapses) {}
        Ok(lapses)
    }

    async fn get_many(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        let now = self.clock.now();
        let presence = |user: &UserId| match self.people.get(user) {
            Some(person) => person.presence(user.clone(), now),
            None => Presence::unknown(user.clone()),
        };
        Ok(users.iter().map(presence).collect())
    }

    async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>> {
        // Rooms rely on one instant for all: nobody comes or goes meanwhile.
        let _still = (users.len() > 1).then(|| self.ledger.read());
        let now = self.clock.now();
        Ok(users.iter().map(|user| self.is_here(user, now)).collect())
    }

    async fn touch_many(&self, users: &[UserId]) -> Result<Vec<bool>> {
        Ok(users.iter().map(|user| self.touch_one(user)).collect())
    }

    async fn idle_many(&self, users: &[UserId], after: Duration) -> Result<Vec<bool>> {
        Ok(users.iter().map(|user| self.idle_one(user, after)).collect())
    }

    async fn choose(&self, user: &UserId, chosen: Option<&ChosenStatus>) -> Result<()> {
        let (mut ledger, now) = self.settled();
        let mut person = self.people.entry(user.clone()).or_default();
        person.chosen = chosen.copied().filter(|chosen| chosen.holds(now).is_some());
        ledger.account(user, &mut person, now);
        Ok(())
    }

    async fn set_visibility(&self, user: &UserId, visibility: Visibility) -> Result<()> {
        self.people.entry(user.clone()).or_default().visibility = visibility;
        Ok(())
    }

    async fn online(&self, page: &Page<UserId>) -> Result<Paged<UserId, UserId>> {
        page.check()?;
        let ledger = self.ledger.read();
        let now = self.clock.now();
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let present = ledger.present.range::<UserId, _>((from, Bound::Unbounded));
        let online = present.filter(|user| self.is_here(user, now));
        Ok(Paged::from_surplus(online.take(page.limit + 1).cloned().collect(), page.limit, UserId::clone))
    }

    async fn stats(&self) -> Result<PresenceStats> {
        let (ledger, now) = self.settled();
        Ok(ledger.stats(now))
    }
}

/// A lease below a millisecond lasts one.
fn deadline(now: Timestamp, lease: Duration) -> Timestamp {
    now.after(lease.max(Duration::from_millis(1)))
}

/// One user.
#[derive(Default)]
struct Person {
    /// Those that live, and those that ran out and were not swept.
    sessions: BTreeMap<SessionId, Lease>,
    idle: bool,
    chosen: Option<ChosenStatus>,
    last_active: Option<Timestamp>,
    visibility: Visibility,
    /// What the ledger's counts hold of this user.
    counted: Counted,
    /// When the ledger looks again: never after the next lease runs out.
    check_at: Option<Timestamp>,
    /// Whether a sweep will look.
    queued: bool,
}

struct Lease {
    device: Option<Device>,
    connected_at: Timestamp,
    until: Timestamp,
}

#[derive(Default, Clone, Copy)]
struct Counted {
    /// Sessions that live.
    live: u64,
    /// All sessions.
    held: u64,
    /// As what the user is counted; `None` when offline.
    status: Option<PresenceStatus>,
}

impl Person {
    fn is_online(&self, now: Timestamp) -> bool {
        self.sessions.values().any(|lease| lease.until > now)
    }

    fn is_inactive(&self, now: Timestamp, after: Duration) -> bool {
        let active = self.last_active.is_some_and(|at| now.since(at) < after);
        !self.idle && !active && self.is_online(now)
    }

    fn act(&mut self, now: Timestamp) {
        self.last_active = self.last_active.max(Some(now));
    }

    fn connect(&mut self, connect: &Connect, now: Timestamp, history: &mut History) -> Transition {
        let lapsed_at = if self.is_online(now) { None } else { self.drop_lapsed(now, history) };
        let was_online = !self.sessions.is_empty();
        let until = deadline(now, connect.lease);
        if let Some(held) = self.sessions.get_mut(&connect.session) {
            held.until = until;
            return Transition::None;
        }
        let lease = Lease { device: connect.device.clone(), connected_at: now, until };
        self.sessions.insert(connect.session.clone(), lease);
        self.act(now);
        history.begun(now);
        match lapsed_at {
            Some(lapsed_at) => Transition::CameBack { lapsed_at },
            None if was_online => Transition::None,
            None => Transition::WentOnline,
        }
    }

    fn disconnect(&mut self, session: &SessionId, now: Timestamp, history: &mut History) -> Transition {
        let Some(lease) = self.sessions.remove(session) else { return Transition::None };
        history.closed(&lease, now);
        if self.is_online(now) {
            return Transition::None;
        }
        // The edge is this caller's, so no sweep may find another one.
        self.drop_lapsed(now, history);
        self.idle = false;
        Transition::WentOffline
    }

    /// Drops the leases that ran out; answers when the last one did, if none is left by that.
    fn drop_lapsed(&mut self, now: Timestamp, history: &mut History) -> Option<Timestamp> {
        let mut last = None;
        self.sessions.retain(|_, lease| {
            let lives = lease.until > now;
            if !lives {
                last = last.max(Some(lease.until));
                history.closed(lease, now);
            }
            lives
        });
        let lapsed_at = last.filter(|_| self.sessions.is_empty());
        self.idle &= lapsed_at.is_none();
        lapsed_at
    }

    fn status(&self, now: Timestamp) -> PresenceStatus {
        let observed = if self.idle { PresenceStatus::Away } else { PresenceStatus::Online };
        self.chosen.and_then(|chosen| chosen.holds(now)).unwrap_or(observed)
    }

    fn count(&self, now: Timestamp) -> Counted {
        let live = self.sessions.values().filter(|lease| lease.until > now).count() as u64;
        let held = self.sessions.len() as u64;
        Counted { live, held, status: (live > 0).then(|| self.status(now)) }
    }

    /// When the count changes by itself.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let lapse = self.sessions.values().map(|lease| lease.until).filter(|until| *until > now).min()?;
        let over = self.chosen.and_then(|chosen| chosen.until).filter(|until| *until > now);
        Some(over.map_or(lapse, |over| lapse.min(over)))
    }

    fn presence(&self, user: UserId, now: Timestamp) -> Presence {
        let living = self.sessions.iter().filter(|(_, lease)| lease.until > now);
        let sessions = living.map(|(id, lease)| Session {
            id: id.clone(),
            device: lease.device.clone(),
            connected_at: lease.connected_at,
            lease_until: lease.until,
        });
        Presence {
            user,
            sessions: sessions.collect(),
            idle: self.idle && self.is_online(now),
            chosen: self.chosen.filter(|chosen| chosen.holds(now).is_some()),
            last_active: self.last_active,
            last_seen_visibility: self.visibility,
        }
    }
}

/// What spans users.
#[derive(Default)]
struct Ledger {
    /// Users with sessions, also those that ran out and were not swept.
    present: BTreeSet<UserId>,
    /// Whom to look at when: at or before the next change of their count.
    checks: BTreeSet<(Timestamp, UserId)>,
    /// Users with leases that ran out, for a sweep to look at.
    lapsed: VecDeque<UserId>,
    users: u64,
    sessions: u64,
    by_status: BTreeMap<PresenceStatus, u64>,
    peak_users: u64,
    peak_at: Option<Timestamp>,
    history: History,
    settled_at: Timestamp,
}

impl Ledger {
    /// Takes out somebody whose count may have changed by now.
    fn due(&mut self, now: Timestamp) -> Option<UserId> {
        self.checks.first().filter(|(at, _)| *at <= now)?;
        self.checks.pop_first().map(|(_, user)| user)
    }

    /// Takes over how a person stands now; after every change of its sessions or status.
    fn account(&mut self, user: &UserId, person: &mut Person, now: Timestamp) {
        self.tally(person, now);
        self.schedule(user, person, now);
        if person.sessions.is_empty() {
            self.present.remove(user);
        } else if !self.present.contains(user) {
            self.present.insert(user.clone());
        }
        if person.counted.live < person.counted.held && !person.queued {
            person.queued = true;
            self.lapsed.push_back(user.clone());
        }
    }

    fn tally(&mut self, person: &mut Person, now: Timestamp) {
        let counted = person.count(now);
        let before = std::mem::replace(&mut person.counted, counted);
        self.sessions = self.sessions - before.live + person.counted.live;
        if let Some(status) = before.status {
            self.users -= 1;
            *self.by_status.entry(status).or_default() -= 1;
        }
        if let Some(status) = person.counted.status {
            self.users += 1;
            *self.by_status.entry(status).or_default() += 1;
        }
        if self.users > self.peak_users {
            self.peak_users = self.users;
            self.peak_at = Some(now);
        }
    }

    /// A look that comes early is harmless, and spares every heartbeat from moving it.
    fn schedule(&mut self, user: &UserId, person: &mut Person, now: Timestamp) {
        let next = person.next_change(now);
        let early_enough = matches!((person.check_at, next), (Some(at), Some(next)) if at <= next);
        if early_enough {
            return;
        }
        self.unschedule(user, person);
        if let Some(next) = next {
            person.check_at = Some(next);
            self.checks.insert((next, user.clone()));
        }
    }

    fn unschedule(&mut self, user: &UserId, person: &mut Person) {
        if let Some(at) = person.check_at.take() {
            self.checks.remove(&(at, user.clone()));
        }
    }

    fn stats(&self, now: Timestamp) -> PresenceStats {
        PresenceStats {
            users: self.users,
            sessions: self.sessions,
            peak_users: self.peak_users,
            peak_at: self.peak_at,
            connected_last_hour: self.history.last_hour(now),
            average_session_ms: self.history.closed_ms.checked_div(self.history.closed).unwrap_or(0),
            closed_sessions: self.history.closed,
            by_status: self
                .by_status
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(status, n)| (*status, *n))
                .collect(),
        }
    }
}

/// Sessions that were.
#[derive(Default)]
struct History {
    closed: u64,
    closed_ms: u64,
    /// Sessions begun in each minute of the last hour.
    begun: BTreeMap<u64, u64>,
}

impl History {
    fn begun(&mut self, now: Timestamp) {
        let minute = minute(now);
        if !self.begun.contains_key(&minute) {
            self.begun.retain(|known, _| last_hour(minute).contains(known));
        }
        *self.begun.entry(minute).or_default() += 1;
    }

    /// A lease that ran out lasted until its end.
    fn closed(&mut self, lease: &Lease, now: Timestamp) {
        let lasted = lease.until.min(now).since(lease.connected_at);
        self.closed += 1;
        self.closed_ms = self.closed_ms.saturating_add(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
    }

    fn last_hour(&self, now: Timestamp) -> u64 {
        self.begun.range(last_hour(minute(now))).map(|(_, n)| n).sum()
    }
}

fn minute(now: Timestamp) -> u64 {
    now.as_millis() / 60_000
}

/// The hour that ends with this minute.
fn last_hour(minute: u64) -> std::ops::RangeInclusive<u64> {
    minute.saturating_sub(59)..=minute
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn connect(user: &str, session: usize, lease: u64) -> Connect {
        Connect {
            user: UserId::new(user).unwrap(),
            session: SessionId::new(session.to_string()).unwrap(),
            device: None,
            lease: Duration::from_secs(lease),
        }
    }

    #[tokio::test]
    async fn nothing_of_a_session_outlives_it() {
        let clock = ManualClock::default();
        let presence = MemoryPresence::new(Arc::new(clock.clone()));
        for round in 0..200 {
            for n in 0..5 {
                let connect = connect("ada", round * 5 + n, 1 + n as u64);
                presence.connect(&connect).await.unwrap();
                if n == 0 {
                    presence.disconnect(&connect.user, &connect.session).await.unwrap();
                }
            }
            clock.advance(Duration::from_secs(60));
            assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
        }
        let ledger = presence.ledger.read();
        assert_eq!((ledger.present.len(), ledger.checks.len(), ledger.lapsed.len()), (0, 0, 0));
        assert_eq!((ledger.users, ledger.sessions, ledger.peak_users), (0, 0, 1));
        assert_eq!(ledger.history.closed, 1_000);
        assert!(ledger.history.begun.len() <= 60);
        assert!(presence.people.iter().all(|person| person.sessions.is_empty()));
    }

    #[tokio::test]
    async fn heartbeats_leave_the_ledger_alone() {
        let clock = ManualClock::default();
        let presence = MemoryPresence::new(Arc::new(clock.clone()));
        let ada = connect("ada", 1, 60);
        presence.connect(&ada).await.unwrap();
        let scheduled = presence.ledger.read().checks.clone();
        clock.advance(Duration::from_secs(20));
        let _reading = presence.ledger.read();
        assert_eq!(presence.renew_alone(&ada.user, &ada.session, ada.lease), Some(Renewal::Alive));
        assert_eq!(presence.ledger.read().checks, scheduled);
    }

    #[tokio::test]
    async fn a_clock_set_back_brings_unswept_leases_back() {
        let clock = ManualClock::default();
        let presence = MemoryPresence::new(Arc::new(clock.clone()));
        let start = clock.now();
        presence.connect(&connect("ada", 1, 60)).await.unwrap();
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(presence.stats().await.unwrap().users, 0);
        clock.set(start);
        assert_eq!(presence.stats().await.unwrap().users, 1);
        assert_eq!(presence.sweep(10).await.unwrap(), []);
        clock.advance(Duration::from_secs(60));
        assert_eq!(presence.sweep(10).await.unwrap().len(), 1);
    }
}
