//! What unread counts cost.

use std::ops::Range;

use chat_core::domain::{ClientKey, ConversationId, Mentions, ReadPosition, Seq, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, Recorded, UnreadTruth};
use chat_core::store::{UnreadStore, UnreadStoreExt};
use chat_redis::Redis;

use super::{Meter, NOTHING, SHARDS, id};

/// A conversation that everybody is in.
const LARGE: &str = "everybody-is-here";

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn conversation(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

fn said(conversation: &ConversationId, seq: usize) -> Recorded {
    Recorded {
        conversation: conversation.clone(),
        seq: Seq(seq as u64),
        sender: Some(user("somebody")),
        countable: true,
        mentions: Mentions::default(),
    }
}

fn at(user: &UserId, conversation: &ConversationId, seq: usize) -> Advance {
    let to = AdvanceTo::Position(ReadPosition::at(Seq(seq as u64)));
    Advance { user: user.clone(), conversation: conversation.clone(), to, own: Seq::ZERO }
}

/// As many readers of one large conversation, and as many conversations.
pub(super) async fn fill(redis: &Redis, new: Range<usize>) {
    let (unread, large) = (&redis.unread, conversation(LARGE));
    unread.record(&said(&large, 0)).await.unwrap();
    let all: Vec<String> = new.map(id).collect();
    for part in all.chunks(1_000) {
        let begun: Vec<Recorded> = part.iter().map(|id| said(&conversation(id), 0)).collect();
        unread.record_many(&begun).await.unwrap();
        let readers =
            part.iter().flat_map(|id| [at(&user(id), &large, 0), at(&user(id), &conversation(id), 0)]);
        unread.advance_many(&readers.collect::<Vec<_>>()).await.unwrap();
    }
}

pub(super) async fn measure(meter: &mut Meter<'_>) {
    let unread = &*meter.redis.unread.clone();
    let (large, ann) = (&conversation(LARGE), &user(&id(0)));
    let place = &conversation(&meter.fresh(0));
    unread.record(&said(place, 0)).await.unwrap();
    unread.advance_many(&[at(ann, place, 0)]).await.unwrap();
    let newest = meter.size * 10;

    meter
        .measure("unread: record a message for N users", 1, "4N / 2N", |nth| async move {
            unread.record(&said(large, newest + nth)).await
        })
        .await;
    meter
        .measure("unread: advance, one of N users", 1, "2 / 1", |nth| async move {
            unread.advance_many(&[at(ann, large, newest + nth)]).await
        })
        .await;
    meter.measure("unread: count", 1, "1 / 1", |_| unread.count(ann, large)).await;
    let marked = &conversation(&meter.fresh(900));
    unread.record_many(&[said(marked, 0), Recorded { countable: false, ..said(marked, 1) }]).await.unwrap();
    unread.advance_many(&[at(ann, marked, 0)]).await.unwrap();
    meter
        .measure_trips("unread: count, where one does not count", (2, 2), "1 / 1", |_| {
            unread.count(ann, marked)
        })
        .await;
    meter
        .measure("unread: record a message that mentions 10", 1, NOTHING, |nth| async move {
            let users = (0..10).map(|nth| user(&id(nth))).collect();
            let mentions = Mentions { users, everyone: false };
            unread.record(&Recorded { mentions, ..said(place, nth + 1) }).await
        })
        .await;
    meter
        .measure("unread: record a message that does not count", 1, NOTHING, |nth| async move {
            unread.record(&Recorded { countable: false, ..said(place, nth + 3) }).await
        })
        .await;
    meter
        .measure("unread: take a message out", 1, NOTHING, |nth| async move {
            unread.uncount_many(place, &[Seq(nth as u64 + 1)]).await
        })
        .await;
    meter
        .measure("unread: adjust", 1, "4 / 2", |nth| async move {
            unread.adjust(ann, place, 1, &ClientKey::new(format!("k{nth}")).unwrap()).await
        })
        .await;
    measure_many(meter, ann).await;
}

async fn measure_many(meter: &mut Meter<'_>, ann: &UserId) {
    let unread = &*meter.redis.unread.clone();
    let places: &Vec<_> = &(100..200).map(|nth| conversation(&meter.fresh(nth))).collect();
    for messages in [0, 3] {
        let said: Vec<Recorded> = places.iter().map(|place| said(place, messages)).collect();
        unread.record_many(&said).await.unwrap();
        let begun: Vec<Advance> = places.iter().map(|place| at(ann, place, 0)).collect();
        unread.advance_many(&begun).await.unwrap();
    }
    let seed = "N/100 + 100 / N/100 + 100";
    meter.measure("unread: count 100 conversations", SHARDS, seed, |_| unread.counts(ann, places)).await;
    let deleted: Vec<Recorded> =
        places.iter().map(|place| Recorded { countable: false, ..said(place, 2) }).collect();
    unread.record_many(&deleted).await.unwrap();
    meter
        .measure("unread: count 100 in which some do not count", SHARDS, seed, |_| unread.counts(ann, places))
        .await;
    let truth = UnreadTruth { head: Seq(3), uncounted: vec![Seq(2)], ..UnreadTruth::default() };
    let truth: &Vec<_> = &places.iter().map(|place| (place.clone(), truth.clone())).collect();
    meter.measure("unread: rebuild 100 conversations", SHARDS, NOTHING, |_| unread.rebuild(ann, truth)).await;
    meter
        .measure("unread: forget", 1, NOTHING, |nth| async move {
            unread.forget_many(&[(ann.clone(), places[nth].clone())]).await
        })
        .await;
}
