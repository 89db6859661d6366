//! Reads a file of events, one a line, with a JSON library and nothing else: `json simd-json|sonic-rs FILE`.

use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, file] = arguments.as_slice() else { return Err("usage: json simd-json|sonic-rs FILE".into()) };
    let body = std::fs::read(file)?;
    let begin = on_cpu()?;
    let events = match library.as_str() {
        "simd-json" => simd_json(&body)?,
        "sonic-rs" => sonic(&body)?,
        other => return Err(format!("no library {other}").into()),
    };
    println!("events {events} seconds {:.3}", (on_cpu()? - begin).as_secs_f64());
    Ok(())
}

/// How long this thread has run: a busy machine does not count.
fn on_cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = times.split_whitespace().next().ok_or("no time on CPU")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// It reads in place, so that each line is copied first, into memory that is used again.
fn simd_json(body: &[u8]) -> Result<u64, simd_json::Error> {
    let mut buffers = simd_json::Buffers::default();
    let (mut line, mut events) = (Vec::new(), 0);
    for text in lines(body) {
        line.clear();
        line.extend_from_slice(text);
        std::hint::black_box(simd_json::to_borrowed_value_with_buffers(&mut line, &mut buffers)?);
        events += 1;
    }
    Ok(events)
}

fn sonic(body: &[u8]) -> Result<u64, sonic_rs::Error> {
    let mut events = 0;
    for text in lines(body) {
        std::hint::black_box(sonic_rs::from_slice::<sonic_rs::Value>(text)?);
        events += 1;
    }
    Ok(events)
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
