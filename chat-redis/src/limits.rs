//! [`RateLimiter`] on Redis.

use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::{Error, Result};
use chat_core::store::RateLimiter;
use chat_core::store::limits::{Attempt, Decision};

use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::{Key, Shard};
use crate::script::scripts;
use crate::store::Store;

const CHECK: Operation = Operation::write("limits.check");

/// How many attempts one script decides about: it holds the server up for less than a millisecond.
const MAX_SCRIPT: usize = 128;

scripts! {
    LIMITS_CHECK = "limits_check";
}

/// Rate limits for all nodes that share a Redis; kind of state: **volatile**.
///
/// Each rule of each subject has a sorted set of what counts, which holds as many members as the limit admits and is
/// gone one window after the last of them. All rules of one attempt are in the shard of the subject: a check is one
/// script and one round trip, and a batch is one script per shard and 128 attempts, all in one round trip.
///
/// While Redis is away nothing is decided: put
/// [`FallbackRateLimiter`](chat_core::layer::FallbackRateLimiter) around it.
#[derive(Debug, Clone)]
pub struct RedisRateLimiter {
    store: Store,
}

impl RedisRateLimiter {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    fn key(&self, attempt: &Attempt, rule: usize) -> Option<Key> {
        let (subject, rule) = (&attempt.subject, &attempt.rules.get(rule)?.key);
        let parts = [subject.kind(), subject.id(), rule.name(), rule.within().unwrap_or_default()];
        let parts = if rule.within().is_some() { &parts[..] } else { parts.get(..3)? };
        Some(self.store.keys.sharded("limit", Shard::of(subject.id()), parts))
    }

    fn command(&self, attempts: &[&Attempt]) -> Command {
        let keys: Vec<Key> = attempts
            .iter()
            .flat_map(|attempt| (0..attempt.rules.len()).filter_map(|rule| self.key(attempt, rule)))
            .collect();
        let mut command = self.store.script(&LIMITS_CHECK, &keys);
        for attempt in attempts {
            command = command.arg(attempt.token().as_bytes().as_slice()).arg(attempt.rules.len());
            for rule in &attempt.rules {
                let window = rule.limit.window_millis();
                let kept = self.store.kept_for(Duration::from_millis(window));
                command = command.arg(rule.limit.max).arg(window).arg(kept);
            }
        }
        command
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn check_many(&self, attempts: &[Attempt]) -> Result<Vec<Decision>> {
        attempts.iter().try_for_each(Attempt::check)?;
        let mut shards: Vec<Vec<usize>> = Shard::all().map(|_| Vec::new()).collect();
        for (nth, attempt) in attempts.iter().enumerate().filter(|(_, attempt)| !attempt.rules.is_empty()) {
            if let Some(shard) = shards.get_mut(Shard::of(attempt.subject.id()).index()) {
                shard.push(nth);
            }
        }
        let parts: Vec<&[usize]> = shards.iter().flat_map(|shard| shard.chunks(MAX_SCRIPT)).collect();
        let commands = parts.iter().map(|part| {
            let part: Vec<&Attempt> = part.iter().filter_map(|nth| attempts.get(*nth)).collect();
            self.command(&part)
        });
        let answers: Vec<Vec<i64>> = self.store.call(CHECK, commands.collect()).await?;
        let mut decisions = vec![Decision::Allow { remaining: u32::MAX }; attempts.len()];
        for (part, answers) in parts.iter().zip(&answers) {
            let mut answers = answers.chunks_exact(2);
            for nth in *part {
                if let (Some(attempt), Some(decision)) = (attempts.get(*nth), decisions.get_mut(*nth)) {
                    *decision = decided(attempt, answers.next()).ok_or_else(unreadable)?;
                }
            }
        }
        Ok(decisions)
    }
}

/// What the script answered about one attempt.
fn decided(attempt: &Attempt, answer: Option<&[i64]>) -> Option<Decision> {
    let [refused_by, value] = *answer? else { return None };
    let Some(refused_by) = usize::try_from(refused_by).ok()?.checked_sub(1) else {
        return Some(Decision::Allow { remaining: u32::try_from(value).ok()? });
    };
    let rule = attempt.rules.get(refused_by)?.key.clone();
    Some(Decision::Deny { rule, retry_after: u64::try_from(value).ok().map(Duration::from_millis) })
}

fn unreadable() -> Error {
    corrupt(CHECK, "not a decision")
}

#[cfg(test)]
mod tests {
    use chat_core::clock::ManualClock;
    use chat_core::domain::{ClientKey, RoomId};
    use chat_core::store::limits::{Limit, Rule, Subject};
    use std::sync::Arc;

    use super::*;
    use crate::{KeySpace, RedisConfig, RedisService};

    #[tokio::test]
    async fn all_windows_of_a_subject_are_in_one_slot() {
        let config = RedisConfig::default().with_clock(Arc::new(ManualClock::default()));
        let store = Store::new(RedisService::lazy(&config).unwrap(), KeySpace::default());
        let limits = RedisRateLimiter::new(store);
        let rule = || Rule::new("r", Limit::per_minute(1));
        let attempt = Attempt::new(Subject::new("ip", "a{b}:c").unwrap(), ClientKey::new("o").unwrap())
            .under(rule())
            .under(rule().within(&RoomId::new("{x}").unwrap()));
        let keys = [0, 1].map(|nth| limits.key(&attempt, nth).unwrap());
        let text: Vec<&str> = keys.iter().map(Key::as_str).collect();
        let tag = text[0].split_once('}').unwrap().0;
        assert_eq!(text[0], format!("{tag}}}:ip:a%7Bb%7D%3Ac:r"));
        assert_eq!(text[1], format!("{tag}}}:ip:a%7Bb%7D%3Ac:r:%7Bx%7D"));
    }
}
