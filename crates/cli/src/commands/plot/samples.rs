//! Temperatures over time, out of stored blobs or events.

use anyhow::Context as _;
use ironbrook_client::Event;
use ironbrook_model::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Temperatures of one device: milliseconds since the epoch and °C, sorted by time once [`Samples::finish`] was called.
pub type Series = Vec<(i64, f64)>;

/// What to keep.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this device.
    pub device: Option<String>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
}

/// Temperatures by device.
#[derive(Debug, Default)]
pub struct Samples {
    filter: Filter,
    by_device: BTreeMap<String, Series>,
}

impl Samples {
    /// An empty collection.
    pub fn new(filter: Filter) -> Self {
        Self { filter, by_device: BTreeMap::new() }
    }

    /// Adds a message's temperature, if it is telemetry with one.
    pub fn add(&mut self, device: &str, enqueued: Option<Timestamp>, body: &Value) {
        let Some(celsius) = body.get("temperature").and_then(Value::as_f64).filter(|t| t.is_finite()) else {
            return;
        };
        // The sensor's own clock tells when it was measured; the hub's tells only when it arrived.
        let created = body.get("timeCreated").and_then(Value::as_str).and_then(Timestamp::parse);
        let Some(time) = created.or(enqueued) else { return };
        if self.filter.device.as_deref().is_some_and(|wanted| wanted != device)
            || self.filter.since.is_some_and(|since| time < since)
        {
            return;
        }
        self.by_device.entry(device.to_owned()).or_default().push((time.as_millis(), celsius));
    }

    /// Adds an event.
    pub fn add_event(&mut self, event: &Event) {
        if let (Some(device), Ok(body)) = (event.device(), serde_json::from_slice(&event.message.body)) {
            self.add(device, Some(event.enqueued_time), &body);
        }
    }

    /// Adds a blob of the storage endpoint: JSON lines, or Avro by its magic.
    pub fn add_blob(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.starts_with(b"Obj\x01") { self.add_avro(bytes) } else { self.add_json_lines(bytes) }
    }

    fn add_json_lines(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for (index, line) in
            bytes.split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty())
        {
            let record: Value =
                serde_json::from_slice(line).with_context(|| format!("line {} is not JSON", index + 1))?;
            let device = record.pointer("/SystemProperties/connectionDeviceId").and_then(Value::as_str);
            let enqueued = record.get("EnqueuedTimeUtc").and_then(Value::as_str).and_then(Timestamp::parse);
            let body = match record.get("Body") {
                // A body that was not declared to be JSON is stored as base64, and may be JSON all the same.
                Some(Value::String(text)) => from_base64(text).unwrap_or_default(),
                Some(body) => body.clone(),
                None => continue,
            };
            self.add(device.unwrap_or("unknown"), enqueued, &body);
        }
        Ok(())
    }

    fn add_avro(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        use apache_avro::types::Value as Avro;
        for record in apache_avro::Reader::new(bytes).context("not an Avro file")? {
            let Avro::Record(fields) = record.context("a damaged Avro record")? else { continue };
            let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| plain(value));
            let Some(Avro::Bytes(body)) = field("Body") else { continue };
            let Ok(body) = serde_json::from_slice(body) else { continue };
            let enqueued = match field("EnqueuedTimeUtc") {
                Some(Avro::String(text)) => Timestamp::parse(text),
                _ => None,
            };
            let device = match field("SystemProperties") {
                Some(Avro::Map(map)) => match map.get("connectionDeviceId").map(plain) {
                    Some(Avro::String(id)) => id.as_str(),
                    _ => "unknown",
                },
                _ => "unknown",
            };
            self.add(device, enqueued, &body);
        }
        Ok(())
    }

    /// Adds every blob below a folder, as `blobs pull` leaves them.
    pub fn add_folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("the folder {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.add_folder(&path)?;
            } else if !name.starts_with('.') && !name.ends_with(".part") {
                let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
                self.add_blob(&bytes).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Sorts by time and drops doubles, which at-least-once delivery may bring.
    pub fn finish(mut self) -> BTreeMap<String, Series> {
        for series in self.by_device.values_mut() {
            series.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            series.dedup();
        }
        self.by_device
    }
}

fn from_base64(text: &str) -> Option<Value> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The value inside a union.
fn plain(value: &apache_avro::types::Value) -> &apache_avro::types::Value {
    match value {
        apache_avro::types::Value::Union(_, inner) => inner,
        other => other,
    }
}

/// Splits a series where its distance is over three times the usual one: a gap is shown as a gap.
pub fn split_gaps(series: &[(i64, f64)]) -> Vec<&[(i64, f64)]> {
    let mut steps: Vec<i64> = series.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    if steps.is_empty() {
        return vec![series];
    }
    let middle = steps.len() / 2;
    let (_, median, _) = steps.select_nth_unstable(middle);
    let longest = (*median).max(1).saturating_mul(3);
    series.chunk_by(|a, b| b.0 - a.0 <= longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_lines_are_read_with_the_sensors_time_first() {
        let mut samples = Samples::new(Filter::default());
        let text = concat!(
            r#"{"EnqueuedTimeUtc":"2026-01-31T09:00:05Z","SystemProperties":{"connectionDeviceId":"d1"},"Body":{"temperature":21.5,"timeCreated":"2026-01-31T09:00:00Z"}}"#,
            "\n",
            r#"{"EnqueuedTimeUtc":"2026-01-31T09:00:01Z","SystemProperties":{"connectionDeviceId":"d1"},"Body":"eyJ0ZW1wZXJhdHVyZSI6MjJ9"}"#,
            "\n\n",
            r#"{"EnqueuedTimeUtc":"2026-01-31T09:00:02Z","SystemProperties":{"connectionDeviceId":"d1"},"Body":{"fault":"open"}}"#,
            "\n",
        );
        samples.add_blob(text.as_bytes()).unwrap();
        assert_eq!(samples.finish()["d1"], [(1_769_850_000_000, 21.5), (1_769_850_001_000, 22.0)]);
        let error = Samples::default().add_blob(b"{}\nnonsense").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn avro_is_known_by_its_magic() {
        let schema = apache_avro::Schema::parse_str(
            r#"{"type":"record","name":"m","fields":[{"name":"EnqueuedTimeUtc","type":"string"},
            {"name":"Properties","type":{"type":"map","values":"string"}},
            {"name":"SystemProperties","type":{"type":"map","values":"string"}},{"name":"Body","type":["null","bytes"]}]}"#,
        )
        .unwrap();
        let mut writer = apache_avro::Writer::new(&schema, Vec::new());
        let mut record = apache_avro::types::Record::new(&schema).unwrap();
        record.put("EnqueuedTimeUtc", "2026-01-31T09:00:00Z");
        record.put("Properties", std::collections::HashMap::<String, String>::new());
        record.put(
            "SystemProperties",
            std::collections::HashMap::from([("connectionDeviceId".to_owned(), "d2")]),
        );
        let body = apache_avro::types::Value::Bytes(br#"{"temperature":3.5}"#.to_vec());
        record.put("Body", apache_avro::types::Value::Union(1, Box::new(body)));
        writer.append(record).unwrap();
        let mut samples = Samples::default();
        samples.add_blob(&writer.into_inner().unwrap()).unwrap();
        assert_eq!(samples.finish()["d2"], [(1_769_850_000_000, 3.5)]);
    }

    #[test]
    fn the_filter_keeps_device_and_time_and_doubles_go() {
        let filter = Filter { device: Some("d1".to_owned()), since: Some(Timestamp::from_millis(10)) };
        let mut samples = Samples::new(filter);
        for (device, millis) in [("d1", 9), ("d1", 20), ("d2", 20), ("d1", 10), ("d1", 20)] {
            samples.add(device, Some(Timestamp::from_millis(millis)), &json!({"temperature": 1.0}));
        }
        let found = samples.finish();
        assert_eq!(found.len(), 1);
        assert_eq!(found["d1"], [(10, 1.0), (20, 1.0)]);
    }

    #[test]
    fn gaps_split_a_series() {
        let series: Vec<_> = [0, 10, 20, 50, 81, 91].map(|t| (t, 1.0)).to_vec();
        let lens: Vec<_> = split_gaps(&series).iter().map(|part| part.len()).collect();
        assert_eq!(lens, [4, 2], "three times the median of 10 is no gap, more is");
        assert_eq!(split_gaps(&series[..1]).len(), 1);
    }
}
