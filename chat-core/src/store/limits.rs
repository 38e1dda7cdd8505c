//! [`RateLimiter`]: exact sliding windows.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::only;
use crate::domain::id::Id;
use crate::domain::{ClientKey, ConversationId, SessionId, UserId};
use crate::error::{Code, Error, Result};

/// The most a limit may admit in its window; a store remembers every one of them.
pub const MAX_ADMITTED: u32 = 10_000;
/// The longest window: a day.
pub const MAX_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// The most rules one attempt may stand under.
pub const MAX_RULES: usize = 8;
/// The longest name of a rule or of a kind of subject, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// At most `max` in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many, up to [`MAX_ADMITTED`]; none at all when zero.
    pub max: u32,
    /// In any stretch of time this long, a millisecond to [`MAX_WINDOW`]; a fraction of a millisecond counts as one.
    pub window: Duration,
}

impl Limit {
    /// At most `max` in any `window`.
    pub const fn new(max: u32, window: Duration) -> Self {
        Self { max, window }
    }

    /// So many in any minute. Seed 003's limit is 30 messages of one user in one room.
    pub const fn per_minute(max: u32) -> Self {
        Self::new(max, Duration::from_secs(60))
    }

    /// Slow mode: one, and the next after `pause`.
    pub const fn slow_mode(pause: Duration) -> Self {
        Self::new(1, pause)
    }

    /// # Errors
    /// [`Code::RequestInvalid`] outside the bounds of [`MAX_ADMITTED`] and [`MAX_WINDOW`].
    pub fn check(&self) -> Result<()> {
        if self.max > MAX_ADMITTED {
            return invalid("a limit above 10000");
        }
        if self.window.is_zero() || self.window > MAX_WINDOW {
            return invalid("a window is a millisecond to a day long");
        }
        Ok(())
    }

    /// The window in milliseconds, rounded up.
    pub fn window_millis(&self) -> u64 {
        u64::try_from(self.window.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// Whose attempts are counted: a kind, which code names, and an id.
///
/// Everything about one subject is decided in one place of the store, so choose the one who acts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    kind: &'static str,
    id: Arc<str>,
}

impl Subject {
    /// A user, on all devices together.
    pub fn user(user: &UserId) -> Self {
        Self::of("user", user)
    }

    /// One connection.
    pub fn session(session: &SessionId) -> Self {
        Self::of("session", session)
    }

    /// Everybody in a conversation together.
    pub fn conversation(conversation: &ConversationId) -> Self {
        Self::of("conversation", conversation)
    }

    /// Whatever else a host limits: `Subject::new("ip", "192.0.2.1")`.
    ///
    /// # Errors
    /// [`Code::IdInvalid`] unless `id` has the form of an id.
    pub fn new(kind: &'static str, id: &str) -> Result<Self> {
        Ok(Self::of(kind, &ClientKey::new(id)?))
    }

    fn of<K>(kind: &'static str, id: &Id<K>) -> Self {
        Self { kind, id: id.as_str().into() }
    }

    /// What kind of subject.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Which one of its kind.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, &*self.id)
    }
}

/// What a rule counts: a name, which code gives, and where it counts if not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    name: &'static str,
    within: Option<Arc<str>>,
}

impl RuleKey {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The id it counts within, if not everywhere.
    pub fn within(&self) -> Option<&str> {
        self.within.as_deref()
    }
}

/// One limit an attempt stands under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is counted.
    pub key: RuleKey,
    /// How much of it there may be.
    pub limit: Limit,
}

impl Rule {
    /// A rule that counts all of a subject's attempts under this name: 1 to 64 of `a-z`, `0-9`, `_`, `-`, `.`.
    pub const fn new(name: &'static str, limit: Limit) -> Self {
        Self { key: RuleKey { name, within: None }, limit }
    }

    /// The same rule for one room, conversation or the like, each counted for itself.
    #[must_use]
    pub fn within<K>(mut self, id: &Id<K>) -> Self {
        self.key.within = Some(id.as_str().into());
        self
    }
}

/// Somebody tries to do something, which stands under up to [`MAX_RULES`] different rules at once.
///
/// ```
/// use std::time::Duration;
/// use chat_core::domain::{ClientKey, RoomId, UserId};
/// use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
///
/// # fn main() -> chat_core::Result<()> {
/// let (ada, room, key) = (UserId::new("ada")?, RoomId::new("engines")?, ClientKey::new("message 1")?);
/// let attempt = Attempt::new(Subject::user(&ada), key)
///     .under(Rule::new("messages", Limit::per_minute(100)))
///     .under(Rule::new("messages", Limit::per_minute(30)).within(&room))
///     .under(Rule::new("slow-mode", Limit::slow_mode(Duration::from_secs(5))).within(&room));
/// assert!(attempt.check().is_ok());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who.
    pub subject: Subject,
    /// What the attempt is called, so that a repeat is recognised. Where a client chooses it, put what it is done to
    /// into it: whoever may use one name for two things does the second for nothing.
    pub op: ClientKey,
    /// What it stands under; nothing limits it when empty.
    pub rules: Vec<Rule>,
}

impl Attempt {
    /// An attempt that stands under no rule yet.
    pub const fn new(subject: Subject, op: ClientKey) -> Self {
        Self { subject, op, rules: Vec::new() }
    }

    /// The same attempt under one rule more.
    #[must_use]
    pub fn under(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// # Errors
    /// [`Code::RequestInvalid`] for more than [`MAX_RULES`], two with the same key, a bad name, or a limit out of
    /// bounds.
    pub fn check(&self) -> Result<()> {
        check_name(self.subject.kind)?;
        if self.rules.len() > MAX_RULES {
            return invalid("an attempt under more than 8 rules");
        }
        for (nth, rule) in self.rules.iter().enumerate() {
            check_name(rule.key.name)?;
            rule.limit.check()?;
            if self.rules.iter().skip(nth + 1).any(|other| other.key == rule.key) {
                return invalid("two rules with the same key");
            }
        }
        Ok(())
    }

    /// What a store remembers an admitted attempt of a subject by: its name and the keys of its rules, in any order.
    pub fn token(&self) -> Uuid {
        let mut keys: Vec<&RuleKey> = self.rules.iter().map(|rule| &rule.key).collect();
        keys.sort_unstable();
        let mut text = Vec::with_capacity(128);
        let mut part = |part: &str| {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        };
        part(self.op.as_str());
        for key in keys {
            part(key.name);
            // An id is never empty.
            part(key.within().unwrap_or_default());
        }
        Uuid::new_v5(&TOKENS, &text)
    }
}

/// The UUID namespace of [`Attempt::token`]; nodes that share a store have to agree on it.
const TOKENS: Uuid = uuid::uuid!("0b7c3d52-6f9e-4a3b-8f0e-4d1c6a2e9b75");

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow {
        /// How many more would be admitted now under the tightest of its rules; [`u32::MAX`] under none.
        remaining: u32,
    },
    /// It may not be done now.
    Deny {
        /// The rule that takes longest to have room again, the first of them.
        rule: RuleKey,
        /// After how long it is admitted if nobody else is until then; never longer than the longest window. `None`:
        /// never, under a limit of zero.
        retry_after: Option<Duration>,
    },
}

impl Decision {
    /// Whether it may be done.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// How many more would be admitted.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with the time to wait; [`Code::Forbidden`] under a limit of zero.
    pub fn admitted(&self) -> Result<u32> {
        match self {
            Self::Allow { remaining } => Ok(*remaining),
            Self::Deny { retry_after: Some(after), .. } => {
                Err(Error::new(Code::RateLimited).retry_in(*after))
            }
            Self::Deny { retry_after: None, .. } => Err(Code::Forbidden.into()),
        }
    }
}

port! {
    /// How often something may be done; kind of state: **volatile**. Limits and slow mode of seed 003.
    ///
    /// Sliding windows, not a token bucket: no stretch of time as long as a rule's window ever holds more than its
    /// `max`. What was admitted at `t` counts until `t + window`, and no longer at that very millisecond. Nothing else
    /// is ever charged.
    ///
    /// A limit may change from check to check. Another `max` holds at once. A shorter window forgets at once what lies
    /// outside of it; a longer one counts what the one before had not forgotten.
    ///
    /// A clock that was set back opens nothing: what was admitted later than now counts as admitted now.
    ///
    /// All rules of one attempt belong to its subject, so that a sharded store decides in one place: a store keys
    /// what it remembers by (subject, rule) and keeps a subject together, in one slot of a cluster.
    pub trait RateLimiter as "limits" {
        /// Decides about attempts, each under all of its rules.
        ///
        /// # Atomicity
        /// Per attempt, all or nothing: what one rule refuses is charged to none of them. Of racing attempts exactly
        /// as many are admitted as there is room for. A batch is decided in its order, each attempt for itself.
        ///
        /// # Idempotency
        /// A repeat, by subject, `op` and the keys of its rules, of what was admitted is admitted again as long as one
        /// of these rules counts it, and charged to none; the room it answers is that of the repeat. What was refused is
        /// not remembered.
        ///
        /// # Errors
        /// Those of [`Attempt::check`]; nothing of the batch is decided then.
        already async fn check_many(&self, attempts: &[Attempt]) -> Result<Vec<Decision>>;
    }
}

/// Sugar over any [`RateLimiter`]; implemented for all of them.
pub trait RateLimiterExt: RateLimiter {
    /// Decides about one attempt.
    fn check(&self, attempt: &Attempt) -> impl Future<Output = Result<Decision>> + Send {
        async move { only(self.check_many(std::slice::from_ref(attempt)).await?) }
    }

    /// Says how many more would be admitted.
    ///
    /// Fails with [`Decision::admitted`]'s errors for what is refused, and with those of the store.
    fn admit(&self, attempt: &Attempt) -> impl Future<Output = Result<u32>> + Send {
        async move { self.check(attempt).await?.admitted() }
    }
}

impl<L: RateLimiter + ?Sized> RateLimiterExt for L {}

fn check_name(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        Ok(())
    } else {
        invalid("the name of a rule or subject is 1 to 64 of a-z, 0-9, _, -, .")
    }
}

fn invalid<T>(reason: &'static str) -> Result<T> {
    Err(Error::invalid(Code::RequestInvalid, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(op: &str) -> Attempt {
        Attempt::new(Subject::new("ip", "192.0.2.1").unwrap(), ClientKey::new(op).unwrap())
    }

    fn rule(name: &'static str, within: &str) -> Rule {
        Rule::new(name, Limit::per_minute(1)).within(&ClientKey::new(within).unwrap())
    }

    #[test]
    fn tokens_depend_on_every_part_and_its_border_but_not_on_order() {
        let one = attempt("o").under(rule("a", "bc")).under(rule("d", "e"));
        let turned = attempt("o").under(rule("d", "e")).under(rule("a", "bc"));
        assert_eq!(one.token(), turned.token());
        for other in [
            attempt("p").under(rule("a", "bc")).under(rule("d", "e")),
            attempt("o").under(rule("ab", "c")).under(rule("d", "e")),
            attempt("o").under(rule("a", "bc")),
            attempt("o").under(Rule::new("a", Limit::per_minute(1))).under(rule("d", "e")),
        ] {
            assert_ne!(one.token(), other.token(), "{other:?}");
        }
    }

    #[test]
    fn windows_are_never_rounded_down() {
        for (window, millis) in
            [(Duration::from_nanos(1), 1), (Duration::from_millis(5), 5), (Duration::from_micros(5_001), 6)]
        {
            assert_eq!(Limit::new(1, window).window_millis(), millis, "{window:?}");
        }
    }

    #[test]
    fn a_refusal_becomes_an_error_with_its_wait() {
        let rule = RuleKey { name: "messages", within: None };
        let wait = Duration::from_secs(3);
        let refused = Decision::Deny { rule: rule.clone(), retry_after: Some(wait) }.admitted().unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), (Code::RateLimited, Some(wait)));
        let never = Decision::Deny { rule, retry_after: None }.admitted().unwrap_err();
        assert_eq!((never.code(), never.retry_after()), (Code::Forbidden, None));
        assert_eq!(Decision::Allow { remaining: 2 }.admitted().unwrap(), 2);
    }
}
