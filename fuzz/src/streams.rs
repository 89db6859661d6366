//! Stream SQL at work: payloads of every format and checkpoints. Whatever the bytes are, an engine reads them or says why
//! not, gives its rows, and goes on from its own state as if nothing had been.

use flate2::read::{GzEncoder, ZlibEncoder};
use ironbrook_analytics::engine::{Decoder, Engine, OnError, OutputRow, Policies};
use ironbrook_analytics::format::{Compression, Delimiter, InputFormat, InputSerialization, OutputFormat};
use ironbrook_analytics::job::Job;
use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::{Level, Options, Query};
use std::io::Read as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Something of each operator; all of them over the same input.
const QUERIES: [&str; 6] = [
    "SELECT k, COUNT(*) AS n, SUM(v) AS s, AVG(v) AS a, MIN(v) AS lo, MAX(v) AS hi, COUNT(DISTINCT v) AS d
     FROM input TIMESTAMP BY t GROUP BY k, HoppingWindow(second, 10, 5) HAVING COUNT(*) > 0",
    "SELECT k, Collect() AS all, TopOne() OVER (ORDER BY v) AS top, STDEV(v) AS s, PERCENTILE_CONT(0.5) OVER (ORDER BY v) AS p
     FROM input TIMESTAMP BY t GROUP BY k, SlidingWindow(second, 7)",
    "SELECT k, COUNT(*) AS n FROM input TIMESTAMP BY t OVER k GROUP BY k, SessionWindow(second, 5, 20)",
    "SELECT a.k, b.v, LAG(a.v, 2) OVER (PARTITION BY a.k LIMIT DURATION(second, 30)) AS former
     FROM input a TIMESTAMP BY t LEFT JOIN input b TIMESTAMP BY t
     ON a.k = b.k AND DATEDIFF(second, a, b) BETWEEN 0 AND 5",
    "SELECT input.k, part.ArrayIndex, part.ArrayValue, SUM(v) OVER (LIMIT DURATION(second, 9)) AS recent
     FROM input TIMESTAMP BY t OUTER APPLY GetArrayElements(list) AS part",
    "SELECT * FROM input TIMESTAMP BY t MATCH_RECOGNIZE (LIMIT DURATION(second, 20) PARTITION BY k
     MEASURES Last(up.v) AS top AFTER MATCH SKIP TO NEXT ROW PATTERN (down+ up+)
     DEFINE down AS down.v < 5, up AS up.v >= 5) AS m",
];

static COMPILED: LazyLock<Vec<Arc<Query>>> = LazyLock::new(|| {
    let options = Options { level: Level::Extended, ..Options::default() };
    QUERIES.iter().map(|text| Arc::new(Query::compile(text, &options).expect("the query is valid"))).collect()
});

fn policies() -> Policies {
    Policies {
        out_of_order: Duration::from_secs(2),
        on_error: OnError::Skip,
        max_state: 16 << 20,
        ..Policies::default()
    }
}

/// Events that a run pushes at most, and bytes of a payload: what is found with many is found with these, in a fraction of the time.
const EVENTS_MAX: usize = 48;
const PAYLOAD_MAX: usize = 1024;

/// Without compression, since hardly any bytes of a fuzzer are a compressed payload; `format` has those.
const FORMATS: [InputSerialization; 4] = [
    InputSerialization::Json,
    InputSerialization::Csv { delimiter: Delimiter::Comma, header: true },
    InputSerialization::Csv { delimiter: Delimiter::Tab, header: false },
    InputSerialization::Avro,
];

/// A byte for the query, one for the format, one for the form of the output and whether state is kept and read in the middle, then
/// payloads that follow each other with a length of two bytes.
pub fn events(data: &[u8]) {
    let [which, format, how, rest @ ..] = data else { return };
    let query = &COMPILED[usize::from(*which) % COMPILED.len()];
    let serialization = FORMATS[usize::from(*format) % FORMATS.len()];
    let format = InputFormat { serialization, compression: Compression::None };
    let mut decoder = Decoder::of(query, 0, &policies(), format);
    let mut engine = Engine::new(query.clone(), policies());
    let (mut rows, mut pushed) = (Vec::new(), 0);
    let (mut rest, mut arrival) = (rest, start());
    while let Some((payload, behind)) = next(rest).filter(|_| pushed < EVENTS_MAX) {
        rest = behind;
        let payload = &payload[..payload.len().min(PAYLOAD_MAX)];
        pushed += 1 + push(&mut engine, &mut decoder, arrival, payload, &mut rows);
        arrival = arrival.checked_add(10_000_000).unwrap_or(arrival);
    }
    if how & 4 == 0 {
        let _ = engine.flush();
        rows.extend(engine.rows());
    } else {
        // A state that was written is read, and written the same.
        let snapshot = engine.snapshot();
        let mut again = Engine::restore(query.clone(), policies(), &snapshot).expect("it is its own state");
        assert_eq!(again.snapshot(), snapshot);
        assert_eq!(engine.flush().is_ok(), again.flush().is_ok());
        let rest: Vec<OutputRow> = engine.rows().collect();
        assert_eq!(rest, again.rows().collect::<Vec<_>>());
        rows.extend(rest);
    }
    let format = match how & 3 {
        0 => OutputFormat::Avro,
        1 => OutputFormat::Parquet,
        _ => OutputFormat::default(),
    };
    let mut writer = format.writer();
    let taken = rows.iter().filter(|row| writer.write(&row.record).is_ok()).count();
    assert!(writer.rows() == taken && writer.finish().is_ok(), "{format:?}");
}

/// A byte for the format and one for the compression, then a payload: it is read or there is a reason, and what is read is written
/// as JSON that is read as the same.
pub fn format(data: &[u8]) {
    let [which, compression, payload @ ..] = data else { return };
    let serialization = FORMATS[usize::from(*which) % FORMATS.len()];
    let compression =
        [Compression::None, Compression::GZip, Compression::Deflate][usize::from(*compression) % 3];
    let format = InputFormat { serialization, compression };
    let (mut reader, mut json) = (format.reader(Default::default()), InputFormat::default().reader(Default::default()));
    reader.read(payload, &mut |event| match event {
        Ok(event) => {
            let mut text = Vec::new();
            event.write_json(&mut text);
            let mut count = 0;
            json.read(&text, &mut |again| {
                count += 1;
                assert!(again.is_ok(), "{}", String::from_utf8_lossy(&text));
            });
            assert_eq!(count, 1);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

/// A byte for the query, then the bytes of a checkpoint, whose last eight are its checksum: it is put right, so that the
/// readers behind it are reached.
pub fn checkpoint(data: &[u8]) {
    let [which, snapshot @ ..] = data else { return };
    let query = &COMPILED[usize::from(*which) % COMPILED.len()];
    assert!(Engine::restore(query.clone(), policies(), &snapshot[..snapshot.len() / 2]).is_err());
    let Ok(mut engine) = Engine::restore(query.clone(), policies(), &sealed(snapshot)) else { return };
    let mut decoder = Decoder::of(query, 0, &policies(), InputFormat::default());
    let mut rows = Vec::new();
    push(
        &mut engine,
        &mut decoder,
        start(),
        br#"{"t":"2026-01-01T00:00:05Z","k":"a","v":1,"list":[1]}"#,
        &mut rows,
    );
    let _ = engine.advance(start());
    let _ = engine.snapshot();
    let _ = engine.flush();
    drop(engine.rows());
}

/// FNV-1a over the bytes behind the word that checkpoints begin their checksum with, each with a border behind it.
fn sealed(snapshot: &[u8]) -> Vec<u8> {
    let body = &snapshot[..snapshot.len().saturating_sub(8)];
    let bytes = b"snapshot".iter().chain(&[0xff]).chain(body).chain(&[0xff]);
    let sum = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    [body, &sum.to_le_bytes()].concat()
}

/// Any text as the definition of a job.
pub fn job(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Job::parse(text) {
        Ok(job) => drop(job.policies()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let read = |_: &str| Ok(text.to_owned());
    if let Err(error) = Job::from_project(text, read) {
        assert!(!error.to_string().is_empty());
    }
}

/// What the fuzzer of checkpoints begins with: states in the middle of some events, and at their end.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (which, query) in COMPILED.iter().enumerate() {
        let mut engine = Engine::new(query.clone(), policies());
        let mut decoder = Decoder::of(query, 0, &policies(), InputFormat::default());
        let mut rows = Vec::new();
        for number in 0..12 {
            let payload = payload(number);
            push(&mut engine, &mut decoder, start(), payload.as_bytes(), &mut rows);
            if number % 4 == 3 {
                all.push([&[which as u8][..], &engine.snapshot()].concat());
            }
        }
    }
    all
}

const CSV: &str = "t,k,v,list\n2026-01-01T00:00:01Z,a,4,\n2026-01-01T00:00:02Z,\"b \"\"c\"\"\",6,x\n";

/// Some events as a container file.
fn avro() -> Vec<u8> {
    let mut avro = OutputFormat::Avro.writer();
    let mut reader = InputFormat::default().reader(Default::default());
    for json in (0..6).map(payload) {
        reader.read(json.as_bytes(), &mut |event| drop(event.map(|event| avro.write(&event))));
    }
    avro.finish().unwrap_or_default()
}

/// What the fuzzer of formats begins with.
pub fn formats() -> Vec<Vec<u8>> {
    let (json, mut zlib, mut gzip) = (payload(3), Vec::new(), Vec::new());
    let text = json.as_bytes();
    // No reader needs more than these to be reached behind the compression.
    let _ = ZlibEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut zlib);
    let _ = GzEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut gzip);
    let all: [(u8, u8, &[u8]); 6] =
        [(0, 0, text), (0, 1, &gzip), (0, 2, &zlib), (1, 0, CSV.as_bytes()), (2, 0, b"a\tb\n"), (3, 0, &avro())];
    all.into_iter().map(|(format, compression, bytes)| [&[format, compression], bytes].concat()).collect()
}

/// What the fuzzer of events begins with: each format with each query.
pub fn payloads() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for which in 0..QUERIES.len() as u8 {
        let json: Vec<String> = (0..12).map(payload).collect();
        let avro = avro();
        let payloads: [(u8, u8, Vec<&[u8]>); 3] = [
            (0, 4, json.iter().map(String::as_bytes).collect()),
            (1, 1, vec![CSV.as_bytes()]),
            (3, 2, vec![&avro]),
        ];
        for (format, how, payloads) in payloads {
            let mut seed = vec![which, format, how];
            for payload in payloads {
                seed.extend((payload.len() as u16).to_be_bytes());
                seed.extend(payload);
            }
            all.push(seed);
        }
    }
    all
}

fn payload(number: u32) -> String {
    let (key, value) = (if number % 3 == 0 { "a" } else { "b" }, number * 7 % 11);
    format!(r#"{{"t":"2026-01-01T00:00:{number:02}.5Z","k":"{key}","v":{value},"list":[{number},null,"x"]}}"#)
}

fn start() -> DateTime {
    DateTime::parse("2026-01-01T00:00:06Z").expect("it is a time")
}

fn next(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let [high, low, rest @ ..] = data else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    Some(rest.split_at(length.min(rest.len())))
}

fn push(
    engine: &mut Engine,
    decoder: &mut Decoder,
    arrival: DateTime,
    payload: &[u8],
    rows: &mut Vec<OutputRow>,
) -> usize {
    let mut events = Vec::new();
    decoder.read(payload, &mut |event| events.push(event));
    let pushed = events.len().min(EVENTS_MAX);
    for event in events.into_iter().take(EVENTS_MAX) {
        match event {
            Ok(event) => drop(engine.push(0, arrival, event)),
            Err(error) => engine.refuse(0, arrival, &error),
        }
    }
    rows.extend(engine.rows());
    pushed
}
