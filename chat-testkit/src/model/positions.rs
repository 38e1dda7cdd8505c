//! The model of the `positions` port: a list of messages, and one row of receipts per member.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::page::Page;
use chat_core::domain::{
    ConversationId, Mentions, MessageId, MessageKind, ReadPosition, Receipts, Seq, Unread, UserId,
};
use chat_core::event::{
    CoveredIds, DeleteType, Event, EventKind, MessageDelivered, MessageRead, MessageUnread,
};
use chat_core::store::positions::{Moved, Step};
use chat_core::store::unread::UnreadTruth;
use chat_core::store::{MessageStore, MessageStoreExt, Outbox, PositionStore, PositionStoreExt};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Agreement, one_of, play_histories, same};
use crate::expect::events;
use crate::walk::walk;
use crate::{Offer, sample};

const USERS: [&str; 4] = ["ann", "ben", "an", "eve"];
/// A place no history gets to.
const BEYOND: u64 = 30;

#[derive(Debug, Clone)]
enum Operation {
    Append {
        sender: Option<usize>,
        silent: bool,
        mentions: Option<usize>,
        everyone: bool,
    },
    Delete {
        message: usize,
    },
    Delivered {
        user: usize,
        seq: u64,
    },
    Read {
        user: usize,
        seq: u64,
    },
    Joined {
        user: usize,
        seq: u64,
    },
    /// Of the epoch the user is in, or of so many before.
    Unread {
        user: usize,
        from: u64,
        ago: u32,
    },
    Readers {
        seq: u64,
        limit: usize,
    },
    Receivers {
        seq: u64,
        limit: usize,
    },
    Look,
    Wait,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let user = || one_of(USERS.len());
    let seq = || prop_oneof![8 => 0_u64..12, 1 => Just(BEYOND)];
    let limit = || select(&[1_usize, 2, 1_000][..]);
    let append =
        (weighted(0.9, user()), prop::bool::weighted(0.1), weighted(0.3, user()), prop::bool::weighted(0.1));
    prop_oneof![
        8 => append.prop_map(|(sender, silent, mentions, everyone)| Append { sender, silent, mentions, everyone }),
        1 => one_of(12).prop_map(|message| Delete { message }),
        3 => (user(), seq()).prop_map(|(user, seq)| Delivered { user, seq }),
        5 => (user(), seq()).prop_map(|(user, seq)| Read { user, seq }),
        1 => (user(), seq()).prop_map(|(user, seq)| Joined { user, seq }),
        3 => (user(), seq(), select(&[0_u32, 0, 0, 1, 2][..])).prop_map(|(user, from, ago)| Unread { user, from, ago }),
        2 => (seq(), limit()).prop_map(|(seq, limit)| Readers { seq, limit }),
        1 => (seq(), limit()).prop_map(|(seq, limit)| Receivers { seq, limit }),
        1 => Just(Look),
        1 => Just(Wait),
    ]
}

/// A message, as far as positions are concerned.
#[derive(Debug)]
struct Said {
    id: MessageId,
    sender: Option<UserId>,
    counts: bool,
    mentions: Mentions,
}

#[derive(Debug, Default)]
struct Model {
    said: Vec<Said>,
    receipts: BTreeMap<UserId, Receipts>,
    written: Vec<Event>,
}

/// How far a user has got, by reading and by writing.
fn reached(receipts: &Receipts) -> u64 {
    let own = if receipts.own > receipts.read.rewound_at { receipts.own.0 } else { 0 };
    receipts.read.seq.0.max(own)
}

impl Model {
    fn head(&self) -> u64 {
        self.said.len() as u64
    }

    fn of(&self, user: &UserId) -> Receipts {
        self.receipts.get(user).copied().unwrap_or_default()
    }

    /// What others said after one place up to another.
    fn covered(&self, user: &UserId, after: Seq, to: Seq) -> Vec<MessageId> {
        let places = self.said.iter().zip(1..).filter(|(_, seq)| *seq > after.0 && *seq <= to.0);
        places
            .filter(|(said, _)| said.sender.as_ref() != Some(user))
            .map(|(said, _)| said.id.clone())
            .collect()
    }

    fn step(&mut self, user: &UserId, here: &ConversationId, step: Step, now: Timestamp) -> Moved {
        let (head, before) = (self.head(), self.of(user));
        let within = |seq: Seq| Seq(seq.0.min(head));
        let mut after = before;
        match step {
            Step::Joined(seq) => {
                after.joined = before.joined.max(within(seq));
                after.read.seq = before.read.seq.max(within(seq));
                after.delivered = before.delivered.max(within(seq));
            }
            Step::Delivered(seq) => after.delivered = before.delivered.max(within(seq)),
            Step::Read(seq) => {
                after.read.seq = before.read.seq.max(within(seq));
                after.seen = before.seen.max(within(seq));
                after.delivered = before.delivered.max(within(seq));
            }
            Step::Unread { from, epoch } => {
                let last_read = from.0.saturating_sub(1);
                if epoch == before.read.epoch && last_read < reached(&before) {
                    after.read =
                        ReadPosition { epoch: epoch + 1, seq: Seq(last_read), rewound_at: Seq(head) };
                    after.delivered = before.delivered.max(Seq(last_read));
                }
            }
        }
        let (conversation_id, reader_id) = (here.clone(), user.clone());
        if after != before {
            self.receipts.insert(user.clone(), after);
            self.written.extend(match step {
                Step::Joined(_) => None,
                Step::Delivered(_) => Some(Event::MessageDelivered(MessageDelivered {
                    conversation_id,
                    user_id: reader_id,
                    up_to_seq: after.delivered,
                    message_ids: CoveredIds::Ids(self.covered(user, before.delivered, after.delivered)),
                    timestamp: now,
                })),
                Step::Read(_) => {
                    let ids = self.covered(user, before.read.seq, after.read.seq);
                    Some(Event::MessageRead(MessageRead {
                        conversation_id,
                        reader_id,
                        up_to_seq: after.read.seq,
                        modified_count: ids.len() as u64,
                        message_ids: CoveredIds::Ids(ids),
                        read_at: now,
                        position: after.read,
                    }))
                }
                Step::Unread { from, .. } => {
                    let position = after.read;
                    Some(Event::MessageUnread(MessageUnread {
                        conversation_id,
                        reader_id,
                        from_seq: from,
                        position,
                    }))
                }
            });
        }
        Moved { before, after }
    }

    /// Who got as far as a message: not its author, and not who joined later.
    fn who(&self, seq: u64, place: impl Fn(&Receipts) -> Seq) -> Vec<UserId> {
        let Some(said) = seq.checked_sub(1).and_then(|nth| self.said.get(usize::try_from(nth).ok()?)) else {
            return Vec::new();
        };
        let there = self.receipts.iter().filter(|(user, receipts)| {
            place(receipts).0 >= seq && receipts.joined.0 < seq && said.sender.as_ref() != Some(user)
        });
        there.map(|(user, _)| user.clone()).collect()
    }

    fn unread(&self, user: &UserId) -> Unread {
        let mut unread = Unread::default();
        let reached = reached(&self.of(user));
        for (said, _) in self.said.iter().zip(1..).filter(|(said, seq)| *seq > reached && said.counts) {
            unread.messages += 1;
            unread.mentions += u64::from(said.mentions.everyone || said.mentions.users.contains(user));
        }
        unread
    }
}

struct Game {
    messages: Arc<dyn MessageStore>,
    positions: Arc<dyn PositionStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
    here: ConversationId,
    model: Model,
}

impl Game {
    async fn move_on(&mut self, asked: &(dyn Debug + Sync), user: usize, step: Step) -> Agreement {
        let user = sample::user(USERS[user]);
        let moved = self.positions.step(&user, &self.here, step).await.unwrap();
        same(asked, &moved, &self.model.step(&user, &self.here, step, self.clock.now()))
    }

    async fn step(&mut self, operation: &Operation) -> Agreement {
        let asked = operation as &(dyn Debug + Sync);
        match operation {
            Operation::Append { sender, silent, mentions, everyone } => {
                let sender = sender.map(|sender| sample::user(USERS[sender]));
                let mut new = sample::text(&self.here, &sample::user("ann"), "text");
                if sender.is_none() {
                    new.draft.kind = MessageKind::System;
                }
                new.sender_id.clone_from(&sender);
                new.draft.silent = *silent;
                let users = mentions.iter().map(|user| sample::user(USERS[*user])).collect();
                new.draft.mentions = Mentions { users, everyone: *everyone };
                let message = self.messages.append(&new).await.unwrap().message;
                self.model.said.push(Said {
                    id: message.id,
                    sender: sender.clone(),
                    counts: sender.is_some() && !silent,
                    mentions: message.mentions,
                });
                let head = Seq(self.model.head());
                if let Some(sender) = sender {
                    self.model.receipts.entry(sender).or_default().own = head;
                }
                same(asked, &message.seq, &head)
            }
            Operation::Delete { message } => {
                let Some(said) = self.model.said.get_mut(*message) else { return Ok(()) };
                said.counts = false;
                let by = sample::user("ann");
                self.messages.delete(&said.id, &by, DeleteType::ForEveryone).await.unwrap();
                Ok(())
            }
            Operation::Delivered { user, seq } => {
                self.move_on(asked, *user, Step::Delivered(Seq(*seq))).await
            }
            Operation::Read { user, seq } => {
                // Reading again what was never unread may or may not be worth an event: it is left out.
                let before = self.model.of(&sample::user(USERS[*user]));
                let place = (*seq).min(self.model.head());
                if place > before.seen.0 && place <= before.read.seq.0 {
                    return Ok(());
                }
                self.move_on(asked, *user, Step::Read(Seq(*seq))).await
            }
            Operation::Joined { user, seq } => self.move_on(asked, *user, Step::Joined(Seq(*seq))).await,
            Operation::Unread { user, from, ago } => {
                let epoch = self.model.of(&sample::user(USERS[*user])).read.epoch;
                let Some(epoch) = epoch.checked_sub(*ago) else { return Ok(()) };
                self.move_on(asked, *user, Step::Unread { from: Seq(*from), epoch }).await
            }
            Operation::Readers { seq, limit } => {
                let (positions, here, seq) = (&self.positions, &self.here, Seq(*seq));
                let page_of = |page: Page<UserId>| async move { positions.readers(here, seq, &page).await };
                self.are(asked, walk(*limit, page_of).await, self.model.who(seq.0, |receipts| receipts.seen))
            }
            Operation::Receivers { seq, limit } => {
                let (positions, here, seq) = (&self.positions, &self.here, Seq(*seq));
                let page_of = |page: Page<UserId>| async move { positions.receivers(here, seq, &page).await };
                self.are(
                    asked,
                    walk(*limit, page_of).await,
                    self.model.who(seq.0, |receipts| receipts.delivered),
                )
            }
            Operation::Look => self.look(asked).await,
            Operation::Wait => {
                self.clock.advance(Duration::from_secs(1));
                Ok(())
            }
        }
    }

    /// These are the users, each once, in whatever order the backend keeps them.
    fn are(&self, asked: &(dyn Debug + Sync), mut found: Vec<UserId>, expected: Vec<UserId>) -> Agreement {
        found.sort();
        same(asked, &found, &expected)
    }

    async fn look(&self, asked: &(dyn Debug + Sync)) -> Agreement {
        let users = USERS.map(sample::user);
        let question: Vec<_> = users.iter().map(|user| (user.clone(), self.here.clone())).collect();
        let found = self.positions.receipts_many(&question).await.unwrap();
        let expected: Vec<_> = users.iter().map(|user| self.model.of(user)).collect();
        same(asked, &found, &expected)?;
        for (user, receipts) in users.iter().zip(expected) {
            let truths = self.positions.recount(user, std::slice::from_ref(&self.here)).await.unwrap();
            let [truth] = truths.as_slice() else { return Err(format!("{asked:?}: {truths:?}")) };
            same(asked, &truth.unread(), &self.model.unread(user))?;
            let UnreadTruth { head, position, own, .. } = truth;
            same(asked, &(head.0, *position, *own), &(self.model.head(), receipts.read, receipts.own))?;
        }
        Ok(())
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let mut game = Game {
        messages: offer.messages.clone().expect("messages"),
        positions: offer.positions.clone().expect("positions"),
        outbox: offer.outbox.clone().expect("an outbox"),
        clock: offer.clock.clone(),
        here: sample::conversation("here"),
        model: Model::default(),
    };
    for operation in &history {
        game.step(operation).await?;
    }
    game.look(&"what there is in the end").await?;
    let mut written = events(&*game.outbox).await;
    written.retain(|event| !matches!(event.kind(), Some(EventKind::MessageSent | EventKind::MessageDeleted)));
    same(&"the events written", &written, &game.model.written)
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
