//! Rate limits on a real server, by its own clock, and without it.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::SystemClock;
use chat_core::domain::{ClientKey, UserId};
use chat_core::layer::FallbackRateLimiter;
use chat_core::memory::MemoryRateLimiter;
use chat_core::store::limits::{Attempt, Decision, Limit, Rule, Subject};
use chat_core::store::{RateLimiter, RateLimiterExt};
use chat_redis::{RedisConfig, RedisRateLimiter, RedisService};
use chat_testkit::expect::at_once;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    two_nodes_share_one_limit,
    a_lost_answer_is_charged_once,
    a_window_holds_as_many_as_its_limit_and_goes_by_itself,
    a_server_that_lost_its_scripts_is_told_again,
    without_the_server_each_node_admits_its_share,
}

const MINUTE: Duration = Duration::from_secs(60);

async fn limiter(url: &str) -> Arc<RedisRateLimiter> {
    let mut config = RedisConfig::from_url(url).unwrap();
    config.timing.operation = Duration::from_millis(500);
    config.timing.response = Duration::from_millis(200);
    let service = RedisService::connect(&config).await.unwrap();
    chat_redis::Redis::new(service, &config.keys).limits
}

fn attempt(op: usize, limit: Limit) -> Attempt {
    let ann = Subject::user(&UserId::new("ann").unwrap());
    Attempt::new(ann, ClientKey::new(op.to_string()).unwrap()).under(Rule::new("r", limit))
}

async fn two_nodes_share_one_limit() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let nodes = [limiter(&server.url()).await, limiter(&server.url()).await];
    let limit = Limit::new(50, MINUTE);
    let admitted = at_once(16, |racer| {
        let node = Arc::clone(&nodes[racer % 2]);
        async move {
            let mut admitted = 0;
            for nth in 0..20 {
                let decision = node.check(&attempt(racer * 100 + nth, limit)).await.unwrap();
                admitted += usize::from(decision.is_allowed());
            }
            admitted
        }
    });
    assert_eq!(admitted.await.into_iter().sum::<usize>(), 50);
    Ok(())
}

async fn a_lost_answer_is_charged_once() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let limits = limiter(&server.url_at(proxy.address())).await;
    let limit = Limit::new(5, MINUTE);
    assert!(limits.check(&attempt(0, limit)).await.unwrap().is_allowed());
    proxy.cut_after(Request::with("EVALSHA"));
    assert_eq!(limits.check(&attempt(1, limit)).await.unwrap(), Decision::Allow { remaining: 3 });
    assert_eq!(proxy.counts().faults, 1, "the first answer was lost");
    assert_eq!(limits.check(&attempt(2, limit)).await.unwrap(), Decision::Allow { remaining: 2 });
    Ok(())
}

async fn a_window_holds_as_many_as_its_limit_and_goes_by_itself() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let limits = limiter(&server.url()).await;
    let limit = Limit::new(20, MINUTE);
    for op in 0..200 {
        assert_eq!(limits.check(&attempt(op, limit)).await.unwrap().is_allowed(), op < 20);
    }
    let keys = server.command(&["KEYS", "*"]);
    let [key] = keys.list() else { panic!("one key, not {keys}") };
    let key = key.text();
    assert_eq!(server.command(&["ZCARD", &key]).int(), 21, "and the length of the window");
    let ttl = server.command(&["PTTL", &key]).int();
    assert!((1..=60_000).contains(&ttl), "{ttl}");
    // A longer window is kept for longer, although nothing is admitted.
    limits.check(&attempt(300, Limit::new(20, MINUTE * 10))).await.unwrap();
    let ttl = server.command(&["PTTL", &key]).int();
    assert!((500_000..=600_000).contains(&ttl), "{ttl}");

    let short = Limit::new(1, Duration::from_millis(50));
    limits.check(&attempt(400, short)).await.unwrap();
    chat_testkit::walk::eventually("a window is over and its key gone", || async {
        server.command(&["DBSIZE"]).int() == 0
    })
    .await;
    Ok(())
}

async fn a_server_that_lost_its_scripts_is_told_again() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let limits = limiter(&server.url()).await;
    let limit = Limit::new(9, MINUTE);
    for round in 0..3_u32 {
        let batch: Vec<Attempt> = (0..3).map(|nth| attempt(round as usize * 3 + nth, limit)).collect();
        let decided = limits.check_many(&batch).await.unwrap();
        let remaining = |nth: u32| Decision::Allow { remaining: 8 - round * 3 - nth };
        assert_eq!(decided, [remaining(0), remaining(1), remaining(2)]);
        server.command(&["SCRIPT", "FLUSH"]);
    }
    Ok(())
}

async fn without_the_server_each_node_admits_its_share() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let own = Arc::new(MemoryRateLimiter::new(Arc::new(SystemClock)));
    let node = FallbackRateLimiter::new(limiter(&server.url()).await, own);
    node.set_nodes(3);
    let limit = Limit::new(6, MINUTE);
    let admitted = async |ops: std::ops::Range<usize>| {
        let mut admitted = 0;
        for op in ops {
            admitted += usize::from(node.check(&attempt(op, limit)).await.unwrap().is_allowed());
        }
        admitted
    };
    assert_eq!((admitted(0..8).await, node.is_degraded()), (6, false));
    server.kill();
    assert_eq!((admitted(10..14).await, node.is_degraded()), (2, true));
    server.restart();
    chat_testkit::walk::eventually("the server decides again", || async {
        node.check(&attempt(20, limit)).await.unwrap();
        !node.is_degraded()
    })
    .await;
    assert_eq!(admitted(21..30).await, 5, "it has forgotten what was, and counts anew");
    Ok(())
}
