//! Messages to rooms. In each room a fixed number of messages is on its way: the next one is sent, by the next member, when
//! everybody has one of them. So no queue grows, and the slowest receipt counts.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::sync::Notify;

use super::connect::{AT_ONCE, open, settle, tokens, users};
use crate::clock::now;
use crate::frame::{self, Packet};
use crate::process::Process;
use crate::report::{Report, within};
use crate::socket::{Ear, Socket};

/// What part of the messages comes before them, unmeasured, to warm up.
const WARM_UP: usize = 4;

/// How much is to be said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// How many rooms.
    pub(super) rooms: usize,
    /// How many sockets each has.
    pub(super) members: usize,
    /// How many messages each hears.
    pub(super) messages: usize,
    /// How many of them are on their way at a time.
    pub(super) senders: usize,
}

/// Everybody, and what they heard.
struct Hall {
    plan: Plan,
    state: RefCell<State>,
    /// All that was to be heard or answered was, or something went wrong.
    done: Notify,
}

#[derive(Default)]
struct State {
    sockets: Vec<Socket>,
    /// The conversation of each room.
    conversations: Vec<String>,
    /// How many messages are still to be sent in each room.
    left: Vec<usize>,
    messages: Vec<Message>,
    latencies: Vec<Duration>,
    bytes: usize,
    /// How many messages were not heard by all yet, and answers not given.
    open: usize,
    problem: Option<String>,
}

struct Message {
    room: usize,
    sent: Instant,
    /// How many have not heard it yet.
    missing: usize,
}

impl State {
    /// The next member of a room sends the next message, if one is left.
    fn say(&mut self, room: usize, plan: Plan) {
        let Some(left) = self.left.get_mut(room).filter(|left| **left > 0) else { return };
        *left -= 1;
        let speaker = room * plan.members + *left % plan.members;
        let number = self.messages.len();
        self.messages.push(Message { room, sent: now(), missing: plan.members });
        self.open += 2;
        if let (Some(socket), Some(conversation)) = (self.sockets.get(speaker), self.conversations.get(room))
        {
            socket.send(frame::send(number as u64, conversation, number));
        }
    }
}

impl Ear for Hall {
    fn hear(&self, _: usize, packet: Packet<'_>, bytes: usize) {
        let state = &mut *self.state.borrow_mut();
        match packet {
            Packet::Message(number) => {
                let Some(message) = state.messages.get_mut(number).filter(|message| message.missing > 0)
                else {
                    state.problem = Some(format!("message {number} was heard once too often"));
                    return self.done.notify_one();
                };
                message.missing -= 1;
                state.latencies.push(message.sent.elapsed());
                state.bytes += bytes;
                if message.missing == 0 {
                    let room = message.room;
                    state.open -= 1;
                    state.say(room, self.plan);
                }
            }
            Packet::Answer(_, answer) if frame::is_yes(answer) => state.open -= 1,
            Packet::Answer(_, answer) => state.problem = Some(format!("refused: {answer}")),
            _ => return,
        }
        if state.open == 0 || state.problem.is_some() {
            self.done.notify_one();
        }
    }

    fn lost(&self, socket: usize) {
        self.state.borrow_mut().problem = Some(format!("socket {socket} was lost"));
        self.done.notify_one();
    }
}

/// Hears the answer to one group.
#[derive(Default)]
struct Founder {
    answer: RefCell<Option<Result<String>>>,
    done: Notify,
}

impl Ear for Founder {
    fn hear(&self, _: usize, packet: Packet<'_>, _: usize) {
        if let Packet::Answer(_, answer) = packet {
            *self.answer.borrow_mut() = Some(frame::conversation(answer));
            self.done.notify_one();
        }
    }

    fn lost(&self, _: usize) {
        *self.answer.borrow_mut() = Some(Err(anyhow!("the socket that makes groups was lost")));
        self.done.notify_one();
    }
}

/// Lets `messages` be heard in every room.
async fn round(hall: &Hall, messages: usize) -> Result<()> {
    {
        let state = &mut *hall.state.borrow_mut();
        state.left = vec![messages; hall.plan.rooms];
        for room in 0..hall.plan.rooms {
            for _ in 0..hall.plan.senders {
                state.say(room, hall.plan);
            }
        }
    }
    loop {
        hall.done.notified().await;
        let state = hall.state.borrow();
        if let Some(problem) = &state.problem {
            return Err(anyhow!("{problem}"));
        }
        if state.open == 0 {
            return Ok(());
        }
    }
}

/// Fills the rooms, and has the messages said.
///
/// # Errors
/// When anything is refused, lost, or heard twice.
pub(super) async fn run(address: SocketAddr, server: Process, plan: Plan) -> Result<Report> {
    let users = users(plan.rooms * plan.members);
    let tokens = tokens(&users)?;
    let hall = Rc::new(Hall { plan, state: RefCell::default(), done: Notify::new() });
    let sockets: Vec<_> = open(address, &tokens, AT_ONCE).await?;
    let sockets =
        sockets.into_iter().enumerate().map(|(number, socket)| socket.listen(number, Rc::clone(&hall)));
    hall.state.borrow_mut().sockets = sockets.collect();
    found(address, &hall, &users).await?;
    settle(server).await?;

    round(&hall, (plan.messages / WARM_UP).max(1)).await?;
    {
        let state = &mut *hall.state.borrow_mut();
        state.latencies.clear();
        state.bytes = 0;
    }
    let (began, before) = (now(), server.spent()?);
    round(&hall, plan.messages).await?;
    let (took, spent) = (began.elapsed(), server.spent()?.saturating_sub(before));

    let state = &mut *hall.state.borrow_mut();
    let deliveries = state.latencies.len() as f64;
    ensure!(deliveries > 0.0, "nothing was heard");
    let report = Report::default()
        .with("sockets", users.len() as f64)
        .with("deliveries", deliveries)
        .with("bytesPerDelivery", state.bytes as f64 / deliveries)
        .with("seconds", took.as_secs_f64())
        .with("perSecond", deliveries / took.as_secs_f64())
        .with("cpuMicrosPerDelivery", spent.as_secs_f64() * 1e6 / deliveries)
        .with("perCpuSecond", deliveries / spent.as_secs_f64())
        .with("p50Millis", within(&mut state.latencies, 50))
        .with("p99Millis", within(&mut state.latencies, 99));
    state.sockets.clear();
    Ok(report)
}

/// Makes the group of every room; a user of its own asks for it, and leaves.
async fn found(address: SocketAddr, hall: &Hall, users: &[String]) -> Result<()> {
    for members in users.chunks(hall.plan.members) {
        let first = members.first().map_or(&[][..], std::slice::from_ref);
        let founder = Rc::new(Founder::default());
        let token = tokens(first)?;
        for opened in open(address, &token, 1).await? {
            let socket = opened.listen(0, Rc::clone(&founder));
            socket.send(frame::group(1, members));
            founder.done.notified().await;
        }
        let answer = founder.answer.borrow_mut().take();
        let conversation = answer.unwrap_or_else(|| Err(anyhow!("no answer")))?;
        hall.state.borrow_mut().conversations.push(conversation);
    }
    Ok(())
}
