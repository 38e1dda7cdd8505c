//! Policies made of policies.

use std::future::Future;
use std::sync::Arc;

use crate::error::Result;
use crate::store::{Attempt, Call, Policy};

/// One policy around another: what the outer one calls an attempt is a whole call to the inner one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stack<O, I>(
    /// The outer one.
    pub O,
    /// The inner one.
    pub I,
);

/// An attempt that goes through a policy.
struct Through<'a, P, A> {
    policy: &'a P,
    call: Call,
    attempt: &'a A,
}

impl<P: Policy, A: Attempt> Attempt for Through<'_, P, A> {
    type Answer = A::Answer;

    fn start(&self) -> impl Future<Output = Result<A::Answer>> + Send {
        self.policy.run(self.call, self.attempt)
    }
}

impl<O: Policy, I: Policy> Policy for Stack<O, I> {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        let Self(outer, inner) = self;
        outer.run(call, &Through { policy: inner, call, attempt }).await
    }
}

/// No policy.
impl Policy for () {
    fn run<A: Attempt>(&self, _: Call, attempt: &A) -> impl Future<Output = Result<A::Answer>> + Send {
        attempt.start()
    }
}

/// A policy there may be.
impl<P: Policy> Policy for Option<P> {
    async fn run<A: Attempt>(&self, call: Call, attempt: &A) -> Result<A::Answer> {
        match self {
            Some(policy) => policy.run(call, attempt).await,
            None => attempt.start().await,
        }
    }
}

/// One policy in several places, with one memory.
impl<P: Policy> Policy for Arc<P> {
    fn run<A: Attempt>(&self, call: Call, attempt: &A) -> impl Future<Output = Result<A::Answer>> + Send {
        (**self).run(call, attempt)
    }
}
