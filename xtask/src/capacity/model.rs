//! From what is assumed and what was measured to machines.

use anyhow::Result;

use super::assumptions::Assumptions;
use super::measured::{Cost, Measured};

const DAY: f64 = 24.0 * 60.0 * 60.0;
/// How many shards the keys of `chat-redis` are spread over: more Redis servers find nothing to do (`keys::SHARDS`).
pub(crate) const SHARDS: f64 = 16.0;
/// How often a node looks for leases that ran out (`Chat::start`).
const SWEEPS: f64 = 2.0;
/// For how long the log remembers the id of an event, in seconds (README of `chat-streams`).
const REMEMBERED: f64 = 20.0 * 60.0;
/// Of the memory of a Redis so much is used.
const USED: f64 = 0.7;
/// An event is taken out of its document when it has been published; many by one statement, so it was not counted.
const CLEARED: f64 = 1.0;
/// The text of the message that was measured.
const MEASURED_TEXT: f64 = 61.0;
/// What a frame adds to the text it carries: ids, names, the time.
const FRAME: f64 = 350.0;

/// How much happens in a second of the peak.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) online: f64,
    pub(crate) sockets: f64,
    pub(crate) sent: f64,
    pub(crate) reads: f64,
    pub(crate) delivered: f64,
    pub(crate) typing: f64,
    /// Comings, and as many goings.
    pub(crate) pairs: f64,
    /// What goes through the log.
    pub(crate) events: f64,
    /// What goes to sockets.
    pub(crate) deliveries: f64,
}

impl Rates {
    pub(crate) fn of(a: &Assumptions) -> Self {
        let online = a.users * a.online_percent / 100.0;
        let at_peak = a.users / DAY * a.peak;
        let sent = at_peak * a.messages;
        let others = (a.members - 1.0).max(0.0);
        let reads = sent * others / a.covered;
        let there = others * a.online_percent / 100.0;
        let delivered = sent * there * a.delivered_percent / 100.0;
        let (typing, pairs) = (sent * a.typing, at_peak * a.sessions);
        // Everybody who is there hears it, on each device; a message and a count go to the own devices, too.
        let heard = there * a.devices;
        let neighbours = a.rooms * (a.room_size - 1.0).max(0.0) * a.online_percent / 100.0 * a.devices;
        let deliveries = sent * (heard + a.devices)
            + reads * (heard + a.devices)
            + (delivered + typing) * heard
            + 2.0 * pairs * neighbours;
        Self {
            online,
            sockets: online * a.devices,
            sent,
            reads,
            delivered,
            typing,
            pairs,
            events: sent + reads + delivered + typing + 2.0 * pairs,
            deliveries,
        }
    }
}

/// What one chat needs: those in it hear each other, and share one log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cell {
    pub(crate) rates: Rates,
    pub(crate) nodes: f64,
    /// Processor of all nodes, in cores, without what is in reserve; and of it, that of reading the log.
    pub(crate) node_cores: f64,
    pub(crate) following_cores: f64,
    /// GB of memory of sockets.
    pub(crate) socket_gb: f64,
    /// Redis for what is derived and volatile.
    pub(crate) redis: f64,
    pub(crate) redis_gb: f64,
    pub(crate) redis_cores: f64,
    /// Redis of the log: one, whatever it needs.
    pub(crate) log_gb: f64,
    pub(crate) log_cores: f64,
    /// Bytes a second: out of sockets, and out of and into Redis.
    pub(crate) out: f64,
    pub(crate) backend: f64,
    /// Whether one log and sixteen shards are enough.
    pub(crate) fits: bool,
}

/// MongoDB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Truth {
    pub(crate) shards: f64,
    pub(crate) documents_gb: f64,
    pub(crate) writes: f64,
}

/// Kafka, where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Kafka {
    pub(crate) mb: f64,
    pub(crate) partitions: f64,
    pub(crate) disk_gb: f64,
}

/// All of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Plan {
    /// How many chats apart from each other it takes.
    pub(crate) cells: f64,
    pub(crate) cell: Cell,
    pub(crate) truth: Truth,
    pub(crate) kafka: Kafka,
}

/// Sizes a chat of so many users; as several chats where one is too large for one log.
pub(crate) fn plan(a: &Assumptions, m: &Measured) -> Result<Plan> {
    let mut cells = 1.0;
    let cell = loop {
        let part = Assumptions { users: a.users / cells, ..*a };
        let cell = cell(&part, m)?;
        if cell.fits || cells >= 1e6 {
            break cell;
        }
        cells += (cells / 20.0_f64).floor().max(1.0);
    };
    Ok(Plan { cells, cell, truth: truth(a, m)?, kafka: kafka(a, m)? })
}

/// The most users one chat can have.
pub(crate) fn largest(a: &Assumptions, m: &Measured) -> Result<f64> {
    let (mut low, mut high) = (1e3, 1e10);
    while high / low > 1.01 {
        let users = f64::sqrt(low * high);
        let fits = cell(&Assumptions { users, ..*a }, m)?.fits;
        if fits { low = users } else { high = users }
    }
    Ok(low)
}

/// What is done to Redis however many nodes there are.
pub(crate) fn derived(a: &Assumptions, rates: &Rates, m: &Measured) -> Result<Cost> {
    let leases = m.cost("renew a lease, in batches")? * (rates.sockets / a.beat)
        + m.cost("idle or not, in batches")? * (rates.online / a.beat);
    let sends = (m.cost("send")? + m.cost("rate limit")?) * rates.sent;
    let reads = (m.cost("mark read")? + total_unread(a.rooms, m)?) * rates.reads;
    let small = m.cost("role of a member")? * (rates.delivered + rates.typing);
    let comings = (m.cost("connect and disconnect")? + m.cost("list of 20 conversations")?) * rates.pairs;
    Ok([leases, sends, reads, small, comings].into_iter().sum())
}

/// A total over so many rooms: what it costs at all, and for each room.
pub(crate) fn total_unread(rooms: f64, m: &Measured) -> Result<Cost> {
    let (ten, hundred) = (m.cost("total unread of 10 rooms")?, m.cost("total unread of 100 rooms")?);
    let line = |ten: f64, hundred: f64| (ten + (hundred - ten) / 90.0 * (rooms - 10.0)).max(0.0);
    Ok(Cost {
        node: line(ten.node, hundred.node),
        redis: line(ten.redis, hundred.redis),
        bytes_in: line(ten.bytes_in, hundred.bytes_in),
        bytes_out: line(ten.bytes_out, hundred.bytes_out),
    })
}

fn cell(a: &Assumptions, m: &Measured) -> Result<Cell> {
    let rates = Rates::of(a);
    let (busy, second) = (a.busy_percent / 100.0, 1e6);
    let derived = derived(a, &rates, m)?;
    let publish = m.cost("publish an event, in batches")? * rates.events;
    let handed_out = m.cost("hand an event out, in batches")? * (rates.sent + rates.reads);
    let sending = rates.deliveries / m.deliveries.0 * second;
    // What every node does for all: it follows the whole log, and asks about everybody who comes or goes.
    let following = m.cost("follow the log, an event")? * rates.events;
    let asking = m.cost("presence of one")? * (2.0 * rates.pairs) + m.cost("sweep")? * SWEEPS;
    let work = derived.node + publish.node + handed_out.node + sending;
    let left = a.cores * second * busy - following.node - asking.node;
    let by_work = if left > 0.0 { work / left } else { f64::INFINITY };
    // Two, so that one can be away.
    let nodes = by_work.max(rates.sockets / a.sockets).ceil().max(2.0);

    let redis = derived + asking * nodes;
    let log = publish + handed_out + following * nodes;
    let redis_cores = redis.redis / second;
    let log_cores = log.redis / second;
    let redis_gb = memory(a, &rates, m)? / 1e9;
    let log_gb = rates.events * REMEMBERED * m.number("id of an event, remembered for 20 minutes")? / 1e9;
    let shards = (redis_cores / busy).max(redis_gb / (a.redis_gb * USED)).ceil().max(1.0);
    let backend = redis.bytes_in + redis.bytes_out + log.bytes_in + log.bytes_out;
    let fits = nodes.is_finite() && shards <= SHARDS && log_cores <= busy && log_gb <= a.redis_gb * USED;
    Ok(Cell {
        rates,
        nodes,
        node_cores: (work + (following.node + asking.node) * nodes) / second,
        following_cores: following.node * nodes / second,
        socket_gb: rates.sockets * m.socket.0 / 1e9,
        redis: shards,
        redis_gb,
        redis_cores,
        log_gb,
        log_cores,
        out: rates.deliveries * (a.text + FRAME),
        backend,
        fits,
    })
}

/// Bytes of Redis for what is derived and volatile.
fn memory(a: &Assumptions, rates: &Rates, m: &Measured) -> Result<f64> {
    let memberships = a.users * a.rooms;
    let of_membership = per_member("room index: a member of a room of", a.room_size, m, Measured::number)?
        + per_member("unread: a reader of a conversation of", a.room_size, m, Measured::number)?;
    Ok(rates.sockets * m.number("a user of 100 000 online")?
        + (a.users - rates.online).max(0.0) * m.number("presence: a user who has gone, for 30 days")?
        + memberships * of_membership
        + a.users * m.number("profile")?)
}

/// Bytes of a member in a room of so many: what it takes itself, and its share of the room.
pub(crate) fn per_member(
    what: &str,
    size: f64,
    m: &Measured,
    number: impl Fn(&Measured, &str) -> Result<f64>,
) -> Result<f64> {
    let (low, high) = if size <= 10.0 { (2.0, 10.0) } else { (10.0, 100.0) };
    let at = |size: f64| number(m, &format!("{what} {size}"));
    let share = (at(low)? - at(high)?) / (1.0 / low - 1.0 / high);
    Ok(at(high)? + share * (1.0 / size.max(1.0) - 1.0 / high))
}

fn truth(a: &Assumptions, m: &Measured) -> Result<Truth> {
    let rates = Rates::of(a);
    let messages = a.users * a.messages * a.days;
    let found_by = m.number("of these, what search finds it by")?;
    let text = a.text / MEASURED_TEXT;
    let document = m.number("bytes of a stored message")? + (found_by + MEASURED_TEXT) * (text - 1.0);
    let entries = m.number("indexes it is in at most")? + m.number("entries in the index of search")? * text;
    let bytes = document * a.packed_percent / 100.0 + entries * a.entry;
    let writes_of = |name: &str| m.number(&format!("MongoDB, {name}: writes"));
    let published = CLEARED + writes_of("publish an event")?;
    let writes = rates.sent * (writes_of("send")? + published)
        + (rates.reads + rates.delivered) * (writes_of("mark read")? + published);
    let documents_gb = messages * bytes / 1e9;
    let shards = (documents_gb / a.mongo_gb).max(writes / a.mongo_writes).ceil().max(1.0);
    Ok(Truth { shards, documents_gb, writes })
}

fn kafka(a: &Assumptions, m: &Measured) -> Result<Kafka> {
    let bytes = Rates::of(a).events * m.cost("follow the log, an event")?.bytes_out;
    let disk_gb = bytes / a.peak * DAY * a.log_days * a.copies / 1e9;
    Ok(Kafka { mb: bytes / 1e6, partitions: (bytes / 1e6 / a.partition_mb).ceil().max(1.0), disk_gb })
}

/// A figure, as the model has it from smaller sizes and as it was measured.
pub(crate) struct Compared {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) predicted: f64,
    pub(crate) measured: f64,
}

/// A hundred thousand users, from the costs of ten thousand, beside what was measured.
pub(crate) fn compared(m: &Measured) -> Result<Vec<Compared>> {
    let fact = |name: &str| m.number(name);
    let (users, rooms, size) = (fact("users online")?, fact("rooms of each")?, fact("members of a room")?);
    let of_membership = per_member("room index: a member of a room of", size, m, Measured::few)?
        + per_member("unread: a reader of a conversation of", size, m, Measured::few)?;
    let memory = users * (m.few("a user of 10 000 online")? + rooms * of_membership + m.few("profile")?);
    let lease = m.cost("renew a lease, in batches")?;
    let leases = lease * fact("leases renewed a second")? + m.cost("sweep")? * SWEEPS;
    let share = |name: &str| Ok::<_, anyhow::Error>(fact(&format!("operations: {name} of 20"))? / 20.0);
    let mixed = m.cost("send")? * share("sends")?
        + m.cost("mark read")? * share("reads")?
        + m.cost("connect and disconnect")? * share("comings and goings")?
        + m.cost("total unread of 10 rooms")? * share("totals")?;
    let row = |what, unit, predicted, name: &str| {
        Ok::<_, anyhow::Error>(Compared { what, unit, predicted, measured: fact(name)? })
    };
    Ok(vec![
        row("memory of Redis", "MB", memory / 1e6, "memory of Redis, bytes")
            .map(|row| Compared { measured: row.measured / 1e6, ..row })?,
        row("leases: Redis", "µs/s", leases.redis, "leases: Redis, µs/s")?,
        row(
            "a lease, as fast as can be: Redis",
            "µs",
            lease.redis,
            "leases, as fast as can be: Redis, µs each",
        )?,
        row("leases: node", "µs/s", leases.node, "leases: node, µs/s")?,
        row("leases: bytes to Redis", "/s", leases.bytes_in, "leases: bytes to Redis a second")?,
        row("operations of all sorts: Redis", "µs each", mixed.redis, "operations: Redis, µs each")?,
        row("operations of all sorts: node", "µs each", mixed.node, "operations: node, µs each")?,
        row(
            "operations of all sorts: bytes to Redis",
            "each",
            mixed.bytes_in,
            "operations: bytes to Redis each",
        )?,
        row("operations of all sorts: bytes back", "each", mixed.bytes_out, "operations: bytes back each")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation costs 10 µs of a node, 5 of Redis, 100 bytes in and 50 back.
    fn measured() -> Measured {
        let operations = [
            "renew a lease, in batches",
            "idle or not, in batches",
            "connect and disconnect",
            "sweep",
            "send",
            "mark read",
            "presence of one",
            "role of a member",
            "total unread of 10 rooms",
            "total unread of 100 rooms",
            "list of 20 conversations",
            "rate limit",
            "publish an event, in batches",
            "hand an event out, in batches",
            "follow the log, an event",
        ];
        let mut page: String =
            operations.map(|name| format!("| cost: {name} | 10 | 5 | 1 | 100 | 50 | 1 |\n")).concat();
        let bytes = [
            ("a user of 100 000 online", 500),
            ("presence: a user who has gone, for 30 days", 200),
            ("room index: a member of a room of 2", 300),
            ("room index: a member of a room of 10", 140),
            ("unread: a reader of a conversation of 2", 100),
            ("unread: a reader of a conversation of 10", 60),
            ("profile", 250),
            ("id of an event, remembered for 20 minutes", 80),
            ("bytes of a stored message", 400),
            ("of these, what search finds it by", 100),
            ("indexes it is in at most", 5),
            ("entries in the index of search", 10),
            ("MongoDB, send: writes", 2),
            ("MongoDB, publish an event: writes", 1),
            ("MongoDB, mark read: writes", 1),
        ];
        page += &bytes.map(|(name, bytes)| format!("| {name} | {bytes} |\n")).concat();
        Measured::read(&page, "")
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-6 * other.abs().max(1.0)
    }

    /// Numbers that can be reckoned by hand.
    fn plain() -> Assumptions {
        Assumptions {
            users: 864_000.0,
            messages: 10.0,
            peak: 1.0,
            online_percent: 10.0,
            devices: 1.0,
            members: 11.0,
            covered: 10.0,
            typing: 0.0,
            sessions: 1.0,
            text: 122.0,
            entry: 30.0,
            ..Assumptions::default()
        }
    }

    #[test]
    fn rates_are_those_of_the_peak() {
        let rates = Rates::of(&plain());
        assert!(near(rates.sent, 100.0), "864 000 users, 10 a day");
        assert!(near(rates.reads, 100.0), "10 others, 10 covered by each");
        assert!(near(rates.pairs, 10.0) && near(rates.events, 220.0));
        // One other is there: a message goes to it and to its sender, a receipt likewise.
        let neighbours = 30.0 * 3.0 * 0.1;
        assert!(near(rates.deliveries, 200.0 + 200.0 + 20.0 * neighbours), "{rates:?}");
        assert!(near(Rates::of(&Assumptions { peak: 3.0, ..plain() }).events, 660.0));
    }

    #[test]
    fn memory_is_that_of_everybody_and_of_who_is_online() {
        let (a, m) = (plain(), measured());
        assert!(near(
            per_member("room index: a member of a room of", 4.0, &m, Measured::number).unwrap(),
            200.0
        ));
        let bytes = memory(&a, &Rates::of(&a), &m).unwrap();
        let each = 0.1 * 500.0 + 0.9 * 200.0 + 30.0 * (200.0 + 75.0) + 250.0;
        assert!(near(bytes, a.users * each), "{bytes}");
    }

    #[test]
    fn what_grows_with_nodes_is_counted_for_each() {
        let (a, m) = (plain(), measured());
        let cell = cell(&a, &m).unwrap();
        assert!(near(cell.nodes, 2.0) && cell.fits, "{cell:?}");
        let log = 220.0 * 5.0 + 200.0 * 5.0 + 2.0 * 220.0 * 5.0;
        assert!(near(cell.log_cores, log / 1e6), "{cell:?}");
        let derived = 86_400.0 / 15.0 * 2.0 + 100.0 * 2.0 + 100.0 * 2.0 + 10.0 * 2.0;
        let asking = 2.0 * (20.0 + 2.0);
        assert!(near(cell.redis_cores, (derived + asking) * 5.0 / 1e6), "{cell:?}");
    }

    #[test]
    fn what_is_too_much_for_one_log_takes_several() {
        let m = measured();
        let large = Assumptions { users: 1e9, ..plain() };
        let plan = plan(&large, &m).unwrap();
        assert!(plan.cells > 1.0 && plan.cell.fits, "{plan:?}");
        let one_less = Assumptions { users: 1e9 / (plan.cells * 0.9), ..large };
        assert!(!cell(&one_less, &m).unwrap().fits, "no more of them than it takes");
    }

    #[test]
    fn the_largest_chat_is_one_that_fits() {
        let (a, m) = (plain(), measured());
        let users = largest(&a, &m).unwrap();
        assert!(cell(&Assumptions { users, ..a }, &m).unwrap().fits);
        assert!(!cell(&Assumptions { users: users * 1.02, ..a }, &m).unwrap().fits);
        assert!(
            largest(&Assumptions { messages: 5.0, ..a }, &m).unwrap() > users,
            "less of what it is about"
        );
    }

    #[test]
    fn truth_is_sized_by_what_needs_more() {
        let (a, m) = (plain(), measured());
        let truth = truth(&a, &m).unwrap();
        // Twice the text: 561 bytes, half of them on disk, and 25 entries.
        let bytes = 561.0 / 2.0 + 25.0 * 30.0;
        assert!(near(truth.documents_gb, 864_000.0 * 10.0 * 365.0 * bytes / 1e9), "{truth:?}");
        assert!(near(truth.writes, 100.0 * 4.0 + 100.0 * 3.0) && near(truth.shards, 2.0), "{truth:?}");
        let busy = super::truth(&Assumptions { mongo_writes: 50.0, ..a }, &m).unwrap();
        assert!(near(busy.shards, 14.0));
    }

    #[test]
    fn a_total_costs_as_much_more_as_there_are_more_rooms() {
        let page = "| cost: total unread of 10 rooms | 20 | 10 | 1 | 100 | 50 | 1 |\n| cost: total unread of 100 rooms | 110 | 100 | 1 | 1000 | 500 | 1 |\n";
        let total = total_unread(40.0, &Measured::read(page, "")).unwrap();
        assert!(near(total.node, 50.0) && near(total.redis, 40.0) && near(total.bytes_in, 400.0));
    }
}
