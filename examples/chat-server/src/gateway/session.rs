//! What the HTTP side and the sockets both know of an Engine.IO session: its line, how much waits for the peer, and
//! whether it was ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use parking_lot::Mutex;
use socketioxide::socket::Sid;

use crate::line::{Line, is_message};

/// One Engine.IO session; the sockets of both namespaces share it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The WebSocket's connection and how many bytes it had carried when it became this session's.
    line: OnceLock<(Line, u64)>,
    /// Messages put into the library's queue for the peer.
    messages: AtomicU64,
    /// How many of them a polling peer has fetched.
    fetched: AtomicU64,
    /// Bytes put into it.
    queued: AtomicU64,
    /// Bytes a polling peer has fetched.
    polled: AtomicU64,
    /// Bytes known to have left, when that was last looked at.
    gone: AtomicU64,
    ended: AtomicBool,
}

impl Session {
    /// The session goes over this line from now on.
    pub(crate) fn goes_over(&self, line: Line) {
        let carried = line.written();
        let (line, _) = self.line.get_or_init(|| (line, carried));
        if self.is_ended() {
            line.cut();
        }
    }

    /// Sends a frame past the library's queue, if nothing is in it; says whether it did.
    pub(crate) fn pass(&self, frame: &Bytes) -> bool {
        let Some((line, _)) = self.line.get() else { return false };
        let (messages, fetched) =
            (self.messages.load(Ordering::Acquire), self.fetched.load(Ordering::Acquire));
        line.pass(messages.saturating_sub(fetched), frame)
    }

    /// Counts a message that is put into the library's queue, unless more than `max` bytes wait for the peer already. So one
    /// packet, however large, always finds room when nothing waits.
    pub(crate) fn hand_over(&self, bytes: usize, max: u64) -> bool {
        self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.queued.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_sub(self.gone.load(Ordering::Relaxed)) <= max {
            return true;
        }
        let carried = self.line.get().map_or(0, |(line, before)| line.written().saturating_sub(*before));
        let gone = carried + self.polled.load(Ordering::Relaxed);
        self.gone.store(gone, Ordering::Relaxed);
        before.saturating_sub(gone) <= max
    }

    /// The peer is let in, which is the first message of a socket.
    pub(crate) fn welcome(&self) {
        self.messages.fetch_add(1, Ordering::AcqRel);
    }

    /// A polling peer has fetched these packets.
    pub(crate) fn fetched(&self, body: &[u8]) {
        const BETWEEN: u8 = 0x1e;
        let messages = body.split(|byte| *byte == BETWEEN).filter(|packet| is_message(packet)).count();
        self.fetched.fetch_add(messages as u64, Ordering::AcqRel);
        self.polled.fetch_add(body.len() as u64, Ordering::Relaxed);
    }

    /// Ends the session from outside: a WebSocket's line is cut, a polling peer is refused from now on. Says whether
    /// this call did it.
    pub(crate) fn end(&self) -> bool {
        let first = !self.ended.swap(true, Ordering::AcqRel);
        if let Some((line, _)) = self.line.get() {
            line.cut();
        }
        first
    }

    /// Whether it was ended from outside.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// The sessions somebody still holds.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<Sid, Arc<Session>>,
    /// At how many those nobody holds are forgotten.
    sweep_at: usize,
}

/// Below this many there is nothing to gain by forgetting any.
const SWEEP_MIN: usize = 1_024;

impl Sessions {
    /// The session with this id, made if need be.
    pub(crate) fn enter(&self, id: Sid) -> Arc<Session> {
        let mut known = self.0.lock();
        if known.sessions.len() >= known.sweep_at.max(SWEEP_MIN) {
            known.sessions.retain(|_, session| Arc::strong_count(session) > 1);
            known.sweep_at = known.sessions.len() * 2;
        }
        Arc::clone(known.sessions.entry(id).or_default())
    }

    /// The session with this id, if anybody has entered it.
    pub(crate) fn find(&self, id: Sid) -> Option<Arc<Session>> {
        self.0.lock().sessions.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_polling_peer_fetched_no_longer_waits() {
        let session = Session::default();
        assert!(session.hand_over(1_000, 100), "one packet may be larger than what may wait");
        assert!(!session.hand_over(1, 100));
        session.fetched(&[b'x'; 1_000]);
        assert!(session.hand_over(1, 100));
    }

    #[test]
    fn sessions_nobody_holds_are_forgotten() {
        let sessions = Sessions::default();
        let held = Sid::new();
        let session = sessions.enter(held);
        for _ in 0..SWEEP_MIN * 3 {
            sessions.enter(Sid::new());
        }
        assert!(sessions.0.lock().sessions.len() <= SWEEP_MIN + 1);
        assert!(Arc::ptr_eq(&session, &sessions.enter(held)));
    }
}
