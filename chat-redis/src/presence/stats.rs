//! Presence in numbers.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::PresenceStatus;
use chat_core::domain::presence::PresenceStats;
use chat_core::error::Result;

use super::RedisPresence;
use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::Shard;
use crate::script::scripts;

scripts! {
    STATS_SCRIPT = "presence", "presence_minutes", "presence_stats";
    PEAK_SCRIPT = "presence_peak";
}

const STATS: Operation = Operation::write("presence.stats");

/// In the order of `presence_stats.lua`.
const STATUSES: [PresenceStatus; 4] =
    [PresenceStatus::Online, PresenceStatus::Away, PresenceStatus::Dnd, PresenceStatus::Invisible];

/// A shard in numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    sessions: i64,
    by_status: [i64; 4],
    closed: i64,
    closed_ms: i64,
    recent: i64,
}

/// How far the counting of a shard has come.
struct Turn {
    shard: Shard,
    seen: i64,
    count: Count,
}

impl RedisPresence {
    /// Raises the peak to what this node noticed, and answers the highest of all nodes.
    pub(super) fn raise_peak(&self) -> Command {
        let (most, at) = self.peak.most();
        let key = self.store.keys.tagged("p", "peak", &[]);
        self.store.script(&PEAK_SCRIPT, &[key]).arg(most).arg(at.unwrap_or_default().as_millis())
    }

    pub(super) fn peak_is_saved(&self, operation: Operation, answer: &[i64]) -> Result<()> {
        let [most, at] = answer else { return Err(corrupt(operation, "a peak is two numbers")) };
        let (most, at) = (u64::try_from(*most).unwrap_or(0), u64::try_from(*at).unwrap_or(0));
        self.peak.saved(most, Timestamp::from_millis(at));
        Ok(())
    }

    pub(super) async fn count(&self) -> Result<PresenceStats> {
        let begin = |shard| Turn { shard, seen: 0, count: Count::default() };
        let mut turns: Vec<Turn> = Shard::all().map(begin).collect();
        let mut total = Count::default();
        while !turns.is_empty() {
            let of_turn = |turn: &Turn| self.script(&STATS_SCRIPT, turn.shard).arg(turn.seen);
            let commands = turns.iter().map(of_turn).chain([self.raise_peak()]).collect();
            let mut answers: Vec<Vec<i64>> = self.store.call(STATS, commands).await?;
            self.peak_is_saved(STATS, &answers.pop().unwrap_or_default())?;
            let mut open = Vec::new();
            for (turn, answer) in turns.into_iter().zip(answers) {
                match self.counted(turn, answer)? {
                    (turn, true) => open.push(turn),
                    (turn, false) => total = total.plus(turn.count),
                }
            }
            turns = open;
        }
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let by_status: BTreeMap<_, _> =
            STATUSES.into_iter().zip(total.by_status.map(number)).filter(|(_, users)| *users > 0).collect();
        let users = by_status.values().sum();
        self.peak.counted(users, self.store.now());
        let (peak_users, peak_at) = self.peak.most();
        Ok(PresenceStats {
            users,
            sessions: number(total.sessions),
            peak_users,
            peak_at,
            connected_last_hour: number(total.recent),
            average_session_ms: number(total.closed_ms).checked_div(number(total.closed)).unwrap_or(0),
            closed_sessions: number(total.closed),
            by_status,
        })
    }

    /// Takes over what a script counted, and answers whether somebody is left to look at.
    fn counted(&self, turn: Turn, answer: Vec<i64>) -> Result<(Turn, bool)> {
        let Ok(
            [more, seen, announced, lowest, extra, away, dnd, invisible, closed, closed_ms, recent, off @ ..],
        ) = <[i64; 16]>::try_from(answer)
        else {
            return Err(corrupt(STATS, "a count is sixteen numbers"));
        };
        let lowest = u64::try_from(lowest).ok().map(Timestamp::from_millis);
        self.peak.looked_at(turn.shard, u64::try_from(announced).unwrap_or(0), lowest);
        let [off_sessions, by_status @ ..] = off;
        let off = Count { sessions: off_sessions, by_status, ..Count::default() };
        let mut count = turn.count.plus(off);
        if more == 0 {
            // Whoever is not counted as something else is online.
            let online = announced - away - dnd - invisible;
            let by_status = [online, away, dnd, invisible];
            count = count.plus(Count { sessions: announced + extra, by_status, closed, closed_ms, recent });
        }
        Ok((Turn { seen, count, ..turn }, more != 0))
    }
}

impl Count {
    fn plus(mut self, other: Self) -> Self {
        for (users, more) in self.by_status.iter_mut().zip(other.by_status) {
            *users += more;
        }
        self.sessions += other.sessions;
        self.closed += other.closed;
        self.closed_ms = self.closed_ms.saturating_add(other.closed_ms);
        self.recent += other.recent;
        self
    }
}
