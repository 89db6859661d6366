//! `ironbrook plot`: temperatures over time as a picture.

mod axis;
mod draw;
mod samples;

use super::blobs::{DEFAULT_CONTAINER, store};
use super::connection::Where;
use super::messages;
use super::{Global, OutputFormat};
use anyhow::{Context as _, bail};
use draw::Style;
use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use ironbrook_client::{EventsClient, Position};
use ironbrook_model::Timestamp;
use samples::{Filter, Samples};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Options of `ironbrook plot`. Without a source, the events endpoint is read up to now.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// Read blobs from a folder, as `blobs pull` leaves them.
    #[arg(long, value_name = "DIR", group = "source")]
    from_blobs: Option<PathBuf>,
    /// Read blobs of a container of the storage account (with --connection-string: of that account).
    #[arg(long, value_name = "NAME", group = "source", num_args = 0..=1, default_missing_value = DEFAULT_CONTAINER)]
    container: Option<String>,
    /// With --container: only blobs below this path.
    #[arg(long, value_name = "PATH", requires = "container")]
    prefix: Option<String>,
    /// Go on reading events for so long, e.g. 30s, before drawing.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "source", value_parser = super::device::duration)]
    duration: Option<Duration>,
    /// Only this device.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only from this ISO 8601 time on, or so long ago, e.g. 1h.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// Picture to write: its ending, .png or .svg, says the format.
    #[arg(long, value_name = "FILE", default_value = "temperature.png")]
    out: PathBuf,
    /// Width and height in pixels.
    #[arg(long, value_name = "WxH", default_value = "1600x900", value_parser = size)]
    size: (u32, u32),
    /// Title of the picture.
    #[arg(long, value_name = "TEXT", default_value = "Temperature")]
    title: String,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let mut samples = Samples::new(Filter { device: args.device.clone(), since: args.since });
    match (&args.from_blobs, &args.container) {
        (Some(folder), _) => samples.add_folder(folder)?,
        (None, Some(container)) => read_container(&args, container, &mut samples).await?,
        (None, None) => read_events(&args, &mut samples).await?,
    }
    let series = samples.finish();
    if series.is_empty() {
        bail!(
            "no message with a temperature was found; look at them with `ironbrook messages monitor --from earliest`"
        );
    }
    let style = Style { title: args.title.clone(), size: args.size };
    draw::draw(&args.out, &series, &style)?;
    let mut stdout = std::io::stdout();
    let points: usize = series.values().map(Vec::len).sum();
    match global.output {
        OutputFormat::Json => {
            let devices: Vec<_> = series.keys().collect();
            writeln!(stdout, "{}", json!({ "out": args.out, "points": points, "devices": devices }))?;
        }
        OutputFormat::Table => {
            writeln!(stdout, "{}: {points} temperatures of {} device(s)", args.out.display(), series.len())?;
        }
    }
    Ok(())
}

async fn read_container(args: &Args, container: &str, samples: &mut Samples) -> anyhow::Result<()> {
    let store = store::open(&args.at.blobs()?, container)?;
    let prefix = store::prefix(args.prefix.as_deref())?;
    let failed = || format!("the container {container} cannot be listed");
    let blobs: Vec<_> = store.list(prefix.as_ref()).try_collect().await.with_context(failed)?;
    let bar = ProgressBar::new(blobs.len() as u64);
    for blob in blobs {
        let name = blob.location.to_string();
        let read = async { anyhow::Ok(store.get(&blob.location).await?.bytes().await?) };
        let bytes = read.await.with_context(|| format!("the blob {name}"))?;
        samples.add_blob(&bytes).with_context(|| format!("the blob {name}"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Reads what is there, and with `--for` what comes.
async fn read_events(args: &Args, samples: &mut Samples) -> anyhow::Result<()> {
    let target = args.at.events()?;
    let mut builder = EventsClient::builder(&target.connection_string)?;
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    let partitions = builder.build()?.partitions().await.context("the events endpoint cannot be read")?;
    let mut missing: std::collections::HashMap<String, i64> = partitions
        .into_iter()
        .filter(|p| !p.is_empty && p.last_sequence >= 0)
        // What was enqueued before cannot be wanted: nothing is measured after it arrived.
        .filter(|p| args.since.is_none_or(|since| p.last_enqueued.is_none_or(|last| last > since)))
        .map(|p| (p.id, p.last_sequence))
        .collect();
    let from = args.since.map_or(Position::Earliest, Position::EnqueuedAfter);
    let mut events = messages::open(&target, "$Default", from).await?;
    let until = tokio::time::Instant::now() + args.duration.unwrap_or_default();
    loop {
        let time_is_up = tokio::time::sleep_until(until);
        let event = tokio::select! {
            event = events.next() => event,
            () = time_is_up, if missing.is_empty() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        let event = event.context("reading stopped")?;
        if missing.get(&event.partition).is_some_and(|last| event.sequence_number >= *last) {
            missing.remove(&event.partition);
        }
        samples.add_event(&event);
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "write a time like 2026-01-31T09:00:00Z, or how long ago, like 1h".to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let ago = span.abs().as_millis();
    Ok(Timestamp::from_millis(
        i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX)),
    ))
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match parsed {
        Some((width, height)) if (320..=10_000).contains(&width) && (240..=10_000).contains(&height) => {
            Ok((width, height))
        }
        _ => Err("write it as 1600x900; from 320x240 to 10000x10000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_checked() {
        assert_eq!(size("800x600"), Ok((800, 600)));
        for bad in ["800", "1x1", "99999x600", "axb"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(since("2026-01-31T09:00:00Z"), Ok(Timestamp::from_millis(1_769_850_000_000)));
        assert!(since("1h").unwrap() > since("2h").unwrap());
        assert!(since("long ago").is_err());
    }
}
