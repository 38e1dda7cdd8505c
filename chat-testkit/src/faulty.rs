//! A switch that makes any port unavailable, to see that an outage is an error and never a zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_core::error::{Code, Error, Result};

/// Takes a backend away and gives it back.
pub trait Outage: Send + Sync + 'static {
    /// From now on every operation fails with [`Code::Unavailable`].
    fn begin(&self);
    /// From now on everything works again.
    fn end(&self);
}

/// The switch of the `Faulty` ports.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// Fails during an outage.
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
