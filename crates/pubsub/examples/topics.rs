//! Measures the broker's core with many subscriptions and many retained messages: time on the CPU, and memory.
//! `cargo xtask bench topics` runs it.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use ironbrook_model::Timestamp;
use ironbrook_pubsub::acl::Acl;
use ironbrook_pubsub::topic::{Entry, Filter, Index};
use ironbrook_pubsub::{
    Broker, ClientInfo, Config, Outgoing, Publish, QoS, Reason, SessionHandle, Subscription,
    SubscriptionOptions, Version, Wakes,
};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const CLIENTS: usize = 10_000;
const FILTERS_EACH: usize = 100;
const RETAINED: usize = 100_000;
/// Publishes of which the mean is told.
const PUBLISHES: usize = 100_000;

/// Resident memory of this process in bytes.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// How long this thread has run: a busy machine does not count.
fn on_cpu() -> Result<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = times.split_whitespace().next().ok_or("no time on CPU")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn connect(broker: &Broker, id: String) -> std::result::Result<SessionHandle, Reason> {
    Ok(broker.connect(ClientInfo::new(id, Version::V5), NOW)?.session)
}

fn to(filter: String) -> Subscription {
    Subscription { filter: filter.into(), options: SubscriptionOptions::default() }
}

fn message(topic: String, retain: bool) -> Publish {
    Publish {
        topic: topic.into(),
        payload: vec![b'x'; 100].into(),
        qos: QoS::AtMostOnce,
        retain,
        ..Publish::default()
    }
}

/// Takes all there is; gives how many messages came.
fn drain(session: &mut SessionHandle, out: &mut Vec<Outgoing>) -> std::result::Result<usize, Reason> {
    let mut count = 0;
    loop {
        let more = session.take(NOW, 1000, out)?;
        count += out.len();
        if !more && out.is_empty() {
            return Ok(count);
        }
        out.clear();
    }
}

fn each(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

/// The filters of one client: one in a hundred has wildcards, and each stands once.
fn filters(client: usize) -> impl Iterator<Item = String> {
    let site = client % 100;
    let wild = std::iter::once(format!("plant/site{site}/+/client{client}/state"));
    wild.chain((1..FILTERS_EACH).map(move |at| format!("plant/site{site}/line{at}/client{client}/value")))
}

/// Names by turns: of clients' exact filters, of their wild ones, and of nobody.
fn names() -> [(&'static str, Vec<String>); 3] {
    let exact = |client: usize| format!("plant/site{}/line7/client{client}/value", client % 100);
    let wild = |client: usize| format!("plant/site{}/x/client{client}/state", client % 100);
    let none = |client: usize| format!("plant/site1/line1/none{client}/value");
    [
        ("exact", (0..CLIENTS).map(exact).collect()),
        ("wild", (0..CLIENTS).map(wild).collect()),
        ("nobody's", (0..CLIENTS).map(none).collect()),
    ]
}

/// The tree of filters alone.
fn index() -> Result<()> {
    let (before, count) = (resident()?, CLIENTS * FILTERS_EACH);
    let index = Index::default();
    let mut parsed = Vec::with_capacity(FILTERS_EACH);
    let mut took = Duration::ZERO;
    for (client, who) in (0..CLIENTS).zip(0..) {
        parsed.extend(filters(client).map(|filter| Filter::parse(filter.into())));
        let begin = on_cpu()?;
        for filter in parsed.drain(..) {
            index.add(&filter?, Entry::new(who, &SubscriptionOptions::default()));
        }
        took += on_cpu()? - begin;
    }
    println!("{count} filters in the tree         {:>9.2} µs each", each(took, count));
    println!(
        "   memory                           {:>9.0} bytes each, {} by its own count",
        (resident()? - before) as f64 / count as f64,
        index.bytes() / count
    );
    for (what, names) in names() {
        let begin = on_cpu()?;
        let mut found = 0;
        for at in 0..PUBLISHES {
            found += index.matches(&names[at % names.len()], None).0.direct.len();
        }
        println!(
            "   match, {what:<24}  {:>9.2} µs each, {} found",
            each(on_cpu()? - begin, PUBLISHES),
            found / PUBLISHES
        );
    }
    Ok(())
}

fn subscriptions(broker: &Broker) -> Result<()> {
    let before = resident()?;
    let mut sessions = Vec::with_capacity(CLIENTS);
    for client in 0..CLIENTS {
        sessions.push(connect(broker, format!("client{client}"))?);
    }
    let connected = resident()?;
    println!(
        "{CLIENTS} sessions without filters      {:>9.0} bytes each",
        (connected - before) as f64 / CLIENTS as f64
    );
    let (begin, mut out) = (on_cpu()?, Vec::new());
    for (client, session) in sessions.iter_mut().enumerate() {
        let filters: Vec<Subscription> = filters(client).map(to).collect();
        session.subscribe(&filters, NOW)?;
        drain(session, &mut out)?;
    }
    let (took, count) = (on_cpu()? - begin, CLIENTS * FILTERS_EACH);
    println!("{count} subscriptions               {:>9.2} µs each", each(took, count));
    println!(
        "   memory                           {:>9.0} bytes each; the tree alone {} by its own count",
        (resident()? - connected) as f64 / count as f64,
        broker.snapshot().subscription_bytes as usize / count
    );
    let mut publisher = connect(broker, "publisher".to_owned())?;
    for (what, names) in names() {
        let messages: Vec<Publish> = names.into_iter().map(|topic| message(topic, false)).collect();
        let mut took = Duration::ZERO;
        for _ in 0..PUBLISHES / messages.len() {
            let begin = on_cpu()?;
            for message in &messages {
                publisher.publish(message, NOW, &mut Wakes::new())?;
            }
            took += on_cpu()? - begin;
            for session in &mut sessions {
                drain(session, &mut out)?;
            }
        }
        println!("   publish, {what:<22}  {:>9.2} µs each", each(took, PUBLISHES));
    }
    let begin = on_cpu()?;
    drop(sessions);
    println!(
        "   all clients go                   {:>9.2} µs for each subscription",
        each(on_cpu()? - begin, count)
    );
    Ok(())
}

/// Sets of filters that are hard for a tree: a name of many levels, and wildcards at each of them.
fn wildcards(broker: &Broker) -> Result<()> {
    let mut session = connect(broker, "wild".to_owned())?;
    let levels = 13;
    for bits in 0..(1 << levels) {
        let filter: Vec<&str> = (0..levels).map(|at| if bits >> at & 1 == 1 { "+" } else { "x" }).collect();
        session.subscribe(&[to(filter.join("/"))], NOW)?;
    }
    let mut publisher = connect(broker, "publisher".to_owned())?;
    let messages: Vec<Publish> =
        (0..8).map(|last| message(format!("{}/{last}", vec!["x"; levels - 1].join("/")), false)).collect();
    let begin = on_cpu()?;
    let count = 100;
    for at in 0..count {
        publisher.publish(&messages[at % 8], NOW, &mut Wakes::new())?;
    }
    println!("all {} filters of + and x in {levels} levels, half of which fit", 1 << levels);
    println!("   publish                          {:>9.2} µs each", each(on_cpu()? - begin, count));
    Ok(())
}

fn retained(broker: &Broker) -> Result<()> {
    let before = resident()?;
    let mut publisher = connect(broker, "publisher".to_owned())?;
    let begin = on_cpu()?;
    for at in 0..RETAINED {
        let name = format!("plant/site{}/line{}/machine{at}/status", at % 10, at % 100);
        publisher.publish(&message(name, true), NOW, &mut Wakes::new())?;
    }
    println!("{RETAINED} retained messages of 100 bytes  {:>9.2} µs each", each(on_cpu()? - begin, RETAINED));
    println!(
        "   memory                           {:>9.0} bytes each",
        (resident()? - before) as f64 / RETAINED as f64
    );
    let mut out = Vec::new();
    for filter in [
        "#",
        "plant/site3/#",
        "plant/+/line7/+/status",
        "plant/+/+/machine77/status",
        "+/+/+/+/none",
        "plant/site1/line1/machine1/status",
    ] {
        let mut reader = connect(broker, "reader".to_owned())?;
        let begin = on_cpu()?;
        reader.subscribe(&[to(filter.to_owned())], NOW)?;
        let count = drain(&mut reader, &mut out)?;
        let took = (on_cpu()? - begin).as_secs_f64() * 1000.0;
        println!("   subscribe to {filter:<36} {took:>9.2} ms for {count} messages");
    }
    Ok(())
}

/// Each part in a process of its own: memory that one gives back would be the next one's.
const PARTS: [&str; 4] = ["retained", "index", "subscriptions", "wildcards"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let config = Config { sessions_max: 2 * CLIENTS, ..Config::default() };
    let broker = Broker::open(config, Acl::open(), None, NOW).await?;
    match std::env::args().nth(1).as_deref() {
        Some("retained") => retained(&broker),
        Some("index") => index(),
        Some("subscriptions") => subscriptions(&broker),
        Some("wildcards") => wildcards(&broker),
        _ => {
            for part in PARTS {
                let done = std::process::Command::new(std::env::current_exe()?).arg(part).status()?;
                if !done.success() {
                    return Err(format!("{part}: {done}").into());
                }
            }
            Ok(())
        }
    }
}
