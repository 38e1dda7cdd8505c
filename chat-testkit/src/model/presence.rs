//! The model of the `presence` port: a few users with a few sessions each, and what was announced of them.
//!
//! The port leaves choices: a lease that ran out may be revived by a heartbeat until somebody was told, a disconnect may
//! hand out the edge of a lease that had run out or leave it to a sweep, and what had already ended may be there again
//! when the clock was set back. The model follows the backend through those, and holds it to the rest.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::presence::{ChosenStatus, PresenceStats};
use chat_core::domain::{Presence, PresenceStatus, SessionId, Transition, UserId, Visibility};
use chat_core::store::presence::{Connect, PresenceStore, Renewal};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, Tick, holds, one_of, play_histories, same, tick};
use crate::Offer;
use crate::sample::{session, user};
use crate::walk::walk;

const USERS: [&str; 3] = ["ann", "ben", "cid"];
const SESSIONS: [&str; 3] = ["1", "2", "3"];
const LEASES: &[Duration] = &[Duration::from_secs(10), Duration::from_secs(60)];
const IDLE_AFTER: &[Duration] = &[Duration::from_secs(5), Duration::from_secs(60)];
const CHOICES: &[PresenceStatus] =
    &[PresenceStatus::Away, PresenceStatus::Dnd, PresenceStatus::Invisible, PresenceStatus::Online];
const VISIBILITIES: &[Visibility] = &[Visibility::Everyone, Visibility::Contacts, Visibility::Nobody];

#[derive(Debug, Clone)]
enum Operation {
    Connect { user: usize, session: usize, lease: Duration },
    Renew { sessions: Vec<(usize, usize)>, lease: Duration },
    Disconnect { user: usize, session: usize },
    Sweep { limit: usize },
    Get { users: Vec<usize> },
    Touch { users: Vec<usize> },
    Idle { users: Vec<usize>, after: Duration },
    Choose { user: usize, status: Option<PresenceStatus>, lasts: Option<Duration> },
    Show { user: usize, to: Visibility },
    Online { limit: usize },
    Stats,
    Time(Tick),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let user = || one_of(USERS.len());
    let session = || one_of(SESSIONS.len());
    let users = || vec(one_of(USERS.len()), 0..4);
    let limits = &[1_usize, 2, 1_000][..];
    prop_oneof![
        6 => (user(), session(), select(LEASES))
            .prop_map(|(user, session, lease)| Connect { user, session, lease }),
        3 => (vec((user(), session()), 0..4), select(LEASES))
            .prop_map(|(sessions, lease)| Renew { sessions, lease }),
        4 => (user(), session()).prop_map(|(user, session)| Disconnect { user, session }),
        3 => select(limits).prop_map(|limit| Sweep { limit }),
        3 => users().prop_map(|users| Get { users }),
        2 => users().prop_map(|users| Touch { users }),
        2 => (users(), select(IDLE_AFTER)).prop_map(|(users, after)| Idle { users, after }),
        2 => (user(), proptest::option::of(select(CHOICES)), proptest::option::of(select(LEASES)))
            .prop_map(|(user, status, lasts)| Choose { user, status, lasts }),
        1 => (user(), select(VISIBILITIES)).prop_map(|(user, to)| Show { user, to }),
        1 => select(limits).prop_map(|limit| Online { limit }),
        2 => Just(Stats),
        5 => tick(Duration::from_secs(80), LEASES).prop_map(Time),
    ]
}

#[derive(Debug, Clone)]
struct Lease {
    /// When it began; more than one where the docs leave it open.
    begun: Vec<Timestamp>,
    until: Timestamp,
}

#[derive(Debug, Default)]
struct Person {
    leases: BTreeMap<usize, Lease>,
    /// The deadlines of leases that ran out and are gone, though nobody was told yet.
    ghosts: Vec<Timestamp>,
    /// Whether the last edge handed to anybody was one of going online.
    announced: bool,
    idle: bool,
    chosen: Option<ChosenStatus>,
    last_active: Option<Timestamp>,
    visibility: Visibility,
}

impl Person {
    fn live(&self, now: Timestamp) -> u64 {
        self.leases.values().filter(|lease| lease.until > now).count() as u64
    }

    fn is_online(&self, now: Timestamp) -> bool {
        self.live(now) > 0
    }

    /// Offline, and nobody was told.
    fn is_due(&self, now: Timestamp) -> bool {
        self.announced && !self.is_online(now)
    }

    /// When the last lease may have run out.
    fn lapsed_at(&self) -> Vec<Timestamp> {
        let held = self.leases.values().map(|lease| lease.until);
        match self.ghosts.is_empty() {
            true => held.max().into_iter().collect(),
            false => held.chain(self.ghosts.iter().copied()).collect(),
        }
    }

    fn went_offline(&mut self) {
        self.announced = false;
        self.idle = false;
        self.leases.clear();
        self.ghosts.clear();
    }

    fn status(&self, now: Timestamp) -> PresenceStatus {
        match self.chosen.and_then(|chosen| chosen.holds(now)) {
            Some(chosen) => chosen,
            None if self.idle => PresenceStatus::Away,
            None => PresenceStatus::Online,
        }
    }
}

struct Game {
    presence: Arc<dyn PresenceStore>,
    clock: ManualClock,
    ids: Vec<UserId>,
    sessions: Vec<SessionId>,
    people: Vec<Person>,
    /// The most users online at once, and the most anybody can have noticed.
    highest: u64,
    noticed: u64,
    before: PresenceStats,
}

impl Game {
    fn new(offer: &Offer) -> Self {
        Self {
            presence: offer.presence.clone().expect("presence"),
            clock: offer.clock.clone(),
            ids: USERS.map(user).into(),
            sessions: SESSIONS.map(session).into(),
            people: USERS.map(|_| Person::default()).into(),
            highest: 0,
            noticed: 0,
            before: PresenceStats::default(),
        }
    }

    fn chosen_ids(&self, users: &[usize]) -> Vec<UserId> {
        users.iter().map(|user| self.ids[*user].clone()).collect()
    }

    fn users_online(&self, now: Timestamp) -> u64 {
        self.people.iter().filter(|person| person.is_online(now)).count() as u64
    }

    async fn step(&mut self, operation: &Operation) -> Agreement {
        self.act(operation).await?;
        let online = self.users_online(self.clock.now());
        self.highest = self.highest.max(online);
        if matches!(operation, Operation::Connect { .. }) {
            self.noticed = self.noticed.max(online);
        }
        Ok(())
    }

    async fn act(&mut self, operation: &Operation) -> Agreement {
        let (now, asked) = (self.clock.now(), operation as &dyn Debug);
        match operation {
            Operation::Connect { user, session, lease } => {
                self.connect(asked, *user, *session, *lease, now).await
            }
            Operation::Renew { sessions, lease } => self.renew(asked, sessions, *lease, now).await,
            Operation::Disconnect { user, session } => self.disconnect(asked, *user, *session, now).await,
            Operation::Sweep { limit } => self.sweep(asked, *limit, now).await,
            Operation::Get { users } => self.get(asked, users, now).await,
            Operation::Touch { users } => {
                let was_idle = self.presence.touch_many(&self.chosen_ids(users)).await.unwrap();
                let mut expected = Vec::new();
                for user in users {
                    let person = &mut self.people[*user];
                    expected.push(person.idle && person.is_online(now));
                    person.idle = false;
                    person.last_active = person.last_active.max(Some(now));
                }
                same(asked, &was_idle, &expected)
            }
            Operation::Idle { users, after } => {
                let becomes = self.presence.idle_many(&self.chosen_ids(users), *after).await.unwrap();
                let mut expected = Vec::new();
                for user in users {
                    let person = &mut self.people[*user];
                    let active = person.last_active.is_some_and(|at| now.since(at) < *after);
                    let idles = person.is_online(now) && !person.idle && !active;
                    person.idle |= idles;
                    expected.push(idles);
                }
                same(asked, &becomes, &expected)
            }
            Operation::Choose { user, status, lasts } => {
                let chosen =
                    status.map(|status| ChosenStatus { status, until: lasts.map(|lasts| now.after(lasts)) });
                self.presence.choose(&self.ids[*user], chosen.as_ref()).await.unwrap();
                self.people[*user].chosen = chosen;
                Ok(())
            }
            Operation::Show { user, to } => {
                self.presence.set_visibility(&self.ids[*user], *to).await.unwrap();
                self.people[*user].visibility = *to;
                Ok(())
            }
            Operation::Online { limit } => {
                let presence = &self.presence;
                let mut listed = walk(*limit, |page| async move { presence.online(&page).await }).await;
                listed.sort();
                let online = self.people.iter().zip(&self.ids).filter(|(person, _)| person.is_online(now));
                same(asked, &listed, &online.map(|(_, id)| id.clone()).collect())
            }
            Operation::Stats => self.stats(asked, now).await,
            Operation::Time(tick) => {
                tick.apply(&self.clock);
                if self.clock.now() < now { self.follow_the_clock_back(asked, now).await } else { Ok(()) }
            }
        }
    }

    async fn connect(
        &mut self,
        asked: &dyn Debug,
        user: usize,
        session: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Agreement {
        let connect = Connect {
            user: self.ids[user].clone(),
            session: self.sessions[session].clone(),
            device: None,
            lease,
        };
        let transition = self.presence.connect(&connect).await.unwrap();
        let person = &mut self.people[user];
        let (was_online, until) = (person.is_online(now), now.after(lease));
        match transition {
            Transition::None => {
                holds(was_online, asked, || "nobody hears that the user is online".to_owned())?
            }
            Transition::WentOnline => holds(!was_online && !person.announced, asked, || {
                format!("went online, online already: {was_online}, announced: {}", person.announced)
            })?,
            Transition::CameBack { lapsed_at } => {
                let possible = person.lapsed_at();
                holds(person.is_due(now) && possible.contains(&lapsed_at), asked, || {
                    format!("lapsed at {lapsed_at}, not {possible:?}; due: {}", person.is_due(now))
                })?;
                person.went_offline();
            }
            Transition::WentOffline => return Err(format!("{asked:?}\n  went offline by that")),
        }
        let renewed = person.leases.get(&session).cloned();
        let begun = match &renewed {
            Some(held) if held.until > now => held.begun.clone(),
            // Beside a living session, one that ran out may be renewed or begin anew.
            Some(held) => held.begun.iter().copied().chain([now]).collect(),
            None => vec![now],
        };
        person.leases.insert(session, Lease { begun, until });
        person.announced = true;
        let Some(renewed) = renewed else {
            person.last_active = person.last_active.max(Some(now));
            return Ok(());
        };
        if renewed.until <= now {
            let found = self.presence.get_many(&self.chosen_ids(&[user])).await.unwrap().remove(0);
            let person = &mut self.people[user];
            // Whoever begins anew is active by that.
            if found.last_active == person.last_active.max(Some(now)) {
                person.last_active = found.last_active;
            }
        }
        self.adopt(asked, user).await
    }

    async fn renew(
        &mut self,
        asked: &dyn Debug,
        sessions: &[(usize, usize)],
        lease: Duration,
        now: Timestamp,
    ) -> Agreement {
        let ids: Vec<_> =
            sessions.iter().map(|(u, s)| (self.ids[*u].clone(), self.sessions[*s].clone())).collect();
        let renewals = self.presence.renew_many(&ids, lease).await.unwrap();
        same(asked, &renewals.len(), &sessions.len())?;
        let mut revived = Vec::new();
        for ((user, session), renewal) in sessions.iter().zip(renewals) {
            let person = &mut self.people[*user];
            let held = person.leases.get_mut(session);
            let (must, may) = match &held {
                Some(lease) if lease.until > now => (true, true),
                Some(_) => (false, person.announced),
                None => (false, false),
            };
            let alive = renewal == Renewal::Alive;
            holds(if alive { may } else { !must }, asked, || {
                format!(
                    "{}'s {} is {renewal:?}, may live: {may}, must: {must}",
                    USERS[*user], SESSIONS[*session]
                )
            })?;
            if let Some(lease_held) = held.filter(|_| alive) {
                lease_held.until = now.after(lease);
                revived.push(*user);
            }
        }
        for user in revived {
            self.adopt(asked, user).await?;
        }
        Ok(())
    }

    async fn disconnect(
        &mut self,
        asked: &dyn Debug,
        user: usize,
        session: usize,
        now: Timestamp,
    ) -> Agreement {
        let transition = self.presence.disconnect(&self.ids[user], &self.sessions[session]).await.unwrap();
        let person = &mut self.people[user];
        let (was_online, announced) = (person.is_online(now), person.announced);
        let removed = person.leases.remove(&session);
        let (must, may) = match &removed {
            None => (false, false),
            Some(_) => (was_online && !person.is_online(now), announced && !person.is_online(now)),
        };
        let goes = transition == Transition::WentOffline;
        holds(if goes { may } else { !must && transition == Transition::None }, asked, || {
            format!("{transition:?}, though it may go offline: {may}, must: {must}")
        })?;
        if goes {
            person.went_offline();
        } else if person.is_due(now) {
            person.ghosts.extend(removed.map(|lease| lease.until));
        }
        Ok(())
    }

    async fn sweep(&mut self, asked: &dyn Debug, limit: usize, now: Timestamp) -> Agreement {
        let lapses = self.presence.sweep(limit).await.unwrap();
        let due = self.people.iter().filter(|person| person.is_due(now)).count();
        same(asked, &lapses.len(), &due.min(limit))?;
        for lapse in &lapses {
            let user = self.ids.iter().position(|id| *id == lapse.user);
            let Some(person) = user.map(|user| &mut self.people[user]) else {
                return Err(format!("{asked:?}\n  answered an unknown user: {lapse:?}"));
            };
            let possible = person.lapsed_at();
            holds(person.is_due(now) && possible.contains(&lapse.at), asked, || {
                format!("{lapse:?}, due: {}, lapsed at {possible:?}", person.is_due(now))
            })?;
            person.went_offline();
        }
        if lapses.len() < limit {
            // Nothing that ran out is left.
            for person in &mut self.people {
                person.leases.retain(|_, lease| lease.until > now);
            }
        }
        Ok(())
    }

    async fn get(&mut self, asked: &dyn Debug, users: &[usize], now: Timestamp) -> Agreement {
        let ids = self.chosen_ids(users);
        let (found, online) =
            (self.presence.get_many(&ids).await.unwrap(), self.presence.are_online(&ids).await.unwrap());
        same(asked, &found.len(), &users.len())?;
        let expected_online: Vec<_> = users.iter().map(|user| self.people[*user].is_online(now)).collect();
        same(asked, &online, &expected_online)?;
        for (user, found) in users.iter().zip(&found) {
            let person = &self.people[*user];
            let shown = (&found.user, found.is_online(), found.last_active, found.last_seen_visibility);
            same(
                asked,
                &shown,
                &(&self.ids[*user], person.is_online(now), person.last_active, person.visibility),
            )?;
            self.same_sessions(asked, *user, found, now)?;
            if person.is_online(now) {
                same(asked, &(found.idle, found.status(now)), &(person.idle, person.status(now)))?;
            }
        }
        Ok(())
    }

    fn same_sessions(&self, asked: &dyn Debug, user: usize, found: &Presence, now: Timestamp) -> Agreement {
        let leases = &self.people[user].leases;
        let mut shown: Vec<_> =
            found.sessions.iter().map(|session| (&session.id, session.lease_until)).collect();
        shown.sort();
        let live = leases.iter().filter(|(_, lease)| lease.until > now);
        same(asked, &shown, &live.map(|(session, lease)| (&self.sessions[*session], lease.until)).collect())?;
        for session in &found.sessions {
            let begun = self.sessions.iter().position(|id| *id == session.id).and_then(|at| leases.get(&at));
            holds(begun.is_some_and(|lease| lease.begun.contains(&session.connected_at)), asked, || {
                format!("{session:?} began at {begun:?}")
            })?;
        }
        Ok(())
    }

    async fn stats(&mut self, asked: &dyn Debug, now: Timestamp) -> Agreement {
        let stats = self.presence.stats().await.unwrap();
        let online = || self.people.iter().filter(|person| person.is_online(now));
        let mut by_status = BTreeMap::new();
        for person in online() {
            *by_status.entry(person.status(now)).or_insert(0) += 1;
        }
        let sessions: u64 = online().map(|person| person.live(now)).sum();
        let shown =
            stats.by_status.iter().filter(|(_, users)| **users > 0).map(|(status, users)| (*status, *users));
        same(
            asked,
            &(stats.users, stats.sessions, shown.collect::<BTreeMap<_, u64>>()),
            &(online().count() as u64, sessions, by_status),
        )?;
        self.noticed = self.noticed.max(stats.users);
        holds((self.noticed..=self.highest).contains(&stats.peak_users), asked, || {
            format!(
                "the peak is {}, {} were noticed and {} were there",
                stats.peak_users, self.noticed, self.highest
            )
        })?;
        let grows = stats.peak_users >= self.before.peak_users
            && stats.closed_sessions >= self.before.closed_sessions;
        holds(grows, asked, || format!("{stats:?} after {:?}", self.before))?;
        self.before = stats;
        Ok(())
    }

    /// What had ended may be there again: the backend chooses.
    async fn follow_the_clock_back(&mut self, asked: &dyn Debug, from: Timestamp) -> Agreement {
        let now = self.clock.now();
        for user in 0..self.people.len() {
            let found = self.presence.get_many(&self.chosen_ids(&[user])).await.unwrap().remove(0);
            let person = &mut self.people[user];
            let ids = &self.sessions;
            let ghosts = &mut person.ghosts;
            let is_shown = |session: &usize| found.sessions.iter().any(|shown| shown.id == ids[*session]);
            person.leases.retain(|session, lease| {
                // What is over still stays as it was: it may be there, and another step back may show it.
                let is_open = lease.until <= from && lease.until > now;
                let stays = !is_open || is_shown(session);
                if !stays {
                    ghosts.push(lease.until);
                }
                stays
            });
            let is_open = |chosen: ChosenStatus| chosen.holds(from).is_none() && chosen.holds(now).is_some();
            if person.chosen.is_some_and(is_open) {
                holds(found.chosen.is_none() || found.chosen == person.chosen, asked, || {
                    format!("{} chose {:?} and not {:?}", USERS[user], person.chosen, found.chosen)
                })?;
                person.chosen = found.chosen;
            }
            self.adopt(asked, user).await?;
        }
        Ok(())
    }

    /// Whether a user is idle after its leases had run out is left open, and when a session began that was renewed.
    async fn adopt(&mut self, asked: &dyn Debug, user: usize) -> Agreement {
        let now = self.clock.now();
        let found = self.presence.get_many(&self.chosen_ids(&[user])).await.unwrap().remove(0);
        self.same_sessions(asked, user, &found, now)?;
        let (ids, person) = (&self.sessions, &mut self.people[user]);
        for (session, lease) in &mut person.leases {
            if let Some(shown) = found.sessions.iter().find(|shown| shown.id == ids[*session]) {
                lease.begun = vec![shown.connected_at];
            }
        }
        if found.is_online() {
            holds(person.idle || !found.idle, asked, || format!("{} is idle from nowhere", USERS[user]))?;
            person.idle = found.idle;
        }
        Ok(())
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let mut game = Game::new(&offer);
    for operation in &history {
        game.step(operation).await?;
    }
    let everybody = Operation::Get { users: (0..USERS.len()).collect() };
    game.step(&everybody).await?;
    game.step(&Operation::Stats).await?;
    game.step(&Operation::Online { limit: 2 }).await?;
    game.step(&Operation::Sweep { limit: 1_000 }).await?;
    for user in 0..USERS.len() {
        for session in 0..SESSIONS.len() {
            game.step(&Operation::Disconnect { user, session }).await?;
        }
    }
    game.step(&everybody).await?;
    game.step(&Operation::Stats).await
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
