//! Taking users offline whose leases ran out.

use std::sync::atomic::Ordering;

use chat_core::clock::Timestamp;
use chat_core::domain::UserId;
use chat_core::domain::presence::Lapse;
use chat_core::error::{Effect, Result};
use futures::future::{join, join_all};
use parking_lot::Mutex;

use super::RedisPresence;
use crate::connection::Operation;
use crate::error::corrupt;
use crate::keys::{SHARDS, Shard};
use crate::once::OperationId;
use crate::script::scripts;

scripts! {
    SWEEP_SCRIPT =
        "presence", "presence_once", "presence_ends", "presence_minutes", "presence_sweep";
}

const SWEEP: Operation = Operation::write("presence.sweep");

/// Turns whose answer was not heard in time: the next sweep asks for it under the same name.
#[derive(Debug, Default)]
pub(super) struct Unheard(Mutex<[Option<Turn>; SHARDS as usize]>);

/// One script: in which shard, and how many users it may take offline.
#[derive(Debug, Clone, Copy)]
struct Turn {
    shard: Shard,
    operation: OperationId,
    quota: usize,
}

/// What a script answers: whether somebody is left to look at, how many are announced, the lowest bound, and who went
/// offline when.
type Answer = (bool, u64, i64, Vec<(String, u64)>);

impl Unheard {
    /// The turn to take in a shard: one that was not heard, if it does not hand out too many.
    fn turn(&self, shard: Shard, quota: usize) -> Turn {
        let mut turns = self.0.lock();
        let unheard = turns.get_mut(shard.index()).and_then(|turn| turn.take_if(|turn| turn.quota <= quota));
        unheard.unwrap_or_else(|| Turn { shard, operation: OperationId::new(), quota })
    }

    fn add(&self, turn: Turn) {
        if let Some(unheard) = self.0.lock().get_mut(turn.shard.index()) {
            *unheard = Some(turn);
        }
    }
}

impl RedisPresence {
    /// Every shard is swept on its own, so that one which cannot be reached loses nobody's edge in another.
    pub(super) async fn sweep_shards(&self, limit: usize) -> Result<Vec<Lapse>> {
        let (mut lapses, mut failure) = (Vec::new(), None);
        let first = self.first.fetch_add(1, Ordering::Relaxed) % usize::from(SHARDS);
        let mut open: Vec<Shard> = Shard::all().collect();
        open.rotate_left(first);
        let sweeping = async {
            while lapses.len() < limit && !open.is_empty() && failure.is_none() {
                let left = limit - lapses.len();
                let later = open.split_off(left.min(open.len()));
                let (each, rest) = (left / open.len(), left % open.len());
                let turns = open.iter().enumerate().map(|(nth, shard)| {
                    let turn = self.unheard.turn(*shard, each + usize::from(nth < rest));
                    self.sweep_shard(turn)
                });
                let swept = join_all(turns).await;
                open = later;
                for swept in swept {
                    match swept {
                        Ok((shard, more, found)) => {
                            lapses.extend(found);
                            open.extend(more.then_some(shard));
                        }
                        Err(error) => failure = Some(error),
                    }
                }
            }
        };
        join(self.save_peak(), sweeping).await;
        let _ = self.peak.is_in_doubt(self.store.now());
        match failure {
            Some(error) if lapses.is_empty() => Err(error),
            // Whoever was found is this caller's, whatever became of the others.
            Some(error) => {
                tracing::warn!(code = error.code().as_str(), "a shard of presence was not swept");
                Ok(lapses)
            }
            None => Ok(lapses),
        }
    }

    async fn sweep_shard(&self, turn: Turn) -> Result<(Shard, bool, Vec<Lapse>)> {
        let command = self.script_once(&SWEEP_SCRIPT, turn.shard, turn.operation).arg(turn.quota);
        let answer = self.store.call_one::<Answer>(SWEEP, command).await;
        if answer.as_ref().is_err_and(|error| error.effect() == Effect::Unknown) {
            self.unheard.add(turn);
        }
        let (more, announced, lowest, lapsed) = answer?;
        let lowest = u64::try_from(lowest).ok().map(Timestamp::from_millis);
        self.peak.looked_at(turn.shard, announced, lowest);
        let lapse = |(user, at): (String, u64)| -> Result<Lapse> {
            let user = UserId::new(user).map_err(|error| corrupt(SWEEP, error))?;
            Ok(Lapse { user, at: Timestamp::from_millis(at) })
        };
        Ok((turn.shard, more, lapsed.into_iter().map(lapse).collect::<Result<_>>()?))
    }

    /// Tells Redis of a peak that this node noticed. When that fails, the next sweep does.
    async fn save_peak(&self) {
        if self.peak.is_news()
            && let Ok(answer) = self.store.call_one::<Vec<i64>>(SWEEP, self.raise_peak()).await
        {
            let _ = self.peak_is_saved(SWEEP, &answer);
        }
    }
}
