//! Stream SQL at work: payloads of every format and checkpoints. Whatever the bytes are, an engine reads them or says why
//! not, gives its rows, and goes on from its own state as if nothing had been.

use ironbrook_analytics::engine::{Decoder, Engine, OnError, OutputRow, Policies};
use ironbrook_analytics::format::{Compression, Delimiter, InputFormat, InputSerialization, OutputFormat};
use ironbrook_analytics::job::Job;
use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::{Level, Options, Query};
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

fn formats() -> Vec<InputFormat> {
    let csv = |delimiter, header| InputSerialization::Csv { delimiter, header };
    let serializations = [
        InputSerialization::Json,
        csv(Delimiter::Comma, true),
        csv(Delimiter::Tab, false),
        InputSerialization::Avro,
    ];
    let compressions = [Compression::None, Compression::GZip, Compression::Deflate];
    let all = |serialization| compressions.map(|compression| InputFormat { serialization, compression });
    serializations.into_iter().flat_map(all).collect()
}

/// A byte for the query, one for the format, then payloads that follow each other with a length of two bytes.
pub fn events(data: &[u8]) {
    let [which, format, rest @ ..] = data else { return };
    let query = &COMPILED[usize::from(*which) % COMPILED.len()];
    let formats = formats();
    let format = formats[usize::from(*format) % formats.len()];
    let mut decoder = Decoder::of(query, 0, &policies(), format);
    let mut engine = Engine::new(query.clone(), policies());
    let mut rows = Vec::new();
    let (mut rest, mut arrival) = (rest, start());
    while let Some((payload, behind)) = next(rest) {
        rest = behind;
        push(&mut engine, &mut decoder, arrival, payload, &mut rows);
        arrival = arrival.checked_add(10_000_000).unwrap_or(arrival);
    }
    // A state that was written is read, and written the same.
    let snapshot = engine.snapshot();
    let mut again = Engine::restore(query.clone(), policies(), &snapshot).expect("it is its own state");
    assert_eq!(again.snapshot(), snapshot);
    let flushed = (engine.flush().is_ok(), again.flush().is_ok());
    assert_eq!(flushed.0, flushed.1);
    let rest: Vec<OutputRow> = engine.rows().collect();
    assert_eq!(rest, again.rows().collect::<Vec<_>>());
    rows.extend(rest);
    for format in [OutputFormat::default(), OutputFormat::Avro, OutputFormat::Parquet] {
        let mut writer = format.writer();
        let taken = rows.iter().filter(|row| writer.write(&row.record).is_ok()).count();
        assert!(writer.rows() == taken && writer.finish().is_ok(), "{format:?}");
    }
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

/// What the fuzzer of events begins with: each format with each query.
pub fn payloads() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for which in 0..QUERIES.len() as u8 {
        let json: Vec<String> = (0..12).map(payload).collect();
        let csv = "t,k,v,list\n2026-01-01T00:00:01Z,a,4,\n2026-01-01T00:00:02Z,\"b \"\"c\"\"\",6,x\n";
        let mut avro = OutputFormat::Avro.writer();
        let mut reader = InputFormat::default().reader(Default::default());
        json.iter().for_each(|json| {
            reader.read(json.as_bytes(), &mut |event| drop(event.map(|event| avro.write(&event))))
        });
        let avro = avro.finish().unwrap_or_default();
        let payloads: [(u8, Vec<&[u8]>); 3] =
            [(0, json.iter().map(String::as_bytes).collect()), (3, vec![csv.as_bytes()]), (9, vec![&avro])];
        for (format, payloads) in payloads {
            let mut seed = vec![which, format];
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
) {
    let mut events = Vec::new();
    decoder.read(payload, &mut |event| events.push(event));
    for event in events {
        match event {
            Ok(event) => drop(engine.push(0, arrival, event)),
            Err(error) => engine.refuse(0, arrival, &error),
        }
    }
    rows.extend(engine.rows());
}
