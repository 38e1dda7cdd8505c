//! Known bugs of other systems, planted into the memory backend; each must be found by the check that is named.
//!
//! A bug is a value that bends one or two methods of a port and forwards the rest: see [`PresenceBug`] and its
//! siblings.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Offer;
use crate::ports::names::*;
use crate::ports::ports;

pub mod limits;
pub mod truth;
pub mod volatile;

/// A known bug.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What it does wrong.
    pub name: &'static str,
    /// Where it was seen.
    pub origin: &'static str,
    /// The check that finds it.
    pub killed_by: &'static str,
    /// Plants it.
    pub apply: fn(Offer) -> Offer,
}

/// Every mutant.
pub fn all() -> impl Iterator<Item = Mutant> {
    [volatile::MUTANTS, limits::MUTANTS, truth::MUTANTS].into_iter().flatten().copied()
}

/// A port with a bug.
#[derive(Debug)]
pub struct Bugged<P: ?Sized, B> {
    port: Arc<P>,
    bug: B,
}

impl<P: ?Sized, B> Bugged<P, B> {
    /// Plants a bug into a port.
    pub fn new(port: Arc<P>, bug: B) -> Self {
        Self { port, bug }
    }
}

macro_rules! bugs {
    ($($port:ident, $bug:ident { $($method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => { $(
        #[doc = concat!("A bug in a [`", stringify!($port), "`]: the methods it does not touch are forwarded.")]
        #[async_trait]
        pub trait $bug: Debug + Send + Sync + 'static {
            $(#[doc = concat!("Instead of the port's `", stringify!($method), "`.")]
            async fn $method(&self, port: &dyn $port $(, $arg: $type)*) -> Result<$answer> {
                port.$method($($arg),*).await
            })*
        }

        #[async_trait]
        impl<B: $bug> $port for Bugged<dyn $port, B> {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$answer> {
                self.bug.$method(&*self.port $(, $arg)*).await
            })*
        }
    )* };
}

ports!(bugs);

/// Plants `bug` into one port of an offer: `plant!(offer, presence, DoubleEdge)`.
macro_rules! plant {
    ($offer:ident, $port:ident, $bug:expr) => {{
        let port = $offer.$port.clone().expect("the port to bend");
        $offer.$port(std::sync::Arc::new(crate::mutants::Bugged::new(port, $bug)))
    }};
}
pub(crate) use plant;
