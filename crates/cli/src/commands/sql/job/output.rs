//! Targets of outputs as people type them.

use anyhow::{Context as _, bail};
use ironbrook_cloud::streaming::Output;
use serde_json::{Map, Value, json};

/// The words targets begin with.
pub(super) const KINDS: [&str; 5] = ["blob", "webhook", "route", "c2d", "method"];

/// How rows are written into blobs.
#[derive(Debug, clap::Args)]
pub(super) struct Blobs {
    /// How rows are written into blobs.
    #[arg(long, value_enum, default_value_t = BlobFormat::JsonLines, value_name = "FORMAT")]
    format: BlobFormat,
    /// Rows that are written into a blob together.
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_rows: usize,
    /// How long a row waits for others at most.
    #[arg(long, default_value_t = 1, value_name = "SECONDS")]
    max_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "kebab-case")]
enum BlobFormat {
    /// An object on each line.
    JsonLines,
    /// One JSON array.
    JsonArray,
    /// Commas and a header; a blob for each batch.
    Csv,
    /// A container file for each batch.
    Avro,
    /// A file for each batch.
    Parquet,
}

impl BlobFormat {
    fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonLines",
            Self::JsonArray => "jsonArray",
            Self::Csv => "csv",
            Self::Avro => "avro",
            Self::Parquet => "parquet",
        }
    }
}

/// A target. What is left out has the hub's defaults.
pub(super) fn parse(text: &str, blobs: &Blobs) -> anyhow::Result<Output> {
    let (kind, rest) = text.split_once(':').context("a target is a word, a colon and a place")?;
    let json = match kind {
        "blob" => {
            let (container, pattern) = rest.split_once('/').unwrap_or((rest, ""));
            json!({
                "type": "blob",
                "container": container,
                "pathPattern": pattern,
                "format": blobs.format.name(),
                "minRows": blobs.min_rows,
                "maxSeconds": blobs.max_seconds,
            })
        }
        "webhook" => json!({ "type": "webhook", "url": rest }),
        "route" => device("route", rest),
        "c2d" => device("cloudToDevice", rest),
        "method" => {
            let (name, to) = rest.split_once(':').context("it is written method:NAME:DEVICE")?;
            let mut method = device("method", to);
            method["methodName"] = name.into();
            method
        }
        other => bail!("{other:?} is no target; there are {}", KINDS.join(", ")),
    };
    Ok(serde_json::from_value(json)?)
}

fn device(kind: &str, text: &str) -> Value {
    let column = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let (member, value) = match column {
        Some(column) => ("deviceIdColumn", column),
        None => ("deviceId", text),
    };
    Value::Object(Map::from_iter([("type".to_owned(), kind.into()), (member.to_owned(), value.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_cloud::streaming::{Format, Receiver};

    const BLOBS: Blobs = Blobs { format: BlobFormat::JsonArray, min_rows: 7, max_seconds: 2 };

    #[test]
    fn targets_of_all_kinds() {
        let Output::Blob(blob) = parse("blob:box/a/{date}", &BLOBS).unwrap() else { panic!() };
        assert_eq!((&*blob.container, &*blob.path_pattern), ("box", "a/{date}"));
        assert_eq!((blob.format, blob.min_rows, blob.max_seconds), (Format::JsonArray, 7, 2));
        let Output::Webhook(hook) = parse("webhook:http://h:1/x?a=b:c", &BLOBS).unwrap() else { panic!() };
        assert_eq!(hook.url, "http://h:1/x?a=b:c");
        let fixed =
            Receiver { device_id: Some("d".to_owned()), device_id_column: None, patience_seconds: 300 };
        assert_eq!(parse("route:d", &BLOBS).unwrap(), Output::Route(fixed.clone()));
        assert_eq!(parse("c2d:d", &BLOBS).unwrap(), Output::CloudToDevice(fixed));
        let Output::Method(method) = parse("method:reboot:{id}", &BLOBS).unwrap() else { panic!() };
        assert_eq!((&*method.method_name, method.device_id_column.as_deref()), ("reboot", Some("id")));
        for wrong in ["blob", "kafka:x", "method:x", ""] {
            assert!(parse(wrong, &BLOBS).is_err(), "{wrong}");
        }
    }
}
