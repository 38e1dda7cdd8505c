//! What happens when servers, connections and clusters break: every error says truly whether anything happened, and
//! every count equals a recount afterwards.

mod cluster;
mod load;
mod lost_answers;
mod outages;
mod people;
mod sentinel;

/// Every trial of these topics.
pub(crate) fn trials() -> Vec<chat_testkit::Trial> {
    [outages::trials(), lost_answers::trials(), sentinel::trials(), cluster::trials(), people::trials()]
        .into_iter()
        .flatten()
        .collect()
}
