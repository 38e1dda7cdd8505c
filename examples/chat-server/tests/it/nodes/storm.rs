//! Many people talk in one group while something goes wrong; afterwards everybody has what was acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use tokio::sync::watch;

use super::roamer::Roamer;
use super::world::{World, until};

/// How many people, and how much they say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// People who say something.
    pub(super) talkers: usize,
    /// How much each of them says.
    pub(super) messages: usize,
    /// People who listen.
    pub(super) listeners: usize,
}

/// What CI has time for.
pub(super) const USUAL: Size = Size { talkers: 8, messages: 30, listeners: 8 };

/// A group, who is in it, and what was acknowledged.
#[derive(Debug)]
pub(super) struct Storm {
    /// The group.
    pub(super) group: String,
    /// Who says something, then who listens.
    pub(super) people: Vec<Roamer>,
    size: Size,
    acknowledged: BTreeMap<u64, String>,
}

impl Storm {
    /// Everybody is in one group; every second one on another server.
    pub(super) async fn gather(world: &World, size: Size) -> Self {
        let addresses = &world.addresses;
        let coming = (0..size.talkers + size.listeners).map(|nth| {
            let name = if nth < size.talkers { "talker" } else { "listener" };
            Roamer::new(addresses, name, nth)
        });
        let mut people = Vec::new();
        for some in in_parts(coming.collect()) {
            people.extend(futures::future::join_all(some).await);
        }
        let members: Vec<String> = people.iter().skip(1).map(|one| one.user.clone()).collect();
        let made = people[0].ask("createGroup", json!({ "name": "Storm", "members": members })).await;
        let group = made["conversationId"].as_str().expect("a group").to_owned();
        for one in &mut people {
            one.here()
                .await
                .hears("conversation:created", |new| new["conversationId"] == group.as_str())
                .await;
        }
        Self { group, people, size, acknowledged: BTreeMap::new() }
    }

    /// Lets everybody talk while `harm` is done, and looks at what there is then. `harm` is handed how much was said so far.
    pub(super) async fn while_talking(&mut self, harm: impl AsyncFnOnce(Said)) {
        let said = Said::default();
        let all = self.size.talkers * self.size.messages;
        let messages = self.size.messages;
        let (group, round) = (&self.group, self.acknowledged.len());
        let (done, _) = watch::channel(false);
        let talkers = self.size.talkers;
        let talking = self.people.iter_mut().enumerate().map(|(nth, one)| {
            let (said, mut over) = (said.clone(), done.subscribe());
            async move {
                let mut places = Vec::with_capacity(messages);
                for n in 0..messages * usize::from(nth < talkers) {
                    let content = format!("{nth:03} {round:05} {n:05}");
                    places.push((one.say(group, &content).await, content));
                    said.more();
                }
                // Its app stays open, and comes back when it is cut.
                while !*over.borrow() {
                    let closed = one.here().await.is_over();
                    tokio::select! {
                        () = closed => {}
                        _ = over.wait_for(|over| *over) => {}
                    }
                }
                places
            }
        });
        let harming = async {
            harm(said.clone()).await;
            said.reaches(all).await;
            done.send_replace(true);
        };
        let (places, ()) = tokio::join!(futures::future::join_all(talking), harming);
        for (place, content) in places.into_iter().flatten() {
            let before = self.acknowledged.insert(place, content);
            assert_eq!(before, None, "two messages were acknowledged at {place}");
        }
    }

    /// How much was acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// How often somebody connected.
    pub(super) fn connections(&self) -> usize {
        self.people.iter().map(Roamer::connections).sum()
    }

    /// Everything that was acknowledged is in everybody's history, once and in order; live, too, where nobody was cut; what
    /// is unread is what a recount says; who is here is who is online.
    pub(super) async fn is_whole(&mut self) {
        for one in &mut self.people {
            one.here().await;
        }
        let history = self.people[0].history(&self.group).await;
        assert!(
            history.keys().copied().eq(1..=history.len() as u64),
            "places have gaps: {:?}",
            history.keys()
        );
        let said: Vec<&String> = history.values().filter(|content| content.len() == 15).collect();
        let once: BTreeSet<&String> = said.iter().copied().collect();
        assert_eq!(once.len(), said.len(), "something was said twice");
        for (place, content) in &self.acknowledged {
            assert_eq!(history.get(place), Some(content), "what was acknowledged at {place}");
        }
        assert_eq!(said.len(), self.acknowledged.len(), "all that was said was acknowledged in the end");
        let mut last = HashMap::new();
        for content in said {
            let (who, what) = content.split_at(3);
            assert!(last.insert(who, what).is_none_or(|before| before < what), "{content} is out of order");
        }
        for nth in 0..self.people.len() {
            self.has_everything(nth, &history).await;
        }
        self.presence_is_true().await;
    }

    async fn has_everything(&mut self, nth: usize, history: &BTreeMap<u64, String>) {
        let (group, one) = (self.group.clone(), &mut self.people[nth]);
        // A few ask for all of it; the others would only ask the same again.
        if nth.is_multiple_of(7) {
            assert_eq!(&one.history(&group).await, history);
        }
        let own = history
            .iter()
            .rfind(|(_, content)| nth < self.size.talkers && content.starts_with(&format!("{nth:03} ")));
        let own = own.map_or(0, |(place, _)| *place);
        let unread = history.range(own + 1..).filter(|(_, content)| content.len() == 15).count() as u64;
        let mut counted = one.unread(&group).await;
        let counting = async {
            while counted != unread {
                counted = one.unread(&group).await;
                tokio::task::yield_now().await;
            }
        };
        let counted_in_time = tokio::time::timeout(std::time::Duration::from_secs(30), counting).await;
        assert!(counted_in_time.is_ok(), "{} has {unread} unread, and is told {counted}", one.user);
        for (connection, heard) in one.heard("newMessage").into_iter().enumerate() {
            let places: Vec<u64> =
                heard.iter().filter(|message| message["conversationId"] == group).filter_map(place).collect();
            let rising = places.is_sorted_by(|one, other| one < other);
            assert!(rising, "{} heard on connection {connection}: {places:?}", one.user);
        }
        if one.was_here_all_along() {
            let all: Vec<u64> = self.acknowledged.keys().copied().collect();
            until(&format!("{} to hear everything", one.user), || {
                let heard: BTreeSet<u64> =
                    one.heard("newMessage").iter().flatten().filter_map(place).collect();
                let all = &all;
                async move { all.iter().all(|place| heard.contains(place)) }
            })
            .await;
        }
    }

    /// Who has an app open is online, and nobody else.
    pub(super) async fn presence_is_true(&mut self) {
        let mut here: Vec<String> = self.people.iter().map(|one| one.user.clone()).collect();
        here.sort_unstable();
        let (group, asking) = (self.group.clone(), &mut self.people[0]);
        let mut online = Vec::new();
        let asked = async {
            while online != here {
                online = asking.online(&group).await;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(30), asked).await;
        assert!(in_time.is_ok(), "{} are here, {} are online", here.len(), online.len());
    }

    /// Nobody who was here all along was told twice in a row that somebody came, went, or did nothing.
    pub(super) fn edges_alternate(&self) {
        for one in self.people.iter().filter(|one| one.was_here_all_along()) {
            let everything = one.everything();
            let mut known: HashMap<String, String> = HashMap::new();
            for (event, data) in everything {
                if !["user_online", "user_idle", "user_offline"].contains(&event.as_str()) {
                    continue;
                }
                let user = data["userId"].as_str().expect("a user").to_owned();
                let before = known.insert(user.clone(), event.clone());
                assert_ne!(before, Some(event), "{} was told twice of {user}", one.user);
            }
        }
    }
}

fn place(message: &Value) -> Option<u64> {
    message["seq"].as_u64()
}

/// At most so many come at once.
fn in_parts<T>(all: Vec<T>) -> Vec<Vec<T>> {
    const AT_ONCE: usize = 32;
    let (mut parts, mut all) = (Vec::new(), all.into_iter().peekable());
    while all.peek().is_some() {
        parts.push(all.by_ref().take(AT_ONCE).collect());
    }
    parts
}

/// How much was acknowledged so far.
#[derive(Debug, Clone)]
pub(super) struct Said(watch::Sender<usize>);

impl Default for Said {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Said {
    fn more(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Waits until so much was acknowledged.
    pub(super) async fn reaches(&self, count: usize) {
        // Whoever says it is who does not wait for ever.
        let _ = self.0.subscribe().wait_for(|said| *said >= count).await;
    }
}
