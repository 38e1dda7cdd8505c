//! What rate limits cost.

use std::ops::Range;
use std::time::Duration;

use chat_core::domain::{ClientKey, RoomId, UserId};
use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
use chat_core::store::{RateLimiter, RateLimiterExt};
use chat_redis::Redis;

use super::{Meter, NOTHING, SHARDS, id};

fn attempt(who: &str, op: usize) -> Attempt {
    let (who, op) = (UserId::new(who).unwrap(), ClientKey::new(format!("op{op:06}")).unwrap());
    Attempt::new(Subject::user(&who), op).under(Rule::new("messages", Limit::per_minute(30)))
}

fn three_rules(who: &str, op: usize) -> Attempt {
    let room = RoomId::new("room").unwrap();
    attempt(who, op)
        .under(Rule::new("in-room", Limit::per_minute(30)).within(&room))
        .under(Rule::new("slow-mode", Limit::slow_mode(Duration::from_secs(5))).within(&room))
}

pub(super) async fn fill(redis: &Redis, new: Range<usize>) {
    let attempts: Vec<Attempt> = new.map(|nth| attempt(&id(nth), 0)).collect();
    for part in attempts.chunks(1_000) {
        redis.limits.check_many(part).await.unwrap();
    }
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let limits = &*meter.redis.limits.clone();
    let [one, three, full] = [0, 1, 2].map(|nth| meter.fresh(nth));
    for op in 0..30 {
        limits.check(&attempt(&full, op)).await.unwrap();
    }

    let check = |attempt: Attempt| async move { limits.check(&attempt).await };
    meter.measure("limits: check under one rule", 1, NOTHING, |nth| check(attempt(&one, nth))).await;
    meter.measure("limits: the same attempt again", 1, NOTHING, |_| check(attempt(&one, 0))).await;
    meter.measure("limits: check under three rules", 1, NOTHING, |nth| check(three_rules(&three, nth))).await;
    meter.measure("limits: refused", 1, NOTHING, |nth| check(attempt(&full, 100 + nth))).await;

    let many: Vec<String> = (10..138).map(|nth| meter.fresh(nth)).collect();
    meter
        .measure("limits: check of 128 users", SHARDS, NOTHING, |nth| {
            let batch: Vec<Attempt> = many.iter().map(|who| attempt(who, nth)).collect();
            async move { limits.check_many(&batch).await }
        })
        .await;
}
