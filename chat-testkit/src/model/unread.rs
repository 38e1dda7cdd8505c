//! The model of the `unread` port: per conversation a head and sets of messages, counted message by message.
//!
//! Two things are left open: an advance repeated within one batch may answer where it led or where the batch ended, and
//! an adjustment of a count that is not known may be kept or not, so that none is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use chat_core::domain::{ClientKey, ConversationId, Mentions, ReadPosition, Seq, Unread, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, Recorded, UnreadTruth};
use chat_core::store::{UnreadStore, UnreadStoreExt};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{Agreement, holds, one_of, play_histories, same};
use crate::Offer;
use crate::sample::{conversation, key, user};

const CONVERSATIONS: [&str; 2] = ["c", "ann:c"];
const USERS: [&str; 3] = ["ann", "ben", "ann:c"];
const KEYS: [&str; 3] = ["k", "l", "k:k"];
/// The newest message there may be.
const NEWEST: u64 = 12;

#[derive(Debug, Clone)]
struct Said {
    conversation: usize,
    seq: Seq,
    sender: Option<usize>,
    countable: bool,
    mentioned: Vec<usize>,
    everyone: bool,
}

#[derive(Debug, Clone)]
struct Step {
    user: usize,
    conversation: usize,
    to: AdvanceTo,
    own: Seq,
}

#[derive(Debug, Clone)]
enum Operation {
    Begin(usize),
    Record(Vec<Said>),
    Uncount { conversation: usize, seqs: Vec<Seq> },
    Advance(Vec<Step>),
    Count { user: usize, conversations: Vec<usize> },
    Adjust { user: usize, conversation: usize, by: i64, key: usize },
    Rebuild { user: usize, truth: Vec<(usize, UnreadTruth)> },
    Forget(Vec<(usize, usize)>),
}

fn seq() -> impl Strategy<Value = Seq> + Clone {
    (0..=NEWEST).prop_map(Seq)
}

fn position() -> impl Strategy<Value = ReadPosition> {
    (0_u32..3, seq()).prop_map(|(epoch, seq)| ReadPosition {
        epoch,
        seq,
        rewound_at: Seq(u64::from(epoch) * 4),
    })
}

fn said() -> impl Strategy<Value = Said> {
    let mentioned = || vec(one_of(USERS.len()), 0..3);
    let place = (one_of(CONVERSATIONS.len()), seq(), option::of(one_of(USERS.len())));
    (place, proptest::bool::weighted(0.8), mentioned(), proptest::bool::weighted(0.2)).prop_map(
        |((conversation, seq, sender), countable, mentioned, everyone)| Said {
            conversation,
            seq,
            sender,
            countable,
            mentioned,
            everyone,
        },
    )
}

/// Something a truth may say: nothing lies beyond its head, and only what follows its position is listed.
fn truth() -> impl Strategy<Value = UnreadTruth> {
    let seqs = || vec(seq(), 0..4);
    (seq(), position(), seq(), seqs(), seqs()).prop_map(|(head, position, own, uncounted, mentions)| {
        let head = head.max(position.rewound_at);
        let position = ReadPosition { seq: position.seq.min(head), ..position };
        let listed =
            |seqs: Vec<Seq>| seqs.into_iter().filter(|seq| *seq > position.seq && *seq <= head).collect();
        UnreadTruth {
            head,
            position,
            own: own.min(head),
            uncounted: listed(uncounted),
            mentions: listed(mentions),
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let user = || one_of(USERS.len());
    let place = || one_of(CONVERSATIONS.len());
    let to = prop_oneof![
        position().prop_map(AdvanceTo::Position),
        seq().prop_map(|seq| AdvanceTo::Position(ReadPosition::at(seq))),
        seq().prop_map(AdvanceTo::Read),
    ];
    let own = prop_oneof![3 => Just(Seq::ZERO), 1 => seq()];
    let step = (user(), place(), to, own).prop_map(|(user, conversation, to, own)| Step {
        user,
        conversation,
        to,
        own,
    });
    prop_oneof![
        1 => place().prop_map(Begin),
        5 => vec(said(), 0..4).prop_map(Record),
        2 => (place(), vec(seq(), 0..4)).prop_map(|(conversation, seqs)| Uncount { conversation, seqs }),
        4 => vec(step, 0..4).prop_map(Advance),
        4 => (user(), vec(place(), 0..4)).prop_map(|(user, conversations)| Count { user, conversations }),
        2 => (user(), place(), -6_i64..6, one_of(KEYS.len()))
            .prop_map(|(user, conversation, by, key)| Adjust { user, conversation, by, key }),
        2 => (user(), vec((place(), truth()), 0..3)).prop_map(|(user, truth)| Rebuild { user, truth }),
        1 => vec((user(), place()), 0..3).prop_map(Forget),
    ]
}

#[derive(Debug, Default)]
struct Conversation {
    head: Option<Seq>,
    /// What was said before it was known.
    missing: BTreeSet<Seq>,
    uncounted: BTreeSet<Seq>,
    everyone: BTreeSet<Seq>,
    readers: BTreeMap<usize, Reader>,
}

#[derive(Debug, Default)]
struct Reader {
    position: Option<ReadPosition>,
    /// What was said before the reader was known; `None` when the conversation was not known either.
    missing: Option<BTreeSet<Seq>>,
    own: Seq,
    mentions: BTreeSet<Seq>,
    adjustments: BTreeMap<usize, i64>,
}

/// The messages up to this one.
fn up_to(last: Seq) -> BTreeSet<Seq> {
    (1..=last.0).map(Seq).collect()
}

impl Conversation {
    fn reader(&mut self, user: usize) -> &mut Reader {
        self.readers.entry(user).or_default()
    }

    fn begin(&mut self) {
        self.head = self.head.or(Some(Seq::ZERO));
    }

    fn record(&mut self, said: &Said) {
        if self.head.is_none() {
            self.missing = up_to(said.seq.previous());
        }
        self.head = self.head.max(Some(said.seq));
        if !said.countable {
            self.uncounted.insert(said.seq);
        }
        if said.everyone {
            self.everyone.insert(said.seq);
        }
        for user in &said.mentioned {
            self.reader(*user).mentions.insert(said.seq);
        }
        if let Some(sender) = said.sender {
            let reader = self.reader(sender);
            reader.own = reader.own.max(said.seq);
        }
    }

    fn advance(&mut self, step: &Step) -> ReadPosition {
        let head = self.head;
        let reader = self.reader(step.user);
        if reader.position.is_none() {
            reader.missing = head.map(up_to);
        }
        reader.own = reader.own.max(step.own);
        let before = reader.position.unwrap_or_default();
        let to = match step.to {
            AdvanceTo::Position(to) => to,
            AdvanceTo::Read(seq) => ReadPosition { seq, ..before },
        };
        let reaches = to.epoch > before.epoch || (to.epoch == before.epoch && to.seq >= before.seq);
        if reaches {
            reader.adjustments.clear();
        }
        let after = if reaches { to } else { before };
        reader.position = Some(after);
        after
    }

    fn count(&self, user: usize) -> Option<Unread> {
        let (head, reader) = (self.head?, self.readers.get(&user)?);
        let reached = reader.position?.reached(reader.own);
        let missing = reader.missing.as_ref().unwrap_or(&self.missing);
        let after = (reached.next().0..=head.0).map(Seq);
        if after.clone().any(|seq| missing.contains(&seq)) {
            return None;
        }
        let counted: Vec<Seq> = after.filter(|seq| !self.uncounted.contains(seq)).collect();
        let mention = |seq: &&Seq| reader.mentions.contains(*seq) || self.everyone.contains(*seq);
        let by: i64 = reader.adjustments.values().sum();
        Some(Unread {
            messages: u64::try_from(counted.len() as i64 + by).unwrap_or(0),
            mentions: counted.iter().filter(mention).count() as u64,
        })
    }

    fn rebuild(&mut self, user: usize, truth: &UnreadTruth) {
        if self.head.is_none() {
            self.missing = up_to(truth.head);
        }
        self.head = self.head.max(Some(truth.head));
        self.uncounted.extend(&truth.uncounted);
        let of_all = self.missing.clone();
        let reader = self.reader(user);
        let mut missing = reader.missing.take().unwrap_or(of_all);
        // An answer that does not reach to the last of them is older than the loss.
        if missing.is_subset(&up_to(truth.head)) {
            missing.retain(|seq| *seq <= truth.position.reached(truth.own));
        }
        reader.missing = Some(missing);
        reader.position = Some(reader.position.map_or(truth.position, |known| known.merge(truth.position)));
        reader.own = reader.own.max(truth.own);
        reader.mentions.extend(&truth.mentions);
        reader.adjustments.clear();
    }

    fn forget(&mut self, user: usize) {
        let reader = self.reader(user);
        reader.position = None;
        reader.missing = None;
        reader.adjustments.clear();
    }
}

struct Game {
    unread: Arc<dyn UnreadStore>,
    conversations: Vec<(ConversationId, Conversation)>,
    users: Vec<UserId>,
    keys: Vec<ClientKey>,
}

impl Game {
    async fn step(&mut self, operation: &Operation) -> Agreement {
        let asked = operation as &(dyn Debug + Sync);
        match operation {
            Operation::Begin(conversation) => {
                let (name, conversation) = &mut self.conversations[*conversation];
                let begin = Recorded {
                    conversation: name.clone(),
                    seq: Seq::ZERO,
                    sender: None,
                    countable: true,
                    mentions: Mentions::default(),
                };
                self.unread.record(&begin).await.unwrap();
                conversation.begin();
            }
            Operation::Record(said) => {
                let messages: Vec<Recorded> = said.iter().map(|said| self.recorded(said)).collect();
                self.unread.record_many(&messages).await.unwrap();
                for said in said {
                    self.conversations[said.conversation].1.record(said);
                }
            }
            Operation::Uncount { conversation, seqs } => {
                let (name, conversation) = &mut self.conversations[*conversation];
                self.unread.uncount_many(name, seqs).await.unwrap();
                conversation.uncounted.extend(seqs);
            }
            Operation::Advance(steps) => self.advance(asked, steps).await?,
            Operation::Count { user, conversations } => {
                let names: Vec<_> =
                    conversations.iter().map(|nth| self.conversations[*nth].0.clone()).collect();
                let expected: Vec<_> =
                    conversations.iter().map(|nth| self.conversations[*nth].1.count(*user)).collect();
                let found = self.unread.counts(&self.users[*user], &names).await.unwrap();
                same(asked, &found, &expected)?;
                let total = self.unread.total(&self.users[*user], &names).await.unwrap();
                same(asked, &total, &expected.into_iter().sum())?;
            }
            Operation::Adjust { user, conversation, by, key } => {
                let (name, conversation) = &mut self.conversations[*conversation];
                if conversation.reader(*user).position.is_some() && conversation.count(*user).is_none() {
                    return Ok(());
                }
                let reader = conversation.reader(*user);
                if reader.position.is_some() {
                    reader.adjustments.entry(*key).or_insert(*by);
                }
                let found =
                    self.unread.adjust(&self.users[*user], name, *by, &self.keys[*key]).await.unwrap();
                same(asked, &found, &conversation.count(*user))?;
            }
            Operation::Rebuild { user, truth } => {
                let told: Vec<_> = truth
                    .iter()
                    .map(|(nth, truth)| (self.conversations[*nth].0.clone(), truth.clone()))
                    .collect();
                self.unread.rebuild(&self.users[*user], &told).await.unwrap();
                for (nth, truth) in truth {
                    self.conversations[*nth].1.rebuild(*user, truth);
                }
            }
            Operation::Forget(users) => {
                let names: Vec<_> = users
                    .iter()
                    .map(|(user, nth)| (self.users[*user].clone(), self.conversations[*nth].0.clone()))
                    .collect();
                self.unread.forget_many(&names).await.unwrap();
                for (user, nth) in users {
                    self.conversations[*nth].1.forget(*user);
                }
            }
        }
        Ok(())
    }

    async fn advance(&mut self, asked: &(dyn Debug + Sync), steps: &[Step]) -> Agreement {
        let named: Vec<Advance> = steps
            .iter()
            .map(|step| Advance {
                user: self.users[step.user].clone(),
                conversation: self.conversations[step.conversation].0.clone(),
                to: step.to,
                own: step.own,
            })
            .collect();
        let found = self.unread.advance_many(&named).await.unwrap();
        same(asked, &found.len(), &steps.len())?;
        let mut led_to = Vec::new();
        for step in steps {
            led_to.push(self.conversations[step.conversation].1.advance(step));
        }
        for ((step, led_to), found) in steps.iter().zip(led_to).zip(found) {
            let ended = self.conversations[step.conversation].1.reader(step.user).position;
            holds(found == led_to || Some(found) == ended, asked, || {
                format!("{found:?}, not {led_to:?} or {ended:?}")
            })?;
        }
        Ok(())
    }

    fn recorded(&self, said: &Said) -> Recorded {
        Recorded {
            conversation: self.conversations[said.conversation].0.clone(),
            seq: said.seq,
            sender: said.sender.map(|sender| self.users[sender].clone()),
            countable: said.countable,
            mentions: Mentions {
                users: said.mentioned.iter().map(|user| self.users[*user].clone()).collect(),
                everyone: said.everyone,
            },
        }
    }
}

async fn play(offer: Offer, history: Vec<Operation>) -> Agreement {
    let mut game = Game {
        unread: offer.unread.clone().expect("unread counts"),
        conversations: CONVERSATIONS.map(|name| (conversation(name), Conversation::default())).into(),
        users: USERS.map(user).into(),
        keys: KEYS.map(key).into(),
    };
    for operation in &history {
        game.step(operation).await?;
    }
    for user in 0..USERS.len() {
        game.step(&Operation::Count { user, conversations: (0..CONVERSATIONS.len()).collect() }).await?;
    }
    Ok(())
}

pub(crate) async fn agrees_with_the_model_on_random_histories(offer: Offer) {
    play_histories(&offer, operation(), play);
}
