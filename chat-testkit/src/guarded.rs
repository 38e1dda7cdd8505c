//! Whole offers behind a policy, and what of them was called.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::store::{Guarded, Operation, Policy};
use parking_lot::Mutex;

use crate::offer::{Consumers, Offer};
use crate::ports::names::*;
use crate::ports::ports;

/// The same offer, every port of it behind this policy.
#[must_use]
pub fn guarded<P: Policy + Clone>(mut offer: Offer, policy: &P) -> Offer {
    macro_rules! behind_the_policy {
        ($($port:ident)*) => { $(
            offer.$port = offer.$port.take().map(|port| Arc::new(Guarded::new(port, policy.clone())) as _);
        )* };
    }
    behind_the_policy! {
        cache presence unread rooms limits messages positions conversations files audit users source outbox publisher
        tail dead_letters
    }
    let guard = policy.clone();
    offer.consumers = offer
        .consumers
        .take()
        .map(|consumers| wrapped(consumers, move |made| Arc::new(Guarded::new(made, guard.clone())) as _));
    offer
}

/// How often each method of each port was called, by the names of their operations; clones are the same tally.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl Tally {
    /// The same offer, every call of it counted on its way in.
    #[must_use]
    pub fn of(&self, mut offer: Offer) -> Offer {
        macro_rules! counted {
            ($($port:ident)*) => { $(
                offer.$port = offer.$port.take().map(|port| Arc::new(Counted { port, tally: self.clone() }) as _);
            )* };
        }
        counted! {
            cache presence unread rooms limits messages positions conversations files audit users source outbox
            publisher tail dead_letters
        }
        let tally = self.clone();
        offer.consumers = offer.consumers.take().map(|consumers| {
            wrapped(consumers, move |port| Arc::new(Counted { port, tally: tally.clone() }) as _)
        });
        offer
    }

    /// How often this method was called.
    pub fn calls(&self, port: &'static str, method: &'static str) -> u64 {
        self.0.lock().get(&(port, method)).copied().unwrap_or_default()
    }

    fn count(&self, port: &'static str, method: &'static str) {
        *self.0.lock().entry((port, method)).or_default() += 1;
    }
}

fn wrapped(
    consumers: Consumers,
    wrap: impl Fn(Arc<dyn EventConsumer>) -> Arc<dyn EventConsumer> + Clone + Send + Sync + 'static,
) -> Consumers {
    Arc::new(move |group, member, topics, from_beginning| {
        let (made, wrap) = (consumers(group, member, topics, from_beginning), wrap.clone());
        Box::pin(async move { Ok(wrap(made.await?)) })
    })
}

#[derive(Debug)]
struct Counted<P: ?Sized> {
    port: Arc<P>,
    tally: Tally,
}

/// A port as the table of this kit has it, and as it declares itself.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// The trait.
    pub port: &'static str,
    /// The methods of this kit's table.
    pub methods: &'static [&'static str],
    /// The operations of the port's own declaration.
    pub operations: &'static [Operation],
}

macro_rules! counted {
    ($($port:ident, $bug:ident { $($method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => {
        $(
            #[async_trait]
            impl<P: $port + ?Sized> $port for Counted<P> {
                $(async fn $method(&self $(, $arg: $type)*) -> Result<$answer> {
                    self.tally.count(stringify!($port), stringify!($method));
                    self.port.$method($($arg),*).await
                })*
            }
        )*

        /// Every port there is.
        pub const DECLARED: &[Declared] = &[
            $(Declared {
                port: stringify!($port),
                methods: &[$(stringify!($method)),*],
                operations: <dyn $port>::OPERATIONS,
            },)*
        ];
    };
}

ports!(counted);
