//! A Redis Cluster, of real processes, whose slots move when a test says so.

use parking_lot::Mutex;

use super::redis::{Redis, RedisOptions};
use super::resp::Reply;
use crate::Absent;
use crate::wait::until;

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// Several masters which share the slots evenly.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    ids: Vec<String>,
    /// Held while a slot gets its new owner: two nodes that take one at the same time take it under the same epoch, and one
    /// of them loses it again.
    handover: Mutex<()>,
}

impl RedisCluster {
    /// A private, empty cluster of this many masters, ready: every node knows who has which slot. Takes two to four
    /// seconds, so share it where a namespace is enough.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` is not installed.
    ///
    /// # Panics
    /// When it is installed and the cluster does not form.
    pub fn spawn(nodes: usize) -> Result<Self, Absent> {
        Self::spawn_with(nodes, &RedisOptions::default())
    }

    /// A cluster whose nodes differ from plain ones.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` is not installed.
    ///
    /// # Panics
    /// When it is installed and the cluster does not form.
    pub fn spawn_with(nodes: usize, options: &RedisOptions) -> Result<Self, Absent> {
        let options = options.clone().set("cluster-enabled", "yes").set("cluster-node-timeout", 5000);
        let nodes = (0..nodes).map(|_| Redis::spawn_with(&options)).collect::<Result<Vec<_>, _>>()?;
        let ids = nodes.iter().map(|node| node.command(&["CLUSTER", "MYID"]).text()).collect();
        let cluster = Self { nodes, ids, handover: Mutex::new(()) };
        let count = u32::try_from(cluster.nodes.len()).expect("few nodes");
        let first_slot = |number: u32| number * u32::from(SLOTS) / count;
        for (number, node) in (0..).zip(&cluster.nodes) {
            let (first, last) = (first_slot(number).to_string(), (first_slot(number + 1) - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            cluster.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]);
        }
        until("a cluster to form", || cluster.is_whole());
        Ok(cluster)
    }

    /// Its nodes, all masters.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The URLs of its nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// When the first node does not answer.
    pub fn slot(&self, key: impl AsRef<[u8]>) -> u16 {
        let slot = self.nodes[0].command(&[b"CLUSTER", b"KEYSLOT", key.as_ref()]).int();
        u16::try_from(slot).expect("a slot")
    }

    /// Which node has a slot, by number, as all nodes that live agree.
    ///
    /// # Panics
    /// When they do not, or nobody has it.
    pub fn owner(&self, slot: u16) -> usize {
        let answers = self.nodes.iter().filter_map(|node| Some(self.owners(node)?[usize::from(slot)]));
        let owners: std::collections::BTreeSet<_> = answers.collect();
        match owners.into_iter().collect::<Vec<_>>()[..] {
            [Some(owner)] => owner,
            ref other => panic!("slot {slot} belongs to {other:?}"),
        }
    }

    /// The slots of a node, in order.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn slots_of(&self, node: usize) -> Vec<u16> {
        let owners = self.owners(&self.nodes[node]).expect("a node that lives");
        (0..SLOTS).filter(|slot| owners[usize::from(*slot)] == Some(node)).collect()
    }

    /// Moves a slot with its keys, as an operator does, while clients may be at work.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn migrate_slot(&self, slot: u16, from: usize, to: usize) {
        self.migrate(slot, from, to).finish();
    }

    /// Moves this many slots, the first ones of `from`, and says which.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn reshard(&self, from: usize, to: usize, count: usize) -> Vec<u16> {
        let slots: Vec<u16> = self.slots_of(from).into_iter().take(count).collect();
        for slot in &slots {
            self.migrate_slot(*slot, from, to);
        }
        slots
    }

    /// Begins to move a slot. Until it is finished, both nodes answer for it: clients are asked to `ASK`, or to try
    /// again where a command needs keys of both sides.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn migrate(&self, slot: u16, from: usize, to: usize) -> Migration<'_> {
        let number = slot.to_string();
        self.nodes[to].command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.ids[from]]);
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.ids[to]]);
        Migration { cluster: self, slot: number, from, to }
    }

    /// Waits until all nodes live and agree again, such as after a restart.
    ///
    /// # Panics
    /// When they do not.
    pub fn wait_until_whole(&self) {
        until("a cluster to be whole", || self.is_whole());
    }

    /// Whether every node says that all is well, and all say the same about the slots.
    fn is_whole(&self) -> bool {
        let is_well = |node: &Redis| {
            node.try_command(&["CLUSTER", "INFO"])
                .is_ok_and(|info| info.to_string().contains("cluster_state:ok"))
        };
        let mut owners = self.nodes.iter().map(|node| self.owners(node));
        let Some(Some(first)) = owners.next() else { return false };
        first.iter().all(Option::is_some)
            && owners.all(|owners| owners.as_ref() == Some(&first))
            && self.nodes.iter().all(is_well)
    }

    /// Who has each slot, as a node sees it, if it answers.
    fn owners(&self, node: &Redis) -> Option<Vec<Option<usize>>> {
        let Ok(Reply::List(ranges)) = node.try_command(&["CLUSTER", "SLOTS"]) else { return None };
        let mut owners = vec![None; usize::from(SLOTS)];
        for range in &ranges {
            let [first, last, master, ..] = range.list() else { return None };
            let id = master.list().get(2)?.text();
            let owner = self.ids.iter().position(|known| *known == id);
            let slots = usize::try_from(first.int()).ok()?..=usize::try_from(last.int()).ok()?;
            owners.get_mut(slots)?.fill(owner);
        }
        Some(owners)
    }
}

/// The configuration epoch of a node, as another one sees it, if that one answers.
fn epoch(seen_by: &Redis, id: &str) -> Option<u64> {
    let nodes = seen_by.try_command(&["CLUSTER", "NODES"]).ok()?.to_string();
    nodes.lines().find(|line| line.starts_with(id))?.split(' ').nth(6)?.parse().ok()
}

/// A slot on its way from one node to another.
#[derive(Debug)]
#[must_use = "a slot stays between two nodes until it is finished"]
pub struct Migration<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    from: usize,
    to: usize,
}

impl Migration<'_> {
    /// Moves up to so many keys, and says how many.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_keys(&self, count: usize) -> usize {
        let (from, to) = (&self.cluster.nodes[self.from], &self.cluster.nodes[self.to]);
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, &count.to_string()]);
        let keys = keys.list();
        if keys.is_empty() {
            return 0;
        }
        let port = to.port().to_string();
        let mut words: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"10000"];
        if let Some(password) = from.password() {
            words.extend([b"AUTH", password.as_bytes()]);
        }
        words.push(b"KEYS");
        words.extend(keys.iter().map(|key| match key {
            Reply::Bytes(key) => key.as_slice(),
            other => panic!("{other:?} is no key"),
        }));
        from.command(&words);
        keys.len()
    }

    /// Moves what is left and makes the new owner known to all nodes that live.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn finish(self) {
        while self.move_keys(100) > 0 {}
        let _alone = self.cluster.handover.lock();
        let Self { cluster, slot, from, to } = self;
        let others = (0..cluster.nodes.len()).filter(|node| ![from, to].contains(node));
        // First who has the keys: at no moment does nobody feel responsible.
        for node in [to, from].into_iter().chain(others) {
            cluster.nodes[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.ids[to]]);
        }
        // A node that has not heard of the new epoch would take its next slot under an old one, and lose it again.
        until("all nodes to know the new epoch", || {
            let mut epochs = cluster.nodes.iter().map(|node| epoch(node, &cluster.ids[to]));
            let first = epochs.next().flatten();
            first.is_some() && epochs.all(|epoch| epoch == first)
        });
    }
}
