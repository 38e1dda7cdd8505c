//! Every method of every port goes through its policy, once, under its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chat_core::error::Result;
use chat_core::layer::{Attempt, Call, Policy};
use chat_testkit::guarded::{DECLARED, Tally, guarded};
use chat_testkit::{Offer, Verdict, checks, prove};
use parking_lot::Mutex;

/// Lets everything through and remembers what it was.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Policy for Watch {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        *self.0.lock().entry(call.operation.name).or_default() += 1;
        attempt.start().await
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_after_its_port_and_method() {
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for declared in DECLARED {
        let mut methods = Vec::new();
        for operation in declared.operations {
            let (port, method) = operation.name.split_once('.').unwrap();
            assert!(names.insert(operation.name), "{} is there twice", operation.name);
            methods.push(method);
            ports.insert(port);
        }
        assert_eq!(methods, declared.methods, "{}", declared.port);
    }
    assert_eq!(ports.len(), DECLARED.len(), "a port a name: {ports:?}");
}

/// What the policy saw is what the store behind it counted, for every method there is: the checks of the kit call them all.
#[test]
fn every_call_of_every_method_goes_through_the_policy_once() {
    let (watch, tally) = (Watch::default(), Tally::default());
    for check in checks::all() {
        let (watch, tally) = (watch.clone(), tally.clone());
        let verdict = prove(&check, move |_namespace| {
            let offer = guarded(tally.of(Offer::memory().histories(2)), &watch);
            async { Ok(offer) }
        });
        assert_eq!(verdict, Verdict::Kept, "{}", check.name);
    }
    let seen = watch.0.lock();
    for declared in DECLARED {
        for (method, operation) in declared.methods.iter().zip(declared.operations) {
            let calls = tally.calls(declared.port, method);
            assert!(calls > 0, "no check calls {}", operation.name);
            assert_eq!(seen.get(operation.name).copied().unwrap_or_default(), calls, "{}", operation.name);
        }
    }
}
