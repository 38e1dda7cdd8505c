//! What chat-server and its peer are compared in.

/// How often each side has its turn.
const ROUNDS: usize = 5;

/// What the two are compared in.
pub(super) struct Contest {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it is called on the page.
    pub(super) title: &'static str,
    /// The arguments of chat-load.
    pub(super) load: &'static str,
    /// How often each side has its turn.
    pub(super) rounds: usize,
    /// Whether every turn has a server that did nothing before.
    pub(super) fresh: bool,
    /// What the peer is told, beside the secret.
    pub(super) peer: &'static [(&'static str, &'static str)],
    /// What is told of it.
    pub(super) figures: &'static [Figure],
}

/// A number of a report, and what is said of it.
pub(super) struct Figure {
    /// What chat-load calls it.
    pub(super) key: &'static str,
    /// What it is called on the page.
    pub(super) title: &'static str,
    /// How many times better than the peer ours is to be; none where it is not compared.
    pub(super) goal: Option<f64>,
    /// Whether more is better.
    pub(super) more: bool,
}

const PER_CORE: Figure =
    Figure { key: "perCpuSecond", title: "deliveries per second of CPU", goal: Some(4.0), more: true };
const PER_SECOND: Figure =
    Figure { key: "perSecond", title: "deliveries per second", goal: Some(1.0), more: true };
const MEDIAN: Figure = Figure { key: "p50Millis", title: "latency, half, ms", goal: Some(1.0), more: false };
const SLOWEST: Figure =
    Figure { key: "p99Millis", title: "latency, 99 of 100, ms", goal: Some(1.0), more: false };
const SIZE: Figure =
    Figure { key: "bytesPerDelivery", title: "bytes of a delivery", goal: None, more: false };
const FAN_OUT: &[Figure] = &[PER_CORE, PER_SECOND, MEDIAN, SLOWEST, SIZE];

/// All of them.
pub(super) const CONTESTS: &[Contest] = &[
    Contest {
        name: "fanout-100",
        title: "Fan-out 1 → 100, one message on its way",
        load: "fanout --members 100 --messages 2000 --senders 1",
        rounds: ROUNDS,
        fresh: false,
        peer: &[],
        figures: FAN_OUT,
    },
    Contest {
        name: "fanout-100-busy",
        title: "Fan-out 1 → 100, 16 messages on their way",
        load: "fanout --members 100 --messages 3000 --senders 16",
        rounds: ROUNDS,
        fresh: false,
        peer: &[],
        figures: FAN_OUT,
    },
    Contest {
        name: "fanout-1000",
        title: "Fan-out 1 → 1 000, one message on its way",
        load: "fanout --members 1000 --messages 200 --senders 1",
        rounds: ROUNDS,
        fresh: false,
        peer: &[],
        figures: FAN_OUT,
    },
    Contest {
        name: "rooms",
        title: "100 rooms of 10 at once",
        load: "rooms --rooms 100 --members 10 --messages 200",
        rounds: ROUNDS,
        fresh: false,
        peer: &[],
        figures: FAN_OUT,
    },
    Contest {
        name: "fanout-100-kept",
        title: "Fan-out 1 → 100, the peer keeps its messages in an array",
        load: "fanout --members 100 --messages 2000 --senders 1",
        rounds: ROUNDS,
        fresh: false,
        peer: &[("PEER_KEEP", "1")],
        figures: FAN_OUT,
    },
    Contest {
        name: "storm",
        title: "5 000 sockets connect, 64 at once, and leave",
        load: "storm --sockets 5000 --at-once 64",
        rounds: ROUNDS,
        fresh: false,
        peer: &[],
        figures: &[
            Figure { key: "perSecond", title: "connects per second", goal: Some(1.0), more: true },
            Figure { key: "seconds", title: "until all are in, s", goal: Some(1.0), more: false },
            Figure {
                key: "cpuMicrosPerConnect",
                title: "CPU of a connect, µs",
                goal: Some(1.0),
                more: false,
            },
            Figure { key: "cpuMicrosPerLeave", title: "CPU of a leave, µs", goal: Some(1.0), more: false },
        ],
    },
    Contest {
        name: "idle",
        title: "5 000 sockets do nothing for 30 s, pings at both",
        load: "idle --sockets 5000 --seconds 30",
        rounds: 3,
        fresh: true,
        peer: &[("PEER_GC", "1")],
        figures: &[
            Figure {
                key: "bytesPerSocket",
                title: "memory of a socket, bytes",
                goal: Some(1.0),
                more: false,
            },
            Figure {
                key: "cpuMicrosPerSocketSecond",
                title: "CPU of a socket, µs/s",
                goal: Some(1.0),
                more: false,
            },
            Figure { key: "bytesBefore", title: "memory before, bytes", goal: Some(1.0), more: false },
        ],
    },
];
