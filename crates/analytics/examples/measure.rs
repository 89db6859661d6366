//! Measures the engine on the events of `cargo xtask bench sql`, which runs it:
//!
//! ```text
//! measure events sensor|keys COUNT FILE     writes events, 140 bytes each
//! measure run FILE QUERY [SECONDS]          reads them as a query does; SECONDS is the out-of-order tolerance
//! measure latency QUERY                     from event to row at 10,000 events a second
//! measure keys COUNT AGGREGATES             memory of an open window with so many keys
//! ```
//!
//! Each prints one line of figures: names and numbers in turn.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use ironbrook_analytics::engine::{Decoder, Engine, Policies};
use ironbrook_analytics::value::{DateTime, datetime::SECOND};
use ironbrook_analytics::{Level, Options, Query};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// When the events begin.
const BEGIN: &str = "2024-03-01T00:00:00Z";
/// Keys of the events with keys.
const KEYS: u64 = 10_000;
/// Files are read in pieces, as messages come: so many bytes, to the end of a line.
const PIECE: usize = 64 << 10;
/// Later than all events, but not so that they were late.
const ARRIVAL: &str = "2024-03-02T00:00:00Z";
const NEVER_LATE: Duration = Duration::from_secs(20 * 86_400);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["events", kind, count, file] => events(kind, count.parse()?, file),
        ["run", file, query] => run(file, query, 0),
        ["run", file, query, seconds] => run(file, query, seconds.parse()?),
        ["latency", query] => latency(query),
        ["keys", count, aggregates] => keys(count.parse()?, aggregates),
        _ => Err("usage: see the head of this example".into()),
    }
}

/// Numbers that look random and are the same each time (a linear congruential generator, Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn event(&mut self, kind: &str, number: u64) -> Result<String> {
        let begin = DateTime::parse(BEGIN).ok_or("no time")?;
        let (whole, tenth) = (15 + self.below(16), self.below(10));
        let (temperature, pressure) = (self.below(10_000_000_000), self.below(1_000_000_000));
        // One sensor sends every millisecond, of those with keys each once a second; written as stock sensors do.
        let (pause, digits) = if kind == "keys" { (SECOND / KEYS as i64, 24) } else { (SECOND / 1000, 23) };
        let time = begin.checked_add(number as i64 * pause).ok_or("too many events")?.to_string();
        let time = &time[..digits];
        Ok(match kind {
            "sensor" => format!(
                "{{\"machine\":{{\"temperature\":{whole}.{temperature:010},\"pressure\":1.{pressure:09}}},\
                 \"ambient\":{{\"temperature\":20.{tenth},\"humidity\":25}},\"timeCreated\":\"{time}Z\"}}\n"
            ),
            "keys" => format!(
                "{{\"deviceId\":\"sensor-{:05}\",\"temperature\":{whole}.{temperature:010},\
                 \"pressure\":1.{pressure:09},\"humidity\":25,\"timeCreated\":\"{time}Z\"}}\n",
                self.below(KEYS)
            ),
            _ => return Err("events are of sensor or keys".into()),
        })
    }
}

fn events(kind: &str, count: u64, file: &str) -> Result<()> {
    let mut random = Random(7);
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    for number in 0..count {
        out.write_all(random.event(kind, number)?.as_bytes())?;
    }
    Ok(out.flush()?)
}

fn engine(query: &str, out_of_order: u64) -> Result<Engine> {
    let options = Options { level: Level::Extended, ..Options::default() };
    let query = Query::compile(query, &options).map_err(|errors| errors.to_string())?;
    let out_of_order = Duration::from_secs(out_of_order);
    let policies = Policies { late_arrival: NEVER_LATE, out_of_order, ..Policies::default() };
    Ok(Engine::new(Arc::new(query), policies))
}

/// How long this thread has run: a busy machine does not count.
fn on_cpu() -> Result<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = times.split_whitespace().next().ok_or("no time on CPU")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Resident memory of this process in bytes.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Takes in one payload; gives the number of events.
fn take(engine: &mut Engine, decoder: &mut Decoder, arrival: DateTime, payload: &[u8]) -> Result<u64> {
    let (mut events, mut failed) = (0, None);
    decoder.read(payload, &mut |event| {
        events += 1;
        let pushed = event
            .map_err(|error| error.to_string())
            .and_then(|event| engine.push(0, arrival, event).map_err(|error| error.to_string()));
        failed = failed.take().or(pushed.err());
    });
    failed.map_or(Ok(events), |error| Err(error.into()))
}

fn run(file: &str, query: &str, out_of_order: u64) -> Result<()> {
    let body = std::fs::read(file)?;
    let mut engine = engine(query, out_of_order)?;
    let mut decoder = Decoder::new(&engine.query().clone(), 0, engine.policies());
    let arrival = DateTime::parse(ARRIVAL).ok_or("no time")?;
    let (mut events, mut rows, mut written) = (0, 0, Vec::new());
    let (begin, cpu) = (Instant::now(), on_cpu()?);
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(PIECE)];
        let end = piece.iter().rposition(|byte| *byte == b'\n').map_or(piece.len(), |end| end + 1);
        let (payload, others) = rest.split_at(end);
        rest = others;
        events += take(&mut engine, &mut decoder, arrival, payload)?;
        rows += write(&mut engine, &mut written);
    }
    engine.flush()?;
    rows += write(&mut engine, &mut written);
    let (took, cpu) = (begin.elapsed(), on_cpu()?.saturating_sub(cpu));
    println!(
        "events {events} rows {rows} seconds {:.3} cpu {:.3} state {}",
        took.as_secs_f64(),
        cpu.as_secs_f64(),
        engine.state_bytes()
    );
    Ok(())
}

/// Rows as JSON, as an output has them; gives their number.
fn write(engine: &mut Engine, written: &mut Vec<u8>) -> u64 {
    let mut rows = 0;
    for row in engine.rows() {
        written.clear();
        row.record.write_json(written);
        rows += 1;
    }
    rows
}

/// One event every 100 µs for ten seconds; the query gives a row for each.
fn latency(query: &str) -> Result<()> {
    const EVERY: Duration = Duration::from_micros(100);
    const COUNT: u64 = 100_000;
    let mut engine = engine(query, 0)?;
    let mut decoder = Decoder::new(&engine.query().clone(), 0, engine.policies());
    let arrival = DateTime::parse(ARRIVAL).ok_or("no time")?;
    let (mut random, mut written, mut taken) = (Random(7), Vec::new(), Vec::new());
    let begin = Instant::now();
    for number in 0..COUNT {
        let event = random.event("sensor", number)?;
        // Waiting actively: a sleep would measure the machine's timers.
        let due = EVERY * u32::try_from(number)?;
        while begin.elapsed() < due {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        take(&mut engine, &mut decoder, arrival, event.as_bytes())?;
        if write(&mut engine, &mut written) > 0 {
            taken.push(start.elapsed());
        }
    }
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_nanos() as f64 / 1000.0;
    println!("rows {} p50 {:.1} p99 {:.1} worst {:.1}", taken.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}

/// One window with so many keys. What the process held before, it must not have given back and taken again: one window a run.
fn keys(count: u64, aggregates: &str) -> Result<()> {
    let query =
        format!("SELECT k, {aggregates} INTO o FROM i TIMESTAMP BY at GROUP BY k, TumblingWindow(day, 1)");
    let mut engine = engine(&query, 0)?;
    let mut decoder = Decoder::new(&engine.query().clone(), 0, engine.policies());
    let arrival = DateTime::parse(ARRIVAL).ok_or("no time")?;
    let before = resident()?;
    for key in 0..count {
        let event = format!("{{\"k\":{key},\"t\":21.5,\"at\":\"2024-03-01T01:00:00Z\"}}");
        take(&mut engine, &mut decoder, arrival, event.as_bytes())?;
    }
    let held = resident()?.saturating_sub(before);
    println!(
        "aggregates {} keys {count} resident {held} each {:.0} counted {}",
        aggregates.split(',').count(),
        held as f64 / count as f64,
        engine.state_bytes()
    );
    Ok(())
}
