//! The promises of [`UnreadStore`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::domain::{ClientKey, ConversationId, Mentions, ReadPosition, Seq, Unread, UserId};
use chat_core::store::unread::{Advance, AdvanceTo, MAX_UNCOUNTED, Recorded, UnreadTruth};
use chat_core::store::{UnreadStore, UnreadStoreExt};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::Offer;
use crate::expect::{at_once, unavailable};
use crate::model::unread::agrees_with_the_model_on_random_histories;
use crate::run::checks;
use crate::sample::{conversation, hostile_ids, key, user};

checks! { "unread" needs [unread]:
    the_count_is_the_head_less_what_was_reached,
    a_message_counts_for_everybody_but_its_author,
    what_one_writes_is_read_with_all_before_it,
    an_own_message_older_than_a_rewind_does_not_undo_it,
    the_unknown_is_none_and_never_zero,
    a_conversation_is_known_once_recorded,
    a_store_that_lost_its_past_says_that_it_does_not_know,
    a_reader_known_by_reading_alone_is_not_known_before_the_head,
    truth_makes_a_lost_count_known_again,
    truth_older_than_what_is_missing_leaves_it_missing,
    a_message_does_not_need_its_members,
    a_later_message_makes_earlier_ones_exist,
    messages_come_in_any_order,
    repeating_a_message_changes_nothing,
    a_deleted_message_is_taken_out_once,
    a_deletion_may_be_known_before_its_message,
    a_message_taken_out_does_not_come_back,
    deleting_what_is_read_changes_nothing,
    what_does_not_count_is_not_counted,
    reading_never_goes_back,
    reading_beyond_the_head_leaves_nothing,
    a_rewind_makes_unread_what_was_read,
    a_late_read_does_not_undo_a_rewind,
    reading_goes_on_within_the_epoch,
    what_an_advance_says_was_written_is_read,
    readers_and_conversations_are_apart,
    mentions_are_counted_by_name_and_for_everyone,
    one_message_mentions_once,
    reading_clears_mentions_up_to_there,
    what_does_not_count_mentions_nobody,
    nobody_is_mentioned_by_an_own_message,
    a_mention_is_kept_for_a_reader_not_known_yet,
    adjusting_adds_and_takes_and_answers_the_count,
    adjusting_never_goes_below_zero,
    adjusting_leaves_the_mentions,
    an_adjustment_counts_once_per_key,
    adjustments_of_other_counts_are_apart,
    reading_clears_the_adjustment,
    an_older_position_leaves_the_adjustment,
    a_key_counts_again_once_its_adjustment_is_cleared,
    adjusting_the_unknown_answers_none,
    rebuilding_takes_over_what_truth_says,
    rebuilding_keeps_what_was_recorded_meanwhile,
    rebuilding_clears_the_adjustment,
    rebuilding_twice_is_rebuilding_once,
    rebuilding_moves_nobody_else,
    forgetting_is_not_known_from_now_on,
    a_forgotten_user_may_begin_again,
    a_reader_behind_the_uncounted_kept_is_not_known,
    a_total_is_the_sum,
    a_total_with_an_unknown_part_is_unknown,
    answers_line_up_with_the_question,
    numbers_of_any_size_are_exact,
    an_empty_batch_changes_nothing,
    duplicates_in_a_batch_follow_each_other,
    hostile_ids_reach_nobody_else,
    hostile_keys_are_keys_of_their_own,
    any_order_and_repetition_ends_in_the_same_counts,
    any_order_after_a_loss_ends_in_the_same_counts_or_in_none,
    repeated_adjustments_in_any_order_end_in_the_same_count,
    racing_readers_and_writers_end_in_a_recount,
    racing_advances_end_at_the_largest,
    of_racing_repeats_of_an_adjustment_one_counts,
    a_rebuild_racing_messages_loses_none,
    a_message_is_recorded_once_for_ten_thousand_readers,
    an_outage_is_never_a_zero + outage,
    agrees_with_the_model_on_random_histories,
}

fn unread(offer: &Offer) -> Arc<dyn UnreadStore> {
    offer.unread.clone().expect("unread counts")
}

/// A store, a reader and a conversation.
fn sample(offer: &Offer) -> (Arc<dyn UnreadStore>, UserId, ConversationId) {
    (unread(offer), user("ann"), conversation("c"))
}

/// A message that counts and mentions nobody, of somebody who does not matter.
fn said(conversation: &ConversationId, seq: u64) -> Recorded {
    Recorded {
        conversation: conversation.clone(),
        seq: Seq(seq),
        sender: Some(user("writer")),
        countable: true,
        mentions: Mentions::default(),
    }
}

fn said_by(sender: &UserId, conversation: &ConversationId, seq: u64) -> Recorded {
    Recorded { sender: Some(sender.clone()), ..said(conversation, seq) }
}

fn silent(conversation: &ConversationId, seq: u64) -> Recorded {
    Recorded { countable: false, ..said(conversation, seq) }
}

fn mention(who: &[&UserId], conversation: &ConversationId, seq: u64) -> Recorded {
    let users = who.iter().map(|user| (*user).clone()).collect();
    Recorded { mentions: Mentions { users, everyone: false }, ..said(conversation, seq) }
}

fn mention_everyone(conversation: &ConversationId, seq: u64) -> Recorded {
    Recorded { mentions: Mentions { users: Vec::new(), everyone: true }, ..said(conversation, seq) }
}

/// Begins conversations: nothing is missing in them.
async fn open<'a>(unread: &dyn UnreadStore, conversations: impl IntoIterator<Item = &'a ConversationId>) {
    let nothing = |conversation| Recorded { sender: None, ..said(conversation, 0) };
    let begun: Vec<Recorded> = conversations.into_iter().map(nothing).collect();
    unread.record_many(&begun).await.unwrap();
}

/// Records messages 1 to `head`.
async fn say(unread: &dyn UnreadStore, conversation: &ConversationId, head: u64) {
    let messages: Vec<Recorded> = (1..=head).map(|seq| said(conversation, seq)).collect();
    unread.record_many(&messages).await.unwrap();
}

async fn begin(unread: &dyn UnreadStore, user: &UserId, conversation: &ConversationId, seq: u64) {
    place(unread, user, conversation, ReadPosition::at(Seq(seq))).await;
}

async fn place(
    unread: &dyn UnreadStore,
    user: &UserId,
    conversation: &ConversationId,
    position: ReadPosition,
) -> ReadPosition {
    unread.advance(user, conversation, AdvanceTo::Position(position)).await.unwrap()
}

async fn count(unread: &dyn UnreadStore, user: &UserId, conversation: &ConversationId) -> Option<Unread> {
    unread.count(user, conversation).await.unwrap()
}

async fn uncount(unread: &dyn UnreadStore, conversation: &ConversationId, seqs: &[u64]) {
    unread.uncount_many(conversation, &seqs_of(seqs)).await.unwrap();
}

async fn adjust(
    unread: &dyn UnreadStore,
    user: &UserId,
    conversation: &ConversationId,
    by: i64,
    key: &str,
) -> Option<Unread> {
    unread.adjust(user, conversation, by, &ClientKey::new(key).expect("a key")).await.unwrap()
}

fn seqs_of(seqs: &[u64]) -> Vec<Seq> {
    seqs.iter().copied().map(Seq).collect()
}

/// So many messages, none of which mentions the reader.
fn some(messages: u64) -> Option<Unread> {
    some_of_them(messages, 0)
}

/// So many messages, and how many of them mention the reader.
fn some_of_them(messages: u64, mentions: u64) -> Option<Unread> {
    Some(Unread { messages, mentions })
}

/// Head, position, last own message, head at the last rewind, uncounted, and what is left.
type Line = (u64, u64, u64, u64, &'static [u64], u64);

async fn the_count_is_the_head_less_what_was_reached(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let table: [Line; 12] = [
        (0, 0, 0, 0, &[], 0),
        (10, 0, 0, 0, &[], 10),
        (10, 4, 0, 0, &[], 6),
        (10, 10, 0, 0, &[], 0),
        (10, 4, 7, 0, &[], 3),
        (10, 7, 4, 0, &[], 3),
        (10, 4, 7, 8, &[], 6),
        (10, 4, 9, 8, &[], 1),
        (10, 4, 8, 8, &[], 6),
        (10, 4, 0, 0, &[3, 4, 5, 10], 4),
        (10, 4, 7, 0, &[6, 7, 8, 11], 2),
        (3, 0, 0, 0, &[1, 2, 3], 0),
    ];
    for (nth, (head, seq, own, rewound_at, uncounted, left)) in table.into_iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        open(&*unread, [&c]).await;
        let position = ReadPosition { epoch: 1, seq: Seq(seq), rewound_at: Seq(rewound_at) };
        assert_eq!(place(&*unread, &ann, &c, position).await, position);
        unread.record(&said(&c, head)).await.unwrap();
        if own > 0 {
            unread.record(&said_by(&ann, &c, own)).await.unwrap();
        }
        uncount(&*unread, &c, uncounted).await;
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "line {nth}: {:?}", table[nth]);
    }
}

async fn a_message_counts_for_everybody_but_its_author(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, cid) = (user("ben"), user("cid"));
    for reader in [&ann, &ben, &cid] {
        begin(&*unread, reader, &c, 0).await;
    }
    unread.record(&said_by(&ann, &c, 1)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    assert_eq!(count(&*unread, &ben, &c).await, some(1));
    unread.record(&said_by(&ben, &c, 2)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(1));
    assert_eq!(count(&*unread, &ben, &c).await, some(0));
    let nobody = Recorded { sender: None, ..said(&c, 3) };
    unread.record(&nobody).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2));
    assert_eq!(count(&*unread, &ben, &c).await, some(1));
    assert_eq!(count(&*unread, &cid, &c).await, some(3), "what has no author counts for everybody");
}

async fn what_one_writes_is_read_with_all_before_it(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 5).await;
    unread.record(&said_by(&ann, &c, 6)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "whoever answers has read");
    say(&*unread, &c, 9).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(3));
    unread.record(&said_by(&ann, &c, 4)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(3), "an own message that arrives late changes nothing");
    let hidden = Recorded { countable: false, ..said_by(&ann, &c, 8) };
    unread.record(&hidden).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(1), "a silent message of one's own is written too");
}

async fn an_own_message_older_than_a_rewind_does_not_undo_it(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 10).await;
    unread.record(&said_by(&ann, &c, 9)).await.unwrap();
    let rewound = ReadPosition::at(Seq(10)).rewound_to(Seq(3), Seq(10));
    place(&*unread, &ann, &c, rewound).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(7));
    for seq in [9, 10, 5] {
        unread.record(&said_by(&ann, &c, seq)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(7), "own message {seq} is older than the rewind");
    }
    unread.record(&said_by(&ann, &c, 11)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "what is written afterwards is read");
    unread.record(&said(&c, 13)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2));
}

async fn the_unknown_is_none_and_never_zero(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, nowhere) = (user("ben"), conversation("nowhere"));
    assert_eq!(count(&*unread, &ann, &c).await, None, "nothing is known");
    say(&*unread, &c, 3).await;
    assert_eq!(count(&*unread, &ann, &c).await, None, "a head and no position");
    unread.record(&mention(&[&ann], &c, 4)).await.unwrap();
    unread.record(&mention_everyone(&c, 5)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, None, "a mention and no position");
    unread.record(&said_by(&ann, &c, 6)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, None, "an own message and no position");
    uncount(&*unread, &c, &[1]).await;
    assert_eq!(count(&*unread, &ann, &c).await, None);
    begin(&*unread, &ann, &c, 6).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    assert_eq!(count(&*unread, &ben, &c).await, None, "somebody else's position");
    begin(&*unread, &ann, &nowhere, 7).await;
    assert_eq!(count(&*unread, &ann, &nowhere).await, None, "a position and no head");
    uncount(&*unread, &nowhere, &[1, 9]).await;
    assert_eq!(count(&*unread, &ann, &nowhere).await, None, "a deletion and no head");
}

async fn a_conversation_is_known_once_recorded(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    assert_eq!(count(&*unread, &ann, &c).await, None);
    open(&*unread, [&c]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "nothing was said there yet");
    unread.record(&said(&c, 5)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(5), "it is known from its beginning");
    open(&*unread, [&c]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(5), "making it known again changes nothing");
    let d = conversation("d");
    begin(&*unread, &ann, &d, 0).await;
    say(&*unread, &d, 5).await;
    assert_eq!(count(&*unread, &ann, &d).await, some(5), "what begins with its first message lacks none");
}

async fn a_store_that_lost_its_past_says_that_it_does_not_know(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let ben = user("ben");
    // Ten messages were said and lost; ann has read five. What is heard of her and of the eleventh comes in any order.
    for (nth, ann_first) in [true, false].into_iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        if ann_first {
            begin(&*unread, &ann, &c, 5).await;
            assert_eq!(count(&*unread, &ann, &c).await, None);
        }
        unread.record(&said(&c, 11)).await.unwrap();
        if !ann_first {
            begin(&*unread, &ann, &c, 5).await;
        }
        assert_eq!(count(&*unread, &ann, &c).await, None, "which of 6 to 10 count, and who wrote them?");
        assert_eq!(unread.total(&ann, std::slice::from_ref(&c)).await.unwrap(), None);
        open(&*unread, [&c]).await;
        assert_eq!(count(&*unread, &ann, &c).await, None, "its beginning, repeated, brings nothing back");
        unread.record_many(&[said(&c, 7), mention(&[&ann], &c, 3), silent(&c, 6)]).await.unwrap();
        uncount(&*unread, &c, &[9]).await;
        assert_eq!(count(&*unread, &ann, &c).await, None, "nor do some of its messages, repeated");
        unread.record(&said(&c, 12)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, None, "nor does a newer one");
        unread.mark_read(&ann, &c, Seq(9)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, None, "message 10 is missing");
        if ann_first {
            unread.mark_read(&ann, &c, Seq(10)).await.unwrap();
            assert_eq!(count(&*unread, &ann, &c).await, some(2), "nothing is missing after 10");
        }
        unread.mark_read(&ann, &c, Seq(11)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(1));
        begin(&*unread, &ben, &c, 12).await;
        assert_eq!(count(&*unread, &ben, &c).await, some(0), "what was lost is read");
        let rewound = ReadPosition::at(Seq(12)).rewound_to(Seq(4), Seq(12));
        place(&*unread, &ben, &c, rewound).await;
        assert_eq!(count(&*unread, &ben, &c).await, None, "and missing again when it is unread again");
    }
}

async fn a_reader_known_by_reading_alone_is_not_known_before_the_head(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let [ben, cid, dan] = ["ben", "cid", "dan"].map(user);
    open(&*unread, [&c]).await;
    say(&*unread, &c, 10).await;
    begin(&*unread, &ann, &c, 5).await;
    assert_eq!(count(&*unread, &ann, &c).await, None, "who mentions ann, and what did she write up to 10?");
    unread.mark_read(&ann, &c, Seq(9)).await.unwrap();
    unread.record(&mention(&[&ann], &c, 11)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, None);
    unread.mark_read(&ann, &c, Seq(10)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(1, 1), "what is after 10 was seen");
    let rewound = ReadPosition::at(Seq(10)).rewound_to(Seq(9), Seq(11));
    place(&*unread, &ann, &c, rewound).await;
    assert_eq!(count(&*unread, &ann, &c).await, None);
    place(&*unread, &ann, &c, rewound.rewound_to(Seq(10), Seq(11))).await;
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(1, 1));
    begin(&*unread, &ben, &c, 11).await;
    assert_eq!(count(&*unread, &ben, &c).await, some(0), "nothing is missing for whoever joins at the head");
    unread.mark_read(&cid, &c, Seq(8)).await.unwrap();
    assert_eq!(count(&*unread, &cid, &c).await, None);
    unread.record(&said_by(&cid, &c, 12)).await.unwrap();
    assert_eq!(count(&*unread, &cid, &c).await, some(0), "whoever writes has reached the head");
    let told =
        Advance { user: dan.clone(), conversation: c.clone(), to: AdvanceTo::Read(Seq(4)), own: Seq(12) };
    unread.advance_many(&[told]).await.unwrap();
    assert_eq!(count(&*unread, &dan, &c).await, some(0), "or is said to have written the newest");
    unread.record(&said(&c, 13)).await.unwrap();
    for (reader, left) in [(&ben, 2), (&cid, 1), (&dan, 1)] {
        assert_eq!(count(&*unread, reader, &c).await, some(left), "{reader:?} goes on from there");
    }
}

async fn truth_makes_a_lost_count_known_again(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, d) = (user("ben"), conversation("d"));
    begin(&*unread, &ben, &c, 5).await;
    unread.record(&said(&c, 11)).await.unwrap();
    begin(&*unread, &ann, &c, 5).await;
    assert_eq!(count(&*unread, &ann, &c).await, None);
    let truth = UnreadTruth {
        head: Seq(11),
        position: ReadPosition::at(Seq(5)),
        own: Seq(7),
        uncounted: seqs_of(&[9]),
        mentions: seqs_of(&[8]),
    };
    let known = Some(truth.unread());
    unread.rebuild(&ann, &[(c.clone(), truth.clone()), (d.clone(), truth.clone())]).await.unwrap();
    for place in [&c, &d] {
        assert_eq!(count(&*unread, &ann, place).await, known, "8, 10 and 11");
        assert_eq!(count(&*unread, &ben, place).await, None, "of nobody else");
        unread.record(&mention(&[&ann], place, 12)).await.unwrap();
        assert_eq!(count(&*unread, &ann, place).await, some_of_them(4, 2), "it goes on from there");
        unread.mark_read(&ann, place, Seq(9)).await.unwrap();
        assert_eq!(count(&*unread, &ann, place).await, some_of_them(3, 1));
    }
    let rewound = ReadPosition::at(Seq(9)).rewound_to(Seq(6), Seq(12));
    place(&*unread, &ann, &c, rewound).await;
    assert_eq!(count(&*unread, &ann, &c).await, None, "truth was asked for what is after 7");
    unread.mark_read(&ann, &c, Seq(7)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(4, 2));
    begin(&*unread, &ben, &d, 10).await;
    assert_eq!(count(&*unread, &ben, &d).await, None);
    let truth = UnreadTruth { head: Seq(12), position: ReadPosition::at(Seq(10)), ..UnreadTruth::default() };
    unread.rebuild(&ben, &[(c.clone(), truth.clone()), (d.clone(), truth)]).await.unwrap();
    assert_eq!(unread.counts(&ben, &[c, d]).await.unwrap(), [some(2), some(2)]);
}

async fn truth_older_than_what_is_missing_leaves_it_missing(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, position) = (user("ben"), ReadPosition::at(Seq(2)));
    let truth = |head| UnreadTruth { head: Seq(head), position, ..UnreadTruth::default() };
    // Truth was asked at 8; 9 and 10 were said and lost before it answered.
    begin(&*unread, &ben, &c, 0).await;
    unread.record(&said(&c, 11)).await.unwrap();
    begin(&*unread, &ann, &c, 2).await;
    for reader in [&ann, &ben] {
        unread.rebuild(reader, &[(c.clone(), truth(8))]).await.unwrap();
        assert_eq!(count(&*unread, reader, &c).await, None, "9 and 10 are still missing");
    }
    for (reader, head) in [(&ann, 11), (&ben, 10)] {
        unread.rebuild(reader, &[(c.clone(), truth(head))]).await.unwrap();
        assert_eq!(count(&*unread, reader, &c).await, some(9));
    }
}

async fn a_message_does_not_need_its_members(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let ben = user("ben");
    open(&*unread, [&c]).await;
    say(&*unread, &c, 8).await;
    uncount(&*unread, &c, &[2, 6, 10]).await;
    begin(&*unread, &ann, &c, 8).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    say(&*unread, &c, 11).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(2), "who comes later counts what comes then");
    let truth = UnreadTruth { head: Seq(11), position: ReadPosition::at(Seq(4)), ..UnreadTruth::default() };
    unread.rebuild(&ben, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ben, &c).await, some(5), "nor did the deletions need them");
}

async fn a_later_message_makes_earlier_ones_exist(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    open(&*unread, [&c]).await;
    begin(&*unread, &ann, &c, 0).await;
    unread.record(&said(&c, 5)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(5));
    for seq in 1..=4 {
        unread.record(&said(&c, seq)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(5), "message {seq} is no news");
    }
    unread.record(&said(&c, 7)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(7));
    unread.record(&silent(&c, 6)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(6), "its own record says that it does not count");
}

async fn messages_come_in_any_order(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    for (nth, order) in [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2], [2, 4, 1, 3]].iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        open(&*unread, [&c]).await;
        begin(&*unread, &ann, &c, 0).await;
        for seq in order {
            let message = if *seq == 2 { silent(&c, 2) } else { mention(&[&ann], &c, *seq) };
            unread.record(&message).await.unwrap();
        }
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(3, 3), "{order:?}");
    }
}

async fn repeating_a_message_changes_nothing(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    let messages = [said(&c, 1), mention(&[&ann], &c, 2), silent(&c, 3), mention_everyone(&c, 4)];
    for nth in 0..3 {
        for message in &messages {
            unread.record(message).await.unwrap();
        }
        unread.record_many(&messages).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(3, 2), "round {nth}");
    }
    unread.mark_read(&ann, &c, Seq(4)).await.unwrap();
    unread.record_many(&messages).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "what is read stays read when it arrives again");
}

async fn a_deleted_message_is_taken_out_once(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 2).await;
    say(&*unread, &c, 8).await;
    for _ in 0..3 {
        uncount(&*unread, &c, &[5]).await;
        assert_eq!(count(&*unread, &ann, &c).await, some(5), "one less, however often it is deleted");
    }
    uncount(&*unread, &c, &[5, 6, 6, 5]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(4));
    uncount(&*unread, &c, &[3, 4, 7, 8]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    uncount(&*unread, &c, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    unread.record(&said(&c, 9)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(1));
}

async fn a_deletion_may_be_known_before_its_message(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    uncount(&*unread, &c, &[2, 6]).await;
    say(&*unread, &c, 1).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(1), "what is not there yet takes nothing out");
    unread.record(&said(&c, 2)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(1), "it was deleted when it came");
    say(&*unread, &c, 5).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(4));
    unread.record(&mention(&[&ann], &c, 6)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(4), "nor does it mention anybody");
    uncount(&*unread, &c, &[2, 6]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(4));
}

async fn a_message_taken_out_does_not_come_back(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 4).await;
    uncount(&*unread, &c, &[2]).await;
    unread.record(&silent(&c, 3)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2), "known as countable before, and not now");
    say(&*unread, &c, 4).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(2), "the event of the sending, once more");
}

async fn deleting_what_is_read_changes_nothing(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 6).await;
    unread.mark_read(&ann, &c, Seq(4)).await.unwrap();
    uncount(&*unread, &c, &[1, 4]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(2));
    let rewound = ReadPosition::at(Seq(4)).rewound_to(Seq(0), Seq(6));
    place(&*unread, &ann, &c, rewound).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(4), "it is out although it is unread again");
}

async fn what_does_not_count_is_not_counted(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    let system = Recorded { sender: None, ..silent(&c, 2) };
    for (message, left) in [(silent(&c, 1), 0), (system, 0), (said(&c, 3), 1), (silent(&c, 4), 1)] {
        unread.record(&message).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "{message:?}");
    }
    uncount(&*unread, &c, &[1, 2]).await;
    assert_eq!(
        count(&*unread, &ann, &c).await,
        some(1),
        "a silent message that is deleted is taken out once"
    );
}

async fn reading_never_goes_back(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 10).await;
    for (asked, stands) in [(6, 6), (6, 6), (3, 6), (0, 6), (8, 8), (7, 8)] {
        assert_eq!(unread.mark_read(&ann, &c, Seq(asked)).await.unwrap(), ReadPosition::at(Seq(stands)));
        assert_eq!(count(&*unread, &ann, &c).await, some(10 - stands), "read {asked}");
    }
    for (asked, stands) in [(5, 8), (9, 9), (0, 9)] {
        let found = place(&*unread, &ann, &c, ReadPosition::at(Seq(asked))).await;
        assert_eq!(found, ReadPosition::at(Seq(stands)), "the larger of both");
        assert_eq!(count(&*unread, &ann, &c).await, some(10 - stands), "position {asked}");
    }
}

async fn reading_beyond_the_head_leaves_nothing(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 3).await;
    uncount(&*unread, &c, &[2, 3, 5, 7]).await;
    unread.mark_read(&ann, &c, Seq(6)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "never below zero");
    for (head, left) in [(4, 0), (5, 0), (6, 0), (7, 0), (8, 1)] {
        unread.record(&said(&c, head)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "head {head}");
    }
    unread.mark_read(&ann, &c, Seq(u64::from(u32::MAX))).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
}

async fn a_rewind_makes_unread_what_was_read(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 9).await;
    unread.record(&mention(&[&ann], &c, 10)).await.unwrap();
    uncount(&*unread, &c, &[5]).await;
    let read = unread.mark_read(&ann, &c, Seq(10)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    let rewound = read.rewound_to(Seq(3), Seq(10));
    assert_eq!(place(&*unread, &ann, &c, rewound).await, rewound);
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(6, 1), "the mention is back too");
    let again = rewound.rewound_to(Seq(1), Seq(10));
    place(&*unread, &ann, &c, again).await;
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(8, 1));
    place(&*unread, &ann, &c, again).await;
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(8, 1), "once");
}

async fn a_late_read_does_not_undo_a_rewind(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 10).await;
    let read = ReadPosition::at(Seq(10));
    let rewound = read.rewound_to(Seq(3), Seq(10));
    place(&*unread, &ann, &c, rewound).await;
    for late in [read, ReadPosition::at(Seq(12)), ReadPosition::START] {
        assert_eq!(place(&*unread, &ann, &c, late).await, rewound, "{late:?} is of an older epoch");
        assert_eq!(count(&*unread, &ann, &c).await, some(7));
    }
    let again = rewound.rewound_to(Seq(5), Seq(10));
    place(&*unread, &ann, &c, again).await;
    assert_eq!(place(&*unread, &ann, &c, rewound.read_up_to(Seq(9))).await, again);
    assert_eq!(count(&*unread, &ann, &c).await, some(5));
}

async fn reading_goes_on_within_the_epoch(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 10).await;
    let rewound = ReadPosition::at(Seq(10)).rewound_to(Seq(3), Seq(10));
    place(&*unread, &ann, &c, rewound).await;
    let read = unread.mark_read(&ann, &c, Seq(7)).await.unwrap();
    assert_eq!(read, rewound.read_up_to(Seq(7)), "the epoch stays");
    assert_eq!(count(&*unread, &ann, &c).await, some(3));
    assert_eq!(
        place(&*unread, &ann, &c, rewound).await,
        read,
        "the rewind once more is an older position now"
    );
    assert_eq!(place(&*unread, &ann, &c, rewound.read_up_to(Seq(8))).await, rewound.read_up_to(Seq(8)));
    assert_eq!(count(&*unread, &ann, &c).await, some(2));
}

async fn what_an_advance_says_was_written_is_read(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let advance = |to, own| Advance { user: ann.clone(), conversation: c.clone(), to, own: Seq(own) };
    let start = AdvanceTo::Position(ReadPosition::START);
    open(&*unread, [&c]).await;
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 10).await;
    for (to, own, left) in
        [(start, 0, 10), (start, 7, 3), (start, 4, 3), (AdvanceTo::Read(Seq(2)), 8, 2), (start, 0, 2)]
    {
        let read = if left < 3 { 2 } else { 0 };
        assert_eq!(
            unread.advance_many(&[advance(to, own)]).await.unwrap(),
            [ReadPosition::at(Seq(read))],
            "writing moves no position"
        );
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "{to:?}, and {own} written");
    }
    let rewound = ReadPosition::at(Seq(2)).rewound_to(Seq(5), Seq(10));
    unread.advance_many(&[advance(AdvanceTo::Position(rewound), 10)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(5), "what was written before a rewind does not undo it");
    unread.advance_many(&[advance(start, 11)]).await.unwrap();
    unread.record(&said(&c, 13)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2), "also where the position is an older one");
}

async fn readers_and_conversations_are_apart(offer: Offer) {
    let unread = unread(&offer);
    let (ann, ben, c, d) = (user("ann"), user("ben"), conversation("c"), conversation("d"));
    for (reader, place) in [(&ann, &c), (&ann, &d), (&ben, &c), (&ben, &d)] {
        begin(&*unread, reader, place, 0).await;
    }
    say(&*unread, &c, 5).await;
    say(&*unread, &d, 3).await;
    unread.mark_read(&ann, &c, Seq(4)).await.unwrap();
    uncount(&*unread, &d, &[1, 4]).await;
    adjust(&*unread, &ben, &d, 10, "k").await;
    let found = [
        count(&*unread, &ann, &c).await,
        count(&*unread, &ann, &d).await,
        count(&*unread, &ben, &c).await,
        count(&*unread, &ben, &d).await,
    ];
    assert_eq!(found, [some(1), some(2), some(5), some(12)]);
}

async fn mentions_are_counted_by_name_and_for_everyone(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, cid) = (user("ben"), user("cid"));
    for reader in [&ann, &ben, &cid] {
        begin(&*unread, reader, &c, 0).await;
    }
    let messages =
        [said(&c, 1), mention(&[&ann], &c, 2), mention(&[&ben, &ann], &c, 3), mention_everyone(&c, 4)];
    unread.record_many(&messages).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(4, 3));
    assert_eq!(count(&*unread, &ben, &c).await, some_of_them(4, 2));
    assert_eq!(count(&*unread, &cid, &c).await, some_of_them(4, 1), "everyone is everyone");
}

async fn one_message_mentions_once(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    let both = Mentions { users: vec![ann.clone(), ann.clone()], everyone: true };
    unread.record(&Recorded { mentions: both, ..said(&c, 1) }).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(1, 1), "by name, twice, and with everyone");
    unread.record(&mention(&[&ann], &c, 1)).await.unwrap();
    unread.record(&mention_everyone(&c, 1)).await.unwrap();
    unread.record(&said(&c, 1)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(1, 1));
}

async fn reading_clears_mentions_up_to_there(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let ben = user("ben");
    for reader in [&ann, &ben] {
        begin(&*unread, reader, &c, 0).await;
    }
    let messages = [mention(&[&ann], &c, 1), mention_everyone(&c, 2), said(&c, 3), mention(&[&ann], &c, 4)];
    unread.record_many(&messages).await.unwrap();
    for (read, messages, mentions) in [(0, 4, 3), (1, 3, 2), (2, 2, 1), (3, 1, 1), (4, 0, 0)] {
        unread.mark_read(&ann, &c, Seq(read)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(messages, mentions), "read {read}");
    }
    assert_eq!(count(&*unread, &ben, &c).await, some_of_them(4, 1), "another one's reading clears nothing");
}

async fn what_does_not_count_mentions_nobody(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    let silent = Recorded { countable: false, ..mention(&[&ann], &c, 1) };
    let messages = [silent, mention(&[&ann], &c, 2), mention_everyone(&c, 3), mention(&[&ann], &c, 4)];
    unread.record_many(&messages).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(3, 3));
    for (deleted, left) in [(2, 2), (2, 2), (3, 1), (4, 0)] {
        uncount(&*unread, &c, &[deleted]).await;
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(left, left), "{deleted} deleted");
    }
}

async fn nobody_is_mentioned_by_an_own_message(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    let own = Recorded {
        sender: Some(ann.clone()),
        mentions: Mentions { users: vec![ann.clone()], everyone: true },
        ..said(&c, 1)
    };
    unread.record(&own).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
}

async fn a_mention_is_kept_for_a_reader_not_known_yet(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    open(&*unread, [&c]).await;
    say(&*unread, &c, 2).await;
    let truth = UnreadTruth { head: Seq(2), position: ReadPosition::at(Seq(1)), ..UnreadTruth::default() };
    // Truth was asked; this is said before its answer is taken over.
    unread.record_many(&[mention(&[&ann], &c, 3), mention_everyone(&c, 4), said(&c, 5)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, None);
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(4, 2));
}

async fn adjusting_adds_and_takes_and_answers_the_count(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 4).await;
    for (key, by, left) in [("1", 3, 7), ("2", -2, 5), ("3", 0, 5), ("4", -1, 4), ("5", 10, 14)] {
        assert_eq!(adjust(&*unread, &ann, &c, by, key).await, some(left), "{by} by {key}");
        assert_eq!(count(&*unread, &ann, &c).await, some(left));
    }
    unread.record(&said(&c, 5)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(15), "new messages count beside it");
    uncount(&*unread, &c, &[1]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(14));
}

async fn adjusting_never_goes_below_zero(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 3).await;
    assert_eq!(adjust(&*unread, &ann, &c, -10, "take").await, some(0));
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    assert_eq!(adjust(&*unread, &ann, &c, 9, "add").await, some(2), "3 - 10 + 9, in whatever order");
    assert_eq!(adjust(&*unread, &ann, &c, -1_000_000_000_000, "much").await, some(0));
    say(&*unread, &c, 6).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    let d = conversation("d");
    begin(&*unread, &ann, &d, 0).await;
    say(&*unread, &d, 3).await;
    for key in ["1", "2"] {
        assert_eq!(adjust(&*unread, &ann, &d, i64::MIN, key).await, some(0), "as far down as there is");
    }
    assert_eq!(unread.total(&ann, &[c, d]).await.unwrap(), some(0));
}

async fn adjusting_leaves_the_mentions(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    unread.record_many(&[mention(&[&ann], &c, 1), mention_everyone(&c, 2), said(&c, 3)]).await.unwrap();
    assert_eq!(adjust(&*unread, &ann, &c, 4, "add").await, some_of_them(7, 2));
    assert_eq!(adjust(&*unread, &ann, &c, -6, "take").await, some_of_them(1, 2), "they are counted apart");
    assert_eq!(adjust(&*unread, &ann, &c, -6, "more").await, some_of_them(0, 2));
}

async fn an_adjustment_counts_once_per_key(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 1).await;
    for _ in 0..3 {
        assert_eq!(adjust(&*unread, &ann, &c, 5, "k").await, some(6));
    }
    assert_eq!(adjust(&*unread, &ann, &c, 5, "l").await, some(11), "another key is another adjustment");
    assert_eq!(adjust(&*unread, &ann, &c, 5, "k").await, some(11));
    unread.record(&said(&c, 2)).await.unwrap();
    assert_eq!(adjust(&*unread, &ann, &c, 5, "l").await, some(12), "a message forgets no key");
}

async fn adjustments_of_other_counts_are_apart(offer: Offer) {
    let unread = unread(&offer);
    let (ann, ben, c, d) = (user("ann"), user("ben"), conversation("c"), conversation("d"));
    let counts = [(&ann, &c), (&ann, &d), (&ben, &c), (&ben, &d)];
    for (reader, place) in counts {
        begin(&*unread, reader, place, 0).await;
    }
    for (nth, (reader, place)) in counts.into_iter().enumerate() {
        say(&*unread, place, 1).await;
        let by = nth as i64 + 1;
        assert_eq!(adjust(&*unread, reader, place, by, "k").await, some(1 + by as u64), "the same key");
    }
    unread.mark_read(&ann, &c, Seq(1)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    assert_eq!(count(&*unread, &ann, &d).await, some(3));
    assert_eq!(count(&*unread, &ben, &c).await, some(4));
    assert_eq!(count(&*unread, &ben, &d).await, some(5));
}

async fn reading_clears_the_adjustment(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let rewound = ReadPosition::at(Seq(4)).rewound_to(Seq(1), Seq(6));
    let cleared_by = [
        (AdvanceTo::Read(Seq(4)), 2),
        (AdvanceTo::Read(Seq(5)), 1),
        (AdvanceTo::Read(Seq(9)), 0),
        (AdvanceTo::Position(ReadPosition::at(Seq(4))), 2),
        (AdvanceTo::Position(ReadPosition::at(Seq(6))), 0),
        (AdvanceTo::Position(rewound), 5),
    ];
    for (nth, (to, left)) in cleared_by.into_iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        begin(&*unread, &ann, &c, 4).await;
        say(&*unread, &c, 6).await;
        assert_eq!(adjust(&*unread, &ann, &c, 7, "k").await, some(9));
        unread.advance(&ann, &c, to).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "{to:?}");
        adjust(&*unread, &ann, &c, -100, "down").await;
        unread.advance(&ann, &c, to).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(left), "{to:?} clears what was taken, too");
    }
}

async fn an_older_position_leaves_the_adjustment(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let position = ReadPosition::at(Seq(8)).rewound_to(Seq(4), Seq(8));
    place(&*unread, &ann, &c, position).await;
    say(&*unread, &c, 8).await;
    assert_eq!(adjust(&*unread, &ann, &c, 3, "k").await, some(7));
    let older = [
        AdvanceTo::Read(Seq(3)),
        AdvanceTo::Read(Seq::ZERO),
        AdvanceTo::Position(ReadPosition::at(Seq(8))),
        AdvanceTo::Position(ReadPosition { seq: Seq(3), ..position }),
    ];
    for to in older {
        assert_eq!(unread.advance(&ann, &c, to).await.unwrap(), position);
        assert_eq!(count(&*unread, &ann, &c).await, some(7), "{to:?} changes nothing");
        assert_eq!(adjust(&*unread, &ann, &c, 3, "k").await, some(7), "{to:?} forgets no key");
    }
}

async fn a_key_counts_again_once_its_adjustment_is_cleared(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 2).await;
    assert_eq!(adjust(&*unread, &ann, &c, 3, "k").await, some(5));
    unread.mark_read(&ann, &c, Seq(1)).await.unwrap();
    assert_eq!(adjust(&*unread, &ann, &c, 3, "k").await, some(4));
    let truth = UnreadTruth { head: Seq(2), position: ReadPosition::at(Seq(1)), ..UnreadTruth::default() };
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(adjust(&*unread, &ann, &c, 3, "k").await, some(4));
}

async fn adjusting_the_unknown_answers_none(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    assert_eq!(adjust(&*unread, &ann, &c, 5, "k").await, None, "nothing is known");
    assert_eq!(count(&*unread, &ann, &c).await, None, "it made nothing known");
    say(&*unread, &c, 3).await;
    assert_eq!(adjust(&*unread, &ann, &c, 5, "l").await, None, "no position");
    unread.record(&mention(&[&ann], &c, 4)).await.unwrap();
    assert_eq!(adjust(&*unread, &ann, &c, 5, "m").await, None);
    begin(&*unread, &ann, &c, 4).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0), "an advance clears what was adjusted before");
    assert_eq!(adjust(&*unread, &ann, &c, 5, "l").await, some(5));
    let ben = user("ben");
    begin(&*unread, &ben, &c, 2).await;
    assert_eq!(adjust(&*unread, &ben, &c, 5, "k").await, None, "a position, and what is after it is missing");
    let truth = UnreadTruth { head: Seq(4), position: ReadPosition::at(Seq(2)), ..UnreadTruth::default() };
    unread.rebuild(&ben, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ben, &c).await, some(2), "and so does truth");
}

async fn rebuilding_takes_over_what_truth_says(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let position = ReadPosition::at(Seq(4)).rewound_to(Seq(2), Seq(6));
    let truths = [
        UnreadTruth::default(),
        UnreadTruth { head: Seq(9), ..UnreadTruth::default() },
        UnreadTruth {
            head: Seq(9),
            position: ReadPosition::at(Seq(4)),
            own: Seq(6),
            ..UnreadTruth::default()
        },
        UnreadTruth {
            head: Seq(9),
            position,
            own: Seq(5),
            uncounted: seqs_of(&[3, 8]),
            mentions: seqs_of(&[3, 4, 9]),
        },
        UnreadTruth { head: Seq(9), position, own: Seq(9), ..UnreadTruth::default() },
    ];
    let left = [some(0), some(9), some(3), some_of_them(5, 2), some(0)];
    let places: Vec<_> = (0..truths.len()).map(|nth| conversation(&format!("c{nth}"))).collect();
    let told: Vec<_> = places.iter().cloned().zip(truths.iter().cloned()).collect();
    unread.rebuild(&ann, &told).await.unwrap();
    assert_eq!(unread.counts(&ann, &places).await.unwrap(), left);
    let own_words: Vec<_> = truths.iter().map(|truth| Some(truth.unread())).collect();
    assert_eq!(own_words, left, "what truth itself makes of it");
    let c = &places[3];
    assert_eq!(place(&*unread, &ann, c, ReadPosition::at(Seq(9))).await, position, "the position is truth's");
    unread.record(&said(c, 10)).await.unwrap();
    assert_eq!(count(&*unread, &ann, c).await, some_of_them(6, 2), "and it goes on from there");
}

async fn rebuilding_keeps_what_was_recorded_meanwhile(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 6).await;
    let truth = UnreadTruth {
        head: Seq(6),
        position: ReadPosition::at(Seq(1)),
        own: Seq(2),
        uncounted: seqs_of(&[3]),
        mentions: seqs_of(&[4]),
    };
    // Truth was asked; all this happens before its answer is taken over.
    unread
        .record_many(&[said(&c, 7), mention(&[&ann], &c, 8), mention_everyone(&c, 9), silent(&c, 10)])
        .await
        .unwrap();
    uncount(&*unread, &c, &[5]).await;
    unread.rebuild(&ann, &[(c.clone(), truth.clone())]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(5, 3), "4, 6, 7, 8 and 9");
    let read = unread.mark_read(&ann, &c, Seq(7)).await.unwrap();
    unread.rebuild(&ann, &[(c.clone(), truth.clone())]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(2, 2), "the further position survives");
    let rewound = read.rewound_to(Seq(3), Seq(10));
    place(&*unread, &ann, &c, rewound).await;
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(5, 3), "and so does the later epoch");
    let d = conversation("d");
    unread.record(&said_by(&ann, &d, 5)).await.unwrap();
    unread
        .rebuild(&ann, &[(d.clone(), UnreadTruth { head: Seq(4), ..UnreadTruth::default() })])
        .await
        .unwrap();
    assert_eq!(count(&*unread, &ann, &d).await, some(0), "and the newer own message");
}

async fn rebuilding_clears_the_adjustment(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let d = conversation("d");
    for place in [&c, &d] {
        begin(&*unread, &ann, place, 1).await;
        say(&*unread, place, 3).await;
        assert_eq!(adjust(&*unread, &ann, place, 8, "k").await, some(10));
    }
    let truth = UnreadTruth { head: Seq(3), ..UnreadTruth::default() };
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(
        count(&*unread, &ann, &c).await,
        some(2),
        "also when its position is older than the one known"
    );
    assert_eq!(count(&*unread, &ann, &d).await, some(10), "only where truth was taken over");
}

async fn rebuilding_twice_is_rebuilding_once(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let truth = UnreadTruth {
        head: Seq(9),
        position: ReadPosition::at(Seq(2)),
        own: Seq(3),
        uncounted: seqs_of(&[4, 6, 4]),
        mentions: seqs_of(&[5, 6, 5]),
    };
    for _ in 0..3 {
        unread.rebuild(&ann, &[(c.clone(), truth.clone()), (c.clone(), truth.clone())]).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(4, 1));
    }
}

async fn rebuilding_moves_nobody_else(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, cid, d) = (user("ben"), user("cid"), conversation("d"));
    begin(&*unread, &ann, &d, 1).await;
    begin(&*unread, &ben, &c, 0).await;
    say(&*unread, &c, 5).await;
    say(&*unread, &d, 5).await;
    adjust(&*unread, &ben, &c, 1, "k").await;
    let truth = UnreadTruth {
        head: Seq(5),
        position: ReadPosition::at(Seq(4)),
        own: Seq(4),
        uncounted: Vec::new(),
        mentions: seqs_of(&[5]),
    };
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(1, 1));
    assert_eq!(count(&*unread, &ann, &d).await, some(4));
    assert_eq!(count(&*unread, &ben, &c).await, some(6), "neither position, nor mentions, nor adjustment");
    assert_eq!(count(&*unread, &cid, &c).await, None);
}

async fn forgetting_is_not_known_from_now_on(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (ben, d) = (user("ben"), conversation("d"));
    for (reader, place) in [(&ann, &c), (&ann, &d), (&ben, &c)] {
        begin(&*unread, reader, place, 0).await;
    }
    for place in [&c, &d] {
        say(&*unread, place, 3).await;
    }
    for _ in 0..2 {
        unread
            .forget_many(&[
                (ann.clone(), c.clone()),
                (user("x"), d.clone()),
                (ann.clone(), conversation("x")),
            ])
            .await
            .unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, None);
        assert_eq!(unread.total(&ann, &[c.clone(), d.clone()]).await.unwrap(), None);
    }
    unread.record(&mention(&[&ann], &c, 4)).await.unwrap();
    unread.record(&said_by(&ann, &c, 5)).await.unwrap();
    uncount(&*unread, &c, &[1]).await;
    assert_eq!(adjust(&*unread, &ann, &c, 2, "k").await, None);
    assert_eq!(count(&*unread, &ann, &c).await, None, "no message makes it known");
    assert_eq!(count(&*unread, &ann, &d).await, some(3), "elsewhere nothing is forgotten");
    assert_eq!(count(&*unread, &ben, &c).await, some(4), "and of nobody else");
}

async fn a_forgotten_user_may_begin_again(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 6).await;
    place(&*unread, &ann, &c, ReadPosition::at(Seq(6)).rewound_to(Seq(2), Seq(6))).await;
    adjust(&*unread, &ann, &c, 50, "k").await;
    let pair = [(ann.clone(), c.clone())];
    unread.forget_many(&pair).await.unwrap();
    let begun = place(&*unread, &ann, &c, ReadPosition::at(Seq(4))).await;
    assert_eq!(begun, ReadPosition::at(Seq(4)), "no older epoch stands in the way");
    assert_eq!(count(&*unread, &ann, &c).await, None, "a new reader, to whom the past is missing");
    begin(&*unread, &ann, &c, 6).await;
    unread.record(&said(&c, 7)).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(1), "nor does an adjustment");
    assert_eq!(adjust(&*unread, &ann, &c, 1, "k").await, some(2), "nor its key");
    unread.forget_many(&pair).await.unwrap();
    let truth = UnreadTruth { head: Seq(7), position: ReadPosition::at(Seq(1)), ..UnreadTruth::default() };
    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(6), "truth brings it back");
}

async fn a_reader_behind_the_uncounted_kept_is_not_known(offer: Offer) {
    let unread = unread(&offer);
    let (c, [zero, one, two, three, late]) = (conversation("c"), ["0", "1", "2", "3", "late"].map(user));
    let kept = MAX_UNCOUNTED as u64;
    let head = 2 * kept + 3;
    open(&*unread, [&c]).await;
    for (reader, at) in [(&zero, 0), (&one, 1), (&two, 2), (&three, 3), (&late, head - 1)] {
        begin(&*unread, reader, &c, at).await;
    }
    unread.record(&said(&c, head)).await.unwrap();
    // The even ones from 4 on do not count: deleted newest first, or silent.
    let uncounted: Vec<u64> = (2..=kept + 1).map(|half| 2 * half).collect();
    let (silenced, deleted) = uncounted.split_at(uncounted.len() / 2);
    for seqs in deleted.rchunks(1_000) {
        uncount(&*unread, &c, seqs).await;
    }
    for seqs in silenced.chunks(1_000) {
        let messages: Vec<Recorded> = seqs.iter().map(|seq| silent(&c, *seq)).collect();
        unread.record_many(&messages).await.unwrap();
    }
    assert_eq!(count(&*unread, &zero, &c).await, some(head - kept), "as many as are kept");
    assert_eq!(count(&*unread, &late, &c).await, some(1));
    uncount(&*unread, &c, &[2]).await;
    for reader in [&zero, &one] {
        assert_eq!(count(&*unread, reader, &c).await, None, "one more than is kept: no wrong number");
        assert_eq!(unread.total(reader, std::slice::from_ref(&c)).await.unwrap(), None);
    }
    assert_eq!(count(&*unread, &two, &c).await, some(head - 2 - kept), "the newest are kept");
    assert_eq!(count(&*unread, &three, &c).await, some(head - 3 - kept));
    uncount(&*unread, &c, &[2, 4, head]).await;
    assert_eq!(count(&*unread, &late, &c).await, some(0));
    for reader in [&zero, &one, &two, &three] {
        assert_eq!(count(&*unread, reader, &c).await, None);
    }
    unread.mark_read(&zero, &c, Seq(5)).await.unwrap();
    assert_eq!(count(&*unread, &zero, &c).await, some(head - 5 - kept), "known again after reading on");
    unread.record(&said_by(&one, &c, 7)).await.unwrap();
    assert_eq!(count(&*unread, &one, &c).await, some(head - 7 - (kept - 1)), "or writing");
}

async fn a_total_is_the_sum(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let places: Vec<_> = (1..=5).map(|nth| conversation(&format!("c{nth}"))).collect();
    for (place, head) in places.iter().zip(1..) {
        begin(&*unread, &ann, place, 0).await;
        say(&*unread, place, head).await;
    }
    unread.record(&mention(&[&ann], &places[1], 2)).await.unwrap();
    unread.record(&mention_everyone(&places[4], 6)).await.unwrap();
    assert_eq!(unread.total(&ann, &places).await.unwrap(), some_of_them(16, 2));
    assert_eq!(unread.total(&ann, &places[..2]).await.unwrap(), some_of_them(3, 1));
    unread.mark_read(&ann, &places[4], Seq(6)).await.unwrap();
    assert_eq!(unread.total(&ann, &places).await.unwrap(), some_of_them(10, 1));
    adjust(&*unread, &ann, &places[0], -5, "k").await;
    assert_eq!(unread.total(&ann, &places).await.unwrap(), some_of_them(9, 1), "no part is below zero");
    assert_eq!(unread.total(&ann, &[]).await.unwrap(), some(0));
}

async fn a_total_with_an_unknown_part_is_unknown(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let nowhere = conversation("nowhere");
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 3).await;
    assert_eq!(unread.total(&ann, std::slice::from_ref(&c)).await.unwrap(), some(3));
    for places in [[&c, &nowhere], [&nowhere, &c]] {
        assert_eq!(
            unread.total(&ann, &places.map(Clone::clone)).await.unwrap(),
            None,
            "a part is not the whole"
        );
    }
    assert_eq!(unread.total(&user("ben"), &[c]).await.unwrap(), None);
}

async fn answers_line_up_with_the_question(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    let places = ["c1", "c2", "c3", "c4"].map(conversation);
    let messages: Vec<Recorded> =
        places.iter().zip([4, 3, 2, 1]).map(|(place, head)| said(place, head)).collect();
    open(&*unread, &places).await;
    let advance = |nth: usize, seq| Advance {
        user: ann.clone(),
        conversation: places[nth].clone(),
        to: AdvanceTo::Position(ReadPosition::at(Seq(seq))),
        own: Seq::ZERO,
    };
    let found = unread.advance_many(&[advance(2, 2), advance(0, 1), advance(1, 0)]).await.unwrap();
    assert_eq!(found, [2, 1, 0].map(|seq| ReadPosition::at(Seq(seq))));
    unread.record_many(&messages).await.unwrap();
    let asked = [3, 1, 0, 2, 1, 3].map(|nth| places[nth].clone());
    let expected = [None, some(3), some(3), some(0), some(3), None];
    assert_eq!(unread.counts(&ann, &asked).await.unwrap(), expected);
    let many: Vec<_> = (0..1_000).map(|nth| places[nth % 4].clone()).collect();
    let expected: Vec<_> = (0..1_000).map(|nth| [some(3), some(3), some(0), None][nth % 4]).collect();
    assert_eq!(unread.counts(&ann, &many).await.unwrap(), expected);
}

async fn numbers_of_any_size_are_exact(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    // From 2^53 on, a floating point number loses the last digits.
    for (nth, base) in [9, (1 << 53) + 1, i64::MAX as u64 - 9].into_iter().enumerate() {
        let c = conversation(&format!("c{nth}"));
        open(&*unread, [&c]).await;
        begin(&*unread, &ann, &c, base).await;
        unread.record_many(&[said(&c, base + 7), mention(&[&ann], &c, base + 5)]).await.unwrap();
        uncount(&*unread, &c, &[base, base + 1, base + 3]).await;
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(5, 1), "{base}");
        assert_eq!(unread.mark_read(&ann, &c, Seq(base + 4)).await.unwrap().seq, Seq(base + 4));
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(3, 1), "{base}");
        unread.record(&said_by(&ann, &c, base + 6)).await.unwrap();
        assert_eq!(count(&*unread, &ann, &c).await, some(1), "{base}");
        let rewound = ReadPosition { epoch: u32::MAX, seq: Seq(base + 2), rewound_at: Seq(base + 6) };
        assert_eq!(place(&*unread, &ann, &c, rewound).await, rewound);
        assert_eq!(count(&*unread, &ann, &c).await, some_of_them(4, 1), "{base}");
    }
}

async fn an_empty_batch_changes_nothing(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    unread.record_many(&[]).await.unwrap();
    unread.uncount_many(&c, &[]).await.unwrap();
    assert!(unread.advance_many(&[]).await.unwrap().is_empty());
    assert!(unread.counts(&ann, &[]).await.unwrap().is_empty());
    unread.rebuild(&ann, &[]).await.unwrap();
    unread.forget_many(&[]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, None, "nothing became known");
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 2).await;
    unread.uncount_many(&c, &[]).await.unwrap();
    unread.rebuild(&ann, &[]).await.unwrap();
    unread.forget_many(&[]).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2));
}

async fn duplicates_in_a_batch_follow_each_other(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let silent = Recorded { countable: false, ..mention(&[&ann], &c, 4) };
    let messages =
        [said(&c, 2), mention(&[&ann], &c, 1), said(&c, 2), silent.clone(), said(&c, 4), silent, said(&c, 1)];
    let advances = [1, 3, 2].map(|seq| Advance {
        user: ann.clone(),
        conversation: c.clone(),
        to: AdvanceTo::Position(ReadPosition::at(Seq(seq))),
        own: Seq::ZERO,
    });
    open(&*unread, [&c, &c]).await;
    unread.advance_many(&advances[..1]).await.unwrap();
    unread.record_many(&messages).await.unwrap();
    assert_eq!(count(&*unread, &ann, &c).await, some(2), "2 and 3");
    uncount(&*unread, &c, &[3, 2, 3]).await;
    assert_eq!(count(&*unread, &ann, &c).await, some(0));
    let found = unread.advance_many(&advances).await.unwrap();
    let lowest = [1, 3, 3].map(|seq| ReadPosition::at(Seq(seq)));
    let stands = ReadPosition::at(Seq(3));
    assert_eq!(found.len(), 3);
    assert!(
        found.iter().zip(lowest).all(|(found, lowest)| *found == lowest || *found == stands),
        "{found:?}"
    );
    assert_eq!(place(&*unread, &ann, &c, ReadPosition::START).await, stands);
    let known = [(ann.clone(), c.clone()), (ann.clone(), c.clone())];
    unread.forget_many(&known).await.unwrap();
    assert_eq!(unread.counts(&ann, &[c.clone(), c]).await.unwrap(), [None, None]);
}

/// Ids of which two together often look like two others together.
fn ambiguous_ids() -> Vec<String> {
    let mut ids = hostile_ids();
    ids.extend(["a", "b", "c", "unread", "head"].map(str::to_owned));
    for separator in [":", "_", ".", "|", "/", "-", "}{", "}:{"] {
        ids.push(format!("a{separator}b"));
        ids.push(format!("b{separator}c"));
        ids.push(format!("a{separator}b{separator}c"));
    }
    ids.sort();
    ids.dedup();
    ids
}

async fn hostile_ids_reach_nobody_else(offer: Offer) {
    let unread = unread(&offer);
    let ids = ambiguous_ids();
    let users: Vec<UserId> = ids.iter().map(|id| UserId::new(id).expect("an id")).collect();
    let places: Vec<ConversationId> = ids.iter().map(|id| ConversationId::new(id).expect("an id")).collect();
    let all = ids.len() as u64;
    // Every pair of a user and a conversation has a count of its own: a head per conversation, a position per pair.
    let head = |place: usize| (place as u64 + 1) * (all + 1);
    let messages: Vec<Recorded> =
        (0..ids.len()).map(|nth| mention(&[&users[nth]], &places[nth], head(nth))).collect();
    open(&*unread, &places).await;
    for reader in &users {
        let advances: Vec<Advance> = (0..)
            .zip(&places)
            .map(|(nth, place)| Advance {
                user: reader.clone(),
                conversation: place.clone(),
                to: AdvanceTo::Position(ReadPosition::at(Seq(position_of(&users, reader, nth, all)))),
                own: Seq::ZERO,
            })
            .collect();
        unread.advance_many(&advances).await.unwrap();
    }
    unread.record_many(&messages).await.unwrap();
    let expected = |reader: usize, place: usize| {
        let left = head(place) - position_of(&users, &users[reader], place as u64, all);
        some_of_them(left, u64::from(reader == place))
    };
    for (nth, reader) in users.iter().enumerate() {
        let all_of_it: Vec<_> = (0..places.len()).map(|place| expected(nth, place)).collect();
        assert_eq!(unread.counts(reader, &places).await.unwrap(), all_of_it, "of {reader:?}");
    }
    // One pair each is read, adjusted or forgotten, one message of each conversation deleted: nothing else moves.
    let touched = |reader: usize, place: usize| (reader + place).is_multiple_of(ids.len());
    for (nth, reader) in users.iter().enumerate() {
        let place = &places[(ids.len() - nth) % ids.len()];
        match nth % 3 {
            0 => drop(unread.mark_read(reader, place, Seq(u64::from(u32::MAX))).await.unwrap()),
            1 => drop(adjust(&*unread, reader, place, 1_000_000, &ids[nth]).await),
            _ => unread.forget_many(&[(reader.clone(), place.clone())]).await.unwrap(),
        }
    }
    for (nth, reader) in users.iter().enumerate() {
        let found = unread.counts(reader, &places).await.unwrap();
        for (place, found) in found.into_iter().enumerate() {
            let before = expected(nth, place);
            let after = match (touched(nth, place), nth % 3) {
                (false, _) => before,
                (true, 0) => some(0),
                (true, 1) => before.map(|before| Unread { messages: before.messages + 1_000_000, ..before }),
                (true, _) => None,
            };
            assert_eq!(found, after, "{reader:?} in {:?}", places[place]);
        }
    }
    for (nth, place) in places.iter().enumerate() {
        if nth % 2 == 0 {
            uncount(&*unread, place, &[head(nth)]).await;
        }
    }
    let reader = &users[0];
    for (nth, place) in places.iter().enumerate().filter(|(nth, _)| !touched(0, *nth)) {
        let before = expected(0, nth).expect("a count").messages;
        let found = count(&*unread, reader, place).await.expect("a count");
        assert_eq!(found.messages, before - u64::from(nth % 2 == 0), "{reader:?} in {place:?}");
    }
}

fn position_of(users: &[UserId], reader: &UserId, place: u64, all: u64) -> u64 {
    let nth = users.iter().position(|user| user == reader).expect("a reader") as u64;
    (nth + place) % all
}

async fn hostile_keys_are_keys_of_their_own(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 1).await;
    let keys = ambiguous_ids();
    for _ in 0..2 {
        for key in &keys {
            adjust(&*unread, &ann, &c, 1, key).await;
        }
        assert_eq!(count(&*unread, &ann, &c).await, some(1 + keys.len() as u64), "each once");
    }
}

/// What may be said about one conversation in any order.
#[derive(Debug, Clone)]
enum Fact {
    Said(Recorded),
    Gone(Vec<Seq>),
    Moved(UserId, AdvanceTo),
    Truth(UserId, UnreadTruth),
}

impl Fact {
    /// A fact over few messages and readers. Where nobody marks as unread, positions may also move without an epoch.
    fn any(rng: &mut StdRng, readers: &[UserId], epochs: u32) -> Self {
        let seq = |rng: &mut StdRng| Seq(rng.random_range(0..=20));
        let few = |rng: &mut StdRng| (0..rng.random_range(0..3)).map(|_| seq(rng)).collect::<Vec<_>>();
        let reader = readers[rng.random_range(0..readers.len())].clone();
        let epoch = rng.random_range(0..epochs);
        let position = ReadPosition { epoch, seq: seq(rng), rewound_at: Seq(u64::from(epoch) * 5) };
        match rng.random_range(0..10) {
            0..5 => {
                let users = if rng.random_bool(0.3) { vec![reader.clone()] } else { Vec::new() };
                Self::Said(Recorded {
                    seq: seq(rng),
                    sender: rng.random_bool(0.3).then_some(reader),
                    countable: rng.random_bool(0.8),
                    mentions: Mentions { users, everyone: rng.random_bool(0.1) },
                    ..said(&conversation("later"), 0)
                })
            }
            5 => Self::Gone(few(rng)),
            6 if epochs == 1 => Self::Moved(reader, AdvanceTo::Read(position.seq)),
            6..9 => Self::Moved(reader, AdvanceTo::Position(position)),
            _ => {
                let after = |seqs: Vec<Seq>| seqs.into_iter().filter(|seq| *seq > position.seq).collect();
                let (uncounted, mentions) = (after(few(rng)), after(few(rng)));
                Self::Truth(
                    reader,
                    UnreadTruth { head: Seq(20), position, own: seq(rng), uncounted, mentions },
                )
            }
        }
    }

    async fn tell(self, unread: &dyn UnreadStore, c: &ConversationId) {
        match self {
            Self::Said(message) => {
                unread.record(&Recorded { conversation: c.clone(), ..message }).await.unwrap()
            }
            Self::Gone(seqs) => unread.uncount_many(c, &seqs).await.unwrap(),
            Self::Moved(reader, to) => drop(unread.advance(&reader, c, to).await.unwrap()),
            Self::Truth(reader, truth) => unread.rebuild(&reader, &[(c.clone(), truth)]).await.unwrap(),
        }
    }
}

/// The seed of the environment, or any, and how many rounds are played from it.
fn seeds(offer: &Offer) -> impl Iterator<Item = u64> + use<> {
    let given = std::env::var("CHAT_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let rounds = if given.is_some() { 1 } else { (offer.histories / 50).clamp(5, 200) as u64 };
    let first = given.unwrap_or_else(rand::random::<u64>);
    (0..rounds).map(move |nth| first.wrapping_add(nth))
}

/// The same things, some of them more than once, in another order.
fn again<T: Clone>(rng: &mut StdRng, once: &[T]) -> Vec<T> {
    let mut again = once.to_vec();
    for _ in 0..once.len() {
        again.push(once[rng.random_range(0..once.len())].clone());
    }
    again.shuffle(rng);
    again
}

/// Random facts, told once and then again: in other orders and with repeats, at last all at once.
struct Retold {
    seed: u64,
    readers: [UserId; 3],
    facts: Vec<Fact>,
    again: Vec<Vec<Fact>>,
}

impl Retold {
    const TIMES: usize = 4;

    fn from(seed: u64) -> Self {
        let (mut rng, readers) = (StdRng::seed_from_u64(seed), ["ann", "ben", "cid"].map(user));
        let epochs = rng.random_range(1..=3);
        let mut facts: Vec<Fact> =
            (0..rng.random_range(1..40)).map(|_| Fact::any(&mut rng, &readers, epochs)).collect();
        let start = |reader: &UserId| Fact::Moved(reader.clone(), AdvanceTo::Position(ReadPosition::START));
        facts.extend(readers[..2].iter().map(start));
        let again = (0..Self::TIMES).map(|_| again(&mut rng, &facts)).collect();
        Self { seed, readers, facts, again }
    }

    /// What the readers have unread when nothing is missing and every fact is told once.
    async fn once(&self, unread: &Arc<dyn UnreadStore>) -> Vec<Option<Unread>> {
        let c = self.begun(unread, "once").await;
        self.tell(unread, &c, &self.facts, false).await
    }

    async fn begun(&self, unread: &Arc<dyn UnreadStore>, name: &str) -> ConversationId {
        let c = conversation(&format!("{name}:{}", self.seed));
        open(&**unread, [&c]).await;
        for reader in &self.readers {
            begin(&**unread, reader, &c, 0).await;
        }
        c
    }

    async fn tell(
        &self,
        unread: &Arc<dyn UnreadStore>,
        c: &ConversationId,
        facts: &[Fact],
        all_at_once: bool,
    ) -> Vec<Option<Unread>> {
        if all_at_once {
            at_once(facts.len(), |nth| {
                let (fact, unread, c) = (facts[nth].clone(), Arc::clone(unread), c.clone());
                async move { fact.tell(&*unread, &c).await }
            })
            .await;
        } else {
            for fact in facts {
                fact.clone().tell(&**unread, c).await;
            }
        }
        let mut counts = Vec::new();
        for reader in &self.readers {
            counts.push(count(&**unread, reader, c).await);
        }
        counts
    }

    fn report(&self, told: &[Fact]) -> String {
        format!("CHAT_TEST_SEED={}\nonce: {:#?}\nagain: {told:#?}", self.seed, self.facts)
    }
}

async fn any_order_and_repetition_ends_in_the_same_counts(offer: Offer) {
    let unread = unread(&offer);
    for seed in seeds(&offer) {
        let retold = Retold::from(seed);
        let expected = retold.once(&unread).await;
        assert!(expected.iter().all(Option::is_some), "nothing is missing: {}", retold.report(&[]));
        for (nth, told) in (1..).zip(&retold.again) {
            let c = retold.begun(&unread, &format!("again {nth}")).await;
            let found = retold.tell(&unread, &c, told, nth == Retold::TIMES).await;
            assert_eq!(found, expected, "{}", retold.report(told));
        }
    }
}

async fn any_order_after_a_loss_ends_in_the_same_counts_or_in_none(offer: Offer) {
    let unread = unread(&offer);
    for seed in seeds(&offer) {
        let retold = Retold::from(seed);
        let expected = retold.once(&unread).await;
        for (nth, told) in (1..).zip(&retold.again) {
            let c = conversation(&format!("lost {nth}:{seed}"));
            let found = retold.tell(&unread, &c, told, nth == Retold::TIMES).await;
            for (found, expected) in found.iter().zip(&expected) {
                let unknown_or_right = found.is_none() || found == expected;
                assert!(unknown_or_right, "{found:?}, not {expected:?}: {}", retold.report(told));
            }
        }
    }
}

async fn repeated_adjustments_in_any_order_end_in_the_same_count(offer: Offer) {
    let (unread, ann) = (unread(&offer), user("ann"));
    for seed in seeds(&offer) {
        let mut rng = StdRng::seed_from_u64(seed);
        let adjustments: Vec<i64> = (0..rng.random_range(1..12)).map(|_| rng.random_range(-20..20)).collect();
        let head = rng.random_range(0..20_u64);
        let left = u64::try_from(head as i64 + adjustments.iter().sum::<i64>()).unwrap_or(0);
        // Recording the head is one of the things whose order does not matter.
        let steps: Vec<usize> = (0..=adjustments.len()).collect();
        for order in 0..3 {
            let c = conversation(&format!("{seed}:{order}"));
            say(&*unread, &c, 1).await;
            begin(&*unread, &ann, &c, 1).await;
            let told = again(&mut rng, &steps);
            for step in &told {
                match adjustments.get(*step) {
                    Some(by) => drop(adjust(&*unread, &ann, &c, *by, &format!("k{step}")).await),
                    None => unread.record(&said(&c, head + 1)).await.unwrap(),
                }
                // A position older than the one known is a repeat that comes late.
                place(&*unread, &ann, &c, ReadPosition::START).await;
            }
            let found = count(&*unread, &ann, &c).await;
            assert_eq!(found, some(left), "CHAT_TEST_SEED={seed}: {head} and {adjustments:?} as {told:?}");
        }
    }
}

async fn racing_readers_and_writers_end_in_a_recount(offer: Offer) {
    const TASKS: usize = 64;
    const STEPS: u64 = 40;
    const READERS: usize = 8;
    let (unread, c) = (unread(&offer), conversation("c"));
    let readers: Arc<Vec<UserId>> =
        Arc::new((0..READERS).map(|nth| user(&format!("reader {nth}"))).collect());
    unread.record(&said(&c, 0)).await.unwrap();
    for reader in readers.iter() {
        begin(&*unread, reader, &c, 0).await;
    }
    let message = {
        let (readers, c) = (Arc::clone(&readers), c.clone());
        move |seq: u64| Recorded {
            sender: seq.is_multiple_of(5).then(|| readers[seq as usize % READERS].clone()),
            countable: !seq.is_multiple_of(7),
            mentions: Mentions {
                users: if seq.is_multiple_of(3) {
                    vec![readers[(seq / 3) as usize % READERS].clone()]
                } else {
                    Vec::new()
                },
                everyone: seq.is_multiple_of(101),
            },
            ..said(&c, seq)
        }
    };
    let deleted = |seq: u64| seq.is_multiple_of(13);
    let said_so_far = Arc::new(AtomicU64::new(0));
    let furthest: Arc<Vec<AtomicU64>> = Arc::new((0..READERS).map(|_| AtomicU64::new(0)).collect());
    at_once(TASKS, |nth| {
        let (unread, c, message) = (Arc::clone(&unread), c.clone(), message.clone());
        let (readers, said_so_far, furthest) =
            (Arc::clone(&readers), Arc::clone(&said_so_far), Arc::clone(&furthest));
        async move {
            let (mine, reader) = (nth % READERS, &readers[nth % READERS]);
            for _ in 0..STEPS {
                let seq = said_so_far.fetch_add(1, Ordering::SeqCst) + 1;
                if deleted(seq) && nth % 2 == 0 {
                    uncount(&*unread, &c, &[seq]).await;
                }
                unread.record(&message(seq)).await.unwrap();
                if deleted(seq) {
                    uncount(&*unread, &c, &[seq]).await;
                }
                let read = seq.saturating_sub(30);
                furthest[mine].fetch_max(read, Ordering::SeqCst);
                let stands = unread.mark_read(reader, &c, Seq(read)).await.unwrap().seq.0;
                assert!(stands >= read, "read {read} and stands at {stands}");
                let left = count(&*unread, reader, &c).await.expect("a count");
                let most = said_so_far.load(Ordering::SeqCst) - stands;
                assert!(
                    left.messages <= most && left.mentions <= most,
                    "{left:?}, where at most {most} can be unread"
                );
            }
        }
    })
    .await;
    let head = TASKS as u64 * STEPS;
    for (nth, reader) in readers.iter().enumerate() {
        let own = (1..=head).rfind(|seq| message(*seq).sender.as_ref() == Some(reader)).unwrap_or(0);
        let reached = furthest[nth].load(Ordering::SeqCst).max(own);
        let left: Vec<Recorded> = (reached + 1..=head)
            .filter(|seq| !deleted(*seq))
            .map(&message)
            .filter(|message| message.countable)
            .collect();
        let mentioned =
            |message: &&Recorded| message.mentions.everyone || message.mentions.users.contains(reader);
        let recounted = some_of_them(left.len() as u64, left.iter().filter(mentioned).count() as u64);
        assert_eq!(count(&*unread, reader, &c).await, recounted, "{reader:?} reached {reached}");
    }
}

async fn racing_advances_end_at_the_largest(offer: Offer) {
    let (unread, ann, _) = sample(&offer);
    for round in 0..20 {
        let c = conversation(&format!("c{round}"));
        begin(&*unread, &ann, &c, 0).await;
        say(&*unread, &c, 100).await;
        let answers = at_once(64, |nth| {
            let (unread, ann, c) = (Arc::clone(&unread), ann.clone(), c.clone());
            async move {
                let epoch = (nth % 3) as u32;
                let to = ReadPosition { epoch, seq: Seq(nth as u64), rewound_at: Seq(u64::from(epoch)) };
                (to, place(&*unread, &ann, &c, to).await)
            }
        })
        .await;
        let largest = ReadPosition { epoch: 2, seq: Seq(62), rewound_at: Seq(2) };
        for (asked, found) in &answers {
            assert_eq!(found.merge(*asked), *found, "{found:?} is below what was just set");
            assert_eq!(found.merge(largest), largest, "{found:?} is beyond what anybody set");
        }
        assert_eq!(place(&*unread, &ann, &c, ReadPosition::START).await, largest);
        assert_eq!(count(&*unread, &ann, &c).await, some(38));
    }
}

async fn of_racing_repeats_of_an_adjustment_one_counts(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    begin(&*unread, &ann, &c, 0).await;
    say(&*unread, &c, 1).await;
    let answers =
        at_once(64, |nth| {
            let (unread, ann, c) = (Arc::clone(&unread), ann.clone(), c.clone());
            async move {
                adjust(&*unread, &ann, &c, 10, &format!("k{}", nth % 4)).await.expect("a count").messages
            }
        })
        .await;
    assert!(answers.iter().all(|count| [11, 21, 31, 41].contains(count)), "{answers:?}");
    assert_eq!(count(&*unread, &ann, &c).await, some(41), "four keys, sixteen times each");
}

async fn a_rebuild_racing_messages_loses_none(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let told = Arc::new(AtomicU64::new(0));
    open(&*unread, [&c]).await;
    at_once(32, |nth| {
        let (unread, ann, c, told) = (Arc::clone(&unread), ann.clone(), c.clone(), Arc::clone(&told));
        async move {
            for _ in 0..20 {
                if nth % 2 == 0 {
                    // What truth says is old when it arrives.
                    let truth =
                        UnreadTruth { head: Seq(told.load(Ordering::SeqCst)), ..UnreadTruth::default() };
                    unread.rebuild(&ann, &[(c.clone(), truth)]).await.unwrap();
                    continue;
                }
                let seq = told.fetch_add(1, Ordering::SeqCst) + 1;
                let message =
                    if seq.is_multiple_of(10) { silent(&c, seq) } else { mention(&[&ann], &c, seq) };
                unread.record(&message).await.unwrap();
                if seq.is_multiple_of(9) {
                    uncount(&*unread, &c, &[seq]).await;
                }
            }
        }
    })
    .await;
    let left: BTreeSet<u64> =
        (1..=320).filter(|seq: &u64| !seq.is_multiple_of(10) && !seq.is_multiple_of(9)).collect();
    assert_eq!(count(&*unread, &ann, &c).await, some_of_them(left.len() as u64, left.len() as u64));
}

async fn a_message_is_recorded_once_for_ten_thousand_readers(offer: Offer) {
    const READERS: usize = 10_000;
    let (unread, c) = (unread(&offer), conversation("c"));
    let readers: Vec<UserId> = (0..READERS).map(|nth| user(&format!("reader {nth}"))).collect();
    let begin = |user: &UserId| Advance {
        user: user.clone(),
        conversation: c.clone(),
        to: AdvanceTo::Position(ReadPosition::START),
        own: Seq::ZERO,
    };
    for readers in readers.chunks(1_000) {
        let begun: Vec<Advance> = readers.iter().map(begin).collect();
        assert_eq!(unread.advance_many(&begun).await.unwrap(), vec![ReadPosition::START; readers.len()]);
    }
    unread.record(&mention_everyone(&c, 1)).await.unwrap();
    uncount(&*unread, &c, &[2]).await;
    unread.record_many(&[said(&c, 2), said_by(&readers[0], &c, 3)]).await.unwrap();
    let mut counted = Vec::new();
    for readers in readers.chunks(64) {
        counted.extend(join_all(readers.iter().map(|reader| count(&*unread, reader, &c))).await);
    }
    assert_eq!(counted[0], some(0), "the author");
    assert!(counted[1..].iter().all(|counted| *counted == some_of_them(2, 1)), "and everybody else");
}

async fn an_outage_is_never_a_zero(offer: Offer) {
    let (unread, ann, c) = sample(&offer);
    let (d, outage) = (conversation("d"), offer.outage.clone().expect("an outage"));
    let k = key("k");
    begin(&*unread, &ann, &c, 1).await;
    unread.record_many(&[said(&c, 1), mention(&[&ann], &c, 2), said(&c, 3)]).await.unwrap();
    let truth = UnreadTruth { head: Seq(9), position: ReadPosition::at(Seq(3)), ..UnreadTruth::default() };
    let before = some_of_them(2, 1);
    assert_eq!(count(&*unread, &ann, &c).await, before);
    outage.begin();
    unavailable(unread.counts(&ann, std::slice::from_ref(&c)).await);
    unavailable(unread.counts(&ann, &[c.clone(), d.clone()]).await);
    unavailable(unread.count(&ann, &c).await);
    unavailable(unread.count(&ann, &d).await);
    unavailable(unread.total(&ann, std::slice::from_ref(&c)).await);
    unavailable(unread.record_many(&[said(&c, 9), said(&d, 1)]).await);
    unavailable(unread.uncount_many(&c, &[Seq(2)]).await);
    unavailable(unread.mark_read(&ann, &c, Seq(3)).await);
    unavailable(unread.advance(&ann, &d, AdvanceTo::Position(ReadPosition::START)).await);
    unavailable(unread.adjust(&ann, &c, 5, &k).await);
    unavailable(unread.adjust(&ann, &d, 5, &k).await);
    unavailable(unread.rebuild(&ann, &[(c.clone(), truth.clone()), (d.clone(), truth)]).await);
    unavailable(unread.forget_many(&[(ann.clone(), c.clone())]).await);
    outage.end();
    assert_eq!(count(&*unread, &ann, &c).await, before, "as before");
    assert_eq!(count(&*unread, &ann, &d).await, None);
    assert_eq!(place(&*unread, &ann, &c, ReadPosition::START).await, ReadPosition::at(Seq(1)));
    assert_eq!(adjust(&*unread, &ann, &c, 5, "k").await, some_of_them(7, 1), "no key was used up");
}
