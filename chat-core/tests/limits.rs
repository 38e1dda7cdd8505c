//! Rate limits go on while their store is away.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::ManualClock;
use chat_core::domain::{ClientKey, UserId};
use chat_core::error::Code;
use chat_core::layer::FallbackRateLimiter;
use chat_core::memory::MemoryRateLimiter;
use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
use chat_core::store::{RateLimiter, RateLimiterExt};
use chat_testkit::faulty::{Faulty, Outage, Switch};
use chat_testkit::{Offer, Verdict, checks, prove};

struct Nodes {
    clock: ManualClock,
    switch: Switch,
    nodes: [Arc<FallbackRateLimiter>; 2],
}

/// Two nodes on one store, each with a limiter of its own behind it.
fn nodes() -> Nodes {
    let (clock, switch) = (ManualClock::default(), Switch::default());
    let memory = || Arc::new(MemoryRateLimiter::new(Arc::new(clock.clone())));
    let store: Arc<dyn RateLimiter> = Arc::new(Faulty::new(memory(), &switch));
    let nodes = [(); 2].map(|()| {
        let node = FallbackRateLimiter::new(Arc::clone(&store), memory());
        node.set_nodes(2);
        Arc::new(node)
    });
    Nodes { clock, switch, nodes }
}

fn attempt(op: u32, limit: Limit) -> Attempt {
    let ann = Subject::user(&UserId::new("ann").unwrap());
    Attempt::new(ann, ClientKey::new(op.to_string()).unwrap()).under(Rule::new("r", limit))
}

async fn admitted(node: &FallbackRateLimiter, ops: std::ops::Range<u32>, limit: Limit) -> usize {
    let mut admitted = 0;
    for op in ops {
        admitted += usize::from(node.check(&attempt(op, limit)).await.unwrap().is_allowed());
    }
    admitted
}

#[tokio::test]
async fn without_the_store_each_node_admits_its_share() {
    let Nodes { clock, switch, nodes } = nodes();
    let limit = Limit::per_minute(9);
    assert_eq!(admitted(&nodes[0], 0..5, limit).await, 5);
    assert_eq!(admitted(&nodes[1], 5..20, limit).await, 4, "they share one limit");
    assert!(!nodes[0].is_degraded() && !nodes[1].is_degraded());

    switch.begin();
    for (node, ops) in nodes.iter().zip([100..120, 200..220]) {
        assert_eq!(admitted(node, ops.clone(), limit).await, 4, "half of nine");
        assert!(node.is_degraded());
        assert_eq!(admitted(node, ops, limit).await, 4, "the same four again, for nothing");
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(admitted(&nodes[0], 300..320, limit).await, 4);

    switch.end();
    assert_eq!(admitted(&nodes[0], 400..420, limit).await, 9, "the whole again");
    assert!(!nodes[0].is_degraded() && nodes[1].is_degraded(), "each as of its last decision");
}

#[tokio::test]
async fn a_share_is_at_least_one_and_never_more_than_the_limit() {
    let Nodes { switch, nodes: [node, _], .. } = nodes();
    switch.begin();
    for (known, max, share) in [(7, 3, 1), (2, 1, 1), (3, 0, 0), (0, 5, 5), (1, 5, 5), (u32::MAX, 10_000, 1)]
    {
        node.set_nodes(known);
        let place = ClientKey::new(format!("{max} among {known}")).unwrap();
        let rule = Rule::new("r", Limit::per_minute(max)).within(&place);
        let mut admitted = 0;
        for op in 0..10 {
            let attempt = Attempt { rules: vec![rule.clone()], ..attempt(op, rule.limit) };
            admitted += u32::from(node.check(&attempt).await.unwrap().is_allowed());
        }
        assert_eq!(admitted, share, "{max} among {known}");
    }
}

#[tokio::test]
async fn what_is_no_outage_is_handed_on() {
    let Nodes { switch, nodes: [node, _], .. } = nodes();
    let bad = attempt(1, Limit::new(1, Duration::ZERO));
    for away in [false, true] {
        if away {
            switch.begin();
        }
        let refused = node.check(&bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::RequestInvalid);
        assert_eq!(node.is_degraded(), away);
    }
}

/// Around a store that is there it keeps every promise of the port.
#[test]
fn with_the_store_it_is_the_store() {
    for check in checks::limits::CHECKS.iter().filter(|check| !check.needs.contains(&"outage")) {
        let verdict = prove(check, |_namespace| async {
            let offer = Offer::memory().histories(200);
            let own = MemoryRateLimiter::new(Arc::new(offer.clock.clone()));
            let shared = offer.limits.clone().unwrap();
            Ok(offer.limits(Arc::new(FallbackRateLimiter::new(shared, Arc::new(own)))))
        });
        assert_eq!(verdict, Verdict::Kept, "{}", check.name);
    }
}
