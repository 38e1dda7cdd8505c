//! A switch that makes any port unavailable, to see that an outage is an error and never a zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chat_core::error::Code;

use crate::offer::{Consumers, Offer};
use crate::ports::names::*;
use crate::ports::ports;

/// Takes a backend away and gives it back.
pub trait Outage: Send + Sync + 'static {
    /// From now on every operation fails with [`Code::Unavailable`].
    fn begin(&self);
    /// From now on everything works again.
    fn end(&self);
}

/// The switch of the [`Faulty`] ports; clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// # Errors
    /// [`Code::Unavailable`] during an outage.
    pub fn pass(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(Error::new(Code::Unavailable)) } else { Ok(()) }
    }
}

impl Outage for Switch {
    fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    fn end(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A port that answers nothing but [`Code::Unavailable`] while its switch is thrown, and changes nothing then.
#[derive(Debug)]
pub struct Faulty<P: ?Sized> {
    port: Arc<P>,
    switch: Switch,
}

impl<P: ?Sized> Faulty<P> {
    /// This port behind a switch.
    pub fn new(port: Arc<P>, switch: &Switch) -> Self {
        Self { port, switch: switch.clone() }
    }
}

macro_rules! faulty {
    ($($port:ident, $bug:ident { $($method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => { $(
        #[async_trait]
        impl<P: $port + ?Sized> $port for Faulty<P> {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$answer> {
                self.switch.pass()?;
                self.port.$method($($arg),*).await
            })*
        }
    )* };
}

ports!(faulty);

/// The same offer behind one switch, which is its outage.
#[must_use]
pub fn switched(mut offer: Offer) -> Offer {
    let switch = Switch::default();
    macro_rules! behind_the_switch {
        ($($port:ident)*) => { $(
            offer.$port = offer.$port.take().map(|port| Arc::new(Faulty::new(port, &switch)) as _);
        )* };
    }
    behind_the_switch! {
        cache presence unread rooms limits messages positions conversations files audit users source outbox publisher
        tail dead_letters
    }
    offer.consumers = offer.consumers.take().map(|consumers| behind(consumers, &switch));
    offer.outage(Arc::new(switch))
}

fn behind(consumers: Consumers, switch: &Switch) -> Consumers {
    let switch = switch.clone();
    Arc::new(move |group, member, topics, from_beginning| {
        if let Err(outage) = switch.pass() {
            return Box::pin(async { Err(outage) });
        }
        let (made, switch) = (consumers(group, member, topics, from_beginning), switch.clone());
        Box::pin(async move { Ok(Arc::new(Faulty::new(made.await?, &switch)) as Arc<dyn EventConsumer>) })
    })
}
