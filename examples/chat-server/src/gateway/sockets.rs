//! Who is connected here, and which conversations that concerns.
//!
//! The fan-out keeps this in step with the log of events: a socket is in the rooms of its user's conversations before
//! any later event is sent, and out of them before anybody is told that the user is out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::clock::Timestamp;
use chat_core::domain::{ConversationId, UserId};
use parking_lot::RwLock;

use super::conn::{Conn, Frame};

/// How many sockets are sent to in one go.
const AT_ONCE: usize = 64;

/// What the registry asks of a socket.
pub(crate) trait Peer: Send + Sync + 'static {
    /// Its number among all sockets of this process.
    fn id(&self) -> u64;
    /// Whose it is.
    fn user(&self) -> &UserId;
    /// Holds an event for it until [`flush`](Self::flush); says whether it is the first. Never waits.
    fn hold(&self, frame: &Frame) -> bool;
    /// Sends it what is held; never waits.
    fn flush(&self);
}

/// Every socket of this process.
#[derive(Debug)]
pub(crate) struct Sockets<P = Conn>(RwLock<Inner<P>>);

#[derive(Debug)]
struct Inner<P> {
    users: HashMap<UserId, Local<P>>,
    rooms: HashMap<ConversationId, Room>,
}

/// A user with sockets here.
#[derive(Debug)]
struct Local<P> {
    conns: Vec<Arc<P>>,
    rooms: HashSet<ConversationId>,
    /// How many sockets are still being told which conversations there are.
    joining: usize,
    /// What changed meanwhile: it is newer than what they will be told.
    changed: HashMap<ConversationId, bool>,
}

/// A conversation with members here.
#[derive(Debug, Default)]
struct Room {
    members: HashSet<UserId>,
    /// How many members it has in all, here and elsewhere.
    size: u64,
    /// The newest message sent to anybody here.
    newest: AtomicU64,
}

/// A conversation a user is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Which.
    pub(crate) conversation: ConversationId,
    /// How many members it has.
    pub(crate) size: u64,
}

impl<P> Default for Sockets<P> {
    fn default() -> Self {
        Self(RwLock::new(Inner { users: HashMap::new(), rooms: HashMap::new() }))
    }
}

impl<P> Default for Local<P> {
    fn default() -> Self {
        Self { conns: Vec::new(), rooms: HashSet::new(), joining: 0, changed: HashMap::new() }
    }
}

impl<P: Peer> Sockets<P> {
    /// A socket comes. From now on it gets what is sent to its user, and changes of membership are kept for it until
    /// [`settle`](Self::settle).
    pub(crate) fn enter(&self, conn: &Arc<P>) {
        let mut inner = self.0.write();
        let local = inner.users.entry(conn.user().clone()).or_default();
        local.conns.push(Arc::clone(conn));
        local.joining += 1;
    }

    /// The socket's user is in these conversations, but for what has changed since [`enter`](Self::enter).
    pub(crate) fn settle(&self, conn: &P, joined: &[Joined]) {
        let mut inner = self.0.write();
        let Inner { users, rooms } = &mut *inner;
        let Some(local) = users.get_mut(conn.user()) else { return };
        for Joined { conversation, size } in joined {
            if local.changed.get(conversation) != Some(&false) {
                let room = rooms.entry(conversation.clone()).or_default();
                room.members.insert(conn.user().clone());
                room.size = *size;
                local.rooms.insert(conversation.clone());
            }
        }
        local.joining = local.joining.saturating_sub(1);
        if local.joining == 0 {
            local.changed.clear();
        }
    }

    /// A socket goes; says whether it was there.
    pub(crate) fn leave(&self, conn: &P) -> bool {
        let mut inner = self.0.write();
        let Inner { users, rooms } = &mut *inner;
        let Some(local) = users.get_mut(conn.user()) else { return false };
        let before = local.conns.len();
        local.conns.retain(|known| known.id() != conn.id());
        let was_there = local.conns.len() < before;
        if local.conns.is_empty()
            && let Some(local) = users.remove(conn.user())
        {
            for conversation in &local.rooms {
                take_out(rooms, conversation, conn.user());
            }
        }
        was_there
    }

    /// Users here with the conversations they are in, at most so many of each.
    pub(crate) fn places(&self, users: usize, conversations: usize) -> Vec<(UserId, Vec<ConversationId>)> {
        let inner = self.0.read();
        let places = |local: &Local<P>| local.rooms.iter().take(conversations).cloned().collect();
        inner.users.iter().take(users).map(|(user, local)| (user.clone(), places(local))).collect()
    }

    /// Users are in a conversation of this size from now on.
    pub(crate) fn join<'a>(
        &self,
        conversation: &ConversationId,
        members: impl IntoIterator<Item = &'a UserId>,
        size: u64,
    ) {
        let mut inner = self.0.write();
        let Inner { users, rooms } = &mut *inner;
        for user in members {
            let Some(local) = users.get_mut(user) else { continue };
            local.rooms.insert(conversation.clone());
            if local.joining > 0 {
                local.changed.insert(conversation.clone(), true);
            }
            rooms.entry(conversation.clone()).or_default().members.insert(user.clone());
        }
        resize(rooms, conversation, size);
    }

    /// A user is out of a conversation from now on. Once this returns, nothing more of it is sent to its sockets.
    pub(crate) fn expel(&self, conversation: &ConversationId, user: &UserId) {
        let mut held = Vec::new();
        let mut inner = self.0.write();
        let Inner { users, rooms } = &mut *inner;
        if let Some(local) = users.get_mut(user) {
            local.rooms.remove(conversation);
            if local.joining > 0 {
                local.changed.insert(conversation.clone(), false);
            }
            held.clone_from(&local.conns);
        }
        take_out(rooms, conversation, user);
        drop(inner);
        // What is held was sent before.
        held.iter().for_each(|conn| conn.flush());
    }

    /// A conversation has this many members from now on; zero when that is not known.
    pub(crate) fn resize(&self, conversation: &ConversationId, size: u64) {
        resize(&mut self.0.write().rooms, conversation, size);
    }

    /// How many members a conversation has; zero when none of them is here.
    pub(crate) fn size(&self, conversation: &ConversationId) -> u64 {
        self.0.read().rooms.get(conversation).map_or(0, |room| room.size)
    }

    /// The members of a conversation who are here.
    pub(crate) fn members(&self, conversation: &ConversationId) -> Vec<UserId> {
        let inner = self.0.read();
        inner.rooms.get(conversation).map(|room| room.members.iter().cloned().collect()).unwrap_or_default()
    }

    /// The newest message of a conversation that was sent to anybody here; zero when none was.
    pub(crate) fn newest(&self, conversation: &ConversationId) -> u64 {
        self.0.read().rooms.get(conversation).map_or(0, |room| room.newest.load(Ordering::Relaxed))
    }

    /// Holds a new message for the members here, unless it was sent before: `own` for its sender. Answers the sockets that have
    /// to be flushed.
    #[must_use]
    pub(crate) fn hold_message(
        &self,
        conversation: &ConversationId,
        seq: u64,
        sender: Option<&UserId>,
        frame: &Frame,
        own: &Frame,
    ) -> Vec<Arc<P>> {
        let inner = self.0.read();
        let Some(room) = inner.rooms.get(conversation) else { return Vec::new() };
        if room.newest.fetch_max(seq, Ordering::Relaxed) >= seq {
            return Vec::new();
        }
        let conns = room.members.iter().flat_map(|user| {
            let frame = if sender == Some(user) { own } else { frame };
            inner.conns(user).iter().filter(|conn| conn.hold(frame))
        });
        conns.cloned().collect()
    }

    /// Sends an event to the members of a conversation who are here, but for one.
    pub(crate) fn send_room(&self, conversation: &ConversationId, except: Option<&UserId>, frame: &Frame) {
        let inner = self.0.read();
        let Some(room) = inner.rooms.get(conversation) else { return };
        let held = inner.hold(room.members.iter().filter(|user| except != Some(*user)), frame);
        drop(inner);
        flush(held);
    }

    /// Sends an event to everybody here who is in one of these conversations, once, but for one.
    pub(crate) fn send_rooms(&self, conversations: &[ConversationId], except: &UserId, frame: &Frame) {
        let inner = self.0.read();
        let rooms = conversations.iter().filter_map(|conversation| inner.rooms.get(conversation));
        let users: HashSet<&UserId> =
            rooms.flat_map(|room| &room.members).filter(|user| *user != except).collect();
        let held = inner.hold(users.into_iter(), frame);
        drop(inner);
        flush(held);
    }

    /// Sends an event to the sockets of a user.
    pub(crate) fn send_user(&self, user: &UserId, frame: &Frame) {
        let held = self.0.read().hold([user].into_iter(), frame);
        flush(held);
    }

    /// How many sockets a user has here.
    pub(crate) fn count(&self, user: &UserId) -> usize {
        self.0.read().users.get(user).map_or(0, |local| local.conns.len())
    }

    /// Whether a user has a socket here.
    pub(crate) fn has(&self, user: &UserId) -> bool {
        self.0.read().users.contains_key(user)
    }

    /// Every socket.
    pub(crate) fn all(&self) -> Vec<Arc<P>> {
        self.0.read().users.values().flat_map(|local| &local.conns).cloned().collect()
    }

    /// Every user with a socket here.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.0.read().users.keys().cloned().collect()
    }
}

impl Sockets {
    /// The sockets whose token has ended.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<Arc<Conn>> {
        self.find(|conn| conn.ends_at() <= now)
    }

    /// The sockets through which something was asked since this was last asked.
    pub(crate) fn active(&self) -> Vec<Arc<Conn>> {
        self.find(|conn| conn.was_active())
    }

    fn find(&self, fits: impl Fn(&Conn) -> bool) -> Vec<Arc<Conn>> {
        let inner = self.0.read();
        inner.users.values().flat_map(|local| &local.conns).filter(|conn| fits(conn)).cloned().collect()
    }
}

impl<P> Inner<P> {
    fn conns(&self, user: &UserId) -> &[Arc<P>] {
        self.users.get(user).map(|local| local.conns.as_slice()).unwrap_or_default()
    }
}

impl<P: Peer> Inner<P> {
    /// Holds an event for the sockets of users, and answers these. They are flushed once nobody waits for the registry.
    fn hold<'a>(&self, users: impl Iterator<Item = &'a UserId>, frame: &Frame) -> Vec<Arc<P>> {
        let conns = users.flat_map(|user| self.conns(user));
        conns.inspect(|conn| _ = conn.hold(frame)).cloned().collect()
    }
}

/// Sends what sockets hold: on all processors, when they are many. Whatever else is sent to one of them meanwhile comes after it.
pub(crate) fn flush<P: Peer>(mut held: Vec<Arc<P>>) {
    while held.len() > AT_ONCE {
        let some = held.split_off(held.len() - AT_ONCE);
        tokio::spawn(async move { some.iter().for_each(|conn| conn.flush()) });
    }
    held.iter().for_each(|conn| conn.flush());
}

fn take_out(rooms: &mut HashMap<ConversationId, Room>, conversation: &ConversationId, user: &UserId) {
    if let Some(room) = rooms.get_mut(conversation) {
        room.members.remove(user);
        if room.members.is_empty() {
            rooms.remove(conversation);
        }
    }
}

fn resize(rooms: &mut HashMap<ConversationId, Room>, conversation: &ConversationId, size: u64) {
    if let Some(room) = rooms.get_mut(conversation)
        && size > 0
    {
        room.size = size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Ear {
        id: u64,
        user: UserId,
        held: Mutex<Vec<&'static str>>,
        heard: Mutex<Vec<&'static str>>,
    }

    impl Peer for Ear {
        fn id(&self) -> u64 {
            self.id
        }
        fn user(&self) -> &UserId {
            &self.user
        }
        fn hold(&self, frame: &Frame) -> bool {
            self.held.lock().push(frame.event);
            true
        }
        fn flush(&self) {
            self.heard.lock().append(&mut self.held.lock());
        }
    }

    fn ear(id: u64, user: &str) -> Arc<Ear> {
        Arc::new(Ear {
            id,
            user: UserId::new(user).unwrap(),
            held: Mutex::default(),
            heard: Mutex::default(),
        })
    }

    fn room(name: &str) -> ConversationId {
        ConversationId::new(name).unwrap()
    }

    fn joined(name: &str) -> Joined {
        Joined { conversation: room(name), size: 2 }
    }

    fn frame(event: &'static str) -> Frame {
        Frame::new(event, &()).unwrap()
    }

    fn heard(ear: &Ear) -> Vec<&'static str> {
        std::mem::take(&mut *ear.heard.lock())
    }

    /// A registry with these sockets in the room `r`.
    fn with(ears: &[&Arc<Ear>]) -> Sockets<Ear> {
        let sockets = Sockets::default();
        for ear in ears {
            sockets.enter(ear);
            sockets.settle(ear, &[joined("r")]);
        }
        sockets
    }

    #[test]
    fn members_hear_of_their_room_on_every_device_and_nobody_else_does() {
        let (phone, tablet, other, stranger) = (ear(1, "ann"), ear(2, "ann"), ear(3, "bob"), ear(4, "eve"));
        let sockets = with(&[&phone, &tablet, &other]);
        sockets.enter(&stranger);
        sockets.settle(&stranger, &[]);
        sockets.send_room(&room("r"), Some(&other.user), &frame("one"));
        sockets.send_user(&phone.user, &frame("two"));
        assert_eq!([heard(&phone), heard(&tablet)], [["one", "two"], ["one", "two"]]);
        assert!(heard(&other).is_empty() && heard(&stranger).is_empty());
    }

    #[test]
    fn a_removal_while_joining_beats_the_list_that_was_asked_for_before_it() {
        let late = ear(1, "ann");
        let sockets = Sockets::default();
        sockets.enter(&late);
        sockets.expel(&room("r"), &late.user);
        sockets.join(&room("s"), [&late.user], 2);
        sockets.settle(&late, &[joined("r"), joined("t")]);
        for name in ["r", "s", "t"] {
            sockets.send_room(&room(name), None, &frame("event"));
        }
        assert_eq!(heard(&late).len(), 2, "s and t, not r");
        // What changed then is forgotten; the next socket is told by its own list.
        let next = ear(2, "ann");
        sockets.enter(&next);
        sockets.settle(&next, &[joined("r")]);
        sockets.send_room(&room("r"), None, &frame("event"));
        assert_eq!(heard(&next).len(), 1);
    }

    #[test]
    fn nothing_more_is_heard_after_an_expulsion() {
        let (ann, bob) = (ear(1, "ann"), ear(2, "bob"));
        let sockets = with(&[&ann, &bob]);
        sockets.expel(&room("r"), &bob.user);
        sockets.send_room(&room("r"), None, &frame("room"));
        flush(sockets.hold_message(&room("r"), 1, Some(&ann.user), &frame("message"), &frame("own")));
        sockets.send_rooms(&[room("r")], &ann.user, &frame("presence"));
        assert!(heard(&bob).is_empty());
        assert_eq!(heard(&ann), ["room", "own"]);
    }

    #[test]
    fn what_was_held_before_an_expulsion_is_out_when_that_returns() {
        let (ann, bob) = (ear(1, "ann"), ear(2, "bob"));
        let sockets = with(&[&ann, &bob]);
        let held = sockets.hold_message(&room("r"), 1, None, &frame("message"), &frame("own"));
        assert!(heard(&ann).is_empty() && heard(&bob).is_empty());
        sockets.expel(&room("r"), &bob.user);
        assert_eq!((heard(&ann).len(), heard(&bob)), (0, vec!["message"]));
        flush(held);
        assert_eq!((heard(&ann), heard(&bob).len()), (vec!["message"], 0));
    }

    #[test]
    fn a_message_is_sent_once_and_none_before_it_any_more() {
        let (ann, bob) = (ear(1, "ann"), ear(2, "bob"));
        let sockets = with(&[&ann, &bob]);
        for seq in [1, 2, 2, 1, 3] {
            flush(sockets.hold_message(&room("r"), seq, Some(&ann.user), &frame("message"), &frame("own")));
        }
        assert_eq!((heard(&ann).len(), heard(&bob)), (3, vec!["message"; 3]));
        assert_eq!(sockets.newest(&room("r")), 3);
    }

    #[test]
    fn who_shares_several_rooms_hears_of_presence_once() {
        let (ann, bob) = (ear(1, "ann"), ear(2, "bob"));
        let sockets = with(&[&ann, &bob]);
        sockets.join(&room("s"), [&ann.user, &bob.user], 2);
        sockets.send_rooms(&[room("r"), room("s"), room("elsewhere")], &ann.user, &frame("online"));
        assert_eq!((heard(&ann).len(), heard(&bob).len()), (0, 1));
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let (phone, tablet) = (ear(1, "ann"), ear(2, "ann"));
        let sockets = with(&[&phone, &tablet]);
        assert!(sockets.leave(&phone) && !sockets.leave(&phone));
        sockets.send_room(&room("r"), None, &frame("event"));
        assert_eq!((heard(&phone).len(), heard(&tablet).len()), (0, 1));
        assert!(sockets.leave(&tablet));
        let inner = sockets.0.read();
        assert!(inner.users.is_empty() && inner.rooms.is_empty(), "{}", inner.rooms.len());
    }

    #[test]
    fn sizes_are_those_told_last_and_unknown_for_rooms_nobody_here_is_in() {
        let ann = ear(1, "ann");
        let sockets = with(&[&ann]);
        sockets.resize(&room("r"), 7);
        sockets.resize(&room("r"), 0);
        sockets.resize(&room("nowhere"), 9);
        assert_eq!((sockets.size(&room("r")), sockets.size(&room("nowhere"))), (7, 0));
    }
}
