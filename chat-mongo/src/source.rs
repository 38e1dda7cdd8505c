//! [`UserSource`] on MongoDB: the truth about users, where the host has none of its own.
//!
//! `users` has one small document for each: the fields of seed 002 under their names, `_id` is the user's id, `updatedAt` a
//! date. A change compares and sets `stamp`, and its event is in the same transaction: a crash leaves both or neither. A
//! deleted user leaves a grave without a word of the profile: see [`crate::life`].
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `fetch_many` | 1 for each 1 000 | as many |
//! | `create_many` | 4 for each 1 000; 1 when all are there; 1 more for each that comes back | as many |
//! | `update` | 4; 1 when it is so already | as many |
//! | `delete` | 4; 1 when there is none | as many |

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, UserProfileCreated, UserProfileDeleted, UserProfileUpdated};
use chat_core::store::UserSource;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};

use crate::db::{Db, until_settled};
use crate::error::Trouble;
use crate::life::{self, GRAVES, Life};
use crate::operation::Operation;
use crate::outbox;
use crate::schema::Schema;
use crate::transaction::together;

const FETCH: Operation = Operation::read("source.fetch_many");
const CREATE: Operation = Operation::write("source.create_many");
const UPDATE: Operation = Operation::write("source.update");
const DELETE: Operation = Operation::write("source.delete");

const USERS: &str = "users";

pub(crate) const SCHEMA: Schema = Schema { name: USERS, fields: &[("stamp", &["long"])], indexes: &[GRAVES] };

/// How many are made together.
const AT_ONCE: usize = 1_000;

/// The most bytes of a profile: a host's may be longer than what a user may change.
const MAX_PROFILE: usize = 64 * 1024;

/// # Errors
/// [`Code::PayloadTooLarge`].
fn check(profile: &UserProfile) -> Result<()> {
    let UserProfile { full_name, avatar, matricule, ministere, sexe, .. } = profile;
    let others = [avatar, matricule, ministere, sexe].into_iter().flatten();
    if others.chain([full_name]).map(String::len).sum::<usize>() > MAX_PROFILE {
        return Err(Error::new(Code::PayloadTooLarge).with("max", MAX_PROFILE));
    }
    Ok(())
}

/// The truth about users. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoSource {
    db: Db,
}

impl MongoSource {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    async fn read(&self, user: &UserId) -> Result<Option<(UserProfile, i64)>, Trouble> {
        let found = self.db.collection(USERS).find_one(doc! { "_id": user.as_str() }).await?;
        let Some(Life { value, stamp }) = found.map(|found| Life::read(found, "id")).transpose()? else {
            return Ok(None);
        };
        Ok(value.map(|profile| (profile, stamp)))
    }

    /// One attempt at making those of these that are not there: who they are, unless somebody was in the way.
    async fn make<'a>(&self, new: &'a [UserProfile]) -> Result<Option<BTreeSet<&'a UserId>>, Trouble> {
        let ids = new.iter().map(|profile| profile.id.as_str());
        let there = life::by_id(&self.db, USERS, ids, doc! { "stamp": 1, "expiresAt": 1 }).await?;
        let mut graves = HashMap::new();
        for (id, document) in &there {
            if document.contains_key("expiresAt") {
                graves.insert(id.as_str(), life::stamp_of(document)?);
            }
        }
        let mut made = BTreeSet::new();
        let mut absent = Vec::new();
        for profile in new {
            let id = profile.id.as_str();
            if (!there.contains_key(id) || graves.contains_key(id)) && made.insert(&profile.id) {
                absent.push(profile);
            }
        }
        if absent.is_empty() {
            return Ok(Some(made));
        }
        let after = graves.values().copied().max().unwrap_or(0);
        let first = self.db.stamps(after, i64::try_from(absent.len()).unwrap_or(i64::MAX));
        let (mut fresh, mut again, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for (stamp, profile) in (first..).zip(absent) {
            let document = life::document(profile, "id", stamp)?;
            match graves.get(profile.id.as_str()) {
                Some(before) => again.push((*before, document)),
                None => fresh.push(document),
            }
            let event = UserProfileCreated::from(profile);
            events.push(life::envelope(&[profile.id.as_str()], stamp, profile.updated_at, event));
        }
        let done = together!(&self.db, |session| self.write(session, fresh, again, &events, first))?;
        Ok(done.map(|()| made))
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        fresh: Vec<Document>,
        again: Vec<(i64, Document)>,
        events: &[Envelope],
        first: i64,
    ) -> Result<(), Trouble> {
        let users = self.db.collection(USERS);
        if !fresh.is_empty() {
            life::insert_new(users.insert_many(fresh).session(&mut *session).await)?;
        }
        for (before, document) in again {
            life::replace(&users, session, before, document).await?;
        }
        outbox::write_from(&self.db, session, events, first).await
    }
}

#[async_trait]
impl UserSource for MongoSource {
    async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        self.db.run(FETCH, life::living(&self.db, USERS, users, "id", doc! {})).await
    }

    async fn create_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        profiles.iter().try_for_each(check)?;
        let mut answers = Vec::with_capacity(profiles.len());
        for some in profiles.chunks(AT_ONCE) {
            let mut made = self.db.run(CREATE, until_settled(|| self.make(some))).await?;
            answers.extend(some.iter().map(|profile| made.remove(&profile.id)));
        }
        Ok(answers)
    }

    async fn update(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile> {
        update.check()?;
        let attempt = || async {
            let (profile, before) = self.read(user).await?.ok_or(Code::UserNotFound)?;
            let Some(next) = update.change(&profile, self.db.now()) else { return Ok(Some(profile)) };
            let stamp = self.db.stamps(before, 1);
            let document = life::document(&next, "id", stamp)?;
            let event = UserProfileUpdated::from(&next);
            let event = life::envelope(&[user.as_str()], stamp, next.updated_at, event);
            let put = together!(&self.db, |session| life::put(
                &self.db,
                session,
                USERS,
                Some(before),
                document,
                event
            ))?;
            Ok(put.map(|()| next))
        };
        self.db.run(UPDATE, until_settled(attempt)).await
    }

    async fn delete(&self, user: &UserId) -> Result<Option<Timestamp>> {
        let attempt = || async {
            let Some((profile, before)) = self.read(user).await? else { return Ok(Some(None)) };
            let (now, stamp) = (self.db.now(), self.db.stamps(before, 1));
            let at = profile.next_change(now);
            let grave = life::grave(user.as_str(), stamp, now);
            let event = UserProfileDeleted { user_id: profile.id, matricule: profile.matricule };
            let event = life::envelope(&[user.as_str()], stamp, at, event);
            let put = together!(&self.db, |session| life::put(
                &self.db,
                session,
                USERS,
                Some(before),
                grave,
                event
            ))?;
            Ok(put.map(|()| Some(at)))
        };
        self.db.run(DELETE, until_settled(attempt)).await
    }
}
