//! The scenarios and what is aimed at.

use super::server::Kind;

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// Messages a second.
    Rate,
    /// Deliveries a second.
    Delivered,
    /// Server CPU per message in µs.
    Cost,
    /// PUBLISH to PUBACK in µs, half of all.
    Median,
    /// PUBLISH to PUBACK in µs, 99 of 100.
    Slowest,
    /// PUBLISH to arrival in µs, half of all.
    EndToEnd,
    /// PUBLISH to arrival in µs, 99 of 100.
    SlowestEndToEnd,
    /// Memory per connection in bytes.
    Connection,
    /// Connections a second.
    Connecting,
    /// The most memory in MB.
    Peak,
}

impl Figure {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "msg/s",
            Self::Delivered => "deliveries/s",
            Self::Cost => "µs/msg",
            Self::Median => "µs to PUBACK, p50",
            Self::Slowest => "µs to PUBACK, p99",
            Self::EndToEnd => "µs end to end, p50",
            Self::SlowestEndToEnd => "µs end to end, p99",
            Self::Connection => "B/connection",
            Self::Connecting => "connections/s",
            Self::Peak => "MB at most",
        }
    }

    /// Of rates more is better, of costs less.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Rate | Self::Delivered | Self::Connecting)
    }
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Aim {
    /// This.
    Is(f64),
    /// This share of `sink --wal` in the same run.
    OfSink(f64),
    /// This, but only where `sink --wal` gets as far.
    WhereSinkGets(f64),
    /// This many times what ironbrook itself has in that scenario of the same run.
    OfOwn(&'static str, f64),
}

/// A scenario.
pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub tls: bool,
    /// The server is started anew before each run, because memory is the point.
    pub starts_anew: bool,
    /// It is about ordinary topics, not about the hub's.
    pub ordinary_topics: bool,
    pub has_subscribers: bool,
    /// The hub's log is encrypted at rest.
    pub encrypted: bool,
    /// Threads of the hub; more than one share the generator's CPU, so that only costs can be compared.
    pub workers: usize,
    /// Options of the generator.
    pub options: &'static [&'static str],
    pub servers: &'static [Kind],
    pub aims: &'static [(Figure, Aim)],
}

impl Scenario {
    /// What servers are compared by.
    pub fn figure(&self) -> Figure {
        let publishes = self.options.contains(&"--pubs");
        match (publishes, self.has_subscribers) {
            (false, _) => Figure::Connecting,
            (true, true) => Figure::Delivered,
            (true, false) => Figure::Rate,
        }
    }
}

const NONE: Scenario = Scenario {
    name: "",
    what: "",
    tls: false,
    starts_anew: false,
    ordinary_topics: false,
    has_subscribers: false,
    encrypted: false,
    workers: 1,
    options: &[],
    servers: &[Kind::Sink, Kind::Mosquitto, Kind::Rumqttd, Kind::Ironbrook],
    aims: &[],
};
const BROKERS: &[Kind] = &[Kind::Mosquitto, Kind::Rumqttd, Kind::Ironbrook];
/// Scaling is asked of nobody else.
const OWN: &[Kind] = &[Kind::Ironbrook];

const B1: &[&str] = &["--pubs", "100", "--qos", "1", "--window", "64"];
const B1P: &[&str] = &["--pubs", "100", "--qos", "1", "--window", "16", "--batch", "1"];
const B1S: &[&str] = &["--pubs", "1000", "--qos", "1", "--window", "1"];

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "b1",
        what: "ingest of QoS 1 from 100 connections, window 64, in batches",
        options: B1,
        aims: &[
            (Figure::Rate, Aim::OfSink(0.8)),
            (Figure::Rate, Aim::WhereSinkGets(1_000_000.0)),
            (Figure::Cost, Aim::Is(0.8)),
        ],
        ..NONE
    },
    Scenario {
        name: "b1-encrypted",
        what: "as b1 with the log encrypted at rest",
        encrypted: true,
        options: B1,
        servers: OWN,
        ..NONE
    },
    Scenario {
        name: "b1p",
        what: "ingest of QoS 1 from 100 connections, window 16, one packet per write",
        options: B1P,
        aims: &[(Figure::Rate, Aim::OfSink(0.9)), (Figure::Cost, Aim::Is(3.6))],
        ..NONE
    },
    Scenario {
        name: "b1s",
        what: "ingest of QoS 1 from 1000 devices, stop and wait",
        options: B1S,
        aims: &[(Figure::Rate, Aim::OfSink(0.75)), (Figure::Cost, Aim::Is(6.0))],
        ..NONE
    },
    Scenario {
        name: "b1p-2",
        what: "as b1p with two workers, which share a CPU with the generator",
        workers: 2,
        options: B1P,
        servers: OWN,
        aims: &[(Figure::Cost, Aim::OfOwn("b1p", 1.15))],
        ..NONE
    },
    Scenario {
        name: "b1s-2",
        what: "as b1s with two workers, which share a CPU with the generator",
        workers: 2,
        options: B1S,
        servers: OWN,
        aims: &[(Figure::Cost, Aim::OfOwn("b1s", 1.15))],
        ..NONE
    },
    Scenario {
        name: "t1",
        what: "as b1p over TLS",
        tls: true,
        options: B1P,
        aims: &[(Figure::Rate, Aim::Is(220_000.0)), (Figure::Cost, Aim::Is(4.4))],
        ..NONE
    },
    Scenario {
        name: "l1",
        what: "time to PUBACK, 1000 devices, 2000 messages a second in all",
        options: &["--pubs", "1000", "--qos", "1", "--rate", "2000"],
        aims: &[(Figure::Median, Aim::OfSink(1.2)), (Figure::Slowest, Aim::OfSink(2.0))],
        ..NONE
    },
    Scenario {
        name: "a1",
        what: "100 to 1 with QoS 1, ordinary topics, at most 500 messages under way",
        ordinary_topics: true,
        has_subscribers: true,
        options: &["--pubs", "100", "--subs", "1", "--qos", "1", "--closed", "500", "--window", "16"],
        servers: BROKERS,
        aims: &[(Figure::Delivered, Aim::Is(700_000.0)), (Figure::Cost, Aim::Is(1.0))],
        ..NONE
    },
    Scenario {
        name: "a1-persistent",
        what: "as a1 with a session that is kept, each message on disk before it is acknowledged or delivered",
        // What one run leaves in the session would be sent in the next.
        starts_anew: true,
        ordinary_topics: true,
        has_subscribers: true,
        options: &[
            "--pubs",
            "100",
            "--subs",
            "1",
            "--qos",
            "1",
            "--closed",
            "500",
            "--window",
            "16",
            "--persistent",
        ],
        servers: BROKERS,
        aims: &[(Figure::Delivered, Aim::Is(300_000.0))],
        ..NONE
    },
    Scenario {
        name: "c1",
        what: "1 to 100 with QoS 1, ordinary topics, at most 64 messages under way",
        ordinary_topics: true,
        has_subscribers: true,
        options: &["--pubs", "1", "--subs", "100", "--qos", "1", "--closed", "64", "--window", "16"],
        servers: BROKERS,
        aims: &[(Figure::Delivered, Aim::Is(1_100_000.0)), (Figure::Cost, Aim::Is(0.6))],
        ..NONE
    },
    Scenario {
        name: "d1",
        what: "end to end, 1 to 1 with QoS 1, 200 messages a second",
        ordinary_topics: true,
        has_subscribers: true,
        options: &["--pubs", "1", "--subs", "1", "--qos", "1", "--rate", "200"],
        servers: BROKERS,
        aims: &[(Figure::EndToEnd, Aim::Is(150.0)), (Figure::SlowestEndToEnd, Aim::Is(340.0))],
        ..NONE
    },
    Scenario {
        name: "idle",
        what: "user memory of idle connections",
        starts_anew: true,
        options: &["--idle", "10000"],
        servers: BROKERS,
        aims: &[(Figure::Connection, Aim::Is(5_000.0))],
        ..NONE
    },
    Scenario {
        name: "idle-tls",
        what: "user memory of idle connections with TLS",
        tls: true,
        starts_anew: true,
        options: &["--idle", "10000"],
        servers: BROKERS,
        aims: &[(Figure::Connection, Aim::Is(20_000.0))],
        ..NONE
    },
    Scenario {
        name: "handshake",
        what: "full TLS 1.3 handshakes with CONNECT, 64 at once",
        tls: true,
        options: &["--idle", "1000", "--tls-ver", "1.3"],
        aims: &[(Figure::Connecting, Aim::Is(4_500.0))],
        ..NONE
    },
    Scenario {
        name: "flood",
        what: "the most memory under a flood of QoS 0 from 100 connections",
        starts_anew: true,
        options: &["--pubs", "100", "--qos", "0", "--warm", "0"],
        servers: BROKERS,
        aims: &[(Figure::Peak, Aim::Is(48.0))],
        ..NONE
    },
];
