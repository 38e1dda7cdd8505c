//! [`UnreadStore`] on Redis: all of one conversation, its readers too, is in one slot.
//!
//! So every answer is of one instant, whoever else is writing, and the laws of the port need no second look: a count, an
//! advance or a message is one script in one slot. What does not count and who is mentioned are marks of the
//! conversation, and there are marks only where there is something to mark.
//!
//! A conversation that nothing happens in for 90 days is forgotten, and so is one that lost a part by eviction: its
//! counts are `None` until truth is asked. Of each conversation the newest
//! [`MAX_UNCOUNTED`](chat_core::store::unread::MAX_UNCOUNTED) messages that do not count and that mention everyone are
//! kept, of each reader as many mentions (of those read 100) and the last 1000 adjustments.
//!
//! # What it costs
//! Each operation is one round trip, and one request for each shard of its conversations and each 250 of them: see
//! `docs/COSTS.md`. What a message costs does not depend on the size of its conversation; each user it mentions by name
//! costs two commands more within the script. A count looks at the marks only where there are some after what the
//! reader has reached; of one conversation it takes no script otherwise, and a second round trip then.
//!
//! On two shared cores, in time of Redis: 3 us for each of 100 counts, where heads in one hash a shard and positions in
//! one hash a user, asked without a script, take 0.6 us, and know nothing of marks nor of one instant; 12 us for a message
//! and 15 us for an advance, in a conversation of 20 readers as in one of 100 000; 37 to 82 bytes for a reader, where a
//! hash of positions for each user takes 98.

use std::str::FromStr;

use async_trait::async_trait;
use chat_core::domain::{ClientKey, ConversationId, ReadPosition, Seq, Unread, UserId};
use chat_core::error::Result;
use chat_core::store::UnreadStore;
use chat_core::store::unread::{Advance, AdvanceTo, Recorded, UnreadTruth};

use crate::connection::{Command, Operation};
use crate::error::corrupt;
use crate::keys::{Key, Shard};
use crate::script::Script;
use crate::store::Store;

/// Declares scripts over conversations: what `scripts!` does, but for the time, which none of them asks for.
macro_rules! unread_scripts {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: Script = Script::joined(&[
            include_str!("scripts/unread_common.lua"),
            include_str!(concat!("scripts/", $file, ".lua")),
        ]);)*
    };
}

unread_scripts! {
    RECORD = "unread_record";
    UNCOUNT = "unread_uncount";
    ADVANCE = "unread_advance";
    COUNTS = "unread_counts";
    ADJUST = "unread_adjust";
    REBUILD = "unread_rebuild";
    FORGET = "unread_forget";
}

const RECORD_MANY: Operation = Operation::write("unread.record_many");
const UNCOUNT_MANY: Operation = Operation::write("unread.uncount_many");
const ADVANCE_MANY: Operation = Operation::write("unread.advance_many");
const COUNT: Operation = Operation::read("unread.counts");
const ADJUST_ONE: Operation = Operation::write("unread.adjust");
const REBUILD_SOME: Operation = Operation::write("unread.rebuild");
const FORGET_MANY: Operation = Operation::write("unread.forget_many");

/// How many conversations one script takes: it holds Redis up for less than a millisecond.
const BATCH: usize = 250;
/// How many users mentioned by name one step of a script takes.
const MENTIONED: usize = 500;
/// How many messages are taken out by one script.
const UNCOUNTED: usize = 5_000;

/// Unread counts on Redis; kind of state: **derived**.
#[derive(Debug, Clone)]
pub struct RedisUnread {
    store: Store,
}

impl RedisUnread {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    fn key(&self, conversation: &ConversationId) -> Key {
        self.store.keys.sharded("n", Shard::of(conversation.as_str()), &[conversation.as_str()])
    }

    /// A script over the conversations of a batch.
    fn over<T>(&self, script: &'static Script, batch: &Batch<'_, T>) -> Command {
        let keys: Vec<Key> = batch.iter().map(|(_, conversation, _)| self.key(conversation)).collect();
        Command::script(script, &keys)
    }

    /// The count of one conversation without a script, which costs Redis ten times as much: so it is with most counts.
    async fn look(&self, user: &UserId, conversation: &ConversationId) -> Result<Found> {
        let fields = Command::new("HMGET", &self.key(conversation)).arg("c").arg(format!("r{user}"));
        let kept: (Option<String>, Option<String>) = self.store.call_one(COUNT, fields).await?;
        let (Some(conversation), Some(reader)) = kept else { return Ok(Found::All(None)) };
        let kept = format!("{conversation} {reader}");
        let standing = Standing::of(&mut Words::of(COUNT, &kept))?;
        Ok(if standing.has_more() { Found::More } else { Found::All(standing.count(&Marks::default())) })
    }

    /// Runs scripts that answer for each conversation of theirs, and puts the answers where the questions were.
    async fn answers<T: Sync, A: redis::FromRedisValue + Send>(
        &self,
        operation: Operation,
        batches: &[Batch<'_, T>],
        commands: Vec<Command>,
    ) -> Result<Vec<A>> {
        let answers: Vec<Vec<A>> = self.store.call(operation, commands).await?;
        let places = batches.iter().flatten().map(|(place, ..)| *place);
        let mut placed: Vec<(usize, A)> = places.zip(answers.into_iter().flatten()).collect();
        let asked: usize = batches.iter().map(Vec::len).sum();
        if placed.len() != asked {
            return Err(corrupt(operation, "an answer is missing"));
        }
        placed.sort_unstable_by_key(|(place, _)| *place);
        Ok(placed.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// What a look without a script has found.
enum Found {
    All(Option<Unread>),
    /// There are marks or adjustments, which a script reads at the same instant.
    More,
}

/// What goes into one script: where each stood in the question, its conversation, and what is said of it.
type Batch<'a, T> = Vec<(usize, &'a ConversationId, T)>;

/// Parts a question by shard; what is said of one conversation stays in its order.
fn batches<'a, T>(question: impl Iterator<Item = (&'a ConversationId, T)>) -> Vec<Batch<'a, T>> {
    let mut open: Vec<(Shard, Batch<'a, T>)> = Vec::new();
    let mut full = Vec::new();
    for (place, (conversation, said)) in question.enumerate() {
        let shard = Shard::of(conversation.as_str());
        let index = match open.iter().position(|(known, _)| *known == shard) {
            Some(index) => index,
            None => {
                open.push((shard, Vec::new()));
                open.len() - 1
            }
        };
        if let Some((_, batch)) = open.get_mut(index) {
            batch.push((place, conversation, said));
            if batch.len() == BATCH {
                full.push(std::mem::take(batch));
            }
        }
    }
    full.extend(open.into_iter().map(|(_, batch)| batch).filter(|batch| !batch.is_empty()));
    full
}

#[async_trait]
impl UnreadStore for RedisUnread {
    async fn record_many(&self, messages: &[Recorded]) -> Result<()> {
        let steps = messages.iter().flat_map(steps);
        let batches = batches(steps.map(|step| (&step.message.conversation, step)));
        let command = |batch: &Batch<'_, Step<'_>>| {
            batch.iter().fold(self.over(&RECORD, batch), |command, (_, _, step)| step.say(command))
        };
        let commands = batches.iter().map(command).collect();
        self.store.call::<()>(RECORD_MANY, commands).await.map(drop)
    }

    async fn uncount_many(&self, conversation: &ConversationId, messages: &[Seq]) -> Result<()> {
        let command = |messages: &[Seq]| {
            let script = Command::script(&UNCOUNT, &[self.key(conversation)]);
            messages.iter().filter(marked).fold(script, |command, seq| command.arg(seq.0))
        };
        let commands = messages.chunks(UNCOUNTED).map(command).collect();
        self.store.call::<()>(UNCOUNT_MANY, commands).await.map(drop)
    }

    async fn advance_many(&self, advances: &[Advance]) -> Result<Vec<ReadPosition>> {
        let batches = batches(advances.iter().map(|advance| (&advance.conversation, advance)));
        let command = |batch: &Batch<'_, &Advance>| {
            batch.iter().fold(self.over(&ADVANCE, batch), |command, (_, _, advance)| {
                let command = command.arg(advance.user.as_str());
                let command = match advance.to {
                    AdvanceTo::Position(to) => command.arg(to.epoch).arg(to.seq.0).arg(to.rewound_at.0),
                    AdvanceTo::Read(seq) => command.arg("-").arg(seq.0).arg(0),
                };
                command.arg(advance.own.0)
            })
        };
        let commands = batches.iter().map(command).collect();
        let stand: Vec<String> = self.answers(ADVANCE_MANY, &batches, commands).await?;
        stand.iter().map(|text| Words::of(ADVANCE_MANY, text).position()).collect()
    }

    async fn counts(&self, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Unread>>> {
        if let [one] = conversations
            && let Found::All(count) = self.look(user, one).await?
        {
            return Ok(vec![count]);
        }
        let batches = batches(conversations.iter().map(|conversation| (conversation, ())));
        let commands = batches.iter().map(|batch| self.over(&COUNTS, batch).arg(user.as_str())).collect();
        let counts: Vec<Option<String>> = self.answers(COUNT, &batches, commands).await?;
        counts.iter().map(|text| text.as_deref().map_or(Ok(None), |text| count(COUNT, text))).collect()
    }

    async fn adjust(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        by: i64,
        key: &ClientKey,
    ) -> Result<Option<Unread>> {
        let script = Command::script(&ADJUST, &[self.key(conversation)]);
        let command = script.arg(user.as_str()).arg(by).arg(key.as_str());
        let text: Option<String> = self.store.call_one(ADJUST_ONE, command).await?;
        text.map_or(Ok(None), |text| count(ADJUST_ONE, &text))
    }

    async fn rebuild(&self, user: &UserId, truth: &[(ConversationId, UnreadTruth)]) -> Result<()> {
        let batches = batches(truth.iter().map(|(conversation, truth)| (conversation, truth)));
        let command = |batch: &Batch<'_, &UnreadTruth>| {
            let script = self.over(&REBUILD, batch).arg(user.as_str());
            batch.iter().fold(script, |command, (_, _, truth)| {
                let UnreadTruth { head, position, own, uncounted, mentions } = truth;
                let command = command.arg(head.0).arg(position.epoch).arg(position.seq.0);
                let command = command.arg(position.rewound_at.0).arg(own.0);
                let listed = |seqs: &[Seq]| seqs.iter().filter(marked).count();
                let command = command.arg(listed(uncounted)).arg(listed(mentions));
                let seqs = uncounted.iter().chain(mentions).filter(marked);
                seqs.fold(command, |command, seq| command.arg(seq.0))
            })
        };
        let commands = batches.iter().map(command).collect();
        self.store.call::<()>(REBUILD_SOME, commands).await.map(drop)
    }

    async fn forget_many(&self, users: &[(UserId, ConversationId)]) -> Result<()> {
        let batches = batches(users.iter().map(|(user, conversation)| (conversation, user)));
        let command = |batch: &Batch<'_, &UserId>| {
            batch.iter().fold(self.over(&FORGET, batch), |command, (_, _, user)| command.arg(user.as_str()))
        };
        let commands = batches.iter().map(command).collect();
        self.store.call::<()>(FORGET_MANY, commands).await.map(drop)
    }
}

/// Nothing is said of message 0, which nobody said.
fn marked(seq: &&Seq) -> bool {
    **seq != Seq::ZERO
}

/// A message, or that it mentions some more users.
struct Step<'a> {
    message: &'a Recorded,
    mentioned: Vec<&'a str>,
}

/// A message as a script takes it: nobody twice, and not too many at once.
fn steps(message: &Recorded) -> Vec<Step<'_>> {
    let mut mentioned: Vec<&str> = message.mentions.users.iter().map(UserId::as_str).collect();
    mentioned.sort_unstable();
    mentioned.dedup();
    if mentioned.is_empty() {
        return vec![Step { message, mentioned }];
    }
    mentioned.chunks(MENTIONED).map(|some| Step { message, mentioned: some.to_vec() }).collect()
}

impl Step<'_> {
    fn say(&self, command: Command) -> Command {
        let Recorded { seq, sender, countable, mentions, .. } = self.message;
        let command = command.arg(seq.0).arg(seq.previous().0);
        let command = command.arg(u8::from(*countable)).arg(u8::from(mentions.everyone));
        let command = command.arg(sender.as_ref().map_or("", UserId::as_str)).arg(self.mentioned.len());
        self.mentioned.iter().fold(command, |command, user| command.arg(*user))
    }
}

/// The words of an answer, one after the other.
struct Words<'a> {
    operation: Operation,
    words: std::str::Split<'a, char>,
}

impl<'a> Words<'a> {
    fn of(operation: Operation, text: &'a str) -> Self {
        Self { operation, words: text.split(' ') }
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let word = self.words.next().unwrap_or_default();
        word.parse().map_err(|_| corrupt(self.operation, "a number was expected"))
    }

    fn seq(&mut self) -> Result<Seq> {
        self.number().map(Seq)
    }

    /// A number, or a `-` where it is not known.
    fn known<T: FromStr>(&mut self) -> Result<Option<T>> {
        if self.words.clone().next() == Some("-") {
            self.words.next();
            return Ok(None);
        }
        self.number().map(Some)
    }

    fn position(&mut self) -> Result<ReadPosition> {
        Ok(ReadPosition { epoch: self.number()?, seq: self.seq()?, rewound_at: self.seq()? })
    }
}

/// What is kept of a conversation and of a reader of it, see `unread_common.lua`.
struct Standing {
    /// The newest message, once it is known.
    head: Option<u64>,
    /// Up to here something is missing.
    floor: Seq,
    /// The newest mark of any sort.
    newest: Seq,
    /// Where the reader is, once it is known.
    position: Option<ReadPosition>,
    own: Seq,
    /// Whether its count was adjusted by hand.
    is_adjusted: bool,
}

/// What changes a count of messages, beyond those that were read.
#[derive(Default)]
struct Marks {
    uncounted: u64,
    mentions: u64,
    by: i64,
}

impl Standing {
    fn of(words: &mut Words<'_>) -> Result<Self> {
        let head = words.known()?;
        let (floor, no_uncounted, no_everyone, newest) =
            (words.seq()?, words.seq()?, words.seq()?, words.seq()?);
        let epoch: Option<u32> = words.known()?;
        let (seq, rewound_at) = (words.seq()?, words.seq()?);
        let floor = words.known()?.map_or(floor, Seq);
        let (own, _mention, no_mention, adjusted) = (words.seq()?, words.seq()?, words.seq()?, words.seq()?);
        Ok(Self {
            head,
            floor: floor.max(no_uncounted).max(no_everyone).max(no_mention),
            newest,
            position: epoch.map(|epoch| ReadPosition { epoch, seq, rewound_at }),
            own,
            is_adjusted: adjusted != Seq::ZERO,
        })
    }

    /// Whether marks and adjustments may say more; `look` in `unread_common.lua` asks the same.
    fn has_more(&self) -> bool {
        self.is_adjusted || self.position.is_none_or(|position| self.newest > position.seq)
    }

    /// The count; `None` where something is missing.
    fn count(&self, marks: &Marks) -> Option<Unread> {
        let (head, reached) = (self.head?, self.position?.reached(self.own));
        if reached < self.floor {
            return None;
        }
        let messages = head.saturating_sub(reached.0).saturating_sub(marks.uncounted);
        Some(Unread { messages: messages.saturating_add_signed(marks.by), mentions: marks.mentions })
    }
}

/// What the scripts say about a reader, see `look` in `unread_common.lua`; `None` where something is missing.
fn count(operation: Operation, text: &str) -> Result<Option<Unread>> {
    let mut words = Words::of(operation, text);
    let standing = Standing::of(&mut words)?;
    let marks = Marks { uncounted: words.number()?, mentions: words.number()?, by: words.number()? };
    Ok(standing.count(&marks))
}
