//! A job brought along from Azure: its exported definition as one of a hub.

use anyhow::{Context as _, bail};
use ironbrook_analytics::Compatibility;
use ironbrook_analytics::engine::OnViolation;
use ironbrook_analytics::format::{JsonLayout, OutputFormat};
use ironbrook_analytics::job::{
    DatasourceKind, FunctionBinding, InputKind, Job, JobInput, JobOutput, OnOutputError,
};
use ironbrook_cloud::streaming::{Blob, Definition, Failure, Format, Input, Output, OutputErrors, Violation};
use std::collections::BTreeMap;

/// Rows of a batch where the definition does not say, in formats whose blobs do not grow; and the longest wait. Source: Azure docs
/// "Blob storage and Azure Data Lake Gen2 output".
const WHOLE_ROWS: u64 = 2000;
const WHOLE_SECONDS: u64 = 60;
/// What `{date}` and `{time}` are where the definition does not say.
const DATE: &str = "yyyy/MM/dd";
const TIME: &str = "HH";

/// The definition for a hub. Outputs in `to` replace those of the job with the same name.
#[allow(clippy::print_stderr, reason = "what people should know of their job")]
pub(super) fn definition(text: &str, to: BTreeMap<String, Output>) -> anyhow::Result<Definition> {
    let job = Job::parse(text)?;
    job.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let mut outputs = to;
    for output in &job.outputs {
        if !outputs.keys().any(|name| name.eq_ignore_ascii_case(&output.name)) {
            outputs.insert(output.name.clone(), blob(output)?);
        }
    }
    let inputs = job.inputs.iter().map(|one| Ok((one.name.clone(), input(one)?)));
    let script = |function: &ironbrook_analytics::job::JobFunction| match &function.binding {
        FunctionBinding::JavaScript { script } => Some((function.name.clone(), script.clone())),
        FunctionBinding::Other(_) => None,
    };
    Ok(Definition {
        query: job.query.clone(),
        inputs: inputs.collect::<anyhow::Result<_>>()?,
        outputs,
        functions: job.functions.iter().filter_map(script).collect(),
        compatibility_level: match job.compatibility {
            Compatibility::V1_0 => "1.0",
            Compatibility::V1_1 => "1.1",
            Compatibility::V1_2 => "1.2",
        }
        .to_owned(),
        events_late_arrival_max_delay_in_seconds: job.ordering.late_arrival.as_secs(),
        events_out_of_order_max_delay_in_seconds: job.ordering.out_of_order.as_secs(),
        events_out_of_order_policy: match job.ordering.on_violation {
            OnViolation::Adjust => Violation::Adjust,
            OnViolation::Drop => Violation::Drop,
        },
        output_error_policy: match job.on_output_error {
            OnOutputError::Retry => OutputErrors::Stop,
            OnOutputError::Drop => OutputErrors::Drop,
        },
        on_error: Failure::Stop,
    })
}

fn input(input: &JobInput) -> anyhow::Result<Input> {
    let name = &input.name;
    let (serialization, compression) = (input.format.serialization.into(), input.format.compression.into());
    match (input.kind, &input.datasource.kind) {
        (InputKind::Stream, DatasourceKind::IotHub { consumer_group, .. })
        | (InputKind::Stream, DatasourceKind::EventHub { consumer_group, .. }) => {
            Ok(Input::Events { consumer_group: consumer_group.clone(), serialization, compression })
        }
        (InputKind::Reference, DatasourceKind::Blob(place)) => Ok(Input::Reference {
            container: place.container.clone(),
            blob: place.path_pattern.trim_matches('/').to_owned(),
            date_format: or(&place.date_format, DATE),
            time_format: or(&place.time_format, TIME),
            serialization,
            compression,
        }),
        _ => bail!(
            "the input {name}: events come from the hub itself and reference data from blobs, not from {}",
            input.datasource.ty
        ),
    }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

fn blob(output: &JobOutput) -> anyhow::Result<Output> {
    let name = &output.name;
    let DatasourceKind::Blob(place) = &output.datasource.kind else {
        bail!("the output {name}: {} is not offered; give --to {name}=TARGET for it", output.datasource.ty);
    };
    let format = match output.format {
        OutputFormat::Json(JsonLayout::LineSeparated) => Format::JsonLines,
        OutputFormat::Json(JsonLayout::Array) => Format::JsonArray,
        OutputFormat::Csv { .. } => Format::Csv,
        OutputFormat::Avro => Format::Avro,
        OutputFormat::Parquet => Format::Parquet,
    };
    let is_whole = !matches!(format, Format::JsonLines | Format::JsonArray);
    let rows = output.batching.rows.unwrap_or(if is_whole { WHOLE_ROWS } else { 1 });
    let seconds = output.batching.time.map(|time| time.as_secs());
    Ok(Output::Blob(Blob {
        container: place.container.clone(),
        path_pattern: place.path_pattern.trim_matches('/').to_owned(),
        date_format: or(&place.date_format, DATE),
        time_format: or(&place.time_format, TIME),
        format,
        min_rows: usize::try_from(rows.max(1)).context("the rows of a batch")?,
        max_seconds: seconds.unwrap_or(if is_whole { WHOLE_SECONDS } else { 1 }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = r#"{
      "name": "mine", "type": "Microsoft.StreamAnalytics/streamingjobs",
      "properties": {
        "compatibilityLevel": "1.2", "eventsLateArrivalMaxDelayInSeconds": 7, "outputErrorPolicy": "Drop",
        "transformation": { "name": "t", "properties": { "query": "SELECT * INTO o FROM i" } },
        "inputs": [{ "name": "i", "properties": {
          "type": "Stream",
          "datasource": { "type": "Microsoft.Devices/IotHubs", "properties": { "iotHubNamespace": "h", "consumerGroupName": "g" } },
          "serialization": { "type": "Json", "properties": { "encoding": "UTF8" } } } }],
        "outputs": [{ "name": "o", "properties": {
          "datasource": DATASOURCE,
          "serialization": { "type": "Json", "properties": { "encoding": "UTF8", "format": "Array" } } } }]
      }
    }"#;
    const BLOB: &str = r#"{ "type": "Microsoft.Storage/Blob", "properties": {
        "storageAccounts": [{ "accountName": "a" }], "container": "c", "pathPattern": "x/{date}", "dateFormat": "yyyy-MM-dd" } }"#;

    #[test]
    fn an_export_becomes_a_definition() {
        let made = definition(&EXPORT.replace("DATASOURCE", BLOB), BTreeMap::new()).unwrap();
        assert_eq!(
            (&*made.query, made.events_late_arrival_max_delay_in_seconds),
            ("SELECT * INTO o FROM i", 7)
        );
        let events = serde_json::json!({ "type": "events", "consumerGroup": "g" });
        assert_eq!(made.inputs["i"], serde_json::from_value(events).unwrap());
        let Output::Blob(blob) = &made.outputs["o"] else { panic!() };
        assert_eq!(
            (&*blob.container, &*blob.date_format, blob.format),
            ("c", "yyyy-MM-dd", Format::JsonArray)
        );
    }

    #[test]
    fn formats_and_series_of_reference_data_come_along() {
        let reference = r#"{ "name": "r", "properties": { "type": "Reference",
            "datasource": { "type": "Microsoft.Storage/Blob", "properties": {
              "container": "lists", "pathPattern": "/x/{date}/{time}/r.csv", "timeFormat": "HH-mm" } },
            "compression": { "type": "GZip" },
            "serialization": { "type": "Csv", "properties": { "fieldDelimiter": ";", "encoding": "UTF8" } } } },
          { "name": "i", "#;
        let text = EXPORT.replace("DATASOURCE", BLOB).replacen(r#"{ "name": "i", "#, reference, 1);
        let made = definition(&text, BTreeMap::new()).unwrap();
        let told = serde_json::json!({ "type": "reference", "container": "lists",
            "blob": "x/{date}/{time}/r.csv", "timeFormat": "HH-mm", "compression": { "type": "GZip" },
            "serialization": { "type": "Csv", "properties": { "fieldDelimiter": ";" } } });
        assert_eq!(made.inputs["r"], serde_json::from_value(told).unwrap());
    }

    #[test]
    fn what_is_not_offered_is_named_with_the_cure() {
        let text =
            EXPORT.replace("DATASOURCE", r#"{ "type": "Microsoft.Sql/Server/Database", "properties": {} }"#);
        let error = definition(&text, BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("--to o=TARGET"), "{error}");
        let hook = serde_json::json!({ "type": "webhook", "url": "http://h/" });
        let to = BTreeMap::from([("O".to_owned(), serde_json::from_value(hook).unwrap())]);
        assert!(matches!(definition(&text, to).unwrap().outputs["O"], Output::Webhook(_)));
    }
}
