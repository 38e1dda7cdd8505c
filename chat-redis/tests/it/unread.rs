//! What becomes of unread counts when an answer is lost, and when Redis forgets a part of them.

use std::sync::Arc;

use chat_core::domain::{ClientKey, ConversationId, Mentions, ReadPosition, Seq, Unread, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, Recorded, UnreadTruth};
use chat_core::store::{UnreadStore, UnreadStoreExt};
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::Reply;
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    a_lost_answer_changes_nothing,
    a_lost_part_takes_the_rest_along,
    what_redis_evicts_is_never_counted_wrong,
    everything_ends_by_itself,
}

async fn start() -> Result<(Redis, Arc<dyn UnreadStore>), Absent> {
    let server = Redis::spawn()?;
    let unread = connect(&server.url(), "chat").await;
    Ok((server, unread))
}

async fn connect(url: &str, prefix: &str) -> Arc<dyn UnreadStore> {
    let config = RedisConfig::from_url(url).unwrap().with_prefix(prefix).unwrap();
    let service = RedisService::connect(&config).await.unwrap();
    chat_redis::Redis::new(service, &config.keys).unread
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn conversation(name: &str) -> ConversationId {
    ConversationId::new(name).unwrap()
}

fn said(conversation: &ConversationId, seq: u64) -> Recorded {
    let mentions = Mentions::default();
    let sender = Some(user("writer"));
    Recorded { conversation: conversation.clone(), seq: Seq(seq), sender, countable: true, mentions }
}

fn mention(names: &[&str], conversation: &ConversationId, seq: u64) -> Recorded {
    let users = names.iter().map(|name| user(name)).collect();
    Recorded { mentions: Mentions { users, everyone: false }, ..said(conversation, seq) }
}

fn silent(conversation: &ConversationId, seq: u64) -> Recorded {
    Recorded { countable: false, ..said(conversation, seq) }
}

fn at(user: &UserId, conversation: &ConversationId, seq: u64) -> Advance {
    let to = AdvanceTo::Position(ReadPosition::at(Seq(seq)));
    Advance { user: user.clone(), conversation: conversation.clone(), to, own: Seq::ZERO }
}

fn keys(server: &Redis, pattern: &str) -> Vec<String> {
    server.command(&["KEYS", pattern]).list().iter().map(Reply::text).collect()
}

async fn a_lost_answer_changes_nothing() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let (well, ill) =
        (connect(&server.url(), "well").await, connect(&server.url_at(proxy.address()), "ill").await);
    let (ann, c) = (&user("ann"), &conversation("c"));
    let key = |nth: usize| ClientKey::new(format!("k{nth}")).unwrap();
    let truth = UnreadTruth { head: Seq(9), position: ReadPosition::at(Seq(2)), ..UnreadTruth::default() };
    for step in 0..9 {
        let mut ended = Vec::new();
        for unread in [&well, &ill] {
            if Arc::ptr_eq(unread, &ill) {
                proxy.cut_after(Request::with("EVALSHA"));
            }
            let said = match step {
                0 => format!("{:?}", unread.record(&said(c, 0)).await),
                1 => format!("{:?}", unread.advance_many(&[at(ann, c, 0)]).await),
                2 => format!("{:?}", unread.record_many(&[mention(&["ann"], c, 3), silent(c, 8)]).await),
                3 => format!("{:?}", unread.uncount_many(c, &[Seq(5)]).await),
                4 | 5 => format!("{:?}", unread.adjust(ann, c, 5, &key(step)).await),
                6 => format!("{:?}", unread.advance_many(&[at(ann, c, 1)]).await),
                7 => format!("{:?}", unread.rebuild(ann, &[(c.clone(), truth.clone())]).await),
                _ => format!("{:?}", unread.forget_many(&[(ann.clone(), c.clone())]).await),
            };
            assert!(said.starts_with("Ok"), "step {step}: {said}");
            ended.push((said, unread.count(ann, c).await.unwrap()));
        }
        assert_eq!(ended[0], ended[1], "step {step}");
    }
    assert_eq!(proxy.counts().faults, 9, "one a step");
    Ok(())
}

async fn a_lost_part_takes_the_rest_along() -> Result<(), Absent> {
    let (server, unread) = start().await?;
    let (ann, key) = (user("ann"), ClientKey::new("k").unwrap());
    let truth = |mentions: &[u64], uncounted: &[u64], head| UnreadTruth {
        head: Seq(head),
        position: ReadPosition::at(Seq(1)),
        own: Seq::ZERO,
        uncounted: uncounted.iter().copied().map(Seq).collect(),
        mentions: mentions.iter().copied().map(Seq).collect(),
    };
    for (nth, lost) in ["marks", "conversation"].into_iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        unread.record(&said(&c, 0)).await.unwrap();
        unread.advance_many(&[at(&ann, &c, 1)]).await.unwrap();
        unread.record_many(&[silent(&c, 2), mention(&["ann"], &c, 3), said(&c, 5)]).await.unwrap();
        assert_eq!(unread.count(&ann, &c).await.unwrap(), Some(Unread { messages: 3, mentions: 1 }));
        unread.adjust(&ann, &c, 7, &key).await.unwrap();
        let all = keys(&server, &format!("*:c{nth}*"));
        assert_eq!(all.len(), 3, "{all:?}");
        let part = if lost == "marks" { format!("c{nth}:m") } else { format!("c{nth}") };
        server.command(&["DEL", all.iter().find(|key| key.ends_with(&part)).unwrap()]);
        assert_eq!(unread.count(&ann, &c).await.unwrap(), None, "without the {lost}");
        unread.record(&silent(&c, 6)).await.unwrap();
        assert_eq!(unread.count(&ann, &c).await.unwrap(), None, "a new mark is not all of them");
        unread.advance_many(&[at(&ann, &c, 1)]).await.unwrap();
        assert_eq!(unread.count(&ann, &c).await.unwrap(), None);
        unread.rebuild(&ann, &[(c.clone(), truth(&[3], &[2, 6], 6))]).await.unwrap();
        assert_eq!(unread.count(&ann, &c).await.unwrap(), Some(Unread { messages: 3, mentions: 1 }));
        let again = unread.adjust(&ann, &c, 1, &key).await.unwrap();
        assert_eq!(again, Some(Unread { messages: 4, mentions: 1 }), "what was adjusted is lost, too");
    }
    Ok(())
}

/// In small parts: what is under way takes room, too.
async fn record(unread: &dyn UnreadStore, messages: &[Recorded]) {
    for part in messages.chunks(100) {
        unread.record_many(part).await.unwrap();
    }
}

async fn advance(unread: &dyn UnreadStore, advances: &[Advance]) {
    for part in advances.chunks(100) {
        unread.advance_many(part).await.unwrap();
    }
}

async fn what_redis_evicts_is_never_counted_wrong() -> Result<(), Absent> {
    let (server, unread) = start().await?;
    let ann = user("ann");
    let places: Vec<_> = (0..1_500).map(|nth| conversation(&format!("c{nth}"))).collect();
    let right = |nth: usize, head: u64| {
        let left = (nth as u64 % 9 + 1..=head).filter(|seq| !seq.is_multiple_of(3));
        let mentions = left.clone().filter(|seq| seq.is_multiple_of(4)).count() as u64;
        Unread { messages: left.count() as u64, mentions }
    };
    let message = |place: &ConversationId, seq: u64| match seq {
        seq if seq.is_multiple_of(3) => silent(place, seq),
        seq if seq.is_multiple_of(4) => mention(&["ann"], place, seq),
        seq => said(place, seq),
    };
    let check = |counts: Vec<Option<Unread>>, head| {
        for (nth, count) in counts.iter().enumerate() {
            assert!(count.is_none_or(|count| count == right(nth, head)), "c{nth} at {head}: {count:?}");
        }
        counts.iter().filter(|count| count.is_some()).count()
    };
    let positions: Vec<Advance> =
        places.iter().enumerate().map(|(nth, place)| at(&ann, place, nth as u64 % 9)).collect();
    record(&*unread, &places.iter().map(|place| said(place, 0)).collect::<Vec<_>>()).await;
    advance(&*unread, &positions).await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    let mut known = places.len();
    for head in 1..=24 {
        // Now and then there is room for less than there is.
        let tight = head >= 12 && head % 4 == 0;
        if tight {
            let used: u64 = server.info("used_memory").unwrap().parse().unwrap();
            server.command(&["CONFIG", "SET", "maxmemory", &(used - 100_000).to_string()]);
        }
        let messages: Vec<Recorded> = places.iter().map(|place| message(place, head)).collect();
        record(&*unread, &messages).await;
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        if head % 4 == 1 {
            advance(&*unread, &positions).await;
        }
        let before = known;
        known = check(unread.counts(&ann, &places).await.unwrap(), head);
        assert!(if tight { known < before } else { known <= before }, "at {head}: {before}, then {known}");
    }
    assert!(known > 0, "some are left");
    assert!(server.info("evicted_keys").unwrap().parse::<u64>().unwrap() > 100);
    Ok(())
}

async fn everything_ends_by_itself() -> Result<(), Absent> {
    let (server, unread) = start().await?;
    let (ann, c) = (user("ann"), conversation("c"));
    unread.uncount_many(&c, &[Seq(2)]).await.unwrap();
    unread.advance_many(&[at(&ann, &c, 0)]).await.unwrap();
    unread.record_many(&[said(&c, 1), mention(&["ann"], &c, 3)]).await.unwrap();
    unread.adjust(&ann, &c, 5, &ClientKey::new("k").unwrap()).await.unwrap();
    unread.rebuild(&user("ben"), &[(conversation("d"), UnreadTruth::default())]).await.unwrap();
    let all = keys(&server, "*");
    assert_eq!(all.len(), 4, "{all:?}");
    for key in all {
        let seconds = server.command(&["TTL", &key]).int();
        assert!((89 * 24 * 60 * 60..=90 * 24 * 60 * 60).contains(&seconds), "{key} ends in {seconds} s");
    }
    Ok(())
}
