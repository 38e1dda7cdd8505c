//! [`News`]: what others changed, and whether all of it is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::near::Near;
use crate::clock::Timestamp;
use crate::store::cache::CacheScope;

/// In the hands of whoever brings news to a [`Tiered`](super::Tiered) cache: what others changed, and how far that may be
/// trusted. While it is held, nothing is served that it does not vouch for; when it is dropped, the cache goes by its
/// bound without news again.
///
/// Every method has taken effect when it returns, so news are in order if the calls are. News must tell of every change,
/// also of those of this process.
#[derive(Debug)]
pub struct News {
    near: Arc<Near>,
    holder: u64,
    alive: watch::Receiver<()>,
}

impl News {
    pub(super) fn new(near: Arc<Near>, alive: watch::Receiver<()>) -> Self {
        let holder = near.hold_news();
        Self { near, holder, alive }
    }

    /// These keys were changed.
    pub fn forget<K: AsRef<str>>(&self, scope: &CacheScope, keys: &[K]) {
        self.near.forget(scope, keys.iter().map(AsRef::as_ref));
    }

    /// Anything in this scope may have been changed.
    pub fn forget_scope(&self, scope: &CacheScope) {
        self.near.forget_scope(scope);
    }

    /// Anything may have been changed.
    pub fn forget_all(&self) {
        self.near.forget_all();
    }

    /// All that was changed up to `until` has been told, since the last [`lost`](Self::lost) at least. That may be
    /// trusted for `lease` from then on: no answer is older than that, also if nothing more is heard.
    pub fn heard(&self, until: Timestamp, lease: Duration) {
        self.near.heard(self.holder, until, lease);
    }

    /// News may be missing: all is forgotten, and nothing is served, and nothing kept that was asked for before, until
    /// news are [`heard`](Self::heard) again.
    pub fn lost(&self) {
        self.near.lost(self.holder);
    }

    /// Waits until nobody has the cache any more.
    pub async fn closed(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.near.release_news(self.holder);
    }
}
